//! Creating runs, or finding them.
//!
//! Invariants: a run's parent is created before it; a run whose creation may have succeeded is
//! looked for before it is created again, and once more when it has ended.

use super::Delivery;
use super::delivery::{Cause, Halt, halt};
use super::runs::Phase;
use super::source::Source;
use crate::exit::say;
use crate::journal::record::{RunIdentity, Start};
use crate::limits;
use crate::store::{Batch, NewRun, RunStatus, StoreError, StoredRun, Tag};

const PARENT_TAG: &str = "mlflow.parentRunId";

impl Delivery {
    /// The store's run, created or found if need be. The inner error says why there will be none.
    pub(super) async fn ready(
        &mut self,
        source: &mut Source,
        number: u32,
    ) -> Result<Result<StoredRun, String>, Halt> {
        // From the eldest ancestor that is still to be created down to the run itself.
        let mut line = vec![number];
        while let Some(parent) = line
            .last()
            .and_then(|number| source.runs.pending_parent(*number))
        {
            if line.contains(&parent) {
                break;
            }
            line.push(parent);
        }
        let mut ready = Err("its start was lost".to_owned());
        for number in line.into_iter().rev() {
            ready = self.created(source, number).await?;
        }
        Ok(ready)
    }

    async fn created(
        &mut self,
        source: &mut Source,
        number: u32,
    ) -> Result<Result<StoredRun, String>, Halt> {
        let Some(state) = source.runs.get(number) else {
            return Ok(Err("its start was lost".to_owned()));
        };
        let identity = state.identity.clone();
        let may_have_twin = matches!(state.phase, Phase::Pending { in_doubt: true, .. });
        let outcome = match &state.phase {
            Phase::Created { run, .. } => return Ok(Ok(run.clone())),
            Phase::Held(reason) => return Ok(Err(reason.clone())),
            Phase::Mentioned => match self.find(&identity).await {
                Ok(Some(run)) => Ok(run),
                Ok(None) if source.runs.may_still_appear(number) => {
                    return Err(Halt {
                        reason: "the process that has started the run has not created it yet"
                            .to_owned(),
                        cause: Cause::Elsewhere,
                    });
                }
                Ok(None) => Err(StoreError::Blocked {
                    reason: "the run is not in the store any more".to_owned(),
                    everything: false,
                }),
                Err(error) => Err(error),
            },
            Phase::Pending { start, in_doubt } => {
                let parent = self
                    .parent(source, start.parent.as_deref())
                    .await
                    .map_err(halt)?;
                let created = self.create(&identity, start, *in_doubt, parent).await;
                if let (Err(StoreError::Unavailable { .. } | StoreError::Busy { .. }), Some(state)) =
                    (&created, source.runs.get_mut(number))
                    && let Phase::Pending { in_doubt, .. } = &mut state.phase
                {
                    *in_doubt = true;
                }
                created
            }
        };
        let run = match outcome {
            Ok(run) => run,
            Err(
                StoreError::Rejected { reason }
                | StoreError::Blocked {
                    reason,
                    everything: false,
                },
            ) => {
                return Ok(Err(reason));
            }
            Err(error) => return Err(halt(error)),
        };
        let Some(state) = source.runs.get_mut(number) else {
            return Ok(Ok(run));
        };
        let url = self.store.run_url(&run);
        if let (Phase::Pending { start, .. }, Some(link)) = (&state.phase, &state.link) {
            link.set(run.clone(), url.clone());
            if let (Some(url), None, false) = (url, &start.parent, self.quiet) {
                say(&format!("View run {} at: {url}", start.name));
            }
        }
        state.phase = Phase::Created {
            run: run.clone(),
            in_doubt: may_have_twin,
        };
        self.progress = true;
        Ok(Ok(run))
    }

    /// Looks again for a run that has ended, so that the store clears up a twin which appeared
    /// meanwhile. Not before the end: a run that has one is never taken for the empty twin.
    pub(super) async fn look_again(&self, source: &mut Source, number: u32) -> Result<(), Halt> {
        let Some(state) = source.runs.get_mut(number) else {
            return Ok(());
        };
        let Phase::Created { in_doubt, .. } = &mut state.phase else {
            return Ok(());
        };
        if *in_doubt {
            match self.find(&state.identity).await {
                Ok(_) | Err(StoreError::Rejected { .. } | StoreError::Blocked { .. }) => {}
                Err(error) => return Err(halt(error)),
            }
            *in_doubt = false;
        }
        Ok(())
    }

    /// The store's id of a run's parent. A parent that cannot be had is left out.
    async fn parent(
        &self,
        source: &Source,
        parent: Option<&RunIdentity>,
    ) -> Result<Option<String>, StoreError> {
        let Some(identity) = parent else {
            return Ok(None);
        };
        let known = source.runs.by_key(&identity.key);
        if let Some(Phase::Created { run, .. }) = known.map(|(_, state)| &state.phase) {
            return Ok(Some(run.run_id.clone()));
        }
        match self.find(identity).await {
            Ok(found) => Ok(found.map(|run| run.run_id)),
            Err(
                StoreError::Rejected { .. }
                | StoreError::Blocked {
                    everything: false, ..
                },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn find(&self, identity: &RunIdentity) -> Result<Option<StoredRun>, StoreError> {
        match &identity.resumed {
            Some(run_id) => self.store.get_run(run_id).await.map(Some),
            None => {
                let experiment_id = self.store.experiment(&identity.experiment).await?;
                self.store.find_run(&experiment_id, &identity.key).await
            }
        }
    }

    async fn create(
        &self,
        identity: &RunIdentity,
        start: &Start<'_>,
        in_doubt: bool,
        parent: Option<String>,
    ) -> Result<StoredRun, StoreError> {
        let mut tags: Vec<Tag> = start
            .tags
            .iter()
            .map(|tag| tag.clone().into_owned())
            .collect();
        tags.retain(|tag| limits::key_fault(&tag.key).is_none());
        if let Some(run_id) = &identity.resumed {
            let run = self.store.get_run(run_id).await?;
            self.store
                .update_run(&run, RunStatus::Running, None)
                .await?;
            if !tags.is_empty() {
                self.store
                    .log_batch(
                        &run,
                        &Batch {
                            tags: &tags,
                            ..Batch::default()
                        },
                    )
                    .await?;
            }
            return Ok(run);
        }
        let experiment_id = self.store.experiment(&identity.experiment).await?;
        if in_doubt && let Some(run) = self.store.find_run(&experiment_id, &identity.key).await? {
            return Ok(run);
        }
        if let Some(parent) = parent {
            tags.retain(|tag| tag.key != PARENT_TAG);
            tags.push(Tag {
                key: PARENT_TAG.to_owned(),
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
        self.store.create_run(&new).await
    }
}
