//! MLflow tracking for trainings of [Burn](https://burn.dev).
//!
//! One call wires a training to the current run:
//!
//! ```
//! use burn_train::{Learner, LearnerModel, SupervisedTraining};
//! use mlflow_burn::TrackWithMlflow as _;
//!
//! #[mlflow::tracked(experiment = "wine-quality", skip(training, learner))]
//! fn train<M: LearnerModel + 'static>(
//!     learning_rate: f64,
//!     training: SupervisedTraining<M>,
//!     learner: Learner<M>,
//! ) {
//!     let _ = training.track_with_mlflow().launch(learner);
//! }
//! ```
//!
//! The run has the arguments of the function as params, and these metrics for each numeric metric of Burn, such as `Loss`:
//!
//! | metric | value | step |
//! |---|---|---|
//! | `train/Loss`, `valid/Loss` | value of an epoch, the one that early stopping and the choice of checkpoints use | epoch, from 1 |
//! | `train/iteration/Loss`, `valid/iteration/Loss` | value of a batch | number of the batch since the start of the training, from 0 |
//!
//! A learning rate that changes is a metric, too: register Burn's `LearningRateMetric`. The example `wine` trains on real data.
//!
//! The version of this crate has the minor number of the Burn for which it is made: `mlflow-burn` 0.22 is for Burn 0.22.

mod epoch_value;
mod metric_logger;
mod training;

pub use metric_logger::MlflowMetricLogger;
pub use training::TrackWithMlflow;
