//! The one call that wires a training.

use burn_train::{LearnerModel, SupervisedTraining};

use crate::MlflowMetricLogger;

/// Trainings that can be tracked.
pub trait TrackWithMlflow: Sized {
    /// Logs the metrics of the training to the current run of the calling thread. Without a run, the training goes on as it
    /// would, and nothing is logged.
    ///
    /// Burn's own file logger is replaced, as by every metric logger; to keep it, add it with `with_metric_logger`, too.
    #[must_use]
    fn track_with_mlflow(self) -> Self;
}

impl<M: LearnerModel + 'static> TrackWithMlflow for SupervisedTraining<M> {
    fn track_with_mlflow(self) -> Self {
        self.with_metric_logger(MlflowMetricLogger::current())
    }
}
