//! [`MetricHistory`], all points of one metric as columns.

use serde::{Serialize, Serializer};

/// Point of a metric. See [`MetricHistory`] for an example.
///
/// In JSON, a value that is no number is one of the texts `"NaN"`, `"Infinity"` and `"-Infinity"`, as in
/// MLflow's REST interface.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MetricPoint {
    /// Step.
    pub step: i64,
    /// Value; may be NaN.
    #[serde(serialize_with = "serialize_value")]
    pub value: f64,
    /// Time at which the point was logged, in ms since the Unix epoch.
    pub timestamp_ms: i64,
}

/// All points of one metric of a run, in MLflow's order: by time, then step, then value.
///
/// The points are stored as three columns of the same length, so that a million of them take 24 MB and each
/// column can be handed to a plotting or numeric library as it is.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().name("a").start();
/// for step in 0..3 {
///     run.log_metric_at("loss", 1.0 / f64::from(step + 1), step);
/// }
/// let id = run.key().to_owned();
/// drop(run);
/// mlflow::flush(std::time::Duration::from_secs(10));
///
/// let history = mlflow::blocking::Client::new().metric_history(&id, "loss")?;
/// assert_eq!((history.key(), history.len(), history.is_empty()), ("loss", 3, false));
/// assert_eq!(history.steps(), [0, 1, 2]);
/// assert_eq!(history.values(), [1.0, 0.5, 1.0 / 3.0]);
/// assert!(history.timestamps_ms().is_sorted());
/// assert_eq!(history.iter().map(|point| point.value).fold(f64::INFINITY, f64::min), 1.0 / 3.0);
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MetricHistory {
    key: String,
    steps: Vec<i64>,
    #[serde(serialize_with = "serialize_values")]
    values: Vec<f64>,
    timestamps_ms: Vec<i64>,
}

impl MetricHistory {
    /// Creates an empty history of the metric `key`.
    pub(crate) fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }

    /// Appends a point.
    pub(crate) fn push(&mut self, point: MetricPoint) {
        self.steps.push(point.step);
        self.values.push(point.value);
        self.timestamps_ms.push(point.timestamp_ms);
    }

    /// Returns the name of the metric.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the steps of the points.
    #[must_use]
    pub fn steps(&self) -> &[i64] {
        &self.steps
    }

    /// Returns the values of the points.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Returns the times of the points, in ms since the Unix epoch.
    #[must_use]
    pub fn timestamps_ms(&self) -> &[i64] {
        &self.timestamps_ms
    }

    /// Returns the number of points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Returns true if the metric has no point.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the points, one after the other.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = MetricPoint> + '_ {
        let numbers = self.steps.iter().zip(&self.values);
        let points = numbers.zip(&self.timestamps_ms);
        points.map(|((&step, &value), &timestamp_ms)| MetricPoint {
            step,
            value,
            timestamp_ms,
        })
    }
}

/// Metric value, which JSON can hold whatever it is.
struct JsonValue(f64);

impl Serialize for JsonValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_value(&self.0, serializer)
    }
}

fn serialize_value<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else if value.is_nan() {
        serializer.serialize_str("NaN")
    } else if *value > 0.0 {
        serializer.serialize_str("Infinity")
    } else {
        serializer.serialize_str("-Infinity")
    }
}

fn serialize_values<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().copied().map(JsonValue))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_values_that_are_no_numbers() {
        let mut history = MetricHistory::new("loss");
        for (step, value) in (0..).zip([0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]) {
            history.push(MetricPoint {
                step,
                value,
                timestamp_ms: 7,
            });
        }
        assert_eq!(
            serde_json::to_string(&history).expect("JSON"),
            r#"{"key":"loss","steps":[0,1,2,3],"values":[0.5,"NaN","Infinity","-Infinity"],"timestamps_ms":[7,7,7,7]}"#
        );
        let point = history.iter().nth(1).expect("four");
        assert_eq!(
            serde_json::to_string(&point).expect("JSON"),
            r#"{"step":1,"value":"NaN","timestamp_ms":7}"#
        );
    }
}
