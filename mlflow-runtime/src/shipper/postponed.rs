//! Artifacts that their store does not take now, while all other values go on: a server may have
//! lost the way to its bucket, or never have had one.
//!
//! Invariants: artifacts are delivered in the order in which they were logged, none before one that
//! waits; a segment that names one keeps its place until it is delivered; what waits in memory is
//! bounded: beyond that, everything waits.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::delivery::Halt;
use super::work::ArtifactBytes;
use crate::journal::segment::Segment;
use crate::store::StoredRun;

/// Bytes of artifacts that lie in the journal itself, and are kept in memory here.
const MEMORY_BYTES: usize = 8 << 20;
const MAX_WAITING: usize = 10_000;
/// Failures in a row before a warning.
const WARN_AFTER: u32 = 3;

/// The artifacts of one journal that wait.
#[derive(Default)]
pub(super) struct Postponed {
    waiting: VecDeque<Waiting>,
    memory_bytes: usize,
    backoff: Backoff,
    due: Option<Instant>,
    warned: bool,
}

/// One of them.
pub(super) struct Waiting {
    pub(super) run: StoredRun,
    pub(super) path: String,
    pub(super) bytes: ArtifactBytes,
    /// The segments that may name it.
    pub(super) segments: Vec<Arc<Segment>>,
}

impl Waiting {
    fn memory_bytes(&self) -> usize {
        match &self.bytes {
            ArtifactBytes::Memory(bytes) => bytes.len(),
            ArtifactBytes::File(_) => 0,
        }
    }
}

impl Postponed {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.memory_bytes < MEMORY_BYTES && self.waiting.len() < MAX_WAITING
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.memory_bytes += waiting.memory_bytes();
        self.due.get_or_insert_with(Instant::now);
        self.waiting.push_back(waiting);
    }

    pub(super) fn first(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.memory_bytes -= waiting.memory_bytes();
        Some(waiting)
    }

    /// When to try again, while anything waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_empty())
    }

    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now())
    }

    pub(super) fn failed(&mut self, halt: &Halt) {
        self.due = Instant::now().checked_add(self.backoff.next(halt.cause));
        if self.backoff.failures() >= WARN_AFTER && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                target: "mlflow", reason = halt.reason,
                "the store does not take artifacts; they wait in the journal, everything else is shipped. \
                 Look at the server's artifact store"
            );
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
        self.due = None;
        if std::mem::take(&mut self.warned) {
            tracing::warn!(target: "mlflow", "the store takes artifacts again; those that waited are there");
        }
    }
}
