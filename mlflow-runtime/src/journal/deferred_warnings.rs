//! Deferred warnings: warnings about the journal, kept until they can be logged safely.
//!
//! Invariant: no warning is logged while a writer is in use or a lock is held, because a subscriber may log
//! to a run, and would then wait for itself. The code that finds a problem [adds](DeferredWarnings::push) a
//! warning, and the caller that holds no lock any more [logs](DeferredWarnings::emit) it.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::journal::quota::DropReason;
use crate::sync::lock;
use crate::warnings::{warn_user, warn_without_dedup};

/// Warnings of one journal that were not logged yet.
#[derive(Default)]
pub(super) struct DeferredWarnings {
    has_pending: AtomicBool,
    pending: Mutex<Vec<DeferredWarning>>,
}

pub(super) enum DeferredWarning {
    /// Value dropped, the first for this reason; with the journal's bound.
    Dropped { reason: DropReason, max_bytes: u64 },
    /// Metric kept under another name than its key; the line to log.
    KeyName { line: String },
    /// Segment in memory, because its file could not be created.
    InMemory { error: io::Error, root: PathBuf },
}

impl DeferredWarnings {
    #[cold]
    pub(super) fn push(&self, warning: DeferredWarning) {
        lock(&self.pending).push(warning);
        self.has_pending.store(true, Ordering::Release);
    }

    /// Logs all pending warnings. Costs one relaxed load where there are none.
    #[inline]
    pub(super) fn emit(&self) {
        if self.has_pending.load(Ordering::Relaxed) {
            self.emit_all();
        }
    }

    #[cold]
    fn emit_all(&self) {
        self.has_pending.store(false, Ordering::Relaxed);
        let untold = std::mem::take(&mut *lock(&self.pending));
        untold.into_iter().for_each(DeferredWarning::log);
    }
}

impl DeferredWarning {
    fn log(self) {
        match self {
            Self::Dropped { reason, max_bytes } => match reason {
                DropReason::JournalFull => warn_user(format_args!(
                    "the journal is full; metrics and small text artifacts are dropped until the store has accepted some values. \
                     Raise MLFLOW_JOURNAL_MAX_BYTES ({max_bytes}) to keep more"
                )),
                DropReason::MemoryFull => warn_user(format_args!(
                    "the memory of the journal is full; metrics and small text artifacts are dropped until the \
                     store has accepted some values. Set MLFLOW_JOURNAL_DIR to a directory that can be written"
                )),
                DropReason::Removed => warn_user(format_args!(
                    "files of the journal were deleted by another program before their values were delivered; the values are lost. \
                     Set MLFLOW_JOURNAL_DIR to a directory that nobody clears"
                )),
            },
            Self::KeyName { line } => warn_without_dedup(line),
            Self::InMemory { error, root } => warn_user(format_args!(
                "the journal cannot be written; values are kept in memory and are lost if the process is killed. \
                 Free space there, or set MLFLOW_JOURNAL_DIR to a directory that can be written: {}: {error}",
                root.display()
            )),
        }
    }
}
