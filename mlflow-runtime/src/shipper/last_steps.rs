//! When a point that stands at the last step of its key is read.
//!
//! Invariant: before such a point, all points are handed out that this process had logged before it, on
//! whatever thread, in the same pass or an earlier one. So the last step is among what was sent, or is in
//! the pass, also where a backlog is read in parts.
//!
//! Such a point has a place in the order of all events, and is read like an event by a pass whose limit is
//! behind it. What was logged before it was appended before that pass began. So a cursor that meets the
//! point waits until every other cursor has reached the end, or one of these:
//!
//! - another such point, with a later place: of several, the earliest goes on;
//! - an entry of a run whose start is still not read when all others were read as far as they go: the start then
//!   stands behind a point that is waited at, and the entry was logged after both;
//! - a place behind a point that was logged later, by its time: while other threads log more than is
//!   shipped, their ends are never reached.

use super::cursor::{Cursor, Reached, Returned};
use super::source::Source;
use super::work::Pass;

impl Reached {
    /// Returns whether all is read there that was logged before `point`.
    fn is_behind(self, point: Returned) -> bool {
        match self {
            Self::End | Self::StartOfRun => true,
            Self::LastStep(other) => other.sequence >= point.sequence,
            // The time of `point` is one later than it was logged.
            Self::Middle(ms) => ms >= point.timestamp_ms,
        }
    }
}

impl Cursor {
    /// Returns whether the point at the cursor, which is to stand at the last step of its key, has to wait.
    pub(super) fn has_to_wait(&self, point: Returned) -> bool {
        // What waits by itself stands in one segment, in its order.
        self.lane.is_none() && self.passing != Some(point.sequence)
    }

    fn waits_at(&self) -> Option<Returned> {
        match self.reached {
            Reached::LastStep(point) if self.is_open() => Some(point),
            _ => None,
        }
    }
}

impl Source {
    /// Reads on where points at the last step were met, up to about `budget` entries in all.
    pub(super) fn read_last_steps(&mut self, limit: Option<u64>, budget: usize, pass: &mut Pass) {
        let mut cursors = std::mem::take(&mut self.cursors);
        while let Some((index, point)) = earliest(&cursors) {
            if self.read_begun(&mut cursors, limit, budget, pass) {
                continue;
            }
            let mut open = cursors.iter().filter(|cursor| cursor.is_open());
            if pass.is_full(budget) || !open.all(|cursor| cursor.reached.is_behind(point)) {
                pass.leave_behind();
                break;
            }
            if let Some(cursor) = cursors.get_mut(index) {
                cursor.passing = Some(point.sequence);
                self.read_cursor(index, cursor, limit, budget, pass);
            }
        }
        self.cursors = cursors;
    }

    /// Reads on where the start of a run was waited for, which may have been read since. Returns whether anything was
    /// read.
    fn read_begun(
        &mut self,
        cursors: &mut [Cursor],
        limit: Option<u64>,
        budget: usize,
        pass: &mut Pass,
    ) -> bool {
        let mut has_read = false;
        for (index, cursor) in cursors.iter_mut().enumerate() {
            if cursor.is_open() && cursor.reached == Reached::StartOfRun {
                let before = cursor.offset;
                self.read_cursor(index, cursor, limit, budget, pass);
                has_read |= cursor.offset != before;
            }
        }
        has_read
    }
}

fn earliest(cursors: &[Cursor]) -> Option<(usize, Returned)> {
    let waiting = cursors.iter().enumerate();
    waiting
        .filter_map(|(index, cursor)| Some((index, cursor.waits_at()?)))
        .min_by_key(|(_, point)| point.sequence)
}
