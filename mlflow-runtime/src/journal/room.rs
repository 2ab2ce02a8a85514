//! How much a journal may hold, and what found no room.
//!
//! Invariants: what is essential (params, tags, starts and ends of runs) takes room beyond the
//! bounds; every value that found none is counted once, by reason, and the first of each reason
//! warns.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the journal may hold where it has to live in memory.
pub(crate) const MEMORY_BYTES: u64 = 64 << 20;

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

/// The bytes of one journal.
pub(super) struct Room {
    max_bytes: u64,
    used_bytes: AtomicU64,
    /// Of these, what is not on disk.
    memory_bytes: AtomicU64,
    dropped: [AtomicU64; 3],
}

impl Room {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            used_bytes: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
            dropped: Default::default(),
        }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Takes bytes of disk or memory; they have to be [given back](Self::give).
    pub(super) fn take(&self, bytes: u64, essential: bool) -> Result<(), Reason> {
        let used = self.used_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= self.max_bytes || essential {
            return Ok(());
        }
        self.give(bytes);
        Err(Reason::JournalFull)
    }

    pub(super) fn give(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Notes that bytes which were taken are memory.
    pub(super) fn take_memory(&self, bytes: u64, essential: bool) -> Result<(), Reason> {
        let used = self.memory_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= MEMORY_BYTES || essential {
            return Ok(());
        }
        self.give_memory(bytes);
        Err(Reason::MemoryFull)
    }

    pub(super) fn give_memory(&self, bytes: u64) {
        self.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts a value that found no room.
    #[cold]
    pub(super) fn count_dropped(&self, reason: Reason) {
        self.count_all_dropped(reason, 1);
    }

    pub(super) fn count_all_dropped(&self, reason: Reason, values: u64) {
        if self.dropped[reason as usize].fetch_add(values, Ordering::Relaxed) > 0 {
            return;
        }
        match reason {
            Reason::JournalFull => tracing::warn!(
                target: "mlflow", max_bytes = self.max_bytes,
                "the journal is full; metrics and artifacts are dropped until the store has taken some. \
                 Raise MLFLOW_JOURNAL_MAX_BYTES to keep more"
            ),
            Reason::MemoryFull => tracing::warn!(
                target: "mlflow", max_bytes = MEMORY_BYTES,
                "the memory that the journal may take is full; metrics are dropped until the store has taken \
                 some. Set MLFLOW_JOURNAL_DIR to a directory that can be written"
            ),
            Reason::Removed => tracing::warn!(
                target: "mlflow",
                "files of the journal were removed before the store had taken their values, which are lost. \
                 Set MLFLOW_JOURNAL_DIR to a directory that nobody clears"
            ),
        }
    }

    pub(super) fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }
}
