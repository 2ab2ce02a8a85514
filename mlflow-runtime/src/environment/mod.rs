//! Facts about the process that nobody has to configure: user, host, program, compiler, and the service that
//! started the process.
//!
//! Invariants: a fact that cannot be found out is left out, and nothing here fails. The environment is read
//! once per process. Values from `MLFLOW_RUN_CONTEXT` win over detected ones.

mod ci;
pub(crate) mod launcher;
pub(crate) mod run_context;
mod scheduler;

use std::env;
use std::path::Path;
use std::sync::Arc;

use mlflow_rules::Edge;
use once_cell::race::OnceBox;

use crate::env_vars::read_description;
use crate::model::Tag;
use crate::model::limits;
use crate::model::tag_keys;
use crate::warnings;

/// Facts that every run of the process shares.
pub(crate) struct Environment {
    pub(crate) user: String,
    pub(crate) host: String,
    tags: Vec<Tag>,
    /// Keys of the tags that `MLFLOW_RUN_CONTEXT` sets.
    overridden_keys: Vec<String>,
}

/// Variable that names the environment that the program is deployed in.
pub(crate) const DEPLOYMENT_ENVIRONMENT: &str = "MLFLOW_ENV";

/// Lookup of a variable's value, which succeeds if the variable is set and not empty.
type VariableLookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Returns the facts about this process, which are read at the first call.
pub(crate) fn for_process() -> &'static Environment {
    static ENVIRONMENT: OnceBox<Environment> = OnceBox::new();
    if let Some(environment) = ENVIRONMENT.get() {
        return environment;
    }
    let mut told = run_context::read_tags(&read_description);
    let tags = told.as_deref_mut().unwrap_or_default();
    let mended = run_context::fix_keys(tags);
    let environment = Environment::read(tags.to_vec());
    // The facts are complete before the warnings are issued: a warning may reach a subscriber that starts a
    // run.
    let is_first = ENVIRONMENT.set(Box::new(environment)).is_ok();
    let known = for_process();
    match told {
        Ok(_) if is_first => {
            mended.into_iter().for_each(warnings::warn_without_dedup);
        }
        Err(unusable) if is_first => unusable.issue(),
        _ => {}
    }
    known
}

impl Environment {
    fn read(told: Vec<Tag>) -> Self {
        let user = detect_user().unwrap_or_default();
        let host = host_name().unwrap_or_default();
        let command = env::args_os()
            .next()
            .map(|argument| argument.to_string_lossy().into_owned());
        let executable = command
            .as_deref()
            .and_then(|command| Path::new(command).file_name())
            .map(|name| name.to_string_lossy().into_owned());
        let found = [
            (
                tag_keys::USER,
                Some(user.clone()).filter(|user| !user.is_empty()),
            ),
            (tag_keys::SOURCE_NAME, command),
            (tag_keys::SOURCE_TYPE, Some("LOCAL".to_owned())),
            (
                tag_keys::HOST_NAME,
                Some(host.clone()).filter(|host| !host.is_empty()),
            ),
            ("host.arch", Some(host_arch().to_owned())),
            ("os.type", Some(env::consts::OS.to_owned())),
            (tag_keys::PROCESS_ID, Some(std::process::id().to_string())),
            ("process.executable.name", executable),
            ("deployment.environment", deployment_environment()),
            // If the build knows the commit, the build's tag of the same key wins.
            (tag_keys::GIT_COMMIT, read_description("GIT_COMMIT")),
            // Set by the build script; see `build.rs`.
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
            .chain(ci::collect_tags(&read_description))
            .chain(scheduler::collect_tags(
                &read_description,
                scheduler::NAMESPACE_FILE.as_ref(),
            ))
            .chain(launcher::rank_tags());
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
            overridden_keys: told.into_iter().map(|tag| tag.key).collect(),
        }
    }

    /// Returns the tags as a journal may hold them: masked, and within the limits. `process.pid` is that of
    /// the calling process, even if it was forked from the process that read the facts.
    pub(crate) fn common_tags(&self) -> Arc<[Tag]> {
        let admitted = |tag: &Tag| {
            let value = match tag.key.as_str() {
                tag_keys::PROCESS_ID => std::process::id().to_string(),
                _ => tag.value.clone(),
            };
            let masked = mlflow_rules::mask(&value, Edge::End).map_or(value, |masked| masked.text);
            let (cut, _) = limits::truncate_chars(masked.as_str().into(), limits::TAG_VALUE_CHARS);
            Tag {
                key: tag.key.clone(),
                value: limits::replace_nul(&cut).unwrap_or_else(|| cut.into_owned()),
            }
        };
        self.tags.iter().map(admitted).collect()
    }

    /// Returns true if every run has this tag.
    pub(crate) fn has_tag(&self, key: &str) -> bool {
        self.tags.iter().any(|tag| tag.key == key)
    }

    /// Returns true if `MLFLOW_RUN_CONTEXT` sets this tag.
    pub(crate) fn is_overridden(&self, key: &str) -> bool {
        self.overridden_keys.iter().any(|told| told == key)
    }
}

/// Returns the environment that the program is deployed in (`MLFLOW_ENV`).
pub(crate) fn deployment_environment() -> Option<String> {
    read_description(DEPLOYMENT_ENVIRONMENT)
}

/// Returns the login name: that of the variables which the shell sets, else that of the password file.
fn detect_user() -> Option<String> {
    ["LOGNAME", "USER", "USERNAME"]
        .into_iter()
        .find_map(read_description)
        .or_else(|| {
            find_passwd_user(
                rustix::process::getuid().as_raw(),
                &std::fs::read_to_string("/etc/passwd").ok()?,
            )
        })
}

/// Finds the name of a user id in the text of a password file (`passwd(5)`).
fn find_passwd_user(id: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?;
        (uid.parse() == Ok(id)).then(|| name.to_owned())
    })
}

fn host_name() -> Option<String> {
    rustix::system::uname()
        .nodename()
        .to_str()
        .ok()
        .map(str::to_owned)
}

/// Returns the architecture in OpenTelemetry's terms (`host.arch`).
fn host_arch() -> &'static str {
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
    fn every_tag_of_a_process_is_known_as_automatic() {
        let environment = Environment::read(Vec::new());
        assert!(environment.tags.len() > 5);
        for Tag { key, .. } in &environment.tags {
            assert!(tag_keys::is_automatic_tag(key), "{key}");
        }
    }

    #[test]
    fn the_password_file_names_the_user() {
        let passwd = "root:x:0:0:root:/:/bin/sh\n# odd line\nml:x:1000:1000::/:/bin/sh\n";
        assert_eq!(find_passwd_user(1000, passwd).as_deref(), Some("ml"));
        assert_eq!(find_passwd_user(7, passwd), None);
    }
}
