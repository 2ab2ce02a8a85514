//! The values that a run consists of, in MLflow's terms.

use std::error::Error;
use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An experiment, as the user has given it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExperimentRef {
    /// Name of the experiment, which is created if it does not exist.
    Name(String),
    /// Id of the experiment, which has to exist.
    Id(String),
}

/// A point of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Name of the metric.
    pub key: Arc<str>,
    /// Value of the point; may be NaN or infinite.
    pub value: f64,
    /// Time at which the point was logged, in ms since the Unix epoch.
    pub timestamp_ms: i64,
    /// Step of the point.
    pub step: i64,
}

/// A parameter, which is written once and never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Name of the param.
    pub key: String,
    /// Value of the param.
    pub value: String,
}

/// A tag, which may be set again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Name of the tag.
    pub key: String,
    /// Value of the tag.
    pub value: String,
}

/// Status of a run, in MLflow's terms.
///
/// ```
/// use mlflow::RunStatus;
///
/// assert_eq!(RunStatus::Killed.as_str(), "KILLED");
/// assert_eq!("FINISHED".parse(), Ok(RunStatus::Finished));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum RunStatus {
    /// The run is in progress.
    Running,
    /// The run is waiting to be started, e.g. by MLflow Projects. This status is only ever read: no run that
    /// this crate starts has it.
    Scheduled,
    /// The run ended well: its function returned a value, `Ok` or `None`.
    Finished,
    /// The run failed: its function returned an `Err`, or panicked.
    Failed,
    /// The run was cancelled, or its process ended before the run did.
    Killed,
}

impl RunStatus {
    /// Returns true if a run with this status has ended.
    pub(crate) fn is_end(self) -> bool {
        match self {
            Self::Running | Self::Scheduled => false,
            Self::Finished | Self::Failed | Self::Killed => true,
        }
    }

    /// Returns the name that MLflow uses, e.g. `FINISHED`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Scheduled => "SCHEDULED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }
}

impl Display for RunStatus {
    /// Writes the name that MLflow uses, e.g. `FINISHED`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for RunStatus {
    type Err = ParseRunStatusError;

    /// Parses the name that MLflow uses.
    ///
    /// ```
    /// use mlflow::RunStatus;
    ///
    /// assert_eq!("FAILED".parse(), Ok(RunStatus::Failed));
    /// let error = "failed".parse::<RunStatus>().unwrap_err();
    /// assert_eq!(error.to_string(), "unknown run status `failed`; expected RUNNING, SCHEDULED, FINISHED, FAILED or KILLED");
    /// ```
    fn from_str(text: &str) -> Result<Self, ParseRunStatusError> {
        [
            Self::Running,
            Self::Scheduled,
            Self::Finished,
            Self::Failed,
            Self::Killed,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| ParseRunStatusError {
            given: text.to_owned(),
        })
    }
}

/// Error of [`RunStatus::from_str`]: a text that is no status of a run.
///
/// ```
/// use mlflow::{ParseRunStatusError, RunStatus};
///
/// let read: Result<RunStatus, ParseRunStatusError> = "done".parse();
/// assert!(read.is_err_and(|error| error.to_string().starts_with("unknown run status `done`")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseRunStatusError {
    given: String,
}

impl Display for ParseRunStatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown run status `{}`; expected RUNNING, SCHEDULED, FINISHED, FAILED or KILLED",
            self.given
        )
    }
}

impl Error for ParseRunStatusError {}
