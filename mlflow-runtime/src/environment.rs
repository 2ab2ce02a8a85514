//! What is known about the process without being told: user, host, program.
//!
//! Invariant: what cannot be found out is left out; nothing here fails. Read once per process.

use std::env;
use std::path::Path;

use once_cell::sync::Lazy;

use crate::rank;
use crate::store::Tag;

/// The facts that every run of the process shares.
pub(crate) struct Environment {
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) tags: Vec<Tag>,
}

/// Read at the first call.
pub(crate) fn process() -> &'static Environment {
    static ENVIRONMENT: Lazy<Environment> = Lazy::new(Environment::read);
    &ENVIRONMENT
}

impl Environment {
    fn read() -> Self {
        let user = user().unwrap_or_default();
        let host = host().unwrap_or_default();
        let command = env::args_os()
            .next()
            .map(|argument| argument.to_string_lossy().into_owned());
        let executable = command
            .as_deref()
            .and_then(|command| Path::new(command).file_name())
            .map(|name| name.to_string_lossy().into_owned());
        let tags = [
            (
                "mlflow.user",
                Some(user.clone()).filter(|user| !user.is_empty()),
            ),
            ("mlflow.source.name", command),
            ("mlflow.source.type", Some("LOCAL".to_owned())),
            (
                "host.name",
                Some(host.clone()).filter(|host| !host.is_empty()),
            ),
            ("host.arch", Some(architecture().to_owned())),
            ("os.type", Some(env::consts::OS.to_owned())),
            ("process.pid", Some(std::process::id().to_string())),
            ("process.executable.name", executable),
            (
                "deployment.environment",
                env::var("MLFLOW_ENV").ok().filter(|name| !name.is_empty()),
            ),
        ];
        let tags = tags
            .into_iter()
            .filter_map(|(key, value)| {
                Some(Tag {
                    key: key.to_owned(),
                    value: value?,
                })
            })
            .chain(rank::tags())
            .collect();
        Self { user, host, tags }
    }
}

/// The login name: the variables that the shell sets, else the password file.
fn user() -> Option<String> {
    ["LOGNAME", "USER", "USERNAME"]
        .into_iter()
        .find_map(|variable| env::var(variable).ok().filter(|user| !user.is_empty()))
        .or_else(|| {
            user_of(
                rustix::process::getuid().as_raw(),
                &std::fs::read_to_string("/etc/passwd").ok()?,
            )
        })
}

/// The name of a user id in a password file (`passwd(5)`).
fn user_of(id: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?;
        (uid.parse() == Ok(id)).then(|| name.to_owned())
    })
}

fn host() -> Option<String> {
    rustix::system::uname()
        .nodename()
        .to_str()
        .ok()
        .map(str::to_owned)
}

/// The architecture in OpenTelemetry's words (`host.arch`).
fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_file_names_the_user() {
        let passwd = "root:x:0:0:root:/:/bin/sh\n# odd line\nml:x:1000:1000::/:/bin/sh\n";
        assert_eq!(user_of(1000, passwd).as_deref(), Some("ml"));
        assert_eq!(user_of(7, passwd), None);
    }
}
