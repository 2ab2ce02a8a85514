//! What became of the values, in numbers.
//!
//! Invariant: every value of the journal is counted once, as delivered, rejected or lost; until then it
//! is held, for a person, or queued, which is what is left of [`Journal::values`](crate::journal::Journal::values).

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
    pub(crate) delivered_of_dead: Counter,
    /// Values of this process's journal that the store will never take.
    pub(crate) rejected: Counter,
    /// The same of the journals that dead processes left.
    pub(crate) rejected_of_dead: Counter,
    /// Params of runs' starts that the store will never take: a start is one value, whatever became of them.
    pub(crate) rejected_of_starts: Counter,
    /// Of the rejected ones of all, those that are kept.
    pub(crate) kept: Counter,
    /// Values that never came into the journal: a file that is not there.
    pub(crate) not_logged: Counter,
    /// Values of this process's journal that would have waited by themselves, and found no room there.
    pub(crate) lost: Counter,
    /// Values of this process's journal that the store takes only when a person has acted.
    pub(crate) held: Gauge,
    /// The same of the journals that dead processes left.
    pub(crate) held_of_dead: Gauge,
    /// Consoles that the store takes only when a person has acted: no values of the journal.
    pub(crate) held_consoles: Gauge,
    /// Consoles that the store will never take.
    pub(crate) rejected_consoles: Counter,
    /// Journals that dead processes left which are being shipped: none or one.
    pub(crate) dead_under_way: Gauge,
    /// Records of journals that could not be read.
    pub(crate) damaged: Counter,
    /// Requests sent again.
    pub(crate) retried: Counter,
    /// What was said of the first values that the store will not take now.
    refusals: Mutex<Vec<String>>,
    /// Why values of this process's journal are held, the first time.
    held_as: Mutex<Option<String>>,
    /// The same of the journals that dead processes left.
    held_of_dead_as: Mutex<Option<String>>,
    /// Where these journals lie.
    held_folders: Mutex<Vec<PathBuf>>,
    /// Why values that were refused could not be kept, the first time.
    keep_fault: Mutex<Option<String>>,
    /// Why the store does not take values now.
    trouble: Mutex<Option<String>>,
    /// Why a run or artifact waits by itself, the last time.
    stuck: Mutex<Option<String>>,
    connection: AtomicU8,
    /// The time, in ms, of the oldest value on its way; [`NONE`] if there is none.
    oldest_ms: AtomicI64,
}

const NONE: i64 = 0;

/// How many are kept.
const REFUSALS: usize = 16;

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
    Waiting,
    /// So did every one of the last `max_retries`.
    Away,
}

impl Stats {
    /// Returns how many values of this process's journal need nothing more.
    pub(crate) fn settled(&self) -> u64 {
        self.delivered.get() + self.rejected.get() + self.lost.get()
    }

    /// Returns how many values the store took, whosever they are.
    pub(crate) fn all_delivered(&self) -> u64 {
        self.delivered.get() + self.delivered_of_dead.get()
    }

    /// Returns how many values the store will never take, or was never asked to, whosever they are.
    pub(crate) fn all_rejected(&self) -> u64 {
        self.all_refused() + self.not_logged.get()
    }

    /// Returns how many values the store has refused for good, whosever they are.
    pub(crate) fn all_refused(&self) -> u64 {
        let of_journals = self.rejected.get() + self.rejected_of_dead.get();
        of_journals + self.rejected_of_starts.get() + self.rejected_consoles.get()
    }

    /// Returns how many values wait for a person, whosever they are.
    pub(crate) fn all_held(&self) -> u64 {
        self.held.get() + self.held_of_dead.get() + self.held_consoles.get()
    }

    /// Returns how many values of this process's wait for a person.
    pub(crate) fn own_held(&self) -> u64 {
        self.held.get() + self.held_consoles.get()
    }

    /// Returns how many values of this process's the store has refused for good.
    pub(crate) fn own_refused(&self) -> u64 {
        self.rejected.get() + self.rejected_of_starts.get() + self.rejected_consoles.get()
    }

    /// Tells how many values of journals that dead processes left wait for a person, and where these lie.
    pub(crate) fn set_held_of_dead(&self, held: usize, folders: impl Iterator<Item = PathBuf>) {
        self.held_of_dead.set(held);
        let mut known = lock(&self.held_folders);
        known.clear();
        known.extend(folders);
        known.sort();
    }

    /// Returns where the journals lie that dead processes left, and that wait for a person.
    pub(crate) fn held_folders(&self) -> Vec<PathBuf> {
        lock(&self.held_folders).clone()
    }

    /// Remembers why values of this process's journal, or of a dead one's, are held.
    pub(crate) fn note_held(&self, is_own: bool, reason: &str) {
        let first = if is_own {
            &self.held_as
        } else {
            &self.held_of_dead_as
        };
        lock(first).get_or_insert_with(|| reason.to_owned());
        self.note_refusal(|| format!("values stay in the journal: {reason}"));
    }

    /// Returns why the first values of this process's journal, or of a dead one's, were held, as the end of a line.
    pub(crate) fn first_held(&self, is_own: bool) -> String {
        let first = if is_own {
            &self.held_as
        } else {
            &self.held_of_dead_as
        };
        let first = lock(first);
        first
            .as_ref()
            .map_or_else(String::new, |said| format!(" (first: {said})"))
    }

    /// Remembers why a value was set aside or held, as far as there is room.
    pub(crate) fn note_refusal(&self, said: impl FnOnce() -> String) {
        let mut refusals = lock(&self.refusals);
        if refusals.len() < REFUSALS {
            refusals.push(said());
        }
    }

    /// Returns the first reason whose text has these words, as the end of a line.
    pub(crate) fn first_refusal(&self, words: &str) -> String {
        let refusals = lock(&self.refusals);
        let first = refusals.iter().find(|said| said.contains(words));
        first.map_or_else(String::new, |said| format!(" (first: {said})"))
    }

    /// Remembers why a value that was refused could not be kept. Returns whether it is the first one.
    pub(crate) fn note_keep_fault(&self, fault: impl Display) -> bool {
        let mut first = lock(&self.keep_fault);
        let is_first = first.is_none();
        first.get_or_insert_with(|| fault.to_string());
        is_first
    }

    /// Notes why the store does not take values, or that it does.
    pub(crate) fn set_trouble(&self, reason: Option<String>) {
        *lock(&self.trouble) = reason;
    }

    /// Notes why a run or artifact waits by itself.
    pub(crate) fn note_stuck(&self, reason: &str) {
        *lock(&self.stuck) = Some(reason.to_owned());
    }

    /// Returns why values wait, where the store does not take any, else where it does not take some.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = lock(&self.trouble).clone();
        trouble.or_else(|| lock(&self.stuck).clone())
    }

    /// Returns why the first value that was refused and not kept could not be.
    pub(crate) fn keep_fault(&self) -> Option<String> {
        lock(&self.keep_fault).clone()
    }

    /// What was said of the first ones.
    pub(crate) fn refusals(&self) -> Vec<String> {
        lock(&self.refusals).clone()
    }

    /// When the oldest value was logged that is on its way to the store.
    pub(crate) fn oldest(&self) -> Option<i64> {
        Some(self.oldest_ms.load(Ordering::Relaxed)).filter(|ms| *ms != NONE)
    }

    pub(crate) fn set_oldest(&self, ms: Option<i64>) {
        self.oldest_ms.store(ms.unwrap_or(NONE), Ordering::Relaxed);
    }

    pub(crate) fn set_connection(&self, connection: Connection) {
        self.connection.store(connection as u8, Ordering::Relaxed);
    }

    pub(crate) fn connection(&self) -> Connection {
        match self.connection.load(Ordering::Relaxed) {
            1 => Connection::Connected,
            2 => Connection::Waiting,
            3 => Connection::Away,
            _ => Connection::Untried,
        }
    }
}
