//! [`SessionThread`]: the thread `mlflow-postgres`, on which the connection of a store lives.
//!
//! - The mapping waits for the server as if it were a file, and the calls of a store must not block the thread of their
//!   caller. Therefore the mapping runs on a thread of its own, which sleeps while there is nothing to do.
//! - A call that nobody waits for any more is not begun.
//! - The thread ends with its store: it then closes the connection by itself, and nobody waits for it. In a process that was
//!   forked, the thread does not exist, so nothing is sent on the connection of the parent.

use std::cell::RefCell;
use std::thread;

use crate::os::fork;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::StoreError;
use super::error::unavailable;
use super::session::{Session, SessionSettings};

/// Name of the thread.
const NAME: &str = "mlflow-postgres";

/// Work that is done on the thread.
type Job = Box<dyn FnOnce(&mut Session, &Runtime) + Send>;

/// Thread that is started when it is first needed.
#[derive(Debug)]
pub(super) struct SessionThread {
    settings: SessionSettings,
    jobs: RefCell<Option<UnboundedSender<Job>>>,
}

impl SessionThread {
    pub(super) fn new(settings: SessionSettings) -> Self {
        Self {
            settings,
            jobs: RefCell::new(None),
        }
    }

    pub(super) fn settings(&self) -> &SessionSettings {
        &self.settings
    }

    /// Runs `work` on the thread, after all work that was given before.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session, &Runtime) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, answer) = oneshot::channel();
        let job: Job = Box::new(move |session, runtime| {
            if !sender.is_closed() {
                let _ = sender.send(work(session, runtime));
            }
        });
        self.send(job)?;
        // The work has panicked, or the thread has not got what it needs from the system.
        answer
            .await
            .map_err(|_| unavailable(format!("the thread {NAME} has ended without an answer")))
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        let mut jobs = self.jobs.borrow_mut();
        let job = match &*jobs {
            Some(sender) => match sender.send(job) {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent.0,
            },
            None => job,
        };
        let (sender, receiver) = unbounded_channel();
        let settings = self.settings.clone();
        thread::Builder::new()
            .name(NAME.to_owned())
            .spawn(move || serve(settings, receiver))
            .map_err(|error| {
                unavailable(format!("the thread {NAME} cannot be started: {error}"))
                    .with_source(error)
            })?;
        // The receiver exists, so the job arrives.
        let _ = sender.send(job);
        *jobs = Some(sender);
        Ok(())
    }
}

/// Does the work that arrives, until the store is dropped.
fn serve(settings: SessionSettings, mut jobs: UnboundedReceiver<Job>) {
    let Ok(runtime) = fork::without_fork(|| Builder::new_current_thread().enable_all().build())
    else {
        return;
    };
    let mut session = Session::new(settings);
    // The connection goes on while the thread waits, so that it notices its end.
    while let Some(job) = runtime.block_on(jobs.recv()) {
        job(&mut session, &runtime);
    }
    session.close(&runtime);
}
