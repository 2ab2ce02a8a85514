//! [`Series`]: all points of one metric of a run, from its store and from journals.
//!
//! Invariant: each point counts once, by the rule of the stores: two points of a metric with the same step, time and
//! value are one. A point may be in the store and in a journal, and twice in a journal.

use std::collections::HashSet;

use mlflow::entities::{MetricHistory, MetricPoint};

use crate::output::format;

/// Point of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) step: i64,
    pub(crate) value: f64,
    /// Time at which the point was logged, in ms since the Unix epoch.
    pub(crate) timestamp_ms: i64,
}

/// Time, value and step by which a store tells points of a metric apart. The step is `None` for a point that gets the
/// last step of the metric when it is delivered.
type Identity = (i64, u64, Option<i64>);

impl From<MetricPoint> for Point {
    fn from(point: MetricPoint) -> Self {
        Self {
            step: point.step,
            value: point.value,
            timestamp_ms: point.timestamp_ms,
        }
    }
}

impl Point {
    fn identity(self, has_step: bool) -> Identity {
        let step = has_step.then_some(self.step);
        (self.timestamp_ms, stored_bits(self.value), step)
    }
}

/// Returns the bits of a value as databases hold it: with one NaN, one zero, and the greatest float for an infinity.
fn stored_bits(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.clamp(f64::MIN, f64::MAX).to_bits()
    }
}

/// Point that was read from a journal.
#[derive(Clone, Copy, Debug)]
struct JournalPoint {
    point: Point,
    has_step: bool,
    /// True if the store is known to have the point, or to refuse it for good.
    is_settled: bool,
}

/// All points of one metric of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Points that the store had when it was read last.
    stored: MetricHistory,
    /// Points that were read from journals, and that the store did not have when it was read last.
    logged: Vec<JournalPoint>,
    /// Identities of all points. Built only when a point comes that may be a repetition.
    identities: Option<HashSet<Identity>>,
    /// Greatest time and step of the logged points.
    last_logged: Option<(i64, i64)>,
    /// Number of logged points that are not settled.
    waiting: usize,
    /// Points that have come since they were taken last; empty unless they are kept.
    new: Vec<Point>,
    keeps_new: bool,
    ranges: Ranges,
    /// Number that is greater after each change.
    version: u64,
}

/// Extremes of a series, as `inspect` and the charts show them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Extremes {
    /// Smallest number; infinite if there is none.
    pub(crate) least: f64,
    /// Greatest number; negative infinite if there is none.
    pub(crate) greatest: f64,
    /// Number of points that are NaN or infinite. They are no extremes.
    pub(crate) non_finite: u64,
}

impl Default for Extremes {
    fn default() -> Self {
        Self {
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
            non_finite: 0,
        }
    }
}

/// Ranges of a series, kept up to date with each point.
#[derive(Clone, Copy, Debug, Default)]
struct Ranges {
    /// Point with the greatest step, then time.
    last: Option<Point>,
    /// Smallest and greatest step.
    steps: Option<(i64, i64)>,
    /// Smallest and greatest time, in ms since the Unix epoch.
    times_ms: Option<(i64, i64)>,
    extremes: Extremes,
}

impl Ranges {
    /// Adds a point.
    fn include(&mut self, point: Point) {
        let is_later =
            |last: Point| (point.step, point.timestamp_ms) >= (last.step, last.timestamp_ms);
        if self.last.is_none_or(is_later) {
            self.last = Some(point);
        }
        extend(&mut self.steps, point.step);
        extend(&mut self.times_ms, point.timestamp_ms);
        if format::is_number(point.value) {
            self.extremes.least = self.extremes.least.min(point.value);
            self.extremes.greatest = self.extremes.greatest.max(point.value);
        } else {
            self.extremes.non_finite += 1;
        }
    }
}

impl Series {
    /// Creates an empty series, which keeps new points until they are taken if `keeps_new`.
    pub(super) fn new(keeps_new: bool) -> Self {
        Self {
            keeps_new,
            ..Self::default()
        }
    }

    /// Adds a point that was read from a journal, unless it is known. Without a step, the point has the last step of the
    /// series. Returns true if the point is new.
    pub(super) fn log(
        &mut self,
        step: Option<i64>,
        value: f64,
        timestamp_ms: i64,
        is_settled: bool,
    ) -> bool {
        let has_step = step.is_some();
        let point = Point {
            step: step.unwrap_or_else(|| self.ranges.last.map_or(0, |last| last.step)),
            value,
            timestamp_ms,
        };
        let place = (timestamp_ms, point.step);
        // A process logs a metric with greater and greater times and steps. Other points may repeat an earlier one.
        let is_later = has_step && { self.last_logged }.is_none_or(|last| place > last);
        let is_behind_store = self
            .ranges
            .times_ms
            .is_none_or(|(_, greatest)| timestamp_ms >= greatest);
        if !is_later || !is_behind_store || self.identities.is_some() {
            let identity = point.identity(has_step);
            if !self.identities().insert(identity) {
                return false;
            }
        }
        self.last_logged = self.last_logged.max(Some(place));
        self.logged.push(JournalPoint {
            point,
            has_step,
            is_settled,
        });
        self.waiting += usize::from(!is_settled);
        self.ranges.include(point);
        self.version += 1;
        if self.keeps_new {
            self.new.push(point);
        }
        true
    }

    /// Takes over the points of the store. Of the points that were read from journals, those stay that the store does
    /// not have.
    pub(super) fn set_stored(&mut self, stored: MetricHistory) {
        let logged: HashSet<Identity> = { self.logged.iter() }
            .map(|logged| logged.point.identity(logged.has_step))
            .collect();
        if self.keeps_new {
            let new = self.new_in(&stored, &logged);
            self.new.extend(new);
        }
        if !logged.is_empty() {
            let mut missing = logged;
            for point in points(&stored) {
                missing.remove(&point.identity(true));
                missing.remove(&point.identity(false));
            }
            self.logged
                .retain(|logged| missing.contains(&logged.point.identity(logged.has_step)));
        }
        self.waiting = { self.logged.iter() }
            .filter(|logged| !logged.is_settled)
            .count();
        self.stored = stored;
        self.identities = None;
        let mut ranges = Ranges::default();
        for point in self.points() {
            ranges.include(point);
        }
        self.ranges = ranges;
        self.version += 1;
    }

    /// Returns the points of a reading of the store that neither the reading before it nor a journal had.
    fn new_in(&self, stored: &MetricHistory, logged: &HashSet<Identity>) -> Vec<Point> {
        let is_continued = stored.steps().starts_with(self.stored.steps())
            && stored
                .timestamps_ms()
                .starts_with(self.stored.timestamps_ms());
        let (known, skipped) = if is_continued {
            (HashSet::new(), self.stored.len())
        } else {
            let known = points(&self.stored).map(|point| point.identity(true));
            (known.collect(), 0)
        };
        let is_known = |identity| logged.contains(&identity) || known.contains(&identity);
        points(stored)
            .skip(skipped)
            .filter(|point| !is_known(point.identity(true)) && !is_known(point.identity(false)))
            .collect()
    }

    /// Returns the identities of all points.
    fn identities(&mut self) -> &mut HashSet<Identity> {
        let (stored, logged) = (&self.stored, &self.logged);
        self.identities.get_or_insert_with(|| {
            let logged = logged
                .iter()
                .map(|logged| logged.point.identity(logged.has_step));
            points(stored)
                .flat_map(|point| [point.identity(true), point.identity(false)])
                .chain(logged)
                .collect()
        })
    }

    /// Takes the points that have come since the last call.
    pub(super) fn take_new(&mut self) -> Vec<Point> {
        std::mem::take(&mut self.new)
    }

    /// Returns the smallest and the greatest step.
    pub(crate) fn steps(&self) -> Option<(i64, i64)> {
        self.ranges.steps
    }

    /// Returns the smallest and the greatest time, in ms since the Unix epoch.
    pub(crate) fn times_ms(&self) -> Option<(i64, i64)> {
        self.ranges.times_ms
    }

    /// Returns the point with the greatest step, then time.
    pub(crate) fn last(&self) -> Option<Point> {
        self.ranges.last
    }

    /// Returns the number of points.
    pub(crate) fn len(&self) -> usize {
        self.stored.len() + self.logged.len()
    }

    /// Returns the number of points of journals that the store is not known to have.
    pub(crate) fn waiting_len(&self) -> usize {
        self.waiting
    }

    /// Returns a number that is greater after each change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the points: those of the store in MLflow's order, then those of journals in the order in which they were
    /// logged.
    pub(crate) fn points(&self) -> impl Iterator<Item = Point> + '_ {
        points(&self.stored).chain(self.logged.iter().map(|logged| logged.point))
    }

    /// Returns the extremes.
    pub(crate) fn extremes(&self) -> Extremes {
        self.ranges.extremes
    }
}

fn extend(range: &mut Option<(i64, i64)>, value: i64) {
    *range = Some(range.map_or((value, value), |(least, greatest)| {
        (least.min(value), greatest.max(value))
    }));
}

fn points(history: &MetricHistory) -> impl Iterator<Item = Point> + '_ {
    history.iter().map(Point::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(series: &Series) -> Vec<i64> {
        series.points().map(|point| point.step).collect()
    }

    /// A journal holds the values of a run that has to wait in two segments.
    #[test]
    fn a_point_that_a_journal_holds_twice_counts_once() {
        let mut series = Series::new(true);
        for _ in 0..2 {
            for step in 0..5 {
                // All in the same millisecond, and with one value.
                series.log(Some(step), 0.5, 1000, false);
            }
            series.log(None, 0.25, 1000, false);
        }
        assert_eq!(steps(&series), [0, 1, 2, 3, 4, 4]);
        assert_eq!((series.len(), series.waiting_len()), (6, 6));
        assert_eq!(series.take_new().len(), 6);
        assert!(series.take_new().is_empty());
    }

    #[test]
    fn points_are_told_apart_as_a_database_does() {
        for (value, stored) in [
            (f64::INFINITY, f64::MAX),
            (f64::NEG_INFINITY, f64::MIN),
            (-0.0, 0.0),
            (-f64::NAN, f64::NAN),
        ] {
            assert_eq!(stored_bits(value), stored_bits(stored), "{value}");
        }
        assert_ne!(stored_bits(1.0), stored_bits(-1.0));
    }

    #[test]
    fn settled_points_do_not_wait() {
        let mut series = Series::new(false);
        series.log(Some(0), 1.0, 1, true);
        series.log(Some(1), f64::MAX, 2, false);
        assert_eq!((series.len(), series.waiting_len()), (2, 1));
        let extremes = series.extremes();
        assert_eq!(
            (extremes.least, extremes.greatest, extremes.non_finite),
            (1.0, 1.0, 1)
        );
        assert!(series.take_new().is_empty());
    }
}
