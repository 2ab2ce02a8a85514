//! Parked runs: runs whose entries wait by themselves, while everything else is delivered at full speed. A
//! run is parked if the store accepts nothing for it until a person acts, if requests fail for this run
//! alone, or if another process has still to create it.
//!
//! # Invariants
//!
//! 1. The entries of a run are delivered in the order in which they were read: a new entry of a parked run is
//!    queued behind the waiting ones.
//! 2. Waiting entries are in [segments of their own](crate::journal::entry_log), not in memory, and pin none
//!    of the segments that they were read from.
//! 3. Each run is tried again at growing intervals, by itself. A run that is due is delayed by other runs for
//!    no longer than a few tries take.
//!
//! # Operation
//!
//! The queue of a parked run is called its lane. [`JournalReader::park`] appends what is left of a run's
//! batch to the lane. When the lane is due, [`Delivery::deliver_parked`] reads it from its beginning, in
//! parts, and delivers each part as usual. After a failure the lane is rewound to the end of the last part
//! that was delivered. After the last part the run is delivered like all others again.
//!
//! Metrics of a request that failed because the store was unavailable are *doubtful*: the store may have them
//! or not. A server compares each point of a repeated batch with its key's whole history. Doubtful metrics
//! therefore have a lane of their own, are sent in small parts, one part at a turn, and delay nothing, not
//! even their own run.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::journal::entry_log::{CopySummary, EntryLog, EntryWriter};
use crate::journal::segment::Segment;
use crate::shipper::Delivery;
use crate::shipper::backoff::Backoff;
use crate::shipper::deliver::delivery::WorkOrigin;
use crate::shipper::failure_scope::{Halt, Obstacle, RetryReason, StuckReason};
use crate::shipper::read::batch::{ReadBatch, RunBatch};
use crate::shipper::read::cursor::Cursor;
use crate::shipper::read::journal_reader::JournalReader;
use crate::shipper::read::run_states::RunStates;

/// Maximum number of lanes tried in one step; the others follow in the next steps.
const MAX_TRIES_PER_STEP: usize = 10;
/// Maximum number of points of a doubtful lane in one request: MLflow 2.10 refuses a repeated batch with more
/// than 100 keys.
#[cfg(not(test))]
const DOUBTFUL_BATCH: usize = 100;
/// Small limit in tests, so that even a short simulation sends several parts.
#[cfg(test)]
const DOUBTFUL_BATCH: usize = 2;
/// Longest delay between two tries of a parked run.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

/// Initial delay of doubtful metrics. It is long enough for the rest of the run, which is new, to go first.
const DOUBTFUL_DELAY: Duration = Duration::from_millis(500);

/// Number of consecutive failures after which the end of the process waits no longer.
pub(in crate::shipper) const HOPELESS_AFTER: u32 = 5;

/// A queue of entries that wait by themselves. A cursor names the lane that its segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::shipper) enum Lane {
    /// Entries of a parked run, in order.
    Run(u32),
    /// Metrics of a run that the store may already have.
    Doubtful(u32),
    /// Waiting [artifacts](crate::shipper::deliver::deferred_artifacts) of all runs.
    Artifacts,
}

impl Lane {
    fn run(self) -> Option<u32> {
        match self {
            Self::Run(run) | Self::Doubtful(run) => Some(run),
            Self::Artifacts => None,
        }
    }

    fn is_run(self) -> bool {
        matches!(self, Self::Run(_))
    }

    fn is_doubtful(self) -> bool {
        matches!(self, Self::Doubtful(_))
    }
}

/// Lanes of one journal.
#[derive(Default)]
pub(in crate::shipper) struct ParkedRuns {
    lanes: FxHashMap<Lane, ParkedLane>,
    /// Order in which the lanes are tried. Each lane is listed once.
    turn_order: VecDeque<Lane>,
}

struct ParkedLane {
    stuck: StuckReason,
    log: EntryLog,
    /// Number of waiting records.
    entries: usize,
    /// Approximate time of the oldest entry, in ms since the Unix epoch.
    oldest_ms: Option<i64>,
    backoff: Backoff,
    due: Instant,
    parked_at: Instant,
    /// True if the last try failed on the way: the entries that are sent next may already be in the store.
    is_doubtful: bool,
    /// Artifacts of unsettled entries that were handed over to the
    /// [`deferred_artifacts`](crate::shipper::deliver::deferred_artifacts).
    handed_over: Vec<HandedOverArtifact>,
}

/// An artifact of a lane that was handed over to the
/// [`deferred_artifacts`](crate::shipper::deliver::deferred_artifacts). If the part of the lane is read
/// again, the artifact is skipped.
struct HandedOverArtifact {
    sequence: u64,
    /// File that the lane names, if the deferred artifact has got another one.
    lane_file: Option<PathBuf>,
}

impl ParkedRuns {
    pub(in crate::shipper) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Returns true if any lane waits for something other than a person's action.
    pub(in crate::shipper) fn has_retryable(&self) -> bool {
        self.lanes.values().any(|parked| !self.is_blocked(parked))
    }

    /// Returns true if any entry of the run waits here.
    pub(in crate::shipper) fn has_run(&self, run: u32) -> bool {
        self.holds_lane(Lane::Run(run)) || self.holds_lane(Lane::Doubtful(run))
    }

    /// Returns true if every lane that is not blocked has failed repeatedly: the end of the process need not
    /// wait for them. A run that another process has still to create does not count as failed.
    pub(in crate::shipper) fn is_hopeless(&self) -> bool {
        let mut waiting = self
            .lanes
            .values()
            .filter(|parked| !self.is_blocked(parked));
        waiting.all(|parked| {
            let root = self.root_cause(parked);
            root.stuck != StuckReason::RunNotCreated && root.backoff.failures() >= HOPELESS_AFTER
        })
    }

    /// Returns the lane that `parked` waits for in the end: for a run behind its parent, the parent's, and so
    /// on; else `parked` itself.
    fn root_cause<'a>(&'a self, parked: &'a ParkedLane) -> &'a ParkedLane {
        let mut root = parked;
        // The bound guards against circles: a chain of parents is no longer than the number of lanes.
        for _ in 0..self.lanes.len() {
            match root.stuck {
                StuckReason::BehindRun(parent) => match self.lanes.get(&Lane::Run(parent)) {
                    Some(parked) => root = parked,
                    None => break,
                },
                _ => break,
            }
        }
        root
    }

    fn is_blocked(&self, parked: &ParkedLane) -> bool {
        self.root_cause(parked).stuck.is_blocked()
    }

    /// Returns true if the children of a run need not wait for it, because it is not parked, or is blocked
    /// until a person acts.
    fn allows_children(&self, parent: u32) -> bool {
        let parked = self.lanes.get(&Lane::Run(parent));
        parked.is_none_or(|parked| self.is_blocked(parked))
    }

    /// Returns the number of records that are blocked until a person acts.
    pub(in crate::shipper) fn blocked_entries(&self) -> usize {
        let held = self.lanes.values().filter(|parked| self.is_blocked(parked));
        // Artifacts that were handed over are counted among the deferred ones.
        held.map(|parked| parked.entries.saturating_sub(parked.handed_over.len()))
            .sum()
    }

    /// Returns the approximate time of the oldest entry that is not blocked, in ms since the Unix epoch.
    pub(in crate::shipper) fn oldest_ms(&self) -> Option<i64> {
        let waiting = self
            .lanes
            .values()
            .filter(|parked| !self.is_blocked(parked));
        waiting.filter_map(|parked| parked.oldest_ms).min()
    }

    /// Returns the time of the next try; `None` if no lane can be tried.
    pub(in crate::shipper) fn next_try_at(&self) -> Option<Instant> {
        let has_turn = |parked: &&ParkedLane| match parked.stuck {
            StuckReason::BehindRun(parent) => self.allows_children(parent),
            _ => true,
        };
        let lanes = self.lanes.values().filter(has_turn);
        lanes.map(|parked| parked.due).min()
    }

    /// Brings every later try forward to `at`, because a caller waits for a flush.
    pub(in crate::shipper) fn retry_by(&mut self, at: Instant) {
        for parked in self.lanes.values_mut() {
            parked.due = parked.due.min(at);
        }
    }

    fn holds_lane(&self, lane: Lane) -> bool {
        self.lanes.contains_key(&lane)
    }

    /// Returns the run that holds back the entries of run `number`, if any: that run itself, if it is parked,
    /// or an ancestor that has to be created before it. Doubtful metrics hold nothing back.
    pub(in crate::shipper) fn blocking_run(&self, runs: &RunStates, number: u32) -> Option<u32> {
        let is_in_front = |run: &u32| match self.lanes.get(&Lane::Run(*run)) {
            // A child is delivered without a parent that is blocked.
            Some(parked) => *run == number || !self.is_blocked(parked),
            None => false,
        };
        runs.ancestors_to_create(number)
            .into_iter()
            .rev()
            .find(is_in_front)
    }

    /// Returns true if the run is blocked until a person acts.
    pub(in crate::shipper) fn is_run_blocked(&self, number: u32) -> bool {
        let parked = self.lanes.get(&Lane::Run(number));
        parked.is_some_and(|parked| self.is_blocked(parked))
    }

    /// Returns the next lane accepted by `is` that is due at `now`, and moves it to the end of the order.
    fn take_due_lane(&mut self, now: Instant, is: fn(Lane) -> bool) -> Option<Lane> {
        let is_due = |lane: &Lane| {
            self.lanes
                .get(lane)
                .is_some_and(|parked| match parked.stuck {
                    StuckReason::BehindRun(parent) => self.allows_children(parent),
                    _ => parked.due <= now,
                })
        };
        let at = self
            .turn_order
            .iter()
            .position(|lane| is(*lane) && is_due(lane))?;
        let lane = self.turn_order.remove(at)?;
        self.turn_order.push_back(lane);
        Some(lane)
    }

    /// Records why a lane waits, and sets the time of its next try.
    fn set_stuck(&mut self, lane: Lane, stuck: StuckReason) {
        let Some(parked) = self.lanes.get_mut(&lane) else {
            return;
        };
        let delay = match &stuck {
            StuckReason::Blocked(_) | StuckReason::Missing(_) => parked
                .backoff
                .next_delay(RetryReason::Unavailable { retry_after: None }),
            StuckReason::Failing { retry_after, .. } => {
                let retry_after = *retry_after;
                parked
                    .backoff
                    .next_delay(RetryReason::Unavailable { retry_after })
            }
            StuckReason::RunNotCreated => parked.backoff.next_lookup_delay(),
            StuckReason::BehindRun(_) => Duration::ZERO,
        };
        parked.is_doubtful |= matches!(stuck, StuckReason::Failing { .. });
        parked.due = Instant::now() + delay.min(MAX_RETRY_DELAY);
        parked.stuck = stuck;
    }

    /// Records that a request with the entries of a new doubtful lane got no answer. The lane's own failures
    /// are not counted up.
    fn set_doubtful(&mut self, lane: Lane) {
        if let Some(parked) = self.lanes.get_mut(&lane) {
            parked.stuck = StuckReason::Failing {
                reason: "a request got no answer".to_owned(),
                retry_after: None,
            };
            parked.due = Instant::now() + DOUBTFUL_DELAY;
        }
    }

    /// Resets a lane's failures, because a part of it was delivered.
    fn reset_backoff(&mut self, lane: Lane) {
        if let Some(parked) = self.lanes.get_mut(&lane) {
            parked.backoff.reset();
        }
    }

    fn lane_or_insert(&mut self, lane: Lane) -> &mut ParkedLane {
        let turns = &mut self.turn_order;
        self.lanes.entry(lane).or_insert_with(|| {
            turns.push_back(lane);
            let now = Instant::now();
            ParkedLane {
                stuck: StuckReason::RunNotCreated,
                log: EntryLog::default(),
                entries: 0,
                oldest_ms: None,
                backoff: Backoff::default(),
                due: now,
                parked_at: now,
                is_doubtful: false,
                handed_over: Vec::new(),
            }
        })
    }

    /// Records that an artifact of a lane is deferred from now on, and the file that the lane names for it.
    pub(in crate::shipper) fn hand_over(
        &mut self,
        run: u32,
        sequence: u64,
        lane_file: Option<PathBuf>,
    ) {
        if let Some(parked) = self.lanes.get_mut(&Lane::Run(run)) {
            let handed_over = HandedOverArtifact {
                sequence,
                lane_file,
            };
            parked.handed_over.push(handed_over);
        }
    }

    /// Returns true if an artifact of the run's lane was deferred, and its part of the lane is not settled
    /// yet.
    pub(in crate::shipper) fn is_handed_over(&self, run: u32, sequence: u64) -> bool {
        let parked = self.lanes.get(&Lane::Run(run));
        let mut handed_over = parked.into_iter().flat_map(|parked| &parked.handed_over);
        handed_over.any(|artifact| artifact.sequence == sequence)
    }

    /// Forgets the deferred artifacts of `part`, which is settled now, and returns the files that the lane
    /// names for them. An earlier, failed try may have read a longer part: artifacts that it handed over
    /// beyond `part` stay recorded.
    pub(in crate::shipper) fn take_handed_over(
        &mut self,
        lane: Lane,
        part: &ReadBatch,
    ) -> Vec<PathBuf> {
        let Some(parked) = self.lanes.get_mut(&lane) else {
            return Vec::new();
        };
        let settled = part.handed_over().filter_map(|sequence| {
            let mut handed_over = parked.handed_over.iter();
            let at = handed_over.position(|artifact| artifact.sequence == sequence)?;
            parked.handed_over.swap_remove(at).lane_file
        });
        settled.collect()
    }

    fn remove(&mut self, lane: Lane) {
        self.lanes.remove(&lane);
        self.turn_order.retain(|other| *other != lane);
    }
}

impl JournalReader {
    /// Appends what is left of `run_batch` to its run's lane. Returns the number of records copied, and the number
    /// of metrics that were left out because the quota for copies was exhausted.
    ///
    /// # Errors
    ///
    /// If the copy cannot be written. The entries then have to stay in the segments that they were read from.
    pub(in crate::shipper) fn park(
        &mut self,
        run_batch: &RunBatch,
        stuck: StuckReason,
        oldest_ms: Option<i64>,
    ) -> io::Result<(usize, usize)> {
        let lane = Lane::Run(run_batch.run);
        let is_new = !self.parked.holds_lane(lane);
        let keeps_metrics = self.has_copy_quota();
        let start = self.runs.get(run_batch.run).and_then(|state| {
            let is_needed = !state.is_created() || run_batch.has_params_of_start();
            state.start.clone().filter(|_| is_needed)
        });
        // If the store loses the run, the next process needs the start to create the run anew.
        let known = self
            .runs
            .get(run_batch.run)
            .and_then(|state| state.start.clone());
        let again = known.filter(|_| is_new && start.is_none());
        let copied = self.append_to_lane(lane, run_batch.run, |log| {
            if let Some(start) = again {
                log.append_delivered_start(*start)?;
            }
            run_batch.copy_remaining(log, start.as_deref(), keeps_metrics)
        });
        let copied = match copied {
            Ok(copied) => copied,
            Err(error) => {
                if is_new {
                    self.parked.remove(lane);
                }
                return Err(error);
            }
        };
        let parked = self.parked.lane_or_insert(lane);
        parked.entries += copied.records;
        parked.oldest_ms = parked.oldest_ms.into_iter().chain(oldest_ms).min();
        if is_new {
            self.parked.set_stuck(lane, stuck);
        }
        self.name_run_in(run_batch.run, &copied);
        let lost = if keeps_metrics {
            0
        } else {
            run_batch.metrics.len() - run_batch.sent.metrics.min(run_batch.metrics.len())
        };
        Ok((copied.records, lost))
    }

    /// Moves the doubtful metrics of `run_batch` to their lane.
    ///
    /// # Errors
    ///
    /// If the copy cannot be written. The metrics are then in `run_batch` again, and are no longer treated as
    /// doubtful.
    pub(in crate::shipper) fn park_doubtful(&mut self, run_batch: &mut RunBatch) -> io::Result<()> {
        let lane = Lane::Doubtful(run_batch.run);
        let is_new = !self.parked.holds_lane(lane);
        let metrics = run_batch.take_doubtful();
        let copied = self.append_to_lane(lane, run_batch.run, |log| {
            metrics
                .iter()
                .try_for_each(|metric| log.append_metric(metric))
        });
        if let Err(error) = copied {
            run_batch.put_back_doubtful(metrics);
            if is_new {
                self.parked.remove(lane);
            }
            return Err(error);
        }
        self.parked.lane_or_insert(lane).entries += metrics.len();
        if is_new {
            self.parked.set_doubtful(lane);
        }
        Ok(())
    }

    /// Appends entries of a run to a lane.
    fn append_to_lane(
        &mut self,
        lane: Lane,
        run: u32,
        write: impl FnOnce(&mut EntryWriter<'_, '_>) -> io::Result<()>,
    ) -> io::Result<CopySummary> {
        let mut log = std::mem::take(&mut self.parked.lane_or_insert(lane).log);
        let copied = self.copy_to(&mut log, lane, run, write);
        self.parked.lane_or_insert(lane).log = log;
        copied
    }

    /// Records the lane's last segment as the one in which the run starts, in place of the segments in which
    /// it started, so that these can be deleted.
    fn name_run_in(&mut self, run: u32, copied: &CopySummary) {
        let Some((last, _)) = copied.segments.last() else {
            return;
        };
        let mut started = false;
        for cursor in &mut self.cursors {
            let before = cursor.started_runs.len();
            cursor.started_runs.retain(|number| *number != run);
            started |= cursor.started_runs.len() < before;
        }
        let cursor = self.cursors.iter_mut();
        if let Some(cursor) = { cursor }.find(|cursor| Arc::ptr_eq(&cursor.segment, last))
            && started
        {
            cursor.started_runs.push(run);
        }
    }

    /// Removes a lane whose entries are all delivered.
    fn unpark(&mut self, lane: Lane) {
        self.parked.remove(lane);
        for cursor in &mut self.cursors {
            if cursor.lane == Some(lane) {
                cursor.lane = None;
            }
        }
        self.settle();
    }
}

/// Cursors of the segments that a copy has touched.
impl JournalReader {
    /// Appends entries of `run` to `log`, whose segments belong to `lane`.
    pub(in crate::shipper) fn copy_to(
        &mut self,
        log: &mut EntryLog,
        lane: Lane,
        run: u32,
        write: impl FnOnce(&mut EntryWriter<'_, '_>) -> io::Result<()>,
    ) -> io::Result<CopySummary> {
        let Some(identity) = self.runs.get(run).map(|state| state.identity.clone()) else {
            return Err(io::Error::other("the run of these entries is unknown"));
        };
        let (origin, mut open) = self.copy_target();
        log.keep_if(|segment| {
            let mut cursors = self.cursors.iter();
            cursors.any(|cursor| Arc::ptr_eq(&cursor.segment, segment))
        });
        let mut writer = log.writer(&mut *open, &origin, run, &identity);
        write(&mut writer)?;
        let copied = writer.finish()?;
        for (segment, bytes) in &copied.segments {
            self.note_copied(lane, segment, *bytes);
        }
        Ok(copied)
    }

    fn note_copied(&mut self, lane: Lane, segment: &Arc<Segment>, bytes: usize) {
        self.record_copy_growth(segment, bytes);
        self.unsynced_segments.push(Arc::clone(segment));
        let known = self
            .cursors
            .iter_mut()
            .find(|cursor| Arc::ptr_eq(&cursor.segment, segment));
        match known {
            Some(cursor) => {
                cursor.is_finished = false;
                cursor.unload();
            }
            None => {
                let mut cursor = Cursor::new(Arc::clone(segment));
                cursor.lane = Some(lane);
                self.cursors.push(cursor);
            }
        }
    }
}

impl Delivery {
    /// Tries the parked runs that are due.
    pub(in crate::shipper) async fn deliver_parked(
        &mut self,
        reader: &mut JournalReader,
    ) -> Result<(), Halt> {
        let now = Instant::now();
        for _ in 0..MAX_TRIES_PER_STEP {
            let Some(lane) = reader.parked.take_due_lane(now, Lane::is_run) else {
                break;
            };
            self.try_lane(reader, lane, usize::MAX).await?;
        }
        Ok(())
    }

    /// Tries the doubtful lanes that are due, until one part of one of them is delivered: everything else is
    /// delivered before the next part. Returns true if there may be a next part.
    pub(in crate::shipper) async fn deliver_doubtful(
        &mut self,
        reader: &mut JournalReader,
    ) -> Result<bool, Halt> {
        let now = Instant::now();
        for _ in 0..MAX_TRIES_PER_STEP {
            let Some(lane) = reader.parked.take_due_lane(now, Lane::is_doubtful) else {
                break;
            };
            if self.try_lane(reader, lane, 1).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Delivers up to `parts` parts of a lane. Returns true if that succeeded; otherwise the lane waits for
    /// its next try.
    async fn try_lane(
        &mut self,
        reader: &mut JournalReader,
        lane: Lane,
        parts: usize,
    ) -> Result<bool, Halt> {
        let before = std::mem::take(&mut self.has_progress);
        let delivered = self.deliver_lane(reader, lane, parts).await;
        let has_progress = self.has_progress;
        self.has_progress |= before;
        if has_progress {
            reader.parked.reset_backoff(lane);
        }
        match delivered {
            Ok(()) => Ok(true),
            Err(Obstacle::Stuck(stuck)) => {
                self.stats().retried.add(1);
                reader.parked.set_stuck(lane, stuck.clone());
                let parked = reader.parked.lanes.get(&lane);
                let failures = parked.map_or(0, |parked| parked.backoff.failures());
                self.warn_stuck(reader, &stuck, failures);
                Ok(false)
            }
            Err(Obstacle::Halt(halt)) => Err(halt),
        }
    }

    async fn deliver_lane(
        &mut self,
        reader: &mut JournalReader,
        lane: Lane,
        parts: usize,
    ) -> Result<(), Obstacle> {
        let Some(run) = lane.run() else {
            return Ok(());
        };
        if let Some(parent) = reader.parked.blocking_run(&reader.runs, run)
            && parent != run
        {
            return Err(StuckReason::BehindRun(parent).into());
        }
        if let Some(parked) = reader.parked.lanes.get(&lane)
            && matches!(parked.stuck, StuckReason::Missing(_))
        {
            let since = parked.parked_at;
            self.relocate_run(reader, run, since.elapsed()).await?;
        }
        for _ in 0..parts {
            let parked = reader.parked.lanes.get(&lane);
            let is_doubtful = lane.is_doubtful() || parked.is_some_and(|parked| parked.is_doubtful);
            let most = self.read_budget().min(self.batch_entries());
            let (entries, largest) = if is_doubtful {
                (most.min(DOUBTFUL_BATCH), DOUBTFUL_BATCH)
            } else {
                (most, usize::MAX)
            };
            let mut read_batch = reader.read_lane(lane, entries);
            if read_batch.is_empty() {
                reader.unpark(lane);
                return Ok(());
            }
            let part = WorkOrigin::Parked { largest };
            if let Err(obstacle) = self.deliver_batch(reader, &mut read_batch, part).await {
                reader.rewind(lane);
                return Err(obstacle);
            }
            reader.acknowledge_lane(lane, &read_batch);
            self.has_progress = true;
            if let Some(parked) = reader.parked.lanes.get_mut(&lane) {
                parked.entries = parked.entries.saturating_sub(read_batch.entries);
                parked.is_doubtful = false;
            }
            // Updated before the next request, which may take long.
            self.update_blocked_counts(reader);
        }
        Ok(())
    }

    async fn deliver_batch(
        &mut self,
        reader: &mut JournalReader,
        read_batch: &mut ReadBatch,
        part: WorkOrigin,
    ) -> Result<(), Obstacle> {
        while let Some(run_batch) = read_batch.current() {
            self.deliver_run_batch(reader, run_batch, part).await?;
            read_batch.finish_current();
        }
        Ok(())
    }
}
