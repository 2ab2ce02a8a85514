//! [`Trend`]: the course of a noisy curve, by statistics that single outliers do not change.
//!
//! A curve is cut into at most [`MAX_BLOCKS`] blocks of equally many points. The level of a block is the median of
//! its values. The noise of a level follows from the distances of values from their neighbours, in which a trend is
//! hardly seen. Values that are no numbers are left out.

use mlflow::Goal;

use crate::output::format::is_number;

/// Greatest number of blocks of a curve.
const MAX_BLOCKS: usize = 20;
/// Standard deviation of a normal distribution in units of its median absolute deviation.
const SIGMA_OF_MAD: f64 = 1.4826;
/// Standard deviation of a normal distribution in units of its mean absolute deviation.
const SIGMA_OF_MEAN_DEVIATION: f64 = 1.2533;
/// Standard error of a median in units of that of a mean.
const ERROR_OF_MEDIAN: f64 = 1.2533;

/// Course of a curve. Levels are written so that less is better.
#[derive(Debug)]
pub(super) struct Trend {
    /// Levels in the order of time, at least one.
    levels: Vec<Level>,
    /// Median of the first three values; negative if more is better.
    pub(super) start: f64,
    /// Standard deviation of a value by noise alone.
    pub(super) value_noise: f64,
    /// Standard deviation of a level by noise alone.
    pub(super) noise: f64,
    /// Number of values that are numbers.
    pub(super) len: usize,
    goal: Goal,
}

/// Block of a curve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// Median of the block; negative if more is better.
    pub(super) height: f64,
    /// Index of the block's middle point in the curve.
    pub(super) index: usize,
}

impl Trend {
    /// Computes the trend of the values; `None` if fewer than `min_len` of them are numbers.
    pub(super) fn of(values: &[f64], goal: Goal, min_len: usize) -> Option<Self> {
        let numbers: Vec<(usize, f64)> = { values.iter().copied().enumerate() }
            .filter(|&(_, value)| is_number(value))
            .map(|(index, value)| match goal {
                Goal::Minimize => (index, value),
                Goal::Maximize => (index, -value),
            })
            .collect();
        if numbers.is_empty() || numbers.len() < min_len {
            return None;
        }
        let block = numbers.len().div_ceil(MAX_BLOCKS);
        let levels = { numbers.chunks(block) }
            .filter_map(|chunk| {
                let mut heights: Vec<f64> = chunk.iter().map(|&(_, height)| height).collect();
                let &(index, _) = chunk.get(chunk.len() / 2)?;
                Some(Level {
                    height: median(&mut heights)?,
                    index,
                })
            })
            .collect();
        let heights: Vec<f64> = numbers.iter().map(|&(_, height)| height).collect();
        let of_median = if block > 1 { ERROR_OF_MEDIAN } else { 1.0 };
        let value_noise = sigma(&heights);
        let mut first: Vec<f64> = heights.iter().copied().take(3).collect();
        Some(Self {
            levels,
            start: median(&mut first)?,
            value_noise,
            noise: value_noise * of_median / count(block).sqrt(),
            len: numbers.len(),
            goal,
        })
    }

    /// Returns the levels, at least one.
    pub(super) fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Returns the first level.
    pub(super) fn first(&self) -> Level {
        let first = self.levels.first().copied();
        first.unwrap_or(Level {
            height: 0.0,
            index: 0,
        })
    }

    /// Returns the best level, and its number.
    pub(super) fn best(&self) -> (usize, Level) {
        best_of(&self.levels).unwrap_or((0, self.first()))
    }

    /// Returns the better one of the last two levels: what is worse than this is not so by one bad block.
    pub(super) fn end(&self) -> Level {
        let last_two = self.levels.len().saturating_sub(2);
        let end = self.levels.get(last_two..).unwrap_or_default();
        best_of(end).map_or(self.first(), |(_, level)| level)
    }

    /// Returns the worse one of the last two levels: what is better than this is not so by one good block.
    pub(super) fn worse_end(&self) -> Level {
        let last_two = self.levels.len().saturating_sub(2);
        let end = self.levels.get(last_two..).unwrap_or_default();
        let worst = end
            .iter()
            .copied()
            .max_by(|left, right| left.height.total_cmp(&right.height));
        worst.unwrap_or(self.first())
    }

    /// Returns the distance between the highest and the lowest level.
    pub(super) fn range(&self) -> f64 {
        let heights = || self.levels.iter().map(|level| level.height);
        let greatest = heights().fold(f64::NEG_INFINITY, f64::max);
        let least = heights().fold(f64::INFINITY, f64::min);
        greatest - least
    }

    /// Returns the value that a height stands for.
    pub(super) fn value(&self, height: f64) -> f64 {
        match self.goal {
            Goal::Minimize => height,
            // Zero has no sign that a person wants to see.
            Goal::Maximize => 0.0 - height,
        }
    }
}

/// Returns the best level, and its number.
pub(super) fn best_of(levels: &[Level]) -> Option<(usize, Level)> {
    levels
        .iter()
        .copied()
        .enumerate()
        .min_by(|(_, left), (_, right)| left.height.total_cmp(&right.height))
}

/// Returns the median height of some levels.
pub(super) fn middle(levels: &[Level]) -> Option<f64> {
    let mut heights: Vec<f64> = levels.iter().map(|level| level.height).collect();
    median(&mut heights)
}

/// Returns the median, and reorders the values.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}

/// Returns the standard deviation that a normal distribution with these deviations has. Half of the deviations may
/// be outliers.
pub(super) fn sigma_of_deviations(mut deviations: Vec<f64>) -> f64 {
    for deviation in &mut deviations {
        *deviation = deviation.abs();
    }
    let mean = deviations.iter().sum::<f64>() / count(deviations.len());
    match median(&mut deviations) {
        Some(median) if median > 0.0 => SIGMA_OF_MAD * median,
        // More than half of the values are equal, e.g. those of an accuracy on few samples.
        Some(_) => SIGMA_OF_MEAN_DEVIATION * mean,
        None => 0.0,
    }
}

/// Returns the standard deviation of the noise of a curve, by the distances of the values from the middle of their
/// neighbours.
fn sigma(values: &[f64]) -> f64 {
    let deviations = values.windows(3).filter_map(|around| match around {
        [before, value, after] => Some(before - 2.0 * value + after),
        _ => None,
    });
    // Such a distance has the variance of six values.
    sigma_of_deviations(deviations.collect()) / 6_f64.sqrt()
}

/// Returns the number as a float.
#[expect(clippy::cast_precision_loss, reason = "numbers of points are smaller")]
fn count(number: usize) -> f64 {
    number as f64
}
