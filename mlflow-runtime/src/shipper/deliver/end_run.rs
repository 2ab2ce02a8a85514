//! The end of runs in the store.
//!
//! Invariants: a run is ended only by the process that owns it, or by the process that ships the owner's
//! orphaned journal. A failure of another rank is recorded by a tag. The journal of a dead rank 0 changes
//! nothing of a run that a later attempt continues: each attempt records in [`tag_keys::ATTEMPT`] when it
//! started, whatever its host, so an end before that time belongs to an earlier attempt.

use crate::model::Role;
use crate::model::{RunStatus, Tag, tag_keys};
use crate::shipper::Delivery;
use crate::shipper::failure_scope::{Halt, Obstacle, StuckReason};
use crate::shipper::read::journal_reader::JournalReader;
use crate::shipper::run_states::Phase;
use crate::store::{Batch, StoreError, StoredRun};
use crate::warnings::mask_credentials;

impl Delivery {
    /// Sends the end of a run as the journal records it, in the way that the process's role demands.
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
                RunStatus::Running | RunStatus::Scheduled => Ok(()),
                RunStatus::Finished => self.clear_rank_failure(run, rank).await,
                RunStatus::Failed | RunStatus::Killed => {
                    self.set_rank_status(run, rank, status).await
                }
            },
            Role::Child | Role::Guest => Ok(()),
        }
    }

    /// Returns true if a later rank 0 has started the run again after `ended_ms`.
    async fn was_restarted_after(
        &self,
        run: &StoredRun,
        ended_ms: i64,
    ) -> Result<bool, StoreError> {
        let mut attempt = self.store.tag(run, tag_keys::ATTEMPT).await?;
        if attempt.is_none() {
            attempt = self.store.tag(run, tag_keys::FORMER_ATTEMPT).await?;
        }
        let started_ms = attempt.and_then(|started_ms| started_ms.parse::<i64>().ok());
        Ok(started_ms.is_some_and(|started_ms| started_ms > ended_ms))
    }

    /// Replaces the failure that an earlier attempt of a rank has recorded, because the rank has now
    /// finished. Writes nothing for a rank that never failed.
    async fn clear_rank_failure(&self, run: &StoredRun, rank: u32) -> Result<(), StoreError> {
        match self.store.tag(run, &rank_status_key(rank)).await? {
            Some(_) => self.set_rank_status(run, rank, RunStatus::Finished).await,
            None => Ok(()),
        }
    }

    /// Records the status with which a rank ended, while the run continues.
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

    /// Closes the runs that a dead process left open, unless somebody else has ended them or this process
    /// continues them. An end that this journal does not contain may have been in a journal or segment that
    /// is removed already, so the store's status is queried first. A parked run is skipped: the process that
    /// delivers its entries closes it. Returns false if `is_interrupted` stopped the loop early.
    pub(in crate::shipper) async fn close_open_runs(
        &mut self,
        reader: &mut JournalReader,
        live: &JournalReader,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<bool, Halt> {
        for number in reader.runs.open_runs() {
            let is_tried = reader
                .runs
                .get(number)
                .is_some_and(|state| state.cannot_be_closed);
            if is_tried || reader.parked.blocking_run(&reader.runs, number).is_some() {
                continue;
            }
            let mut is_closed = true;
            match self.close_open_run(reader, live, number).await {
                Ok(()) => {}
                Err(Obstacle::Halt(halt)) => return Err(halt),
                Err(Obstacle::Stuck(stuck)) => {
                    let reason = stuck.reason();
                    if let Some(end) = self.warning_log.admit("close", reason) {
                        let reason = mask_credentials(reason.to_owned());
                        tracing::warn!(target: "mlflow", reason, "a run whose process has died could not be ended in the store{end}");
                    }
                    // The journal is kept, so that another process closes the run. A member's run needs no
                    // closing if rank 0 never started it.
                    if reader.runs.role(number).member_rank().is_none() {
                        reader.keep_all();
                        is_closed = false;
                    }
                }
            }
            if let Some(state) = reader.runs.get_mut(number) {
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
        reader: &mut JournalReader,
        live: &JournalReader,
        number: u32,
    ) -> Result<(), Obstacle> {
        let role = reader.runs.role(number);
        if role.is_forked() {
            return Ok(());
        }
        let state = reader.runs.get(number);
        let identity = state.filter(|state| matches!(state.phase, Phase::StartUnread));
        let run = match identity.map(|state| state.identity.clone()) {
            // Nothing of the run is left to be delivered, so a run that the store does not have is not
            // created.
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
            None => self.ensure_run(reader, number).await?,
        };
        if live.runs.is_ended_by_us(&run.run_id, role) {
            return Ok(());
        }
        let last_ms = reader.runs.get(number).map_or(0, |state| state.last_ms);
        let closed = match role.member_rank() {
            Some(rank) => self.set_rank_status(&run, rank, RunStatus::Killed).await,
            None => {
                self.kill_if_running(&run, role, Some(last_ms).filter(|at| *at > 0))
                    .await
            }
        };
        match closed {
            Ok(()) => self.check_for_duplicate(reader, number).await,
            Err(StoreError::Rejected { reason }) => {
                Err(StuckReason::Blocked(reason.to_string()).into())
            }
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
        let anothers = role.is_restartable() && self.was_restarted_after(run, last_ms).await?;
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
