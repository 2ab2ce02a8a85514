//! [`Worker`]: the thread on which a client's calls run.
//!
//! Invariants: a call needs no particular async runtime, and blocks none, because it runs on a thread of the
//! client's own. Dropping the future of a call cancels the call where it waits for an answer. The thread ends
//! when the last client that uses it is dropped.
//!
//! The thread starts with the first call. Calls to a server wait for their answers at the same time; calls to a
//! SQLite file run one after the other, and are not cancelled once they have begun. A process that was forked
//! meanwhile starts a thread of its own.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};
use tokio::time;

use crate::config::Settings;
use crate::os::fork::{self, PerProcess};
use crate::store::{ClientError, ClientStore, StoreError};
use crate::sync::lock;

/// Time for which a call is repeated while a server cannot be reached or does not accept it: time enough for
/// a broken connection or a reload, and little enough for a person who waits.
const SERVER_RETRY_TIME: Duration = Duration::from_secs(3);
/// Time for which a call is repeated while a SQLite file is locked. MLflow waits as long.
const FILE_RETRY_TIME: Duration = Duration::from_secs(20);
/// Pause before the first repetition. Each further pause is twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
type Job = Box<dyn FnOnce(Result<Connection, StoreError>) -> LocalFuture<'static, ()> + Send>;

/// Store that a call uses, and how long the call is repeated.
#[derive(Clone)]
pub(super) struct Connection {
    store: Rc<dyn ClientStore>,
    retry_time: Duration,
}

impl Connection {
    /// Creates a connection whose calls are not repeated.
    pub(super) fn without_retry(store: Rc<dyn ClientStore>) -> Self {
        Self {
            store,
            retry_time: Duration::ZERO,
        }
    }

    /// Returns the store, for a call that must not be repeated.
    pub(super) fn store(&self) -> &dyn ClientStore {
        &*self.store
    }

    /// Makes a call, and repeats it while the store is not available.
    pub(super) async fn repeat<'s, T>(
        &'s self,
        call: impl Fn(&'s dyn ClientStore) -> LocalFuture<'s, Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match call(&*self.store).await {
                Err(ClientError::Unavailable { .. })
                    if started.elapsed() + pause < self.retry_time =>
                {
                    time::sleep(pause).await;
                    pause = MAX_PAUSE.min(2 * pause);
                }
                done => return done,
            }
        }
    }
}

/// Thread on which a client's calls run.
pub(super) struct Worker {
    settings: Settings,
    /// Queue of the thread; `None` before the first call.
    queue: PerProcess<Mutex<Option<UnboundedSender<Job>>>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.settings.destination, f)
    }
}

impl Worker {
    /// Creates the worker for a store. Starts no thread yet.
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            queue: PerProcess::new(),
        }
    }

    /// Returns the settings of the store.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs `call` on the thread and returns its result.
    pub(super) async fn call<T, C, F>(&self, call: C) -> Result<T, ClientError>
    where
        T: Send + 'static,
        C: FnOnce(Connection) -> F + Send + 'static,
        F: Future<Output = Result<T, ClientError>> + 'static,
    {
        let (mut answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            Box::pin(async move {
                let result = match connection {
                    Ok(connection) => {
                        let abandoned = pin!(answer.closed());
                        let call = pin!(call(connection));
                        match select(abandoned, call).await {
                            Either::Left(_) => return,
                            Either::Right((result, _)) => result,
                        }
                    }
                    Err(error) => Err(error.into()),
                };
                // The caller may have dropped the future of the call.
                let _ = answer.send(result);
            })
        });
        self.submit(job)?;
        answered.await.unwrap_or_else(|_| {
            Err(ClientError::Unavailable {
                reason: "the thread of the client has ended before it answered".into(),
            })
        })
    }

    /// Hands the job to the thread, which is started if there is none.
    fn submit(&self, job: Job) -> Result<(), ClientError> {
        let mut queue = lock(self.queue.get());
        let job = match &*queue {
            Some(sender) => match sender.send(job) {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent.0,
            },
            None => job,
        };
        let (sender, receiver) = unbounded_channel();
        let settings = self.settings.clone();
        thread::Builder::new()
            .name("mlflow-client".to_owned())
            .spawn(move || serve(&settings, receiver))
            .map_err(|error| {
                ClientError::from(StoreError::Unavailable {
                    reason: format!("no thread can be started for the client: {error}").into(),
                    retry_after: None,
                })
            })?;
        // The receiver exists, so the job arrives.
        let _ = sender.send(job);
        *queue = Some(sender);
        Ok(())
    }
}

/// Runs the jobs of a client until the client is dropped.
fn serve(settings: &Settings, mut jobs: UnboundedReceiver<Job>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = fork::without_fork(|| builder.enable_all().build());
    // Without a runtime, the dropped jobs tell the callers that there is no answer.
    let Ok(runtime) = runtime else { return };
    let connection = open(settings);
    LocalSet::new().block_on(&runtime, async move {
        let mut running = JoinSet::new();
        while let Some(job) = jobs.recv().await {
            running.spawn_local(job(connection.clone()));
            // The next call starts a thread anew: a person may have mended the cause meanwhile.
            if connection.is_err() {
                jobs.close();
            }
            // Finished calls are removed. A call that panicked has dropped its answer, which its caller sees.
            while running.try_join_next().is_some() {}
        }
        while running.join_next().await.is_some() {}
    });
}

fn open(settings: &Settings) -> Result<Connection, StoreError> {
    let is_file = !settings.destination.survives_fork();
    if fork::is_child() && is_file {
        return Err(StoreError::Blocked {
            reason: "a child made by fork must not open the SQLite file that its parent has open"
                .into(),
            everything: true,
        });
    }
    let store = settings.destination.open_store(settings)?;
    Ok(Connection {
        store: Rc::from(store),
        retry_time: if is_file {
            FILE_RETRY_TIME
        } else {
            // A repetition after an answer that has not come in time would wait twice as long as the caller wants.
            SERVER_RETRY_TIME.min(settings.request_timeout)
        },
    })
}
