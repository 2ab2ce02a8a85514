//! Settings of the process, resolved from [`configure`](crate::configure), the environment and the defaults.
//!
//! Invariants: a value given to `configure` takes precedence over the environment, the environment over the configuration file,
//! and that over the defaults. A value that cannot be used causes one warning, never an error, and the next source's value
//! is used instead: see [`resolver`]. The tracking URI is the exception: one that cannot be used has no replacement, and values
//! wait in the journal, because they must not go to a store that was not meant.

mod config_file;
pub(crate) mod console;
mod credentials_file;
pub(crate) mod databricks_profile;
pub(crate) mod destination;
pub(crate) mod distributed;
mod explanation;
pub(crate) mod login;
mod login_settings;
pub(crate) mod multipart;
mod proxies;
mod redaction;
pub(crate) mod request_headers;
mod resolver;
pub(crate) mod server;
mod setting;
pub(crate) mod system_metrics;

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::env_vars::{SettingLookup, parse_flag, parse_number, parse_seconds, unusable};
use crate::environment::launcher;
use crate::journal::JournalDirectory;
use crate::journal::user_files::JournalLocation;
use crate::model::experiment_name;
use crate::model::{ExperimentRef, PointRate};
use crate::warnings::UserWarning;
use credentials_file::CredentialsFile;
use destination::Destination;
use resolver::{ChosenSetting, Resolver};
pub use setting::{Setting, SettingSource};

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
    tracking_uri: Option<GivenUri>,
    experiment: Option<ExperimentRef>,
    run_id: Option<String>,
    request_timeout: Option<Duration>,
    max_retries: Option<u32>,
    exit_timeout: Option<Duration>,
    journal_dir: Option<PathBuf>,
    journal_max_bytes: Option<u64>,
    metric_max_points_per_second: Option<f64>,
    quiet: Option<bool>,
    git_diff: Option<&'static str>,
    redact_patterns: redaction::RedactPatterns,
    pub(crate) server: server::ServerOptions,
    pub(crate) console: console::ConsoleOptions,
    pub(crate) rank: distributed::DistributedOptions,
    pub(crate) system_metrics: system_metrics::SystemMetricsOptions,
}

/// Tracking URI as the program gives it. `Debug` shows the destination, without user, password and query.
#[derive(Clone)]
struct GivenUri(String);

impl fmt::Debug for GivenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Destination::parse_or_unusable(&self.0))
    }
}

/// Id of the experiment that exists in every MLflow store, named `Default`.
const DEFAULT_EXPERIMENT_ID: &str = "0";
const TRACKING_URI: &str = "MLFLOW_TRACKING_URI";
const EXPERIMENT_ID: &str = "MLFLOW_EXPERIMENT_ID";
const REQUEST_TIMEOUT: &str = "MLFLOW_HTTP_REQUEST_TIMEOUT";
const MAX_RETRIES: &str = "MLFLOW_HTTP_REQUEST_MAX_RETRIES";
const ENABLED: &str = "MLFLOW_TRACKING_ENABLED";
const EXIT_TIMEOUT: &str = "MLFLOW_EXIT_TIMEOUT";
const JOURNAL_MAX_BYTES: &str = "MLFLOW_JOURNAL_MAX_BYTES";
const METRIC_MAX_POINTS_PER_SECOND: &str = "MLFLOW_METRIC_MAX_POINTS_PER_SECOND";
const QUIET: &str = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT";
/// Description of a timeout that can be used.
const SECONDS: &str = "a number of seconds, 0 or more, below 10^19";

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
    pub(crate) multipart: multipart::MultipartUploads,
    pub(crate) exit_timeout: Duration,
    pub(crate) journal: JournalLocation,
    pub(crate) journal_max_bytes: u64,
    /// Rate above which points are left out of the metrics; `None` if all go to the store.
    pub(crate) point_rate: Option<PointRate>,
    pub(crate) quiet: bool,
    pub(crate) git_diff: Option<&'static str>,
    pub(crate) redact_patterns: redaction::RedactPatterns,
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
    /// server, `http(s)://host[:port][/prefix]`, a database file, `sqlite:///relative.db` or
    /// `sqlite:////absolute.db`, or with the feature `postgres` a database, `postgresql://user@host/database`.
    ///
    /// `databricks` is the server that `DATABRICKS_HOST` and `DATABRICKS_TOKEN` name, or the profile
    /// `DATABRICKS_CONFIG_PROFILE` (`DEFAULT`) of `~/.databrickscfg`, and `databricks://NAME` the profile with that name. Values
    /// wait there under the address of the server. Databricks keeps artifacts in a file system of its own: they wait.
    ///
    /// With a URI that cannot be used, or whose store is not built into the program (cargo features `rest` and
    /// `sqlite`, both on by default), one warning is logged, nothing is sent, and values wait in the journal.
    ///
    /// ```
    /// let config = mlflow::Config::new().tracking_uri("http://127.0.0.1:5000");
    /// # let _ = config;
    /// ```
    pub fn tracking_uri(mut self, uri: impl Into<String>) -> Self {
        self.tracking_uri = Some(GivenUri(uri.into()));
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

    /// Sets how many points a second of each metric of a run go to the store
    /// (`MLFLOW_METRIC_MAX_POINTS_PER_SECOND`, default: all of them), for a server that cannot take what the program logs.
    /// Needs the feature `thinning`; without it, one warning is logged and all points go to the store. A number of 0 or less
    /// leaves the setting unset.
    ///
    /// The first 1,000 points of a metric, and later bursts of as many after a pause, go to the store whole, so that short
    /// runs are complete. Of a metric that is logged faster for longer, points at even distances go to the store, by the times
    /// at which they were logged, and the last one whenever a file is written. Numbers that tracked functions return always go there. Those that are left out are in files
    /// `thinned_metrics/*.parquet` of the run, with the columns `key`, `step`, `timestamp` and `value`: the points of the
    /// metrics and of these files are all that was logged. [`Health::thinned`](crate::Health::thinned) counts what was left
    /// out, and a line on stderr reports it at the end of the process.
    ///
    /// Points that are left out wait in the journal until there are 262,144 of their run, fewer if many runs are open, or the
    /// run ends. They count as queued until then, and [`flush`](crate::flush) does not wait for them. A process whose journal
    /// is in memory leaves nothing out.
    ///
    /// ```
    /// let config = mlflow::Config::new().metric_max_points_per_second(10.0);
    /// # let _ = config;
    /// ```
    pub fn metric_max_points_per_second(mut self, points: f64) -> Self {
        self.metric_max_points_per_second = Some(points);
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

    /// Checks the directory in which values wait until they are delivered, as it is resolved now. Nothing is
    /// created or changed.
    ///
    /// ```
    /// let path = std::env::temp_dir().join("mlflow-journal-of-a-first-run");
    /// let directory = mlflow::Config::new().journal_dir(&path).journal_directory();
    /// assert_eq!((directory.path, directory.problem), (path, None));
    /// assert!(!directory.exists); // the first run creates it
    ///
    /// let file = mlflow::Config::new().journal_dir("/dev/null/journal").journal_directory();
    /// assert!(file.problem.is_some());
    /// ```
    #[must_use]
    pub fn journal_directory(&self) -> JournalDirectory {
        let mut resolver = Resolver::of_process();
        let location = resolve_journal(&mut resolver, self.journal_dir.clone());
        JournalDirectory::check(&location, &temporary_journal())
    }

    /// Returns the fault of the tracking URI, with what was expected; `None` if the URI can be used. Nothing is
    /// contacted.
    ///
    /// ```
    /// let config = mlflow::Config::new().tracking_uri("ftp://host");
    /// assert!(config.tracking_uri_fault().unwrap().starts_with("the tracking URI \"ftp://host\" cannot be used"));
    /// ```
    #[must_use]
    pub fn tracking_uri_fault(&self) -> Option<String> {
        match self.clone().resolve_silently().destination {
            Destination::Unusable(uri) => Some(format!(
                "the tracking URI {:?} cannot be used: {uri}",
                uri.given
            )),
            _ => None,
        }
    }

    /// Returns true if lines on stderr are left out. Called before the other settings are resolved: resolving
    /// them may write such lines.
    pub(crate) fn is_quiet(&self) -> bool {
        resolve_quiet(&mut Resolver::of_process(), self.quiet)
    }

    /// Resolves the settings like [`resolve`](Self::resolve), without a warning of values that cannot be used:
    /// for a caller that logs nothing itself.
    pub(crate) fn resolve_silently(self) -> Settings {
        self.resolve_with(&mut Resolver::of_process(), launcher::rank_info())
    }

    /// Resolves the settings, and puts those into effect that hold for the whole process.
    pub(crate) fn resolve(self) -> Settings {
        let place = launcher::rank_info();
        launcher::warn_faults();
        let settings = self.resolve_by(Resolver::of_process(), place);
        settings.redact_patterns.put_into_effect();
        settings
    }

    /// Resolves the settings like [`resolve`](Self::resolve), with the given variable lookup and rank in place of the
    /// environment's, and without a configuration file.
    pub(crate) fn resolve_from(
        self,
        lookup: SettingLookup<'_>,
        place: Option<launcher::RankInfo>,
    ) -> Settings {
        self.resolve_by(Resolver::new(lookup, None), place)
    }

    /// Resolves the settings, and issues the warnings of the resolver.
    fn resolve_by(self, mut resolver: Resolver<'_>, place: Option<launcher::RankInfo>) -> Settings {
        let settings = self.resolve_with(&mut resolver, place);
        for ChosenSetting { warnings, .. } in resolver.into_record() {
            warnings.iter().for_each(UserWarning::issue);
        }
        settings
    }

    /// Chooses all settings, in the order in which the documentation lists them.
    fn resolve_with(
        self,
        resolver: &mut Resolver<'_>,
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
            metric_max_points_per_second,
            quiet,
            git_diff,
            redact_patterns,
            server,
            console,
            rank,
            system_metrics,
        } = self;
        let destination = resolve_destination(resolver, tracking_uri);
        let named_experiments = resolve_experiments(resolver, experiment);
        let run_id = resolver
            .choose("MLFLOW_RUN_ID")
            .configured(run_id)
            .variable(Ok)
            .or_unset();
        let rank = rank.resolve(resolver, place);
        let home = resolver.read("HOME").map(PathBuf::from);
        let file = home.as_deref().map(CredentialsFile::read);
        let server = server.resolve(resolver, &destination, file.as_ref());
        let request_timeout = resolver
            .choose(REQUEST_TIMEOUT)
            .configured(request_timeout)
            .variable(|value| parse_seconds(REQUEST_TIMEOUT, &value, SECONDS))
            .or(Duration::from_secs(120));
        let max_retries = resolver
            .choose(MAX_RETRIES)
            .configured(max_retries)
            .variable(|value| parse_number(MAX_RETRIES, &value, "a whole number"))
            .or(7);
        let multipart = multipart::MultipartUploads::resolve(resolver);
        let enabled = resolver
            .choose(ENABLED)
            .configured(enabled)
            .variable(|value| parse_flag(ENABLED, &value))
            .or(true);
        let exit_timeout = resolver
            .choose(EXIT_TIMEOUT)
            .configured(exit_timeout)
            .variable(|value| parse_seconds(EXIT_TIMEOUT, &value, SECONDS))
            .or(Duration::from_secs(5));
        let journal = resolve_journal(resolver, journal_dir);
        let journal_max_bytes = resolver
            .choose(JOURNAL_MAX_BYTES)
            .configured(journal_max_bytes)
            .variable(|value| parse_number(JOURNAL_MAX_BYTES, &value, "a number of bytes"))
            .or(1 << 30);
        let point_rate = resolve_point_rate(resolver, metric_max_points_per_second);
        let quiet = resolve_quiet(resolver, quiet);
        let redact_patterns = redact_patterns.resolve(resolver);
        let console = console.resolve(resolver);
        let system_metrics = system_metrics.resolve(resolver);
        Settings {
            enabled,
            destination,
            experiment: named_experiments
                .first()
                .cloned()
                .unwrap_or(ExperimentRef::Id(DEFAULT_EXPERIMENT_ID.to_owned())),
            named_experiments,
            run_id,
            request_timeout,
            max_retries,
            multipart,
            exit_timeout,
            journal,
            journal_max_bytes,
            point_rate,
            quiet,
            git_diff,
            redact_patterns,
            server,
            console,
            rank,
            system_metrics,
        }
    }
}

impl Settings {
    /// Returns the directories in which processes with these settings may have left journals: the configured
    /// one first, then the fallback, which a process may have used because the configured one could not be
    /// written then, then `own`, the root of this process's journal, and the default directories of versions
    /// before 0.1.0.
    pub(crate) fn journal_roots(&self, own: Option<&Path>) -> Vec<PathBuf> {
        let mut roots = vec![self.journal.path().to_owned()];
        for root in [Some(temporary_journal().path()), own]
            .into_iter()
            .flatten()
        {
            if !roots.iter().any(|known| known == root) {
                roots.push(root.to_owned());
            }
        }
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

fn resolve_quiet(resolver: &mut Resolver<'_>, configured: Option<bool>) -> bool {
    resolver
        .choose(QUIET)
        .configured(configured)
        .variable(|value| parse_flag(QUIET, &value))
        .or(false)
}

/// Returns the destination of the first source that is set, even if that destination cannot be used: values
/// that were meant for it must not go to another store.
fn resolve_destination(resolver: &mut Resolver<'_>, configured: Option<GivenUri>) -> Destination {
    let configured = configured.map(|GivenUri(uri)| uri);
    let parse = |uri: String| Ok(Destination::parse_or_unusable(&uri));
    let chosen = resolver
        .choose(TRACKING_URI)
        .configured_as(configured.filter(|uri| !uri.trim().is_empty()), parse)
        .variable_or_fault(parse, |file, fault| {
            Some(Destination::of_unusable_file(file, fault))
        });
    let (destination, source) = match chosen.chosen() {
        Some((destination, SettingSource::Configured)) => {
            (destination.clone(), "the configured tracking URI")
        }
        Some((destination, SettingSource::ConfigFile(_))) => (
            destination.clone(),
            "the tracking URI of the configuration file",
        ),
        Some((destination, _)) => (destination.clone(), TRACKING_URI),
        None => (
            Destination::default_or_unusable(),
            "the default tracking URI",
        ),
    };
    let warning = match &destination {
        Destination::Unusable(unusable) => Some(UserWarning::new(format_args!(
            "{source}={:?} cannot be used: {unusable}. Nothing is sent; values wait in the journal until {}",
            unusable.given,
            if unusable.is_not_built() {
                "a program with the feature, or `cargo mlflow sync`, ships them"
            } else {
                "the tracking URI is fixed"
            }
        ))),
        _ => None,
    };
    chosen.with_warning(warning).or(destination)
}

/// Returns the experiments that are named. A configured one wins over those of the environment; of these, both
/// the name and the id are returned.
fn resolve_experiments(
    resolver: &mut Resolver<'_>,
    configured: Option<ExperimentRef>,
) -> Vec<ExperimentRef> {
    let (name, id) = match configured {
        Some(ExperimentRef::Name(name)) => (Some(name), None),
        Some(id @ ExperimentRef::Id(_)) => (None, Some(id)),
        None => (None, None),
    };
    let mut cut = None;
    let mut parse = |name| {
        let (experiment, warning) = experiment_name::parse_experiment_name(name)?;
        cut = warning;
        Ok(experiment)
    };
    let is_id_set = resolver.is_any_set(&[EXPERIMENT_ID]);
    let mut name = resolver
        .choose("MLFLOW_EXPERIMENT_NAME")
        .configured_as(name, &mut parse);
    let is_name_configured = name.chosen().is_some();
    if id.is_none() {
        // The name takes precedence over the id, but not one of the file over one of the environment.
        name = name.ignoring_file_if(is_id_set).variable(&mut parse);
    }
    let name = name.with_warning(cut).or_unset();
    let mut id = resolver.choose(EXPERIMENT_ID).configured(id);
    if !is_name_configured {
        id = id.variable(|id| Ok(ExperimentRef::Id(id)));
    }
    let default = name.is_none().then_some(DEFAULT_EXPERIMENT_ID);
    let id = id.or_unset_shown_as(default);
    name.into_iter().chain(id).collect()
}

/// Chooses the rate above which points are left out. Without the feature `thinning`, there is none.
fn resolve_point_rate(resolver: &mut Resolver<'_>, configured: Option<f64>) -> Option<PointRate> {
    let parse = |rate: String| {
        let parsed = rate.trim().parse().ok().and_then(PointRate::new);
        parsed.ok_or_else(|| unusable(METRIC_MAX_POINTS_PER_SECOND, &rate, "a number above 0"))
    };
    let choice = resolver
        .choose(METRIC_MAX_POINTS_PER_SECOND)
        .configured(configured.and_then(PointRate::new))
        .variable(parse);
    let is_missing = !cfg!(feature = "thinning") && choice.chosen().is_some();
    let missing = is_missing.then(|| {
        UserWarning::new(format_args!(
            "{METRIC_MAX_POINTS_PER_SECOND} is ignored and all points go to the store: build the program with \
             mlflow-runtime's feature `thinning`"
        ))
    });
    choice.unless(missing).or_unset()
}

fn resolve_journal(resolver: &mut Resolver<'_>, configured: Option<PathBuf>) -> JournalLocation {
    // The program may change its working directory.
    let named = |path| JournalLocation::from(std::path::absolute(&path).unwrap_or(path));
    resolver
        .choose("MLFLOW_JOURNAL_DIR")
        .configured(configured.map(named))
        .variable(|path| Ok(named(path.into())))
        .or_else(default_journal)
}

/// The folder of this library in a directory of states or of temporary files.
const JOURNAL_FOLDER: &str = "mlflow-runtime";

fn default_journal(resolver: &mut Resolver<'_>) -> JournalLocation {
    let state = resolver
        .read("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(resolver.read("HOME")?).join(".local/state")));
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
        let find = move |variable: &str| {
            let mut matching = environment.iter().filter(|(key, _)| *key == variable);
            matching.next().map(|(_, value)| value.into())
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
    fn a_rate_of_points_needs_the_feature() {
        let environment = [(METRIC_MAX_POINTS_PER_SECOND, "2.5")];
        let of_variable = resolve(Config::new(), &environment).point_rate;
        let configured = Config::new().metric_max_points_per_second(10.0);
        let of_code = resolve(configured, &environment).point_rate;
        let expected = [2.5, 10.0].map(PointRate::new);
        let is_built = cfg!(feature = "thinning");
        let expected = expected.map(|rate| rate.filter(|_| is_built));
        assert_eq!([of_variable, of_code], expected);
        for unusable in [0.0, -1.0, f64::NAN] {
            let configured = Config::new().metric_max_points_per_second(unusable);
            assert_eq!(resolve(configured, &[]).point_rate, None);
        }
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
        let token = |settings: Settings| match settings.server.login.token {
            Some(login::TokenSource::Value(token)) => Some(token.into_inner()),
            _ => None,
        };
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
