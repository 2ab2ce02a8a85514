//! What became of the values, in numbers.
//!
//! Invariant: every value of the journal is counted once, as delivered, rejected or lost; until then it
//! is held, for a person, or queued, which is what is left of [`Journal::value_count`](crate::journal::Journal::value_count).

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use crate::sync::lock;

/// Counters shared by the shipper, which writes them, and [`health`](crate::health).
#[derive(Default)]
pub(crate) struct Stats {
    /// Values of this process's journal that the store took.
    pub(crate) delivered: Counter,
    /// The same of the journals that dead processes left.
    pub(crate) delivered_from_orphans: Counter,
    /// Values of this process's journal that the store will never take.
    pub(crate) rejected: Counter,
    /// The same of the journals that dead processes left.
    pub(crate) rejected_from_orphans: Counter,
    /// Params of runs' starts that the store will never take: a start is one value, whatever became of them.
    pub(crate) rejected_start_params: Counter,
    /// Of the rejected ones of all, those that are kept.
    pub(crate) rejected_kept: Counter,
    /// Values that never came into the journal: a file that is not there.
    pub(crate) not_logged: Counter,
    /// Values of this process's journal that would have waited by themselves, and found no room there.
    pub(crate) lost: Counter,
    /// Values of this process's journal that the store takes only when a person has acted.
    pub(crate) blocked: Gauge,
    /// The same of the journals that dead processes left.
    pub(crate) blocked_in_orphans: Gauge,
    /// Consoles that the store takes only when a person has acted: no values of the journal.
    pub(crate) blocked_consoles: Gauge,
    /// Consoles that the store will never take.
    pub(crate) rejected_consoles: Counter,
    /// Journals that dead processes left which are being shipped: none or one.
    pub(crate) orphans_in_progress: Gauge,
    /// Records of journals that could not be read.
    pub(crate) damaged: Counter,
    /// Requests sent again.
    pub(crate) retried: Counter,
    /// What was said of the first values that the store will not take now.
    refusals: Mutex<Vec<String>>,
    /// Why values of this process's journal are held, the first time.
    first_blocked_reason: Mutex<Option<String>>,
    /// The same of the journals that dead processes left.
    first_orphan_blocked_reason: Mutex<Option<String>>,
    /// Where these journals lie.
    blocked_folders: Mutex<Vec<PathBuf>>,
    /// Why values that were refused could not be kept, the first time.
    keep_error: Mutex<Option<String>>,
    /// Why the store does not take values now.
    store_error: Mutex<Option<String>>,
    /// Why a run or artifact waits by itself, the last time.
    last_stuck_reason: Mutex<Option<String>>,
    connection: AtomicU8,
    /// The time, in ms, of the oldest value on its way; [`NO_TIME`] if there is none.
    oldest_ms: AtomicI64,
}

const NO_TIME: i64 = 0;

/// How many are kept.
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

/// How the shipper and the store get along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Nothing was sent yet.
    Untried,
    Connected,
    /// The last attempt failed.
    Retrying,
    /// So did every one of the last `max_retries`.
    Unavailable,
}

impl Stats {
    /// Returns how many values of this process's journal need nothing more.
    pub(crate) fn settled(&self) -> u64 {
        self.delivered.get() + self.rejected.get() + self.lost.get()
    }

    /// Returns how many values the store took, whosever they are.
    pub(crate) fn total_delivered(&self) -> u64 {
        self.delivered.get() + self.delivered_from_orphans.get()
    }

    /// Returns how many values the store will never take, or was never asked to, whosever they are.
    pub(crate) fn total_rejected(&self) -> u64 {
        self.total_refused() + self.not_logged.get()
    }

    /// Returns how many values the store has refused for good, whosever they are.
    pub(crate) fn total_refused(&self) -> u64 {
        let of_journals = self.rejected.get() + self.rejected_from_orphans.get();
        of_journals + self.rejected_start_params.get() + self.rejected_consoles.get()
    }

    /// Returns how many values wait for a person, whosever they are.
    pub(crate) fn total_blocked(&self) -> u64 {
        self.blocked.get() + self.blocked_in_orphans.get() + self.blocked_consoles.get()
    }

    /// Returns how many values of this process's wait for a person.
    pub(crate) fn own_blocked(&self) -> u64 {
        self.blocked.get() + self.blocked_consoles.get()
    }

    /// Returns how many values of this process's the store has refused for good.
    pub(crate) fn own_refused(&self) -> u64 {
        self.rejected.get() + self.rejected_start_params.get() + self.rejected_consoles.get()
    }

    /// Tells how many values of journals that dead processes left wait for a person, and where these lie.
    pub(crate) fn set_blocked_in_orphans(
        &self,
        held: usize,
        folders: impl Iterator<Item = PathBuf>,
    ) {
        self.blocked_in_orphans.set(held);
        let mut known = lock(&self.blocked_folders);
        known.clear();
        known.extend(folders);
        known.sort();
    }

    /// Returns where the journals lie that dead processes left, and that wait for a person.
    pub(crate) fn blocked_folders(&self) -> Vec<PathBuf> {
        lock(&self.blocked_folders).clone()
    }

    /// Remembers why values of this process's journal, or of a dead one's, are held.
    pub(crate) fn record_blocked(&self, is_own: bool, reason: &str) {
        let first = if is_own {
            &self.first_blocked_reason
        } else {
            &self.first_orphan_blocked_reason
        };
        lock(first).get_or_insert_with(|| reason.to_owned());
        self.record_refusal(|| format!("values stay in the journal: {reason}"));
    }

    /// Returns why the first values of this process's journal, or of a dead one's, were held, as the end of a line.
    pub(crate) fn describe_first_blocked(&self, is_own: bool) -> String {
        let first = if is_own {
            &self.first_blocked_reason
        } else {
            &self.first_orphan_blocked_reason
        };
        let first = lock(first);
        first
            .as_ref()
            .map_or_else(String::new, |said| format!(" (first: {said})"))
    }

    /// Remembers why a value was set aside or held, as far as there is room.
    pub(crate) fn record_refusal(&self, said: impl FnOnce() -> String) {
        let mut refusals = lock(&self.refusals);
        if refusals.len() < MAX_REFUSALS {
            refusals.push(said());
        }
    }

    /// Returns the first reason whose text has these words, as the end of a line.
    pub(crate) fn describe_first_refusal(&self, words: &str) -> String {
        let refusals = lock(&self.refusals);
        let first = refusals.iter().find(|said| said.contains(words));
        first.map_or_else(String::new, |said| format!(" (first: {said})"))
    }

    /// Remembers why a value that was refused could not be kept. Returns whether it is the first one.
    pub(crate) fn record_keep_error(&self, fault: impl Display) -> bool {
        let mut first = lock(&self.keep_error);
        let is_first = first.is_none();
        first.get_or_insert_with(|| fault.to_string());
        is_first
    }

    /// Notes why the store does not take values, or that it does.
    pub(crate) fn set_store_error(&self, reason: Option<String>) {
        *lock(&self.store_error) = reason;
    }

    /// Notes why a run or artifact waits by itself.
    pub(crate) fn record_stuck_reason(&self, reason: &str) {
        *lock(&self.last_stuck_reason) = Some(reason.to_owned());
    }

    /// Returns why values wait, where the store does not take any, else where it does not take some.
    pub(crate) fn waiting_reason(&self) -> Option<String> {
        let trouble = lock(&self.store_error).clone();
        trouble.or_else(|| lock(&self.last_stuck_reason).clone())
    }

    /// Returns why the first value that was refused and not kept could not be.
    pub(crate) fn keep_error(&self) -> Option<String> {
        lock(&self.keep_error).clone()
    }

    /// What was said of the first ones.
    pub(crate) fn refusals(&self) -> Vec<String> {
        lock(&self.refusals).clone()
    }

    /// When the oldest value was logged that is on its way to the store.
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
