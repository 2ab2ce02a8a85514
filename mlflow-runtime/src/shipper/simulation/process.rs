//! The processes of a world: each has a journal, and the loop that ships it.
//!
//! Invariant: a process that dies does nothing on its way out. Other processes notice only that its journal's
//! lock is free.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::faulty_store::{FaultyStore, ScheduledDeath, Server};
use super::schedule::RunId;
use crate::config::{Config, Settings};
use crate::determinism::{self, SimulatedDeath};
use crate::journal::directory::ARTIFACT_EXTENSION;
use crate::journal::record::{ArtifactLocation, Event, Origin};
use crate::journal::{Journal, MetricKey, MetricPoint, RunRef, release_thread, with_writer};
use crate::model::{ArtifactKind, PointRate, RunIdentity};
use crate::shipper::run_link::{RunLink, RunLinks};
use crate::shipper::stats::Stats;
use crate::shipper::thread::Worker;
use crate::shipper::{FlushQueue, FlushScope};
use crate::sync::lock;

/// Number of rounds of a shipper in one moment of the simulated time from which on it counts as looping
/// forever.
const MAX_ROUNDS_PER_INSTANT: u32 = 20_000;

/// A run as one process knows it.
#[derive(Clone)]
pub(super) struct OwnRun {
    pub(super) number: u32,
    pub(super) identity: RunIdentity,
    /// True if the run was started by the process that this process was forked from.
    pub(super) is_inherited: bool,
    /// Link that the user's handles of the run hold; `None` when the handles are dropped.
    link: Option<Arc<RunLink>>,
}

/// A living process.
pub(super) struct Process {
    pub(super) journal: Arc<Journal>,
    pub(super) flush_queue: Arc<FlushQueue>,
    pub(super) stats: Arc<Stats>,
    links: Arc<RunLinks>,
    pub(super) death: Arc<ScheduledDeath>,
    task: JoinHandle<Result<(), String>>,
    pub(super) runs: BTreeMap<RunId, OwnRun>,
    next_number: u32,
}

fn simulated_settings(root: &Path, point_rate: Option<PointRate>) -> Settings {
    static COMMON: OnceLock<Settings> = OnceLock::new();
    let common = COMMON.get_or_init(|| {
        let config = Config::new().tracking_uri("http://simulated").quiet(true);
        config.resolve_from(&|_| None, None)
    });
    Settings {
        journal: root.to_owned().into(),
        point_rate,
        ..common.clone()
    }
}

impl Process {
    pub(super) fn start(
        root: &Path,
        segment_bytes: u64,
        point_rate: Option<PointRate>,
        server: &Arc<Mutex<Server>>,
        number: usize,
        death: ScheduledDeath,
    ) -> Self {
        let settings = simulated_settings(root, point_rate);
        let origin = Origin {
            destination: settings.destination.to_string(),
            host: "h".to_owned(),
            process_id: 1,
            tags: Arc::default(),
        };
        let journal = Journal::without_threads(root.to_owned(), origin, segment_bytes)
            .expect("the root can be written");
        let (control, stats, links): (Arc<FlushQueue>, Arc<Stats>, Arc<RunLinks>) =
            Default::default();
        let death = Arc::new(death);
        let store = FaultyStore {
            server: Arc::clone(server),
            process: number,
            death: Arc::clone(&death),
        };
        let mut worker = Worker::new(&settings, &journal, &stats, &control, &links);
        let task = tokio::task::spawn_local(watch_worker(
            async move { worker.ship(Box::new(store)).await },
            Arc::clone(&death),
        ));
        Self {
            journal,
            flush_queue: control,
            stats,
            links,
            death,
            task,
            runs: BTreeMap::new(),
            next_number: 1,
        }
    }

    /// Makes `child` a process that was forked from this one: it inherits the runs.
    pub(super) fn fork_to(&self, child: &mut Self) {
        child.next_number = self.next_number;
        for (run, own) in &self.runs {
            let inherited = OwnRun {
                is_inherited: true,
                link: None,
                ..own.clone()
            };
            child.runs.insert(*run, inherited);
        }
    }

    /// Gives a run its number and its link.
    pub(super) fn register(&mut self, run: RunId, identity: RunIdentity) {
        let number = self.next_number;
        self.next_number += 1;
        let link = Arc::new(RunLink::default());
        lock(&self.links).insert(number, Arc::clone(&link));
        let own = OwnRun {
            number,
            identity,
            is_inherited: false,
            link: Some(link),
        };
        self.runs.insert(run, own);
    }

    /// Drops the user's handles of the run.
    pub(super) fn close(&mut self, run: RunId) {
        if let Some(own) = self.runs.get_mut(&run) {
            own.link = None;
        }
    }

    pub(super) fn log(&self, run: RunId, on_thread: bool, event: &Event<'_>, attachment: &[u8]) {
        let own = &self.runs[&run];
        let append = || {
            with_writer(&self.journal, |writer| {
                let taken = writer.append_event(&self.journal, &own.run_ref(), event, attachment);
                assert!(taken, "there is room");
            });
        };
        if on_thread {
            std::thread::scope(|scope| scope.spawn(append).join().expect("it does not panic"));
        } else {
            append();
        }
    }

    pub(super) fn log_metrics(
        &self,
        run: RunId,
        on_thread: bool,
        key: impl MetricKey + Sync,
        points: &[(i64, i64, f64)],
    ) {
        let own = &self.runs[&run];
        let append = || {
            for (timestamp_ms, step, value) in points {
                with_writer(&self.journal, |writer| {
                    let run = own.run_ref();
                    writer.append_metric(
                        &self.journal,
                        MetricPoint {
                            run,
                            key,
                            timestamp_ms: *timestamp_ms,
                            step: *step,
                            value: *value,
                        },
                    );
                });
            }
        };
        if on_thread {
            std::thread::scope(|scope| scope.spawn(append).join().expect("it does not panic"));
        } else {
            append();
        }
    }

    /// Logs a point at the last step of its key.
    pub(super) fn log_returned(
        &self,
        run: RunId,
        on_thread: bool,
        key: &str,
        timestamp_ms: i64,
        value: f64,
    ) {
        let own = &self.runs[&run];
        let append = || {
            with_writer(&self.journal, |writer| {
                let run = own.run_ref();
                writer.append_metric_at_last_step(&self.journal, run, key, timestamp_ms, value);
            });
        };
        if on_thread {
            std::thread::scope(|scope| scope.spawn(append).join().expect("it does not panic"));
        } else {
            append();
        }
    }

    /// Logs an artifact whose bytes are in a file beside the journal.
    pub(super) fn log_spooled(
        &self,
        run: RunId,
        on_thread: bool,
        path: &str,
        value: u32,
        bytes: &[u8],
    ) {
        let spool = self.journal.spool_directory().expect("a directory");
        let name = format!("{value:032x}.{ARTIFACT_EXTENSION}");
        fs::write(spool.join(&name), bytes).expect("the directory can be written");
        let event = Event::Artifact {
            path: Cow::Borrowed(path),
            kind: ArtifactKind::File,
            content: ArtifactLocation::Spooled(name.into()),
            fingerprint: None,
        };
        self.log(run, on_thread, &event, &[]);
    }

    /// Returns true if the process has died by its scheduled death.
    pub(super) fn is_dead(&self) -> bool {
        self.death.is_met()
    }

    /// Returns a description of the fault if the shipper's loop has ended, which it never should.
    pub(super) async fn fault(&mut self) -> Option<String> {
        if !self.task.is_finished() {
            return None;
        }
        Some(match (&mut self.task).await {
            Ok(Err(fault)) => fault,
            Ok(Ok(())) => "the shipper has ended".to_owned(),
            Err(error) => format!("the shipper panics: {error}"),
        })
    }

    /// Requests a flush, and waits for it. Returns true if it is complete within `patience`.
    pub(super) async fn flush(&self, goal: FlushScope, patience: Duration) -> bool {
        let ticket = self.flush_queue.request();
        self.journal.wakeup.notify_shipper();
        self.flush_queue.set_has_waiter(true);
        let flushed = self.wait_for(ticket, goal, patience).await;
        self.flush_queue.set_has_waiter(false);
        flushed
    }

    async fn wait_for(&self, ticket: u64, goal: FlushScope, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut pause = Duration::from_millis(10);
        loop {
            if self
                .flush_queue
                .wait(ticket, std::time::Instant::now(), goal)
            {
                return true;
            }
            let is_hopeless = goal != FlushScope::Own && !self.flush_queue.has_pending();
            if is_hopeless || self.is_dead() || Instant::now() >= until {
                return false;
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    /// Ends the process as a return from `main` does; the ends of its runs are logged already. Returns true
    /// if everything was delivered within `patience`.
    pub(super) async fn exit(self, patience: Duration) -> bool {
        release_thread(&self.journal);
        self.flush_queue.begin_exit();
        let flushed = self.flush(FlushScope::Exit(patience), patience).await;
        if !self.is_dead() && self.queued() == 0 {
            self.journal.remove_if_empty();
        }
        self.die().await;
        flushed
    }

    /// Returns the number of values that are neither settled nor blocked.
    pub(super) fn queued(&self) -> u64 {
        let values = self.journal.value_count();
        values.saturating_sub(self.stats.settled() + self.stats.blocked.get())
    }

    /// Ends the process as a kill does.
    pub(super) async fn die(self) {
        let Self { journal, task, .. } = self;
        task.abort();
        let _ = task.await;
        // The writer belongs to this process alone, so nothing is written any more; the file stays as it is.
        release_thread(&journal);
    }
}

impl OwnRun {
    fn run_ref(&self) -> RunRef<'_> {
        RunRef {
            number: self.number,
            identity: &self.identity,
            inherited: self.is_inherited,
        }
    }
}

/// Runs a shipper's loop until the process dies. Returns a description of the fault if the loop ends or
/// panics, or takes so many rounds in one moment of the simulated time that it cannot be making progress.
async fn watch_worker(
    worker: impl Future<Output = ()>,
    death: Arc<ScheduledDeath>,
) -> Result<(), String> {
    let mut worker = pin!(worker);
    let (mut last, mut rounds) = (Instant::now(), 0);
    let ended = poll_fn(|context| {
        let now = Instant::now();
        rounds = if now == last { rounds + 1 } else { 0 };
        last = now;
        if rounds > MAX_ROUNDS_PER_INSTANT {
            return Poll::Ready(Some("the shipper runs in a circle".to_owned()));
        }
        determinism::set_changes_left(death.changes());
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| worker.as_mut().poll(context)));
        death.set_changes(determinism::set_changes_left(None));
        match polled {
            Ok(polled) => polled.map(|()| Some("the shipper has ended".to_owned())),
            Err(panic) if panic.is::<SimulatedDeath>() => Poll::Ready(None),
            Err(panic) => Poll::Ready(Some(format!(
                "the shipper panics: {}",
                panic_message(&*panic)
            ))),
        }
    })
    .await;
    match ended {
        Some(fault) => Err(fault),
        None => death.meet().await,
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}
