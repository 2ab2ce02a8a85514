//! Findings about a run as a whole: its end, and its silence.

use std::time::Duration;

use mlflow::RunStatus;

use super::{Curve, Finding, FindingKind, RunState, Severity};
use crate::analysis::trend::median;
use crate::output::format;
use crate::output::table::shorten;

/// Shortest silence of a run that counts as a stall.
const MIN_SILENCE: Duration = Duration::from_secs(60);
/// Silence that counts as a stall, in units of the usual time between two points.
const SILENCE_IN_INTERVALS: i64 = 10;
/// Silence that counts as a stall, in units of the longest time between two points so far: a validation or a
/// checkpoint makes such a pause again and again.
const SILENCE_IN_PAUSES: i64 = 3;
/// Time after which a run without any point is remarked on.
const MAX_TIME_WITHOUT_POINTS: Duration = Duration::from_secs(3600);
const MAX_ERROR_CHARS: usize = 300;

/// Examines the end of a run, or the time since its last point.
pub(super) fn examine(run: &RunState<'_>, curves: &[Curve<'_>]) -> Vec<Finding> {
    let duration = { run.end_time_ms.zip(run.start_time_ms) }
        .and_then(|(end, start)| to_duration(end.checked_sub(start)?))
        .map(|duration| format!(" after {}", format::duration(duration)))
        .unwrap_or_default();
    let mut findings = Vec::new();
    match run.status {
        RunStatus::Failed => {
            let error = run
                .error
                .map(|error| format!(" with the error `{}`", shorten(error, MAX_ERROR_CHARS)))
                .unwrap_or_default();
            findings.push(of_run(
                FindingKind::Failed,
                Severity::Error,
                format!("the run failed{duration}{error}: read the end of its console log"),
            ));
        }
        RunStatus::Killed => findings.push(of_run(
            FindingKind::Killed,
            Severity::Warning,
            format!(
                "the run was killed{duration}: look for a signal, a time limit of the scheduler or a lack of memory at \
                 the end of its console log"
            ),
        )),
        RunStatus::Running => findings.extend(find_stall(run, curves)),
        _ => {}
    }
    let has_ended = !matches!(run.status, RunStatus::Running | RunStatus::Scheduled);
    if has_ended && !run.has_metrics {
        findings.push(of_run(
            FindingKind::NoMetrics,
            Severity::Info,
            "the run ended without a metric: if it is more than the parent of other runs, check that its code \
             reaches the lines that log"
                .to_owned(),
        ));
    }
    findings
}

/// Finds out if a run has logged nothing for much longer than usual.
fn find_stall(run: &RunState<'_>, curves: &[Curve<'_>]) -> Option<Finding> {
    // The machine is sampled even where the training hangs.
    let curves = || { curves.iter() }.filter(|curve| !curve.key.starts_with("system/"));
    let last = curves()
        .filter_map(|curve| curve.timestamps_ms.iter().max())
        .max();
    let Some(&last) = last else {
        if run.has_metrics {
            return None;
        }
        let running = to_duration(run.now_ms.checked_sub(run.start_time_ms?)?)?;
        return (running > MAX_TIME_WITHOUT_POINTS).then(|| {
            of_run(
                FindingKind::Stalled,
                Severity::Warning,
                format!(
                    "the run has been RUNNING for {} without a metric: check that its process still lives",
                    format::duration(running)
                ),
            )
        });
    };
    let (usual, longest) = curves()
        .filter_map(|curve| intervals(curve.timestamps_ms))
        .min()?;
    let silence_ms = run.now_ms.checked_sub(last)?;
    let silence = to_duration(silence_ms)?;
    let is_stalled = silence > MIN_SILENCE
        && silence_ms > usual.saturating_mul(SILENCE_IN_INTERVALS)
        && silence_ms > longest.saturating_mul(SILENCE_IN_PAUSES);
    let usual = to_duration(usual)?;
    is_stalled.then(|| {
        of_run(
            FindingKind::Stalled,
            Severity::Warning,
            format!(
                "the run is RUNNING, but its last point is {} old, while a point came every {}: check that its \
                 process still lives, and that its values reach the store",
                format::duration(silence),
                format::duration(usual)
            ),
        )
    })
}

/// Returns the usual and the longest time between two points; `None` for fewer than three points.
fn intervals(timestamps_ms: &[i64]) -> Option<(i64, i64)> {
    let mut intervals: Vec<f64> = Vec::new();
    let mut longest = 0;
    for (earlier, later) in timestamps_ms.iter().zip(timestamps_ms.iter().skip(1)) {
        let interval = later.saturating_sub(*earlier).max(0);
        longest = longest.max(interval);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a time of less than 285,000 years"
        )]
        intervals.push(interval as f64);
    }
    if intervals.len() < 2 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of ms")]
    median(&mut intervals).map(|usual| (usual as i64, longest))
}

fn of_run(kind: FindingKind, severity: Severity, text: String) -> Finding {
    Finding {
        kind,
        severity,
        metric: None,
        step: None,
        text,
    }
}

fn to_duration(ms: i64) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}
