//! Points that are left out of the metrics of runs, on request, and gather in the journal until they are written to files
//! of their run.
//!
//! # Invariants
//!
//! 1. Of the points of a metric that were logged within a time `t`, at most [`BURST`] and one for each interval in `t` go to
//!    the store, and the greatest one that was left out whenever a file is written.
//! 2. A point that is left out is in the run's lane before it is acknowledged where it was read. A process that ships the
//!    journal after a kill reads the lane as any other segment, and thins its points anew: each is in the store or in a
//!    file, and may be in both.
//! 3. A point in the lane counts as one that waits until it is in a file.
//! 4. The greatest point of each metric goes to the store before the lane is written to a file: what a process leaves behind
//!    has nothing that informs the next one about it.
//! 5. The lanes of all runs together hold about [`MAX_WAITING_POINTS`]: they leave the journal's space to what has no other
//!    place.
//!
//! The times of the points decide, not the time of delivery, so a backlog is thinned as much as what comes live. The rule is
//! the generic cell rate algorithm ([ITU-T I.371](https://www.itu.int/rec/T-REC-I.371)): short runs, and the points of an
//! epoch that are logged all at once, go to the store whole, and those of a fast loop at even distances. Points at the last
//! step of their metric are never left out, as they have no step of their own until they are sent.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::journal::entry_log::EntryLog;
use crate::journal::record::decode_last_step;
use crate::model::{Metric, MetricRank, limits};

/// Greatest number of points in a file. To write one takes some 30 MiB.
#[cfg(not(test))]
pub(in crate::shipper) const MAX_POINTS_PER_FILE: usize = 1 << 18;

/// Small number in tests, so that even a short simulation writes several files.
#[cfg(test)]
pub(in crate::shipper) const MAX_POINTS_PER_FILE: usize = 8;

/// Number of points that may wait in the lanes of all runs together, which then take 48 MiB.
const MAX_WAITING_POINTS: usize = 4 * MAX_POINTS_PER_FILE;

/// Number of points that a file has at least, unless its run ends, however many runs there are.
#[cfg(not(test))]
const MIN_POINTS_PER_FILE: usize = 1 << 12;

/// Small number in tests.
#[cfg(test)]
const MIN_POINTS_PER_FILE: usize = 1;

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
    /// Number of runs of which points wait.
    waiting_runs: usize,
}

/// Points that are left out of one run, and what is known of its metrics.
#[derive(Default)]
pub(in crate::shipper) struct ThinnedRun {
    metrics: FxHashMap<Arc<str>, ThinnedMetric>,
    pub(in crate::shipper) log: EntryLog,
    /// Number of points in the lane.
    points: usize,
}

/// State of a metric of which points may be left out.
struct ThinnedMetric {
    /// Time, in µs since the Unix epoch, at which the next point would be logged if all that went to the store had come at
    /// the least interval.
    next_us: i64,
    /// Time of the point that was looked at last, in ms since the Unix epoch.
    last_ms: i64,
    /// Greatest rank of the points that go to the store.
    greatest_kept: MetricRank,
    /// Greatest point that was left out, if its rank is greater.
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
    pub(in crate::shipper) fn has_waiting(&self, run: u32) -> bool {
        self.get(run).is_some_and(|thinned| thinned.points > 0)
    }

    /// Returns true if no points of any run wait here.
    pub(in crate::shipper) fn is_nothing_waiting(&self) -> bool {
        self.waiting_runs == 0
    }

    /// Returns the runs of which points wait here, in order of their numbers, each with the number of points.
    pub(in crate::shipper) fn waiting(&self) -> Vec<(u32, usize)> {
        if self.waiting_runs == 0 {
            return Vec::new();
        }
        let runs = { self.runs.iter() }.map(|(run, thinned)| (*run, thinned.points));
        let mut runs: Vec<_> = runs.filter(|(_, points)| *points > 0).collect();
        runs.sort_unstable();
        runs
    }

    /// Returns true if it is time to write the points of a run to a file before the run ends.
    pub(in crate::shipper) fn is_full(&self, run: u32) -> bool {
        let share = MAX_WAITING_POINTS / self.waiting_runs.max(1);
        let limit = share.clamp(MIN_POINTS_PER_FILE, MAX_POINTS_PER_FILE);
        self.get(run).is_some_and(|thinned| thinned.points >= limit)
    }

    /// Counts points that were added to the lane of a run.
    pub(in crate::shipper) fn add_waiting(&mut self, run: u32, points: usize) {
        let thinned = self.runs.entry(run).or_default();
        self.waiting_runs += usize::from(thinned.points == 0 && points > 0);
        thinned.points += points;
    }

    /// Counts points that were taken out of the lane of a run. Returns how many of `points` the lane had.
    pub(in crate::shipper) fn subtract_waiting(&mut self, run: u32, points: usize) -> usize {
        let thinned = self.runs.entry(run).or_default();
        let taken = points.min(thinned.points);
        thinned.points -= taken;
        self.waiting_runs -= usize::from(taken > 0 && thinned.points == 0);
        taken
    }

    /// Empties the lane of a run, and returns how many points it should have had still.
    pub(in crate::shipper) fn clear_lane(&mut self, run: u32) -> usize {
        self.run_or_insert(run).log = EntryLog::default();
        self.subtract_waiting(run, usize::MAX)
    }
}

impl ThinnedRun {
    /// Returns, for each of these points, true if it goes to the store, and false if it is left out.
    pub(in crate::shipper) fn choose_kept(
        &mut self,
        points: &[Metric],
        interval_us: i64,
    ) -> Vec<bool> {
        // The points of several threads are read one thread after the other.
        let mut by_time: Vec<usize> = (0..points.len()).collect();
        by_time.sort_by_key(|index| points.get(*index).map(|point| point.timestamp_ms));
        let mut kept = vec![true; points.len()];
        for index in by_time {
            if let (Some(point), Some(is_kept)) = (points.get(index), kept.get_mut(index)) {
                *is_kept =
                    decode_last_step(point.step).is_some() || self.is_kept(point, interval_us);
            }
        }
        kept
    }

    fn is_kept(&mut self, point: &Metric, interval_us: i64) -> bool {
        let rank = rank(point);
        let Some(metric) = self.metrics.get_mut(&point.key) else {
            if limits::find_key_fault(&point.key).is_some() {
                // The batch rejects the point with the reason.
                return true;
            }
            let metric = ThinnedMetric {
                next_us: to_us(point.timestamp_ms).saturating_add(interval_us),
                last_ms: point.timestamp_ms,
                greatest_kept: rank,
                greatest_left_out: None,
            };
            self.metrics.insert(Arc::clone(&point.key), metric);
            return true;
        };
        if metric.admits(point.timestamp_ms, interval_us) {
            metric.note_kept(rank);
            return true;
        }
        let greatest =
            { metric.greatest_left_out.as_ref() }.map_or(metric.greatest_kept, self::rank);
        if rank > greatest {
            metric.greatest_left_out = Some(point.clone());
        }
        false
    }

    /// Notes that a point that was chosen to be left out goes to the store after all.
    pub(in crate::shipper) fn note_kept(&mut self, point: &Metric) {
        if let Some(metric) = self.metrics.get_mut(&point.key) {
            metric.note_kept(rank(point));
        }
    }

    /// Returns the greatest point that was left out of each metric, if its rank is greater than those of the points that go to
    /// the store.
    pub(in crate::shipper) fn all_greatest(&self) -> Vec<Metric> {
        { self.metrics.values() }
            .filter_map(|metric| metric.greatest_left_out.clone())
            .collect()
    }
}

impl ThinnedMetric {
    /// Returns true if a point that was logged at `now_ms` may go to the store, and counts it then.
    fn admits(&mut self, now_ms: i64, interval_us: i64) -> bool {
        let now_us = to_us(now_ms);
        let allowance_us = (BURST - 1).saturating_mul(interval_us);
        let last_ms = std::mem::replace(&mut self.last_ms, now_ms);
        if now_ms < last_ms.saturating_sub(CLOCK_TOLERANCE_MS) {
            // The clock was set back, or a backlog of several threads is read. Neither brings a new burst.
            self.next_us = now_us.saturating_add(allowance_us);
        }
        let is_admitted = self.next_us.saturating_sub(now_us) <= allowance_us;
        if is_admitted {
            self.next_us = self.next_us.max(now_us).saturating_add(interval_us);
        }
        is_admitted
    }

    fn note_kept(&mut self, kept: MetricRank) {
        if kept > self.greatest_kept {
            self.greatest_kept = kept;
        }
        let is_greater = |left: &Metric| rank(left) > self.greatest_kept;
        self.greatest_left_out = self.greatest_left_out.take().filter(is_greater);
    }
}

fn rank(point: &Metric) -> MetricRank {
    MetricRank::new(point.step, point.timestamp_ms, point.value)
}

fn to_us(timestamp_ms: i64) -> i64 {
    timestamp_ms.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL_US: i64 = 100_000;

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
        let kept = ThinnedRun::default().choose_kept(&points, INTERVAL_US);
        let kept = points.iter().zip(kept).filter(|(_, is_kept)| *is_kept);
        kept.map(|(point, _)| point.timestamp_ms).collect()
    }

    #[test]
    fn a_fast_metric_has_points_at_even_distances_behind_its_first_ones() {
        let kept = kept_times((0..1000).step_by(5));
        assert_eq!(kept, [0, 5, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    }

    #[test]
    fn a_slow_metric_is_whole() {
        let times: Vec<i64> = (0..10).map(|number| number * 100).collect();
        assert_eq!(kept_times(times.clone()), times);
    }

    #[test]
    fn a_burst_after_a_pause_is_as_long_as_the_first_one() {
        assert_eq!(kept_times([0, 0, 0, 0, 500, 500, 500]), [0, 0, 500, 500]);
    }

    #[test]
    fn a_clock_that_is_set_back_stops_no_metric() {
        let mut run = ThinnedRun::default();
        let mut kept = |time| run.choose_kept(&[point(time, 0)], INTERVAL_US)[0];
        let late = [1_000_000; 3].map(&mut kept);
        let early = [5, 5, 105, 110, 205].map(&mut kept);
        assert_eq!(late, [true, true, false]);
        assert_eq!(
            early,
            [true, false, true, false, true],
            "at the rate, without a burst"
        );
    }

    /// The segments of several threads are read in turns, each with the points of minutes.
    #[test]
    fn a_backlog_of_several_threads_has_no_burst_for_each_segment() {
        let mut run = ThinnedRun::default();
        let part: Vec<Metric> = (0..2000).map(|step| point(step * 100, step)).collect();
        let count = |kept: Vec<bool>| kept.into_iter().filter(|is_kept| *is_kept).count();
        let kept: Vec<usize> = (0..4)
            .map(|_| count(run.choose_kept(&part, 10 * INTERVAL_US)))
            .collect();
        assert_eq!(kept, [201, 200, 200, 200]);
    }

    #[test]
    fn threads_that_log_side_by_side_get_no_more_points() {
        let times = (0..1000).step_by(5).chain((0..1000).step_by(5));
        let mut kept = kept_times(times);
        kept.sort_unstable();
        assert_eq!(kept, [0, 0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    }

    #[test]
    fn times_at_the_ends_of_their_range_are_no_trouble() {
        assert_eq!(kept_times([i64::MAX, i64::MIN, i64::MAX]).len(), 3);
        let mut run = ThinnedRun::default();
        assert_eq!(run.choose_kept(&[point(i64::MAX, 0)], i64::MAX), [true]);
    }

    #[test]
    fn each_metric_has_a_rate_of_its_own() {
        let other = Metric {
            key: "accuracy".into(),
            ..point(0, 0)
        };
        let points = [point(0, 0), point(0, 1), point(0, 2), other];
        let kept = ThinnedRun::default().choose_kept(&points, INTERVAL_US);
        assert_eq!(kept, [true, true, false, true]);
    }

    #[test]
    fn the_greatest_point_is_that_of_the_greatest_step_time_and_value() {
        let with_value = |value, point: Metric| Metric { value, ..point };
        let mut run = ThinnedRun::default();
        run.choose_kept(&[point(0, 7), point(0, 8), point(0, 3)], INTERVAL_US);
        assert!(run.all_greatest().is_empty(), "8 is in the store");
        run.choose_kept(&[point(0, 9), point(1, 9), point(1, 2)], INTERVAL_US);
        assert_eq!(run.all_greatest(), [point(1, 9)]);
        let greater = with_value(0.7, point(1, 9));
        run.choose_kept(
            &[with_value(f64::NAN, point(1, 9)), greater.clone()],
            INTERVAL_US,
        );
        assert_eq!(run.all_greatest(), std::slice::from_ref(&greater));
        run.note_kept(&greater);
        run.choose_kept(&[point(1, 9), point(0, 9)], INTERVAL_US);
        assert!(run.all_greatest().is_empty(), "9 is in the store");
        run.choose_kept(&[point(1, 10), point(500, 11)], INTERVAL_US);
        assert!(run.all_greatest().is_empty(), "11 is in the store");
    }

    #[test]
    fn the_lanes_of_many_runs_are_written_sooner() {
        let mut points = ThinnedPoints::default();
        points.add_waiting(0, MAX_POINTS_PER_FILE - 1);
        assert!(!points.is_full(0));
        points.add_waiting(0, 1);
        assert!(points.is_full(0));
        points.add_waiting(1, 1);
        assert!(!points.is_full(1));
        for run in 2..=MAX_WAITING_POINTS as u32 {
            points.add_waiting(run, 1);
        }
        assert!(points.is_full(1), "it has its share");
        assert_eq!(points.subtract_waiting(1, 5), 1);
        assert_eq!(points.clear_lane(1), 0);
        assert!(!points.is_full(1));
        assert_eq!(points.waiting().len(), MAX_WAITING_POINTS);
    }

    #[test]
    fn a_point_whose_key_is_invalid_is_left_to_its_batch() {
        let invalid = Metric {
            key: "a//b".into(),
            ..point(0, 0)
        };
        let kept =
            ThinnedRun::default().choose_kept(&[invalid.clone(), invalid.clone(), invalid], 1);
        assert_eq!(kept, [true; 3]);
    }
}
