//! Counters of what became of the values.
//!
//! Invariant: every value of the journal is counted once, as delivered, rejected or lost. Until then it is
//! blocked, until a person acts, or queued. The queued ones are the rest of
//! [`Journal::value_count`](crate::journal::Journal::value_count).

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::store::Uploads;
use crate::sync::lock;
use crate::warnings::mask_credentials;

/// A message about a value that was not delivered.
#[derive(Debug)]
struct Refusal {
    kind: RefusalKind,
    message: String,
}

/// The reason why a value was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// The library could not log the value.
    NotLogged,
    /// The store rejected the value for good.
    Rejected,
    /// The store accepts the value only after somebody has acted.
    Blocked,
}

/// Counters shared by the shipper, which writes them, and [`health`](crate::health).
#[derive(Default)]
pub(crate) struct Stats {
    /// Values of this process's journal that the store has accepted.
    pub(crate) delivered: Counter,
    /// Values of orphaned journals that the store has accepted.
    pub(crate) delivered_from_orphans: Counter,
    /// Values of this process's journal that the store will never accept.
    pub(crate) rejected: Counter,
    /// Values of orphaned journals that the store will never accept.
    pub(crate) rejected_from_orphans: Counter,
    /// Params of runs' starts that the store will never accept. They are counted separately: a start is one
    /// value, whatever became of its params.
    pub(crate) rejected_start_params: Counter,
    /// Rejected entries, of all journals, that are kept in the folder of rejected entries.
    pub(crate) rejected_kept: Counter,
    /// Values that never reached the journal, e.g. an artifact whose file does not exist.
    pub(crate) not_logged: Counter,
    /// Values of this process's journal that were lost: they could not be read, or had to wait when no space
    /// was left for their copies.
    pub(crate) lost: Counter,
    /// Values of this process's journal that the store accepts only after a person has acted.
    pub(crate) blocked: Gauge,
    /// Values of orphaned journals that the store accepts only after a person has acted.
    pub(crate) blocked_in_orphans: Gauge,
    /// Console logs that the store accepts only after a person has acted. They are no values of the journal.
    pub(crate) blocked_consoles: Gauge,
    /// Console logs that the store will never accept.
    pub(crate) rejected_consoles: Counter,
    /// Orphaned journals that are being shipped: none or one.
    pub(crate) orphans_in_progress: Gauge,
    /// Records of journals that could not be read.
    pub(crate) damaged: Counter,
    /// Attempts that failed and are repeated.
    pub(crate) retried: Counter,
    /// Requests for values that are in flight at once while many wait.
    pub(crate) concurrent_requests: Gauge,
    /// Points that were left out of the metrics, on request, those of orphaned journals included.
    pub(crate) thinned: Counter,
    /// Points that are left out of the metrics, and gather in this process's journal for their file.
    pub(crate) thinned_waiting: Gauge,
    /// Artifacts that are being uploaded.
    pub(crate) uploads: Arc<Uploads>,
    /// Messages about the first values that are rejected or blocked.
    refusals: Mutex<Vec<Refusal>>,
    /// First reason why values of this process's journal are blocked.
    first_blocked_reason: Mutex<Option<String>>,
    /// First reason why values of orphaned journals are blocked.
    first_orphan_blocked_reason: Mutex<Option<String>>,
    /// Directories of the orphaned journals that hold blocked values.
    blocked_folders: Mutex<Vec<PathBuf>>,
    /// First reason why rejected values could not be kept.
    keep_error: Mutex<Option<String>>,
    /// Reason why the store does not accept values now.
    store_error: Mutex<Option<String>>,
    /// Latest reason why a run or artifact waits alone.
    last_stuck_reason: Mutex<Option<String>>,
    /// A [`Connection`], as its number.
    connection: AtomicU8,
    /// Time of the oldest value that is not delivered, in ms since the Unix epoch; [`NO_TIME`] if there is
    /// none.
    oldest_ms: AtomicI64,
}

const NO_TIME: i64 = 0;

/// Number of messages that are kept.
const MAX_REFUSALS: usize = 16;

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn set(&self, count: usize) {
        self.0.store(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// State of the connection to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Nothing was sent yet.
    Untried,
    Connected,
    /// The last attempt failed.
    Retrying,
    /// More than `max_retries` attempts in a row have failed, or the store refuses everything until a person
    /// acts, or it could not be opened.
    Unavailable,
}

impl Stats {
    /// Returns how many values of this process's journal are delivered, rejected or lost.
    pub(crate) fn settled(&self) -> u64 {
        self.delivered.get() + self.rejected.get() + self.lost.get()
    }

    /// Returns how many values the store has accepted, orphaned journals included.
    pub(crate) fn total_delivered(&self) -> u64 {
        self.delivered.get() + self.delivered_from_orphans.get()
    }

    /// Returns how many values the store will never accept, orphaned journals included, and those that never
    /// reached the journal.
    pub(crate) fn total_rejected(&self) -> u64 {
        self.total_refused() + self.not_logged.get()
    }

    /// Returns how many values the store has rejected, orphaned journals and console logs included.
    pub(crate) fn total_refused(&self) -> u64 {
        let of_journals = self.rejected.get() + self.rejected_from_orphans.get();
        of_journals + self.rejected_start_params.get() + self.rejected_consoles.get()
    }

    /// Returns how many values are blocked until a person acts, orphaned journals and console logs included.
    pub(crate) fn total_blocked(&self) -> u64 {
        self.blocked.get() + self.blocked_in_orphans.get() + self.blocked_consoles.get()
    }

    /// Returns how many values and console logs of this process are blocked until a person acts.
    pub(crate) fn own_blocked(&self) -> u64 {
        self.blocked.get() + self.blocked_consoles.get()
    }

    /// Returns how many values of this process, params of starts and console logs the store has rejected.
    /// Params of starts and console logs of orphaned journals are included, as they are not counted
    /// separately.
    pub(crate) fn own_refused(&self) -> u64 {
        self.rejected.get() + self.rejected_start_params.get() + self.rejected_consoles.get()
    }

    /// Sets the number of blocked values in orphaned journals, and the directories of these journals.
    pub(crate) fn set_blocked_in_orphans(
        &self,
        blocked: usize,
        folders: impl Iterator<Item = PathBuf>,
    ) {
        self.blocked_in_orphans.set(blocked);
        let mut known = lock(&self.blocked_folders);
        known.clear();
        known.extend(folders);
        known.sort();
    }

    /// Returns the directories of the orphaned journals that hold blocked values, sorted.
    pub(crate) fn blocked_folders(&self) -> Vec<PathBuf> {
        lock(&self.blocked_folders).clone()
    }

    /// Records why values of this process's journal, or else of an orphaned one, are blocked.
    pub(crate) fn record_blocked(&self, is_own: bool, reason: &str) {
        let first = if is_own {
            &self.first_blocked_reason
        } else {
            &self.first_orphan_blocked_reason
        };
        lock(first).get_or_insert_with(|| mask_credentials(reason.to_owned()));
        self.record_refusal(RefusalKind::Blocked, || {
            format!("values stay in the journal: {reason}")
        });
    }

    /// Returns why the first values of this process's journal, or else of an orphaned one, were blocked. The
    /// text is the end of a line, ` (first: …)`, and empty if none are.
    pub(crate) fn describe_first_blocked(&self, is_own: bool) -> String {
        let first = self.first_blocked_reason(is_own);
        first.map_or_else(String::new, |said| format!(" (first: {said})"))
    }

    /// Returns why the first values of this process's journal, or else of an orphaned one, were blocked.
    pub(crate) fn first_blocked_reason(&self, is_own: bool) -> Option<String> {
        let first = if is_own {
            &self.first_blocked_reason
        } else {
            &self.first_orphan_blocked_reason
        };
        lock(first).clone()
    }

    /// Records the message about a rejected or blocked value. Only the first [`MAX_REFUSALS`] are kept.
    pub(crate) fn record_refusal(&self, kind: RefusalKind, message: impl FnOnce() -> String) {
        let mut refusals = lock(&self.refusals);
        if refusals.len() < MAX_REFUSALS {
            let message = mask_credentials(message());
            refusals.push(Refusal { kind, message });
        }
    }

    /// Returns the first message of this kind, as the end of a line: ` (first: …)`, or empty.
    pub(crate) fn describe_first_refusal(&self, kind: RefusalKind) -> String {
        let refusals = lock(&self.refusals);
        let first = refusals.iter().find(|refusal| refusal.kind == kind);
        first.map_or_else(String::new, |Refusal { message, .. }| {
            format!(" (first: {message})")
        })
    }

    /// Records why a rejected value could not be kept. Returns true if it is the first one.
    pub(crate) fn record_keep_error(&self, fault: impl Display) -> bool {
        let mut first = lock(&self.keep_error);
        let is_first = first.is_none();
        first.get_or_insert_with(|| fault.to_string());
        is_first
    }

    /// Sets the reason why the store does not accept values, or `None` if it does.
    pub(crate) fn set_store_error(&self, reason: Option<String>) {
        *lock(&self.store_error) = reason.map(mask_credentials);
    }

    /// Records why a run or artifact waits alone.
    pub(crate) fn record_stuck_reason(&self, reason: &str) {
        *lock(&self.last_stuck_reason) = Some(mask_credentials(reason.to_owned()));
    }

    /// Returns why values wait: the reason why the store accepts nothing, else the latest one why a run or
    /// artifact waits alone.
    pub(crate) fn waiting_reason(&self) -> Option<String> {
        let trouble = lock(&self.store_error).clone();
        trouble.or_else(|| lock(&self.last_stuck_reason).clone())
    }

    /// Returns why the first rejected value that was not kept could not be kept.
    pub(crate) fn keep_error(&self) -> Option<String> {
        lock(&self.keep_error).clone()
    }

    /// Returns the messages about the first values that were rejected or blocked.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let refusals = lock(&self.refusals);
        let messages = refusals.iter().map(|refusal| refusal.message.clone());
        messages.collect()
    }

    /// Returns the time of the oldest value that is not delivered, in ms since the Unix epoch.
    pub(crate) fn oldest_time_ms(&self) -> Option<i64> {
        Some(self.oldest_ms.load(Ordering::Relaxed)).filter(|ms| *ms != NO_TIME)
    }

    pub(crate) fn set_oldest_time_ms(&self, ms: Option<i64>) {
        self.oldest_ms
            .store(ms.unwrap_or(NO_TIME), Ordering::Relaxed);
    }

    pub(crate) fn set_connection(&self, connection: Connection) {
        self.connection.store(connection as u8, Ordering::Relaxed);
    }

    pub(crate) fn connection(&self) -> Connection {
        match self.connection.load(Ordering::Relaxed) {
            1 => Connection::Connected,
            2 => Connection::Retrying,
            3 => Connection::Unavailable,
            _ => Connection::Untried,
        }
    }
}
