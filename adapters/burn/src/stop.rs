//! [`StopOnRequest`]: trainings that are stopped from the MLflow UI.
//!
//! Invariants:
//!
//! 1. The training waits for nothing: a thread of its own asks the store, and its failures are ignored.
//! 2. A request is answered once: the tag is deleted, so that the training can be resumed.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use burn_train::Interrupter;
use mlflow::blocking::Client;
use mlflow::{Run, RunStatus};

use mlflow::diagnostics::warn;

/// Tag by which somebody asks for the end of a training.
const STOP: &str = "burn.stop";

/// Guard of a thread that asks the store whether the training is to be stopped.
///
/// The training stops after its current batch once the run has a tag `burn.stop`, for example one that was added in the MLflow UI.
/// The value of the tag is the reason, which becomes the tag `burn.stop_reason`. The training also stops if somebody has ended the
/// run as `KILLED`, or has deleted the run. A request to the store costs the training nothing, and one that fails is no reason to stop.
///
/// The thread ends when the guard is dropped.
///
/// ```
/// use std::time::Duration;
///
/// use burn_train::{Learner, LearnerModel, SupervisedTraining};
/// use mlflow_burn::{StopOnRequest, TrackWithMlflow as _};
///
/// #[mlflow::tracked(experiment = "wine-quality", skip_all)]
/// fn train<M: LearnerModel + 'static>(training: SupervisedTraining<M>, learner: Learner<M>) {
///     let _stop = StopOnRequest::of_current_run(training.interrupter(), Duration::from_secs(30));
///     let result = training.track_with_mlflow().launch(learner);
///     if let Some(stopped) = result.interrupted {
///         println!("stopped: {:?}", stopped.reason);
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use = "requests are heeded until this is dropped"]
pub struct StopOnRequest {
    /// End of the thread, which waits on the other side.
    _open: Option<Sender<()>>,
}

impl StopOnRequest {
    /// Starts a thread that asks the store about the current run of the calling thread every `interval`. Without a run, no thread is
    /// started.
    pub fn of_current_run(interrupter: Interrupter, interval: Duration) -> Self {
        let Some(run) = Run::current() else {
            return Self { _open: None };
        };
        let (open, closed) = channel();
        let client = Client::new();
        let ask = move || {
            while closed.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                if let Some(reason) = request(&run, &client) {
                    interrupter.stop(Some(&reason));
                    return;
                }
            }
        };
        let started = thread::Builder::new()
            .name("mlflow-burn-stop".to_owned())
            .spawn(ask);
        if let Err(error) = started {
            warn(format_args!(
                "requests to stop the training are not heeded, as no thread can be started: {error}"
            ));
        }
        Self { _open: Some(open) }
    }
}

/// Returns the reason to stop, if somebody asks for it.
fn request(run: &Run, client: &Client) -> Option<String> {
    let run_id = run.run_id()?;
    let stored = client.run(&*run_id).ok()?;
    if let Some(reason) = stored.tag(STOP) {
        // If the tag stays, a training that is resumed stops again.
        let _ = client.delete_tag(&*run_id, STOP);
        return Some(match reason.trim() {
            "" => format!("the run has the tag {STOP}"),
            reason => reason.to_owned(),
        });
    }
    if stored.lifecycle_stage == mlflow::entities::LifecycleStage::Deleted {
        return Some("the run was deleted".to_owned());
    }
    (stored.status == RunStatus::Killed).then(|| "the run was ended as KILLED".to_owned())
}
