//! MLflow experiment tracking for Rust. One attribute turns a function into a tracked run:
//!
//! ```
//! use mlflow::tracked;
//!
//! #[derive(serde::Serialize)]
//! struct Scores { rmse: f64, r2: f64 }
//!
//! /// ElasticNet on the wine-quality data.
//! #[tracked(experiment = "wine-quality", tags(model = "elastic-net"))]
//! fn train(alpha: f64, l1_ratio: f64) -> Result<Scores, std::io::Error> {
//!     for epoch in 0..3 {
//!         mlflow::metric!("loss", alpha / f64::from(epoch + 1), step = epoch);
//!     }
//!     Ok(Scores { rmse: 0.79, r2: 0.11 })
//! }
//!
//! # let fake = mlflow::testing::fake();
//! train(0.5, 0.1)?;
//! # fake.assert_param("l1_ratio", "0.1");
//! # fake.assert_metric("rmse", &[(0, 0.79)]);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Without any configuration, runs go to `mlflow.db` in the working directory, the file that `mlflow ui`
//! shows. With `MLFLOW_TRACKING_URI=http://…` they go to a tracking server.
//!
//! # Promises
//!
//! **A tracked function computes, returns, panics and is cancelled exactly as it would without the attribute,
//! whatever happens to tracking.** No function of this crate returns a tracking error to the code that logs.
//! Problems are reported in [`health`], and in the log (`tracing`, target `mlflow`): see [`diagnostics`].
//!
//! - *Fast*: a log call writes to memory that the file system owns, and makes no system call; only a new segment of the journal, once in thousands of calls, costs more.
//! - *Nothing lost*: once a log call has returned, the value survives the end of the process, be it a panic,
//!   `abort` or `SIGKILL`. Values that are not delivered when a process ends are shipped by the next tracked
//!   process with the same destination. At most `MLFLOW_JOURNAL_MAX_BYTES` may wait; beyond that, metrics are
//!   dropped and counted. Files and large texts wait beside the journal, as many as the disk has space for.
//!   If no file can be written (the disk is full, or read-only), the journal is kept in memory, with a
//!   warning.
//! - *Loss of power*: a weaker guarantee. The device is asked to store a value five seconds after it was
//!   logged, and at once when its run ends, and to store an artifact's bytes before that. A copy of an
//!   artifact that has lost some of its bytes is rejected, and never delivered as if it were whole.
//! - *Never in the way*: the end of the process waits at most `MLFLOW_EXIT_TIMEOUT` for its values to be
//!   delivered, and at most a tenth of that for values that other processes have left. If the store is known
//!   to be unavailable, the wait is shorter still. [`recover`] ships everything that was left.
//!
//! # Order
//!
//! Values of one thread reach a run in the order in which they were logged. Between threads, a param, tag,
//! artifact or run end never overtakes a value whose log call had returned before. The time of a metric is
//! the time of its log call.
//!
//! # Configuration
//!
//! Values given to [`configure`] win over the environment, the environment wins over the
//! [configuration file](#configuration-file), and that over the defaults. A
//! value that cannot be used causes one warning, and the next of these sources is used. Only a tracking URI
//! that cannot be used is never replaced: values then wait in the journal until the URI is fixed.
//! [`Config::explain`] shows each setting with its source, and `cargo mlflow doctor` on the command line does.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `MLFLOW_CONFIG_FILE` | [configuration file](#configuration-file) | the nearest `mlflow.toml` in the working directory or above it |
//! | `MLFLOW_TRACKING_URI` | destination of runs: `http(s)://host[:port][/prefix]`, `sqlite:///relative.db`, `sqlite:////absolute.db`, `databricks[://profile]`, with the feature `postgres` also `postgresql://user@host/database` | `sqlite:///mlflow.db` |
//! | `MLFLOW_EXPERIMENT_NAME`, `MLFLOW_EXPERIMENT_ID` | experiment of runs that name none | `Default` |
//! | `MLFLOW_RUN_ID` | run that the first run without a parent continues or, in one of several processes, joins: see [`distributed`] | |
//! | `MLFLOW_RENDEZVOUS_ID` | text that all processes of a launch have in common, so that they share their runs: see [`distributed`] | |
//! | `MLFLOW_METRIC_PREFIX` | prefix of the names of metrics, e.g. `rank-{rank}/` | |
//! | `MLFLOW_TRACKING_USERNAME`, `MLFLOW_TRACKING_PASSWORD` | HTTP Basic; if both are set, they win over a token | |
//! | `MLFLOW_TRACKING_TOKEN`, `MLFLOW_TRACKING_TOKEN_FILE` | Bearer token; file that holds it, see [`Config::token_file`] | |
//! | `MLFLOW_TRACKING_AUTH` | `kubernetes`: the token of this pod's service account, if no other is given; `kubernetes-namespaced`: also the workspace with the name of its namespace | |
//! | `MLFLOW_TRACKING_HEADERS` | headers of every request to the server, `name=value,name=value`, see [`Config::header`] | |
//! | `MLFLOW_TRACKING_AWS_SIGV4` | `true`: requests are signed for AWS, see [`Config::aws_sigv4`]; needs the feature `aws-sigv4` | `false` |
//! | `MLFLOW_TRACKING_INSECURE_TLS`, `MLFLOW_TRACKING_SERVER_CERT_PATH`, `MLFLOW_TRACKING_CLIENT_CERT_PATH` | `true`: the server's certificate is not checked; file of certificates to trust; file of the client's own certificate | |
//! | `MLFLOW_WORKSPACE` | workspace on the server | |
//! | `MLFLOW_LOCAL_ARTIFACTS_DIR` | directory of this machine below which a server on another machine may have artifacts written, see [`Config::local_artifacts_dir`] | |
//! | `MLFLOW_HTTP_REQUEST_TIMEOUT` | seconds that one request may take | 120 |
//! | `MLFLOW_HTTP_REQUEST_MAX_RETRIES` | failures after which the store counts as unavailable; values are kept all the same | 7 |
//! | `MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD` | `true`: large artifacts are uploaded in parts to the bucket behind the server, by URLs that the server signs; `false`: they are not | as the server advertises |
//! | `MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE`, `MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE` | bytes from which on an artifact is large; bytes of a part, at least 5 MiB | 500 MiB, 10 MiB |
//! | `MLFLOW_TRACKING_ENABLED` | `false`: everything is a no-op | `true` |
//! | `MLFLOW_EXIT_TIMEOUT` | seconds that the end of the process may wait | 5 |
//! | `MLFLOW_JOURNAL_DIR` | directory where values wait | `mlflow-runtime/journal` in the state directory; without `HOME`, `mlflow-runtime-<uid>/journal` in the temporary one |
//! | `MLFLOW_JOURNAL_MAX_BYTES` | bytes that the waiting values may take there, without artifacts; metrics beyond it are dropped and counted | 1 GiB |
//! | `MLFLOW_METRIC_MAX_POINTS_PER_SECOND` | points a second of each metric that go to the store; the others are in files of their run, see [`Config::metric_max_points_per_second`] | all |
//! | `MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT` | `true`: no lines on stderr | `false` |
//! | `MLFLOW_REDACT_PATTERN` | regular expression of further secrets, which are masked as those are that the library knows; needs the feature `redact` | |
//! | `MLFLOW_CAPTURE_CONSOLE` | `true`: the process's output on stdout and stderr becomes an artifact of its runs, see [`Config::capture_console`] | `false` |
//! | `MLFLOW_CONSOLE_MAX_BYTES` | bytes that such output, and log lines, may take in a run | 64 MiB |
//! | `MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING` | `true`: runs log how the machine is used, see [`Config::system_metrics`] | `false` |
//! | `MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL` | seconds between two samples | 10 |
//! | `MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING` | number of samples whose mean makes one point | 1 |
//! | `MLFLOW_SYSTEM_METRICS_NODE_ID` | name of the machine in the metrics' names: `system/<node id>/…` | |
//! | `MLFLOW_ENV` | section of the configuration file, and value of the tag `deployment.environment` | |
//! | `MLFLOW_RUN_CONTEXT` | tags of every run, as a JSON object; they win over automatic tags; values with a secret's name are redacted | |
//! | `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` | proxies, with their usual meaning; none is used for a server on this machine (`localhost`, a loopback address) | |
//!
//! ## Configuration file
//!
//! The settings of a project may stand in a file `mlflow.toml`, in the working directory or above it. The key of a setting is
//! the name of its variable in lower case, without `MLFLOW_`. The section that `MLFLOW_ENV` names wins over `[default]`:
//!
//! ```toml
//! [default]
//! tracking_uri = "sqlite:///mlflow.db"        # relative paths begin at the directory of the file
//! experiment_name = "wine-quality"
//!
//! [production]                                # MLFLOW_ENV=production
//! tracking_uri = "https://mlflow.example.com"
//! tracking_token = { env = "WINE_TOKEN" }     # a secret is named by the variable that holds it
//! exit_timeout = 20
//! ```
//!
//! Passwords, tokens and headers that stand in the file are refused, as are `run_id` and `rendezvous_id`, which belong to one
//! process. An entry that cannot be used is told with its line, and all others are used. If the file as a whole cannot be
//! read, its tracking URI is unknown, and values wait in the journal. A file that belongs to another user, or that every user
//! can write, is ignored with a warning unless `MLFLOW_CONFIG_FILE` names it. `MLFLOW_CONFIG_FILE=/dev/null` turns the file off.
//!
//! # Features
//!
//! `rest` and `sqlite` are on by default. With `default-features = false` a program has no store but those that it turns on,
//! and builds faster. If the tracking URI names a store that is not built, nothing is lost: values wait in the journal,
//! a line on stderr names the missing feature, and a program with that feature, or `cargo mlflow sync`, ships them.
//!
//! - `rest`: runs are logged to MLflow tracking servers, `http(s)://…`.
//! - `sqlite`: runs are logged to MLflow's SQLite file. Without this feature, a program has to set a tracking URI: else its
//!   values wait for the default destination, `sqlite:///mlflow.db`, and go to no server that nobody has named.
//! - `disabled`: compiles tracking out. The attributes leave functions as they are, and log calls are empty.
//!   This feature is meant for the final binary: if one crate turns it on, it is on for all crates.
//! - `image`: `log_image` and `log_image_at` log pixels, and images of the crate `image`.
//! - `tracing`: `mlflow::layer()` turns `tracing` events into metrics, and all other events into the run's
//!   `logs/console.log`.
//! - `system-metrics`: runs can log the use of processor, memory, disk, network and NVIDIA devices, if that
//!   is requested.
//! - `polars`: `Dataset::from_polars` describes a Polars frame as a dataset, and a frame that is an argument of a
//!   tracked function is an input of its run.
//! - `object-store`: artifacts are written to S3, Google Cloud Storage and Azure with the credentials in the
//!   environment, if the server neither stores them nor signs uploads. Turns `rest` on.
//! - `aws-sigv4`: `Config::aws_sigv4` and `MLFLOW_TRACKING_AWS_SIGV4` sign requests for AWS, for a server behind an API Gateway.
//!   Turns `object-store` on, whose crates hold the signature.
//! - `thinning`: `MLFLOW_METRIC_MAX_POINTS_PER_SECOND` bounds the points that go to the store, and keeps all others in
//!   Parquet files of their run.
//! - `redact`: `Config::redact` and `MLFLOW_REDACT_PATTERN` mask whatever matches a regular expression.
//! - `secrecy`: passwords and tokens may be secrets of the crate `secrecy`.
//! - `postgres`: runs are logged to MLflow's PostgreSQL database without a server, if the tracking URI is
//!   `postgresql://user@host/database`.
//!
//! # Automatic tags
//!
//! A run records the following tags by itself. A tag whose value cannot be found out is absent. Tags marked ¹
//! come with `#[tracked]` and [`start_run!()`](macro@start_run), those marked ² with `#[tracked]` alone.
//!
//! | subject | tags |
//! |---|---|
//! | the run | `mlflow.runName`, `mlflow.parentRunId`, `mlflow.note.content` (the doc comment)² |
//! | the process | `mlflow.user`, `mlflow.source.name`, `mlflow.source.type`, `process.pid`, `process.executable.name`, `host.name`, `host.arch`, `os.type`, `deployment.environment` (`MLFLOW_ENV`) |
//! | the function¹ | `code.function`, `code.filepath`, `code.lineno`, `service.name` and `service.version` (its package) |
//! | the commit¹ | `mlflow.source.git.commit`, `.branch` (none on a detached HEAD), `.repoURL` (without credentials), `.dirty`; the last also as `git.dirty`, because the MLflow UI does not show MLflow's own tags |
//! | the build | `rust.version`, `rust.target`, `rust.profile`; `rust.features`¹, `cargo.lock.sha256`¹ |
//! | the build service: GitHub Actions, GitLab, Jenkins, Buildkite | `cicd.provider.name`, `cicd.pipeline.name`, `cicd.pipeline.run.id`, `cicd.pipeline.run.url.full`, `cicd.pipeline.task.run.url.full` |
//! | the scheduler | `slurm.job.id`, `.job.name`, `.job.partition`, `.cluster.name`, `.step.id`, `.array.job.id`, `.array.task.id`; `k8s.pod.name`, `.pod.uid`, `.namespace.name`, `.node.name` |
//! | the rank, in one of several processes | `distributed.rank`, `.world_size`, `.local_rank`: see [`distributed`] |
//!
//! **The commit is that of the code that was built.** The macro finds the commit when it expands. Therefore
//! the commit is right in a container without a repository, and when HEAD moves, even to a commit without a
//! change, the package is built anew. `.dirty` is `true` if a file that git knows differs from the commit, or
//! if a source of the package is in no commit; other files that git does not know do not count. No `git` is
//! needed on the machine, except for `.dirty`. A package that git ignores has no commit. Variables in the
//! environment of the build win: `GIT_COMMIT`, `GIT_BRANCH` and `GIT_URL`, else those that GitHub, GitLab,
//! Buildkite and `CircleCI` set. If the build knows no commit, a `GIT_COMMIT` in the environment of the run
//! is used. A repository that is created around a package after the build is noticed at the next change. With
//! `configure(Config::new().git_diff(git_diff!()))` the difference to the commit is logged, too: see [`git_diff!`].
//!
//! The tags of a Kubernetes pod come from variables that its manifest sets: the name from `K8S_POD_NAME` or
//! `POD_NAME`, the namespace from `K8S_NAMESPACE` or `POD_NAMESPACE`, the node from `K8S_NODE_NAME` or
//! `NODE_NAME`, the uid from `K8S_POD_UID` or `POD_UID`. A tag without such a variable comes from
//! `OTEL_RESOURCE_ATTRIBUTES`. Failing that, the name is `HOSTNAME`, and the namespace is that of the mounted
//! service account.
//!
//! # Secrets
//!
//! Arguments and fields with a secret's name, and credentials that can be recognised, are logged as
//! `[redacted]`, by whatever function they are logged: see [`tracked`](macro@tracked#secrets). Only
//! artifacts, the keys of metrics and the names of experiments and registered models are recorded as the user gives them. The
//! destination's own credentials are in no journal.
#![cfg_attr(docsrs, feature(doc_cfg))]
// A store that is not built leaves parts of what lies below the stores unused. The default features build enough stores for
// the compiler to find dead code.
#![cfg_attr(
    not(all(feature = "rest", feature = "sqlite")),
    allow(dead_code, unused_imports)
)]

#[doc(hidden)]
pub mod __private;
#[cfg(not(unix))]
compile_error!(
    "mlflow-runtime runs on Unix only: its journal needs the file locks, mappings and exit hooks of Unix. On \
     Windows build with WSL, or leave the dependency out with [target.'cfg(unix)'.dependencies]"
);

#[cfg(feature = "__bench")]
#[doc(hidden)]
pub mod bench_support;
mod cache_line;
mod capture;
mod client;
mod config;
#[cfg(test)]
mod determinism;
pub mod diagnostics;
pub mod distributed;
pub mod entities;
mod env_vars;
mod environment;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz_support;
mod journal;
pub mod journals;
mod model;
mod os;
mod percent_encoding;
mod run;
pub mod search;
mod secret;
mod shipper;
mod signals;
mod stderr;
mod stdio_capture;
#[doc(hidden)]
pub mod store;
mod sync;
mod system_metrics;
pub mod testing;
pub mod thread;
mod time;
#[cfg(feature = "tracing")]
pub mod tracing_layer;
mod tracked;
mod tracker;
mod warnings;

pub use client::{
    Client, DownloadArtifacts, DownloadProgress, Goal, LegalValues, Resume, SearchRecord,
    SearchResults, ServerInfo, best_run, blocking,
};
pub use config::{Config, Setting, SettingSource};
pub use journal::JournalDirectory;
pub use model::{ParseRunStatusError, RunStatus};
#[cfg(feature = "image")]
pub use run::Image;
pub use run::instrumented::Instrumented;
pub use run::logging::{
    keep_checkpoints, log_artifact, log_artifact_in, log_artifacts, log_artifacts_in,
    log_checkpoint, log_dict, log_figure, log_input, log_metric, log_metric_at, log_metric_at_time,
    log_metrics, log_metrics_of, log_model, log_model_input, log_output, log_param, log_params,
    log_table, log_text, set_tag, set_tags,
};
#[cfg(feature = "image")]
pub use run::logging::{log_image, log_image_at};
pub use run::metric_value::{MetricValue, Step};
pub use run::{
    ActiveRun, ColumnType, Dataset, Element, Flavor, LogAsInput, LogAsModel, Metric, Model, Run,
    RunBuilder, Signature, TensorType, start_run,
};
pub use secret::Secret;
pub use signals::install_signal_handlers;
pub use store::{ClientError, ErrorReason, StoreError, UploadProgress};
#[cfg(feature = "tracing")]
pub use tracing_layer::layer;
pub use tracked::docs::{git_diff, timed, tracked};
pub use tracker::health::{Dropped, FlushReport, Health, TrackingState, flush, health, shutdown};
pub use tracker::recover::{
    RecoverError, RecoverProgress, RecoverReport, Recovery, recover, recover_from,
};
pub use tracker::resend::resend_rejected;

/// Sets the configuration of the process, for runs that start from now on. The values win over the
/// environment, and replace those of an earlier call.
///
/// ```
/// mlflow::configure(mlflow::Config::new().enabled(false));
/// ```
pub fn configure(config: Config) {
    tracker::global::change_config(|current| *current = config);
}

/// Sets the destination of runs that start from now on; see [`Config::tracking_uri`].
///
/// ```
/// mlflow::set_tracking_uri("http://127.0.0.1:5000");
/// ```
pub fn set_tracking_uri(uri: impl Into<String>) {
    tracker::global::change_config(|config| *config = std::mem::take(config).tracking_uri(uri));
}

/// Sets the experiment of runs that name none; see [`Config::experiment`].
///
/// ```
/// # let fake = mlflow::testing::fake();
/// mlflow::set_experiment("wine-quality");
/// drop(mlflow::start_run().start());
/// # fake.assert_experiment_created("wine-quality");
/// ```
pub fn set_experiment(name: impl Into<String>) {
    tracker::global::set_experiment(name.into());
}

/// The code blocks of the README, which are compiled as the tests of this item.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../docs/attribute.md")]
#[doc = include_str!("../../docs/coming-from-python.md")]
#[doc = include_str!("../../docs/concepts.md")]
#[doc = include_str!("../../docs/configuration.md")]
#[doc = include_str!("../../docs/five-minutes.md")]
#[doc = include_str!("../../docs/login.md")]
#[doc = include_str!("../../docs/production.md")]
#[doc = include_str!("../../docs/threads-tasks-ranks.md")]
#[doc = include_str!("../../docs/offline.md")]
#[doc = include_str!("../../docs/services.md")]
#[doc = include_str!("../../docs/sweep.md")]
#[cfg_attr(feature = "tracing", doc = include_str!("../../docs/tracing.md"))]
struct Readme;
