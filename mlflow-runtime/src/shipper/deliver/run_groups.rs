//! Delivery of several runs by one call of the store.
//!
//! # Invariants
//!
//! 1. A group is delivered as a whole or not at all. Until the store has taken it, none of its entries counts as sent, so each
//!    of its runs can still be delivered by itself.
//! 2. A group holds only runs whose whole part of the batch goes into the one call: their start, params, tags, metrics and
//!    end. Runs with artifacts, console logs or points that are left out, resumed runs, and runs that other processes share are delivered by
//!    themselves.
//! 3. A parent that this journal creates is created before the group is sent. Any other one is looked up, and left out if the
//!    store does not have it.
//!
//! Each run of a program that starts very many would cost several transactions, each of which a file syncs to the disk. A
//! store that takes groups writes thousands of such runs in one. If the store refuses a group, the caller tries a smaller
//! one, until the run that is to blame is delivered by itself.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::model::{ExperimentRef, Role, RunIdentity, Tag, tag_keys};
use crate::shipper::Delivery;
use crate::shipper::batch::{ReadBatch, RunBatch, SentCounts};
use crate::shipper::deliver::create_run::valid_start_tags;
use crate::shipper::failure_scope::{Halt, Obstacle};
use crate::shipper::read::journal_reader::JournalReader;
use crate::shipper::run_states::{Phase, RunState};
use crate::store::{Batch, GroupedRun, NewRun, StoreError, StoredRun};

/// Outcome of an attempt to deliver a group.
#[derive(Debug)]
pub(in crate::shipper) enum GroupOutcome {
    /// The group is delivered.
    Delivered,
    /// The store has refused a group of this number of runs, which are the first ones of the batch now.
    Refused(usize),
    /// There are no two runs that can be delivered together now.
    TooFew(Choice),
}

/// Choice of the runs of a group.
#[derive(Debug, Default)]
pub(in crate::shipper) struct Choice {
    /// Number of runs, which are the first ones of the batch now.
    pub(in crate::shipper) count: usize,
    /// True if runs may be left that can be delivered together.
    pub(in crate::shipper) is_incomplete: bool,
    /// Runs that have to be created before others can be chosen.
    pub(in crate::shipper) awaited_parents: FxHashSet<u32>,
}

impl Choice {
    /// Returns true if there may be a group once this run is delivered.
    pub(in crate::shipper) fn may_go_on_behind(&self, run: u32) -> bool {
        self.is_incomplete || self.awaited_parents.contains(&run)
    }
}

/// What a group needs besides the states of its runs, collected before it is sent.
struct MemberTags {
    experiment_id: String,
    tags: Vec<Tag>,
}

impl Delivery {
    /// Delivers as many of the runs that are left in `read_batch` as one call takes: at most `max_runs`, with at most
    /// `max_entries` entries.
    ///
    /// # Errors
    /// Fails if the whole delivery has to wait.
    pub(in crate::shipper) async fn deliver_group(
        &mut self,
        reader: &mut JournalReader,
        read_batch: &mut ReadBatch,
        max_entries: usize,
        max_runs: usize,
    ) -> Result<GroupOutcome, Halt> {
        let choice = self.choose_group(reader, read_batch, max_entries, max_runs);
        let count = choice.count;
        if count < 2 {
            return Ok(GroupOutcome::TooFew(choice));
        }
        self.yield_store().await;
        for run_batch in read_batch.remaining_works_mut().iter_mut().take(count) {
            match self.find_steps_of_member(reader, run_batch).await {
                Ok(()) => {}
                Err(Obstacle::Halt(halt)) => return Err(halt),
                Err(Obstacle::Stuck(_)) => return Ok(GroupOutcome::Refused(count)),
            }
        }
        let group = read_batch
            .remaining_works()
            .get(..count)
            .unwrap_or_default();
        let error = match self.send_group(reader, group).await {
            Ok(stored) => {
                self.settle_group(reader, read_batch, stored).await;
                return Ok(GroupOutcome::Delivered);
            }
            Err(error) => error,
        };
        if let StoreError::Unavailable { .. }
        | StoreError::Busy { .. }
        | StoreError::Contested { .. } = error
        {
            for run_batch in group {
                if let Some(state) = reader.runs.get_mut(run_batch.run) {
                    state.phase = Phase::Pending { in_doubt: true };
                }
            }
        }
        match self.classify_error(error).await {
            Obstacle::Halt(halt) => Err(halt),
            Obstacle::Stuck(_) => Ok(GroupOutcome::Refused(count)),
        }
    }

    /// Moves the runs that can be delivered together to the front of those that are left.
    fn choose_group(
        &self,
        reader: &JournalReader,
        read_batch: &mut ReadBatch,
        max_entries: usize,
        max_runs: usize,
    ) -> Choice {
        let mut choice = Choice::default();
        let mut budget = max_entries;
        let with_console: FxHashSet<u32> = reader.consoles.open.iter().map(|one| one.run).collect();
        let limits = self.store.limits();
        let mut chosen = Vec::new();
        for (index, run_batch) in read_batch.remaining_works_mut().iter_mut().enumerate() {
            if chosen.len() >= max_runs {
                choice.is_incomplete = true;
                break;
            }
            let Some(state) = reader.runs.get(run_batch.run) else {
                continue;
            };
            if !is_whole(run_batch)
                || with_console.contains(&run_batch.run)
                || reader.thinned.has_waiting(run_batch.run)
                || !is_own(state)
                || reader
                    .parked
                    .blocking_run(&reader.runs, run_batch.run)
                    .is_some()
            {
                continue;
            }
            if let Some(parent) = find_pending_parent(reader, state) {
                choice.awaited_parents.insert(parent);
                continue;
            }
            let refused = run_batch.take_invalid();
            run_batch.record_refused(refused);
            if !run_batch.fits(limits) {
                continue;
            }
            let start_tags = state.start.as_ref().map_or(0, |start| start.tags.len());
            let entries = run_batch.value_count() + start_tags + 1;
            if entries > max_entries {
                continue;
            }
            if entries > budget {
                choice.is_incomplete = true;
                break;
            }
            budget -= entries;
            chosen.push(index);
        }
        read_batch.bring_forward(&chosen);
        choice.count = chosen.len();
        choice
    }

    /// Sets the step of points that are logged at the last step of their key. Only an earlier attempt can have created the
    /// run and delivered points of it.
    async fn find_steps_of_member(
        &mut self,
        reader: &mut JournalReader,
        run_batch: &mut RunBatch,
    ) -> Result<(), Obstacle> {
        let number = run_batch.run;
        let may_exist = !reader.is_live() || reader.runs.may_have_metrics(number);
        let identity = reader.runs.get(number).map(|state| state.identity.clone());
        let run = match identity.filter(|_| may_exist && run_batch.has_last_steps()) {
            Some(identity) => match self.find_run(&identity).await {
                Ok(found) => found,
                Err(error) => return Err(self.classify_error(error).await),
            },
            None => None,
        };
        self.find_last_steps(reader, run.as_ref(), run_batch).await
    }

    async fn send_group(
        &self,
        reader: &JournalReader,
        group: &[RunBatch],
    ) -> Result<Vec<StoredRun>, StoreError> {
        let states: Vec<&RunState> = { group.iter() }
            .filter_map(|run_batch| reader.runs.get(run_batch.run))
            .collect();
        let mut ids: FxHashMap<&ExperimentRef, String> = FxHashMap::default();
        let mut parents: FxHashMap<&str, Option<String>> = FxHashMap::default();
        let mut members = Vec::with_capacity(group.len());
        for state in &states {
            let experiment = &state.identity.experiment;
            let experiment_id = match ids.get(experiment) {
                Some(id) => id.clone(),
                None => self.store.experiment(experiment).await?,
            };
            ids.insert(experiment, experiment_id.clone());
            let mut tags = state
                .start
                .as_deref()
                .map_or_else(Vec::new, valid_start_tags);
            if let Some(parent) = parent_of(state) {
                let id = match parents.get(&*parent.key) {
                    Some(id) => id.clone(),
                    None => self.resolve_parent_id(reader, Some(parent)).await?,
                };
                parents.insert(&parent.key, id.clone());
                if let Some(value) = id {
                    tags.retain(|tag| tag.key != tag_keys::PARENT_RUN_ID);
                    let key = tag_keys::PARENT_RUN_ID.to_owned();
                    tags.push(Tag { key, value });
                }
            }
            members.push(MemberTags {
                experiment_id,
                tags,
            });
        }
        let runs: Vec<GroupedRun<'_>> = { group.iter().zip(states).zip(&members) }
            .filter_map(|((run_batch, state), member)| {
                let start = state.start.as_deref()?;
                Some(GroupedRun {
                    new: NewRun {
                        key: &state.identity.key,
                        experiment_id: &member.experiment_id,
                        name: &start.name,
                        user_id: &start.user,
                        start_time_ms: start.start_time_ms,
                        tags: &member.tags,
                    },
                    batch: Batch {
                        metrics: &run_batch.metrics,
                        params: &run_batch.params,
                        tags: &run_batch.tags,
                    },
                    end: run_batch.end,
                })
            })
            .collect();
        self.store.log_runs(&runs).await
    }

    /// Records that the first runs of the batch are delivered.
    async fn settle_group(
        &mut self,
        reader: &mut JournalReader,
        read_batch: &mut ReadBatch,
        stored: Vec<StoredRun>,
    ) {
        for run in stored {
            let Some(run_batch) = read_batch.current() else {
                return;
            };
            let number = run_batch.run;
            self.introduce_run(reader, number, &run).await;
            if let Some(state) = reader.runs.get_mut(number) {
                state.phase = Phase::Created {
                    run,
                    duplicate_checks: 0,
                };
            }
            self.finish_work(reader, run_batch);
            read_batch.finish_current();
        }
        self.has_progress = true;
    }
}

/// Returns true if one call can take all that is left of a run's batch.
fn is_whole(run_batch: &RunBatch) -> bool {
    run_batch.artifacts.is_empty()
        && run_batch.sent == SentCounts::default()
        && run_batch.doubtful_count == 0
}

/// Returns true if the run is this journal's own, and is to be created from its start.
fn is_own(state: &RunState) -> bool {
    matches!(state.phase, Phase::Pending { .. })
        && state.start.is_some()
        && state.identity.role == Role::Owner
        && state.identity.resumed.is_none()
        && !state.is_renewed
}

/// Returns the parent that has to be created before the run. A blocked parent is not waited for.
pub(in crate::shipper) fn find_pending_parent(
    reader: &JournalReader,
    state: &RunState,
) -> Option<u32> {
    let (number, parent) = reader.runs.by_key(&parent_of(state)?.key)?;
    let is_awaited =
        matches!(parent.phase, Phase::Pending { .. }) && !reader.parked.is_run_blocked(number);
    is_awaited.then_some(number)
}

fn parent_of(state: &RunState) -> Option<&RunIdentity> {
    state.start.as_ref()?.parent.as_deref()
}
