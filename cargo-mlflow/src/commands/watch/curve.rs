//! [`Outline`]: a curve as it is drawn, with as many points as the screen can show.

use std::collections::HashMap;
use std::sync::Arc;

use crate::live::Series;
use crate::output::format;

/// Number of times that the range of all values is greater than that of most, so that the most would be a flat line.
const MAX_SPREAD: f64 = 1e4;
/// Part of the values, at either end, of which the range of most values is free.
const FAR_SHARE: usize = 20;
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

/// Curve as it is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outline {
    pub(super) points: Vec<(f64, f64)>,
    /// Number of points that are numbers, and that no axis has a place for: overflowed, or not above 0 on a logarithmic
    /// axis.
    pub(super) undrawn: u64,
}

/// Returns the range of the values that the vertical axis shows, and the number of values beyond it. These are few, and so
/// far off that all others would be one flat line.
pub(super) fn shown_range(values: impl Iterator<Item = f64>) -> ([f64; 2], u64) {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let far = sorted.len() / FAR_SHARE;
    // Of few values, one may be far off.
    let far = far.max(usize::from(sorted.len() > 3));
    let last = sorted.len().saturating_sub(1);
    let at = |index: usize| sorted.get(index).copied();
    let (Some(least), Some(greatest)) = (at(0), at(last)) else {
        return ([f64::INFINITY, f64::NEG_INFINITY], 0);
    };
    let (Some(low), Some(high)) = (at(far), at(last.saturating_sub(far))) else {
        return ([least, greatest], 0);
    };
    let most = high - low;
    if most <= 0.0 || (greatest - least) <= MAX_SPREAD * most {
        return ([least, greatest], 0);
    }
    let is_near = |value: &f64| (low - most..=high + most).contains(value);
    let near: Vec<f64> = sorted.iter().copied().filter(is_near).collect();
    let [first, .., last] = near[..] else {
        return ([least, greatest], 0);
    };
    let beyond = sorted.len() - near.len();
    ([first, last], beyond as u64)
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
    fn outline(&self, series: &Series) -> Outline {
        let [left, right] = self.bounds;
        let columns = self.columns.max(2);
        #[expect(clippy::cast_precision_loss, reason = "a screen has fewer columns")]
        let scale = (columns - 1) as f64 / (right - left).max(f64::MIN_POSITIVE);
        let mut found: Vec<Option<Column>> = vec![None; columns];
        let mut average = None;
        let mut undrawn = 0;
        for point in series.points() {
            let is_drawn = point.value.abs() < MAX_DRAWN;
            if !is_drawn {
                undrawn += u64::from(format::is_number(point.value));
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
                undrawn += 1;
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
        Outline {
            points: outline,
            undrawn,
        }
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
    known: HashMap<(usize, Arc<str>), KnownOutline>,
}

/// Outline with what it was computed from.
struct KnownOutline {
    version: u64,
    projection: Projection,
    outline: Outline,
}

impl Outlines {
    /// Returns the outline of a run's metric.
    pub(super) fn get(
        &mut self,
        run: usize,
        metric: &Arc<str>,
        series: &Series,
        projection: Projection,
    ) -> Outline {
        let id = (run, Arc::clone(metric));
        if let Some(known) = self.known.get(&id)
            && known.version == series.version()
            && known.projection == projection
        {
            return known.outline.clone();
        }
        let outline = projection.outline(series);
        let known = KnownOutline {
            version: series.version(),
            projection,
            outline: outline.clone(),
        };
        self.known.insert(id, known);
        outline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_values_far_off_do_not_flatten_the_curve() {
        let range = |values: &[f64]| shown_range(values.iter().copied());
        assert_eq!(range(&[1.0, 2.0, 3.0, 4.0, 1e299]), ([1.0, 4.0], 1));
        assert_eq!(range(&[-1e299, 2.0, 3.0, 4.0, 1e299]), ([2.0, 4.0], 2));
        // A curve that diverges is shown as it is.
        let diverging: Vec<f64> = (0..100).map(|step| 2f64.powi(step)).collect();
        assert_eq!(range(&diverging), ([1.0, 2f64.powi(99)], 0));
        assert_eq!(range(&[0.0, 1000.0, 0.5, 0.25, 0.75]), ([0.0, 1000.0], 0));
        assert_eq!(range(&[7.0]), ([7.0, 7.0], 0));
        assert_eq!(range(&[]).1, 0);
    }
}
