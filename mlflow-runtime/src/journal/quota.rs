//! Quota of a journal: the bytes that it may hold, and counts of what found no space.
//!
//! Invariants: an essential record (a param, a tag, the start or end of a run, the event of a spooled
//! artifact) takes space beyond the bounds. Its reservation is then [`OverLimit`](Reservation::OverLimit), so
//! that no other record uses that space. Every value that found no space is counted once, by reason.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::time;

/// Bytes that the journal may hold in memory, for want of a disk that can be written.
pub(crate) const MAX_MEMORY_BYTES: u64 = 64 << 20;

/// Time, in milliseconds, for which no thread tries to open a segment after neither disk nor memory had
/// space. Each attempt takes system calls, and a thread that logs would wait for them at every call.
const EXHAUSTED_BACKOFF_MS: i64 = 100;

/// Reason why a value was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// Journal at its configured bound.
    JournalFull,
    /// Memory of the journal full, while no disk can be written.
    MemoryFull,
    /// File with the value removed by somebody else.
    Removed,
}

/// Result of a successful reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reservation {
    WithinLimit,
    /// Space beyond the bound, only for essential records.
    OverLimit,
}

/// Bytes of one journal.
pub(super) struct Quota {
    max_bytes: u64,
    used_bytes: AtomicU64,
    /// Bytes of segments in memory.
    memory_bytes: AtomicU64,
    /// Bytes of copied entries, for runs that wait by themselves. They are counted apart, so that other runs
    /// find space.
    copied_bytes: AtomicU64,
    /// End of the time for which no segment is opened, in ms since the Unix epoch.
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

    /// Returns true if `bytes` more are within the bound.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        self.used_bytes().saturating_add(bytes) <= self.max_bytes
    }

    /// Returns the reason why only essential records may take space now; `None` if there is space for all.
    pub(super) fn shortage(&self) -> Option<DropReason> {
        if self.used_bytes() > self.max_bytes {
            Some(DropReason::JournalFull)
        } else if self.memory_bytes.load(Ordering::Relaxed) > MAX_MEMORY_BYTES {
            Some(DropReason::MemoryFull)
        } else {
            None
        }
    }

    /// Reserves bytes of disk or memory. They have to be [released](Self::release).
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

    /// Counts bytes of copied entries.
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

    /// Reserves bytes of memory, in addition to [`reserve`](Self::reserve). They have to be
    /// [released](Self::release_memory).
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

    /// Records that not even the smallest segment finds space anywhere.
    pub(super) fn mark_exhausted(&self) {
        let until_ms = time::coarse_now_ms() + EXHAUSTED_BACKOFF_MS;
        self.exhausted_until_ms.store(until_ms, Ordering::Relaxed);
    }

    /// Returns true if a moment ago there was no space anywhere. A clock that was set back does not prolong
    /// that.
    pub(super) fn is_exhausted(&self) -> bool {
        let left_ms = self.exhausted_until_ms.load(Ordering::Relaxed) - time::coarse_now_ms();
        (1..=EXHAUSTED_BACKOFF_MS).contains(&left_ms)
    }

    pub(super) fn release_memory(&self, bytes: u64) {
        self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.exhausted_until_ms.store(0, Ordering::Relaxed);
    }

    /// Counts dropped values. Returns true if they are the first ones for this reason.
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

    /// Before, every value tried to create a file, and its caller waited for the result.
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
        // As if the clock had been set back by an hour.
        room.exhausted_until_ms
            .fetch_add(3_600_000, Ordering::Relaxed);
        assert!(!room.is_exhausted());
    }
}
