//! What became of the values, in numbers.
//!
//! Invariant: every record of the journal is settled once, as delivered, rejected or held, or is
//! still queued.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use crate::tracker::lock;

/// Counters shared by the shipper, which writes them, and [`health`](crate::health).
#[derive(Default)]
pub(crate) struct Stats {
    /// Values of this process's journal that are delivered, set aside or held: no longer queued.
    pub(crate) settled: Counter,
    /// Values the store took.
    pub(crate) delivered: Counter,
    /// Values the store will never take.
    pub(crate) rejected: Counter,
    /// Values kept for a run that takes none until a person acts.
    pub(crate) held: Counter,
    /// Records of journals that could not be read.
    pub(crate) damaged: Counter,
    /// Requests sent again.
    pub(crate) retried: Counter,
    /// What was said of the first values that the store will not take now.
    refusals: Mutex<Vec<String>>,
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
    /// Remembers why a value was set aside or held, as far as there is room.
    pub(crate) fn note_refusal(&self, said: impl FnOnce() -> String) {
        let mut refusals = lock(&self.refusals);
        if refusals.len() < REFUSALS {
            refusals.push(said());
        }
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
