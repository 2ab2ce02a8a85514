//! How runs end.
//!
//! Invariants: only the process that owns a run ends it, or who ships what that process left. What
//! went wrong in another rank is told by a tag. What a dead rank 0 left changes nothing of a run that
//! a later attempt goes on with: each attempt tells by [`ATTEMPT_TAG`] when it started, on whatever
//! host, and what ended before that is an earlier one's.

use crate::model::Role;
use crate::model::{RunStatus, Tag};
use crate::shipper::Delivery;
use crate::shipper::obstacle::{Halt, Obstacle, StuckReason};
use crate::shipper::read::run_states::Phase;
use crate::shipper::read::source::JournalReader;
use crate::store::{Batch, StoreError, StoredRun};

/// When the rank 0 that goes on with a run has started it, in ms since the Unix epoch.
pub(in crate::shipper) const ATTEMPT_TAG: &str = "mlflow_rs.attempt";

impl Delivery {
    /// The end as the journal tells it.
    pub(in crate::shipper) async fn end_run(
        &self,
        run: &StoredRun,
        role: Role,
        is_live: bool,
        status: RunStatus,
        end_time_ms: i64,
    ) -> Result<(), StoreError> {
        match role {
            Role::Leader if !is_live && self.was_restarted_after(run, end_time_ms).await? => Ok(()),
            Role::Owner | Role::Leader => {
                self.store.update_run(run, status, Some(end_time_ms)).await
            }
            Role::Member { rank } => match status {
                RunStatus::Running => Ok(()),
                RunStatus::Finished => self.clear_rank_failure(run, rank).await,
                RunStatus::Failed | RunStatus::Killed => {
                    self.set_rank_status(run, rank, status).await
                }
            },
            Role::Child | Role::Guest => Ok(()),
        }
    }

    /// Whether a later rank 0 has started the run again after this.
    async fn was_restarted_after(
        &self,
        run: &StoredRun,
        ended_ms: i64,
    ) -> Result<bool, StoreError> {
        let attempt = self.store.tag(run, ATTEMPT_TAG).await?;
        let started_ms = attempt.and_then(|started_ms| started_ms.parse::<i64>().ok());
        Ok(started_ms.is_some_and(|started_ms| started_ms > ended_ms))
    }

    /// A rank came to a good end: what an earlier attempt has told of it holds no more. Of a rank
    /// that never failed there is nothing to tell.
    async fn clear_rank_failure(&self, run: &StoredRun, rank: u32) -> Result<(), StoreError> {
        match self.store.tag(run, &rank_status_key(rank)).await? {
            Some(_) => self.set_rank_status(run, rank, RunStatus::Finished).await,
            None => Ok(()),
        }
    }

    /// A rank is gone, the run goes on.
    async fn set_rank_status(
        &self,
        run: &StoredRun,
        rank: u32,
        status: RunStatus,
    ) -> Result<(), StoreError> {
        let tag = Tag {
            key: rank_status_key(rank),
            value: status.as_str().to_owned(),
        };
        let tags = &[tag];
        let batch = Batch {
            tags,
            ..Batch::default()
        };
        self.store.log_batch(run, &batch).await
    }

    /// Closes the runs that a dead process left open, unless somebody else has ended them or this
    /// process goes on with them. What this journal does not tell may stand in one that is gone. A run
    /// that waits by itself is closed by who delivers it. Returns false where it ends earlier, as something
    /// else is wanted first.
    pub(in crate::shipper) async fn close_open_runs(
        &mut self,
        source: &mut JournalReader,
        live: &JournalReader,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<bool, Halt> {
        for number in source.runs.open_runs() {
            let is_tried = source
                .runs
                .get(number)
                .is_some_and(|state| state.cannot_be_closed);
            if is_tried || source.parked.blocking_run(&source.runs, number).is_some() {
                continue;
            }
            let mut is_closed = true;
            match self.close_open_run(source, live, number).await {
                Ok(()) => {}
                Err(Obstacle::Halt(halt)) => return Err(halt),
                Err(Obstacle::Stuck(stuck)) => {
                    let reason = stuck.reason();
                    if let Some(end) = self.warning_log.admit("close", reason) {
                        tracing::warn!(target: "mlflow", reason, "a run whose process died could not be closed{end}");
                    }
                    // Its journal stays, so that somebody closes it. Of a run that another process has
                    // never started there is nothing to close.
                    if source.runs.role(number).member_rank().is_none() {
                        source.keep_all();
                        is_closed = false;
                    }
                }
            }
            if let Some(state) = source.runs.get_mut(number) {
                state.has_ended = is_closed;
                state.cannot_be_closed = !is_closed;
            }
            if is_interrupted() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn close_open_run(
        &mut self,
        source: &mut JournalReader,
        live: &JournalReader,
        number: u32,
    ) -> Result<(), Obstacle> {
        let role = source.runs.role(number);
        if role.is_forked() {
            return Ok(());
        }
        let state = source.runs.get(number);
        let identity = state.filter(|state| matches!(state.phase, Phase::StartUnread));
        let run = match identity.map(|state| state.identity.clone()) {
            // Nothing of it is left to be delivered: one that is not there need not be created.
            Some(identity) => match self.find_run(&identity).await {
                Ok(Some(run)) => run,
                Ok(None) => return Ok(()),
                Err(StoreError::Missing { .. })
                    if identity.resumed.is_some() && self.store.absence_is_final() =>
                {
                    return Ok(());
                }
                Err(error) => return Err(self.classify_error(error).await),
            },
            None => self.ensure_run(source, number).await?,
        };
        if live.runs.is_ended_by_us(&run.run_id, role) {
            return Ok(());
        }
        let last_ms = source.runs.get(number).map_or(0, |state| state.last_ms);
        let closed = match role.member_rank() {
            Some(rank) => self.set_rank_status(&run, rank, RunStatus::Killed).await,
            None => {
                self.kill_if_running(&run, role, Some(last_ms).filter(|at| *at > 0))
                    .await
            }
        };
        match closed {
            Ok(()) => Ok(self.check_for_duplicate(source, number).await?),
            Err(StoreError::Rejected { reason }) => Err(StuckReason::Blocked(reason).into()),
            Err(error) => Err(self.classify_error(error).await),
        }
    }

    async fn kill_if_running(
        &self,
        run: &StoredRun,
        role: Role,
        end_time_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        let last_ms = end_time_ms.unwrap_or(0);
        let anothers = role == Role::Leader && self.was_restarted_after(run, last_ms).await?;
        if !anothers && self.store.is_running(run).await? {
            self.store
                .update_run(run, RunStatus::Killed, end_time_ms)
                .await?;
        }
        Ok(())
    }
}

fn rank_status_key(rank: u32) -> String {
    format!("error.rank-{rank}.status")
}
