//! What the user has to be told of, kept for a moment.
//!
//! Invariant: no warning is raised while a writer is in use or a lock is held, as a subscriber may
//! log to a run, and would wait for itself. Where trouble is [noted](DeferredWarnings::push), whoever holds
//! nothing any more [tells](DeferredWarnings::emit) of it.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::journal::quota::{DropReason, MAX_MEMORY_BYTES};
use crate::sync::lock;
use crate::warnings;

/// Warnings of one journal that nobody was told of yet.
#[derive(Default)]
pub(super) struct DeferredWarnings {
    has_pending: AtomicBool,
    pending: Mutex<Vec<DeferredWarning>>,
}

pub(super) enum DeferredWarning {
    /// A value found no room, the first for this reason; the bound that it met.
    Dropped { reason: DropReason, max_bytes: u64 },
    /// A metric has another name than its key; the line that says so.
    KeyName { line: String },
    /// A segment has to lie in memory.
    InMemory { error: io::Error, root: PathBuf },
}

impl DeferredWarnings {
    #[cold]
    pub(super) fn push(&self, warning: DeferredWarning) {
        lock(&self.pending).push(warning);
        self.has_pending.store(true, Ordering::Release);
    }

    /// One relaxed load where there is nothing to tell.
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
                DropReason::JournalFull => tracing::warn!(
                    target: "mlflow", max_bytes,
                    "the journal is full; metrics and artifacts are dropped until the store has taken some. \
                     Raise MLFLOW_JOURNAL_MAX_BYTES to keep more"
                ),
                DropReason::MemoryFull => tracing::warn!(
                    target: "mlflow", max_bytes = MAX_MEMORY_BYTES,
                    "the memory that the journal may take is full; metrics and artifacts are dropped until the \
                     store has taken some. Set MLFLOW_JOURNAL_DIR to a directory that can be written"
                ),
                DropReason::Removed => tracing::warn!(
                    target: "mlflow",
                    "files of the journal were removed before the store had taken their values, which are lost. \
                     Set MLFLOW_JOURNAL_DIR to a directory that nobody clears"
                ),
            },
            Self::KeyName { line } => warnings::warn_without_dedup(line),
            Self::InMemory { error, root } => tracing::warn!(
                target: "mlflow", %error, directory = %root.display(),
                "the journal cannot be written; values are kept in memory and are lost if the process is killed. \
                 Free space there, or set MLFLOW_JOURNAL_DIR to a directory that can be written"
            ),
        }
    }
}
