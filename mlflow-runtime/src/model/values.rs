//! What a run consists of, in MLflow's words.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An experiment as the user named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExperimentRef {
    /// By name; created when missing.
    Name(String),
    /// By id; has to exist.
    Id(String),
}

/// One point of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Name.
    pub key: Arc<str>,
    /// Value; may be NaN or infinite.
    pub value: f64,
    /// When it was logged, in ms since the Unix epoch.
    pub timestamp_ms: i64,
    /// Step.
    pub step: i64,
}

/// A parameter: written once, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}

/// A tag: may be set again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}

/// A run's status, in MLflow's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunStatus {
    /// Under way.
    Running,
    /// Returned a value, `Ok` or `None`.
    Finished,
    /// Returned an `Err`, or panicked.
    Failed,
    /// Cancelled, or its process ended before it did.
    Killed,
}

impl RunStatus {
    /// The name MLflow uses, e.g. `FINISHED`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }
}
