//! How much a journal may hold, and what found no room.
//!
//! Invariants: what is essential (params, tags, starts and ends of runs) takes room beyond the
//! bounds, and says so, that nothing else may use that room; every value that found none is counted
//! once, by reason.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::time;

/// What the journal may hold where it has to live in memory.
pub(crate) const MAX_MEMORY_BYTES: u64 = 64 << 20;

/// How long, where neither disk nor memory had room, nobody asks again: that takes system calls, and
/// whoever logs would wait for them at every call.
const EXHAUSTED_BACKOFF_MS: i64 = 100;

/// Why a value found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// The journal holds as much as it may.
    JournalFull,
    /// It cannot be written to a disk, and the memory it may take is full.
    MemoryFull,
    /// It had room, in a file that somebody has removed since.
    Removed,
}

/// Whether room was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reservation {
    WithinLimit,
    /// Only for what is essential.
    OverLimit,
}

/// The bytes of one journal.
pub(super) struct Quota {
    max_bytes: u64,
    used_bytes: AtomicU64,
    /// Of these, what is not on disk.
    memory_bytes: AtomicU64,
    /// What is copied beside it, for runs that wait by themselves: the others must find room.
    copied_bytes: AtomicU64,
    /// When the disk may be asked again, in ms since the Unix epoch.
    exhausted_until_ms: AtomicI64,
    dropped: [AtomicU64; 3],
}

impl Quota {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            used_bytes: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
            copied_bytes: AtomicU64::new(0),
            exhausted_until_ms: AtomicI64::new(0),
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
    pub(super) fn shortage(&self) -> Option<DropReason> {
        if self.used_bytes() > self.max_bytes {
            Some(DropReason::JournalFull)
        } else if self.memory_bytes.load(Ordering::Relaxed) > MAX_MEMORY_BYTES {
            Some(DropReason::MemoryFull)
        } else {
            None
        }
    }

    /// Takes bytes of disk or memory; they have to be [given back](Self::release).
    pub(super) fn reserve(&self, bytes: u64, essential: bool) -> Result<Reservation, DropReason> {
        let used = self.used_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= self.max_bytes {
            return Ok(Reservation::WithinLimit);
        }
        if essential {
            return Ok(Reservation::OverLimit);
        }
        self.release(bytes);
        Err(DropReason::JournalFull)
    }

    pub(super) fn release(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Notes bytes of copied entries.
    pub(super) fn reserve_copied(&self, bytes: u64) {
        self.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn release_copied(&self, bytes: u64) {
        self.copied_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns the bytes of copied entries.
    pub(super) fn copied_bytes(&self) -> u64 {
        self.copied_bytes.load(Ordering::Relaxed)
    }

    /// Notes that bytes which were taken are memory.
    pub(super) fn reserve_memory(
        &self,
        bytes: u64,
        essential: bool,
    ) -> Result<Reservation, DropReason> {
        let used = self.memory_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= MAX_MEMORY_BYTES {
            return Ok(Reservation::WithinLimit);
        }
        if essential {
            return Ok(Reservation::OverLimit);
        }
        self.release_memory(bytes);
        Err(DropReason::MemoryFull)
    }

    /// Notes that not even the smallest segment finds room anywhere.
    pub(super) fn mark_exhausted(&self) {
        let until_ms = time::coarse_now_ms() + EXHAUSTED_BACKOFF_MS;
        self.exhausted_until_ms.store(until_ms, Ordering::Relaxed);
    }

    /// Whether a moment ago there was no room anywhere. A clock that was set back does not shut it.
    pub(super) fn is_exhausted(&self) -> bool {
        let left_ms = self.exhausted_until_ms.load(Ordering::Relaxed) - time::coarse_now_ms();
        (1..=EXHAUSTED_BACKOFF_MS).contains(&left_ms)
    }

    pub(super) fn release_memory(&self, bytes: u64) {
        self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.exhausted_until_ms.store(0, Ordering::Relaxed);
    }

    /// Counts values that found no room; true if they are the first for this reason.
    pub(super) fn count_dropped(&self, reason: DropReason, values: u64) -> bool {
        self.dropped[reason as usize].fetch_add(values, Ordering::Relaxed) == 0
    }

    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value asked the disk for a file, and its caller waited for the answer.
    #[test]
    fn where_there_is_no_room_at_all_nobody_asks_again_for_a_moment() {
        let room = Quota::new(1 << 30);
        assert!(!room.is_exhausted());
        room.mark_exhausted();
        assert!(room.is_exhausted());
        room.release_memory(0);
        assert!(!room.is_exhausted(), "there may be some again");
        room.mark_exhausted();
        let shut_ms = room.exhausted_until_ms.load(Ordering::Relaxed) - EXHAUSTED_BACKOFF_MS;
        while room.is_exhausted() {
            std::thread::yield_now();
        }
        assert!(time::coarse_now_ms() >= shut_ms + EXHAUSTED_BACKOFF_MS);
        // The clock is set back by an hour.
        room.exhausted_until_ms
            .fetch_add(3_600_000, Ordering::Relaxed);
        assert!(!room.is_exhausted());
    }
}
