//! Diagnosis of a run in the store, with a bounded number of points.

use jiff::Timestamp;
use mlflow::entities::{MetricHistory, Run};

use crate::analysis::diagnosis::{Curve, Finding, RunState, diagnose};
use crate::goal::{guess, is_of_interest};

/// Splits the names of a run's metrics into those whose curves have `max_points` in all, and those that are left
/// out. Metrics whose names tell what is better come first, and short curves before long ones. The last step tells
/// the length of a curve, as most trainings log one point a step.
pub(crate) fn choose_metrics(run: &Run, max_points: u64) -> (Vec<String>, Vec<String>) {
    let length_of = |last_step: i64| {
        u64::try_from(last_step)
            .unwrap_or_default()
            .saturating_add(1)
    };
    let mut metrics: Vec<(bool, u64, &String)> = { run.metrics.iter() }
        // The machine's metrics say nothing about a training.
        .filter(|(key, _)| !key.starts_with("system/"))
        .map(|(key, point)| {
            let tells_goal = is_of_interest(key) && guess(key).is_some();
            (!tells_goal, length_of(point.step), key)
        })
        .collect();
    metrics.sort();
    let mut points: u64 = 0;
    let (mut chosen, mut left_out) = (Vec::new(), Vec::new());
    for (_, length, key) in metrics {
        let total = points.saturating_add(length);
        if total <= max_points {
            points = total;
            chosen.push(key.clone());
        } else {
            left_out.push(key.clone());
        }
    }
    (chosen, left_out)
}

/// Returns the findings about a run, by the curves that were read.
pub(crate) fn findings<'h>(
    run: &Run,
    histories: impl IntoIterator<Item = &'h MetricHistory>,
) -> Vec<Finding> {
    let state = RunState {
        status: run.status,
        start_time_ms: run.start_time_ms,
        end_time_ms: run.end_time_ms,
        error: run.tag("error.message"),
        has_metrics: !run.metrics.is_empty(),
        now_ms: Timestamp::now().as_millisecond(),
    };
    let curves: Vec<Curve<'_>> = { histories.into_iter() }
        .map(|history| Curve {
            key: history.key(),
            steps: history.steps(),
            values: history.values(),
            timestamps_ms: history.timestamps_ms(),
        })
        .collect();
    diagnose(&state, &curves)
}
