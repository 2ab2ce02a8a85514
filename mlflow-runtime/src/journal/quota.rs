//! How much a journal may hold, and what found no room.
//!
//! Invariants: what is essential (params, tags, starts and ends of runs) takes room beyond the
//! bounds, and says so, that nothing else may use that room; every value that found none is counted
//! once, by reason.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::time;

/// What the journal may hold where it has to live in memory.
pub(crate) const MEMORY_BYTES: u64 = 64 << 20;

/// How long, where neither disk nor memory had room, nobody asks again: that takes system calls, and
/// whoever logs would wait for them at every call.
const SHUT_MS: i64 = 100;

/// Why a value found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The journal holds as much as it may.
    JournalFull,
    /// It cannot be written to a disk, and the memory it may take is full.
    MemoryFull,
    /// It had room, in a file that somebody has removed since.
    Removed,
}

/// Whether room was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Taken {
    Within,
    /// Only for what is essential.
    Beyond,
}

/// The bytes of one journal.
pub(super) struct Room {
    max_bytes: u64,
    used_bytes: AtomicU64,
    /// Of these, what is not on disk.
    memory_bytes: AtomicU64,
    /// What is copied beside it, for runs that wait by themselves: the others must find room.
    copied_bytes: AtomicU64,
    /// When the disk may be asked again, in ms since the Unix epoch.
    shut_until_ms: AtomicI64,
    dropped: [AtomicU64; 3],
}

impl Room {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            used_bytes: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
            copied_bytes: AtomicU64::new(0),
            shut_until_ms: AtomicI64::new(0),
            dropped: Default::default(),
        }
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Whether there is room for so much.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        self.used_bytes().saturating_add(bytes) <= self.max_bytes
    }

    /// Why no more than what is essential may be taken now, if that is so.
    pub(super) fn shortage(&self) -> Option<Reason> {
        if self.used_bytes() > self.max_bytes {
            Some(Reason::JournalFull)
        } else if self.memory_bytes.load(Ordering::Relaxed) > MEMORY_BYTES {
            Some(Reason::MemoryFull)
        } else {
            None
        }
    }

    /// Takes bytes of disk or memory; they have to be [given back](Self::give).
    pub(super) fn take(&self, bytes: u64, essential: bool) -> Result<Taken, Reason> {
        let used = self.used_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= self.max_bytes {
            return Ok(Taken::Within);
        }
        if essential {
            return Ok(Taken::Beyond);
        }
        self.give(bytes);
        Err(Reason::JournalFull)
    }

    pub(super) fn give(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Notes bytes of copied entries.
    pub(super) fn take_copied(&self, bytes: u64) {
        self.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_copied(&self, bytes: u64) {
        self.copied_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns the bytes of copied entries.
    pub(super) fn copied_bytes(&self) -> u64 {
        self.copied_bytes.load(Ordering::Relaxed)
    }

    /// Notes that bytes which were taken are memory.
    pub(super) fn take_memory(&self, bytes: u64, essential: bool) -> Result<Taken, Reason> {
        let used = self.memory_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= MEMORY_BYTES {
            return Ok(Taken::Within);
        }
        if essential {
            return Ok(Taken::Beyond);
        }
        self.give_memory(bytes);
        Err(Reason::MemoryFull)
    }

    /// Notes that not even the smallest segment finds room anywhere.
    pub(super) fn shut(&self) {
        let until_ms = time::coarse_now_ms() + SHUT_MS;
        self.shut_until_ms.store(until_ms, Ordering::Relaxed);
    }

    /// Whether a moment ago there was no room anywhere. A clock that was set back does not shut it.
    pub(super) fn is_shut(&self) -> bool {
        let left_ms = self.shut_until_ms.load(Ordering::Relaxed) - time::coarse_now_ms();
        (1..=SHUT_MS).contains(&left_ms)
    }

    pub(super) fn give_memory(&self, bytes: u64) {
        self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.shut_until_ms.store(0, Ordering::Relaxed);
    }

    /// Counts values that found no room; true if they are the first for this reason.
    pub(super) fn count_dropped(&self, reason: Reason, values: u64) -> bool {
        self.dropped[reason as usize].fetch_add(values, Ordering::Relaxed) == 0
    }

    pub(super) fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value asked the disk for a file, and its caller waited for the answer.
    #[test]
    fn where_there_is_no_room_at_all_nobody_asks_again_for_a_moment() {
        let room = Room::new(1 << 30);
        assert!(!room.is_shut());
        room.shut();
        assert!(room.is_shut());
        room.give_memory(0);
        assert!(!room.is_shut(), "there may be some again");
        room.shut();
        let shut_ms = room.shut_until_ms.load(Ordering::Relaxed) - SHUT_MS;
        while room.is_shut() {
            std::thread::yield_now();
        }
        assert!(time::coarse_now_ms() >= shut_ms + SHUT_MS);
        // The clock is set back by an hour.
        room.shut_until_ms.fetch_add(3_600_000, Ordering::Relaxed);
        assert!(!room.is_shut());
    }
}
