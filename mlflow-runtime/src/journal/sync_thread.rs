//! The journal's own thread: has the device keep what was appended.
//!
//! # Invariants
//!
//! 1. No thread that logs waits for it.
//! 2. While nothing is logged it sleeps without a timer.
//! 3. A value is on the device [`SYNC_INTERVAL`] after it was appended, plus the time that the device
//!    takes; when its segment is full or its run has ended, after [`MIN_SYNC_INTERVAL`] at most.
//! 4. The device is asked for what was written, not for the rest of a segment: a page that it is
//!    asked for is slow to write to the next time.
//! 5. It is asked for the copies of [artifacts](crate::journal::spool) before the events that name them. A large
//!    copy delays the values of its time by as long as the device takes for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::journal::Journal;
use crate::journal::wakeup::{STORE_BUFFER_DRAIN, Sleeper};
use crate::sync::{ignore_poison, lock};

/// How long a value may be in the page cache only.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// How long the device is left in peace, however many runs end and segments are full.
const MIN_SYNC_INTERVAL: Duration = Duration::from_millis(200);

/// What the thread is to do, and what it has done.
#[derive(Default)]
pub(super) struct SyncThread {
    request: Mutex<SyncRequest>,
    changed: Condvar,
    /// Whether the device will be asked soon for all that was appended until now.
    is_sync_pending: AtomicBool,
}

#[derive(Default)]
struct SyncRequest {
    /// Something was appended after a silence.
    appended: bool,
    sync_now: bool,
    stop: bool,
}

impl SyncRequest {
    fn is_empty(&self) -> bool {
        let Self {
            appended,
            sync_now,
            stop,
        } = self;
        !(*appended || *sync_now || *stop)
    }
}

impl SyncThread {
    fn update_request(&self, change: impl FnOnce(&mut SyncRequest)) {
        change(&mut lock(&self.request));
        self.changed.notify_one();
    }

    pub(super) fn notify_appended(&self) {
        self.update_request(|orders| orders.appended = true);
    }

    /// A segment is full, or a run has ended.
    pub(super) fn request_sync(&self) {
        // One order will do for a thousand runs that end within the gap; each would wake the thread.
        if !self.is_sync_pending.swap(true, Ordering::AcqRel) {
            self.update_request(|orders| orders.sync_now = true);
        }
    }

    pub(super) fn stop(&self) {
        self.update_request(|orders| orders.stop = true);
    }

    /// Waits for orders, for `timeout` at most if there is one.
    fn wait_for_request(&self, timeout: Option<Duration>) -> SyncRequest {
        let orders = lock(&self.request);
        let mut orders = match timeout {
            None => ignore_poison(self.changed.wait_while(orders, |orders| orders.is_empty())),
            Some(timeout) => {
                let waited = self
                    .changed
                    .wait_timeout_while(orders, timeout, |orders| orders.is_empty());
                ignore_poison(waited).0
            }
        };
        std::mem::take(&mut orders)
    }
}

/// Starts the thread. Without it values are safe from the death of the process all the same.
pub(super) fn spawn(journal: &Arc<Journal>) {
    let journal = Arc::downgrade(journal);
    let spawned = thread::Builder::new()
        .name("mlflow-journal".to_owned())
        .spawn(move || run_sync_loop(&journal));
    if let Err(error) = spawned {
        tracing::warn!(
            target: "mlflow", %error,
            "the journal's thread could not be started; a loss of power may cost what was not delivered yet"
        );
    }
}

fn run_sync_loop(journal: &Weak<Journal>) {
    // When the device is to be asked next, if there is something to ask it for.
    let mut due: Option<Instant> = None;
    let mut last: Option<Instant> = None;
    let mut dozing = true;
    loop {
        let Some(strong) = journal.upgrade() else {
            return;
        };
        if due.is_none() {
            strong.wakeup.set_asleep(Sleeper::SyncThread);
        }
        let timeout = match due {
            Some(due) => Some(due.saturating_duration_since(Instant::now())),
            None if dozing => Some(STORE_BUFFER_DRAIN),
            None => None,
        };
        // The journal goes when its last user does, which wakes this thread.
        let keeper = Arc::clone(&strong.wakeup.sync_thread);
        drop(strong);
        let orders = keeper.wait_for_request(timeout);
        let Some(strong) = journal.upgrade().filter(|_| !orders.stop) else {
            return;
        };
        let silent = orders.is_empty();
        let SyncRequest {
            appended,
            sync_now,
            stop: _,
        } = orders;
        let now = Instant::now();
        if sync_now {
            let soon = last.map_or(now, |last| now.max(last + MIN_SYNC_INTERVAL));
            due = Some(due.map_or(soon, |due| due.min(soon)));
        } else if due.is_none() && (appended || (dozing && strong.is_dirty())) {
            due = Some(now + SYNC_INTERVAL);
        } else if silent {
            dozing = false;
        }
        if due.is_some_and(|due| due <= now) {
            // First: of who comes later, the values may be too late for this time.
            keeper.is_sync_pending.swap(false, Ordering::AcqRel);
            strong.sync();
            last = Some(Instant::now());
            due = None;
            dozing = true;
        }
    }
}
