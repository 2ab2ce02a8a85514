//! The read position in one segment of a journal.
//!
//! A cursor has three offsets: entries before `settled_offset` are acknowledged, entries before
//! `delivered_offset` are delivered or wait elsewhere, and entries before `offset` were read. Reading
//! advances `offset`; delivery and acknowledgement let the others catch up.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::journal::record::Record;
use crate::journal::segment::mapped::HEADER_BYTES;
use crate::journal::segment::{Segment, SegmentBytes};
use crate::shipper::queue::lane::Lane;
use crate::shipper::read::damage::Damage;
use crate::time;

/// Time for which a segment that cannot be read is tried again.
const READ_RETRY_PERIOD: Duration = Duration::from_secs(1);
/// Number of immediate attempts to read a segment.
const READ_ATTEMPTS: usize = 3;

/// An entry before which everything has to be read that was logged earlier: a param, or a point at the last
/// step of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shipper) struct OrderedEntry {
    /// Sequence number, in the order of all events of the process.
    pub(in crate::shipper) sequence: u64,
    /// Time, in ms since the Unix epoch, that is later than the entry was logged.
    pub(in crate::shipper) later_ms: i64,
}

/// Read position in one segment, and what has to be known of the entries before it.
pub(in crate::shipper) struct Cursor {
    pub(in crate::shipper) segment: Arc<Segment>,
    /// Present while the segment is being read.
    bytes: Option<SegmentBytes>,
    pub(in crate::shipper) offset: usize,
    /// Offset of the first entry that is neither delivered nor waiting elsewhere.
    delivered_offset: usize,
    /// Offset of the first entry that is not settled: entries before it are acknowledged, by this shipper or
    /// an earlier one. It is never within the header: while a file has none yet, no offset must be written to
    /// it.
    settled_offset: usize,
    /// Number of values that were read.
    values: u64,
    /// Names of the metric keys that the segment has defined so far, by id.
    pub(in crate::shipper) keys: FxHashMap<u32, Arc<str>>,
    pub(in crate::shipper) damage: Damage,
    /// Runs that start in the segment.
    pub(in crate::shipper) started_runs: Vec<u32>,
    /// Runs whose console logs the segment names.
    pub(in crate::shipper) console_runs: Vec<u32>,
    /// Greatest sequence number of the params, tags and artifacts that were read.
    pub(in crate::shipper) last_event: Option<u64>,
    /// True if nothing more is to be read in the segment: it is sealed and was read to its end, or cannot be
    /// read.
    pub(in crate::shipper) is_finished: bool,
    pub(in crate::shipper) position: ReadPosition,
    /// Time of the last metric point before `offset`, in ms since the Unix epoch.
    pub(in crate::shipper) logged_ms: i64,
    /// Sequence number of the [ordered entry](OrderedEntry) that may be read without waiting any more.
    pub(in crate::shipper) released_sequence: Option<u64>,
    /// Sequence number of the last param that was met, and a time later than it was met first, in ms since
    /// the Unix epoch.
    last_param: Option<(u64, i64)>,
    /// Time when the segment could not be read for the first time.
    unreadable_since: Option<Instant>,
    /// True if the segment holds entries which stay in it: its acknowledged offset and its file are kept.
    pub(in crate::shipper) is_blocked: bool,
    /// Number of waiting artifacts that the segment names. Its acknowledged offset and its file are kept
    /// until they are delivered.
    pub(in crate::shipper) waiting_artifacts: usize,
    /// Lane that the segment belongs to; `None` for one of the journal's regular segments. The segments of a
    /// lane are read separately.
    pub(in crate::shipper) lane: Option<Lane>,
}

/// State of the current reading of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shipper) enum ReadPosition {
    /// At the end of what was written before the reading began.
    End,
    /// At an entry before which [entries of other segments](crate::shipper::read::order) have to be read.
    Ordered(OrderedEntry),
    /// At an entry of a run whose start was not read yet, as it is in another segment.
    AwaitsRunStart,
    /// In the middle: more can be read.
    Middle,
}

impl Cursor {
    pub(in crate::shipper) fn new(segment: Arc<Segment>) -> Self {
        Self {
            segment,
            bytes: None,
            offset: HEADER_BYTES,
            delivered_offset: HEADER_BYTES,
            settled_offset: HEADER_BYTES,
            values: 0,
            keys: FxHashMap::default(),
            damage: Damage::default(),
            started_runs: Vec::new(),
            console_runs: Vec::new(),
            last_event: None,
            is_finished: false,
            position: ReadPosition::Middle,
            logged_ms: i64::MIN,
            released_sequence: None,
            last_param: None,
            unreadable_since: None,
            is_blocked: false,
            waiting_artifacts: 0,
            lane: None,
        }
    }

    /// Returns the bytes of the segment, and reads them if need be. `None` if they cannot be read, or have a
    /// format that this version does not know.
    pub(in crate::shipper) fn load(&mut self) -> Option<SegmentBytes> {
        if self.bytes.is_none() {
            let read = (0..READ_ATTEMPTS).find_map(|_| self.segment.read().ok());
            self.bytes = read.filter(SegmentBytes::has_known_format);
            if let Some(bytes) = &self.bytes {
                self.settled_offset = self.settled_offset.max(bytes.acknowledged_offset());
            }
        }
        self.bytes.clone()
    }

    /// Returns true if the segment, which could not be read, is to be tried again: one failed system call
    /// must not delay all that its runs have logged.
    pub(in crate::shipper) fn may_become_readable(&mut self) -> bool {
        let since = *self.unreadable_since.get_or_insert_with(Instant::now);
        since.elapsed() < READ_RETRY_PERIOD
    }

    /// Releases the bytes of the segment.
    pub(in crate::shipper) fn unload(&mut self) {
        self.bytes = None;
    }

    /// Notes that a param was met. A param has no time of its own, so the returned entry has the time when it
    /// was met first, plus 1 ms.
    pub(in crate::shipper) fn record_param(&mut self, sequence: u64) -> OrderedEntry {
        let known = self.last_param.filter(|(met, _)| *met == sequence);
        let met = known.unwrap_or_else(|| (sequence, time::now_ms() + 1));
        self.last_param = Some(met);
        OrderedEntry {
            sequence,
            later_ms: met.1,
        }
    }

    /// Returns true if more may be read in the segment, and it belongs to no lane.
    pub(in crate::shipper) fn is_open(&self) -> bool {
        !self.is_finished && self.lane.is_none()
    }

    pub(in crate::shipper) fn is_unread(&self) -> bool {
        self.offset == HEADER_BYTES
    }

    /// Returns true if the segment keeps its acknowledged offset and its file, as something in it waits.
    pub(in crate::shipper) fn is_pinned(&self) -> bool {
        self.is_blocked || self.waiting_artifacts > 0
    }

    /// Notes that the record in `body` was read, and advances to the offset `next`.
    pub(in crate::shipper) fn advance_past(&mut self, body: &[u8], next: usize) {
        self.values += u64::from(Record::is_value(body));
        self.offset = next;
    }

    pub(in crate::shipper) fn values_read(&self) -> u64 {
        self.values
    }

    /// Returns how many values of a segment that this process has written were not read, as its writer has
    /// counted them. Returns 0 for segments of other processes, whose values are not counted.
    pub(in crate::shipper) fn values_unread(&self) -> usize {
        let unread = self.segment.value_count().saturating_sub(self.values);
        usize::try_from(unread).unwrap_or(usize::MAX)
    }

    pub(in crate::shipper) fn settled_offset(&self) -> usize {
        self.settled_offset
    }

    /// Returns true if the entry at the cursor was not settled by an earlier shipper.
    pub(in crate::shipper) fn is_fresh(&self) -> bool {
        self.offset >= self.settled_offset
    }

    /// Skips everything in the segment, marked as delivered: the reader has written it itself.
    pub(in crate::shipper) fn skip_to_end(&mut self) {
        self.offset = usize::try_from(self.segment.size_bytes()).unwrap_or(usize::MAX);
        self.is_finished = true;
        self.set_delivered();
    }

    /// Marks everything that was read as delivered, or waiting elsewhere.
    pub(in crate::shipper) fn set_delivered(&mut self) {
        self.delivered_offset = self.offset;
    }

    /// Returns true if the segment was read to its end, and everything in it is delivered or waits elsewhere.
    pub(in crate::shipper) fn is_exhausted(&self) -> bool {
        self.is_finished && self.delivered_offset == self.offset
    }

    /// Goes back to the first entry that is not delivered.
    pub(in crate::shipper) fn rewind(&mut self) {
        self.offset = self.delivered_offset;
        self.position = ReadPosition::Middle;
        self.is_finished = false;
        self.bytes = None;
    }

    /// Acknowledges what is delivered, unless the cursor is [pinned](Self::is_pinned).
    pub(in crate::shipper) fn settle(&mut self) {
        if self.is_pinned() {
            return;
        }
        if self.delivered_offset > self.settled_offset {
            self.segment.acknowledge(self.delivered_offset);
            self.settled_offset = self.delivered_offset;
        }
    }

    /// Returns true if the ordered entry at the cursor has to wait for other segments.
    pub(in crate::shipper) fn must_wait(&self, entry: OrderedEntry) -> bool {
        // The entries of a lane were ordered when they were copied to it.
        self.lane.is_none() && self.released_sequence != Some(entry.sequence)
    }

    /// Prepares the cursor for a new reading: entries may have been appended at the former end. A cursor that
    /// waits at an ordered entry continues to wait.
    pub(in crate::shipper) fn begin_pass(&mut self) {
        if self.waiting_entry().is_none() {
            self.position = ReadPosition::Middle;
        }
    }

    pub(super) fn waiting_entry(&self) -> Option<OrderedEntry> {
        match self.position {
            ReadPosition::Ordered(entry) if self.is_open() => Some(entry),
            _ => None,
        }
    }

    /// Returns true if everything in the segment that was logged before `entry` has been read.
    pub(super) fn has_read_before(&self, entry: OrderedEntry) -> bool {
        match self.position {
            ReadPosition::End | ReadPosition::AwaitsRunStart => true,
            ReadPosition::Ordered(other) => other.sequence >= entry.sequence,
            ReadPosition::Middle => {
                self.logged_ms >= entry.later_ms || self.last_event > Some(entry.sequence)
            }
        }
    }
}
