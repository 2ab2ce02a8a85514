//! Reading a journal: this process's while it is written, or one that a dead process left.
//!
//! # Invariants
//!
//! 1. Every entry is handed out once, in the order of its segment; none before the start of its run.
//! 2. Within a pass, events stand in the order in which they happened, whatever their threads: see
//!    [`Journal::sequence`]. A tag or artifact that comes in a later pass than one that superseded it
//!    (a pass ends at its budget) is left out.
//! 3. A segment is acknowledged up to where everything before is settled, and deleted when it is
//!    settled to its end, the runs it started have ended, the [`consoles`](super::consoles) it names
//!    are whole in the store, and no event of another segment that
//!    happened before one of its own is still to be delivered: whoever reads the journal after a
//!    kill has to see what supersedes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::awaited::Awaited;
use super::consoles::Consoles;
use super::cursor::Cursor;
use super::damage::Losses;
use super::postponed::{Postponed, Waiting};
use super::runs::{Phase, Runs};
use super::work::{ArtifactBytes, Pass, SpentFile, Work};
use crate::clock;
use crate::journal::Journal;
use crate::journal::directory::Directory;
use crate::journal::mapping::HEADER_BYTES;
use crate::journal::segment::{Frame, Segment};
use crate::store::StoredRun;
use crate::tracker::Links;

/// A journal being read.
pub(crate) struct Source {
    pub(super) origin: Origin,
    cursors: Vec<Cursor>,
    pub(super) runs: Runs,
    /// Whether a dead journal's segments have their cursors.
    opened: bool,
    /// Whether they could not be listed.
    unseen: bool,
    /// Whether segments were removed before they were read, or are damaged.
    pub(super) has_lost: bool,
    /// Runs that nobody could log to any more when the last reading began.
    over: Vec<u32>,
    /// Every event before this one in the order of all events is settled.
    settled_events: u64,
    /// Artifacts that wait by themselves.
    pub(super) postponed: Postponed,
    /// Work of runs that another process has still to create.
    pub(super) awaited: Awaited,
    /// What runs say in words.
    pub(super) consoles: Consoles,
    /// What cannot be read.
    pub(super) losses: Losses,
    /// Files that nobody needs any more once these segments no longer keep their place.
    spent: Vec<(PathBuf, Vec<Arc<Segment>>)>,
}

/// Whose journal it is.
pub(crate) enum Origin {
    Live {
        journal: Arc<Journal>,
        links: Arc<Links>,
    },
    Dead {
        directory: Directory,
    },
}

impl Source {
    /// This process's journal.
    pub(crate) fn live(journal: Arc<Journal>, links: Arc<Links>) -> Self {
        Self::new(Origin::Live { journal, links })
    }

    /// A dead process's journal, locked by the caller.
    pub(crate) fn dead(directory: Directory) -> Self {
        let mut source = Self::new(Origin::Dead { directory });
        source.open_segments();
        // Which runs there are has to be known before the first entry goes out: a metric may
        // stand in an older segment than the start of its run.
        let mut last = Vec::new();
        for (index, cursor) in source.cursors.iter_mut().enumerate() {
            if let Some(bytes) = cursor.load() {
                match bytes.frame(HEADER_BYTES) {
                    Frame::Whole { .. } => source.runs.survey(&bytes, cursor.settled()),
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
                source.runs.survey(&bytes, cursor.settled());
                cursor.unload();
            }
        }
        source
    }

    fn new(origin: Origin) -> Self {
        Self {
            origin,
            cursors: Vec::new(),
            runs: Runs::default(),
            opened: false,
            unseen: false,
            has_lost: false,
            over: Vec::new(),
            settled_events: 0,
            postponed: Postponed::default(),
            awaited: Awaited::default(),
            consoles: Consoles::default(),
            losses: Losses::default(),
            spent: Vec::new(),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.origin, Origin::Live { .. })
    }

    fn open_segments(&mut self) {
        let segments = match &self.origin {
            Origin::Live { journal, .. } => journal.segments(),
            Origin::Dead { directory } if !self.opened => {
                // It was listed a moment ago. What is not seen now stays for the next process.
                let segments = directory.segments();
                self.unseen = segments.is_err();
                let segments = segments.unwrap_or_default();
                segments.into_iter().map(Arc::new).collect()
            }
            Origin::Dead { .. } => return,
        };
        self.opened = true;
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
    pub(crate) fn read(&mut self, budget: usize) -> Pass {
        self.over = self.runs.over();
        // The order matters: first the limit, then the list, then the bytes (invariant 2).
        let limit = match &self.origin {
            Origin::Live { journal, .. } => Some(journal.sequence()),
            Origin::Dead { .. } => None,
        };
        self.open_segments();
        let mut pass = Pass::before(limit.unwrap_or(u64::MAX));
        let mut cursors = std::mem::take(&mut self.cursors);
        for (index, cursor) in cursors.iter_mut().enumerate() {
            // Before the segment is looked at: a backlog must not end up in memory.
            if pass.is_full(budget) {
                pass.leave_behind();
                break;
            }
            if !cursor.finished {
                self.read_cursor(index, cursor, limit, budget, &mut pass);
            }
        }
        self.cursors = cursors;
        if !pass.is_empty() && pass.oldest_ms.is_none() {
            pass.made_at(clock::now_ms());
        }
        pass.sort();
        pass
    }

    /// Keeps the segments of a run's entries: the store takes none of them now.
    pub(super) fn hold(&mut self, work: &Work, reason: &str) {
        for index in &work.cursors {
            if let Some(cursor) = self.cursors.get_mut(*index) {
                cursor.held = true;
            }
        }
        if let Some(state) = self.runs.get_mut(work.run) {
            state.phase = Phase::Held(reason.to_owned());
        }
    }

    /// Has the artifacts of `work` that were not sent wait by themselves.
    pub(super) fn postpone(&mut self, run: &StoredRun, work: &mut Work) {
        let unsent = work.take_unsent_artifacts();
        if unsent.is_empty() {
            return;
        }
        let segments = self.segments_of(&work.cursors);
        for (path, bytes) in unsent {
            for index in &work.cursors {
                if let Some(cursor) = self.cursors.get_mut(*index) {
                    cursor.waiting += 1;
                }
            }
            self.postponed.push(Waiting {
                run: run.clone(),
                path,
                bytes,
                segments: segments.clone(),
            });
        }
    }

    /// The first artifact that waited is settled, or held: its run takes nothing now.
    pub(super) fn settle_postponed(&mut self, held: bool) {
        let Some(Waiting {
            segments, bytes, ..
        }) = self.postponed.pop()
        else {
            return;
        };
        for cursor in &mut self.cursors {
            if segments.iter().any(|one| Arc::ptr_eq(one, &cursor.segment)) {
                cursor.waiting -= 1;
                cursor.held |= held;
            }
        }
        if let ArtifactBytes::File(file) = bytes {
            self.spent.push((file, segments));
        }
    }

    /// Has the work of a run wait for it.
    pub(super) fn put_aside(&mut self, work: Work, oldest_ms: Option<i64>) {
        for index in &work.cursors {
            if let Some(cursor) = self.cursors.get_mut(*index) {
                cursor.waiting += 1;
            }
        }
        let segments = self.segments_of(&work.cursors);
        self.awaited.push(work, segments, oldest_ms);
    }

    /// Work that waited for its run is settled, or held. What that means for the segments is noted
    /// with the pass that is under way: all before a cursor has to be settled.
    pub(super) fn settle_awaited(&mut self, mut work: Work, segments: &[Arc<Segment>], held: bool) {
        for index in &work.cursors {
            if let Some(cursor) = self.cursors.get_mut(*index) {
                cursor.waiting -= 1;
            }
        }
        if held {
            return;
        }
        for (_, bytes) in work.artifacts.drain(..) {
            if let ArtifactBytes::File(file) = bytes {
                self.spent.push((file, segments.to_vec()));
            }
        }
    }

    /// The cursors of these segments.
    pub(super) fn cursors_of(&self, segments: &[Arc<Segment>]) -> Vec<usize> {
        let is = |cursor: &Cursor| segments.iter().any(|one| Arc::ptr_eq(one, &cursor.segment));
        let all = self.cursors.iter().enumerate();
        all.filter(|(_, cursor)| is(cursor))
            .map(|(index, _)| index)
            .collect()
    }

    fn segments_of(&self, cursors: &[usize]) -> Vec<Arc<Segment>> {
        let found = cursors.iter().filter_map(|index| self.cursors.get(*index));
        found.map(|cursor| Arc::clone(&cursor.segment)).collect()
    }

    /// Everything that [`read`](Self::read) has handed out is settled, or waits by itself.
    pub(super) fn acknowledge(&mut self, pass: &Pass) {
        for SpentFile { file, cursors } in &pass.spent_files {
            self.spent.push((file.clone(), self.segments_of(cursors)));
        }
        self.settled_events = self.settled_events.max(pass.events_before);
        self.settle();
        // Everything logged to them was read, so nothing will mention them again.
        if self.is_live() && !pass.more {
            for number in self.over.drain(..) {
                if !self.consoles.has(number) {
                    self.runs.forget(number);
                }
            }
        }
    }

    /// Notes what is settled, all of it before anything is deleted: the process may be killed on
    /// the way.
    pub(super) fn settle(&mut self) {
        self.cursors.iter_mut().for_each(Cursor::settle);
        for (file, segments) in std::mem::take(&mut self.spent) {
            // What stands in a segment that keeps its place may be read again.
            if segments.iter().any(|segment| self.is_kept(segment)) {
                self.spent.push((file, segments));
            } else {
                self.delete(&file);
            }
        }
        let settled_events = self.settled_events;
        let (runs, consoles) = (&self.runs, &self.consoles);
        let is_over = |number: &u32| runs.get(*number).is_none_or(|state| state.ended);
        self.cursors.retain(|cursor| {
            let done = !cursor.keeps_its_place()
                && cursor.finished
                && cursor.last_event < Some(settled_events)
                && cursor.started.iter().all(is_over)
                && !cursor.consoles.iter().any(|run| consoles.has(*run));
            if done && let Origin::Live { journal, .. } = &self.origin {
                journal.retire(&cursor.segment);
            }
            !done
        });
    }

    fn delete(&self, file: &Path) {
        let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
        if fs::remove_file(file).is_ok()
            && let Origin::Live { journal, .. } = &self.origin
        {
            journal.give_room(bytes);
        }
    }

    fn is_kept(&self, segment: &Arc<Segment>) -> bool {
        let mut kept = self
            .cursors
            .iter()
            .filter(|cursor| cursor.keeps_its_place());
        kept.any(|cursor| Arc::ptr_eq(&cursor.segment, segment))
    }

    /// A dead journal, to be read by somebody else.
    pub(super) fn into_directory(self) -> Option<Directory> {
        match self.origin {
            Origin::Dead { directory } => Some(directory),
            Origin::Live { .. } => None,
        }
    }

    /// Deletes a dead journal, unless something in it is held or waits.
    pub(super) fn remove(self) {
        if let Origin::Dead { directory } = &self.origin
            && !self.unseen
            && self.consoles.is_empty()
            && !self.cursors.iter().any(Cursor::keeps_its_place)
            && self.keep_damaged(directory)
        {
            directory.remove();
        }
    }
}
