//! A place in a segment, and what stood before it.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::journal::record::Record;
use crate::journal::segment::mapped::HEADER_BYTES;
use crate::journal::segment::{Segment, SegmentBytes};
use crate::shipper::deliver::parked_runs::Lane;
use crate::shipper::read::damage::Damage;
use crate::shipper::read::order::OrderedEntry;
use crate::time;

/// How long a segment that cannot be read is tried again.
const READ_RETRY_PERIOD: Duration = Duration::from_secs(1);
/// How often it is tried at once.
const READ_ATTEMPTS: usize = 3;

/// How far a segment was read.
pub(in crate::shipper) struct Cursor {
    pub(in crate::shipper) segment: Arc<Segment>,
    /// Present while the segment is being read.
    bytes: Option<SegmentBytes>,
    pub(in crate::shipper) offset: usize,
    /// Entries before this are delivered, or wait elsewhere; those behind it are on their way.
    delivered_offset: usize,
    /// Entries before this are settled: acknowledged here, or by an earlier shipper. Not less than
    /// the header: where there is none yet, nothing must be noted.
    settled_offset: usize,
    /// Values that were read.
    values: u64,
    pub(in crate::shipper) keys: FxHashMap<u32, Arc<str>>,
    pub(in crate::shipper) damage: Damage,
    /// The runs that start in it.
    pub(in crate::shipper) started_runs: Vec<u32>,
    /// The runs whose consoles it names.
    pub(in crate::shipper) console_runs: Vec<u32>,
    /// The last event read in it that supersedes others.
    pub(in crate::shipper) last_event: Option<u64>,
    pub(in crate::shipper) is_finished: bool,
    pub(in crate::shipper) position: ReadPosition,
    /// When the last point before it was logged, in ms since the epoch.
    pub(in crate::shipper) logged_ms: i64,
    /// The place, in the order of all events, of the entry at which it need not wait any more.
    pub(in crate::shipper) released_sequence: Option<u64>,
    /// The last param that was met, by its place in that order, and when it was met first, in ms.
    last_param: Option<(u64, i64)>,
    /// When it could not be read for the first time.
    unreadable_since: Option<Instant>,
    /// Holds entries that the store does not take: keeps its place and its file.
    pub(in crate::shipper) is_blocked: bool,
    /// How many artifacts wait that it names: it keeps both until they are delivered.
    pub(in crate::shipper) waiting_artifacts: usize,
    /// The lane that it belongs to: what waits by itself is read by itself.
    pub(in crate::shipper) lane: Option<Lane>,
}

/// Where the present reading of a segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shipper) enum ReadPosition {
    /// The end of what was written before the reading began.
    End,
    /// An entry before which [others](crate::shipper::read::order) have to be read.
    Ordered(OrderedEntry),
    /// An entry of a run whose start another segment has.
    AwaitsRunStart,
    /// A place in the middle.
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

    /// Returns true if the segment, which could not be read, is to be tried again: one call that fails
    /// must not keep back all that its runs have logged.
    pub(in crate::shipper) fn may_become_readable(&mut self) -> bool {
        let since = *self.unreadable_since.get_or_insert_with(Instant::now);
        since.elapsed() < READ_RETRY_PERIOD
    }

    pub(in crate::shipper) fn unload(&mut self) {
        self.bytes = None;
    }

    /// Notes that a param was met, which has no time of its own, and returns when it was met first.
    pub(in crate::shipper) fn record_param(&mut self, sequence: u64) -> OrderedEntry {
        let known = self.last_param.filter(|(met, _)| *met == sequence);
        let met = known.unwrap_or_else(|| (sequence, time::now_ms() + 1));
        self.last_param = Some(met);
        OrderedEntry {
            sequence,
            later_ms: met.1,
        }
    }

    /// Whether more may be read in it, and not by itself.
    pub(in crate::shipper) fn is_open(&self) -> bool {
        !self.is_finished && self.lane.is_none()
    }

    pub(in crate::shipper) fn is_unread(&self) -> bool {
        self.offset == HEADER_BYTES
    }

    pub(in crate::shipper) fn is_pinned(&self) -> bool {
        self.is_blocked || self.waiting_artifacts > 0
    }

    /// Notes that the record in `body` was read, and goes on at `next`.
    pub(in crate::shipper) fn advance_past(&mut self, body: &[u8], next: usize) {
        self.values += u64::from(Record::is_value(body));
        self.offset = next;
    }

    pub(in crate::shipper) fn values_read(&self) -> u64 {
        self.values
    }

    /// Returns how many values of a segment that this process has written were not read: the writer has
    /// counted them. Those of other segments nobody has counted.
    pub(in crate::shipper) fn values_unread(&self) -> usize {
        let unread = self.segment.value_count().saturating_sub(self.values);
        usize::try_from(unread).unwrap_or(usize::MAX)
    }

    pub(in crate::shipper) fn settled_offset(&self) -> usize {
        self.settled_offset
    }

    /// Whether what stands at the cursor is still to be delivered.
    pub(in crate::shipper) fn is_fresh(&self) -> bool {
        self.offset >= self.settled_offset
    }

    /// Leaves all that is in it unread: who has written it knows it.
    pub(in crate::shipper) fn skip_to_end(&mut self) {
        self.offset = usize::try_from(self.segment.size_bytes()).unwrap_or(usize::MAX);
        self.is_finished = true;
        self.set_delivered();
    }

    /// All that was read is delivered, or waits elsewhere.
    pub(in crate::shipper) fn set_delivered(&mut self) {
        self.delivered_offset = self.offset;
    }

    /// Returns whether nothing of the segment is left to be read or on its way.
    pub(in crate::shipper) fn is_exhausted(&self) -> bool {
        self.is_finished && self.delivered_offset == self.offset
    }

    /// Goes back to what is not delivered.
    pub(in crate::shipper) fn rewind(&mut self) {
        self.offset = self.delivered_offset;
        self.position = ReadPosition::Middle;
        self.is_finished = false;
        self.bytes = None;
    }

    /// What is delivered is settled, unless the cursor keeps its place.
    pub(in crate::shipper) fn settle(&mut self) {
        if self.is_pinned() {
            return;
        }
        if self.delivered_offset > self.settled_offset {
            self.segment.acknowledge(self.delivered_offset);
            self.settled_offset = self.delivered_offset;
        }
    }
}
