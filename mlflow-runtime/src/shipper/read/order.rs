//! The order in which segments of several threads are read, where the order matters.
//!
//! # Invariant
//!
//! Before an [ordered entry](OrderedEntry) is handed out, all entries are handed out that this process had
//! logged before it, on any thread, in the same batch or an earlier one. The invariant also holds where a
//! backlog is read in parts. Therefore the first of two values of a param counts, and the last step of a
//! metric key is known from what was sent or is in the batch.
//!
//! # Operation
//!
//! Params and points at the last step of their key are ordered entries. Each has a sequence number, and a
//! reading stops at the sequence numbers that did not exist when it began. So everything that was logged
//! before an ordered entry was appended before the reading began. A cursor that meets an ordered entry waits,
//! if need be for several readings, until every other cursor has reached the end of its segment or one of
//! these:
//!
//! - Another ordered entry with a later sequence number. Of several waiting entries, the earliest is read
//!   first.
//! - An entry of a run whose start is not read yet, though all other cursors were read as far as possible.
//!   The start is then behind a waiting entry, and the entry that needs it was logged after both.
//! - An offset behind an event with a later sequence number, or behind a point with a later timestamp.
//!   Without this rule, an entry would wait for good while other threads log more than is shipped, as the
//!   ends of their segments are never reached. With it, an entry waits no longer than it takes to ship what
//!   was logged before the entry was met. If the clock is set back meanwhile, the order may be wrong.

use crate::shipper::batch::ReadBatch;
use crate::shipper::read::cursor::{Cursor, OrderedEntry, ReadPosition};
use crate::shipper::read::journal_reader::JournalReader;

impl JournalReader {
    /// Continues at the ordered entries that need not wait any more, earliest first, until the batch holds
    /// about `budget` entries. Returns true if no ordered entry is left waiting.
    pub(in crate::shipper) fn read_ordered(
        &mut self,
        limit: Option<u64>,
        budget: usize,
        read_batch: &mut ReadBatch,
    ) -> bool {
        let mut cursors = std::mem::take(&mut self.cursors);
        let mut waits = false;
        while let Some((index, entry)) = find_earliest_waiting(&cursors) {
            if self.resume_started_runs(&mut cursors, limit, budget, read_batch) {
                continue;
            }
            let mut open = cursors.iter().filter(|cursor| cursor.is_open());
            waits = read_batch.is_full(budget) || !open.all(|cursor| cursor.has_read_before(entry));
            if waits {
                break;
            }
            if let Some(cursor) = cursors.get_mut(index) {
                cursor.released_sequence = Some(entry.sequence);
                self.read_cursor(index, cursor, limit, budget, read_batch);
            }
        }
        self.cursors = cursors;
        !waits
    }

    /// Continues at entries that wait for the start of their run, which may have been read since. Returns
    /// true if anything was read.
    fn resume_started_runs(
        &mut self,
        cursors: &mut [Cursor],
        limit: Option<u64>,
        budget: usize,
        read_batch: &mut ReadBatch,
    ) -> bool {
        let mut has_read = false;
        for (index, cursor) in cursors.iter_mut().enumerate() {
            if cursor.is_open() && cursor.position == ReadPosition::AwaitsRunStart {
                let before = cursor.offset;
                self.read_cursor(index, cursor, limit, budget, read_batch);
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
