//! Sync thread: the thread of a journal that syncs appended values to the device.
//!
//! # Invariants
//!
//! 1. No thread that logs waits for the sync thread.
//! 2. While nothing is logged, the sync thread sleeps without a timer.
//! 3. A value is on the device [`SYNC_INTERVAL`] after it was appended, plus the time that the device takes.
//!    When the value's segment is full or its run has ended, the interval is [`MIN_SYNC_INTERVAL`] at most.
//! 4. Only the written part of a segment is synced, not its rest: the next write to a synced page is slow.
//! 5. Copies of [artifacts](crate::journal::spool) are synced before the events that name them. A large copy
//!    delays the values of its time by as long as the device takes for the copy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::journal::Journal;
use crate::journal::wakeup::{STORE_BUFFER_DRAIN, Sleeper};
use crate::sync::{ignore_poison, lock};

/// Longest time that a value is in the page cache only.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// Least time between the end of a sync and the next one, however many runs end and segments become full.
const MIN_SYNC_INTERVAL: Duration = Duration::from_millis(200);

/// Requests to the thread.
#[derive(Default)]
pub(super) struct SyncThread {
    request: Mutex<SyncRequest>,
    changed: Condvar,
    /// True while a sync of everything appended until now is requested and has not begun.
    is_sync_pending: AtomicBool,
}

#[derive(Default)]
struct SyncRequest {
    /// Set when something was appended after a silence.
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

    /// Requests a sync soon, because a segment is full or a run has ended.
    pub(super) fn request_sync(&self) {
        // A single request is enough for a thousand runs that end within the interval; each further one would
        // wake the thread.
        if !self.is_sync_pending.swap(true, Ordering::AcqRel) {
            self.update_request(|orders| orders.sync_now = true);
        }
    }

    pub(super) fn stop(&self) {
        self.update_request(|orders| orders.stop = true);
    }

    /// Waits for a request, for `timeout` at most if there is one, and takes it.
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

/// Starts the thread. Even without the thread, values survive the death of the process.
pub(super) fn spawn(journal: &Arc<Journal>) {
    let journal = Arc::downgrade(journal);
    let spawned = thread::Builder::new()
        .name("mlflow-journal".to_owned())
        .spawn(move || run_sync_loop(&journal));
    if let Err(error) = spawned {
        tracing::warn!(
            target: "mlflow", %error,
            "the thread that syncs the journal could not be started; values that are not delivered yet may be lost in a power failure"
        );
    }
}

fn run_sync_loop(journal: &Weak<Journal>) {
    // Time of the next sync, if there is something to sync.
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
        // The journal is dropped with its last user, which wakes this thread.
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
            // The flag is cleared before the sync: values of a later request may be too late for this sync.
            keeper.is_sync_pending.swap(false, Ordering::AcqRel);
            strong.sync();
            last = Some(Instant::now());
            due = None;
            dozing = true;
        }
    }
}
