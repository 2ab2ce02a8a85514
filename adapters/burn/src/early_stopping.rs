//! [`ResumableEarlyStopping`]: early stopping that counts the epochs before a resumption.

use burn_train::EarlyStoppingStrategy;
use burn_train::metric::store::EventStoreClient;

/// Early stopping that counts the epochs before a [resumption](crate::CheckpointWithMlflow::resume_with_mlflow), too.
///
/// Burn's strategies keep the best epoch in memory, so a resumed training would begin to count anew, and train longer than one
/// that was never killed. This one shows the strategy inside all earlier epochs first; their values come from the run.
///
/// ```
/// use burn_train::metric::LossMetric;
/// use burn_train::metric::store::{Aggregate, Direction, Split};
/// use burn_train::{LearnerModel, MetricEarlyStoppingStrategy, StoppingCondition, SupervisedTraining};
/// use mlflow_burn::ResumableEarlyStopping;
///
/// fn stop_early<M: LearnerModel>(training: SupervisedTraining<M>) -> SupervisedTraining<M> {
///     training.early_stopping(ResumableEarlyStopping::new(MetricEarlyStoppingStrategy::new(
///         &LossMetric::new(),
///         Aggregate::Mean,
///         Direction::Lowest,
///         Split::Valid,
///         StoppingCondition::NoImprovementSince { n_epochs: 5 },
///     )))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ResumableEarlyStopping<S> {
    strategy: S,
    /// True once the strategy knows the epochs before the first one of this process.
    knows_earlier: bool,
}

impl<S: EarlyStoppingStrategy> ResumableEarlyStopping<S> {
    /// Creates a strategy that decides as `strategy` does.
    pub fn new(strategy: S) -> Self {
        Self {
            strategy,
            knows_earlier: false,
        }
    }
}

impl<S: EarlyStoppingStrategy> EarlyStoppingStrategy for ResumableEarlyStopping<S> {
    fn should_stop(&mut self, epoch: usize, store: &EventStoreClient) -> bool {
        if !self.knows_earlier {
            self.knows_earlier = true;
            for earlier in 1..epoch {
                // The training went on after this epoch, whatever the answer is.
                let _ = self.strategy.should_stop(earlier, store);
            }
        }
        self.strategy.should_stop(epoch, store)
    }
}
