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
//! The queue of a parked run is called its lane. [`park`](crate::shipper::JournalReader::park) appends what is left of a run's
//! batch to the lane. When the lane is due, [`deliver_parked`](crate::shipper::Delivery::deliver_parked) reads it from its beginning, in
//! parts, and delivers each part as usual. After a failure the lane is rewound to the end of the last part
//! that was delivered. After the last part the run is delivered like all others again.
//!
//! Metrics of a request that failed because the store was unavailable are *doubtful*: the store may have them
//! or not. A server compares each point of a repeated batch with its key's whole history. Doubtful metrics
//! therefore have a lane of their own, are sent in small parts, one part at a turn, and delay nothing, not
//! even their own run.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::journal::entry_log::EntryLog;
use crate::shipper::backoff::Backoff;
use crate::shipper::batch::ReadBatch;
use crate::shipper::failure_scope::{RetryReason, StuckReason};
use crate::shipper::queue::lane::Lane;
use crate::shipper::run_states::RunStates;

/// Longest delay between two tries of a parked run.
pub(in crate::shipper) const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

/// Initial delay of doubtful metrics. It is long enough for the rest of the run, which is new, to go first.
pub(in crate::shipper) const DOUBTFUL_DELAY: Duration = Duration::from_millis(500);

/// Number of consecutive failures after which the end of the process waits no longer.
pub(in crate::shipper) const HOPELESS_AFTER: u32 = 5;

/// Lanes of one journal.
#[derive(Default)]
pub(in crate::shipper) struct ParkedRuns {
    pub(in crate::shipper) lanes: FxHashMap<Lane, ParkedLane>,
    /// Order in which the lanes are tried. Each lane is listed once.
    pub(in crate::shipper) turn_order: VecDeque<Lane>,
}

pub(in crate::shipper) struct ParkedLane {
    pub(in crate::shipper) stuck: StuckReason,
    pub(in crate::shipper) log: EntryLog,
    /// Number of waiting records.
    pub(in crate::shipper) entries: usize,
    /// Approximate time of the oldest entry, in ms since the Unix epoch.
    pub(in crate::shipper) oldest_ms: Option<i64>,
    pub(in crate::shipper) backoff: Backoff,
    pub(in crate::shipper) due: Instant,
    pub(in crate::shipper) parked_at: Instant,
    /// True if the last try failed on the way: the entries that are sent next may already be in the store.
    pub(in crate::shipper) is_doubtful: bool,
    /// Artifacts of unsettled entries that were handed over to the
    /// [`deferred_artifacts`](crate::shipper::queue::deferred_artifacts).
    pub(in crate::shipper) handed_over: Vec<HandedOverArtifact>,
}

/// An artifact of a lane that was handed over to the
/// [`deferred_artifacts`](crate::shipper::queue::deferred_artifacts). If the part of the lane is read
/// again, the artifact is skipped.
pub(in crate::shipper) struct HandedOverArtifact {
    pub(in crate::shipper) sequence: u64,
    /// File that the lane names, if the deferred artifact has got another one.
    pub(in crate::shipper) lane_file: Option<PathBuf>,
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
    pub(in crate::shipper) fn root_cause<'a>(&'a self, parked: &'a ParkedLane) -> &'a ParkedLane {
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

    pub(in crate::shipper) fn is_blocked(&self, parked: &ParkedLane) -> bool {
        self.root_cause(parked).stuck.is_blocked()
    }

    /// Returns true if the children of a run need not wait for it, because it is not parked, or is blocked
    /// until a person acts.
    pub(in crate::shipper) fn allows_children(&self, parent: u32) -> bool {
        let parked = self.lanes.get(&Lane::Run(parent));
        parked.is_none_or(|parked| self.is_blocked(parked))
    }

    /// Returns the number of records that are blocked until a person acts.
    pub(in crate::shipper) fn blocked_entries(&self) -> usize {
        let blocked = self.lanes.values().filter(|parked| self.is_blocked(parked));
        // Artifacts that were handed over are counted among the deferred ones.
        blocked
            .map(|parked| parked.entries.saturating_sub(parked.handed_over.len()))
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

    pub(in crate::shipper) fn holds_lane(&self, lane: Lane) -> bool {
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
    pub(in crate::shipper) fn take_due_lane(
        &mut self,
        now: Instant,
        is: fn(Lane) -> bool,
    ) -> Option<Lane> {
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
    pub(in crate::shipper) fn set_stuck(&mut self, lane: Lane, stuck: StuckReason) {
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
    pub(in crate::shipper) fn set_doubtful(&mut self, lane: Lane) {
        if let Some(parked) = self.lanes.get_mut(&lane) {
            parked.stuck = StuckReason::Failing {
                reason: "a request got no answer".to_owned(),
                retry_after: None,
            };
            parked.due = Instant::now() + DOUBTFUL_DELAY;
        }
    }

    /// Resets a lane's failures, because a part of it was delivered.
    pub(in crate::shipper) fn reset_backoff(&mut self, lane: Lane) {
        if let Some(parked) = self.lanes.get_mut(&lane) {
            parked.backoff.reset();
        }
    }

    pub(in crate::shipper) fn lane_or_insert(&mut self, lane: Lane) -> &mut ParkedLane {
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

    pub(in crate::shipper) fn remove(&mut self, lane: Lane) {
        self.lanes.remove(&lane);
        self.turn_order.retain(|other| *other != lane);
    }
}
