//! A run as this process reaches it.
//!
//! Invariant: there is no other way from a run to a tracker, so that a process which was forked
//! from the one that started the run uses nothing of that one's.

use std::sync::Arc;

use super::{Inner, Run};
use crate::journal::record::Event;
use crate::journal::{self, RunRef};
use crate::tracker::Tracker;

/// A run, and the tracker that takes what is logged to it.
#[derive(Clone, Copy)]
pub(super) struct LiveRun<'r> {
    pub(super) tracker: &'r Arc<Tracker>,
    inner: &'r Inner,
}

impl Run {
    /// `None` for a run that keeps nothing.
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
    /// Whether another process, of which this one was forked, has started the run.
    pub(super) fn is_inherited(self) -> bool {
        !Arc::ptr_eq(self.tracker, &self.inner.tracker)
    }

    #[inline]
    pub(super) fn journal_ref(self) -> RunRef<'r> {
        RunRef {
            number: self.inner.number,
            identity: &self.inner.identity,
            inherited: self.is_inherited(),
        }
    }

    /// Everything but metrics goes through here. False if the journal had no room for it.
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
