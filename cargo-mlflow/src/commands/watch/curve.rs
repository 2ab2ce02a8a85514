//! [`Outline`]: a curve as it is drawn, with as many points as the screen can show.

use std::collections::HashMap;
use std::sync::Arc;

use crate::live::Series;

/// Points of an outline for each column of dots.
const POINTS_PER_COLUMN: usize = 4;
/// Size from which a value is not drawn: a greater one has overflowed.
const MAX_DRAWN: f64 = 1e300;

/// Horizontal axis of the charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Step,
    /// Seconds since the start of each run.
    Time,
}

/// What the points of an outline depend on, beside the points of the series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Projection {
    pub(super) axis: Axis,
    /// Start of the run, in ms since the Unix epoch.
    pub(super) start_ms: i64,
    /// Range of the horizontal axis.
    pub(super) bounds: [f64; 2],
    /// Number of columns of dots.
    pub(super) columns: usize,
    pub(super) is_logarithmic: bool,
    /// Weight of the past in the moving average, from 0 (none) to 1.
    pub(super) smoothing: f64,
}

impl Projection {
    /// Returns the range of a series on the horizontal axis; `None` for a series without points.
    pub(super) fn range(axis: Axis, start_ms: i64, series: &Series) -> Option<[f64; 2]> {
        let (least, greatest) = match axis {
            Axis::Step => series.steps()?,
            Axis::Time => series.times_ms()?,
        };
        Some([least, greatest].map(|value| place(axis, start_ms, value, value)))
    }

    /// Returns the outline of a series: of each column of dots the first, the smallest, the greatest and the last value,
    /// so that no peak is lost. Takes time in proportion to the number of points.
    fn outline(&self, series: &Series) -> Vec<(f64, f64)> {
        let [left, right] = self.bounds;
        let columns = self.columns.max(2);
        #[expect(clippy::cast_precision_loss, reason = "a screen has fewer columns")]
        let scale = (columns - 1) as f64 / (right - left).max(f64::MIN_POSITIVE);
        let mut found: Vec<Option<Column>> = vec![None; columns];
        let mut average = None;
        for point in series.points() {
            let is_drawn = point.value.abs() < MAX_DRAWN;
            if !is_drawn {
                continue;
            }
            let smoothed = match average {
                Some(average) if self.smoothing > 0.0 => {
                    self.smoothing * average + (1.0 - self.smoothing) * point.value
                }
                _ => point.value,
            };
            average = Some(smoothed);
            if self.is_logarithmic && smoothed <= 0.0 {
                continue;
            }
            let x = place(self.axis, self.start_ms, point.step, point.timestamp_ms);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a column, and what lies outside is moved to the border"
            )]
            let column = ((x - left) * scale) as usize;
            if let Some(found) = found.get_mut(column.min(columns - 1)) {
                match found {
                    Some(column) => column.add(x, smoothed),
                    None => *found = Some(Column::new(x, smoothed)),
                }
            }
        }
        let mut outline = Vec::with_capacity(columns * POINTS_PER_COLUMN);
        for column in found.into_iter().flatten() {
            column.push_to(&mut outline);
        }
        if self.is_logarithmic {
            for (_, y) in &mut outline {
                *y = y.log10();
            }
        }
        outline
    }
}

/// Returns the place of a point on the axis.
#[expect(clippy::cast_precision_loss, reason = "a screen has fewer columns")]
fn place(axis: Axis, start_ms: i64, step: i64, timestamp_ms: i64) -> f64 {
    match axis {
        Axis::Step => step as f64,
        Axis::Time => timestamp_ms.saturating_sub(start_ms) as f64 / 1000.0,
    }
}

/// Values of one column of dots.
#[derive(Clone, Copy, Debug)]
struct Column {
    first: (f64, f64),
    least: (f64, f64),
    greatest: (f64, f64),
    last: (f64, f64),
}

impl Column {
    fn new(x: f64, y: f64) -> Self {
        Self {
            first: (x, y),
            least: (x, y),
            greatest: (x, y),
            last: (x, y),
        }
    }

    fn add(&mut self, x: f64, y: f64) {
        if x < self.first.0 {
            self.first = (x, y);
        }
        if x >= self.last.0 {
            self.last = (x, y);
        }
        if y < self.least.1 {
            self.least = (x, y);
        }
        if y > self.greatest.1 {
            self.greatest = (x, y);
        }
    }

    fn push_to(self, outline: &mut Vec<(f64, f64)>) {
        let mut points = [self.first, self.least, self.greatest, self.last];
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        for point in points {
            if outline.last() != Some(&point) {
                outline.push(point);
            }
        }
    }
}

/// Outlines that were drawn last, so that only curves which have changed are computed again.
#[derive(Default)]
pub(super) struct Outlines {
    known: HashMap<(usize, Arc<str>), Outline>,
}

/// Outline with what it was computed from.
struct Outline {
    version: u64,
    projection: Projection,
    points: Vec<(f64, f64)>,
}

impl Outlines {
    /// Returns the outline of a run's metric.
    pub(super) fn get(
        &mut self,
        run: usize,
        metric: &Arc<str>,
        series: &Series,
        projection: Projection,
    ) -> Vec<(f64, f64)> {
        let id = (run, Arc::clone(metric));
        if let Some(known) = self.known.get(&id)
            && known.version == series.version()
            && known.projection == projection
        {
            return known.points.clone();
        }
        let points = projection.outline(series);
        let outline = Outline {
            version: series.version(),
            projection,
            points: points.clone(),
        };
        self.known.insert(id, outline);
        points
    }
}
