//! What is known about the process without being told: user, host, program, compiler, and who
//! started it.
//!
//! Invariants: what cannot be found out is left out; nothing here fails. Read once per process. What
//! `MLFLOW_RUN_CONTEXT` says wins over what is found.

mod ci;
pub(crate) mod launcher;
mod run_context;
mod scheduler;

use std::env;
use std::path::Path;
use std::sync::Arc;

use mlflow_redact::Edge;
use once_cell::race::OnceBox;

use crate::model::Tag;
use crate::model::limits;
use crate::warnings;

/// The facts that every run of the process shares.
pub(crate) struct Environment {
    pub(crate) user: String,
    pub(crate) host: String,
    tags: Vec<Tag>,
    /// Keys that `MLFLOW_RUN_CONTEXT` has given values to.
    told: Vec<String>,
}

/// The value of a variable that is set and not empty.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Read at the first call.
pub(crate) fn process() -> &'static Environment {
    static ENVIRONMENT: OnceBox<Environment> = OnceBox::new();
    if let Some(environment) = ENVIRONMENT.get() {
        return environment;
    }
    let mut told = run_context::read(&variable);
    let tags = told.as_deref_mut().unwrap_or_default();
    let mended = run_context::mend_keys(tags);
    let environment = Environment::read(tags.to_vec());
    // A warning may reach a subscriber that starts a run, too: by then all is known.
    let is_first = ENVIRONMENT.set(Box::new(environment)).is_ok();
    let known = process();
    match told {
        Ok(_) if is_first => {
            mended.into_iter().for_each(warnings::tell);
        }
        Err(unusable) if is_first => unusable.tell(),
        _ => {}
    }
    known
}

impl Environment {
    fn read(told: Vec<Tag>) -> Self {
        let user = user().unwrap_or_default();
        let host = host().unwrap_or_default();
        let command = env::args_os()
            .next()
            .map(|argument| argument.to_string_lossy().into_owned());
        let executable = command
            .as_deref()
            .and_then(|command| Path::new(command).file_name())
            .map(|name| name.to_string_lossy().into_owned());
        let found = [
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
            ("deployment.environment", deployment()),
            // Where the build knows the commit, that is another tag of the same name, and wins.
            ("mlflow.source.git.commit", variable("GIT_COMMIT")),
            // By the build script: see there.
            (
                "rust.version",
                option_env!("MLFLOW_BUILT_WITH").map(str::to_owned),
            ),
            (
                "rust.target",
                option_env!("MLFLOW_BUILT_FOR").map(str::to_owned),
            ),
            (
                "rust.profile",
                option_env!("MLFLOW_BUILT_AS").map(str::to_owned),
            ),
        ];
        let found = found
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .chain(ci::tags(&variable))
            .chain(scheduler::tags(
                &variable,
                scheduler::NAMESPACE_FILE.as_ref(),
            ))
            .chain(launcher::tags());
        let tags = found
            .map(|(key, value)| Tag {
                key: key.to_owned(),
                value,
            })
            .filter(|tag| told.iter().all(|told| told.key != tag.key))
            .chain(told.iter().cloned())
            .collect();
        Self {
            user,
            host,
            tags,
            told: told.into_iter().map(|tag| tag.key).collect(),
        }
    }

    /// The tags, as a journal may have them: masked and within the limits, and of this process, also
    /// where it was forked from the one that looked.
    pub(crate) fn common_tags(&self) -> Arc<[Tag]> {
        let admitted = |tag: &Tag| {
            let value = match tag.key.as_str() {
                "process.pid" => std::process::id().to_string(),
                _ => tag.value.clone(),
            };
            let masked = mlflow_redact::mask(&value, Edge::End).map_or(value, |masked| masked.text);
            let (cut, _) = limits::cut(masked.as_str().into(), limits::TAG_VALUE_CHARS);
            Tag {
                key: tag.key.clone(),
                value: limits::without_nul(&cut).unwrap_or_else(|| cut.into_owned()),
            }
        };
        self.tags.iter().map(admitted).collect()
    }

    /// Whether every run has this tag.
    pub(crate) fn has_tag(&self, key: &str) -> bool {
        self.tags.iter().any(|tag| tag.key == key)
    }

    /// Whether `MLFLOW_RUN_CONTEXT` says what this tag is.
    pub(crate) fn is_told(&self, key: &str) -> bool {
        self.told.iter().any(|told| told == key)
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Returns the environment that the program is deployed in (`MLFLOW_ENV`).
pub(crate) fn deployment() -> Option<String> {
    variable("MLFLOW_ENV")
}

/// The login name: the variables that the shell sets, else the password file.
fn user() -> Option<String> {
    ["LOGNAME", "USER", "USERNAME"]
        .into_iter()
        .find_map(variable)
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
