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
//! | `test/NAME/Loss` | mean over the data that an evaluator calls `NAME` | 0 |
//!
//! A learning rate that changes is a metric, too: register Burn's `LearningRateMetric`. A struct with Burn's `#[derive(Config)]` has
//! a text of its own, so as an argument it is one param with all of its fields as JSON. For one param a field, leave the argument out
//! with `skip(config)`, and call `mlflow::log_params(config)` in the function.
//!
//! [`CheckpointWithMlflow`] logs checkpoints as artifacts, and resumes a training that was killed. The examples `wine` and `resume`
//! train on real data.
//!
//! # How a training ends
//!
//! - **Early stopping** is Burn's, and the run ends as the function does.
//! - **A signal.** After [`mlflow::install_signal_handlers`], SIGTERM and SIGINT end the run as `KILLED`, deliver what was logged, and
//!   end the process. The next start resumes the run.
//! - **A stop by the interrupter** ends the training after the current batch, and your function goes on. The run gets the tag
//!   `burn.stop_reason`, and no value of the epoch that is not whole. Its status is that of your function: to let the training be
//!   resumed, end the run as `KILLED` if [`LearningResult::interrupted`](burn_train::LearningResult) has a value.
//! - **A request in the MLflow UI**: see [`StopOnRequest`].
//!
//! ```
//! use burn_train::{LearnerModel, LearningResult};
//!
//! fn end<M: LearnerModel>(run: mlflow::ActiveRun, result: &LearningResult<M>) {
//!     if result.interrupted.is_some() {
//!         run.finish(mlflow::RunStatus::Killed);
//!     }
//! }
//! ```
//!
//! The version of this crate has the minor number of the Burn for which it is made: `mlflow-burn` 0.22 is for Burn 0.22.

mod checkpointer;
mod early_stopping;
mod epoch_value;
mod keys;
mod metric_logger;
mod progress;
mod renderer;
mod resumed;
mod stop;
mod training;

pub use early_stopping::ResumableEarlyStopping;
pub use metric_logger::MlflowMetricLogger;
pub use renderer::MlflowRenderer;
pub use stop::StopOnRequest;
pub use training::{CheckpointWithMlflow, TrackWithMlflow};
