//! Damage as it was found in one journal: the state of its counting.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::journal::segment::Segment;

/// Damage in the segment of one cursor.
#[derive(Default)]
pub(in crate::shipper) struct Damage {
    /// Offset of the first damage; `None` if there is none.
    pub(in crate::shipper) first_offset: Option<usize>,
    /// Number of bytes that were skipped.
    pub(in crate::shipper) skipped_bytes: usize,
    /// Number of values that were read, but whose name or run was lost.
    pub(in crate::shipper) nameless_values: usize,
    /// Time when a value was first met whose run is not known yet.
    pub(in crate::shipper) missed_since: Option<Instant>,
    /// Set when the other segments of a live journal were searched for names.
    pub(in crate::shipper) has_searched: bool,
}

/// Damage in one journal.
#[derive(Default)]
pub(in crate::shipper) struct Losses {
    /// Losses that `JournalReader::take_lost` has not returned yet.
    pub(in crate::shipper) unreported: LossReport,
    /// Damaged segments.
    pub(in crate::shipper) segments: Vec<Arc<Segment>>,
    /// Names of metrics that any segment defines, by id; collected when they are first needed.
    pub(in crate::shipper) names: Option<FxHashMap<u32, Arc<str>>>,
}

/// Counts of records and values that were found to be lost, or cannot be read.
#[derive(Default)]
pub(in crate::shipper) struct LossReport {
    /// Lost records, and damaged stretches in which records cannot be told apart.
    pub(in crate::shipper) records: usize,
    /// Lost values of this process's own journal.
    pub(in crate::shipper) values: usize,
    /// Message about values of this process's own journal in files that cannot be read.
    pub(in crate::shipper) unreadable_message: Option<String>,
}

impl Damage {
    pub(in crate::shipper) fn record(&mut self, segment: &Segment, offset: usize) {
        self.first_offset.get_or_insert(offset);
        segment.set_damaged();
    }

    pub(in crate::shipper) fn is_present(&self) -> bool {
        self.first_offset.is_some()
    }
}
