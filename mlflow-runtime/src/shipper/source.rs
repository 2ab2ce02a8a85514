//! Reading a journal: this process's while it is written, or one that a dead process left.
//!
//! # Invariants
//!
//! 1. Every entry is handed out once, in the order of its segment; none before the start of its run.
//! 2. Within a pass, events stand in the order in which they happened, whatever their threads: see
//!    [`Journal::sequence`]. A tag or artifact that comes in a later pass than one that superseded it
//!    (a pass ends at its budget) is left out.
//! 3. A segment is acknowledged up to where everything before is settled, and deleted when it is
//!    settled to its end, the runs it started have ended, and no event of another segment that
//!    happened before one of its own is still to be delivered: whoever reads the journal after a
//!    kill has to see what supersedes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::cursor::Cursor;
use super::runs::{Phase, Runs};
use super::work::{ArtifactBytes, Happened, Pass, SpentFile, Work};
use crate::clock;
use crate::journal::Journal;
use crate::journal::directory::{Directory, artifact_path};
use crate::journal::record::{Content, Definition, Event, EventBody, Record, Start};
use crate::journal::segment::{Frame, Segment};
use crate::store::Metric;
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
    /// Runs that nobody could log to any more when the last reading began.
    over: Vec<u32>,
    /// Every event before this one in the order of all events is settled.
    settled_events: u64,
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

/// What reading one record led to.
enum Step {
    Go,
    /// It has to wait for something that another segment holds.
    Stop,
    /// So do all events behind it: they are not before the reading's limit.
    Limit,
}

/// An event, and where it stands.
struct Found<'a> {
    run: u32,
    sequence: u64,
    event: EventBody<'a>,
    /// Not settled by an earlier shipper.
    fresh: bool,
    bytes: usize,
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
        for cursor in &mut source.cursors {
            if let Some(bytes) = cursor.load() {
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
            over: Vec::new(),
            settled_events: 0,
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

    fn read_cursor(
        &mut self,
        index: usize,
        cursor: &mut Cursor,
        limit: Option<u64>,
        budget: usize,
        pass: &mut Pass,
    ) {
        // Read before the bytes: what was sealed then has its last frame now.
        let sealed = cursor.segment.is_sealed();
        let Some(bytes) = cursor.load() else {
            let gone = || cursor.is_unread() && self.gives_up(&cursor.segment);
            if sealed && (cursor.segment.is_blank() || gone()) {
                cursor.finished = true;
            } else if sealed {
                tracing::warn!(target: "mlflow", file = ?cursor.segment.file(), "a journal file cannot be read; it is left where it is");
                cursor.finished = true;
                cursor.held = true;
            }
            return;
        };
        loop {
            if pass.is_full(budget) {
                pass.leave_behind();
                return;
            }
            match bytes.frame(cursor.offset) {
                Frame::Whole { body, next } => match self.take(index, cursor, body, limit, pass) {
                    Step::Go => cursor.offset = next,
                    Step::Stop => {
                        pass.leave_behind();
                        return;
                    }
                    Step::Limit => {
                        pass.more = true;
                        return;
                    }
                },
                // Of one that is being written, the rest is on its way.
                Frame::Torn if !sealed => break,
                Frame::End => break,
                Frame::Torn => {
                    tracing::warn!(
                        target: "mlflow", file = ?cursor.segment.file(), offset = cursor.offset,
                        "a journal file ends in a damaged record; what stands before it is kept"
                    );
                    break;
                }
            }
        }
        cursor.finished = sealed;
        if sealed || bytes.is_snapshot() {
            cursor.unload();
        }
    }

    /// Whether a segment cannot be read because somebody has removed it.
    fn gives_up(&self, segment: &Arc<Segment>) -> bool {
        match &self.origin {
            Origin::Live { journal, .. } => journal.give_up(segment),
            Origin::Dead { .. } => false,
        }
    }

    fn take(
        &mut self,
        index: usize,
        cursor: &mut Cursor,
        body: &[u8],
        limit: Option<u64>,
        pass: &mut Pass,
    ) -> Step {
        let fresh = cursor.is_fresh();
        match Record::decode(body) {
            Some(Record::Metric(metric)) => {
                if !self.is_known(metric.run) {
                    return self.unknown(metric.run);
                }
                if let (true, Some(key)) = (fresh, cursor.keys.get(&metric.key)) {
                    let point = Metric {
                        key: Arc::clone(key),
                        value: metric.value,
                        timestamp_ms: metric.timestamp_ms,
                        step: metric.step,
                    };
                    pass.made_at(metric.timestamp_ms);
                    pass.entry(metric.run, index).metrics.push(point);
                }
            }
            Some(Record::Definition(Definition::Key { id, name })) => {
                cursor.keys.insert(id, name.as_ref().into());
            }
            Some(Record::Definition(Definition::Run { number, identity })) => {
                self.runs.mention(number, identity.into_owned());
            }
            Some(Record::Event {
                run,
                sequence,
                event,
            }) => {
                if limit.is_some_and(|limit| sequence >= limit) {
                    return Step::Limit;
                }
                let found = Found {
                    run,
                    sequence,
                    event,
                    fresh,
                    bytes: body.len(),
                };
                return self.take_event(index, cursor, &found, pass);
            }
            // It was looked at when the journal was claimed.
            Some(Record::Definition(Definition::Origin(_))) => {}
            None => Self::leave_unknown(cursor, pass),
        }
        Step::Go
    }

    /// A record of a kind that a newer version wrote: that version will read it in its place.
    fn leave_unknown(cursor: &mut Cursor, pass: &mut Pass) {
        cursor.held = true;
        pass.unknown += 1;
    }

    fn take_event(
        &mut self,
        index: usize,
        cursor: &mut Cursor,
        found: &Found<'_>,
        pass: &mut Pass,
    ) -> Step {
        let Found {
            run,
            sequence,
            event,
            fresh,
            bytes,
        } = *found;
        let Some(parsed) = event.parse() else {
            Self::leave_unknown(cursor, pass);
            return Step::Go;
        };
        if let Event::Start(start) = parsed {
            cursor.started.push(run);
            let started_ms = start.start_time_ms;
            let params = if fresh {
                start.params.clone()
            } else {
                Vec::new()
            };
            self.start(run, start);
            if fresh {
                pass.made_at(started_ms);
                let work = pass.entry(run, index);
                for param in params {
                    work.happened(sequence, Happened::Param(param));
                }
                work.started = sequence.saturating_add(1);
            }
            return Step::Go;
        }
        if !self.is_known(run) {
            return self.unknown(run);
        }
        let happened = match parsed {
            Event::End {
                status,
                end_time_ms,
            } if fresh => {
                pass.entry(run, index).end = Some((status, end_time_ms));
                return Step::Go;
            }
            Event::Start(_) | Event::End { .. } => return Step::Go,
            Event::Param(param) => Happened::Param(param.into_owned()),
            Event::Tag(tag) => Happened::Tag(tag.into_owned()),
            Event::Artifact { path, content } => {
                let bytes = match content {
                    Content::Attached => ArtifactBytes::Memory(event.attachment.to_vec()),
                    Content::Spooled(name) => match artifact_path(&self.directory(), &name) {
                        Some(file) => ArtifactBytes::File(file),
                        None => {
                            tracing::warn!(target: "mlflow", %path, name = %name, "a journal names a file that is no artifact of it; it is left out");
                            return Step::Go;
                        }
                    },
                };
                Happened::Artifact(path.into_owned(), bytes)
            }
        };
        cursor.last_event = cursor.last_event.max(Some(sequence));
        let counts = self.runs.supersedes(run, sequence, &happened);
        // One that an earlier shipper has delivered still supersedes what it has not.
        if !fresh {
            return Step::Go;
        }
        pass.event_bytes += bytes;
        let work = pass.entry(run, index);
        if counts {
            work.happened(sequence, happened);
        } else if let Happened::Artifact(_, ArtifactBytes::File(file)) = happened {
            let cursors = vec![index];
            pass.spent_files.push(SpentFile { file, cursors });
        }
        Step::Go
    }

    fn directory(&self) -> PathBuf {
        match &self.origin {
            Origin::Live { journal, .. } => journal.path().unwrap_or_default(),
            Origin::Dead { directory } => directory.path().to_owned(),
        }
    }

    /// Whether entries of the run can go out. In a live journal its start is on the way in another
    /// segment, or in that of another process; in a dead one everything was read already.
    fn is_known(&self, run: u32) -> bool {
        match self.runs.get(run) {
            Some(state) => {
                !(self.is_live() && matches!(state.phase, Phase::Mentioned))
                    || state.identity.elsewhere
            }
            None => false,
        }
    }

    /// What to do about an entry of a run that is not known.
    fn unknown(&self, run: u32) -> Step {
        if self.is_live() {
            return Step::Stop;
        }
        tracing::warn!(target: "mlflow", run, "a journal holds a value of a run that it does not name; it is left out");
        Step::Go
    }

    fn start(&mut self, number: u32, start: Box<Start<'static>>) {
        let state = self
            .runs
            .mention(number, start.identity.clone().into_owned());
        // A dead journal's starts were surveyed already.
        if let (Origin::Live { links, .. }, Phase::Mentioned) = (&self.origin, &state.phase) {
            state.link = links
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&number);
            let in_doubt = false;
            state.phase = Phase::Pending { start, in_doubt };
        }
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

    /// Everything that [`read`](Self::read) has handed out is settled. All of it is noted before
    /// anything is deleted: the process may be killed on the way.
    pub(super) fn acknowledge(&mut self, pass: &Pass) {
        for cursor in self.cursors.iter_mut().filter(|cursor| !cursor.held) {
            cursor.settle();
        }
        for SpentFile { file, cursors } in &pass.spent_files {
            // What stands in a segment that is held will be read again.
            if !cursors.iter().any(|index| self.is_held(*index)) {
                self.delete(file);
            }
        }
        self.settled_events = self.settled_events.max(pass.events_before);
        let settled_events = self.settled_events;
        let runs = &self.runs;
        let is_over = |number: &u32| runs.get(*number).is_none_or(|state| state.ended);
        self.cursors.retain(|cursor| {
            let done = !cursor.held
                && cursor.finished
                && cursor.last_event < Some(settled_events)
                && cursor.started.iter().all(is_over);
            if done && let Origin::Live { journal, .. } = &self.origin {
                journal.retire(&cursor.segment);
            }
            !done
        });
        // Everything logged to them was read, so nothing will mention them again.
        if self.is_live() && !pass.more {
            for number in self.over.drain(..) {
                self.runs.forget(number);
            }
        }
    }

    fn delete(&self, file: &Path) {
        let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
        if fs::remove_file(file).is_ok()
            && let Origin::Live { journal, .. } = &self.origin
        {
            journal.give_room(bytes);
        }
    }

    fn is_held(&self, index: usize) -> bool {
        self.cursors.get(index).is_some_and(|cursor| cursor.held)
    }

    /// Deletes a dead journal, unless something in it is held.
    pub(super) fn remove(self) {
        if let Origin::Dead { directory } = &self.origin
            && !self.unseen
            && !self.cursors.iter().any(|cursor| cursor.held)
        {
            directory.remove();
        }
    }
}
