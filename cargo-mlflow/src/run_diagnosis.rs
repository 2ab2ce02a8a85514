//! Diagnosis of a run, in the store or while it grows, with a bounded number of points.

use std::borrow::Borrow;
use std::convert::Infallible;

use jiff::Timestamp;
use mlflow::RunStatus;
use mlflow::entities::{MetricHistory, Run};

use crate::analysis::diagnosis::{Curve, Finding, RunState, diagnose};
use crate::failure::Failure;
use crate::goal::{guess, is_of_interest};
use crate::live::{LiveRun, Look, Point, State};

/// Curves of a run that were read.
#[derive(Default)]
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

/// Findings about a run as it is now.
pub(crate) struct LiveDiagnosis {
    pub(crate) findings: Vec<Finding>,
    /// Number of curves that were examined.
    #[cfg_attr(
        not(feature = "mcp"),
        allow(dead_code, reason = "only the tools for assistants tell it")
    )]
    pub(crate) curves: usize,
    /// Number of their points.
    #[cfg_attr(
        not(feature = "mcp"),
        allow(dead_code, reason = "only the tools for assistants tell it")
    )]
    pub(crate) points: u64,
    /// Metrics whose curves were not examined.
    pub(crate) left_out: Vec<String>,
}

/// Number of points of a curve.
#[derive(Clone, Copy)]
enum Length {
    Known(u64),
    /// Last step of a curve that was not read. Low last steps mostly are those of short curves.
    LastStep(i64),
}

/// Reads curves until they have `max_points` in all, and returns them with the names of the others. Metrics whose names
/// tell what is better come first, and short curves before long ones; the machine's metrics say nothing about a
/// training. Only a curve whose length nobody knew before may exceed `max_points`.
fn read_in_order<'k, C, E>(
    metrics: impl Iterator<Item = (&'k str, Length)>,
    max_points: u64,
    mut read: impl FnMut(&'k str) -> Result<(C, u64), E>,
) -> Result<(Vec<C>, Vec<String>), E> {
    let mut order: Vec<(bool, i64, &str, Length)> = metrics
        .filter(|(key, _)| !key.starts_with("system/"))
        .map(|(key, length)| {
            let tells_goal = is_of_interest(key) && guess(key).is_some();
            let size = match length {
                Length::Known(points) => i64::try_from(points).unwrap_or(i64::MAX),
                Length::LastStep(step) => step,
            };
            (!tells_goal, size, key, length)
        })
        .collect();
    order.sort_by_key(|&(tells_no_goal, size, key, _)| (tells_no_goal, size, key));
    let (mut curves, mut left_out, mut points) = (Vec::new(), Vec::new(), 0);
    for (_, _, key, length) in order {
        let fits = match length {
            Length::Known(length) => points + length <= max_points,
            Length::LastStep(_) => points < max_points,
        };
        if fits {
            let (curve, length) = read(key)?;
            points += length;
            curves.push(curve);
        } else {
            left_out.push(key.to_owned());
        }
    }
    Ok((curves, left_out))
}

/// Reads the curves of a run of the store, metric by metric, until `max_points` were read: only the last curve may exceed
/// them.
pub(crate) fn read_curves<H: Borrow<MetricHistory>, E>(
    run: &Run,
    max_points: u64,
    mut read: impl FnMut(&str) -> Result<H, E>,
) -> Result<ReadCurves<H>, E> {
    let metrics = { run.metrics.iter() }.map(|(key, last)| (&**key, Length::LastStep(last.step)));
    let (histories, left_out) = read_in_order(metrics, max_points, |key| {
        let history = read(key)?;
        let length = history.borrow().len() as u64;
        Ok((history, length))
    })?;
    Ok(ReadCurves {
        histories,
        left_out,
    })
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

/// Reads the curves that the store has of a run, and returns the findings about the run as it is now, by at most
/// `max_points`.
///
/// # Errors
/// Returns the error of the store if no journal holds the run.
#[cfg_attr(
    not(feature = "mcp"),
    allow(dead_code, reason = "only the tools for assistants look once")
)]
pub(crate) fn diagnose_look(look: &mut Look, max_points: u64) -> Result<LiveDiagnosis, Failure> {
    let mut unread = Vec::new();
    if let Some((client, stored)) = &look.stored {
        let curves = read_curves(stored, max_points, |key| {
            client.metric_history(&*stored.run_id, key)
        });
        match curves {
            Ok(curves) => {
                look.run.set_record(stored.clone(), curves.histories);
                unread = curves.left_out;
            }
            Err(error) if look.run.is_in_journal() => {
                unread = stored.metrics.keys().cloned().collect();
                look.store_error = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(live_findings(&look.run, max_points, unread))
}

/// Returns the findings about a run as it is now, by curves that have at most `max_points` in all. Of the metrics
/// `unread`, only a part is known, which is not examined.
pub(crate) fn live_findings(run: &LiveRun, max_points: u64, unread: Vec<String>) -> LiveDiagnosis {
    struct Columns<'k> {
        key: &'k str,
        steps: Vec<i64>,
        values: Vec<f64>,
        timestamps_ms: Vec<i64>,
    }
    let metrics = { run.series.iter() }
        .filter(|(key, _)| !unread.iter().any(|unread| **unread == ***key))
        .map(|(key, series)| (&**key, Length::Known(series.len() as u64)));
    let read = |key| {
        let mut points: Vec<Point> = { run.series.get(key) }
            .map(|series| series.points().collect())
            .unwrap_or_default();
        points.sort_by_key(|point| point.timestamp_ms);
        let columns = Columns {
            key,
            steps: points.iter().map(|point| point.step).collect(),
            values: points.iter().map(|point| point.value).collect(),
            timestamps_ms: points.iter().map(|point| point.timestamp_ms).collect(),
        };
        Ok::<_, Infallible>((columns, points.len() as u64))
    };
    let Ok((columns, too_long)) = read_in_order(metrics, max_points, read);
    let curves: Vec<Curve<'_>> = { columns.iter() }
        .map(|columns| Curve {
            key: columns.key,
            steps: &columns.steps,
            values: &columns.values,
            timestamps_ms: &columns.timestamps_ms,
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
        has_metrics: !unread.is_empty() || run.point_count() > 0,
        now_ms: Timestamp::now().as_millisecond(),
    };
    LiveDiagnosis {
        findings: diagnose(&state, &curves),
        curves: curves.len(),
        points: { columns.iter() }
            .map(|columns| columns.steps.len() as u64)
            .sum(),
        left_out: [unread, too_long].concat(),
    }
}
