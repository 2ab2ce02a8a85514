//! The order of the points of a metric.

/// Rank of a point among those of its metric: the point with the greatest one is the metric's latest value in MLflow
/// (`mlflow/store/tracking/sqlalchemy_store.py`, `_update_latest_metrics_if_necessary`).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct MetricRank {
    step: i64,
    timestamp_ms: i64,
    /// Value of the point, or 0 if that is NaN.
    value: f64,
}

impl MetricRank {
    pub(crate) fn new(step: i64, timestamp_ms: i64, value: f64) -> Self {
        let value = if value.is_nan() { 0.0 } else { value };
        Self {
            step,
            timestamp_ms,
            value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_counts_before_the_time_and_the_time_before_the_value() {
        let ranks = [
            (1, 9, 9.0),
            (2, 1, -1.0),
            (2, 1, f64::NAN),
            (2, 1, 0.5),
            (2, 2, f64::NEG_INFINITY),
            (3, 0, 0.0),
        ];
        let ranks = ranks.map(|(step, time, value)| MetricRank::new(step, time, value));
        assert!(ranks.is_sorted_by(|one, next| one < next), "{ranks:?}");
        let nan = MetricRank::new(0, 0, f64::NAN);
        assert_eq!(nan, MetricRank::new(0, 0, 0.0));
    }
}
