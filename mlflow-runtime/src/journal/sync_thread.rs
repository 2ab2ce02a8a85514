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

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::journal::Journal;
use crate::journal::sync_signal::SyncRequest;
use crate::journal::wakeup::{STORE_BUFFER_DRAIN, Sleeper};
use crate::warnings::warn_user;

/// Longest time that a value is in the page cache only.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// Least time between the end of a sync and the next one, however many runs end and segments become full.
const MIN_SYNC_INTERVAL: Duration = Duration::from_millis(200);

/// Starts the thread.
pub(super) fn spawn(journal: &Arc<Journal>) {
    let journal = Arc::downgrade(journal);
    let spawned = thread::Builder::new()
        .name("mlflow-journal".to_owned())
        .spawn(move || run_sync_loop(&journal));
    if let Err(error) = spawned {
        warn_user(format_args!(
            "the thread that syncs the journal could not be started; values that are not delivered yet may be lost in a power failure: \
             {error}"
        ));
    }
}

fn run_sync_loop(journal: &Weak<Journal>) {
    // Time of the next sync, if there is something to sync.
    let mut due: Option<Instant> = None;
    let mut last: Option<Instant> = None;
    let mut is_draining = true;
    loop {
        let Some(strong) = journal.upgrade() else {
            return;
        };
        if due.is_none() {
            strong.wakeup.set_asleep(Sleeper::SyncThread);
        }
        let timeout = match due {
            Some(due) => Some(due.saturating_duration_since(Instant::now())),
            None if is_draining => Some(STORE_BUFFER_DRAIN),
            None => None,
        };
        // The journal is dropped with its last user, which wakes this thread.
        let signal = Arc::clone(&strong.wakeup.sync_signal);
        drop(strong);
        let request = signal.wait_for_request(timeout);
        let Some(strong) = journal.upgrade().filter(|_| !request.stop) else {
            return;
        };
        let silent = request.is_empty();
        let SyncRequest {
            appended,
            sync_now,
            stop: _,
        } = request;
        let now = Instant::now();
        if sync_now {
            let soon = last.map_or(now, |last| now.max(last + MIN_SYNC_INTERVAL));
            due = Some(due.map_or(soon, |due| due.min(soon)));
        } else if due.is_none() && (appended || (is_draining && strong.is_dirty())) {
            due = Some(now + SYNC_INTERVAL);
        } else if silent {
            is_draining = false;
        }
        if due.is_some_and(|due| due <= now) {
            // The flag is cleared before the sync: values of a later request may be too late for this sync.
            signal.is_sync_pending.swap(false, Ordering::AcqRel);
            strong.sync();
            last = Some(Instant::now());
            due = None;
            is_draining = true;
        }
    }
}
