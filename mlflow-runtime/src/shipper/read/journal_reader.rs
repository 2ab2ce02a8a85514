//! The reader of one journal: this process's own while it is written, or an orphaned one.
//!
//! # Invariants
//!
//! 1. Every entry is handed out once, in the order of its segment, and never before the start of its run.
//! 2. Within a batch, events are in the order in which they happened, whatever their threads: see
//!    [`Journal::current_sequence`]. A batch ends at its budget, so a tag or artifact may be read after a
//!    newer one of the same key or path; it is left out then.
//! 3. A segment is acknowledged up to the offset before which everything is settled.
//! 4. A segment is deleted when all of the following hold. It is settled to its end, and nothing in it has to
//!    stay there. The runs that it started have ended. The [console
//!    logs](crate::shipper::queue::console_logs) that it names are completely in the store. No event of
//!    another segment that happened before one of its own is still to be delivered: whoever reads the journal
//!    after a kill has to see which events supersede that one.
//!
//! An entry is *settled* when it is delivered, rejected, or copied to another segment where it waits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::directory::Directory;
use crate::journal::record::Origin;
use crate::journal::segment::mapped::HEADER_BYTES;
use crate::journal::segment::{Frame, Segment};
use crate::journal::{Journal, entry_log};
use crate::shipper::batch::{ReadBatch, Rejection, RunBatch, SpentFile};
use crate::shipper::batch_size::AdaptiveBatchSize;
use crate::shipper::chosen_steps::ChosenSteps;
use crate::shipper::journal_owner::JournalOwner;
use crate::shipper::queue::console_logs::ConsoleLogs;
use crate::shipper::queue::deferred_artifacts::DeferredArtifacts;
use crate::shipper::queue::lane::Lane;
use crate::shipper::queue::parked_runs::ParkedRuns;
use crate::shipper::queue::rejected_entries::{KeepResult, RejectedEntries};
use crate::shipper::queue::thinned_points::{ThinnedPoints, ThinnedRun};
use crate::shipper::read::cursor::{Cursor, ReadPosition};
use crate::shipper::read::damage::Losses;
use crate::shipper::run_link::RunLinks;
use crate::shipper::run_states::RunStates;
use crate::time;

/// A journal that is being read, with its cursors, the states of its runs, and the queues of what waits.
pub(crate) struct JournalReader {
    pub(in crate::shipper) owner: JournalOwner,
    pub(in crate::shipper) cursors: Vec<Cursor>,
    pub(in crate::shipper) runs: RunStates,
    /// True if cursors were made for the segments of an orphaned journal.
    has_opened_segments: bool,
    /// True if the segments of an orphaned journal could not be listed, or have to be kept.
    is_incomplete: bool,
    /// True if segments are damaged or cannot be read, or were removed before they were read.
    pub(in crate::shipper) has_lost: bool,
    /// Runs that nobody could log to any more when the last reading began.
    ended_runs: Vec<u32>,
    /// Sequence number before which every event is settled.
    settled_events: u64,
    /// True while a batch is not acknowledged. The batch refers to cursors by index, so none is removed.
    has_unacknowledged_batch: bool,
    /// Number of batches of lanes that are not acknowledged. While one is delivered, the lane of points that are left out may
    /// be read.
    unacknowledged_lanes: usize,
    /// Steps that were found for points at the last step of their key.
    pub(in crate::shipper) chosen_steps: ChosenSteps,
    /// Artifacts that wait alone.
    pub(in crate::shipper) deferred: DeferredArtifacts,
    /// Runs that wait alone.
    pub(in crate::shipper) parked: ParkedRuns,
    /// Points that are left out of the metrics of runs.
    pub(in crate::shipper) thinned: ThinnedPoints,
    /// Entries that the store has rejected.
    pub(in crate::shipper) refused: RejectedEntries,
    /// Destination that rejects entries, if it is not the one that the journal names.
    rejecting_destination: Option<String>,
    /// Number of entries that have to stay in the segments they were read from.
    pub(in crate::shipper) blocked_in_place: usize,
    /// Segments of copied entries that may not be synced to the device yet.
    pub(in crate::shipper) unsynced_segments: Vec<Arc<Segment>>,
    /// Segments of an orphaned journal that are not needed any more.
    settled_segments: Vec<Arc<Segment>>,
    /// Console logs of the runs.
    pub(in crate::shipper) consoles: ConsoleLogs,
    /// Records and files that cannot be read.
    pub(in crate::shipper) losses: Losses,
    /// Files to be deleted once none of these segments is [pinned](Cursor::is_pinned).
    spent_files: Vec<(PathBuf, Vec<Arc<Segment>>)>,
}

impl JournalReader {
    /// Creates the reader of this process's journal.
    pub(crate) fn for_live(journal: Arc<Journal>, links: Arc<RunLinks>) -> Self {
        Self::new(JournalOwner::Live { journal, links })
    }

    /// Sets the destination for which rejected entries are kept: the journal may name another one.
    pub(in crate::shipper) fn with_destination(mut self, destination: Option<String>) -> Self {
        self.rejecting_destination = destination;
        self
    }

    /// Returns the destination of this process's journal; `None` for an orphaned journal.
    pub(in crate::shipper) fn destination(&self) -> Option<String> {
        match &self.owner {
            JournalOwner::Live { journal, .. } => Some(journal.origin().destination.clone()),
            JournalOwner::Orphan { .. } => None,
        }
    }

    /// Creates the reader of an orphaned journal that the caller has locked, and surveys its runs.
    pub(crate) fn for_orphan(directory: Directory) -> Self {
        let chosen_steps = ChosenSteps::read(directory.path());
        let mut reader = Self::new(JournalOwner::Orphan { directory });
        reader.chosen_steps = chosen_steps;
        reader.open_segments();
        // The runs have to be known before the first entry is handed out: a metric may be in an older segment
        // than the start of its run.
        let mut last = Vec::new();
        for (index, cursor) in reader.cursors.iter_mut().enumerate() {
            if let Some(bytes) = cursor.load() {
                match bytes.frame(HEADER_BYTES) {
                    Frame::Whole { .. } => {
                        reader.runs.scan_segment(&bytes, cursor.settled_offset());
                    }
                    // Without its origin, the segment is scanned after one that has the same origin.
                    Frame::End | Frame::Torn => last.push(index),
                }
                cursor.unload();
            }
        }
        for index in last {
            if let Some(cursor) = reader.cursors.get_mut(index)
                && let Some(bytes) = cursor.load()
            {
                reader.runs.scan_segment(&bytes, cursor.settled_offset());
                cursor.unload();
            }
        }
        reader
    }

    fn new(owner: JournalOwner) -> Self {
        Self {
            owner,
            cursors: Vec::new(),
            runs: RunStates::default(),
            has_opened_segments: false,
            is_incomplete: false,
            has_lost: false,
            ended_runs: Vec::new(),
            settled_events: 0,
            has_unacknowledged_batch: false,
            unacknowledged_lanes: 0,
            chosen_steps: ChosenSteps::default(),
            deferred: DeferredArtifacts::default(),
            parked: ParkedRuns::default(),
            thinned: ThinnedPoints::default(),
            refused: RejectedEntries::default(),
            rejecting_destination: None,
            blocked_in_place: 0,
            unsynced_segments: Vec::new(),
            settled_segments: Vec::new(),
            consoles: ConsoleLogs::default(),
            losses: Losses::default(),
            spent_files: Vec::new(),
        }
    }

    pub(in crate::shipper) fn is_live(&self) -> bool {
        matches!(self.owner, JournalOwner::Live { .. })
    }

    fn open_segments(&mut self) {
        let segments = match &self.owner {
            JournalOwner::Live { journal, .. } => journal.segments(),
            JournalOwner::Orphan { directory } if !self.has_opened_segments => {
                // The directory was listed a moment ago. Segments that cannot be listed now are left for the
                // next process.
                let segments = directory.segments();
                self.is_incomplete = segments.is_err();
                let segments = segments.unwrap_or_default();
                segments.into_iter().map(Arc::new).collect()
            }
            JournalOwner::Orphan { .. } => return,
        };
        self.has_opened_segments = true;
        for segment in segments {
            if !self
                .cursors
                .iter()
                .any(|cursor| Arc::ptr_eq(&cursor.segment, &segment))
            {
                self.cursors.push(Cursor::new(segment));
            }
        }
    }

    /// Reads up to about `budget` entries. A batch that is not empty has to be
    /// [acknowledged](Self::acknowledge) before the next call.
    pub(crate) fn read(&mut self, budget: usize) -> ReadBatch {
        self.ended_runs = self.runs.closed_runs();
        // The order matters: first the limit, then the list, then the bytes (invariant 2).
        let limit = match &self.owner {
            JournalOwner::Live { journal, .. } => Some(journal.current_sequence()),
            JournalOwner::Orphan { .. } => None,
        };
        let mut read_batch = ReadBatch::with_event_limit(limit.unwrap_or(u64::MAX));
        self.open_segments();
        self.cursors.iter_mut().for_each(Cursor::begin_pass);
        // Ordered entries come first: earlier readings may have made them ready, and other entries may fill
        // this batch.
        self.read_ordered(limit, budget, &mut read_batch);
        self.read_segments(limit, budget, &mut read_batch);
        if !self.read_ordered(limit, budget, &mut read_batch) {
            read_batch.mark_incomplete();
        }
        self.has_unacknowledged_batch = true;
        if !read_batch.is_empty() && read_batch.oldest_ms.is_none() {
            read_batch.record_time(time::now_ms());
        }
        read_batch.sort();
        read_batch
    }

    /// Continues in each segment, until the batch holds about `budget` entries.
    fn read_segments(&mut self, limit: Option<u64>, budget: usize, read_batch: &mut ReadBatch) {
        let mut cursors = std::mem::take(&mut self.cursors);
        for (index, cursor) in cursors.iter_mut().enumerate() {
            if !cursor.is_open() || cursor.position != ReadPosition::Middle {
                continue;
            }
            // The budget is checked before the segment is read, so that a backlog does not end up in memory.
            if read_batch.is_full(budget) {
                read_batch.mark_incomplete();
            } else {
                self.read_cursor(index, cursor, limit, budget, read_batch);
            }
        }
        self.cursors = cursors;
    }

    /// Reads up to about `budget` entries of a lane.
    pub(in crate::shipper) fn read_lane(&mut self, lane: Lane, budget: usize) -> ReadBatch {
        let mut read_batch = ReadBatch::with_event_limit(0);
        let mut cursors = std::mem::take(&mut self.cursors);
        for (index, cursor) in cursors.iter_mut().enumerate() {
            if cursor.lane == Some(lane) && !read_batch.is_full(budget) && !cursor.is_finished {
                self.read_cursor(index, cursor, None, budget, &mut read_batch);
            }
        }
        self.cursors = cursors;
        self.unacknowledged_lanes += usize::from(!read_batch.is_empty());
        read_batch.sort();
        read_batch
    }

    /// Goes back to where the lane is delivered: the batch that was read of it last could not be.
    pub(in crate::shipper) fn rewind(&mut self, lane: Lane) {
        self.unacknowledged_lanes = self.unacknowledged_lanes.saturating_sub(1);
        for cursor in &mut self.cursors {
            if cursor.lane == Some(lane) {
                cursor.rewind();
            }
        }
    }

    /// Acknowledges the batch that was read of the lane last.
    pub(in crate::shipper) fn acknowledge_lane(&mut self, lane: Lane, read_batch: &ReadBatch) {
        self.unacknowledged_lanes = self.unacknowledged_lanes.saturating_sub(1);
        let mut segments = Vec::new();
        for cursor in &mut self.cursors {
            if cursor.lane == Some(lane) {
                cursor.set_delivered();
                segments.push(Arc::clone(&cursor.segment));
            }
        }
        self.forget_steps(read_batch, false);
        for file in self.parked.take_handed_over(lane, read_batch) {
            self.delete_when_unpinned(file, segments.clone());
        }
        self.delete_spent_files(read_batch);
        self.settle();
    }

    /// Sets the step of the points of `run_batch` at the last step of their key, and notes it in a file beside the
    /// segments. `stored` has the greatest step of each key in the store.
    pub(in crate::shipper) fn choose_last_steps(
        &mut self,
        run_batch: &mut RunBatch,
        stored: &HashMap<String, i64>,
    ) {
        // The store does not have the points that are left out.
        let mut stored = Cow::Borrowed(stored);
        let left_out = self.thinned.get(run_batch.run);
        for point in left_out.map(ThinnedRun::all_greatest).unwrap_or_default() {
            let steps = stored.to_mut();
            let step = steps.entry(point.key.to_string()).or_insert(point.step);
            *step = (*step).max(point.step);
        }
        let state = self.runs.get(run_batch.run);
        let in_doubt = state.map(|state| &state.steps_in_doubt);
        let found = run_batch.find_last_steps(&stored, in_doubt, &self.chosen_steps);
        let directory = self.spool_directory();
        // An error does not hold the points back: without a note, a point is sent twice only after a kill.
        let _ = self.chosen_steps.add(directory.as_deref(), &found);
    }

    /// Notes that metrics of a run are about to be sent, if `run_batch` has any.
    pub(in crate::shipper) fn note_metrics(&mut self, run_batch: &RunBatch) {
        if !run_batch.metrics.is_empty()
            && let Some(state) = self.runs.get_mut(run_batch.run)
        {
            state.has_metrics = true;
        }
    }

    /// Forgets the noted steps of points that were delivered, except for those that may be read again.
    /// `is_only` is true if no other batch is being delivered.
    fn forget_steps(&mut self, read_batch: &ReadBatch, is_only: bool) {
        // A process that died while it copied an entry has left the entry twice.
        let is_live = self.is_live();
        for (sequence, cursors) in read_batch.noted_points() {
            let mut cursors = cursors.iter().filter_map(|index| self.cursors.get(*index));
            if is_live && !cursors.any(Cursor::is_pinned) {
                self.chosen_steps.remove(sequence);
            }
        }
        let waits = !self.parked.is_empty() || !self.deferred.is_empty();
        if is_only && !read_batch.has_more && !waits && !self.cursors.iter().any(Cursor::is_pinned)
        {
            self.chosen_steps.clear();
        }
    }

    /// Keeps the segments of a run's entries, as the entries have to wait and could not be copied.
    pub(in crate::shipper) fn block_in_place(&mut self, run_batch: &RunBatch, entries: usize) {
        self.blocked_in_place += entries;
        for index in &run_batch.cursors {
            if let Some(cursor) = self.cursors.get_mut(*index) {
                cursor.is_blocked = true;
            }
        }
    }

    /// Keeps all segments of an orphaned journal, as one of its runs could not be closed.
    pub(in crate::shipper) fn keep_all(&mut self) {
        self.is_incomplete = true;
        self.settled_segments.clear();
    }

    /// Returns how many values of the journal are blocked until a person acts, or a newer version reads them.
    pub(in crate::shipper) fn blocked_entries(&self) -> usize {
        self.parked.blocked_entries()
            + self.deferred.blocked_count()
            + self.blocked_in_place
            + self.blocked_thinned()
    }

    /// Returns the number of points that are left out of runs which are blocked until a person acts.
    fn blocked_thinned(&self) -> usize {
        let waiting = self.thinned.waiting().into_iter();
        let blocked = waiting.filter(|(run, _)| self.parked.is_run_blocked(*run));
        blocked.map(|(_, points)| points).sum()
    }

    /// Returns the number of points that are left out and gather for a file.
    pub(in crate::shipper) fn gathering_points(&self) -> usize {
        let waiting = self.thinned.waiting().into_iter();
        let gathering = waiting.filter(|(run, _)| !self.parked.is_run_blocked(*run));
        gathering.map(|(_, points)| points).sum()
    }

    /// Returns how many console logs are blocked until a person acts.
    pub(in crate::shipper) fn blocked_consoles(&self) -> usize {
        self.consoles.blocked_count()
    }

    /// Returns the origin for segments of copied entries, and a function that creates such segments.
    pub(in crate::shipper) fn copy_target(
        &self,
    ) -> (Origin, Box<entry_log::OpenSegmentFn<'static>>) {
        match &self.owner {
            JournalOwner::Live { journal, .. } => {
                let journal = Arc::clone(journal);
                let origin = journal.origin().clone();
                (origin, Box::new(move |len| journal.open_copy(len)))
            }
            JournalOwner::Orphan { directory } => {
                let directory = directory.path().to_owned();
                let origin = self.runs.origin.clone();
                // Without an origin, no reader could know the destination of the copies.
                let is_known = origin.is_some();
                let open = move |len| {
                    if is_known {
                        entry_log::create_segment_in(&directory, len)
                    } else {
                        Err(std::io::ErrorKind::NotFound.into())
                    }
                };
                (origin.unwrap_or_default(), Box::new(open))
            }
        }
    }

    /// Returns true if the quota has space for copied metrics. An orphaned journal has no quota.
    pub(in crate::shipper) fn has_copy_quota(&self) -> bool {
        match &self.owner {
            JournalOwner::Live { journal, .. } => journal.copies_fit(),
            JournalOwner::Orphan { .. } => true,
        }
    }

    pub(in crate::shipper) fn record_copy_growth(&self, segment: &Segment, bytes: usize) {
        match &self.owner {
            JournalOwner::Live { journal, .. } => journal.record_copy_growth(segment, bytes),
            JournalOwner::Orphan { .. } => {
                segment.set_size_bytes(bytes as u64);
            }
        }
    }

    /// Counts metrics that were dropped, as the quota had no space for their copies.
    pub(in crate::shipper) fn count_dropped_copies(&self, values: usize) {
        if let JournalOwner::Live { journal, .. } = &self.owner {
            journal.count_dropped_copies(values as u64);
        }
    }

    /// Returns the directory of files beside the segments; `None` if the journal is in memory.
    pub(in crate::shipper) fn spool_directory(&self) -> Option<PathBuf> {
        match &self.owner {
            JournalOwner::Live { journal, .. } => journal.spool_directory(),
            JournalOwner::Orphan { directory } => Some(directory.path().to_owned()),
        }
    }

    pub(in crate::shipper) fn batch_size(&self, run: u32) -> AdaptiveBatchSize {
        let state = self.runs.get(run);
        state.map_or_else(AdaptiveBatchSize::default, |state| state.batch_size)
    }

    pub(in crate::shipper) fn change_batch_size(
        &mut self,
        run: u32,
        change: impl FnOnce(&mut AdaptiveBatchSize),
    ) {
        if let Some(state) = self.runs.get_mut(run) {
            change(&mut state.batch_size);
        }
    }

    /// Keeps entries that the store has rejected in a folder of their own.
    pub(in crate::shipper) fn keep_refused(
        &mut self,
        run: u32,
        refused: Vec<Rejection>,
    ) -> KeepResult {
        let Some(identity) = self.runs.get(run).map(|state| state.identity.clone()) else {
            return KeepResult {
                fault: Some(io::Error::other(
                    "the run of the rejected values is not known",
                )),
                ..KeepResult::default()
            };
        };
        let Some(directory) = self.spool_directory() else {
            // A journal in memory has no directory to keep anything in.
            return KeepResult::default();
        };
        let (mut origin, _) = self.copy_target();
        if let Some(destination) = &self.rejecting_destination {
            origin.destination.clone_from(destination);
        }
        let kept = self
            .refused
            .keep(&directory, &origin, run, &identity, refused);
        if let JournalOwner::Live { journal, .. } = &self.owner {
            // Their files belong to the folder now.
            journal.subtract_artifact_bytes(kept.file_bytes);
        }
        kept
    }

    pub(in crate::shipper) fn segments_of(&self, cursors: &[usize]) -> Vec<Arc<Segment>> {
        let found = cursors.iter().filter_map(|index| self.cursors.get(*index));
        found.map(|cursor| Arc::clone(&cursor.segment)).collect()
    }

    /// Acknowledges the batch that [`read`](Self::read) has returned last: everything in it is settled.
    /// Deletes segments and files that are not needed any more, and forgets runs that are over.
    pub(in crate::shipper) fn acknowledge(&mut self, read_batch: &ReadBatch) {
        for cursor in &mut self.cursors {
            if cursor.lane.is_none() {
                cursor.set_delivered();
            }
        }
        self.forget_steps(read_batch, true);
        self.delete_spent_files(read_batch);
        self.settled_events = self.settled_events.max(read_batch.events_before);
        self.has_unacknowledged_batch = false;
        self.settle();
        // Everything that was logged to ended runs has been read, so no later entry refers to them.
        if self.is_live() && !read_batch.has_more {
            for number in std::mem::take(&mut self.ended_runs) {
                if !self.is_needed(number) {
                    self.runs.forget(number);
                    self.thinned.forget(number);
                }
            }
        }
    }

    /// Returns true if something of a run that is over still waits.
    fn is_needed(&self, run: u32) -> bool {
        self.consoles.has_run(run)
            || self.parked.has_run(run)
            || self.deferred.has_run(run)
            || self.thinned.has_waiting(run)
    }

    fn delete_spent_files(&mut self, read_batch: &ReadBatch) {
        for SpentFile { file, cursors } in &read_batch.spent_files {
            self.delete_when_unpinned(file.clone(), self.segments_of(cursors));
        }
    }

    /// Deletes a file as soon as none of these segments is [pinned](Cursor::is_pinned).
    pub(in crate::shipper) fn delete_when_unpinned(
        &mut self,
        file: PathBuf,
        segments: Vec<Arc<Segment>>,
    ) {
        self.spent_files.push((file, segments));
    }

    /// Acknowledges what is settled in the segments, then deletes files and segments that are not needed any
    /// more. Everything is acknowledged before anything is deleted, as the process may be killed in between.
    /// Copies of entries are synced to the device first.
    pub(in crate::shipper) fn settle(&mut self) {
        for segment in std::mem::take(&mut self.unsynced_segments) {
            // If the device fails, the sync thread of the journal logs a warning.
            let _ = segment.sync_file();
        }
        self.cursors.iter_mut().for_each(Cursor::settle);
        self.chosen_steps.compact(self.spool_directory().as_deref());
        for (file, segments) in std::mem::take(&mut self.spent_files) {
            // Entries of a pinned segment may be read again, and then need the file.
            if segments
                .iter()
                .any(|segment| self.is_segment_pinned(segment))
            {
                self.spent_files.push((file, segments));
            } else {
                self.delete(&file);
            }
        }
        if self.has_unacknowledged_batch || self.unacknowledged_lanes > 0 {
            return;
        }
        let settled_events = self.settled_events;
        let (runs, consoles) = (&self.runs, &self.consoles);
        let (owner, settled) = (&self.owner, &mut self.settled_segments);
        let is_over = |number: &u32| runs.get(*number).is_none_or(|state| state.has_ended);
        self.cursors.retain(|cursor| {
            let done = !cursor.is_pinned()
                && cursor.is_exhausted()
                && cursor.last_event < Some(settled_events)
                && cursor.started_runs.iter().all(is_over)
                && !cursor.console_runs.iter().any(|run| consoles.has_run(*run));
            match owner {
                JournalOwner::Live { journal, .. } if done => journal.retire(&cursor.segment),
                JournalOwner::Orphan { .. } if done => settled.push(Arc::clone(&cursor.segment)),
                JournalOwner::Live { .. } | JournalOwner::Orphan { .. } => {}
            }
            !done
        });
    }

    fn delete(&self, file: &Path) {
        #[cfg(test)]
        crate::determinism::before_change();
        let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
        if fs::remove_file(file).is_ok()
            && let JournalOwner::Live { journal, .. } = &self.owner
        {
            journal.subtract_artifact_bytes(bytes);
        }
    }

    fn is_segment_pinned(&self, segment: &Arc<Segment>) -> bool {
        let mut kept = self.cursors.iter().filter(|cursor| cursor.is_pinned());
        kept.any(|cursor| Arc::ptr_eq(&cursor.segment, segment))
    }

    /// Returns the locked directory of an orphaned journal, so that it can be read later.
    pub(in crate::shipper) fn into_directory(self) -> Option<Directory> {
        match self.owner {
            JournalOwner::Orphan { directory } => Some(directory),
            JournalOwner::Live { .. } => None,
        }
    }

    /// Deletes an orphaned journal. If something in it is blocked or waits, deletes only the settled
    /// segments, and returns the directory and the number of blocked entries.
    pub(in crate::shipper) fn remove(self) -> Option<(PathBuf, usize)> {
        let JournalOwner::Orphan { directory } = &self.owner else {
            return None;
        };
        if !self.is_incomplete
            && self.consoles.is_empty()
            && self.parked.is_empty()
            && self.deferred.is_empty()
            && self.thinned.is_nothing_waiting()
            && !self.cursors.iter().any(Cursor::is_pinned)
            && self.keep_damaged(directory)
        {
            directory.remove();
            return None;
        }
        // Settled segments are deleted, so that they are not read again by every later process.
        for segment in &self.settled_segments {
            let _ = segment.remove_file();
        }
        let blocked = self.blocked_entries() + self.blocked_consoles();
        Some((directory.path().to_owned(), blocked))
    }
}
