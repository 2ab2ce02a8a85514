//! One process's way to one destination: its settings, its journal, its shipper.
//!
//! Invariant: it is made once and never changes its destination; all that a run needs is in it.

pub(crate) mod global;
pub(crate) mod health;
pub(crate) mod last_words;
pub(crate) mod recover;
pub(crate) mod resend;
mod run_registry;
mod runless_values;
mod sanitizer;
pub(crate) mod stand_in;

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};
use std::time::Instant;

use once_cell::race::OnceBox;

use crate::config::{Settings, temporary_journal};
use crate::environment;
use crate::journal::Journal;
use crate::journal::record::Origin;
use crate::journal::user_files::JournalLocation;
use crate::model::ExperimentRef;
use crate::os::fork::{self, InheritedValue, PerProcess};
use crate::shipper::stats::{Connection, Stats};
use crate::shipper::{self, Delivery, FlushQueue, FlushScope, JournalReader, Shipper, StepOutcome};
use crate::stderr::write_stderr_line;
use crate::stdio_capture::Capture;
use crate::store::{Store, StoreError, StoreInfo};
use crate::sync::lock;
use crate::tracker::run_registry::RunRegistry;
use crate::tracker::runless_values::RunlessValues;
use crate::tracker::sanitizer::Sanitizer;

/// Settings, journal and shipper of one destination.
pub(crate) struct Tracker {
    settings: Settings,
    journal: Arc<Journal>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) flush_queue: Arc<FlushQueue>,
    pub(crate) runs: RunRegistry,
    /// Where stdout and stderr are captured.
    capture: Option<Capture>,
    /// Where there is no thread: whoever wants something delivered does it.
    shipper: Option<Mutex<Shipper>>,
    /// The process it was made in.
    generation: u32,
    /// The tracker that stands for it, in each process forked from that.
    successors: PerProcess<Successor>,
    experiment: InheritedValue<ExperimentRef>,
    pub(crate) sanitizer: Sanitizer,
    pub(crate) runless_values: RunlessValues,
}

thread_local! {
    static STARTING: Cell<bool> = const { Cell::new(false) };
}

/// The tracker of a process that was forked from another one's.
#[derive(Default)]
struct Successor {
    /// Held while it is made.
    start_lock: Mutex<()>,
    tracker: OnceBox<Arc<Tracker>>,
}

impl Tracker {
    /// Whether the calling thread is about to start one: a subscriber that logs to runs may be told
    /// of trouble meanwhile.
    pub(crate) fn is_starting() -> bool {
        STARTING.get()
    }

    /// The tracker that this process uses in its stead: itself, unless the process was forked since
    /// it was made. `None` while that one is being started by the same thread.
    #[inline]
    pub(crate) fn for_this_process(self: &Arc<Self>) -> Option<&Arc<Self>> {
        if self.generation == fork::current_generation() {
            Some(self)
        } else {
            self.after_fork()
        }
    }

    #[cold]
    fn after_fork(self: &Arc<Self>) -> Option<&Arc<Self>> {
        // A fake has no thread and no file that could be lost. One thread of a test goes on.
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
        // Its runs go by the numbers that they have, beside those of new ones.
        let mut settings = self.settings.clone();
        settings.experiment = self.experiment();
        let successor = Self::start(settings, self.runs.next_number());
        Self::adopt(&successor);
        successor
    }

    /// Starts one, with a journal on disk, if that can be, and a thread. Its runs are numbered from
    /// `first_run`.
    pub(crate) fn start(settings: Settings, first_run: u32) -> Arc<Self> {
        STARTING.set(true);
        let tracker = Self::start_inner(settings, first_run);
        STARTING.set(false);
        tracker
    }

    fn start_inner(settings: Settings, first_run: u32) -> Arc<Self> {
        fork::note_tracking();
        let origin = Origin {
            destination: settings.destination.to_string(),
            host: environment::for_process().host.clone(),
            process_id: std::process::id(),
            tags: environment::for_process().common_tags(),
        };
        let journal = open_journal(&settings, &origin);
        let mut tracker = Self::without_shipper(settings, journal, first_run);
        // What a child writes is captured by its parent already.
        if !fork::is_child() && tracker.settings.console.capture {
            let max_bytes = tracker.settings.console.max_bytes;
            tracker.capture = Capture::start(&tracker.journal, max_bytes);
        }
        let tracker = Arc::new(tracker);
        if !fork::is_child() || tracker.settings.destination.survives_fork() {
            shipper::spawn_thread(
                &tracker.settings,
                &tracker.journal,
                &tracker.stats,
                &tracker.flush_queue,
                tracker.runs.links(),
            );
        } else {
            // The parent ships it when it flushes or ends, or else the next process.
            tracker.flush_queue.fail(u64::MAX);
        }
        last_words::install();
        tracker
    }

    /// A tracker in memory, without a thread: values reach `store` in [`flush_until`](Self::flush_until).
    pub(crate) fn inline(settings: Settings, store: Box<dyn Store>) -> Self {
        let origin = Origin {
            destination: store.uri(),
            host: environment::for_process().host.clone(),
            process_id: std::process::id(),
            tags: environment::for_process().common_tags(),
        };
        let journal = Journal::in_memory(origin, &settings.rank.metric_prefix);
        let mut tracker = Self::without_shipper(settings, journal, 1);
        let delivery = Delivery::new(store, Arc::clone(&tracker.stats), tracker.settings.quiet);
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
            capture: None,
            experiment: InheritedValue::new(settings.experiment.clone()),
            runs: RunRegistry::new(first_run, settings.run_id.clone()),
            settings,
            journal,
            stats: Arc::default(),
            flush_queue: Arc::default(),
            generation: fork::current_generation(),
            successors: PerProcess::new(),
            sanitizer: Sanitizer::default(),
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

    /// Waits until everything logged so far is delivered; false if that did not succeed in time.
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
                self.flush_queue.wait(ticket, deadline, goal)
            }
        }
    }

    /// What captures stdout and stderr, if anything does or did.
    pub(crate) fn capture(&self) -> Option<&Capture> {
        self.capture.as_ref()
    }

    /// The experiment of a run that names none.
    pub(crate) fn experiment(&self) -> ExperimentRef {
        self.experiment.get()
    }

    /// The experiments that were named for such a run; none for the default.
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

    /// The user by whose name requests are made, where that is not the system's.
    pub(crate) fn user(&self) -> Option<&str> {
        self.settings.login.username.as_deref()
    }

    /// Whether this is a fake's: driven by hand, with no thread.
    pub(crate) fn is_inline(&self) -> bool {
        self.shipper.is_some()
    }

    /// What a fake's store says of itself.
    pub(crate) fn info(&self) -> Result<StoreInfo, StoreError> {
        let pending = || StoreError::Busy {
            reason: "it has to be waited for".to_owned(),
        };
        let shipper = self.shipper.as_ref().ok_or_else(pending)?;
        let shipper = lock(shipper);
        let mut context = task::Context::from_waker(Waker::noop());
        match pin!(shipper.info()).poll(&mut context) {
            Poll::Ready(info) => info,
            Poll::Pending => Err(pending()),
        }
    }

    /// Logs a warning, once for each kind and key.
    pub(crate) fn warn_once(&self, kind: &'static str, key: &str, what: fmt::Arguments<'_>) {
        self.sanitizer.warn_once(kind, key, what);
    }

    /// Counts a value that cannot be logged at all, and logs a warning, once for each kind and key.
    pub(crate) fn warn_rejected(&self, kind: &'static str, key: &str, what: fmt::Arguments<'_>) {
        self.stats.not_logged.add(1);
        self.stats
            .record_refusal(|| format!("{kind} {key:?} is not logged: {what}"));
        self.warn_once(kind, key, what);
    }
}

/// Opens a journal on disk: where the settings say, else below the temporary directory; else in memory.
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
            "the journal's directory cannot be used; using the fallback. Set MLFLOW_JOURNAL_DIR to one of your own"
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

/// Writes a line to stderr where no subscriber takes the warning.
fn print_unless_subscribed(settings: &Settings, line: fmt::Arguments<'_>) {
    if !settings.quiet && !tracing::enabled!(target: "mlflow", tracing::Level::WARN) {
        write_stderr_line(&format!("mlflow: {line}"));
    }
}

/// Steps until there is nothing left, on the calling thread. False if the store does not take it,
/// or is one that has to be waited for.
fn deliver_inline(shipper: &mut Shipper) -> bool {
    let mut context = task::Context::from_waker(Waker::noop());
    // Without a thread nothing would come back to what waits by itself.
    shipper.retry_by(tokio::time::Instant::now());
    loop {
        let step = pin!(shipper.step()).poll(&mut context);
        match step {
            Poll::Ready(Ok(StepOutcome::Idle)) => break,
            // Others may log without an end.
            Poll::Ready(Ok(StepOutcome::Delivered)) if shipper.is_fresh() => break,
            Poll::Ready(Ok(StepOutcome::More | StepOutcome::Delivered)) => {}
            Poll::Ready(Ok(StepOutcome::Stalled)) => std::thread::yield_now(),
            Poll::Ready(Err(_)) | Poll::Pending => return false,
        }
    }
    let sent = pin!(shipper.send_deferred()).poll(&mut context);
    matches!(sent, Poll::Ready(true))
}
