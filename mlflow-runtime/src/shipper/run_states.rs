//! The runs of a journal, and what is known of each.
//!
//! Invariant: a run is created in [`Phase::Pending`]. If an earlier attempt may have succeeded, the run is
//! looked up first. A run that the lookup does not find is created anew from what the journal holds of it. An
//! earlier request may still be carried out after the lookup, and then the run exists twice; so it is looked
//! up once more when it has ended.

use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::journal::record::{ArtifactLocation, Definition, Event, Origin, Record, RunStart};
use crate::journal::segment::SegmentBytes;
use crate::model::{PathNamespace, Role, RunIdentity, Tag};
use crate::shipper::batch::{Artifact, RunEvent};
use crate::shipper::batch_size::AdaptiveBatchSize;
use crate::shipper::run_link::RunLink;
use crate::store::StoredRun;
use crate::time;

/// Time for which a forked process waits until its parent has created a run. After that the values count as
/// blocked, and stay in the journal for the next process.
pub(in crate::shipper) const PARENT_START_TIMEOUT: Duration = Duration::from_secs(60);

/// Time after which the start of a run that was not read is taken for lost, while later entries of it are
/// read.
pub(in crate::shipper) const START_READ_TIMEOUT: Duration = Duration::from_secs(1);

/// States of the runs of one journal, by run number.
#[derive(Default)]
pub(in crate::shipper) struct RunStates {
    states: FxHashMap<u32, RunState>,
    /// Run numbers by [key](RunIdentity::key).
    numbers: FxHashMap<String, u32>,
    /// Origin of the segments of an orphaned journal.
    pub(in crate::shipper) origin: Option<Origin>,
    /// Tags that runs of an orphaned journal share.
    common_tags: Arc<[Tag]>,
}

/// State of one run: what the journal holds of it, and what the store has.
pub(in crate::shipper) struct RunState {
    pub(in crate::shipper) identity: RunIdentity,
    pub(in crate::shipper) phase: Phase,
    /// Start record, if it was read. It is kept as the run may have to be created anew.
    pub(in crate::shipper) start: Option<Box<RunStart<'static>>>,
    /// True if the run is created anew, so that the params of its start have to be logged again.
    pub(in crate::shipper) is_renewed: bool,
    /// True if metrics of the run were sent before: the store may have some that are not in the current work.
    pub(in crate::shipper) has_metrics: bool,
    /// Greatest step of each key among doubtful points, which the store may have.
    pub(in crate::shipper) steps_in_doubt: FxHashMap<Arc<str>, i64>,
    /// Size of the next request.
    pub(in crate::shipper) batch_size: AdaptiveBatchSize,
    /// Link to the run's handles, which passes them the stored run.
    pub(in crate::shipper) link: Option<Arc<RunLink>>,
    /// Time of the first entry, in ms since the Unix epoch, in an orphaned journal.
    pub(in crate::shipper) first_ms: Option<i64>,
    /// Time of the last entry, in ms since the Unix epoch, in an orphaned journal.
    pub(in crate::shipper) last_ms: i64,
    pub(in crate::shipper) has_ended: bool,
    /// True if the run, in an orphaned journal, could not be closed.
    pub(in crate::shipper) cannot_be_closed: bool,
    /// Sequence numbers of the newest tag of each key and the newest artifact of each path.
    newest_sequences: FxHashMap<(SupersedableKind, String), u64>,
    /// Artifacts of an orphaned journal that were read, by sequence number and path, with their files.
    artifacts: FxHashMap<(u64, String), Option<PathBuf>>,
    /// Time when the run, or its start, was first looked for and not found.
    missed_since: Option<Instant>,
}

/// Kinds of events of which only the newest of a key counts.
#[derive(PartialEq, Eq, Hash)]
enum SupersedableKind {
    Tag,
    Artifact(PathNamespace),
}

/// Progress of a run towards its creation in the store.
pub(in crate::shipper) enum Phase {
    /// The run is known, but its start was not read. In an orphaned journal, the start was delivered before,
    /// or it is lost.
    StartUnread,
    /// The run is to be created. `in_doubt`: an earlier attempt may have succeeded.
    Pending { in_doubt: bool },
    /// The run was created or found.
    Created {
        run: StoredRun,
        /// Number of lookups that are left for a duplicate of the run, which may still appear.
        duplicate_checks: u8,
    },
}

impl RunState {
    pub(in crate::shipper) fn is_created(&self) -> bool {
        matches!(self.phase, Phase::Created { .. })
    }

    /// Returns true if the run has ended and no handle of it is left, so that nobody can log to it any more.
    fn is_closed(&self) -> bool {
        let held_elsewhere = self
            .link
            .as_ref()
            .is_some_and(|link| Arc::strong_count(link) > 1);
        self.has_ended && !held_elsewhere
    }
}

impl RunStates {
    pub(in crate::shipper) fn get(&self, number: u32) -> Option<&RunState> {
        self.states.get(&number)
    }

    pub(in crate::shipper) fn get_mut(&mut self, number: u32) -> Option<&mut RunState> {
        self.states.get_mut(&number)
    }

    /// Returns the number and state of the run with this [key](RunIdentity::key).
    pub(in crate::shipper) fn by_key(&self, key: &str) -> Option<(u32, &RunState)> {
        let number = *self.numbers.get(key)?;
        Some((number, self.get(number)?))
    }

    /// Returns true if the store may have metrics of the run that are not in the current work.
    pub(in crate::shipper) fn may_have_metrics(&self, number: u32) -> bool {
        self.get(number).is_none_or(|state| {
            state.has_metrics
                || state.start.is_none()
                || state.identity.resumed.is_some()
                || state.identity.role != Role::Owner
        })
    }

    /// Returns the role that the journal's process has for the run.
    pub(in crate::shipper) fn role(&self, number: u32) -> Role {
        self.get(number)
            .map_or(Role::default(), |state| state.identity.role)
    }

    /// Returns true if one of these runs is the stored run `run_id`, and its process will end the run in
    /// place of the process with the role `role`.
    pub(in crate::shipper) fn is_ended_by_us(&self, run_id: &str, role: Role) -> bool {
        let is = |state: &RunState| matches!(&state.phase, Phase::Created { run, .. } if run.run_id == run_id);
        let takes_over = |state: &RunState| {
            let other = state.identity.role;
            let is_same_member = role.member_rank().is_some() && role == other;
            (role.creates() && other.creates()) || is_same_member
        };
        self.states
            .values()
            .any(|state| is(state) && takes_over(state))
    }

    /// Returns true if this journal led (as rank 0) an open run that the process of `live` has joined. Such a
    /// journal is left for a restarted rank 0, or for a process that finds it after that process has left the
    /// run.
    pub(in crate::shipper) fn are_led_by_live_rank0(&self, live: &Self) -> bool {
        let is_member = |(_, state): (u32, &RunState)| {
            !state.has_ended && state.identity.role.member_rank().is_some()
        };
        let mut led = self.states.values();
        led.any(|state| {
            let identity = &state.identity;
            identity.role.is_restartable() && live.by_key(&identity.key).is_some_and(is_member)
        })
    }

    /// Returns true if the journal has runs that another process creates, and none that other ranks wait for.
    pub(in crate::shipper) fn are_only_joined(&self) -> bool {
        let any = |is: fn(Role) -> bool| self.states.values().any(|state| is(state.identity.role));
        any(|role| !role.creates()) && !any(Role::is_restartable)
    }

    /// Adds the run if it is not known, and returns its state.
    pub(in crate::shipper) fn register(
        &mut self,
        number: u32,
        identity: RunIdentity,
    ) -> &mut RunState {
        self.numbers.insert(identity.key.clone(), number);
        self.states.entry(number).or_insert(RunState {
            identity,
            phase: Phase::StartUnread,
            start: None,
            is_renewed: false,
            has_metrics: false,
            steps_in_doubt: FxHashMap::default(),
            batch_size: AdaptiveBatchSize::default(),
            link: None,
            first_ms: None,
            last_ms: 0,
            has_ended: false,
            cannot_be_closed: false,
            newest_sequences: FxHashMap::default(),
            artifacts: FxHashMap::default(),
            missed_since: None,
        })
    }

    /// Returns the parent of a run if both are still to be created.
    fn pending_parent(&self, number: u32) -> Option<u32> {
        let state = self.get(number)?;
        let start = state
            .start
            .as_ref()
            .filter(|_| matches!(state.phase, Phase::Pending { .. }))?;
        let (parent, state) = self.by_key(&start.parent.as_ref()?.key)?;
        matches!(state.phase, Phase::Pending { .. }).then_some(parent)
    }

    /// Returns the run, followed by its ancestors that are still to be created, up to the eldest.
    pub(in crate::shipper) fn ancestors_to_create(&self, number: u32) -> Vec<u32> {
        let mut line = vec![number];
        while let Some(parent) = line.last().and_then(|number| self.pending_parent(*number)) {
            if line.contains(&parent) {
                break;
            }
            line.push(parent);
        }
        line
    }

    /// Records an event, and returns true if it counts: false if a later one of its kind and key is known.
    pub(in crate::shipper) fn record_if_newest(
        &mut self,
        number: u32,
        sequence: u64,
        event: &RunEvent,
    ) -> bool {
        let key = match event {
            // The first param of a key counts. The store refuses a second, different value.
            RunEvent::Param(_) => return true,
            RunEvent::Tag(tag) => (SupersedableKind::Tag, tag.key.clone()),
            RunEvent::Artifact(artifact) => match artifact.kind.namespace() {
                Some(namespace) => (SupersedableKind::Artifact(namespace), artifact.path.clone()),
                None => return true,
            },
        };
        self.record_newest(number, key, sequence)
    }

    /// Notes that an artifact and its file were read. If the artifact was read before, returns the file that
    /// it had then.
    pub(in crate::shipper) fn note_artifact(
        &mut self,
        number: u32,
        artifact: &Artifact,
    ) -> Option<Option<PathBuf>> {
        let place = (artifact.sequence, artifact.path.clone());
        match self.get_mut(number)?.artifacts.entry(place) {
            Entry::Occupied(first) => Some(first.get().clone()),
            Entry::Vacant(entry) => {
                entry.insert(artifact.file().map(Path::to_owned));
                None
            }
        }
    }

    /// Records the event with number `sequence`, and returns true if it is the newest of its key so far.
    fn record_newest(
        &mut self,
        number: u32,
        key: (SupersedableKind, String),
        sequence: u64,
    ) -> bool {
        let Some(state) = self.get_mut(number) else {
            return true;
        };
        let newest = state.newest_sequences.entry(key).or_insert(sequence);
        let counts = *newest <= sequence;
        *newest = sequence.max(*newest);
        counts
    }

    /// Returns the time for which a run that was not found has been waited for, counted from the first call;
    /// `None` if no other process is about to create the run, or not soon.
    pub(in crate::shipper) fn waiting_time(
        &mut self,
        number: u32,
        is_live: bool,
    ) -> Option<Duration> {
        let state = self.get_mut(number)?;
        let awaited = state
            .missed_since
            .get_or_insert_with(Instant::now)
            .elapsed();
        let goes_on = match state.identity.role {
            Role::Owner | Role::Leader => false,
            // Rank 0 may start hours later. An orphaned journal is left for the next process instead.
            Role::Member { .. } | Role::Guest => is_live,
            Role::Child => awaited < PARENT_START_TIMEOUT,
        };
        goes_on.then_some(awaited)
    }

    /// Schedules the creation of a run that the store does not have, from its start or, if that is lost, from
    /// its identity. Returns false for a run that this journal's process would not create.
    pub(in crate::shipper) fn recreate(&mut self, number: u32) -> bool {
        let Some(state) = self.get_mut(number) else {
            return false;
        };
        let creates = state.identity.role.creates();
        if !creates || state.identity.resumed.is_some() {
            return false;
        }
        let started_ms = state.first_ms.unwrap_or_else(time::now_ms);
        let start = || Box::new(RunStart::replacement(&state.identity, started_ms));
        state.start.get_or_insert_with(start);
        // The store has just been searched for the run, so an earlier attempt has not succeeded.
        state.phase = Phase::Pending { in_doubt: false };
        state.is_renewed = true;
        true
    }

    /// Returns true if the start of a run of this process is taken for lost: [`START_READ_TIMEOUT`] has
    /// passed since the first call.
    pub(in crate::shipper) fn is_start_lost(&mut self, number: u32) -> bool {
        self.get_mut(number).is_some_and(|state| {
            let missed = *state.missed_since.get_or_insert_with(Instant::now);
            missed.elapsed() > START_READ_TIMEOUT
        })
    }

    /// Returns the runs that have not ended, or that the process has not left.
    pub(in crate::shipper) fn open_runs(&self) -> Vec<u32> {
        self.matching(|state| !state.has_ended)
    }

    /// Returns the runs that nobody can log to any more.
    pub(in crate::shipper) fn closed_runs(&self) -> Vec<u32> {
        self.matching(RunState::is_closed)
    }

    fn matching(&self, are: impl Fn(&RunState) -> bool) -> Vec<u32> {
        let matching = self.states.iter().filter(|(_, state)| are(state));
        let mut numbers: Vec<u32> = matching.map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers
    }

    pub(in crate::shipper) fn forget(&mut self, number: u32) {
        if let Some(state) = self.states.remove(&number) {
            self.numbers.remove(&state.identity.key);
        }
    }

    /// Surveys a segment of an orphaned journal: its runs, their starts and ends, the times of their entries,
    /// and which of their tags and artifacts are the newest. Events that are delivered count, too, as older
    /// events may not be delivered yet. An earlier shipper has delivered the entries before the offset
    /// `delivered`.
    pub(in crate::shipper) fn scan_segment(&mut self, bytes: &SegmentBytes, delivered: usize) {
        bytes.for_each_whole(|body, offset| self.scan_record(body, offset >= delivered));
    }

    fn scan_record(&mut self, body: &[u8], fresh: bool) {
        match Record::decode(body) {
            Some(Record::Metric(metric)) => self.record_timestamp(metric.run, metric.timestamp_ms),
            Some(Record::Definition(Definition::Run { number, identity })) => {
                self.register(number, identity.into_owned());
            }
            Some(Record::Event {
                run,
                sequence,
                event,
            }) => match event.parse() {
                Some(Event::Start(mut start)) => {
                    start.adopt_common_tags(&self.common_tags);
                    let started_ms = start.start_time_ms;
                    let state = self.register(run, start.identity.clone().into_owned());
                    // The run may have been created before, so it is looked up first.
                    if fresh && !start.is_delivered {
                        state.phase = Phase::Pending { in_doubt: true };
                    }
                    state.start = Some(start);
                    self.record_timestamp(run, started_ms);
                }
                Some(Event::End { .. }) => {
                    if let Some(state) = self.get_mut(run) {
                        state.has_ended = true;
                    }
                }
                Some(Event::Tag(tag)) => {
                    self.record_newest(run, (SupersedableKind::Tag, tag.key.clone()), sequence);
                }
                Some(Event::Artifact {
                    content: ArtifactLocation::Growing { .. },
                    ..
                }) => {}
                Some(Event::Artifact { path, kind, .. }) => {
                    if let Some(namespace) = kind.namespace() {
                        let key = (SupersedableKind::Artifact(namespace), path.into_owned());
                        self.record_newest(run, key, sequence);
                    }
                }
                Some(Event::Param(_)) | None => {}
            },
            Some(Record::Definition(Definition::Origin(origin))) => {
                self.common_tags = Arc::clone(&origin.tags);
                self.origin.get_or_insert(origin);
            }
            Some(Record::Definition(Definition::Key { .. })) | None => {}
        }
    }

    fn record_timestamp(&mut self, number: u32, at_ms: i64) {
        if let Some(state) = self.get_mut(number) {
            state.first_ms = Some(state.first_ms.map_or(at_ms, |first| first.min(at_ms)));
            state.last_ms = state.last_ms.max(at_ms);
        }
    }
}
