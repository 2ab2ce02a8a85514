//! Experiment tracking for Rust.
#[doc(hidden)]
pub mod __private;
mod clock;
mod config;
mod context;
mod destination;
mod environment;
mod exit;
mod health;
mod journal;
mod key;
mod limits;
mod log;
mod run;
mod secret;
mod shipper;
mod stats;
pub mod store;
pub mod testing;
mod tracker;

pub use config::Config;
pub use health::{FlushReport, Health, State, flush, health, shutdown};
pub use log::{
    MetricValue, Step, log_artifact, log_metric, log_metric_at, log_metrics, log_param, log_text,
    set_tag, set_tags,
};
pub use run::{ActiveRun, Metric, Run, RunBuilder, start_run};
pub use secret::Secret;
pub use store::RunStatus;

/// Sets the process's configuration, for runs that start from now on. Wins over the environment.
///
/// ```
/// mlflow::configure(mlflow::Config::new().enabled(false));
/// ```
pub fn configure(config: Config) {
    tracker::configure(|current| *current = config);
}

/// Sets where runs that start from now on go; see [`Config::tracking_uri`].
///
/// ```
/// mlflow::set_tracking_uri("http://127.0.0.1:5000");
/// ```
pub fn set_tracking_uri(uri: impl Into<String>) {
    tracker::configure(|config| *config = std::mem::take(config).tracking_uri(uri));
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
    tracker::set_experiment(name.into());
}
