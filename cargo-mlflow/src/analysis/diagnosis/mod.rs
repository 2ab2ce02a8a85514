//! Diagnosis of a run by its status and the curves of its metrics.
//!
//! Invariants: the functions are pure, and know nothing of a client. The points of a curve are in the order of time.
//! A curve that improves under noise gives no finding: a threshold counts in units of the curve's own noise (see
//! [`super::trend`]), and in addition as a part of what the curve has improved. Metrics whose names do not tell what
//! is better are only searched for values that are no numbers.

mod curves;
mod run_state;
mod speed;
#[cfg(test)]
mod tests;

use mlflow::RunStatus;
use serde::Serialize;

use crate::goal::is_of_interest;

/// Curve of a metric. The slices have the same length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Curve<'c> {
    /// Name of the metric.
    pub(crate) key: &'c str,
    pub(crate) steps: &'c [i64],
    pub(crate) values: &'c [f64],
    /// Times in ms since the Unix epoch.
    pub(crate) timestamps_ms: &'c [i64],
}

impl Curve<'_> {
    /// Returns the step of a point.
    fn step(&self, index: usize) -> Option<i64> {
        self.steps.get(index).copied()
    }
}

/// Status and times of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunState<'r> {
    pub(crate) status: RunStatus,
    /// Start in ms since the Unix epoch.
    pub(crate) start_time_ms: Option<i64>,
    /// End in ms since the Unix epoch.
    pub(crate) end_time_ms: Option<i64>,
    /// Message of the error with which the run ended.
    pub(crate) error: Option<&'r str>,
    /// True if the run has logged any metric, even if its curve is not given.
    pub(crate) has_metrics: bool,
    /// Time of the diagnosis in ms since the Unix epoch.
    pub(crate) now_ms: i64,
}

/// Kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindingKind {
    /// The run ended with an error.
    Failed,
    /// The run was ended from outside.
    Killed,
    /// The run goes on, but logs nothing any more.
    Stalled,
    /// The run ended without a metric.
    NoMetrics,
    /// Values are NaN or infinite.
    NotANumber,
    /// The metric is much worse than it was.
    Divergence,
    /// Training improves while validation gets worse.
    Overfitting,
    /// The metric has not improved for long.
    Plateau,
    /// Single points are far off.
    Spikes,
    /// The training has become slower.
    Slowdown,
}

/// Weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// The result cannot be used as it is.
    Error,
    /// The result is worse than it might be.
    Warning,
    /// Something to know.
    Info,
}

impl Severity {
    /// Returns the word for the weight.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// Observation about a run, with what may be done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) kind: FindingKind,
    pub(crate) severity: Severity,
    /// Metric that shows it; `None` for a finding about the run as a whole.
    pub(crate) metric: Option<String>,
    /// Step at which it begins; `None` if there is none.
    pub(crate) step: Option<i64>,
    /// Sentence with what was seen, in numbers, and what to try.
    pub(crate) text: String,
}

/// Returns what the run's state and curves show, the most severe first.
pub(crate) fn diagnose(run: &RunState<'_>, curves: &[Curve<'_>]) -> Vec<Finding> {
    let mut findings = run_state::examine(run, curves);
    let overfitting = curves::find_overfitting(curves);
    let is_learning = curves.iter().any(|curve| {
        is_of_interest(curve.key) && speed::goal_of(curve).is_none() && curves::is_improved(curve)
    });
    for curve in curves {
        findings.extend(curves::find_non_numbers(curve));
        if let Some(goal) = speed::goal_of(curve) {
            findings.extend(speed::find_slowdown(curve, goal));
        } else if is_of_interest(curve.key) {
            let is_explained =
                { overfitting.iter() }.any(|finding| finding.metric.as_deref() == Some(curve.key));
            findings.extend(curves::examine(curve, is_explained, is_learning));
        }
    }
    findings.extend(overfitting);
    findings.sort_by(|left, right| {
        (left.severity, left.kind, &left.metric).cmp(&(right.severity, right.kind, &right.metric))
    });
    findings
}
