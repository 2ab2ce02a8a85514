//! Points that are left out of the metrics of runs, on request, and gather in the journal until they are written to a file
//! of their run.
//!
//! # Invariants
//!
//! 1. Of the points of a metric that were logged within a time `t`, at most [`BURST`] and one for each interval in `t` go to
//!    the store, and the greatest one when the run ends: the store ends up with the latest value of each metric.
//! 2. A point that is left out is in the run's lane before it is acknowledged where it was read. A process that ships the
//!    journal after a kill reads the lane as any other segment, and thins its points anew: each is in the store or in a
//!    file, and may be in both.
//! 3. A point in the lane counts as one that waits until it is in a file.
//! 4. The greatest point of each metric goes to the store before the lane is written to a file: what a process leaves behind
//!    has nothing that tells the next one about it.
//!
//! The times of the points decide, not the time of delivery, so a backlog is thinned as much as what comes live. The rule is
//! the generic cell rate algorithm ([ITU-T I.371](https://www.itu.int/rec/T-REC-I.371)): short runs, and the points of an
//! epoch that are logged all at once, go to the store whole, and those of a fast loop at even distances.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::journal::entry_log::EntryLog;
use crate::journal::record::decode_last_step;
use crate::model::{Metric, limits};

/// Number of points from which on a file is written before the run ends. Reading them takes some 20 MiB.
#[cfg(not(test))]
const MAX_POINTS_PER_FILE: usize = 1 << 18;

/// Small number in tests, so that even a short simulation writes several files.
#[cfg(test)]
const MAX_POINTS_PER_FILE: usize = 8;

/// Number of points of a metric that may go to the store at once.
#[cfg(not(test))]
const BURST: i64 = 1000;

/// Small number in tests, so that even a short simulation leaves points out.
#[cfg(test)]
const BURST: i64 = 2;

/// Time, in ms, by which a point may be older than one before it without a change of the clock: threads log side by side.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// Points that are left out, by run.
#[derive(Default)]
pub(in crate::shipper) struct ThinnedPoints {
    runs: FxHashMap<u32, ThinnedRun>,
}

/// Points that are left out of one run, and what is known of its metrics.
#[derive(Default)]
pub(in crate::shipper) struct ThinnedRun {
    metrics: FxHashMap<Arc<str>, ThinnedMetric>,
    pub(in crate::shipper) log: EntryLog,
    /// Number of points in the lane.
    pub(in crate::shipper) points: usize,
}

/// What is known of a metric of which points may be left out.
struct ThinnedMetric {
    /// Time, in ms since the Unix epoch, at which the next point would be logged if all that went to the store had come at
    /// the least interval.
    next_ms: i64,
    /// Time of the point that was looked at last, in ms since the Unix epoch.
    last_ms: i64,
    /// Greatest step of the points that go to the store, with its time: the value that MLflow shows as the latest.
    greatest_kept: (i64, i64),
    /// Greatest point that was left out, if it is greater than those.
    greatest_left_out: Option<Metric>,
}

impl ThinnedPoints {
    pub(in crate::shipper) fn run_or_insert(&mut self, run: u32) -> &mut ThinnedRun {
        self.runs.entry(run).or_default()
    }

    pub(in crate::shipper) fn get(&self, run: u32) -> Option<&ThinnedRun> {
        self.runs.get(&run)
    }

    /// Forgets a run, whose lane is empty.
    pub(in crate::shipper) fn forget(&mut self, run: u32) {
        self.runs.remove(&run);
    }

    /// Returns true if points of the run wait here.
    pub(in crate::shipper) fn has_run(&self, run: u32) -> bool {
        self.get(run).is_some_and(|thinned| thinned.points > 0)
    }

    /// Returns the number of points that wait here.
    pub(in crate::shipper) fn waiting_points(&self) -> usize {
        self.runs.values().map(|thinned| thinned.points).sum()
    }

    pub(in crate::shipper) fn is_empty(&self) -> bool {
        self.waiting_points() == 0
    }

    /// Returns the runs of which points wait here, in order of their numbers.
    pub(in crate::shipper) fn waiting_runs(&self) -> Vec<u32> {
        let runs = { self.runs.iter() }.filter(|(_, thinned)| thinned.points > 0);
        let mut runs: Vec<u32> = runs.map(|(run, _)| *run).collect();
        runs.sort_unstable();
        runs
    }
}

impl ThinnedRun {
    /// Returns true if the lane has as many points as a file takes.
    pub(in crate::shipper) fn is_full(&self) -> bool {
        self.points >= MAX_POINTS_PER_FILE
    }

    /// Returns, for each of these points, true if it goes to the store, and false if it is left out. Points at the last step
    /// of their metric all go to the store, as they have no step of their own yet.
    pub(in crate::shipper) fn choose(&mut self, points: &[Metric], interval_ms: i64) -> Vec<bool> {
        { points.iter() }
            .map(|point| decode_last_step(point.step).is_some() || self.is_kept(point, interval_ms))
            .collect()
    }

    fn is_kept(&mut self, point: &Metric, interval_ms: i64) -> bool {
        let order = (point.step, point.timestamp_ms);
        let Some(metric) = self.metrics.get_mut(&point.key) else {
            if limits::find_key_fault(&point.key).is_some() {
                // The batch rejects the point with the reason.
                return true;
            }
            let metric = ThinnedMetric {
                next_ms: point.timestamp_ms.saturating_add(interval_ms),
                last_ms: point.timestamp_ms,
                greatest_kept: order,
                greatest_left_out: None,
            };
            self.metrics.insert(Arc::clone(&point.key), metric);
            return true;
        };
        if metric.admits(point.timestamp_ms, interval_ms) {
            metric.keep_greatest(order);
            return true;
        }
        let greatest = { metric.greatest_left_out.as_ref() }
            .map_or(metric.greatest_kept, |left| (left.step, left.timestamp_ms));
        if order > greatest {
            metric.greatest_left_out = Some(point.clone());
        }
        false
    }

    /// Forgets the greatest point that was left out of the metric of `point`, as that point goes to the store after all.
    pub(in crate::shipper) fn forget_greatest(&mut self, point: &Metric) {
        if let Some(metric) = self.metrics.get_mut(&point.key) {
            metric.keep_greatest((point.step, point.timestamp_ms));
        }
    }

    /// Forgets the lane, whose points are in a file. What is known of the metrics stays.
    pub(in crate::shipper) fn empty(&mut self) {
        self.log = EntryLog::default();
        self.points = 0;
    }

    /// Returns the greatest point that was left out of each metric, if it is greater than those that go to the store.
    pub(in crate::shipper) fn all_greatest(&self) -> Vec<Metric> {
        { self.metrics.values() }
            .filter_map(|metric| metric.greatest_left_out.clone())
            .collect()
    }

    /// Notes that [these points](Self::all_greatest) are in the store.
    pub(in crate::shipper) fn note_greatest_sent(&mut self) {
        for metric in self.metrics.values_mut() {
            if let Some(sent) = metric.greatest_left_out.take() {
                metric.greatest_kept = (sent.step, sent.timestamp_ms);
            }
        }
    }
}

impl ThinnedMetric {
    /// Returns true if a point that was logged at `now_ms` may go to the store, and counts it then.
    fn admits(&mut self, now_ms: i64, interval_ms: i64) -> bool {
        let last_ms = std::mem::replace(&mut self.last_ms, now_ms);
        if now_ms < last_ms.saturating_sub(CLOCK_TOLERANCE_MS) {
            // The clock was set back, or what a dead process left out is read after what it did not leave out.
            self.next_ms = now_ms;
        }
        let allowance_ms = (BURST - 1).saturating_mul(interval_ms);
        let is_admitted = self.next_ms.saturating_sub(now_ms) <= allowance_ms;
        if is_admitted {
            self.next_ms = self.next_ms.max(now_ms).saturating_add(interval_ms);
        }
        is_admitted
    }

    fn keep_greatest(&mut self, order: (i64, i64)) {
        self.greatest_kept = self.greatest_kept.max(order);
        let is_greater = |left: &Metric| (left.step, left.timestamp_ms) > self.greatest_kept;
        self.greatest_left_out = self.greatest_left_out.take().filter(is_greater);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL_MS: i64 = 100;

    fn point(timestamp_ms: i64, step: i64) -> Metric {
        Metric {
            key: "loss".into(),
            value: 0.5,
            timestamp_ms,
            step,
        }
    }

    /// Returns the times of the points that go to the store, of one at each of `times_ms`.
    fn kept_times(times_ms: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let points: Vec<Metric> = { (0_i64..).zip(times_ms) }
            .map(|(step, time_ms)| point(time_ms, step))
            .collect();
        let kept = ThinnedRun::default().choose(&points, INTERVAL_MS);
        let kept = points.iter().zip(kept).filter(|(_, is_kept)| *is_kept);
        kept.map(|(point, _)| point.timestamp_ms).collect()
    }

    fn greatest_steps(run: &ThinnedRun) -> Vec<i64> {
        run.all_greatest().iter().map(|point| point.step).collect()
    }

    #[test]
    fn a_fast_metric_has_points_at_even_distances_behind_its_first_ones() {
        let kept = kept_times((0..1000).step_by(5));
        assert_eq!(kept, [0, 5, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    }

    #[test]
    fn a_slow_metric_is_whole() {
        let times: Vec<i64> = (0..10).map(|number| number * INTERVAL_MS).collect();
        assert_eq!(kept_times(times.clone()), times);
    }

    #[test]
    fn a_burst_after_a_pause_is_as_long_as_the_first_one() {
        assert_eq!(kept_times([0, 0, 0, 0, 500, 500, 500]), [0, 0, 500, 500]);
    }

    #[test]
    fn a_clock_that_is_set_back_stops_no_metric() {
        let kept = kept_times([1_000_000, 1_000_000, 1_000_000, 5, 5, 5, 200]);
        assert_eq!(kept, [1_000_000, 1_000_000, 5, 5, 200]);
    }

    #[test]
    fn threads_that_log_side_by_side_get_no_more_points() {
        let times = (0..1000).step_by(5).flat_map(|time| [time, time - 50]);
        assert_eq!(kept_times(times).len(), 11);
    }

    #[test]
    fn times_at_the_ends_of_their_range_are_no_trouble() {
        assert_eq!(kept_times([i64::MAX, i64::MIN, i64::MAX]).len(), 3);
        let mut run = ThinnedRun::default();
        assert_eq!(run.choose(&[point(i64::MAX, 0)], i64::MAX), [true]);
    }

    #[test]
    fn each_metric_has_a_rate_of_its_own() {
        let other = Metric {
            key: "accuracy".into(),
            ..point(0, 0)
        };
        let points = [point(0, 0), point(0, 1), point(0, 2), other];
        let kept = ThinnedRun::default().choose(&points, INTERVAL_MS);
        assert_eq!(kept, [true, true, false, true]);
    }

    #[test]
    fn the_greatest_point_is_that_of_the_greatest_step_and_time() {
        let mut run = ThinnedRun::default();
        run.choose(&[point(0, 7), point(0, 8), point(0, 3)], INTERVAL_MS);
        assert!(greatest_steps(&run).is_empty(), "8 is in the store");
        run.choose(&[point(0, 9), point(1, 9), point(1, 2)], INTERVAL_MS);
        assert_eq!(run.all_greatest(), [point(1, 9)]);
        run.note_greatest_sent();
        run.choose(&[point(1, 9), point(0, 9)], INTERVAL_MS);
        assert!(greatest_steps(&run).is_empty(), "9 is in the store");
        run.choose(&[point(1, 10), point(500, 11)], INTERVAL_MS);
        assert!(greatest_steps(&run).is_empty(), "11 is in the store");
    }

    #[test]
    fn a_point_whose_key_is_refused_is_left_to_its_batch() {
        let refused = Metric {
            key: "a//b".into(),
            ..point(0, 0)
        };
        let kept = ThinnedRun::default().choose(&[refused.clone(), refused.clone(), refused], 1);
        assert_eq!(kept, [true; 3]);
    }
}
