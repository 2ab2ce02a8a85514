//! Damaged records and unreadable files of a journal: they are counted and warned of, and the files are kept.
//!
//! # Invariants
//!
//! 1. [`damaged`](crate::shipper::stats::Stats::damaged) counts lost records, each once, by the process that
//!    meets it first. A lost record is one of these: a damaged record, or a damaged stretch in which records
//!    cannot be told apart; a metric whose name, or a value whose run, was lost with such a record. Records
//!    that an earlier shipper has settled are not counted.
//! 2. The number of values in this process's own journal is known, as their writer has counted them. Values
//!    that cannot be read count as lost. Values in a file that cannot be read at all count as blocked.
//! 3. One warning is logged for each file, when it is read to its end.
//! 4. The file is marked at once, so that it is [quarantined](crate::journal::quarantine) and not deleted.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::journal::directory::{ARTIFACT_EXTENSION, Directory};
use crate::journal::quarantine;
use crate::journal::record::{Definition, Record};
use crate::journal::segment::SegmentBytes;
use crate::shipper::journal_owner::JournalOwner;
use crate::shipper::read::cursor::Cursor;
use crate::shipper::read::damage::{Damage, LossReport};
use crate::shipper::read::journal_reader::JournalReader;
use crate::shipper::run_states::START_READ_TIMEOUT;
use crate::warnings::{WarningLimit, warn_user};

impl JournalReader {
    /// Skips the damaged bytes before the offset `next`.
    pub(in crate::shipper) fn skip_damaged(&mut self, cursor: &mut Cursor, next: usize) {
        cursor.damage.record(&cursor.segment, cursor.offset);
        cursor.damage.skipped_bytes += next.saturating_sub(cursor.offset);
        if next > cursor.settled_offset() {
            self.losses.unreported.records += 1;
        }
        self.record_damaged(cursor);
        cursor.offset = next;
    }

    /// Leaves out the value at the cursor, as the record with its name or run was lost.
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
        // The lost records may include the start of a run.
        self.has_lost = true;
    }

    /// Counts the values of a segment that cannot be read, and is kept, as blocked.
    pub(in crate::shipper) fn block_unreadable(&mut self, cursor: &Cursor) {
        let values = cursor.values_unread();
        if values > 0 {
            self.blocked_in_place += values;
            let file = cursor.segment.file().unwrap_or(Path::new("memory"));
            let said = || {
                format!(
                    "{values} values are in the journal file {}, which cannot be read",
                    file.display()
                )
            };
            self.losses
                .unreported
                .unreadable_message
                .get_or_insert_with(said);
        }
    }

    /// Counts the values lost in a segment that was read to its end, and logs a warning if it is damaged.
    pub(in crate::shipper) fn report_damage(&mut self, cursor: &mut Cursor) {
        let unread = cursor.values_unread();
        self.losses.unreported.values += unread;
        if unread > 0 && !cursor.damage.is_present() {
            // The file was truncated.
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
            warn_user(format_args!(
                "a journal file is damaged; the undamaged records are shipped, and the file is moved to the folder \
                 `damaged-<uid>` beside the journals{end}: {:?}, {skipped_bytes} bytes from {offset} on, {nameless} values without a name",
                cursor.segment.file()
            ));
        }
    }

    /// Returns the losses that were found since the last call.
    pub(in crate::shipper) fn take_lost(&mut self) -> LossReport {
        std::mem::take(&mut self.losses.unreported)
    }

    /// Returns the name of a metric that its own segment does not define, from another segment. This is
    /// possible only for interned names, whose ids are the same in all segments of a process.
    pub(in crate::shipper) fn find_metric_name(
        &mut self,
        cursor: &mut Cursor,
        id: u32,
    ) -> Option<Arc<str>> {
        if !crate::journal::is_interned(id) {
            return None;
        }
        // A live journal gets new segments meanwhile, so they are searched once more for each damaged one.
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

    /// Returns true if the identity of the run at the cursor of a live journal is lost: the segment is
    /// damaged, and no other segment has defined the run for [`START_READ_TIMEOUT`].
    pub(in crate::shipper) fn has_lost_name(&self, cursor: &mut Cursor, run: u32) -> bool {
        if self.runs.get(run).is_some() || !cursor.damage.is_present() {
            return false;
        }
        let missed = *cursor.damage.missed_since.get_or_insert_with(Instant::now);
        missed.elapsed() > START_READ_TIMEOUT
    }

    /// Moves the damaged segments of an orphaned journal to the quarantine. All artifacts that are left are
    /// moved, too, as the damaged records may have named them; delivered ones are deleted already. Returns
    /// false if something could not be moved.
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
