//! Requests to the [sync thread](super::sync_thread).
//!
//! Invariant: requests that are made before the thread takes one are a single request, so a thousand runs that end
//! together wake the thread once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::sync::{ignore_poison, lock};

/// Pending request to the sync thread, shared by all threads that make one.
#[derive(Default)]
pub(super) struct SyncSignal {
    request: Mutex<SyncRequest>,
    changed: Condvar,
    /// True while a sync of everything appended until now is requested and has not begun.
    pub(super) is_sync_pending: AtomicBool,
}

/// Request that the thread takes as a whole.
#[derive(Default)]
pub(super) struct SyncRequest {
    /// Set when something was appended after a silence.
    pub(super) appended: bool,
    /// Set when a segment is full or a run has ended.
    pub(super) sync_now: bool,
    /// Set when the journal is dropped.
    pub(super) stop: bool,
}

impl SyncRequest {
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            appended,
            sync_now,
            stop,
        } = self;
        !(*appended || *sync_now || *stop)
    }
}

impl SyncSignal {
    fn update_request(&self, change: impl FnOnce(&mut SyncRequest)) {
        change(&mut lock(&self.request));
        self.changed.notify_one();
    }

    pub(super) fn notify_appended(&self) {
        self.update_request(|request| request.appended = true);
    }

    /// Requests a sync soon, because a segment is full or a run has ended.
    pub(super) fn request_sync(&self) {
        // A single request is enough for a thousand runs that end within the interval; each further one would
        // wake the thread.
        if !self.is_sync_pending.swap(true, Ordering::AcqRel) {
            self.update_request(|request| request.sync_now = true);
        }
    }

    pub(super) fn stop(&self) {
        self.update_request(|request| request.stop = true);
    }

    /// Waits for a request, for `timeout` at most if there is one, and takes it.
    pub(super) fn wait_for_request(&self, timeout: Option<Duration>) -> SyncRequest {
        let request = lock(&self.request);
        let mut request = match timeout {
            None => ignore_poison(
                self.changed
                    .wait_while(request, |request| request.is_empty()),
            ),
            Some(timeout) => {
                let waited = self
                    .changed
                    .wait_timeout_while(request, timeout, |request| request.is_empty());
                ignore_poison(waited).0
            }
        };
        std::mem::take(&mut request)
    }
}
