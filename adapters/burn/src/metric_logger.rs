//! [`MlflowMetricLogger`]: what Burn hands to its metric loggers, as metrics of a run.
//!
//! Invariants:
//!
//! 1. A call never waits and never fails: it appends to the journal of the run.
//! 2. [`read_numeric`](MetricLogger::read_numeric) answers for every epoch. Burn asks it for early stopping and for the choice of
//!    checkpoints, and panics if no logger answers.
//! 3. Of an epoch, one number a metric is kept, however many batches it has.
//! 4. Burn calls from a thread of its own, which knows no run, so the logger takes its run along.

use std::collections::HashMap;
use std::sync::Arc;

use burn_train::logger::MetricLogger;
use burn_train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn_train::metric::{MetricDefinition, MetricId, NumericEntry};
use mlflow::Run;

use crate::epoch_value::EpochValue;

/// Metric logger of Burn that logs to a run of MLflow.
///
/// [`TrackWithMlflow`](crate::TrackWithMlflow) makes one for the current run. Make one by hand for another run, or for a
/// training that has `with_metric_logger` alone.
#[derive(Debug)]
pub struct MlflowMetricLogger {
    /// Run to log to; `None` logs nothing.
    run: Option<Run>,
    names: HashMap<MetricId, Arc<String>>,
    /// Handles of the metrics of batches, by split and name, each with the number of the next batch.
    iterations: HashMap<(Split, Arc<String>), (mlflow::Metric, u64)>,
    /// Values of epochs, by split, name and epoch.
    epochs: HashMap<(Split, Arc<String>, usize), EpochValue>,
}

impl MlflowMetricLogger {
    /// Creates a logger for the current run of the calling thread. Without one, nothing is logged.
    #[must_use]
    pub fn current() -> Self {
        Self::with_run(Run::current())
    }

    /// Creates a logger for a run.
    #[must_use]
    pub fn of(run: Run) -> Self {
        Self::with_run(Some(run))
    }

    fn with_run(run: Option<Run>) -> Self {
        Self {
            run,
            names: HashMap::new(),
            iterations: HashMap::new(),
            epochs: HashMap::new(),
        }
    }

    fn log_batch(&mut self, split: &Split, name: &Arc<String>, value: f64) {
        let Some(run) = &self.run else { return };
        let (metric, next) = self
            .iterations
            .entry((split.clone(), Arc::clone(name)))
            .or_insert_with(|| {
                let key = format!("{}/iteration/{name}", part(split));
                (run.metric(&key), 0)
            });
        metric.log(value, *next);
        *next += 1;
    }
}

impl MetricLogger for MlflowMetricLogger {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        for numeric in update.entries_numeric {
            let Some(entry) = numeric.numeric_entry else {
                continue;
            };
            let Some(name) = self.names.get(&numeric.entry.metric_id).cloned() else {
                continue;
            };
            if !matches!(entry, NumericEntry::Final(_)) {
                self.log_batch(split, &name, entry.current());
            }
            let of_epoch = (split.clone(), name, epoch);
            self.epochs.entry(of_epoch).or_default().add(&entry);
        }
    }

    fn read_numeric(
        &mut self,
        name: &str,
        epoch: usize,
        split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        let of_epoch = (split.clone(), Arc::new(name.to_owned()), epoch);
        let value = self.epochs.get(&of_epoch);
        Ok(value.map(EpochValue::entries).unwrap_or_default())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name);
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        let EpochSummary {
            epoch_number,
            split,
        } = summary;
        let Some(run) = &self.run else { return };
        let of_epoch = { self.epochs.iter() }
            .filter(|((of_split, _, epoch), _)| *of_split == split && *epoch == epoch_number);
        let metrics = of_epoch.filter_map(|((_, name, _), value)| {
            Some((format!("{}/{name}", part(&split)), value.value()?))
        });
        run.log_metrics(metrics, epoch_number as u64);
    }
}

/// Returns the first part of the keys of a split's metrics.
fn part(split: &Split) -> String {
    match split {
        Split::Train | Split::Valid | Split::Test(None) => split.to_string(),
        Split::Test(Some(tag)) => format!("test/{tag}"),
    }
}
