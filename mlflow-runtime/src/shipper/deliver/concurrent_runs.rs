//! Delivery of several runs at once, to a store that takes several requests at once but no
//! [groups](crate::shipper::deliver::run_groups).
//!
//! # Invariants
//!
//! 1. The requests of a run follow each other as if the run were alone: its creation, its params, tags and metrics, and
//!    then its end. A run begins only when its parent is created.
//! 2. Only runs of which a few requests take everything are delivered beside others. Runs with artifacts, console logs or points that
//!    are left out, resumed runs, and runs that other processes share are delivered by themselves.
//! 3. Nothing is decided about a run that fails beside others. It keeps what was acknowledged and what is in doubt, and is
//!    delivered by itself next, in the way in which every failure is dealt with.
//! 4. While little is to be delivered, one connection serves all runs: each further one needs [`WORK_PER_CONNECTION`].
//!
//! The many small runs of a search for parameters would otherwise each wait for the answers to the three requests of
//! the one before it.

use std::cell::RefCell;
use std::collections::HashMap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::journal::record::RunStart;
use crate::model::{ExperimentRef, Role, RunIdentity};
use crate::shipper::Delivery;
use crate::shipper::batch::{ReadBatch, RunBatch};
use crate::shipper::batch_size::AdaptiveBatchSize;
use crate::shipper::deliver::create_run::MAX_DUPLICATE_CHECKS;
use crate::shipper::deliver::request_window::{JobEnd, carry_out};
use crate::shipper::deliver::run_groups::{Choice, find_pending_parent};
use crate::shipper::failure_scope::{Halt, Obstacle};
use crate::shipper::read::journal_reader::JournalReader;
use crate::shipper::run_states::{Phase, RunState};
use crate::store::{StoreError, StoredRun};

/// Number of full requests that the values of a run may need.
const MAX_REQUESTS_PER_RUN: usize = 2;
/// Number of runs, for each that is in flight, after which their outcomes are settled.
const RUNS_PER_ROUND: usize = 32;
/// Work of any request, in entries of a large one: MLflow takes about as long for both.
const WORK_PER_REQUEST: usize = 50;

/// Work for which one connection more is worth while: MLflow takes some 0.1 s for it.
#[cfg(not(test))]
const WORK_PER_CONNECTION: usize = 500;

/// Small amount in tests, so that even a short simulation has several requests in flight.
#[cfg(test)]
const WORK_PER_CONNECTION: usize = 1;

/// Outcome of an attempt to deliver several runs at once.
#[derive(Debug)]
pub(in crate::shipper) enum ConcurrentOutcome {
    /// Runs were delivered, and `failed` others, which are the first ones of the batch now, have to be delivered by
    /// themselves.
    Sent { failed: usize },
    /// There are no two runs that can be delivered at once now.
    TooFew(Choice),
}

/// What is needed for the requests of a run besides its entries.
struct Task {
    identity: RunIdentity,
    start: Option<Box<RunStart<'static>>>,
    creation: Creation,
    /// The store's id of the parent.
    parent: Option<String>,
}

/// State of the run's creation before the attempt.
enum Creation {
    Pending {
        in_doubt: bool,
    },
    Done {
        run: StoredRun,
        duplicate_checks: u8,
    },
}

/// Result of the attempt to deliver a run.
struct Attempt {
    /// Position among the chosen runs.
    index: usize,
    /// The run, if the store is known to have it.
    stored: Option<StoredRun>,
    duplicate_checks: u8,
    requests: usize,
    /// True if the store has taken values.
    has_sent: bool,
    /// True if everything is delivered.
    is_complete: bool,
    error: Option<StoreError>,
}

impl Delivery {
    /// Delivers runs that are left in `read_batch`, several at once, until the store fails or `is_interrupted` returns true. A run
    /// that the store refuses stops no other.
    ///
    /// # Errors
    /// Fails if the whole delivery has to wait.
    pub(in crate::shipper) async fn deliver_concurrently(
        &mut self,
        reader: &mut JournalReader,
        read_batch: &mut ReadBatch,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<ConcurrentOutcome, Halt> {
        let choice = self.choose_concurrent_runs(reader, read_batch);
        if choice.count < 2 {
            return Ok(ConcurrentOutcome::TooFew(choice));
        }
        let runs = read_batch.remaining_works().get(..choice.count);
        let runs = runs.unwrap_or_default();
        let tasks = self.prepare_tasks(reader, runs, is_interrupted).await;
        if tasks.is_empty() {
            return Ok(ConcurrentOutcome::Sent { failed: 1 });
        }
        let runs = read_batch.remaining_works().iter();
        let work: usize = runs.zip(&tasks).map(|(run, task)| task.work(run)).sum();
        let run_batches = read_batch.remaining_works_mut().iter_mut();
        let jobs = run_batches.zip(tasks).enumerate();
        let mut attempts = Vec::new();
        let mut concurrency = self.run_requests.clone();
        {
            let (reader, this) = (RefCell::new(&mut *reader), &*self);
            let reader = &reader;
            carry_out(
                &mut concurrency,
                work / WORK_PER_CONNECTION,
                jobs,
                &|| !is_interrupted(),
                |(index, (run_batch, task))| this.attempt(reader, index, run_batch, task),
                |attempt| attempts.push(attempt),
            )
            .await;
        }
        self.run_requests = concurrency;
        self.show_concurrency();
        attempts.sort_by_key(|attempt: &Attempt| attempt.index);
        self.settle_attempts(reader, read_batch, attempts).await
    }

    /// Moves runs that can be delivered at once to the front of those that are left.
    fn choose_concurrent_runs(&self, reader: &JournalReader, read_batch: &mut ReadBatch) -> Choice {
        let mut choice = Choice::default();
        let with_console: FxHashSet<u32> = reader.consoles.open.iter().map(|one| one.run).collect();
        let max_values = self
            .store
            .limits()
            .total
            .saturating_mul(MAX_REQUESTS_PER_RUN);
        let max_runs = RUNS_PER_ROUND.saturating_mul(self.run_requests.level());
        let mut chosen = Vec::new();
        for (index, run_batch) in read_batch.remaining_works_mut().iter_mut().enumerate() {
            if chosen.len() >= max_runs {
                choice.is_incomplete = true;
                break;
            }
            let number = run_batch.run;
            let Some(state) = reader.runs.get(number).filter(|state| is_simple(state)) else {
                continue;
            };
            if !run_batch.artifacts.is_empty()
                || run_batch.doubtful_count > 0
                || with_console.contains(&number)
                || reader.thinned.has_waiting(number)
                || reader.parked.blocking_run(&reader.runs, number).is_some()
            {
                continue;
            }
            if let Phase::Pending { .. } = state.phase
                && let Some(parent) = find_pending_parent(reader, state)
            {
                choice.awaited_parents.insert(parent);
                continue;
            }
            let refused = run_batch.take_invalid();
            run_batch.record_refused(refused);
            if run_batch.value_count() <= max_values {
                chosen.push(index);
            }
        }
        read_batch.bring_forward(&chosen);
        choice.count = chosen.len();
        choice
    }

    /// Looks up the experiments and parents of runs, each once. Returns the tasks of the first runs, up to one for which that
    /// has failed, or until `is_interrupted` returns true.
    async fn prepare_tasks(
        &self,
        reader: &JournalReader,
        runs: &[RunBatch],
        is_interrupted: &dyn Fn() -> bool,
    ) -> Vec<Task> {
        let mut experiments: FxHashSet<&ExperimentRef> = FxHashSet::default();
        let mut parents: FxHashMap<&str, Option<String>> = FxHashMap::default();
        let mut tasks = Vec::with_capacity(runs.len());
        for run_batch in runs {
            if !tasks.is_empty() && is_interrupted() {
                break;
            }
            let Some(state) = reader.runs.get(run_batch.run) else {
                break;
            };
            let mut task = Task::new(state);
            if let Creation::Pending { .. } = task.creation {
                let experiment = &state.identity.experiment;
                if experiments.insert(experiment)
                    && self.store.experiment(experiment).await.is_err()
                {
                    break;
                }
                let parent = state
                    .start
                    .as_ref()
                    .and_then(|start| start.parent.as_deref());
                if let Some(parent) = parent {
                    if !parents.contains_key(&*parent.key) {
                        let Ok(id) = self.resolve_parent_id(reader, Some(parent)).await else {
                            break;
                        };
                        parents.insert(&parent.key, id);
                    }
                    task.parent = parents.get(&*parent.key).cloned().flatten();
                }
            }
            tasks.push(task);
        }
        tasks
    }

    /// Tries to deliver a run, and stops at the first failure.
    async fn attempt(
        &self,
        reader: &RefCell<&mut JournalReader>,
        index: usize,
        run_batch: &mut RunBatch,
        task: Task,
    ) -> (Attempt, JobEnd) {
        let before = run_batch.sent;
        let mut attempt = Attempt {
            index,
            stored: None,
            duplicate_checks: 0,
            requests: 0,
            has_sent: false,
            is_complete: false,
            error: None,
        };
        let sent = self.send_run(reader, run_batch, task, &mut attempt).await;
        attempt.error = sent.err();
        attempt.has_sent = run_batch.sent != before;
        let end = match &attempt.error {
            None => {
                let (sent, requests) = (run_batch.sent, attempt.requests);
                let entries = (sent.params - before.params)
                    + (sent.metrics - before.metrics)
                    + (sent.tags - before.tags);
                let work = entries + WORK_PER_REQUEST * requests;
                JobEnd::Done { work }
            }
            // A run that is missing or blocked says nothing of the others.
            Some(
                StoreError::Missing { .. }
                | StoreError::Blocked {
                    everything: false, ..
                },
            ) => JobEnd::Refused,
            Some(error) => JobEnd::of_error(error),
        };
        (attempt, end)
    }

    async fn send_run(
        &self,
        reader: &RefCell<&mut JournalReader>,
        run_batch: &mut RunBatch,
        task: Task,
        attempt: &mut Attempt,
    ) -> Result<(), StoreError> {
        let Task {
            identity,
            start,
            creation,
            parent,
        } = task;
        let number = run_batch.run;
        let is_live = reader.borrow().is_live();
        let run = match (creation, start) {
            (
                Creation::Done {
                    run,
                    duplicate_checks,
                },
                _,
            ) => {
                attempt.duplicate_checks = duplicate_checks;
                run
            }
            (Creation::Pending { in_doubt }, Some(start)) => {
                attempt.requests += 1;
                let run = self
                    .create_or_resume(&identity, &start, in_doubt, is_live, parent)
                    .await?;
                if in_doubt {
                    attempt.duplicate_checks = MAX_DUPLICATE_CHECKS;
                }
                run
            }
            // The run is left for the delivery by itself.
            (Creation::Pending { .. }, None) => return Ok(()),
        };
        attempt.stored = Some(run.clone());
        if run_batch.has_last_steps() {
            // Metrics that a dead process has delivered are not read again: only the store knows their steps.
            let has_more = !is_live || reader.borrow().runs.may_have_metrics(number);
            let mut stored = HashMap::new();
            if has_more {
                attempt.requests += 1;
                stored = self.stored_last_steps(&run).await?;
            }
            reader.borrow_mut().choose_last_steps(run_batch, &stored);
        }
        reader.borrow_mut().note_metrics(run_batch);
        loop {
            let batch_size = reader.borrow().batch_size(number);
            let limits = self.request_limits(&reader.borrow(), batch_size);
            let Some((batch, sent)) = run_batch.next_batch(limits) else {
                break;
            };
            attempt.requests += 1;
            let points = batch.metrics.len();
            let answer = self.store.log_batch(&run, &batch).await;
            let mut reader = reader.borrow_mut();
            if let Err(error @ StoreError::Unavailable { .. }) = &answer {
                if error.is_unanswered() && !self.store.absorbs_repeats() {
                    run_batch.doubtful_count = points;
                }
                reader.change_batch_size(number, AdaptiveBatchSize::shrink);
            }
            answer?;
            reader.change_batch_size(number, AdaptiveBatchSize::grow);
            run_batch.sent = sent;
        }
        if let Some((status, end_time_ms)) = run_batch.end {
            attempt.requests += 1;
            let role = identity.role;
            self.end_run(&run, role, is_live, status, end_time_ms)
                .await?;
            if attempt.duplicate_checks > 0 {
                attempt.requests += 1;
                if !self.delete_duplicates(&identity).await? {
                    return Ok(());
                }
                attempt.duplicate_checks = 0;
            }
        }
        attempt.is_complete = true;
        Ok(())
    }

    /// Records what the attempts have reached. Finishes the runs that are delivered, and puts those that have failed before
    /// all others.
    async fn settle_attempts(
        &mut self,
        reader: &mut JournalReader,
        read_batch: &mut ReadBatch,
        attempts: Vec<Attempt>,
    ) -> Result<ConcurrentOutcome, Halt> {
        let (mut complete, mut failed, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for attempt in attempts {
            let works = read_batch.remaining_works();
            if let Some(run_batch) = works.get(attempt.index) {
                self.record_creation(reader, run_batch.run, &attempt).await;
            }
            if attempt.is_complete || attempt.has_sent {
                self.has_progress = true;
                self.contested_in_row = 0;
            }
            if attempt.is_complete {
                complete.push(attempt.index);
            } else {
                // The runs that are delivered are gone by then.
                failed.push(attempt.index - complete.len());
            }
            errors.extend(attempt.error);
        }
        read_batch.bring_forward(&complete);
        for _ in &complete {
            if let Some(run_batch) = read_batch.current() {
                self.finish_work(reader, run_batch);
            }
            read_batch.finish_current();
        }
        read_batch.bring_forward(&failed);
        errors.retain(|error| {
            matches!(
                error,
                StoreError::Unavailable { .. } | StoreError::Busy { .. }
            )
        });
        if let Some(error) = errors.into_iter().max_by_key(StoreError::retry_after)
            && let Obstacle::Halt(halt) = self.classify_error(error).await
        {
            return Err(halt);
        }
        let failed = failed.len();
        Ok(ConcurrentOutcome::Sent { failed })
    }

    /// Records whether the store has a run, as far as it is known.
    async fn record_creation(
        &mut self,
        reader: &mut JournalReader,
        number: u32,
        attempt: &Attempt,
    ) {
        let is_pending = { reader.runs.get(number) }
            .is_some_and(|state| matches!(state.phase, Phase::Pending { .. }));
        if let Some(run) = &attempt.stored
            && is_pending
        {
            self.introduce_run(reader, number, run).await;
            self.has_progress = true;
        }
        let Some(state) = reader.runs.get_mut(number) else {
            return;
        };
        match (&attempt.stored, &attempt.error) {
            (Some(run), _) => {
                state.phase = Phase::Created {
                    run: run.clone(),
                    duplicate_checks: attempt.duplicate_checks,
                };
            }
            (
                None,
                Some(
                    StoreError::Unavailable { .. }
                    | StoreError::Busy { .. }
                    | StoreError::Contested { .. },
                ),
            ) => state.phase = Phase::Pending { in_doubt: true },
            (None, _) => {}
        }
    }
}

impl Task {
    fn new(state: &RunState) -> Self {
        Self {
            identity: state.identity.clone(),
            start: state.start.clone(),
            creation: match &state.phase {
                Phase::Created {
                    run,
                    duplicate_checks,
                } => Creation::Done {
                    run: run.clone(),
                    duplicate_checks: *duplicate_checks,
                },
                Phase::Pending { in_doubt } => Creation::Pending {
                    in_doubt: *in_doubt,
                },
                Phase::StartUnread => Creation::Pending { in_doubt: true },
            },
            parent: None,
        }
    }

    /// Returns the work that it is about to deliver a run.
    fn work(&self, run_batch: &RunBatch) -> usize {
        let is_created = matches!(self.creation, Creation::Done { .. });
        let requests = 1 + usize::from(!is_created) + usize::from(run_batch.end.is_some());
        run_batch.value_count() + WORK_PER_REQUEST * requests
    }
}

/// Returns true if the run is this journal's own, and is created or can be created from its start.
fn is_simple(state: &RunState) -> bool {
    let is_known = match state.phase {
        Phase::Pending { .. } => state.start.is_some() && !state.is_renewed,
        Phase::Created { .. } => true,
        Phase::StartUnread => false,
    };
    is_known && state.identity.role == Role::Owner && state.identity.resumed.is_none()
}
