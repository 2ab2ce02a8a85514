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

use burn_train::Interrupter;
use burn_train::logger::MetricLogger;
use burn_train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn_train::metric::{MetricDefinition, MetricId, NumericEntry};
use mlflow::Run;

use crate::epoch_value::EpochValue;
use crate::keys;
use crate::progress::{Batches, Progress};
use crate::resumed::Resumed;

/// Tag with the reason why a training was stopped before its last epoch.
const STOP_REASON: &str = "burn.stop_reason";

/// Metric logger of Burn that logs to a run of MLflow.
///
/// [`TrackWithMlflow`](crate::TrackWithMlflow) makes one for the current run. Make one by hand for another run, or for a
/// training that has `with_metric_logger` alone.
///
/// ```
/// use burn_train::{LearnerModel, SupervisedTraining};
/// use mlflow_burn::MlflowMetricLogger;
///
/// fn track<M: LearnerModel + 'static>(training: SupervisedTraining<M>, run: &mlflow::Run) -> SupervisedTraining<M> {
///     training.with_metric_logger(MlflowMetricLogger::of(run.clone()))
/// }
/// ```
#[derive(Debug)]
pub struct MlflowMetricLogger {
    /// Run to log to; `None` logs nothing.
    run: Option<Run>,
    names: HashMap<MetricId, Arc<String>>,
    /// Handles of the metrics of batches, by split and name, each with the first step that the run does not have.
    by_batch: HashMap<(Split, Arc<String>), (mlflow::Metric, u64)>,
    batches: HashMap<Split, Count>,
    /// Values of epochs, by split, name and epoch.
    epochs: HashMap<(Split, Arc<String>, usize), EpochValue>,
    /// Points of the run before this process; nothing for a new run.
    resumed: Resumed,
    /// Numbers of batches at the ends of epochs, for the checkpoints.
    progress: Arc<Progress>,
    interrupter: StopHandle,
}

/// Numbers of batches of a split.
#[derive(Clone, Copy, Debug)]
struct Count {
    /// Batches since the start of the training.
    total: u64,
    /// Batches of the epoch that runs.
    epoch: u64,
    /// Batches of the longest epoch that has ended in this process.
    longest_epoch: u64,
}

/// Handle by which the training is stopped, if it is known.
#[derive(Default)]
struct StopHandle(Option<Interrupter>);

impl std::fmt::Debug for StopHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StopHandle").finish_non_exhaustive()
    }
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

    /// Logs the reason for which `interrupter` stops the training as the tag `burn.stop_reason`, once the training has ended.
    ///
    /// [`TrackWithMlflow`](crate::TrackWithMlflow) takes the interrupter of the training.
    ///
    /// ```
    /// use burn_train::{LearnerModel, SupervisedTraining};
    /// use mlflow_burn::MlflowMetricLogger;
    ///
    /// fn track<M: LearnerModel + 'static>(training: SupervisedTraining<M>, run: &mlflow::Run) -> SupervisedTraining<M> {
    ///     let logger = MlflowMetricLogger::of(run.clone()).with_interrupter(training.interrupter());
    ///     training.with_metric_logger(logger)
    /// }
    /// ```
    #[must_use]
    pub fn with_interrupter(mut self, interrupter: Interrupter) -> Self {
        self.interrupter = StopHandle(Some(interrupter));
        self
    }

    /// Continues the points of a run that is resumed.
    pub(crate) fn continuing(mut self, resumed: Resumed) -> Self {
        self.resumed = resumed;
        self
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    pub(crate) fn with_run(run: Option<Run>) -> Self {
        Self {
            run,
            names: HashMap::new(),
            by_batch: HashMap::new(),
            batches: HashMap::new(),
            epochs: HashMap::new(),
            resumed: Resumed::default(),
            progress: Arc::default(),
            interrupter: StopHandle::default(),
        }
    }

    /// Returns the numbers of batches of a split, without the one that is being logged.
    fn batches(&mut self, split: &Split) -> &mut Count {
        let resumed = &self.resumed;
        { self.batches.entry(split.clone()) }.or_insert_with(|| Count {
            total: resumed.batches(split),
            epoch: 0,
            longest_epoch: 0,
        })
    }

    /// Counts the end of an epoch, and returns true if the epoch was stopped in the middle, so that it has no value.
    fn end_epoch(&mut self, split: &Split) -> bool {
        let stops = { self.interrupter.0.as_ref() }.is_some_and(Interrupter::should_stop);
        let count = self.batches(split);
        let batches = std::mem::take(&mut count.epoch);
        let is_partial = stops && (count.longest_epoch == 0 || batches < count.longest_epoch);
        count.longest_epoch = count.longest_epoch.max(batches);
        is_partial
    }

    fn log_batch(&mut self, split: &Split, name: &Arc<String>, value: f64, batch: u64) {
        let Some(run) = &self.run else { return };
        let resumed = &self.resumed;
        let (metric, first_step) = self
            .by_batch
            .entry((split.clone(), Arc::clone(name)))
            .or_insert_with(|| {
                let key = keys::of_batch(split, name);
                (run.metric(&key), resumed.first_step(&key))
            });
        if batch >= *first_step {
            metric.log(value, batch);
        }
    }
}

impl MetricLogger for MlflowMetricLogger {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        let batch = self.batches(split).total;
        let mut is_batch = !update.entries_numeric.is_empty();
        for numeric in update.entries_numeric {
            let Some(entry) = numeric.numeric_entry else {
                continue;
            };
            is_batch &= !matches!(entry, NumericEntry::Final(_));
            let Some(name) = self.names.get(&numeric.entry.metric_id).cloned() else {
                continue;
            };
            if is_batch {
                self.log_batch(split, &name, entry.current(), batch);
            }
            let of_epoch = (split.clone(), name, epoch);
            self.epochs.entry(of_epoch).or_default().add(&entry);
        }
        if is_batch {
            let count = self.batches(split);
            count.total += 1;
            count.epoch += 1;
        }
    }

    fn read_numeric(
        &mut self,
        name: &str,
        epoch: usize,
        split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        let of_epoch = (split.clone(), Arc::new(name.to_owned()), epoch);
        let value = self.epochs.get(&of_epoch).copied();
        let earlier = || {
            self.resumed
                .epoch_value(&keys::of_epoch(split, name), epoch)
        };
        let value = value.or_else(earlier);
        Ok(value.map(|value| value.entries()).unwrap_or_default())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name);
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        let EpochSummary {
            epoch_number,
            split,
        } = summary;
        let is_partial = self.end_epoch(&split);
        if split == Split::Valid {
            let batches = Batches {
                train: self.batches(&Split::Train).total,
                valid: self.batches(&Split::Valid).total,
            };
            self.progress.end_epoch(epoch_number, batches);
        }
        let Some(run) = self.run.as_ref().filter(|_| !is_partial) else {
            return;
        };
        let of_epoch = { self.epochs.iter() }
            .filter(|((of_split, _, epoch), _)| *of_split == split && *epoch == epoch_number);
        let metrics = of_epoch.filter_map(|((_, name, _), value)| {
            let key = keys::of_epoch(&split, name);
            let is_new = epoch_number as u64 >= self.resumed.first_step(&key);
            Some((is_new.then_some(key)?, value.value()?))
        });
        run.log_metrics(metrics, epoch_number as u64);
    }
}

/// Burn drops its loggers when the training has ended, before it returns.
impl Drop for MlflowMetricLogger {
    fn drop(&mut self) {
        if let Some(run) = &self.run
            && let Some(interrupter) = &self.interrupter.0
            && let Some(interruption) = interrupter.interruption()
        {
            let reason = interruption.reason;
            run.set_tag(STOP_REASON, reason.as_deref().unwrap_or("no reason given"));
        }
    }
}
