//! The creation of runs in the store, and the search for runs that exist already.
//!
//! Invariants: a run's parent is created before the run. A run whose creation may have succeeded is looked
//! for before it is created again, and once more when it has ended: there is a duplicate, a second run with
//! the same key, if a request without an answer was carried out after the first look. A rank that joins a run
//! changes neither the run's status nor which of two duplicates is used.

use std::time::Duration;

use crate::journal::record::RunStart;
use crate::model::limits;
use crate::model::tag_keys;
use crate::model::{ExperimentRef, Param, RunStatus, Tag};
use crate::model::{Role, RunIdentity};
use crate::shipper::Delivery;
use crate::shipper::failure_scope::{Obstacle, StuckReason, into_halt};
use crate::shipper::read::journal_reader::JournalReader;
use crate::shipper::run_link::RunLink;
use crate::shipper::run_states::{PARENT_START_TIMEOUT, Phase};
use crate::store::{Batch, NewRun, StoreError, StoredRun};
use crate::warnings::warn_user;

/// Time for which a server must not have found a run before the run counts as deleted: of several servers
/// behind one address, some may not have the run.
const ABSENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of checks for a duplicate at a run's end while the store cannot tell whether a second run
/// is empty: some servers cannot list artifacts at all.
pub(in crate::shipper) const MAX_DUPLICATE_CHECKS: u8 = 5;

impl Delivery {
    /// Returns the store's run; creates or finds it first, if necessary, after those of its ancestors that
    /// are still to be created. A blocked ancestor is skipped.
    pub(in crate::shipper) async fn ensure_run(
        &mut self,
        reader: &mut JournalReader,
        number: u32,
    ) -> Result<StoredRun, Obstacle> {
        let mut ready = Err(lost_start().into());
        for ancestor in reader.runs.ancestors_to_create(number).into_iter().rev() {
            if ancestor == number || !reader.parked.is_run_blocked(ancestor) {
                ready = Ok(self.create_or_find(reader, ancestor).await?);
            }
        }
        ready
    }

    async fn create_or_find(
        &mut self,
        reader: &mut JournalReader,
        number: u32,
    ) -> Result<StoredRun, Obstacle> {
        let Some(state) = reader.runs.get(number) else {
            return Err(lost_start().into());
        };
        let identity = state.identity.clone();
        let start = state.start.clone();
        let is_live = reader.is_live();
        let may_have_duplicate = matches!(state.phase, Phase::Pending { in_doubt: true });
        let is_member = identity.role.member_rank().is_some();
        let outcome = match (&state.phase, &start) {
            (Phase::Created { run, .. }, _) => return Ok(run.clone()),
            (Phase::Pending { .. }, Some(start)) if is_member => {
                self.join_run(&identity, start).await
            }
            (Phase::Pending { in_doubt }, Some(start)) => {
                let in_doubt = *in_doubt;
                let is_renewed = state.is_renewed;
                let mut created = match self
                    .resolve_parent_id(reader, start.parent.as_deref())
                    .await
                {
                    Ok(parent) => {
                        self.create_or_resume(&identity, start, in_doubt, is_live, parent)
                            .await
                    }
                    Err(error) => Err(error),
                };
                if let (Ok(run), true) = (&created, is_renewed) {
                    let logged = self.log_params(run, &start.params).await;
                    created = logged.and(created);
                }
                if let (
                    Err(
                        StoreError::Unavailable { .. }
                        | StoreError::Busy { .. }
                        | StoreError::Contested { .. },
                    ),
                    Some(state),
                ) = (&created, reader.runs.get_mut(number))
                {
                    state.phase = Phase::Pending { in_doubt: true };
                }
                created.map(Some)
            }
            (Phase::StartUnread | Phase::Pending { .. }, _) => self.find_run(&identity).await,
        };
        let run = match outcome {
            Ok(Some(run)) => run,
            Ok(None) => return self.handle_not_found(reader, number).await,
            // If the store rejects the creation for good, the values have no run to go to and are blocked.
            Err(StoreError::Rejected { reason }) => {
                return Err(StuckReason::Blocked(reason.to_string()).into());
            }
            Err(error) => return Err(self.classify_error(error).await),
        };
        self.introduce_run(reader, number, &run).await;
        let Some(state) = reader.runs.get_mut(number) else {
            return Ok(run);
        };
        state.phase = Phase::Created {
            run: run.clone(),
            duplicate_checks: if may_have_duplicate {
                MAX_DUPLICATE_CHECKS
            } else {
                0
            },
        };
        self.has_progress = true;
        Ok(run)
    }

    /// Passes a run that is about to count as created to its handles, and prints where it is, if this process has
    /// started it.
    pub(in crate::shipper) async fn introduce_run(
        &mut self,
        reader: &JournalReader,
        number: u32,
        run: &StoredRun,
    ) {
        let Some(state) = reader.runs.get(number) else {
            return;
        };
        let (Phase::Pending { .. }, Some(start), Some(link)) =
            (&state.phase, &state.start, &state.link)
        else {
            return;
        };
        let url = self.store.run_url(run);
        link.set(run.clone(), url.clone());
        // Several ranks share the run: only rank 0 prints the URL.
        let identity = &state.identity;
        let says = identity.role.member_rank().is_none_or(|rank| rank == 0);
        if let (Some(url), None, true) = (url, &start.parent, says) {
            self.announcements.print_run_url(&start.name, &url);
        }
        if let Some(news) = self.store.news() {
            self.announcements.print_notice(&news);
        }
        self.warn_of_other_experiments(run, identity.resumed.is_some(), link)
            .await;
    }

    /// Handles a run that the store does not have: creates it anew if the journal's process was to create it.
    /// Otherwise the run waits for the process that creates it, or is blocked if none will do so soon.
    async fn handle_not_found(
        &mut self,
        reader: &mut JournalReader,
        number: u32,
    ) -> Result<StoredRun, Obstacle> {
        let is_live = reader.is_live();
        let role = reader.runs.role(number);
        if reader.runs.recreate(number) {
            return Box::pin(self.create_or_find(reader, number)).await;
        }
        match reader.runs.waiting_time(number, is_live) {
            Some(awaited) => {
                self.warn_of_missing_run(awaited);
                Err(StuckReason::RunNotCreated.into())
            }
            None => Err(StuckReason::Blocked(describe_missing_run(role).to_owned()).into()),
        }
    }

    /// Checks a run that was created and is not found by its id any more. If the store has the run under
    /// another id, that id is used from now on. If the run is gone for good, or has been missing for
    /// [`ABSENCE_TIMEOUT`], it is created anew with everything that is delivered from now on. `waited`: the
    /// time for which the run has been parked.
    pub(in crate::shipper) async fn relocate_run(
        &mut self,
        reader: &mut JournalReader,
        number: u32,
        waited: Duration,
    ) -> Result<(), Obstacle> {
        let Some(state) = reader.runs.get(number) else {
            return Ok(());
        };
        let (Phase::Created { run, .. }, identity) = (&state.phase, state.identity.clone()) else {
            return Ok(());
        };
        match self.store.get_run(&run.run_id).await {
            Err(StoreError::Missing { .. }) if identity.resumed.is_none() => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(self.classify_error(error).await),
        }
        let found = match self.find_run(&identity).await {
            Ok(found) => found,
            Err(error) => return Err(self.classify_error(error).await),
        };
        let is_final = self.store.absence_is_final() || waited >= ABSENCE_TIMEOUT;
        match found {
            Some(run) => {
                if let Some(state) = reader.runs.get_mut(number) {
                    state.phase = Phase::Created {
                        run,
                        duplicate_checks: 0,
                    };
                }
                Ok(())
            }
            None if is_final && reader.runs.recreate(number) => Ok(()),
            None => {
                Err(StuckReason::Blocked(describe_missing_run(identity.role).to_owned()).into())
            }
        }
    }

    /// Checks a run that has ended for duplicates once more, so that the store deletes a duplicate that
    /// appeared meanwhile. The check must not come before the end: a run with an end never counts as the
    /// empty duplicate.
    pub(in crate::shipper) async fn check_for_duplicate(
        &self,
        reader: &mut JournalReader,
        number: u32,
    ) -> Result<(), Obstacle> {
        let Some(state) = reader.runs.get_mut(number) else {
            return Ok(());
        };
        let Phase::Created {
            duplicate_checks: looks,
            ..
        } = &mut state.phase
        else {
            return Ok(());
        };
        if *looks == 0 {
            return Ok(());
        }
        match self.delete_duplicates(&state.identity).await {
            Ok(false) => {
                *looks -= 1;
                if *looks > 0 {
                    // `Busy`, because the store is available: the check is repeated soon, and no warning is
                    // logged at once.
                    return Err(into_halt(StoreError::Busy {
                        reason: "the store cannot tell yet whether a second run with the same key is empty"
                            .into(),
                    })
                    .into());
                }
            }
            Ok(true)
            | Err(
                StoreError::Rejected { .. }
                | StoreError::Missing { .. }
                | StoreError::Blocked { .. },
            ) => *looks = 0,
            Err(error) => return Err(self.classify_error(error).await),
        }
        Ok(())
    }

    /// Deletes empty duplicates of a run, unless another process creates it. Returns false if the store cannot tell yet
    /// whether one of them is empty.
    pub(in crate::shipper) async fn delete_duplicates(
        &self,
        identity: &RunIdentity,
    ) -> Result<bool, StoreError> {
        if identity.role.is_joined() || identity.resumed.is_some() {
            return Ok(true);
        }
        let experiment_id = self.store.experiment(&identity.experiment).await?;
        self.store
            .delete_duplicates(&experiment_id, &identity.key)
            .await
    }

    /// Warns, once, that another process has not created its run for longer than [`PARENT_START_TIMEOUT`].
    fn warn_of_missing_run(&mut self, awaited: Duration) {
        if awaited > PARENT_START_TIMEOUT && self.warning_log.admit("awaited", "").is_some() {
            warn_user(format_args!(
                "the run that rank 0 starts is not in the store yet; values wait in the journal. Check that rank 0 is tracked, \
                 and that the rendezvous id and the experiment are the same in all ranks"
            ));
        }
    }

    /// Returns the store's id of a run's parent. A parent that cannot be found is left out, unless another
    /// rank may still create it.
    pub(in crate::shipper) async fn resolve_parent_id(
        &self,
        reader: &JournalReader,
        parent: Option<&RunIdentity>,
    ) -> Result<Option<String>, StoreError> {
        let Some(identity) = parent else {
            return Ok(None);
        };
        let known = reader.runs.by_key(&identity.key);
        if let Some(Phase::Created { run, .. }) = known.map(|(_, state)| &state.phase) {
            return Ok(Some(run.run_id.clone()));
        }
        match self.find_run(identity).await {
            Ok(None) if identity.role.is_joined() => Err(StoreError::Blocked {
                reason: describe_missing_run(identity.role).into(),
                everything: false,
            }),
            Ok(found) => Ok(found.map(|run| run.run_id)),
            Err(
                StoreError::Rejected { .. }
                | StoreError::Missing { .. }
                | StoreError::Blocked {
                    everything: false, ..
                },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(in crate::shipper) async fn find_run(
        &self,
        identity: &RunIdentity,
    ) -> Result<Option<StoredRun>, StoreError> {
        if let Some(run_id) = &identity.resumed {
            return self.store.get_run(run_id).await.map(Some);
        }
        let experiment_id = self.store.experiment(&identity.experiment).await?;
        let key = &identity.key;
        if identity.role.is_joined() {
            self.store.find_run_of_another(&experiment_id, key).await
        } else {
            self.store.find_run(&experiment_id, key).await
        }
    }

    /// Finds a run that another rank starts and ends, and adds the tags of this rank's start to it.
    async fn join_run(
        &self,
        identity: &RunIdentity,
        start: &RunStart<'_>,
    ) -> Result<Option<StoredRun>, StoreError> {
        let found = self.find_run(identity).await?;
        if let Some(run) = &found {
            self.add_tags(run, &valid_start_tags(start)).await?;
        }
        Ok(found)
    }

    /// Continues a run that was started before: adds `tags`, then sets the status to running. The tags come
    /// first: from them a process that ships an earlier attempt's journal learns that the run continues.
    async fn resume_run(&self, run: &StoredRun, tags: &[Tag]) -> Result<(), StoreError> {
        self.add_tags(run, tags).await?;
        self.store.update_run(run, RunStatus::Running, None).await
    }

    /// Warns if a run is in another experiment than one that was named for it. A failed query for the
    /// experiment's name is ignored: it does not concern the run's values.
    async fn warn_of_other_experiments(&self, run: &StoredRun, is_resumed: bool, link: &RunLink) {
        for named in link.named_experiments() {
            match named {
                ExperimentRef::Name(named) if is_resumed => {
                    let own = self.store.experiment_name(run).await;
                    if let Ok(Some(own)) = own
                        && own != *named
                    {
                        warn_user(format_args!(
                            "the resumed run {} stays in its experiment {own:?}, where it was created. The experiment {named:?}, \
                             which is configured for it, is ignored. Remove that setting, or start a new run",
                            run.run_id
                        ));
                    }
                }
                ExperimentRef::Id(named) if is_resumed && *named != run.experiment_id => {
                    warn_user(format_args!(
                        "the resumed run {} stays in its experiment, whose id is {}, where it was created. The id \
                         {named}, which is configured for it, is ignored. Remove that setting, or start a new run",
                        run.run_id, run.experiment_id
                    ));
                }
                ExperimentRef::Id(named) if *named != run.experiment_id => {
                    warn_user(format_args!(
                        "MLFLOW_EXPERIMENT_ID={named} is not used, as MLFLOW_EXPERIMENT_NAME names another experiment, \
                         whose id is {}. Unset one of them",
                        run.experiment_id
                    ));
                }
                ExperimentRef::Name(_) | ExperimentRef::Id(_) => {}
            }
        }
    }

    /// Logs the params that a run was started with, in as many requests as necessary.
    async fn log_params(&self, run: &StoredRun, params: &[Param]) -> Result<(), StoreError> {
        for params in params.chunks(self.store.limits().params.max(1)) {
            let batch = Batch {
                params,
                ..Batch::default()
            };
            self.store.log_batch(run, &batch).await?;
        }
        Ok(())
    }

    async fn add_tags(&self, run: &StoredRun, tags: &[Tag]) -> Result<(), StoreError> {
        if tags.is_empty() {
            return Ok(());
        }
        let batch = Batch {
            tags,
            ..Batch::default()
        };
        self.store.log_batch(run, &batch).await
    }

    /// Creates a run, or continues the one that is resumed. A run whose creation is in doubt is looked for first. `parent`
    /// is the store's id of the parent.
    pub(in crate::shipper) async fn create_or_resume(
        &self,
        identity: &RunIdentity,
        start: &RunStart<'_>,
        in_doubt: bool,
        is_live: bool,
        parent: Option<String>,
    ) -> Result<StoredRun, StoreError> {
        let mut tags = valid_start_tags(start);
        if let Some(run_id) = &identity.resumed {
            let run = self.store.get_run(run_id).await?;
            // The stores set the run's name from this tag.
            if !start.name.is_empty() {
                tags.push(Tag {
                    key: tag_keys::RUN_NAME.to_owned(),
                    value: start.name.to_string(),
                });
            }
            self.resume_run(&run, &tags).await?;
            return Ok(run);
        }
        let is_restartable = identity.role.is_restartable();
        if is_restartable {
            tags.push(Tag {
                key: tag_keys::ATTEMPT.to_owned(),
                value: start.start_time_ms.to_string(),
            });
        }
        let experiment_id = self.store.experiment(&identity.experiment).await?;
        if in_doubt && let Some(run) = self.store.find_run(&experiment_id, &identity.key).await? {
            // The run may be from an earlier launch and continues then, unless its start is from an orphaned
            // journal.
            if is_restartable && is_live {
                self.resume_run(&run, &tags).await?;
            }
            return Ok(run);
        }
        if let Some(parent) = parent {
            tags.retain(|tag| tag.key != tag_keys::PARENT_RUN_ID);
            tags.push(Tag {
                key: tag_keys::PARENT_RUN_ID.to_owned(),
                value: parent,
            });
        }
        let new = NewRun {
            key: &identity.key,
            experiment_id: &experiment_id,
            name: &start.name,
            user_id: &start.user,
            start_time_ms: start.start_time_ms,
            tags: &tags,
        };
        let created = self.store.create_run(&new).await?;
        if is_restartable {
            // An earlier creation request that got no answer may have been carried out meanwhile, and other
            // ranks may already log to the run that it created.
            let found = self.store.find_run(&experiment_id, &identity.key).await?;
            return Ok(found.unwrap_or(created));
        }
        Ok(created)
    }
}

pub(in crate::shipper) fn valid_start_tags(start: &RunStart<'_>) -> Vec<Tag> {
    let mut tags: Vec<Tag> = start
        .tags
        .iter()
        .map(|tag| tag.clone().into_owned())
        .collect();
    tags.retain(|tag| limits::find_key_fault(&tag.key).is_none());
    tags
}

fn lost_start() -> StuckReason {
    StuckReason::Blocked("the start of the run was lost".to_owned())
}

/// Returns the reason why the store has no such run.
fn describe_missing_run(role: Role) -> &'static str {
    if role.is_joined() {
        "rank 0 has not started the run yet"
    } else {
        "the run is not in the store any more"
    }
}
