//! Reading a journal: this process's while it is written, or one that a dead process left.
//!
//! # Invariants
//!
//! 1. Every entry is handed out once, in the order of its segment; none before the start of its run.
//! 2. Within a pass, events stand in the order in which they happened, whatever their threads: see
//!    [`Journal::current_sequence`]. A tag or artifact that comes in a later pass than one that superseded it
//!    (a pass ends at its budget) is left out.
//! 3. A segment is acknowledged up to where everything before is settled, and deleted when it is
//!    settled to its end, the runs it started have ended, the [`consoles`](crate::shipper::deliver::console_logs) it names
//!    are whole in the store, and no event of another segment that
//!    happened before one of its own is still to be delivered: whoever reads the journal after a
//!    kill has to see what supersedes it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::directory::Directory;
use crate::journal::record::Origin;
use crate::journal::segment::mapped::HEADER_BYTES;
use crate::journal::segment::{Frame, Segment};
use crate::journal::{Journal, entry_log};
use crate::shipper::deliver::batch_size::AdaptiveBatchSize;
use crate::shipper::deliver::console_logs::ConsoleLogs;
use crate::shipper::deliver::deferred_artifacts::DeferredArtifacts;
use crate::shipper::deliver::noted_steps::NotedSteps;
use crate::shipper::deliver::parked_runs::{Lane, ParkedRuns};
use crate::shipper::deliver::refused::{KeepResult, RejectedEntries};
use crate::shipper::read::batch::{ReadBatch, Rejection, RunBatch, SpentFile};
use crate::shipper::read::cursor::{Cursor, ReadPosition};
use crate::shipper::read::damage::Losses;
use crate::shipper::read::run_states::RunStates;
use crate::shipper::run_link::RunLinks;
use crate::time;

/// A journal being read.
pub(crate) struct JournalReader {
    pub(in crate::shipper) owner: JournalOwner,
    pub(in crate::shipper) cursors: Vec<Cursor>,
    pub(in crate::shipper) runs: RunStates,
    /// Whether a dead journal's segments have their cursors.
    has_opened_segments: bool,
    /// Whether they could not be listed, or have to stay as they are.
    is_incomplete: bool,
    /// Whether segments were removed before they were read, or are damaged.
    pub(in crate::shipper) has_lost: bool,
    /// Runs that nobody could log to any more when the last reading began.
    ended_runs: Vec<u32>,
    /// Every event before this one in the order of all events is settled.
    settled_events: u64,
    /// Whether a pass is on its way: it knows the cursors by their places.
    has_unacknowledged_batch: bool,
    /// The last steps that were found of keys.
    pub(in crate::shipper) noted_steps: NotedSteps,
    /// Artifacts that wait by themselves.
    pub(in crate::shipper) deferred: DeferredArtifacts,
    /// Runs that wait by themselves.
    pub(in crate::shipper) parked: ParkedRuns,
    /// What the store has refused for good.
    pub(in crate::shipper) refused: RejectedEntries,
    /// The destination that refuses, where the journal names another one.
    rejecting_destination: Option<String>,
    /// Entries that have to stay in the segments they were read from.
    pub(in crate::shipper) blocked_in_place: usize,
    /// Segments of copied entries that the device may not have yet.
    pub(in crate::shipper) unsynced_segments: Vec<Arc<Segment>>,
    /// A dead journal's segments that nobody needs any more.
    settled_segments: Vec<Arc<Segment>>,
    /// What runs say in words.
    pub(in crate::shipper) consoles: ConsoleLogs,
    /// What cannot be read.
    pub(in crate::shipper) losses: Losses,
    /// Files that nobody needs any more once these segments no longer keep their place.
    spent_files: Vec<(PathBuf, Vec<Arc<Segment>>)>,
}

/// Whose journal it is.
pub(crate) enum JournalOwner {
    Live {
        journal: Arc<Journal>,
        links: Arc<RunLinks>,
    },
    Orphan {
        directory: Directory,
    },
}

impl JournalReader {
    /// This process's journal.
    pub(crate) fn for_live(journal: Arc<Journal>, links: Arc<RunLinks>) -> Self {
        Self::new(JournalOwner::Live { journal, links })
    }

    /// Has what is refused be kept for the destination that it is sent to: the journal may name another.
    pub(in crate::shipper) fn with_destination(mut self, destination: Option<String>) -> Self {
        self.rejecting_destination = destination;
        self
    }

    /// Returns the destination of this process's journal.
    pub(in crate::shipper) fn destination(&self) -> Option<String> {
        match &self.owner {
            JournalOwner::Live { journal, .. } => Some(journal.origin().destination.clone()),
            JournalOwner::Orphan { .. } => None,
        }
    }

    /// A dead process's journal, locked by the caller.
    pub(crate) fn for_orphan(directory: Directory) -> Self {
        let noted_steps = NotedSteps::read(directory.path());
        let mut source = Self::new(JournalOwner::Orphan { directory });
        source.noted_steps = noted_steps;
        source.open_segments();
        // Which runs there are has to be known before the first entry goes out: a metric may
        // stand in an older segment than the start of its run.
        let mut last = Vec::new();
        for (index, cursor) in source.cursors.iter_mut().enumerate() {
            if let Some(bytes) = cursor.load() {
                match bytes.frame(HEADER_BYTES) {
                    Frame::Whole { .. } => {
                        source.runs.scan_segment(&bytes, cursor.settled_offset());
                    }
                    // Its origin is lost: another segment has the same.
                    Frame::End | Frame::Torn => last.push(index),
                }
                cursor.unload();
            }
        }
        for index in last {
            if let Some(cursor) = source.cursors.get_mut(index)
                && let Some(bytes) = cursor.load()
            {
                source.runs.scan_segment(&bytes, cursor.settled_offset());
                cursor.unload();
            }
        }
        source
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
            noted_steps: NotedSteps::default(),
            deferred: DeferredArtifacts::default(),
            parked: ParkedRuns::default(),
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
                // It was listed a moment ago. What is not seen now stays for the next process.
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

    /// Reads up to about `budget` entries.
    pub(crate) fn read(&mut self, budget: usize) -> ReadBatch {
        self.ended_runs = self.runs.closed_runs();
        // The order matters: first the limit, then the list, then the bytes (invariant 2).
        let limit = match &self.owner {
            JournalOwner::Live { journal, .. } => Some(journal.current_sequence()),
            JournalOwner::Orphan { .. } => None,
        };
        let mut pass = ReadBatch::with_event_limit(limit.unwrap_or(u64::MAX));
        self.open_segments();
        self.cursors.iter_mut().for_each(Cursor::begin_pass);
        // First, as what was read in earlier passes may do, and others may fill this one.
        self.read_ordered(limit, budget, &mut pass);
        self.read_segments(limit, budget, &mut pass);
        if !self.read_ordered(limit, budget, &mut pass) {
            pass.mark_incomplete();
        }
        self.has_unacknowledged_batch = true;
        if !pass.is_empty() && pass.oldest_ms.is_none() {
            pass.record_time(time::now_ms());
        }
        pass.sort();
        pass
    }

    /// Reads on in each segment, up to about `budget` entries in all.
    fn read_segments(&mut self, limit: Option<u64>, budget: usize, pass: &mut ReadBatch) {
        let mut cursors = std::mem::take(&mut self.cursors);
        for (index, cursor) in cursors.iter_mut().enumerate() {
            if !cursor.is_open() || cursor.position != ReadPosition::Middle {
                continue;
            }
            // Before the segment is looked at: a backlog must not end up in memory.
            if pass.is_full(budget) {
                pass.mark_incomplete();
            } else {
                self.read_cursor(index, cursor, limit, budget, pass);
            }
        }
        self.cursors = cursors;
    }

    /// Reads up to about `budget` entries of a lane.
    pub(in crate::shipper) fn read_lane(&mut self, lane: Lane, budget: usize) -> ReadBatch {
        let mut pass = ReadBatch::with_event_limit(0);
        let mut cursors = std::mem::take(&mut self.cursors);
        for (index, cursor) in cursors.iter_mut().enumerate() {
            if cursor.lane == Some(lane) && !pass.is_full(budget) && !cursor.is_finished {
                self.read_cursor(index, cursor, None, budget, &mut pass);
            }
        }
        self.cursors = cursors;
        pass.sort();
        pass
    }

    /// What was read of the lane last could not be delivered.
    pub(in crate::shipper) fn rewind(&mut self, lane: Lane) {
        for cursor in &mut self.cursors {
            if cursor.lane == Some(lane) {
                cursor.rewind();
            }
        }
    }

    /// What was read of the lane last is settled.
    pub(in crate::shipper) fn acknowledge_lane(&mut self, lane: Lane, pass: &ReadBatch) {
        let mut segments = Vec::new();
        for cursor in &mut self.cursors {
            if cursor.lane == Some(lane) {
                cursor.set_delivered();
                segments.push(Arc::clone(&cursor.segment));
            }
        }
        self.forget_steps(pass, false);
        for file in self.parked.take_handed_over(lane, pass) {
            self.delete_when_unpinned(file, segments.clone());
        }
        self.delete_spent_files(pass);
        self.settle();
    }

    /// Notes the last steps that were found of keys.
    pub(in crate::shipper) fn note_steps(&mut self, found: &[(u64, i64)]) {
        let directory = self.spool_directory();
        // A point is not held back for the note of it: without one, it is sent twice only after a kill.
        let _ = self.noted_steps.add(directory.as_deref(), found);
    }

    /// Forgets the steps of points that were delivered, but for those that may be read again. `is_only`: nothing else
    /// is on its way.
    fn forget_steps(&mut self, pass: &ReadBatch, is_only: bool) {
        for (sequence, cursors) in pass.noted_points() {
            let mut cursors = cursors.iter().filter_map(|index| self.cursors.get(*index));
            if !cursors.any(Cursor::is_pinned) {
                self.noted_steps.remove(sequence);
            }
        }
        let waits = !self.parked.is_empty() || !self.deferred.is_empty();
        if is_only && !pass.has_more && !waits && !self.cursors.iter().any(Cursor::is_pinned) {
            self.noted_steps.clear();
        }
    }

    /// Keeps the segments of a run's entries: what waits by itself cannot be copied.
    pub(in crate::shipper) fn block_in_place(&mut self, work: &RunBatch, entries: usize) {
        self.blocked_in_place += entries;
        for index in &work.cursors {
            if let Some(cursor) = self.cursors.get_mut(*index) {
                cursor.is_blocked = true;
            }
        }
    }

    /// Keeps all segments of a dead journal: one of its runs could not be closed.
    pub(in crate::shipper) fn keep_all(&mut self) {
        self.is_incomplete = true;
        self.settled_segments.clear();
    }

    /// Returns how many values of the journal wait for a person, or for a newer version.
    pub(in crate::shipper) fn blocked_entries(&self) -> usize {
        self.parked.blocked_entries() + self.deferred.blocked_count() + self.blocked_in_place
    }

    /// Returns how many consoles wait for a person.
    pub(in crate::shipper) fn blocked_consoles(&self) -> usize {
        self.consoles.blocked_count()
    }

    /// Returns the origin that copied entries begin with, and who opens segments for them.
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
                // Nobody would know whose the copies are.
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

    /// Returns whether there is room for copied metrics.
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

    /// Counts metrics for whose copies there was no room.
    pub(in crate::shipper) fn count_dropped_copies(&self, values: usize) {
        if let JournalOwner::Live { journal, .. } = &self.owner {
            journal.count_dropped_copies(values as u64);
        }
    }

    /// Returns where files lie beside the segments; `None` where the journal is in memory.
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
        change: fn(&mut AdaptiveBatchSize),
    ) {
        if let Some(state) = self.runs.get_mut(run) {
            change(&mut state.batch_size);
        }
    }

    /// Keeps what the store has refused for good in a folder of its own.
    pub(in crate::shipper) fn keep_refused(
        &mut self,
        run: u32,
        refused: Vec<Rejection>,
    ) -> KeepResult {
        let Some(identity) = self.runs.get(run).map(|state| state.identity.clone()) else {
            return KeepResult {
                fault: Some(io::Error::other("their run is not known")),
                ..KeepResult::default()
            };
        };
        let Some(directory) = self.spool_directory() else {
            // There is no place to keep anything.
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
            // They are the folder's now.
            journal.subtract_artifact_bytes(kept.file_bytes);
        }
        kept
    }

    pub(in crate::shipper) fn segments_of(&self, cursors: &[usize]) -> Vec<Arc<Segment>> {
        let found = cursors.iter().filter_map(|index| self.cursors.get(*index));
        found.map(|cursor| Arc::clone(&cursor.segment)).collect()
    }

    /// Everything that [`read`](Self::read) has handed out is settled, or waits by itself.
    pub(in crate::shipper) fn acknowledge(&mut self, pass: &ReadBatch) {
        for cursor in &mut self.cursors {
            if cursor.lane.is_none() {
                cursor.set_delivered();
            }
        }
        self.forget_steps(pass, true);
        self.delete_spent_files(pass);
        self.settled_events = self.settled_events.max(pass.events_before);
        self.has_unacknowledged_batch = false;
        self.settle();
        // Everything logged to them was read, so nothing will mention them again.
        if self.is_live() && !pass.has_more {
            for number in std::mem::take(&mut self.ended_runs) {
                if !self.is_needed(number) {
                    self.runs.forget(number);
                }
            }
        }
    }

    /// Returns whether something of a run that is over still waits by itself.
    fn is_needed(&self, run: u32) -> bool {
        self.consoles.has_run(run) || self.parked.has_run(run) || self.deferred.has_run(run)
    }

    fn delete_spent_files(&mut self, pass: &ReadBatch) {
        for SpentFile { file, cursors } in &pass.spent_files {
            self.delete_when_unpinned(file.clone(), self.segments_of(cursors));
        }
    }

    /// Has a file go as soon as none of these segments keeps its place.
    pub(in crate::shipper) fn delete_when_unpinned(
        &mut self,
        file: PathBuf,
        segments: Vec<Arc<Segment>>,
    ) {
        self.spent_files.push((file, segments));
    }

    /// Notes what is settled, all of it before anything is deleted: the process may be killed on
    /// the way. First the device has to have the copies.
    pub(in crate::shipper) fn settle(&mut self) {
        for segment in std::mem::take(&mut self.unsynced_segments) {
            // Where the device fails, the journal's own thread says so.
            let _ = segment.sync_file();
        }
        self.cursors.iter_mut().for_each(Cursor::settle);
        self.noted_steps.compact(self.spool_directory().as_deref());
        for (file, segments) in std::mem::take(&mut self.spent_files) {
            // What stands in a segment that keeps its place may be read again.
            if segments
                .iter()
                .any(|segment| self.is_segment_pinned(segment))
            {
                self.spent_files.push((file, segments));
            } else {
                self.delete(&file);
            }
        }
        if self.has_unacknowledged_batch {
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
        crate::seeded::before_change();
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

    /// A dead journal, to be read by somebody else.
    pub(in crate::shipper) fn into_directory(self) -> Option<Directory> {
        match self.owner {
            JournalOwner::Orphan { directory } => Some(directory),
            JournalOwner::Live { .. } => None,
        }
    }

    /// Deletes a dead journal, or of one in which something is held or waits what is settled. Returns
    /// where it lies then, and how many entries wait for a person.
    pub(in crate::shipper) fn remove(self) -> Option<(PathBuf, usize)> {
        let JournalOwner::Orphan { directory } = &self.owner else {
            return None;
        };
        if !self.is_incomplete
            && self.consoles.is_empty()
            && self.parked.is_empty()
            && self.deferred.is_empty()
            && !self.cursors.iter().any(Cursor::is_pinned)
            && self.keep_damaged(directory)
        {
            directory.remove();
            return None;
        }
        // Not to be read again by every process that comes.
        for segment in &self.settled_segments {
            let _ = segment.remove_file();
        }
        let held = self.blocked_entries() + self.blocked_consoles();
        Some((directory.path().to_owned(), held))
    }
}
