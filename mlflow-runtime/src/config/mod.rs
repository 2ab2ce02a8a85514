//! Settings of the process, resolved from [`configure`](crate::configure), the environment and the defaults.
//!
//! Invariants: a value given to `configure` takes precedence over the environment, and the environment over
//! the defaults. A value that cannot be used causes one warning, never an error, and the next source's value
//! is used instead. The tracking URI is the exception: one that cannot be used has no replacement, and values
//! wait in the journal, because they must not go to a store that was not meant.

pub(crate) mod console;
mod credentials_file;
pub(crate) mod destination;
pub(crate) mod distributed;
pub(crate) mod server;
pub(crate) mod system_metrics;

use std::env;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::env_vars::{self, read_number, read_setting};
use crate::environment::launcher;
use crate::journal::Journal;
use crate::journal::user_files::JournalLocation;
use crate::model::ExperimentRef;
use crate::model::experiment_name;
use crate::warnings::warn_user;
use destination::Destination;

/// Settings of the process; see [`configure`](crate::configure).
///
/// Settings that are not given here come from the environment, then from the defaults.
///
/// ```
/// # use std::time::Duration;
/// let config = mlflow::Config::new()
///     .tracking_uri("http://127.0.0.1:5000")
///     .experiment("wine-quality")
///     .exit_timeout(Duration::from_secs(2));
/// # let _ = config;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Config {
    enabled: Option<bool>,
    tracking_uri: Option<String>,
    experiment: Option<ExperimentRef>,
    run_id: Option<String>,
    request_timeout: Option<Duration>,
    max_retries: Option<u32>,
    exit_timeout: Option<Duration>,
    journal_dir: Option<PathBuf>,
    journal_max_bytes: Option<u64>,
    quiet: Option<bool>,
    git_diff: Option<&'static str>,
    pub(crate) server: server::ServerOptions,
    pub(crate) console: console::ConsoleOptions,
    pub(crate) rank: distributed::DistributedOptions,
    pub(crate) system_metrics: system_metrics::SystemMetricsOptions,
}

/// Id of the experiment that exists in every MLflow store, named `Default`.
const DEFAULT_EXPERIMENT_ID: &str = "0";
const QUIET: &str = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT";

/// Resolved settings: explicit values, then the environment, then defaults.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) enabled: bool,
    pub(crate) destination: Destination,
    pub(crate) experiment: ExperimentRef,
    /// Experiments named by `configure` or by the environment; the first one is `experiment`. Empty if the
    /// default experiment is used.
    pub(crate) named_experiments: Vec<ExperimentRef>,
    pub(crate) run_id: Option<String>,
    pub(crate) request_timeout: Duration,
    pub(crate) max_retries: u32,
    pub(crate) exit_timeout: Duration,
    pub(crate) journal: JournalLocation,
    pub(crate) journal_max_bytes: u64,
    pub(crate) quiet: bool,
    pub(crate) git_diff: Option<&'static str>,
    pub(crate) server: server::ServerSettings,
    pub(crate) console: console::ConsoleSettings,
    pub(crate) rank: distributed::DistributedSettings,
    pub(crate) system_metrics: system_metrics::SystemMetricsSettings,
}

impl Config {
    /// Returns a configuration with nothing set: every setting comes from the environment or the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns tracking on or off (`MLFLOW_TRACKING_ENABLED`, default true).
    ///
    /// ```
    /// let config = mlflow::Config::new().enabled(false);
    /// # let _ = config;
    /// ```
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = Some(enabled);
        self
    }

    /// Sets the destination of runs (`MLFLOW_TRACKING_URI`, default `sqlite:///mlflow.db`): a tracking
    /// server, `http(s)://host[:port][/prefix]`, or a database file, `sqlite:///relative.db` or
    /// `sqlite:////absolute.db`.
    ///
    /// With a URI that cannot be used, one warning is logged, nothing is sent, and values wait in the
    /// journal.
    ///
    /// ```
    /// let config = mlflow::Config::new().tracking_uri("http://127.0.0.1:5000");
    /// # let _ = config;
    /// ```
    pub fn tracking_uri(mut self, uri: impl Into<String>) -> Self {
        self.tracking_uri = Some(uri.into());
        self
    }

    /// Sets the experiment of runs that name none (`MLFLOW_EXPERIMENT_NAME`, default `Default`). An
    /// experiment that does not exist is created.
    ///
    /// ```
    /// let config = mlflow::Config::new().experiment("wine-quality");
    /// # let _ = config;
    /// ```
    pub fn experiment(mut self, name: impl Into<String>) -> Self {
        self.experiment = Some(ExperimentRef::Name(name.into()));
        self
    }

    /// Sets the experiment of runs that name none, by its id (`MLFLOW_EXPERIMENT_ID`). The experiment must
    /// exist. The last call of `experiment` or `experiment_id` counts; in the environment, the name takes
    /// precedence over the id.
    ///
    /// ```
    /// let config = mlflow::Config::new().experiment_id("1");
    /// # let _ = config;
    /// ```
    pub fn experiment_id(mut self, id: impl Into<String>) -> Self {
        self.experiment = Some(ExperimentRef::Id(id.into()));
        self
    }

    /// Sets the id of the run that the first run without a parent continues (`MLFLOW_RUN_ID`). A process that
    /// is one of several joins that run instead; see [`distributed`](crate::distributed).
    ///
    /// A program that this one starts inherits the environment variable and, if the program is tracked,
    /// continues the same run. Unless that is wanted, start the program with
    /// [`Command::env_remove`](std::process::Command::env_remove). MLflow's Python client removes the
    /// variable from its own environment; a Rust library cannot do that, as other threads may be reading the
    /// environment.
    ///
    /// ```
    /// let config = mlflow::Config::new().run_id("0f1a6c3be2d94f5d8f3c1f7a1c2b3d4e");
    /// # let _ = config;
    /// ```
    pub fn run_id(mut self, id: impl Into<String>) -> Self {
        self.run_id = Some(id.into());
        self
    }

    /// Sets the longest time that one request may take (`MLFLOW_HTTP_REQUEST_TIMEOUT`, in seconds, default
    /// 120 s). For the upload of an artifact, it is the longest time without progress.
    ///
    /// ```
    /// let config = mlflow::Config::new().request_timeout(std::time::Duration::from_secs(30));
    /// # let _ = config;
    /// ```
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = Some(timeout);
        self
    }

    /// Sets the number of retries after which the store counts as unavailable
    /// (`MLFLOW_HTTP_REQUEST_MAX_RETRIES`, default 7); [`health`](crate::health) then reports
    /// [`TrackingState::Degraded`](crate::TrackingState::Degraded). Values are kept all the same, and sending them is retried
    /// at intervals that grow up to a minute.
    ///
    /// ```
    /// let config = mlflow::Config::new().max_retries(3);
    /// # let _ = config;
    /// ```
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = Some(retries);
        self
    }

    /// Sets how long the end of the process waits for values that are not delivered yet
    /// (`MLFLOW_EXIT_TIMEOUT`, in seconds, default 5 s). Values that are left then stay in the journal, and a
    /// later tracked process with the same destination ships them.
    ///
    /// ```
    /// let config = mlflow::Config::new().exit_timeout(std::time::Duration::from_secs(20));
    /// # let _ = config;
    /// ```
    pub fn exit_timeout(mut self, timeout: Duration) -> Self {
        self.exit_timeout = Some(timeout);
        self
    }

    /// Sets the directory in which values wait until they are delivered (`MLFLOW_JOURNAL_DIR`). The default
    /// is `mlflow-runtime/journal` in the user's state directory (`$XDG_STATE_HOME`, else `~/.local/state`),
    /// or `mlflow-runtime-<uid>/journal` in the temporary directory if neither `XDG_STATE_HOME` nor `HOME` is
    /// set. Several users may share a directory: the processes of each user ship that user's values only.
    ///
    /// ```
    /// let config = mlflow::Config::new().journal_dir("/scratch/mlflow-journal");
    /// # let _ = config;
    /// ```
    pub fn journal_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.journal_dir = Some(directory.into());
        self
    }

    /// Sets the number of bytes that metrics, short texts and log lines may take in the journal of the
    /// process (`MLFLOW_JOURNAL_MAX_BYTES`, default 1 GiB). Beyond that, metrics are dropped and counted,
    /// with a warning; params, tags, and the starts and ends of runs are still taken. Copies of artifacts do
    /// not count. They are limited by the free space of the disk, of which 5 %, at most 1 GiB, stay free.
    ///
    /// ```
    /// let config = mlflow::Config::new().journal_max_bytes(4 << 30);
    /// # let _ = config;
    /// ```
    pub fn journal_max_bytes(mut self, bytes: u64) -> Self {
        self.journal_max_bytes = Some(bytes);
        self
    }

    /// Turns the library's own lines on stderr off or on (`MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT`, default
    /// false: lines are written). Warnings still go to `tracing` subscribers.
    ///
    /// ```
    /// let config = mlflow::Config::new().quiet(true);
    /// # let _ = config;
    /// ```
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = Some(quiet);
        self
    }

    /// Sets the content of the artifact `git/diff.patch`, as [`git_diff!`](crate::git_diff) returns it
    /// (default: no such artifact). New runs without a parent get the artifact; runs that are resumed do not.
    ///
    /// ```
    /// let config = mlflow::Config::new().git_diff(mlflow::git_diff!());
    /// # let _ = config;
    /// ```
    pub fn git_diff(mut self, diff: Option<&'static str>) -> Self {
        self.git_diff = diff;
        self
    }

    /// Returns true if lines on stderr are left out. Called before the other settings are resolved: resolving
    /// them may write such lines.
    pub(crate) fn is_quiet(&self) -> bool {
        let is_true = |value: &str| value == "1" || value.eq_ignore_ascii_case("true");
        let is_set = || env::var(QUIET).is_ok_and(|value| is_true(value.trim()));
        self.quiet.unwrap_or_else(is_set)
    }

    pub(crate) fn resolve(self) -> Settings {
        let place = launcher::rank_info();
        launcher::warn_faults();
        self.resolve_from(&read_setting, place)
    }

    /// Resolves the settings like [`resolve`](Self::resolve), with the given variable look-up and rank in
    /// place of the environment's.
    pub(crate) fn resolve_from(
        self,
        text: &dyn Fn(&'static str) -> Option<String>,
        place: Option<launcher::RankInfo>,
    ) -> Settings {
        let Self {
            enabled,
            tracking_uri,
            experiment,
            run_id,
            request_timeout,
            max_retries,
            exit_timeout,
            journal_dir,
            journal_max_bytes,
            quiet,
            git_diff,
            server,
            console,
            rank,
            system_metrics,
        } = self;
        let home = text("HOME").map(PathBuf::from);
        let in_file = home.map_or_else(Default::default, |home| {
            credentials_file::read_credentials(&home)
        });
        for variable in ["MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4"] {
            let is_off = |value: &str| matches!(value.trim(), "0" | "false" | "False");
            if let Some(value) = text(variable).filter(|value| !is_off(value)) {
                warn_user(format_args!(
                    "{variable}={value:?} is not supported and is ignored; requests carry MLFLOW_TRACKING_USERNAME \
                     and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
                ));
            }
        }
        let flag =
            |variable| text(variable).and_then(|value| env_vars::parse_flag(variable, &value));
        let seconds = |variable| {
            let expected = "a number of seconds, 0 or more, below 10^19";
            text(variable).and_then(|value| env_vars::parse_seconds(variable, &value, expected))
        };
        let configured = experiment.and_then(|experiment| match experiment {
            ExperimentRef::Name(name) => experiment_name::experiment_from_name(name),
            id @ ExperimentRef::Id(_) => Some(id),
        });
        let named_experiments = match configured {
            Some(configured) => vec![configured],
            None => {
                let name =
                    text("MLFLOW_EXPERIMENT_NAME").and_then(experiment_name::experiment_from_name);
                let id = text("MLFLOW_EXPERIMENT_ID").map(ExperimentRef::Id);
                name.into_iter().chain(id).collect()
            }
        };
        Settings {
            enabled: enabled
                .or_else(|| flag("MLFLOW_TRACKING_ENABLED"))
                .unwrap_or(true),
            destination: resolve_destination([
                tracking_uri
                    .filter(|uri| !uri.trim().is_empty())
                    .map(|uri| ("the configured tracking URI", uri)),
                text("MLFLOW_TRACKING_URI").map(|uri| ("MLFLOW_TRACKING_URI", uri)),
            ]),
            experiment: named_experiments
                .first()
                .cloned()
                .unwrap_or(ExperimentRef::Id(DEFAULT_EXPERIMENT_ID.to_owned())),
            named_experiments,
            run_id: run_id.or_else(|| text("MLFLOW_RUN_ID")),
            request_timeout: request_timeout
                .or_else(|| seconds("MLFLOW_HTTP_REQUEST_TIMEOUT"))
                .unwrap_or(Duration::from_secs(120)),
            max_retries: max_retries
                .or_else(|| read_number(text, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "a whole number"))
                .unwrap_or(7),
            exit_timeout: exit_timeout
                .or_else(|| seconds("MLFLOW_EXIT_TIMEOUT"))
                .unwrap_or(Duration::from_secs(5)),
            journal: journal_dir
                .or_else(|| text("MLFLOW_JOURNAL_DIR").map(PathBuf::from))
                // The program may change its working directory.
                .map(|path| std::path::absolute(&path).unwrap_or(path))
                .map_or_else(|| default_journal(text), JournalLocation::from),
            journal_max_bytes: journal_max_bytes
                .or_else(|| read_number(text, "MLFLOW_JOURNAL_MAX_BYTES", "a number of bytes"))
                .unwrap_or(1 << 30),
            quiet: quiet.or_else(|| flag(QUIET)).unwrap_or(false),
            git_diff,
            server: server.resolve(text, &flag, in_file),
            console: console.resolve(text, &flag),
            rank: rank.resolve(text, place),
            system_metrics: system_metrics.resolve(text, &flag),
        }
    }
}

impl Settings {
    /// Returns the directories in which processes with these settings may have left journals, including the
    /// default directories of versions before 0.1.0.
    pub(crate) fn journal_roots(&self, journal: &Journal) -> Vec<PathBuf> {
        let mut roots = journal.roots(self.journal.path(), temporary_journal().path());
        let former: Vec<PathBuf> = roots.iter().filter_map(|root| former_root(root)).collect();
        roots.extend(former);
        roots
    }
}

/// Returns the directory that versions before 0.1.0 used in place of `root`, if `root` is a default directory.
// Input:  `/home/u/.local/state/mlflow-runtime/journal`
// Output: `/home/u/.local/state/mlflow-rs/journal`
fn former_root(root: &Path) -> Option<PathBuf> {
    let parent = root.parent().filter(|_| root.ends_with("journal"))?;
    let user = parent.file_name()?.to_str()?.strip_prefix(JOURNAL_FOLDER)?;
    let is_default = user.is_empty() || user.starts_with('-');
    is_default.then(|| {
        parent
            .with_file_name(format!("mlflow-rs{user}"))
            .join("journal")
    })
}

/// Returns the destination of the first source that is set, even if that destination cannot be used: values
/// that were meant for it must not go to another store.
fn resolve_destination(sources: [Option<(&str, String)>; 2]) -> Destination {
    let Some((source, uri)) = sources.into_iter().flatten().next() else {
        return Destination::default();
    };
    let destination = Destination::parse_or_unusable(&uri);
    if let Destination::Unusable(unusable) = &destination {
        warn_user(format_args!(
            "{source}={:?} cannot be used: {unusable}. Nothing is sent; values wait in the journal until the tracking URI is fixed",
            unusable.given
        ));
    }
    destination
}

/// The folder of this library in a directory of states or of temporary files.
const JOURNAL_FOLDER: &str = "mlflow-runtime";

fn default_journal(text: &dyn Fn(&'static str) -> Option<String>) -> JournalLocation {
    let state = text("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| text("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    state.map_or_else(temporary_journal, |state| {
        JournalLocation::below(state, &[JOURNAL_FOLDER, "journal"])
    })
}

/// Returns the journal location below the temporary directory. Everybody can write to that directory, so each
/// user has a location of their own.
pub(crate) fn temporary_journal() -> JournalLocation {
    let user = rustix::process::geteuid().as_raw();
    JournalLocation::below(
        env::temp_dir(),
        &[&format!("{JOURNAL_FOLDER}-{user}"), "journal"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn resolve(config: Config, environment: &[(&'static str, &str)]) -> Settings {
        let environment: Vec<(&str, String)> = environment
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()))
            .collect();
        let find = move |variable| {
            let mut matching = environment.iter().filter(|(key, _)| *key == variable);
            matching.next().map(|(_, value)| value.clone())
        };
        config.resolve_from(&find, None)
    }

    #[test]
    fn what_is_configured_wins_over_the_environment_and_that_over_the_defaults() {
        let environment = [
            ("MLFLOW_TRACKING_URI", "http://env"),
            ("MLFLOW_EXPERIMENT_ID", "7"),
        ];
        let settings = resolve(Config::new().tracking_uri("http://code"), &environment);
        assert_eq!(settings.destination.to_string(), "http://code");
        assert_eq!(settings.experiment, ExperimentRef::Id("7".to_owned()));
        assert_eq!(settings.exit_timeout, Duration::from_secs(5));
        assert_eq!(settings.journal_max_bytes, 1 << 30);
    }

    #[test]
    fn values_that_cannot_be_used_fall_back_to_the_default() {
        let environment = [
            ("MLFLOW_TRACKING_URI", "redis://host"),
            ("MLFLOW_TRACKING_ENABLED", "maybe"),
            ("MLFLOW_HTTP_REQUEST_TIMEOUT", "-3"),
            ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "many"),
            ("MLFLOW_JOURNAL_MAX_BYTES", "1 GB"),
        ];
        let settings = resolve(Config::new(), &environment);
        assert!(settings.enabled);
        assert_eq!(settings.destination.to_string(), "redis://host");
        assert_eq!(settings.request_timeout, Duration::from_secs(120));
        assert_eq!(settings.max_retries, 7);
        assert_eq!(settings.journal_max_bytes, 1 << 30);
    }

    #[test]
    fn journals_of_the_former_directory_are_found() {
        let former = |root: &str| former_root(Path::new(root));
        let state = PathBuf::from("/home/u/.local/state/mlflow-rs/journal");
        assert_eq!(
            former("/home/u/.local/state/mlflow-runtime/journal"),
            Some(state)
        );
        let temporary = PathBuf::from("/tmp/mlflow-rs-7/journal");
        assert_eq!(former("/tmp/mlflow-runtime-7/journal"), Some(temporary));
        for named in [
            "/data/journal",
            "/data/mlflow-runtime/spool",
            "/data/mlflow-runtimes/journal",
        ] {
            assert_eq!(former(named), None, "{named}");
        }
    }

    #[test]
    fn a_journal_that_nobody_has_named_is_in_a_place_of_the_users_own() {
        let path = |environment: &[_]| {
            resolve(Config::new(), environment)
                .journal
                .path()
                .to_owned()
        };
        let user = rustix::process::geteuid().as_raw();
        let temporary = env::temp_dir().join(format!("mlflow-runtime-{user}/journal"));
        assert_eq!(path(&[]), temporary);
        assert_eq!(path(&[("XDG_STATE_HOME", "relative")]), temporary);
        let home = PathBuf::from("/home/u/.local/state/mlflow-runtime/journal");
        assert_eq!(path(&[("HOME", "/home/u")]), home);
        let named = [("HOME", "/home/u"), ("MLFLOW_JOURNAL_DIR", "/j")];
        assert_eq!(path(&named), PathBuf::from("/j"));
        // A relative path is made absolute: the program may change its working directory later.
        let here = env::current_dir().expect("it is there");
        let relative = [("MLFLOW_JOURNAL_DIR", "j")];
        assert_eq!(path(&relative), here.join("j"));
    }

    /// Guards against a bug: a token that was read from a file ended in a line break, was no valid header
    /// value, and blocked all values.
    #[test]
    fn a_line_break_at_the_end_of_a_credential_is_left_out() {
        let token = |settings: Settings| settings.server.login.token.map(Secret::into_inner);
        let given = Config::new().token("tok3n\r\n");
        assert_eq!(token(resolve(given, &[])).as_deref(), Some("tok3n"));
        let environment = [("MLFLOW_TRACKING_TOKEN", "tok3n\n")];
        let found = resolve(Config::new(), &environment);
        assert_eq!(token(found).as_deref(), Some("tok3n"));
        let login = resolve(Config::new().basic_auth("ml\n", "hunter2\n"), &[])
            .server
            .login;
        assert_eq!(login.username.as_deref(), Some("ml"));
        assert_eq!(
            login.password.map(Secret::into_inner).as_deref(),
            Some("hunter2")
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = resolve(
            Config::new().basic_auth("ml", "hunter2").token("tok3n"),
            &[],
        );
        let shown = format!("{settings:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("tok3n"),
            "{shown}"
        );
    }
}
