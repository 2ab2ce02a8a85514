//! Bound on the rate at which the points of a metric go to the store.

use std::fmt::{self, Display};

/// Greatest number of points a second of each metric of a run, by the times at which they were logged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PointRate {
    /// Finite, and greater than 0.
    points_per_second: f64,
}

impl PointRate {
    /// Returns the rate, unless the number is 0 or less, or not finite.
    pub(crate) fn new(points_per_second: f64) -> Option<Self> {
        let is_usable = points_per_second.is_finite() && points_per_second > 0.0;
        is_usable.then_some(Self { points_per_second })
    }

    /// Returns the least mean time between two points of a metric, in µs, at least 1.
    pub(crate) fn interval_us(self) -> i64 {
        // A float that is too large becomes the greatest integer.
        #[allow(clippy::cast_possible_truncation)]
        let interval = (1e6 / self.points_per_second).ceil() as i64;
        interval.max(1)
    }
}

impl Display for PointRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.points_per_second.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_gives_the_time_between_two_points() {
        for (rate, interval_us) in [
            (1.0, 1_000_000),
            (10.0, 100_000),
            (0.1, 10_000_000),
            (3.0, 333_334),
            (5000.0, 200),
            (1e9, 1),
            (f64::MIN_POSITIVE, i64::MAX),
        ] {
            let rate = PointRate::new(rate).expect("a rate");
            assert_eq!(rate.interval_us(), interval_us, "{rate}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(PointRate::new(rate), None, "{rate}");
        }
    }
}
