//! Reading the segments of a journal: records become entries of a pass.
//!
//! Invariants: reading goes forward, and stops where something has to come first; what cannot be
//! understood is left where it is, or left out with a warning, and ends nothing.

use std::path::PathBuf;
use std::sync::Arc;

use crate::journal::directory::{ARTIFACT_EXTENSION, CONSOLE_EXTENSION, artifact_path};
use crate::journal::record::{
    CommonPart, Content, Definition, Event, EventBody, Record, Start, sequence_of_last_step,
};
use crate::journal::segment::Frame;
use crate::model::Metric;
use crate::model::Role;
use crate::shipper::deliver::console_logs::Part;
use crate::shipper::read::batch::{ArtifactBytes, Happened, Pass, SpentFile};
use crate::shipper::read::cursor::{Cursor, Reached};
use crate::shipper::read::order::OrderedEntry;
use crate::shipper::read::run_states::Phase;
use crate::shipper::read::source::{JournalOwner, Source};
use crate::sync::lock;
use crate::time;
use crate::warnings::Limit;

/// What reading one record led to.
enum Step {
    Go,
    /// It has to wait for something that another segment holds.
    Stop,
    /// So do all events behind it: they are not before the reading's limit.
    Limit,
    /// It has to wait until all is read that was logged before it.
    Wait(OrderedEntry),
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
    pub(in crate::shipper) fn read_cursor(
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
            let is_blank = || cursor.is_unread() && cursor.segment.is_blank();
            if sealed && (is_blank() || self.gives_up(cursor)) {
                cursor.finished = true;
            } else if sealed && self.is_live() && cursor.may_become_readable() {
                cursor.reached = Reached::Middle;
                pass.leave_behind();
            } else if sealed {
                // Runs may start in it; what else there is of them does not wait for that.
                self.has_lost = true;
                static UNREADABLE: Limit = Limit::new();
                if let Some(end) = UNREADABLE.admit() {
                    tracing::warn!(target: "mlflow", file = ?cursor.segment.file(), "a journal file cannot be read; it is left where it is{end}");
                }
                cursor.finished = true;
                cursor.held = true;
                self.leave_unread(cursor);
            } else {
                cursor.reached = Reached::End;
            }
            return;
        };
        if !sealed && bytes.is_snapshot() {
            // The next reading has to see what was appended meanwhile, also if this one ends early.
            cursor.unload();
        }
        loop {
            if pass.is_full(budget) {
                pass.leave_behind();
                return;
            }
            match bytes.frame(cursor.offset) {
                Frame::Whole { body, next } => match self.take(index, cursor, body, limit, pass) {
                    Step::Go => cursor.pass_over(body, next),
                    Step::Stop => {
                        cursor.reached = Reached::StartOfRun;
                        pass.leave_behind();
                        return;
                    }
                    Step::Limit => {
                        cursor.reached = Reached::End;
                        pass.more = true;
                        return;
                    }
                    Step::Wait(entry) => {
                        cursor.reached = Reached::Ordered(entry);
                        return;
                    }
                },
                // Of one that is being written, the rest is on its way.
                Frame::End | Frame::Torn if !sealed => break,
                Frame::End | Frame::Torn => match bytes.resume(cursor.offset) {
                    Some(next) => self.skip(cursor, next),
                    None => break,
                },
            }
        }
        cursor.finished = sealed;
        cursor.reached = Reached::End;
        if sealed {
            self.report(cursor);
            cursor.unload();
        }
    }

    /// Whether a segment cannot be read because somebody has removed it.
    fn gives_up(&mut self, cursor: &Cursor) -> bool {
        let given_up = match &self.owner {
            JournalOwner::Live { journal, .. } => {
                journal.give_up(&cursor.segment, cursor.values_read())
            }
            JournalOwner::Dead { .. } => false,
        };
        self.has_lost |= given_up;
        given_up
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
                    return self.unknown(cursor, metric.run, metric.timestamp_ms);
                }
                if fresh && let Some(sequence) = sequence_of_last_step(metric.step) {
                    // Its time is later by one than it was logged.
                    let entry = OrderedEntry {
                        sequence,
                        later_ms: metric.timestamp_ms,
                    };
                    if limit.is_some_and(|limit| sequence >= limit) {
                        return Step::Limit;
                    }
                    if cursor.has_to_wait(entry) {
                        return Step::Wait(entry);
                    }
                }
                cursor.reached = Reached::Middle;
                cursor.logged_ms = metric.timestamp_ms;
                if fresh {
                    let key = cursor.keys.get(&metric.key).map(Arc::clone);
                    let Some(key) = key.or_else(|| self.name_elsewhere(cursor, metric.key)) else {
                        self.leave_nameless(cursor);
                        return Step::Go;
                    };
                    let point = Metric {
                        key,
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
            // Whether it is ours was looked at when the journal was claimed.
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
        if let Event::Start(mut start) = parsed {
            // That of a dead journal was adopted when it was surveyed.
            if let JournalOwner::Live { journal, .. } = &self.owner {
                start.adopt(&journal.origin().tags);
            }
            cursor.started.push(run);
            if start.is_delivered {
                self.runs
                    .mention(run, start.identity.clone().into_owned())
                    .start
                    .get_or_insert(start);
                return Step::Go;
            }
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
            return self.unknown(cursor, run, time::now_ms());
        }
        if fresh && matches!(parsed, Event::Param(_)) {
            let entry = cursor.meet_param(sequence);
            if cursor.has_to_wait(entry) {
                return Step::Wait(entry);
            }
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
            Event::Artifact {
                path,
                content,
                fingerprint,
            } => {
                let bytes = match content {
                    Content::Attached => ArtifactBytes::Memory(event.attachment.to_vec()),
                    Content::Spooled(name) => {
                        match self.file_of(&path, &name, ARTIFACT_EXTENSION) {
                            Some(file) => ArtifactBytes::File(file),
                            None => return Step::Go,
                        }
                    }
                    Content::Growing { file, part } => {
                        // Also one that was mentioned to an earlier shipper: that one may not have
                        // sent all of it.
                        let file = self.file_of(&path, &file, CONSOLE_EXTENSION);
                        let part = part.map(|CommonPart { file, from }| {
                            let file = self.file_of(&path, &file, CONSOLE_EXTENSION)?;
                            Some(Part { file, from })
                        });
                        if let (Some(file), None | Some(Some(_))) = (file, &part) {
                            cursor.consoles.push(run);
                            let part = part.flatten();
                            self.consoles.begin(run, path.into_owned(), file, part);
                        }
                        if fresh {
                            pass.entry(run, index);
                        }
                        return Step::Go;
                    }
                };
                Happened::Artifact(path.into_owned(), bytes, fingerprint)
            }
        };
        cursor.last_event = cursor.last_event.max(Some(sequence));
        if self.parked.is_handed_over(run, sequence) {
            // It is settled where it waits.
            if fresh {
                let work = pass.entry(run, index);
                work.deferred += 1;
                work.handed_over.push(sequence);
            }
            return Step::Go;
        }
        let counts = self.runs.supersedes(run, sequence, &happened);
        // One that an earlier shipper has delivered still supersedes what it has not.
        if !fresh {
            return Step::Go;
        }
        if let Happened::Artifact(path, bytes, _) = &happened
            && !self.is_live()
            // What waits by itself is read more than once.
            && cursor.lane.is_none()
            && let Some(first) = self.runs.note_artifact(run, sequence, path, bytes.file())
        {
            // A copy of one that was read before: a process died between copying it and letting the first one
            // go. The file that both name goes with the first.
            let file = bytes.file().filter(|file| Some(*file) != first.as_deref());
            pass.spent_files.extend(file.map(|file| SpentFile {
                file: file.to_owned(),
                cursors: vec![index],
            }));
            return Step::Go;
        }
        pass.event_bytes += bytes;
        let work = pass.entry(run, index);
        if counts {
            work.happened(sequence, happened);
        } else if let Happened::Artifact(_, ArtifactBytes::File(file), _) = happened {
            let cursors = vec![index];
            pass.spent_files.push(SpentFile { file, cursors });
        }
        Step::Go
    }

    /// Where the artifact lies that an event names.
    fn file_of(&self, path: &str, name: &str, extension: &str) -> Option<PathBuf> {
        let file = artifact_path(&self.directory(), name, extension);
        if file.is_none() {
            static ASTRAY: Limit = Limit::new();
            if let Some(end) = ASTRAY.admit() {
                tracing::warn!(target: "mlflow", %path, %name, "a journal names a file that is no artifact of it; it is left out{end}");
            }
        }
        file
    }

    fn directory(&self) -> PathBuf {
        match &self.owner {
            JournalOwner::Live { journal, .. } => journal.path().unwrap_or_default(),
            JournalOwner::Dead { directory } => directory.path().to_owned(),
        }
    }

    /// Whether entries of the run can go out. In a live journal its start is on the way in another
    /// segment, or in that of another process; in a dead one everything was read already.
    fn is_known(&self, run: u32) -> bool {
        match self.runs.get(run) {
            Some(state) => {
                !(self.is_live() && matches!(state.phase, Phase::Mentioned))
                    || state.identity.role.is_forked()
            }
            None => false,
        }
    }

    /// What to do about an entry, made at `ms`, of a run that is not known.
    fn unknown(&mut self, cursor: &mut Cursor, run: u32, ms: i64) -> Step {
        if self.is_live() && !self.has_lost_name(cursor, run) {
            if self.has_lost && self.runs.is_lost(run) {
                self.start_anew(run, ms);
            }
            // It is read again, and known then.
            return Step::Stop;
        }
        self.leave_nameless(cursor);
        Step::Go
    }

    fn start(&mut self, number: u32, start: Box<Start<'static>>) {
        let state = self
            .runs
            .mention(number, start.identity.clone().into_owned());
        // A dead journal's starts were surveyed already.
        if let (JournalOwner::Live { links, .. }, Phase::Mentioned) = (&self.owner, &state.phase) {
            state.link = lock(links).remove(&number);
            let in_doubt = start.identity.role == Role::Leader;
            state.phase = Phase::Pending { in_doubt };
            state.start = Some(start);
        }
    }

    /// Starts a run whose start was in a segment that is gone: what came after it need not be lost.
    fn start_anew(&mut self, number: u32, start_time_ms: i64) {
        if let Some(state) = self.runs.get(number) {
            let start = Start::anew(&state.identity, start_time_ms);
            self.start(number, Box::new(start));
        }
    }
}
