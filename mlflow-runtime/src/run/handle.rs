//! Access from a run to its tracker, in the calling process.
//!
//! Invariant: a run reaches a tracker only through this module. A process that was forked from the one that
//! started the run therefore uses its own tracker, and nothing of its parent's.

use std::sync::Arc;

use super::callsite::Callsite;
use super::checkpoint_retention::CheckpointRetention;
use super::chunk_series::ChunkSeries;
use super::{Inner, Run};
use crate::journal::record::Event;
use crate::journal::{self, RunRef};
use crate::tracker::Tracker;

/// Run, together with the tracker that receives what the calling process logs to the run.
#[derive(Clone, Copy)]
pub(super) struct LiveRun<'r> {
    pub(super) tracker: &'r Arc<Tracker>,
    inner: &'r Inner,
}

impl Run {
    /// Returns the run with the tracker of the calling process. Returns `None` for a run that records
    /// nothing, and in a forked process while the calling thread starts the tracker.
    #[inline]
    pub(super) fn live(&self) -> Option<LiveRun<'_>> {
        self.0.as_deref()?.live()
    }
}

impl Inner {
    #[inline]
    pub(super) fn live(&self) -> Option<LiveRun<'_>> {
        let tracker = self.tracker.for_this_process()?;
        Some(LiveRun {
            tracker,
            inner: self,
        })
    }
}

impl<'r> LiveRun<'r> {
    /// Returns true if the run was started by a process from which this one was forked.
    pub(super) fn is_inherited(self) -> bool {
        !Arc::ptr_eq(self.tracker, &self.inner.tracker)
    }

    /// Returns the place in the code where the run was started, if a macro has started it.
    pub(super) fn callsite(&self) -> Option<&'static Callsite> {
        self.inner.callsite
    }

    pub(super) fn chunk_series(&self) -> &'r ChunkSeries {
        &self.inner.chunk_series
    }

    /// Returns the rank of this process in a run that several ranks share; `None` in a run of its own.
    pub(super) fn member_rank(&self) -> Option<u32> {
        self.inner.identity.role.member_rank()
    }

    pub(super) fn checkpoint_retention(&self) -> &'r CheckpointRetention {
        &self.inner.checkpoint_retention
    }

    #[inline]
    pub(super) fn journal_ref(self) -> RunRef<'r> {
        RunRef {
            number: self.inner.number,
            identity: &self.inner.identity,
            inherited: self.is_inherited(),
        }
    }

    /// Sanitizes an event and writes the event to the journal. Returns false if the journal had no space for
    /// it. All values but metrics pass through this function.
    pub(super) fn write_event(self, event: Event<'_>, attachment: &[u8]) -> bool {
        let event = self.tracker.sanitizer.sanitize_event(event);
        let journal = self.tracker.journal();
        let mut written = false;
        journal::with_writer(journal, |writer| {
            written = writer.append_event(journal, &self.journal_ref(), &event, attachment);
        });
        written
    }
}
