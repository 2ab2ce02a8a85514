//! [`ModelMetric`], a metric of a logged model, and [`RecordedMetric`], its form in the journal.
//!
//! Invariant: the point is that of the metric of the run, with the same time, so that a store which has the one
//! recognizes the other.

use std::str::FromStr as _;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::Metric;
use crate::model::dataset::{LateDigest, RecordedDigest};

/// Metric of a logged model, as a store writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelMetric {
    /// Point of the run's metric.
    pub point: Metric,
    /// Dataset on which the model was measured.
    pub dataset: Option<DatasetId>,
}

/// Name and digest of a dataset, by which an experiment knows it. See
/// [`RecordedModelMetric`](crate::testing::RecordedModelMetric) for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetId {
    /// Name of the dataset.
    pub name: String,
    /// Digest of the dataset's content.
    pub digest: String,
}

/// Metric of a logged model in the journal. The names of the fields are a part of the journal's format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordedMetric {
    pub(crate) key: String,
    /// Value, as text: JSON has no NaN.
    #[serde(serialize_with = "write_float", deserialize_with = "read_float")]
    pub(crate) value: f64,
    pub(crate) timestamp_ms: i64,
    pub(crate) step: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dataset: Option<RecordedDatasetId>,
}

/// Name and digest of a dataset in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedDatasetId {
    pub(crate) name: String,
    pub(crate) digest: RecordedDigest,
}

fn write_float<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn read_float<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let text = String::deserialize(deserializer)?;
    f64::from_str(&text).map_err(de::Error::custom)
}

impl RecordedMetric {
    /// Returns the metric as a store writes it. `late_digest` gets the name of the dataset and the
    /// fallback, and returns the digest if it was not known.
    pub(crate) fn to_metric(
        &self,
        late_digest: impl FnOnce(&str, LateDigest, String) -> String,
    ) -> ModelMetric {
        let Self {
            key,
            value,
            timestamp_ms,
            step,
            dataset,
        } = self;
        ModelMetric {
            point: Metric {
                key: key.as_str().into(),
                value: *value,
                timestamp_ms: *timestamp_ms,
                step: *step,
            },
            dataset: dataset.as_ref().map(|dataset| DatasetId {
                name: dataset.name.clone(),
                digest: dataset.digest.clone().resolve(&dataset.name, late_digest),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_the_journal() {
        for value in [
            0.1,
            -0.0,
            f64::MAX,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ] {
            let metric = RecordedMetric {
                key: "auc".to_owned(),
                value,
                timestamp_ms: 1,
                step: -2,
                dataset: None,
            };
            let json = serde_json::to_string(&metric).expect("JSON");
            let read: RecordedMetric = serde_json::from_str(&json).expect("the metric");
            assert!(
                read == metric || (read.value.is_nan() && value.is_nan()),
                "{json}"
            );
        }
    }
}
