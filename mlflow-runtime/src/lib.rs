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
//! With nothing configured, runs go to `mlflow.db` in the working directory, the file that
//! `mlflow ui` shows. With `MLFLOW_TRACKING_URI=http://…` they go to a tracking server.
//!
//! # Promises
//!
//! **The function computes, returns, panics and is cancelled exactly as it would without the
//! attribute, whatever happens to tracking.** No function of this crate returns a tracking error to
//! the code that logs; what goes wrong is in [`health`], and in the log (`tracing`, target `mlflow`).
//!
//! - *Fast*: a log call writes to memory that the file system owns, and waits for nothing.
//! - *Nothing lost*: when a log call has returned, the value outlives the process: a panic, `abort`
//!   and `SIGKILL` included. What is not delivered when a process ends is shipped by the next
//!   tracked process with the same destination. At most `MLFLOW_JOURNAL_MAX_BYTES` may wait: beyond
//!   that metrics are dropped and counted. Files and large texts wait beside the journal, as many as
//!   the disk has room for. The loss of power is another level: the device is asked to keep a value
//!   five seconds after it was logged, and at once when its run ends, and an artifact's bytes before
//!   that; a copy that lost some of them is refused, never delivered as whole. Where no file can be written (a full disk, a read-only one) the journal lies in memory,
//!   with a warning.
//! - *Never in the way*: the end of the process waits for values on their way at most
//!   `MLFLOW_EXIT_TIMEOUT`, for what other processes have left a tenth of that, and where the store is
//!   known to be away not even so long. [`recover`] ships everything that was left.
//!
//! # Order
//!
//! Values of one thread reach a run in the order in which they were logged. Between threads, a param,
//! tag, artifact or end that was logged after another call returned never overtakes it. A metric's
//! time is that of the call.
//!
//! # Configuration
//!
//! [`configure`] wins over the environment, the environment over the defaults. A value that cannot
//! be used is one warning, and the default is taken.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `MLFLOW_TRACKING_URI` | where runs go: `http(s)://host[:port][/prefix]`, `sqlite:///relative.db`, `sqlite:////absolute.db` | `sqlite:///mlflow.db` |
//! | `MLFLOW_EXPERIMENT_NAME`, `MLFLOW_EXPERIMENT_ID` | experiment of runs that name none | `Default` |
//! | `MLFLOW_RUN_ID` | the run that the first run without a parent continues; joins, in one of several processes: see [`distributed`] | |
//! | `MLFLOW_RENDEZVOUS_ID` | what all processes of a launch have in common, and their runs with it: see [`distributed`] | |
//! | `MLFLOW_METRIC_PREFIX` | stands before the names of metrics: `rank-{rank}/` | |
//! | `MLFLOW_TRACKING_USERNAME`, `MLFLOW_TRACKING_PASSWORD` | HTTP Basic; both wins over a token | |
//! | `MLFLOW_TRACKING_TOKEN` | Bearer token | |
//! | `MLFLOW_TRACKING_INSECURE_TLS`, `MLFLOW_TRACKING_SERVER_CERT_PATH`, `MLFLOW_TRACKING_CLIENT_CERT_PATH` | TLS without checks; certificates to trust; our own | |
//! | `MLFLOW_WORKSPACE` | the server's workspace | |
//! | `MLFLOW_HTTP_REQUEST_TIMEOUT` | seconds one request may take | 120 |
//! | `MLFLOW_HTTP_REQUEST_MAX_RETRIES` | failures after which the store counts as away; values are kept all the same | 7 |
//! | `MLFLOW_TRACKING_ENABLED` | `false`: everything is a no-op | `true` |
//! | `MLFLOW_EXIT_TIMEOUT` | seconds that the end of the process waits | 5 |
//! | `MLFLOW_JOURNAL_DIR` | where values wait | `mlflow-runtime/journal` in the state directory; without `HOME`, `mlflow-runtime-<uid>/journal` in the temporary one |
//! | `MLFLOW_JOURNAL_MAX_BYTES` | how much may wait there, without artifacts; metrics beyond it are dropped and counted | 1 GiB |
//! | `MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT` | `true`: no lines on stderr | `false` |
//! | `MLFLOW_CAPTURE_CONSOLE` | `true`: what the process writes to stdout and stderr is an artifact of its runs, see [`Config::capture_console`] | `false` |
//! | `MLFLOW_CONSOLE_MAX_BYTES` | how much of that, and of log lines, a run may have | 64 MiB |
//! | `MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING` | `true`: runs log what the machine does, see [`Config::system_metrics`] | `false` |
//! | `MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL` | seconds from one sample to the next | 10 |
//! | `MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING` | how many samples make one point, their mean | 1 |
//! | `MLFLOW_SYSTEM_METRICS_NODE_ID` | the metrics are called `system/<node id>/…` | |
//! | `MLFLOW_ENV` | becomes the tag `deployment.environment` | |
//! | `MLFLOW_RUN_CONTEXT` | tags of every run, a JSON object; they win over those that a run records by itself; what has a secret's name in it is redacted | |
//! | `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` | as everywhere | |
//!
//! # Features
//!
//! - `disabled`: compiles tracking out. The attributes leave functions as they stand, log calls are
//!   empty. For the final binary: one crate that turns it on turns it on for all.
//! - `tracing`: `mlflow::layer()` makes metrics of `tracing` events, and of the others the run's `logs/console.log`.
//! - `system-metrics`: runs can log processor, memory, disk, network and NVIDIA devices, where that is
//!   asked for.
//!
//! # What a run records by itself
//!
//! Tags; what cannot be found out is absent. Those marked ¹ come with `#[tracked]` and
//! [`start_run!()`](macro@start_run), those marked ² with `#[tracked]` alone.
//!
//! | of | tags |
//! |---|---|
//! | the run | `mlflow.runName`, `mlflow.parentRunId`, `mlflow.note.content` (the doc comment)² |
//! | the process | `mlflow.user`, `mlflow.source.name`, `mlflow.source.type`, `process.pid`, `process.executable.name`, `host.name`, `host.arch`, `os.type`, `deployment.environment` (`MLFLOW_ENV`) |
//! | the function¹ | `code.function`, `code.filepath`, `code.lineno`, `service.name` and `service.version` (its package) |
//! | the commit¹ | `mlflow.source.git.commit`, `.branch` (none on a detached HEAD), `.repoURL` (without credentials), `.dirty`; the last also as `git.dirty`, since MLflow's page does not show its own tags |
//! | the build | `rust.version`, `rust.target`, `rust.profile`; `rust.features`¹, `cargo.lock.sha256`¹ |
//! | the build service: GitHub Actions, GitLab, Jenkins, Buildkite | `cicd.provider.name`, `cicd.pipeline.name`, `cicd.pipeline.run.id`, `cicd.pipeline.run.url.full`, `cicd.pipeline.task.run.url.full` |
//! | the scheduler | `slurm.job.id`, `.job.name`, `.job.partition`, `.cluster.name`, `.step.id`, `.array.job.id`, `.array.task.id`; `k8s.pod.name`, `.pod.uid`, `.namespace.name`, `.node.name` |
//! | the rank, in one of several processes | `distributed.rank`, `.world_size`, `.local_rank`: see [`distributed`] |
//!
//! **The commit is that of the code that was built**: it is found out when the macro expands, so it
//! is right in a container with no repository, and a moved HEAD, a commit without a change included,
//! builds the package anew. `.dirty` is `true` where a file that git knows differs from the commit,
//! or a source of the package is in no commit; other files that git does not know do not count. It
//! takes no `git` on the machine, except for `.dirty`. A package that git ignores has no commit.
//! What the environment of the build says wins: `GIT_COMMIT`, `GIT_BRANCH` and `GIT_URL`, else what
//! GitHub, GitLab, Buildkite and `CircleCI` set. Where the build knows no commit, a `GIT_COMMIT` of the
//! run's own environment is taken. A repository that is made around a package after it was built is
//! seen at the next change. [`git_diff!`] has the difference itself logged.
//!
//! A pod of Kubernetes is told its name by `POD_NAME` (`K8S_POD_NAME`), and so its namespace, node and
//! uid, or by `OTEL_RESOURCE_ATTRIBUTES`; else the name is its `HOSTNAME`.
//!
//! # What it does not record
//!
//! Arguments and fields with a secret's name, and credentials that can be recognised, are logged as
//! `[redacted]`, however they are logged: see [`tracked`](macro@tracked#secrets). Only what the user
//! puts into an artifact, a metric's key or an experiment's name goes as it is. The destination's own
//! credentials are in no journal.
#[doc(hidden)]
pub mod __private;
#[cfg(not(unix))]
compile_error!(
    "mlflow-runtime does not run on Windows yet: its journal needs the file locks, mappings and exit hooks of Unix. On \
     Windows build with WSL, or leave the dependency out with [target.'cfg(unix)'.dependencies]"
);

#[cfg(feature = "__bench")]
#[doc(hidden)]
pub mod bench_support;
mod capture;
mod client;
mod config;
pub mod diagnostics;
pub mod distributed;
mod environment;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz_support;
mod journal;
mod model;
mod os;
mod run;
mod secret;
#[cfg(test)]
mod seeded;
mod shipper;
mod signals;
mod stderr;
mod stdio_capture;
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
mod variables;
mod warnings;

pub use client::{Client, ServerInfo, blocking};
pub use config::Config;
pub use run::current::{
    MetricValue, Step, log_artifact, log_metric, log_metric_at, log_metrics, log_param, log_params,
    log_text, set_tag, set_tags,
};
pub use run::instrumented::Instrumented;
pub use run::{ActiveRun, Metric, Run, RunBuilder, start_run};
pub use secret::Secret;
pub use signals::install_signal_handlers;
pub use store::RunStatus;
#[cfg(feature = "tracing")]
pub use tracing_layer::layer;
pub use tracked::docs::{git_diff, timed, tracked};
pub use tracker::health::{Dropped, FlushReport, Health, State, flush, health, shutdown};
pub use tracker::recover::{RecoverError, RecoverReport, recover, recover_from};
pub use tracker::resend::resend_rejected;

/// Sets the process's configuration, for runs that start from now on. Wins over the environment.
///
/// ```
/// mlflow::configure(mlflow::Config::new().enabled(false));
/// ```
pub fn configure(config: Config) {
    tracker::global::change_config(|current| *current = config);
}

/// Sets where runs that start from now on go; see [`Config::tracking_uri`].
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
