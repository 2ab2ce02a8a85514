//! The tracker: the connection of one process to one destination, with its settings, its journal and its
//! shipper.
//!
//! Invariants: a tracker never changes its destination. Everything that a run needs is in the run's tracker.
//!
//! There are two kinds. [`Tracker::start`] makes the tracker of a process, whose journal is on disk if
//! possible and whose shipper runs on a thread of its own. [`Tracker::inline`] makes the tracker of a
//! [fake](crate::testing), whose journal is in memory and which ships on the calling thread. A process that
//! was forked replaces its parent's tracker by a successor; see [`Tracker::for_this_process`].

pub(crate) mod exit_report;
pub(crate) mod fake_scope;
pub(crate) mod global;
pub(crate) mod health;
pub(crate) mod recover;
pub(crate) mod resend;
mod run_registry;
mod runless_values;
pub(crate) mod sanitizer;
mod upload_line;

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;

use crate::cache_line::CacheLine;
use crate::config::{Settings, temporary_journal};
use crate::environment;
use crate::journal::record::Origin;
use crate::journal::user_files::JournalLocation;
use crate::journal::{self, Journal};
use crate::model::ExperimentRef;
use crate::os::fork::{self, InheritedValue, PerProcess};
use crate::shipper::stats::{Connection, RefusalKind, Stats};
use crate::shipper::{self, Delivery, FlushQueue, FlushScope, JournalReader, Shipper, StepOutcome};
use crate::stderr::write_stderr_line;
use crate::stdio_capture::Capture;
use crate::store::{MemoryStore, Store};
use crate::sync::lock;
use crate::tracker::run_registry::RunRegistry;
use crate::tracker::runless_values::RunlessValues;
use crate::tracker::sanitizer::Sanitizer;
use crate::tracker::upload_line::UploadLine;
use crate::warnings::warn_without_dedup;

/// Settings, journal and shipper of one destination.
pub(crate) struct Tracker {
    settings: Settings,
    journal: CacheLine<Arc<Journal>>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) flush_queue: Arc<FlushQueue>,
    pub(crate) runs: CacheLine<RunRegistry>,
    /// Capture of stdout and stderr, if one was started.
    capture: Option<Capture>,
    /// Shipper of an inline tracker, which delivers on the thread that flushes. `None` if a thread ships.
    shipper: Option<Mutex<Shipper>>,
    /// Store of a fake's tracker.
    fake_store: Option<MemoryStore>,
    /// Fork generation of the process that made the tracker; see [`fork::current_generation`].
    generation: CacheLine<u32>,
    /// Replacements of this tracker: one in each process that was forked from the one that made it.
    successors: PerProcess<Successor>,
    /// Experiment of the runs that name none.
    experiment: InheritedValue<ExperimentRef>,
    pub(crate) sanitizer: CacheLine<Sanitizer>,
    pub(crate) runless_values: RunlessValues,
}

thread_local! {
    /// True while the calling thread starts a tracker.
    static STARTING: Cell<bool> = const { Cell::new(false) };
}

/// Tracker of a forked process, which replaces the tracker of its parent.
#[derive(Default)]
struct Successor {
    /// Lock held while the tracker is made.
    start_lock: Mutex<()>,
    tracker: OnceBox<Arc<Tracker>>,
}

impl Tracker {
    /// Returns true while the calling thread starts a tracker. A start may log warnings, and a subscriber
    /// that logs to runs receives them before the tracker exists.
    pub(crate) fn is_starting() -> bool {
        STARTING.get()
    }

    /// Returns the tracker that the calling process uses in place of this one: this tracker itself or, in a
    /// process that was forked since, the successor, which the first call makes. Returns `None` in such a
    /// process while the calling thread starts a tracker.
    #[inline]
    pub(crate) fn for_this_process(self: &Arc<Self>) -> Option<&Arc<Self>> {
        if *self.generation == fork::current_generation() {
            Some(self)
        } else {
            self.after_fork()
        }
    }

    #[cold]
    fn after_fork(self: &Arc<Self>) -> Option<&Arc<Self>> {
        // A fake has neither a thread nor a file that a fork could lose. In the child, the one forked thread
        // of a test continues.
        if self.is_inline() {
            return Some(self);
        }
        if Self::is_starting() {
            return None;
        }
        let successor = self.successors.get();
        if successor.tracker.get().is_none() {
            let _starting = lock(&successor.start_lock);
            if successor.tracker.get().is_none() {
                let tracker = self.start_successor();
                let _ = successor.tracker.set(Box::new(tracker));
            }
        }
        successor.tracker.get()
    }

    fn start_successor(&self) -> Arc<Self> {
        // Inherited runs keep their numbers, and new runs are numbered after them.
        let mut settings = self.settings.clone();
        settings.experiment = self.experiment();
        let successor = Self::start(settings, self.runs.next_number());
        Self::adopt(&successor);
        successor
    }

    /// Starts a tracker with a journal on disk, if a directory for it can be used, and with a shipper thread.
    /// A child whose destination does not survive a fork gets no thread. Runs are numbered from `first_run`.
    pub(crate) fn start(settings: Settings, first_run: u32) -> Arc<Self> {
        Self::start_with(settings, first_run, FirstSegment::AtOnce)
    }

    /// Starts a tracker to which nothing will be logged, and which ships what other processes have left.
    pub(crate) fn start_for_recovery(settings: Settings) -> Arc<Self> {
        Self::start_with(settings, 1, FirstSegment::WhenNeeded)
    }

    fn start_with(settings: Settings, first_run: u32, first_segment: FirstSegment) -> Arc<Self> {
        STARTING.set(true);
        let tracker = Self::start_inner(settings, first_run, first_segment);
        STARTING.set(false);
        tracker
    }

    fn start_inner(settings: Settings, first_run: u32, first_segment: FirstSegment) -> Arc<Self> {
        fork::note_tracking();
        let origin = Origin {
            destination: settings.destination.to_string(),
            host: environment::for_process().host.clone(),
            process_id: std::process::id(),
            tags: environment::for_process().common_tags(),
        };
        let journal = open_journal(&settings, &origin);
        let mut tracker = Self::without_shipper(settings, journal, first_run);
        // The parent's capture already receives what a forked child writes.
        if !fork::is_child() && tracker.settings.console.capture {
            let max_bytes = tracker.settings.console.max_bytes;
            tracker.capture = Capture::start(&tracker.journal, max_bytes);
        }
        let tracker = Arc::new(tracker);
        if first_segment == FirstSegment::AtOnce {
            // Before the shipper's thread starts, which would compete for the processor and the memory map.
            journal::open_first_segment(&tracker.journal);
        }
        if !fork::is_child() || tracker.settings.destination.survives_fork() {
            shipper::spawn_thread(
                &tracker.settings,
                &tracker.journal,
                &tracker.stats,
                &tracker.flush_queue,
                tracker.runs.links(),
            );
        } else {
            // The parent ships this journal when the parent flushes or ends. Otherwise the next process does.
            tracker.journal.start_sync_thread();
            tracker.flush_queue.fail(u64::MAX);
        }
        exit_report::install();
        tracker
    }

    /// Makes a tracker in memory, without a thread. Values reach `store` in
    /// [`flush_until`](Self::flush_until).
    pub(crate) fn inline(settings: Settings, store: &MemoryStore) -> Self {
        let origin = Origin {
            destination: store.uri(),
            host: environment::for_process().host.clone(),
            process_id: std::process::id(),
            tags: environment::for_process().common_tags(),
        };
        let journal = Journal::in_memory(origin, &settings.rank.metric_prefix);
        let mut tracker = Self::without_shipper(settings, journal, 1);
        let delivery = Delivery::new(
            Box::new(store.clone()),
            Arc::clone(&tracker.stats),
            tracker.settings.quiet,
        );
        tracker.fake_store = Some(store.clone());
        let live = JournalReader::for_live(
            Arc::clone(&tracker.journal),
            Arc::clone(tracker.runs.links()),
        );
        tracker.shipper = Some(Mutex::new(Shipper::new(delivery, live)));
        tracker
    }

    fn without_shipper(settings: Settings, journal: Arc<Journal>, first_run: u32) -> Self {
        Self {
            shipper: None,
            fake_store: None,
            capture: None,
            experiment: InheritedValue::new(settings.experiment.clone()),
            runs: CacheLine(RunRegistry::new(first_run, settings.run_id.clone())),
            settings,
            journal: CacheLine(journal),
            stats: Arc::default(),
            flush_queue: Arc::default(),
            generation: CacheLine(fork::current_generation()),
            successors: PerProcess::new(),
            sanitizer: CacheLine::default(),
            runless_values: RunlessValues::default(),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    #[inline]
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Waits until everything in `goal` that was logged so far is delivered, rejected or blocked. Returns
    /// false if that did not succeed by `deadline`.
    ///
    /// An inline tracker delivers on the calling thread instead, and ignores `deadline` and `goal`.
    pub(crate) fn flush_until(&self, deadline: Instant, goal: FlushScope) -> bool {
        match &self.shipper {
            Some(shipper) => {
                let delivered = deliver_inline(&mut lock(shipper));
                self.stats.set_connection(if delivered {
                    Connection::Connected
                } else {
                    Connection::Retrying
                });
                delivered
            }
            None => {
                if let Some(capture) = self.capture() {
                    capture.drain(deadline);
                }
                let ticket = self.flush_queue.request();
                self.journal.wakeup.notify_shipper();
                let uploads = || Arc::clone(&self.stats.uploads);
                let _line = { (!self.settings.quiet).then(uploads) }.and_then(UploadLine::begin);
                self.flush_queue.wait(ticket, deadline, goal)
            }
        }
    }

    /// Flushes, orphaned journals included, as [`flush_until`](Self::flush_until) does with
    /// [`FlushScope::All`]. Calls `tick` at intervals; if it returns a break, the wait ends. Only for a tracker
    /// whose shipper runs on a thread.
    pub(crate) fn flush_all_watched(
        &self,
        deadline: Instant,
        interval: Duration,
        mut tick: impl FnMut() -> ControlFlow<()>,
    ) -> bool {
        let ticket = self.flush_queue.request();
        self.journal.wakeup.notify_shipper();
        loop {
            let next = deadline.min(Instant::now() + interval);
            if self.flush_queue.wait(ticket, next, FlushScope::All) {
                return true;
            }
            let is_over = self.flush_queue.has_failed(ticket) || Instant::now() >= deadline;
            if tick().is_break() || is_over {
                return false;
            }
        }
    }

    /// Returns the capture of stdout and stderr, also after the capture has stopped.
    pub(crate) fn capture(&self) -> Option<&Capture> {
        self.capture.as_ref()
    }

    /// Returns the experiment of a run that names none.
    pub(crate) fn experiment(&self) -> ExperimentRef {
        self.experiment.get()
    }

    /// Returns the experiments that were named for a run that names none itself, the effective one first.
    /// Returns an empty list for the default experiment.
    pub(crate) fn named_experiments(&self) -> Vec<ExperimentRef> {
        let experiment = self.experiment();
        if experiment == self.settings.experiment {
            self.settings.named_experiments.clone()
        } else {
            vec![experiment]
        }
    }

    pub(crate) fn set_experiment(&self, name: String) {
        self.experiment.set(&ExperimentRef::Name(name));
    }

    /// Returns the user name that authenticates the requests, if one is configured.
    pub(crate) fn user(&self) -> Option<&str> {
        self.settings.server.login.username.as_deref()
    }

    /// Returns true for the tracker of a fake, which has no thread and delivers only when flushed.
    pub(crate) fn is_inline(&self) -> bool {
        self.shipper.is_some()
    }

    /// Returns the store of a fake's tracker.
    pub(crate) fn fake_store(&self) -> Option<&MemoryStore> {
        self.fake_store.as_ref()
    }

    /// Logs a warning, once for each kind and key.
    pub(crate) fn warn_once(&self, kind: &'static str, key: &str, what: fmt::Arguments<'_>) {
        self.sanitizer.warn_once(kind, key, what);
    }

    /// Issues a warning, once for each kind and key: about something that the user has requested and does not
    /// get.
    pub(crate) fn warn_user_once(&self, kind: &'static str, key: &str, line: &str) {
        if let Some(end) = self.sanitizer.admit_warning(kind, key) {
            warn_without_dedup(format!("{line}{end}"));
        }
    }

    /// Issues a warning about a part of a value that the user has requested and does not get, once for each part.
    pub(crate) fn warn_left_out(&self, kind: &'static str, name: &str, what: fmt::Arguments<'_>) {
        let line = format!("{kind} {name:?}: {what}");
        self.warn_user_once(kind, &line, &line);
    }

    /// Counts a value that cannot be logged at all, and logs a warning, once for each kind and key.
    pub(crate) fn warn_rejected(&self, kind: &'static str, key: &str, what: fmt::Arguments<'_>) {
        self.stats.not_logged.add(1);
        self.stats.record_refusal(RefusalKind::NotLogged, || {
            format!("{kind} {key:?} is not logged: {what}")
        });
        self.warn_once(kind, key, what);
    }
}

/// Time at which the calling thread's first segment is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstSegment {
    /// With the tracker, because the thread is about to log.
    AtOnce,
    /// With the first value.
    WhenNeeded,
}

/// Opens a journal in the configured directory. If the directory cannot be used, opens the journal below the
/// temporary directory, or else in memory, each time with a warning.
fn open_journal(settings: &Settings, origin: &Origin) -> Arc<Journal> {
    let key_prefix = &settings.rank.metric_prefix;
    let max_bytes = settings.journal_max_bytes;
    let on_disk =
        |place: JournalLocation| Journal::on_disk(place, origin.clone(), max_bytes, key_prefix);
    let mut opened = on_disk(settings.journal.clone());
    let fallback = temporary_journal();
    if let Err(error) = &opened
        && settings.journal.path() != fallback.path()
    {
        let (directory, fallback) = (settings.journal.path().display(), fallback.path().display());
        tracing::warn!(
            target: "mlflow", %error, %directory, %fallback,
            "the journal's directory cannot be used; using the fallback directory. Set MLFLOW_JOURNAL_DIR to a directory of your own"
        );
        print_unless_subscribed(
            settings,
            format_args!(
                "the journal's directory {directory} cannot be used ({error}); using {fallback}"
            ),
        );
        opened = on_disk(temporary_journal());
    }
    opened.unwrap_or_else(|error| {
        let directory = fallback.path().display();
        tracing::warn!(
            target: "mlflow", %error, %directory,
            "no directory for the journal can be used; values are kept in memory and are lost if the process is \
             killed. Set MLFLOW_JOURNAL_DIR to a directory of your own"
        );
        print_unless_subscribed(
            settings,
            format_args!(
                "no directory for the journal can be used ({error}); values are kept in memory and are lost if the \
                 process is killed. Set MLFLOW_JOURNAL_DIR to a directory of your own"
            ),
        );
        Journal::in_memory(origin.clone(), key_prefix)
    })
}

/// Writes a line to stderr if no `tracing` subscriber receives the warning and the settings are not quiet.
fn print_unless_subscribed(settings: &Settings, line: fmt::Arguments<'_>) {
    if !settings.quiet && !tracing::enabled!(target: "mlflow", tracing::Level::WARN) {
        write_stderr_line(&format!("mlflow: {line}"));
    }
}

/// Runs the shipper on the calling thread until nothing is left. Returns false if the store does not take the
/// values, or if it cannot answer without waiting.
fn deliver_inline(shipper: &mut Shipper) -> bool {
    let mut context = task::Context::from_waker(Waker::noop());
    // Without a thread, nothing else would retry parked runs and deferred artifacts.
    shipper.retry_by(tokio::time::Instant::now());
    loop {
        let step = pin!(shipper.step()).poll(&mut context);
        match step {
            Poll::Ready(Ok(StepOutcome::Idle)) => break,
            // Other threads may log without end: stop when everything logged before this step is delivered.
            Poll::Ready(Ok(StepOutcome::Delivered)) if shipper.is_fresh() => break,
            Poll::Ready(Ok(StepOutcome::More | StepOutcome::Delivered)) => {}
            Poll::Ready(Ok(StepOutcome::Stalled)) => std::thread::yield_now(),
            Poll::Ready(Err(_)) | Poll::Pending => return false,
        }
    }
    let sent = pin!(shipper.send_deferred()).poll(&mut context);
    matches!(sent, Poll::Ready(true))
}
