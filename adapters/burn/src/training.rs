//! The calls that wire a training or an evaluation.

use std::path::Path;

use burn_train::renderer::default_renderer;
use burn_train::{EvaluatorBuilder, EvaluatorComponentTypes, Interrupter};
use burn_train::{LearnerModel, SupervisedTraining};
use mlflow::{ActiveRun, ClientError, Run, RunBuilder};

use crate::checkpointer::{self, Fetched};
use crate::resumed::Resumed;
use crate::{MlflowMetricLogger, MlflowRenderer};
use mlflow::diagnostics::warn;

/// Trainings and evaluations that can be tracked.
pub trait TrackWithMlflow: Sized {
    /// Logs the metrics to the current run of the calling thread. Without a run, the training or evaluation goes on as it would,
    /// and nothing is logged.
    ///
    /// On a [`SupervisedTraining`], Burn's own file logger is replaced, as by every metric logger; to keep it, add it with
    /// `with_metric_logger`, too. If the training is stopped by its interrupter, the run gets the tag `burn.stop_reason`; call
    /// `with_interrupter` before.
    ///
    /// On an [`EvaluatorBuilder`], the renderer is replaced by Burn's default one, which an [`MlflowRenderer`] wraps. Burn's
    /// terminal display cannot stop the evaluation then.
    #[must_use]
    fn track_with_mlflow(self) -> Self;
}

impl<M: LearnerModel + 'static> TrackWithMlflow for SupervisedTraining<M> {
    fn track_with_mlflow(self) -> Self {
        let logger = MlflowMetricLogger::current().with_interrupter(self.interrupter());
        self.with_metric_logger(logger)
    }
}

impl<E: EvaluatorComponentTypes> TrackWithMlflow for EvaluatorBuilder<E> {
    fn track_with_mlflow(self) -> Self {
        let shown = default_renderer(Interrupter::new(), None);
        self.renderer(Box::new(MlflowRenderer::around(shown)))
    }
}

/// Trainings whose checkpoints are artifacts of a run, from which the training is resumed.
///
/// Both calls include that of [`TrackWithMlflow`]. Each takes the folder that the training was made with, and puts Burn's
/// files where [`with_default_checkpointers`](SupervisedTraining::with_default_checkpointers) puts them. Burn's strategy decides
/// which epochs are saved, and which files are deleted from that folder. The run keeps every checkpoint that was saved, as
/// `checkpoints/step-3` for the epoch 3, unless [`mlflow::keep_checkpoints`] says how many.
pub trait CheckpointWithMlflow: Sized {
    /// Logs metrics and checkpoints to the current run of the calling thread. Without a run, Burn saves its files, and nothing is
    /// logged.
    ///
    /// ```
    /// use burn_train::{Learner, LearnerModel, SupervisedTraining};
    /// use mlflow_burn::CheckpointWithMlflow as _;
    ///
    /// #[mlflow::tracked(experiment = "wine-quality", skip_all)]
    /// fn train<M: LearnerModel + 'static>(
    ///     folder: &std::path::Path,
    ///     training: SupervisedTraining<M>,
    ///     learner: Learner<M>,
    /// ) {
    ///     mlflow::keep_checkpoints(3); // without this line, all are kept
    ///     let _ = training.checkpoint_with_mlflow(folder).launch(learner);
    /// }
    /// ```
    #[must_use]
    fn checkpoint_with_mlflow(self, folder: impl AsRef<Path>) -> Self;

    /// Starts the run, or continues the last one that did not finish, and logs metrics and checkpoints to it.
    ///
    /// If there is such a run, with a whole checkpoint, its files are fetched into the folder, and the training begins with the
    /// epoch behind it, on whatever machine. The rules for the run are those of [`RunBuilder::resume_last`]: the newest of the
    /// same experiment and name whose status is not `FINISHED`, and whose process is dead. Batches and epochs behind the
    /// checkpoint that the killed process had logged already are trained again, but not logged again. Burn's choice of the best
    /// checkpoint knows the earlier epochs, and so does early stopping in a
    /// [`ResumableEarlyStopping`](crate::ResumableEarlyStopping). A shuffled data loader begins with its first order again, as
    /// Burn's checkpoints do not have its state.
    ///
    /// ```
    /// use burn_train::{Learner, LearnerModel, SupervisedTraining};
    /// use mlflow_burn::CheckpointWithMlflow as _;
    ///
    /// fn train<M: LearnerModel + 'static>(
    ///     folder: &std::path::Path,
    ///     training: SupervisedTraining<M>,
    ///     learner: Learner<M>,
    /// ) -> Result<(), mlflow::ClientError> {
    ///     let run = mlflow::start_run().experiment("wine-quality").name("fit");
    ///     let (training, run) = training.resume_with_mlflow(folder, run)?;
    ///     run.log_param("epochs", 60);
    ///     let result = training.launch(learner);
    ///     if result.error.is_some() {
    ///         run.finish(mlflow::RunStatus::Failed);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The [errors](mlflow::Client#errors) of every call, if there is a run to continue, but its checkpoint or its metrics
    /// cannot be read, and [`ClientError::LocalFile`] if the folder cannot be written. No run is started then. Without an answer
    /// to the search for the run, a new one is started, and a line on stderr says so.
    fn resume_with_mlflow(
        self,
        folder: impl AsRef<Path>,
        run: RunBuilder,
    ) -> Result<(Self, ActiveRun), ClientError>;
}

impl<M: LearnerModel + 'static> CheckpointWithMlflow for SupervisedTraining<M> {
    fn checkpoint_with_mlflow(self, folder: impl AsRef<Path>) -> Self {
        with_checkpoints(self, folder.as_ref(), Run::current(), Resumed::default())
    }

    fn resume_with_mlflow(
        self,
        folder: impl AsRef<Path>,
        run: RunBuilder,
    ) -> Result<(Self, ActiveRun), ClientError> {
        let folder = folder.as_ref();
        let resume = run.resume_last();
        let download_folder = checkpointer::download_folder(folder);
        let fetched = match resume.download_checkpoint(download_folder)? {
            Some(downloaded) => install(&downloaded, folder)?,
            None => None,
        };
        let epoch = fetched.map_or(0, |fetched| fetched.epoch);
        let batches = fetched.and_then(|fetched| fetched.batches);
        let resumed = match resume.last() {
            Some(last) => Resumed::read(last, epoch, batches)?,
            None => Resumed::default(),
        };
        let run = resume.start();
        let training = with_checkpoints(self, folder, Some(Run::clone(&run)), resumed);
        Ok(match epoch {
            0 => (training, run),
            epoch => (training.checkpoint(epoch), run),
        })
    }
}

fn with_checkpoints<M: LearnerModel + 'static>(
    training: SupervisedTraining<M>,
    folder: &Path,
    run: Option<Run>,
    resumed: Resumed,
) -> SupervisedTraining<M> {
    let logger = MlflowMetricLogger::with_run(run.clone())
        .with_interrupter(training.interrupter())
        .continuing(resumed);
    let [model, optimizer, scheduler] = checkpointer::checkpointers(folder, run, logger.progress());
    training
        .with_metric_logger(logger)
        .with_custom_checkpointers(model, optimizer, scheduler)
}

/// Moves the files of a checkpoint to where Burn looks for them.
fn install(downloaded: &Path, folder: &Path) -> Result<Option<Fetched>, ClientError> {
    let fetched = checkpointer::install(downloaded, folder).map_err(|error| {
        let (downloaded, folder) = (downloaded.display(), folder.display());
        let reason = format!("{downloaded} cannot be moved into {folder}/checkpoint: {error}");
        ClientError::LocalFile {
            reason: reason.into(),
        }
    })?;
    if fetched.is_none() {
        warn(format_args!(
            "the newest checkpoint of the run, {}, has not all files of a training of Burn, so the training begins with its first \
             epoch",
            downloaded.file_name().unwrap_or_default().display()
        ));
    }
    Ok(fetched)
}
