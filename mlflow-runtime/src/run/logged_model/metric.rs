//! Metrics of a model on their way into the journal: at once as metrics of the run, then with the model's record.
//!
//! Invariant: a metric arrives at the run whatever becomes of its model.

use std::collections::{HashMap, HashSet};

use super::Model;
use crate::journal::record::clamp_plain_step;
use crate::journal::{self, MetricPoint};
use crate::model::model_metric::{RecordedDatasetId, RecordedMetric};
use crate::run::dataset::Dataset;
use crate::run::handle::LiveRun;
use crate::time;

/// Metric of a model, as the user has given it.
#[derive(Clone, Debug)]
pub(super) struct GivenMetric {
    pub(super) key: String,
    pub(super) value: f64,
    /// Dataset on which the model was measured.
    pub(super) dataset: Option<Dataset>,
}

impl LiveRun<'_> {
    /// Logs the metrics of a model, and their datasets as inputs of the run, and returns the metrics for the
    /// record of the model.
    pub(super) fn log_model_metrics(&self, model: &Model) -> Vec<RecordedMetric> {
        let journal = self.tracker.journal();
        let step = clamp_plain_step(model.step);
        let now_ms = time::coarse_now_ms();
        let mut earlier_points: HashMap<String, i64> = HashMap::new();
        let mut logged_inputs = HashSet::new();
        let mut recorded = Vec::with_capacity(model.metrics.len());
        for GivenMetric {
            key,
            value,
            dataset,
        } in &model.metrics
        {
            let dataset = dataset.as_ref().map(|dataset| {
                let record = self.dataset_record(dataset, "");
                let (path, bytes) = record.to_artifact();
                if !logged_inputs.contains(&path) {
                    self.log_dataset_record(&path, &bytes);
                    logged_inputs.insert(path);
                }
                RecordedDatasetId {
                    name: record.name,
                    digest: record.digest,
                }
            });
            let name = journal.resolve_metric_name(key).into_owned();
            // MLflow keeps one point of a model for each key, step and time, whatever its dataset is.
            let earlier = earlier_points.entry(name.clone()).or_insert(0);
            let timestamp_ms = now_ms + *earlier;
            *earlier += 1;
            journal::with_writer(journal, |writer| {
                let point = MetricPoint {
                    run: self.journal_ref(),
                    key: key.as_str(),
                    timestamp_ms,
                    step,
                    value: *value,
                };
                writer.append_metric(journal, point);
            });
            recorded.push(RecordedMetric {
                key: name,
                value: *value,
                timestamp_ms,
                step,
                dataset,
            });
        }
        recorded
    }
}
