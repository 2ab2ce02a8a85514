//! What cannot be read of a journal: counted, said once for each file, and the file kept.
//!
//! # Invariants
//!
//! 1. `damaged` counts records that are lost, each once by the process that meets it first: a damaged
//!    record, or stretch in which none can be told apart; a metric whose name and a value whose run
//!    was lost with such a record. What an earlier shipper has settled is not counted.
//! 2. Of this process's own journal, the values are known, as their writer has counted them: what of them
//!    cannot be read is lost, and what is in a file that cannot be read at all is held.
//! 3. One warning for each file, when it is read to its end.
//! 4. The file is marked at once, so that it is [quarantined](crate::journal::quarantine) in place of being deleted.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::journal::directory::{ARTIFACT_EXTENSION, Directory};
use crate::journal::quarantine;
use crate::journal::record::{Definition, Record};
use crate::journal::segment::{Segment, SegmentBytes};
use crate::shipper::read::cursor::Cursor;
use crate::shipper::read::run_states::START_READ_TIMEOUT;
use crate::shipper::read::source::{JournalOwner, JournalReader};
use crate::warnings::WarningLimit;

/// Damage in the segment of one cursor.
#[derive(Default)]
pub(in crate::shipper) struct Damage {
    /// Offset of the first.
    first_offset: Option<usize>,
    skipped_bytes: usize,
    /// Values that were read, but whose name or run was not.
    nameless_values: usize,
    /// When a value was met whose run is not known yet.
    missed_since: Option<Instant>,
    /// Set when the other segments of a live journal were searched for names.
    has_searched: bool,
}

/// Damage in one journal.
#[derive(Default)]
pub(in crate::shipper) struct Losses {
    /// What [`JournalReader::take_lost`] has not returned yet.
    unreported: LossReport,
    segments: Vec<Arc<Segment>>,
    /// The names of metrics that other segments define, once they were needed.
    names: Option<FxHashMap<u32, Arc<str>>>,
}

/// What was found to be lost, or out of reach.
#[derive(Default)]
pub(in crate::shipper) struct LossReport {
    /// Damaged records, and stretches in which none can be told apart.
    pub(in crate::shipper) records: usize,
    /// Values of this process's own journal.
    pub(in crate::shipper) values: usize,
    /// Values of this process's own journal that are in files which cannot be read, and what to say of them.
    pub(in crate::shipper) unreadable_message: Option<String>,
}

impl Damage {
    fn record(&mut self, segment: &Segment, offset: usize) {
        self.first_offset.get_or_insert(offset);
        segment.set_damaged();
    }

    pub(in crate::shipper) fn is_present(&self) -> bool {
        self.first_offset.is_some()
    }
}

impl JournalReader {
    /// Skips what cannot be read before `next`.
    pub(in crate::shipper) fn skip_damaged(&mut self, cursor: &mut Cursor, next: usize) {
        cursor.damage.record(&cursor.segment, cursor.offset);
        cursor.damage.skipped_bytes += next.saturating_sub(cursor.offset);
        if next > cursor.settled_offset() {
            self.losses.unreported.records += 1;
        }
        self.record_damaged(cursor);
        cursor.offset = next;
    }

    /// Leaves out the value at the cursor: the record that names it was lost.
    pub(in crate::shipper) fn skip_nameless(&mut self, cursor: &mut Cursor) {
        if !cursor.is_fresh() {
            return;
        }
        cursor.damage.record(&cursor.segment, cursor.offset);
        cursor.damage.nameless_values += 1;
        self.losses.unreported.records += 1;
        self.losses.unreported.values += usize::from(self.is_live());
        self.record_damaged(cursor);
    }

    fn record_damaged(&mut self, cursor: &Cursor) {
        let known = self.losses.segments.last();
        if !known.is_some_and(|last| Arc::ptr_eq(last, &cursor.segment)) {
            self.losses.segments.push(Arc::clone(&cursor.segment));
        }
        // The start of a run may be among what is lost.
        self.has_lost = true;
    }

    /// Leaves a segment as it is that cannot be read.
    pub(in crate::shipper) fn block_unreadable(&mut self, cursor: &Cursor) {
        let values = cursor.values_unread();
        if values > 0 {
            self.blocked_in_place += values;
            let file = cursor.segment.file().unwrap_or(Path::new("memory"));
            let said = || {
                format!(
                    "{values} values stay in {}, which cannot be read",
                    file.display()
                )
            };
            self.losses
                .unreported
                .unreadable_message
                .get_or_insert_with(said);
        }
    }

    /// Counts and says what was lost of a segment that is read to its end.
    pub(in crate::shipper) fn report_damage(&mut self, cursor: &mut Cursor) {
        let unread = cursor.values_unread();
        self.losses.unreported.values += unread;
        if unread > 0 && !cursor.damage.is_present() {
            // Somebody has cut the file.
            cursor.damage.record(&cursor.segment, cursor.offset);
            self.losses.unreported.records += unread;
            self.record_damaged(cursor);
        }
        let Damage {
            first_offset: Some(offset),
            skipped_bytes,
            nameless_values: nameless,
            ..
        } = cursor.damage
        else {
            return;
        };
        static DAMAGED: WarningLimit = WarningLimit::new();
        if let Some(end) = DAMAGED.admit() {
            tracing::warn!(
                target: "mlflow", file = ?cursor.segment.file(), offset, skipped_bytes, nameless,
                "a journal file is damaged; everything else in it is shipped, and it is kept in the folder \
                 `damaged` of the journal{end}"
            );
        }
    }

    /// Returns what was lost since the last call.
    pub(in crate::shipper) fn take_lost(&mut self) -> LossReport {
        std::mem::take(&mut self.losses.unreported)
    }

    /// Returns the name of a metric that its own segment does not define. The numbers of names that
    /// the program binds are the same in all segments of a process.
    pub(in crate::shipper) fn find_metric_name(
        &mut self,
        cursor: &mut Cursor,
        id: u32,
    ) -> Option<Arc<str>> {
        if !crate::journal::is_interned(id) {
            return None;
        }
        // To a live journal, segments are added meanwhile.
        let is_late = self.is_live() && !std::mem::replace(&mut cursor.damage.has_searched, true);
        if is_late || self.losses.names.is_none() {
            self.losses.names = Some(self.collect_metric_names());
        }
        self.losses.names.as_ref()?.get(&id).map(Arc::clone)
    }

    fn collect_metric_names(&self) -> FxHashMap<u32, Arc<str>> {
        let segments = match &self.owner {
            JournalOwner::Live { journal, .. } => journal.segments(),
            JournalOwner::Orphan { directory } => {
                let segments = directory.segments().unwrap_or_default();
                segments.into_iter().map(Arc::new).collect()
            }
        };
        let mut names = FxHashMap::default();
        for segment in segments {
            let Some(bytes) = segment.read().ok().filter(SegmentBytes::has_known_format) else {
                continue;
            };
            bytes.for_each_whole(|body, _| {
                if let Some(Record::Definition(Definition::Key { id, name })) = Record::decode(body)
                    && crate::journal::is_interned(id)
                {
                    names.entry(id).or_insert_with(|| Arc::from(&*name));
                }
            });
        }
        names
    }

    /// Returns true if the run at the cursor of a live journal will not be named any more: its
    /// segment is damaged, and the other segments had their time.
    pub(in crate::shipper) fn has_lost_name(&self, cursor: &mut Cursor, run: u32) -> bool {
        if self.runs.get(run).is_some() || !cursor.damage.is_present() {
            return false;
        }
        let missed = *cursor.damage.missed_since.get_or_insert_with(Instant::now);
        missed.elapsed() > START_READ_TIMEOUT
    }

    /// Moves what is damaged out of a dead journal's directory, with the artifacts that may have been
    /// named there: those that were delivered are gone. False if something could not be moved.
    pub(in crate::shipper) fn keep_damaged(&self, directory: &Directory) -> bool {
        if self.losses.segments.is_empty() {
            return true;
        }
        let kept = self
            .losses
            .segments
            .iter()
            .try_for_each(|segment| segment.remove_file());
        let kept = kept.and_then(|()| keep_artifacts(directory.path()));
        kept.map_err(|error| quarantine::warn_quarantine_failed(directory.path(), &error))
            .is_ok()
    }
}

fn keep_artifacts(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let file = entry?.path();
        if file
            .extension()
            .is_some_and(|end| end == ARTIFACT_EXTENSION)
        {
            quarantine::quarantine_file(&file)?;
        }
    }
    Ok(())
}
