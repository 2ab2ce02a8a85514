//! Decoding of a segment's records into entries of a batch.
//!
//! # Invariants
//!
//! 1. A segment is read forward. Reading stops at an entry before which something else has to be read.
//! 2. A record of an unknown kind stays in its file, and one that is damaged is left out with a warning.
//!    Reading continues behind it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::journal::directory::{ARTIFACT_EXTENSION, CONSOLE_EXTENSION, artifact_path};
use crate::journal::record::{
    ArtifactLocation, Definition, Event, EventBody, Record, RunStart, SharedFilePart,
    decode_last_step,
};
use crate::journal::segment::Frame;
use crate::model::Metric;
use crate::shipper::batch::{Artifact, ArtifactBytes, ReadBatch, RunEvent, SpentFile};
use crate::shipper::journal_owner::JournalOwner;
use crate::shipper::queue::console_logs::ConsoleLogPart;
use crate::shipper::read::cursor::OrderedEntry;
use crate::shipper::read::cursor::{Cursor, ReadPosition};
use crate::shipper::read::journal_reader::JournalReader;
use crate::shipper::run_states::Phase;
use crate::sync::lock;
use crate::time;
use crate::warnings::{WarningLimit, mask_credentials, warn_user};

/// Result of reading one record.
enum RecordOutcome {
    /// The record was read; reading continues with the next one.
    Continue,
    /// The record has to wait for the start of its run, which another segment holds.
    AwaitRunStart,
    /// The record and all events behind it were written after the reading began: they wait for the next one.
    BeyondLimit,
    /// The record has to wait until everything that was logged before it has been read.
    AwaitOrdered(OrderedEntry),
}

/// An event record with its metadata.
struct EventRecord<'a> {
    run: u32,
    sequence: u64,
    event: EventBody<'a>,
    /// True if no earlier shipper has settled the event.
    is_fresh: bool,
    bytes: usize,
}

impl JournalReader {
    /// Continues at a cursor, until the end of its segment, the budget, or an entry that has to wait. `limit`
    /// is the sequence number from which on events are left for the next reading.
    pub(in crate::shipper) fn read_cursor(
        &mut self,
        index: usize,
        cursor: &mut Cursor,
        limit: Option<u64>,
        budget: usize,
        read_batch: &mut ReadBatch,
    ) {
        // The seal is read before the bytes: a segment that is sealed now has its last frame.
        let sealed = cursor.segment.is_sealed();
        let end = cursor.segment.final_end().unwrap_or(usize::MAX);
        let Some(bytes) = cursor.load() else {
            let is_blank = || cursor.is_unread() && cursor.segment.is_blank();
            if sealed && (is_blank() || self.give_up_removed(cursor)) {
                cursor.is_finished = true;
            } else if sealed && self.is_live() && cursor.may_become_readable() {
                cursor.position = ReadPosition::Middle;
                read_batch.mark_incomplete();
            } else if sealed {
                // Runs may start in the segment. Their other entries do not wait for its start record.
                self.has_lost = true;
                static UNREADABLE: WarningLimit = WarningLimit::new();
                if let Some(end) = UNREADABLE.admit() {
                    warn_user(format_args!(
                        "a journal file cannot be read; it is kept, and the values in it are not shipped: {:?}{end}",
                        cursor.segment.file()
                    ));
                }
                cursor.is_finished = true;
                cursor.is_blocked = true;
                self.block_unreadable(cursor);
            } else {
                cursor.position = ReadPosition::End;
            }
            return;
        };
        if !sealed && bytes.is_snapshot() {
            // The next reading has to see what is appended meanwhile, even if this one ends early.
            cursor.unload();
        }
        loop {
            if read_batch.is_full(budget) {
                read_batch.mark_incomplete();
                return;
            }
            match bytes.frame(cursor.offset) {
                // The writer of a frame that came too late has appended the record to another segment, too.
                _ if cursor.offset >= end => break,
                // The segment has been closed since: where it ends is known when it is sealed.
                Frame::Whole { .. } if !sealed && cursor.segment.is_closed() => break,
                Frame::Whole { body, next } => {
                    match self.take_record(index, cursor, body, limit, read_batch) {
                        RecordOutcome::Continue => cursor.advance_past(body, next),
                        RecordOutcome::AwaitRunStart => {
                            cursor.position = ReadPosition::AwaitsRunStart;
                            read_batch.mark_incomplete();
                            return;
                        }
                        RecordOutcome::BeyondLimit => {
                            cursor.position = ReadPosition::End;
                            read_batch.has_more = true;
                            return;
                        }
                        RecordOutcome::AwaitOrdered(entry) => {
                            cursor.position = ReadPosition::Ordered(entry);
                            return;
                        }
                    }
                }
                // The segment is still being written: the rest of the frame will follow.
                Frame::End | Frame::Torn if !sealed => break,
                Frame::End | Frame::Torn => match bytes.skip_damage(cursor.offset) {
                    Some(next) => self.skip_damaged(cursor, next),
                    None => break,
                },
            }
        }
        cursor.is_finished = sealed;
        cursor.position = ReadPosition::End;
        if sealed {
            self.report_damage(cursor);
            cursor.unload();
        }
    }

    /// Returns true if the segment of a live journal cannot be read because its file was removed. The segment
    /// is retired then, and its unread values are counted as dropped.
    fn give_up_removed(&mut self, cursor: &Cursor) -> bool {
        let given_up = match &self.owner {
            JournalOwner::Live { journal, .. } => {
                journal.retire_removed(&cursor.segment, cursor.values_read())
            }
            JournalOwner::Orphan { .. } => false,
        };
        self.has_lost |= given_up;
        given_up
    }

    fn take_record(
        &mut self,
        index: usize,
        cursor: &mut Cursor,
        body: &[u8],
        limit: Option<u64>,
        read_batch: &mut ReadBatch,
    ) -> RecordOutcome {
        let fresh = cursor.is_fresh();
        match Record::decode(body) {
            Some(Record::Metric(metric)) => {
                if !self.is_known(metric.run) {
                    return self.handle_unknown_run(cursor, metric.run, metric.timestamp_ms);
                }
                if fresh && let Some(sequence) = decode_last_step(metric.step) {
                    // The writer has set the timestamp of such a point to 1 ms after the time of logging.
                    let entry = OrderedEntry {
                        sequence,
                        later_ms: metric.timestamp_ms,
                    };
                    if limit.is_some_and(|limit| sequence >= limit) {
                        return RecordOutcome::BeyondLimit;
                    }
                    if cursor.must_wait(entry) {
                        return RecordOutcome::AwaitOrdered(entry);
                    }
                }
                cursor.position = ReadPosition::Middle;
                cursor.logged_ms = metric.timestamp_ms;
                if fresh {
                    let key = cursor.keys.get(&metric.key).map(Arc::clone);
                    let Some(key) = key.or_else(|| self.find_metric_name(cursor, metric.key))
                    else {
                        self.skip_nameless(cursor);
                        return RecordOutcome::Continue;
                    };
                    let point = Metric {
                        key,
                        value: metric.value,
                        timestamp_ms: metric.timestamp_ms,
                        step: metric.step,
                    };
                    read_batch.record_time(metric.timestamp_ms);
                    read_batch.add_entry(metric.run, index).metrics.push(point);
                }
            }
            Some(Record::Definition(Definition::Key { id, name })) => {
                cursor.keys.insert(id, name.as_ref().into());
            }
            Some(Record::Definition(Definition::Run { number, identity })) => {
                self.runs.register(number, identity.into_owned());
            }
            Some(Record::Event {
                run,
                sequence,
                event,
            }) => {
                if limit.is_some_and(|limit| sequence >= limit) {
                    return RecordOutcome::BeyondLimit;
                }
                let found = EventRecord {
                    run,
                    sequence,
                    event,
                    is_fresh: fresh,
                    bytes: body.len(),
                };
                return self.take_event(index, cursor, &found, read_batch);
            }
            // The origin was checked when the journal was claimed.
            Some(Record::Definition(Definition::Origin(_))) => {}
            None => Self::skip_unknown(cursor, read_batch),
        }
        RecordOutcome::Continue
    }

    /// Leaves a record of an unknown kind, written by a newer version, in its segment for that version.
    fn skip_unknown(cursor: &mut Cursor, read_batch: &mut ReadBatch) {
        cursor.is_blocked = true;
        read_batch.unknown_records += 1;
    }

    fn take_event(
        &mut self,
        index: usize,
        cursor: &mut Cursor,
        found: &EventRecord<'_>,
        read_batch: &mut ReadBatch,
    ) -> RecordOutcome {
        let EventRecord {
            run,
            sequence,
            event,
            is_fresh: fresh,
            bytes,
        } = *found;
        let Some(parsed) = event.parse() else {
            Self::skip_unknown(cursor, read_batch);
            return RecordOutcome::Continue;
        };
        if let Event::Start(mut start) = parsed {
            // The starts of an orphaned journal have adopted their tags when it was surveyed.
            if let JournalOwner::Live { journal, .. } = &self.owner {
                start.adopt_common_tags(&journal.origin().tags);
            }
            cursor.started_runs.push(run);
            if start.is_delivered {
                self.runs
                    .register(run, start.identity.clone().into_owned())
                    .start
                    .get_or_insert(start);
                return RecordOutcome::Continue;
            }
            let started_ms = start.start_time_ms;
            let params = if fresh {
                start.params.clone()
            } else {
                Vec::new()
            };
            self.register_start(run, start);
            if fresh {
                read_batch.record_time(started_ms);
                let run_batch = read_batch.add_entry(run, index);
                for param in params {
                    run_batch.push_event(sequence, RunEvent::Param(param));
                }
                run_batch.start_order = sequence.saturating_add(1);
            }
            return RecordOutcome::Continue;
        }
        if !self.is_known(run) {
            return self.handle_unknown_run(cursor, run, time::now_ms());
        }
        if fresh && matches!(parsed, Event::Param(_)) {
            let entry = cursor.record_param(sequence);
            if cursor.must_wait(entry) {
                return RecordOutcome::AwaitOrdered(entry);
            }
        }
        let happened = match parsed {
            Event::End {
                status,
                end_time_ms,
            } if fresh => {
                read_batch.add_entry(run, index).end = Some((status, end_time_ms));
                return RecordOutcome::Continue;
            }
            Event::Start(_) | Event::End { .. } => return RecordOutcome::Continue,
            Event::Param(param) => RunEvent::Param(param.into_owned()),
            Event::Tag(tag) => RunEvent::Tag(tag.into_owned()),
            Event::Artifact {
                path,
                kind,
                content,
                fingerprint,
            } => {
                let bytes = match content {
                    ArtifactLocation::Attached => ArtifactBytes::Memory(event.attachment.to_vec()),
                    ArtifactLocation::Spooled(name) => {
                        match self.resolve_file(&path, &name, ARTIFACT_EXTENSION) {
                            Some(file) => ArtifactBytes::File(file),
                            None => return RecordOutcome::Continue,
                        }
                    }
                    ArtifactLocation::Growing { file, part } => {
                        // A console log that an earlier shipper has read is added, too: that shipper may not
                        // have sent all of it.
                        let file = self.resolve_file(&path, &file, CONSOLE_EXTENSION);
                        let part = part.map(|SharedFilePart { file, from }| {
                            let file = self.resolve_file(&path, &file, CONSOLE_EXTENSION)?;
                            Some(ConsoleLogPart { file, from })
                        });
                        if let (Some(file), None | Some(Some(_))) = (file, &part) {
                            cursor.console_runs.push(run);
                            let part = part.flatten();
                            self.consoles.add(run, path.into_owned(), file, part);
                        }
                        if fresh {
                            read_batch.add_entry(run, index);
                        }
                        return RecordOutcome::Continue;
                    }
                };
                RunEvent::Artifact(Artifact {
                    sequence,
                    kind,
                    path: path.into_owned(),
                    bytes,
                    fingerprint,
                })
            }
        };
        cursor.last_event = cursor.last_event.max(Some(sequence));
        if self.parked.is_handed_over(run, sequence) {
            // The artifact was deferred, and is settled in that queue.
            if fresh {
                let run_batch = read_batch.add_entry(run, index);
                run_batch.deferred_count += 1;
                run_batch.handed_over.push(sequence);
            }
            return RecordOutcome::Continue;
        }
        let counts = self.runs.record_if_newest(run, sequence, &happened);
        // An event that an earlier shipper has delivered still supersedes older ones that it has not.
        if !fresh {
            return RecordOutcome::Continue;
        }
        if let RunEvent::Artifact(artifact) = &happened
            && !self.is_live()
            // Segments of a lane may be read more than once.
            && cursor.lane.is_none()
            && let Some(first) = self.runs.note_artifact(run, artifact)
        {
            // A copy of an event that was read before: a process terminated between copying the event and
            // releasing the first one. If both name the same file, it is deleted with the first.
            let file = artifact
                .file()
                .filter(|file| Some(*file) != first.as_deref());
            read_batch.spent_files.extend(file.map(|file| SpentFile {
                file: file.to_owned(),
                cursors: vec![index],
            }));
            return RecordOutcome::Continue;
        }
        read_batch.event_bytes += bytes;
        let run_batch = read_batch.add_entry(run, index);
        if counts {
            run_batch.push_event(sequence, happened);
        } else if let RunEvent::Artifact(Artifact {
            bytes: ArtifactBytes::File(file),
            ..
        }) = happened
        {
            let cursors = vec![index];
            read_batch.spent_files.push(SpentFile { file, cursors });
        }
        RecordOutcome::Continue
    }

    /// Returns the path of the file beside the segments that an event names. Logs a warning and returns
    /// `None` if the name cannot be one of this journal's files.
    fn resolve_file(&self, path: &str, name: &str, extension: &str) -> Option<PathBuf> {
        let file = artifact_path(&self.directory(), name, extension);
        if file.is_none() {
            static ASTRAY: WarningLimit = WarningLimit::new();
            if let Some(end) = ASTRAY.admit() {
                let path = mask_credentials(path.to_owned());
                tracing::warn!(target: "mlflow", path, %name, "a journal names an artifact file that is not one of its own; the artifact is not shipped{end}");
            }
        }
        file
    }

    fn directory(&self) -> PathBuf {
        match &self.owner {
            JournalOwner::Live { journal, .. } => journal.path().unwrap_or_default(),
            JournalOwner::Orphan { directory } => directory.path().to_owned(),
        }
    }

    /// Returns true if entries of the run can be handed out. In a live journal they have to wait until the
    /// start of the run is read from another segment, except for a forked process, whose parent has the start
    /// in its own journal. In an orphaned journal all starts were surveyed already.
    fn is_known(&self, run: u32) -> bool {
        match self.runs.get(run) {
            Some(state) => {
                !(self.is_live() && matches!(state.phase, Phase::StartUnread))
                    || state.identity.role.is_forked()
            }
            None => false,
        }
    }

    /// Decides about an entry, made at `ms` since the Unix epoch, of a run that is not known: it waits, or is
    /// left out if the run is lost. Starts a run anew whose start was lost.
    fn handle_unknown_run(&mut self, cursor: &mut Cursor, run: u32, ms: i64) -> RecordOutcome {
        if self.is_live() && !self.has_lost_name(cursor, run) {
            if self.has_lost && self.runs.is_start_lost(run) {
                self.restart_lost_run(run, ms);
            }
            // The entry is read again once the run is known.
            return RecordOutcome::AwaitRunStart;
        }
        self.skip_nameless(cursor);
        RecordOutcome::Continue
    }

    fn register_start(&mut self, number: u32, start: Box<RunStart<'static>>) {
        let state = self
            .runs
            .register(number, start.identity.clone().into_owned());
        // The starts of an orphaned journal were surveyed already.
        if let (JournalOwner::Live { links, .. }, Phase::StartUnread) = (&self.owner, &state.phase)
        {
            state.link = lock(links).remove(&number);
            let in_doubt = start.identity.role.is_restartable();
            state.phase = Phase::Pending { in_doubt };
            state.start = Some(start);
        }
    }

    /// Starts a run whose start was in a segment that is lost, so that the later entries of the run are not
    /// lost.
    fn restart_lost_run(&mut self, number: u32, start_time_ms: i64) {
        if let Some(state) = self.runs.get(number) {
            let start = RunStart::replacement(&state.identity, start_time_ms);
            self.register_start(number, Box::new(start));
        }
    }
}
