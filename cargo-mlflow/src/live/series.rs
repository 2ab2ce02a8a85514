//! [`Series`]: all points of one metric of a run, from its store and from journals.

use std::collections::HashMap;

use mlflow::entities::MetricHistory;

/// Point of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) step: i64,
    pub(crate) value: f64,
    /// Time at which the point was logged, in ms since the Unix epoch.
    pub(crate) timestamp_ms: i64,
}

impl Point {
    /// Returns what tells the point from others of its metric, wherever it was read. The step is left out: a journal
    /// leaves the step open where it is to be the last one of the store.
    pub(crate) fn identity(self) -> (i64, u64) {
        (self.timestamp_ms, self.value.to_bits())
    }
}

/// All points of one metric of a run. Each point counts once, although it may be in the store and in a journal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Points that the store had when it was read last.
    stored: MetricHistory,
    /// Points that were read from journals, and that the store did not have when it was read last.
    waiting: Vec<Point>,
    ranges: Ranges,
    /// Number that is greater after each change.
    version: u64,
}

/// Extremes of a series, as `inspect` and the charts show them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Extremes {
    /// Smallest finite value; infinite if there is none.
    pub(crate) least: f64,
    /// Greatest finite value; negative infinite if there is none.
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
        if point.value.is_finite() {
            self.extremes.least = self.extremes.least.min(point.value);
            self.extremes.greatest = self.extremes.greatest.max(point.value);
        } else {
            self.extremes.non_finite += 1;
        }
    }
}

impl Series {
    /// Adds a point that was read from a journal. Without a step, the point has the last step of the series.
    pub(super) fn push_waiting(&mut self, step: Option<i64>, value: f64, timestamp_ms: i64) {
        let step = step.unwrap_or_else(|| self.ranges.last.map_or(0, |last| last.step));
        let point = Point {
            step,
            value,
            timestamp_ms,
        };
        self.waiting.push(point);
        self.ranges.include(point);
        self.version += 1;
    }

    /// Takes over the points of the store. Of the points that were read from journals, those stay that the store does
    /// not have.
    pub(super) fn set_stored(&mut self, stored: MetricHistory) {
        if !self.waiting.is_empty() {
            let mut waiting: HashMap<(i64, u64), u32> = HashMap::new();
            for point in &self.waiting {
                *waiting.entry(point.identity()).or_default() += 1;
            }
            for point in points(&stored) {
                if let Some(count) = waiting.get_mut(&point.identity()) {
                    *count = count.saturating_sub(1);
                }
            }
            self.waiting.retain(|point| {
                let Some(count) = waiting.get_mut(&point.identity()) else {
                    return false;
                };
                let stays = *count > 0;
                *count = count.saturating_sub(1);
                stays
            });
        }
        self.stored = stored;
        let mut ranges = Ranges::default();
        for point in self.points() {
            ranges.include(point);
        }
        self.ranges = ranges;
        self.version += 1;
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
        self.stored.len() + self.waiting.len()
    }

    /// Returns the number of points that the store did not have when it was read last.
    pub(crate) fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns a number that is greater after each change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the points: those of the store in MLflow's order, then those that wait in the order in which they were
    /// logged.
    pub(crate) fn points(&self) -> impl Iterator<Item = Point> + '_ {
        points(&self.stored).chain(self.waiting.iter().copied())
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
    history.iter().map(|point| Point {
        step: point.step,
        value: point.value,
        timestamp_ms: point.timestamp_ms,
    })
}
