//! [`MetricRow`]: a metric point as the columns of MLflow's schema hold it.

use crate::model::Metric;

/// Metric point as the columns hold it.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct MetricRow {
    pub(in crate::store) step: i64,
    pub(in crate::store) timestamp: i64,
    pub(in crate::store) value: f64,
    pub(in crate::store) is_nan: bool,
}

impl MetricRow {
    pub(in crate::store) fn from_metric(metric: &Metric) -> Self {
        let is_nan = metric.value.is_nan();
        // No column can hold a NaN, and MLflow stores an infinity as the largest finite value.
        let value = if is_nan {
            0.0
        } else {
            metric.value.clamp(f64::MIN, f64::MAX)
        };
        Self {
            step: metric.step,
            timestamp: metric.timestamp_ms,
            value,
            is_nan,
        }
    }

    pub(super) fn is_later_than(&self, other: &Self) -> bool {
        (self.step, self.timestamp, self.value) > (other.step, other.timestamp, other.value)
    }
}
