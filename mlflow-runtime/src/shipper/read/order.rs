//! In which order the segments of several threads are read where that matters.
//!
//! Invariant: before an [ordered entry](OrderedEntry), all entries are handed out that this process had logged
//! before it, on whatever thread, in the same pass or an earlier one; also where a backlog is read in parts. So
//! of two values of a param the first one counts, and the last step of a key is among what was sent, or is in
//! the pass.
//!
//! An ordered entry has a place in the order of all events, and a pass reads only what is before its limit. So what
//! was logged before the entry was appended before the pass began. A cursor that meets one waits, if need be for
//! several passes, until every other cursor has reached the end, or one of these:
//!
//! - another ordered entry, with a later place: of several, the earliest goes on;
//! - an entry of a run whose start is still not read when all others were read as far as they go: the start then
//!   stands behind an entry that is waited at, and what follows it was logged after both;
//! - a place behind an event with a later place, or behind a point that was logged later, by its time: while
//!   other threads log more than is shipped, their ends are never reached. So an entry waits no longer than what
//!   had been logged before it was met takes to be shipped. Where the clock is set back meanwhile, the order may be
//!   wrong.

use crate::shipper::read::batch::ReadBatch;
use crate::shipper::read::cursor::{Cursor, ReadPosition};
use crate::shipper::read::source::JournalReader;

/// An entry before which everything has to be read that was logged before it: a param, or a point that stands at
/// the last step of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shipper) struct OrderedEntry {
    /// Its place in the order of all events.
    pub(in crate::shipper) sequence: u64,
    /// A time, in ms since the epoch, that is later than it was logged.
    pub(in crate::shipper) later_ms: i64,
}

impl Cursor {
    /// Returns whether the ordered entry at the cursor has to wait.
    pub(in crate::shipper) fn must_wait(&self, entry: OrderedEntry) -> bool {
        // What waits by itself stands in one segment, in its order.
        self.lane.is_none() && self.released_sequence != Some(entry.sequence)
    }

    /// Begins a pass: what is the end may not be it any more. An entry that was met is still waited at.
    pub(in crate::shipper) fn begin_pass(&mut self) {
        if self.waiting_entry().is_none() {
            self.position = ReadPosition::Middle;
        }
    }

    fn waiting_entry(&self) -> Option<OrderedEntry> {
        match self.position {
            ReadPosition::Ordered(entry) if self.is_open() => Some(entry),
            _ => None,
        }
    }

    /// Returns whether all is read of the segment that was logged before `entry`.
    fn has_read_before(&self, entry: OrderedEntry) -> bool {
        match self.position {
            ReadPosition::End | ReadPosition::AwaitsRunStart => true,
            ReadPosition::Ordered(other) => other.sequence >= entry.sequence,
            ReadPosition::Middle => {
                self.logged_ms >= entry.later_ms || self.last_event > Some(entry.sequence)
            }
        }
    }
}

impl JournalReader {
    /// Reads on where ordered entries were met, up to about `budget` entries in all. Returns whether none is left that
    /// waits.
    pub(in crate::shipper) fn read_ordered(
        &mut self,
        limit: Option<u64>,
        budget: usize,
        pass: &mut ReadBatch,
    ) -> bool {
        let mut cursors = std::mem::take(&mut self.cursors);
        let mut waits = false;
        while let Some((index, entry)) = find_earliest_waiting(&cursors) {
            if self.resume_started_runs(&mut cursors, limit, budget, pass) {
                continue;
            }
            let mut open = cursors.iter().filter(|cursor| cursor.is_open());
            waits = pass.is_full(budget) || !open.all(|cursor| cursor.has_read_before(entry));
            if waits {
                break;
            }
            if let Some(cursor) = cursors.get_mut(index) {
                cursor.released_sequence = Some(entry.sequence);
                self.read_cursor(index, cursor, limit, budget, pass);
            }
        }
        self.cursors = cursors;
        !waits
    }

    /// Reads on where the start of a run was waited for, which may have been read since. Returns whether anything was
    /// read.
    fn resume_started_runs(
        &mut self,
        cursors: &mut [Cursor],
        limit: Option<u64>,
        budget: usize,
        pass: &mut ReadBatch,
    ) -> bool {
        let mut has_read = false;
        for (index, cursor) in cursors.iter_mut().enumerate() {
            if cursor.is_open() && cursor.position == ReadPosition::AwaitsRunStart {
                let before = cursor.offset;
                self.read_cursor(index, cursor, limit, budget, pass);
                has_read |= cursor.offset != before;
            }
        }
        has_read
    }
}

fn find_earliest_waiting(cursors: &[Cursor]) -> Option<(usize, OrderedEntry)> {
    let waiting = cursors.iter().enumerate();
    waiting
        .filter_map(|(index, cursor)| Some((index, cursor.waiting_entry()?)))
        .min_by_key(|(_, entry)| entry.sequence)
}
