//! The runs of a journal, and how far each has come.
//!
//! Invariant: a run is created from [`Phase::Pending`], and only after a look for it where an earlier
//! attempt may have succeeded; or, after such a look, anew from what a dead journal holds of it. Where that was carried out after the look there are two, so
//! there is another look when the run has ended.

use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::journal::record::{ArtifactLocation, Definition, Event, Origin, Record, RunStart};
use crate::journal::segment::SegmentBytes;
use crate::model::Tag;
use crate::model::{Role, RunIdentity};
use crate::shipper::deliver::batch_size::AdaptiveBatchSize;
use crate::shipper::read::batch::RunEvent;
use crate::shipper::run_link::RunLink;
use crate::store::StoredRun;
use crate::time;

/// How long a run that the process's parent has started is waited for. Then its values stay where
/// they are, and the next process tries again.
pub(in crate::shipper) const PARENT_START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a start can be on its way to a reader while its thread goes on.
pub(in crate::shipper) const START_READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs by their number in the journal.
#[derive(Default)]
pub(in crate::shipper) struct RunStates {
    states: FxHashMap<u32, RunState>,
    /// By local id.
    numbers: FxHashMap<String, u32>,
    /// Whose segments a dead journal's are.
    pub(in crate::shipper) origin: Option<Origin>,
    /// The tags that all runs of a dead journal may have in common.
    common_tags: Arc<[Tag]>,
}

/// What is known about a run.
pub(in crate::shipper) struct RunState {
    pub(in crate::shipper) identity: RunIdentity,
    pub(in crate::shipper) phase: Phase,
    /// How it begins, where that was read: it may have to be created anew.
    pub(in crate::shipper) start: Option<Box<RunStart<'static>>>,
    /// Whether it has to be created anew, with the params that it began with.
    pub(in crate::shipper) is_renewed: bool,
    /// Whether the store may have metrics of it that this shipper has not sent, or not in the present request.
    pub(in crate::shipper) has_metrics: bool,
    /// The greatest step of each key among points that the store may have or not.
    pub(in crate::shipper) steps_in_doubt: FxHashMap<Arc<str>, i64>,
    /// How much its next request holds.
    pub(in crate::shipper) batch_size: AdaptiveBatchSize,
    /// Tells the run's handles what the store said.
    pub(in crate::shipper) link: Option<Arc<RunLink>>,
    /// The times of its first and last entry, for a run whose process died.
    pub(in crate::shipper) first_ms: Option<i64>,
    pub(in crate::shipper) last_ms: i64,
    pub(in crate::shipper) has_ended: bool,
    /// Whether its end was refused, for a run whose process died.
    pub(in crate::shipper) cannot_be_closed: bool,
    /// The places, in the order of all events, of its newest tags and artifacts.
    newest_sequences: FxHashMap<(SupersedableKind, String), u64>,
    /// The artifacts of a dead journal that were read, by their place in the order of all events and their path, and the
    /// file of each.
    artifacts: FxHashMap<(u64, String), Option<PathBuf>>,
    /// When it, or its start, was first looked for and not found.
    missed_since: Option<Instant>,
}

/// What of a key only the last counts.
#[derive(PartialEq, Eq, Hash)]
enum SupersedableKind {
    Tag,
    Artifact,
}

/// How far it has come.
pub(in crate::shipper) enum Phase {
    /// Mentioned, but its start was not read. In a dead journal: it was delivered before, or lost.
    StartUnread,
    /// To be created. In doubt: an earlier attempt may have succeeded.
    Pending { in_doubt: bool },
    Created {
        run: StoredRun,
        /// How often to look for a second one, which may still appear.
        duplicate_checks: u8,
    },
}

impl RunState {
    pub(in crate::shipper) fn is_created(&self) -> bool {
        matches!(self.phase, Phase::Created { .. })
    }

    /// Whether nobody can log to it any more.
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

    /// The run with this local id.
    pub(in crate::shipper) fn by_key(&self, key: &str) -> Option<(u32, &RunState)> {
        let number = *self.numbers.get(key)?;
        Some((number, self.get(number)?))
    }

    /// Returns whether the store may have metrics of the run that are not in the work at hand.
    pub(in crate::shipper) fn may_have_metrics(&self, number: u32) -> bool {
        self.get(number).is_none_or(|state| {
            state.has_metrics
                || state.start.is_none()
                || state.identity.resumed.is_some()
                || state.identity.role != Role::Owner
        })
    }

    /// What the journal's process has to do with the run.
    pub(in crate::shipper) fn role(&self, number: u32) -> Role {
        self.get(number)
            .map_or(Role::default(), |state| state.identity.role)
    }

    /// Whether one of them is this run of the store, with somebody who will do what `role` did.
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

    /// Whether one of them was rank 0's, and is one that the process of `live` has joined: a new rank
    /// 0 goes on with it, or else whoever comes when that process has left it.
    pub(in crate::shipper) fn are_led_by_live_rank0(&self, live: &Self) -> bool {
        let is_member = |(_, state): (u32, &RunState)| {
            !state.has_ended && state.identity.role.member_rank().is_some()
        };
        let mut led = self.states.values();
        led.any(|state| {
            let identity = &state.identity;
            identity.role == Role::Leader && live.by_key(&identity.key).is_some_and(is_member)
        })
    }

    /// Whether there are some that another process creates, and none that others wait for.
    pub(in crate::shipper) fn are_only_joined(&self) -> bool {
        let any = |is: fn(Role) -> bool| self.states.values().any(|state| is(state.identity.role));
        any(|role| !role.creates()) && !any(|role| role == Role::Leader)
    }

    /// Notes that there is such a run.
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

    /// The run's parent, if that is still to be created.
    fn pending_parent(&self, number: u32) -> Option<u32> {
        let state = self.get(number)?;
        let start = state
            .start
            .as_ref()
            .filter(|_| matches!(state.phase, Phase::Pending { .. }))?;
        let (parent, state) = self.by_key(&start.parent.as_ref()?.key)?;
        matches!(state.phase, Phase::Pending { .. }).then_some(parent)
    }

    /// From the run up to its eldest ancestor that is still to be created.
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

    /// Whether an event counts: false if a later one of its kind and key was read before.
    pub(in crate::shipper) fn record_if_newest(
        &mut self,
        number: u32,
        sequence: u64,
        event: &RunEvent,
    ) -> bool {
        let key = match event {
            // The first of a key counts, and of two values the store refuses the second.
            RunEvent::Param(_) => return true,
            RunEvent::Tag(tag) => (SupersedableKind::Tag, tag.key.clone()),
            RunEvent::Artifact(path, ..) => (SupersedableKind::Artifact, path.clone()),
        };
        self.record_newest(number, key, sequence)
    }

    /// Notes that an artifact was read, and its file. If it was read before, returns the file that it had then.
    pub(in crate::shipper) fn note_artifact(
        &mut self,
        number: u32,
        sequence: u64,
        path: &str,
        file: Option<&Path>,
    ) -> Option<Option<PathBuf>> {
        let place = (sequence, path.to_owned());
        match self.get_mut(number)?.artifacts.entry(place) {
            Entry::Occupied(first) => Some(first.get().clone()),
            Entry::Vacant(entry) => {
                entry.insert(file.map(Path::to_owned));
                None
            }
        }
    }

    /// Whether the event at `sequence` is the newest of its key so far.
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

    /// How long a run that was not found has been waited for; `None` if no other process is about
    /// to create it, or not soon. Counts from the first time it is asked.
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
            // Rank 0 may start hours later. What a dead process left waits for the next one.
            Role::Member { .. } | Role::Guest => is_live,
            Role::Child => awaited < PARENT_START_TIMEOUT,
        };
        goes_on.then_some(awaited)
    }

    /// Has a run that the store does not have be created anew, from its start or, where that is lost,
    /// from its identity. False for a run that this journal's process would not create.
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
        // The store was asked a moment ago.
        state.phase = Phase::Pending { in_doubt: false };
        state.is_renewed = true;
        true
    }

    /// Whether the start of a run of this process will not be read any more. Counts from the first
    /// time it is asked.
    pub(in crate::shipper) fn is_start_lost(&mut self, number: u32) -> bool {
        self.get_mut(number).is_some_and(|state| {
            let missed = *state.missed_since.get_or_insert_with(Instant::now);
            missed.elapsed() > START_READ_TIMEOUT
        })
    }

    /// Runs that did not end, or that this process did not leave.
    pub(in crate::shipper) fn open_runs(&self) -> Vec<u32> {
        self.matching(|state| !state.has_ended)
    }

    /// Runs that nobody can log to any more.
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

    /// Notes the runs of a dead journal's segment, how they start, whether they ended, when their
    /// last entry was made, and which of their tags and artifacts are the newest: those that were
    /// delivered may stand behind older ones that were not. Entries before `delivered` were delivered by an earlier shipper.
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
                    // One that was created before is looked up first.
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
                Some(Event::Artifact { path, .. }) => {
                    self.record_newest(
                        run,
                        (SupersedableKind::Artifact, path.into_owned()),
                        sequence,
                    );
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
