//! Diagnosis of a run, in the store or while it grows, with a bounded number of points.

use std::borrow::Borrow;

use jiff::Timestamp;
use mlflow::RunStatus;
use mlflow::entities::{MetricHistory, Run};

use crate::analysis::diagnosis::{Curve, Finding, RunState, diagnose};
use crate::failure::Failure;
use crate::goal::{guess, is_of_interest};
use crate::live::{LiveRun, Point, State};

/// Curves of a run that were read.
pub(crate) struct ReadCurves<H> {
    pub(crate) histories: Vec<H>,
    /// Metrics whose curves were not read.
    pub(crate) left_out: Vec<String>,
}

impl<H: Borrow<MetricHistory>> ReadCurves<H> {
    /// Returns the findings about the run, by these curves.
    pub(crate) fn findings(&self, run: &Run) -> Vec<Finding> {
        findings(run, self.histories.iter().map(H::borrow))
    }
}

/// Reads the curves of a run, metric by metric, until `max_points` were read. Nobody knows the length of a curve before:
/// only the last curve may exceed `max_points`. Metrics whose names tell what is better come first, and low last
/// steps before high ones, as the curves of these are mostly shorter.
pub(crate) fn read_curves<H: Borrow<MetricHistory>>(
    run: &Run,
    max_points: u64,
    mut read: impl FnMut(&str) -> Result<H, Failure>,
) -> Result<ReadCurves<H>, Failure> {
    let mut metrics: Vec<(bool, i64, &String)> = { run.metrics.iter() }
        // The machine's metrics say nothing about a training.
        .filter(|(key, _)| !key.starts_with("system/"))
        .map(|(key, point)| {
            let tells_goal = is_of_interest(key) && guess(key).is_some();
            (!tells_goal, point.step, key)
        })
        .collect();
    metrics.sort();
    let mut points: u64 = 0;
    let mut curves = ReadCurves {
        histories: Vec::new(),
        left_out: Vec::new(),
    };
    for (_, _, key) in metrics {
        if points >= max_points {
            curves.left_out.push(key.clone());
            continue;
        }
        let history = read(key)?;
        points += history.borrow().len() as u64;
        curves.histories.push(history);
    }
    Ok(curves)
}

/// Returns the findings about a run, by the curves that were read.
fn findings<'h>(run: &Run, histories: impl IntoIterator<Item = &'h MetricHistory>) -> Vec<Finding> {
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

/// Returns the findings about a run as it is now. Curves are examined, the shortest first, as long as they have
/// `max_points` in all.
pub(crate) fn live_findings(run: &LiveRun, max_points: usize) -> Vec<Finding> {
    let mut series: Vec<_> = { run.series.iter() }
        .filter(|(key, _)| !key.starts_with("system/"))
        .collect();
    series.sort_by_key(|(_, series)| series.len());
    let mut left = max_points;
    let columns: Vec<_> = { series.into_iter() }
        .map_while(|(key, series)| {
            left = left.checked_sub(series.len())?;
            let mut points: Vec<Point> = series.points().collect();
            points.sort_by_key(|point| point.timestamp_ms);
            let steps: Vec<i64> = points.iter().map(|point| point.step).collect();
            let values: Vec<f64> = points.iter().map(|point| point.value).collect();
            let times: Vec<i64> = points.iter().map(|point| point.timestamp_ms).collect();
            Some((key, steps, values, times))
        })
        .collect();
    let curves: Vec<Curve<'_>> = { columns.iter() }
        .map(|(key, steps, values, times)| Curve {
            key,
            steps,
            values,
            timestamps_ms: times,
        })
        .collect();
    let state = RunState {
        status: match run.state() {
            State::Running => RunStatus::Running,
            State::Ended(status) => status,
            // The store will show it as that.
            State::Abandoned => RunStatus::Killed,
        },
        start_time_ms: run.start_time_ms(),
        end_time_ms: run.end_time_ms(),
        error: run.tags().get("error.message").copied(),
        has_metrics: run.point_count() > 0,
        now_ms: Timestamp::now().as_millisecond(),
    };
    diagnose(&state, &curves)
}
