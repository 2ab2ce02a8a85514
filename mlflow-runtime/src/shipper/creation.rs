//! Creating runs, or finding them.
//!
//! Invariants: a run's parent is created before it; a run whose creation may have succeeded is
//! looked for before it is created again, and once more when it has ended. A rank that joins a run
//! changes neither its status nor which of two twins is the one.

use std::time::Duration;

use super::Delivery;
use super::delivery::{Halt, elsewhere, halt, refusal};
use super::ending::ATTEMPT_TAG;
use super::runs::{PATIENCE, Phase};
use super::source::Source;
use crate::clock;
use crate::exit::say;
use crate::journal::record::{Role, RunIdentity, Start};
use crate::limits;
use crate::store::{Batch, NewRun, RunStatus, StoreError, StoredRun, Tag};

const PARENT_TAG: &str = "mlflow.parentRunId";
/// How often at most a run's end waits for the word whether a second one is empty: some servers
/// cannot list artifacts at all.
const LOOKS: u8 = 5;

impl Delivery {
    /// The store's run, created or found if need be. The inner error says why there will be none.
    pub(super) async fn ready(
        &mut self,
        source: &mut Source,
        number: u32,
    ) -> Result<Result<StoredRun, String>, Halt> {
        let mut ready = Err("its start was lost".to_owned());
        for number in source.runs.line(number).into_iter().rev() {
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
        let is_live = source.is_live();
        let may_have_twin = matches!(state.phase, Phase::Pending { in_doubt: true, .. });
        let is_member = matches!(identity.role, Role::Member { .. });
        let outcome = match &state.phase {
            Phase::Created { run, .. } => return Ok(Ok(run.clone())),
            Phase::Held(reason) => return Ok(Err(reason.clone())),
            Phase::Mentioned => {
                let first_ms = state.first_ms.unwrap_or_else(clock::now_ms);
                match self.find(&identity).await {
                    Ok(None) if !is_live && is_made_anew(&identity) => {
                        self.create_anew(&identity, first_ms).await.map(Some)
                    }
                    found => found,
                }
            }
            Phase::Pending { start, .. } if is_member => self.join(&identity, start).await,
            Phase::Pending { start, in_doubt } => {
                let created = match self.parent(source, start.parent.as_deref()).await {
                    Ok(parent) => {
                        self.create(&identity, start, *in_doubt, is_live, parent)
                            .await
                    }
                    Err(error) => Err(error),
                };
                if let (
                    Err(
                        StoreError::Unavailable { .. }
                        | StoreError::Busy { .. }
                        | StoreError::Contested { .. },
                    ),
                    Some(state),
                ) = (&created, source.runs.get_mut(number))
                    && let Phase::Pending { in_doubt, .. } = &mut state.phase
                {
                    *in_doubt = true;
                }
                created.map(Some)
            }
        };
        let run = match outcome {
            Ok(Some(run)) => run,
            Ok(None) => match source.runs.awaited(number, is_live) {
                Some(awaited) => return Err(self.wait(awaited)),
                None => return Ok(Err(missing(identity.role).to_owned())),
            },
            Err(error) => return refusal(error).map(Err),
        };
        let Some(state) = source.runs.get_mut(number) else {
            return Ok(Ok(run));
        };
        let url = self.store.run_url(&run);
        if let (Phase::Pending { start, .. }, Some(link)) = (&state.phase, &state.link) {
            link.set(run.clone(), url.clone());
            // Of all ranks one says it.
            let says = !matches!(identity.role, Role::Member { rank: 1.. }) && !self.quiet;
            if let (Some(url), None, true) = (url, &start.parent, says) {
                say(&format!("View run {} at: {url}", start.name));
            }
        }
        state.phase = Phase::Created {
            run: run.clone(),
            looks: if may_have_twin { LOOKS } else { 0 },
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
        let Phase::Created { looks, .. } = &mut state.phase else {
            return Ok(());
        };
        if *looks == 0 {
            return Ok(());
        }
        match self.delete_twins(&state.identity).await {
            Ok(false) => {
                *looks -= 1;
                if *looks > 0 {
                    // The store is there: it is asked once more soon, and nobody is warned.
                    return Err(halt(StoreError::Busy {
                        reason: "whether a second run of the same key is empty cannot be told yet"
                            .to_owned(),
                    }));
                }
            }
            Ok(true) | Err(StoreError::Rejected { .. } | StoreError::Blocked { .. }) => *looks = 0,
            Err(error) => return Err(halt(error)),
        }
        Ok(())
    }

    async fn delete_twins(&self, identity: &RunIdentity) -> Result<bool, StoreError> {
        let chooses = match identity.role {
            Role::Member { .. } | Role::Guest => false,
            Role::Owner | Role::Leader | Role::Child => identity.resumed.is_none(),
        };
        if !chooses {
            return Ok(true);
        }
        let experiment_id = self.store.experiment(&identity.experiment).await?;
        self.store.delete_twins(&experiment_id, &identity.key).await
    }

    /// The run is created by another process, sooner or later.
    fn wait(&mut self, awaited: Duration) -> Halt {
        if awaited > PATIENCE && self.said.admit("awaited", "").is_some() {
            tracing::warn!(
                target: "mlflow",
                "the run that rank 0 starts is not in the store yet; values wait in the journal. Does rank 0 track, \
                 and are the rendezvous id and the experiment the same in all ranks?"
            );
        }
        elsewhere()
    }

    /// The store's id of a run's parent. A parent that cannot be had is left out, unless another rank
    /// may create it yet.
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
            Ok(None) if matches!(identity.role, Role::Member { .. } | Role::Guest) => {
                Err(StoreError::Blocked {
                    reason: missing(identity.role).to_owned(),
                    everything: false,
                })
            }
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
        if let Some(run_id) = &identity.resumed {
            return self.store.get_run(run_id).await.map(Some);
        }
        let experiment_id = self.store.experiment(&identity.experiment).await?;
        let key = &identity.key;
        match identity.role {
            Role::Member { .. } | Role::Guest => {
                self.store.find_run_of_another(&experiment_id, key).await
            }
            Role::Owner | Role::Leader | Role::Child => {
                self.store.find_run(&experiment_id, key).await
            }
        }
    }

    /// The run of which a dead journal still holds values, though it is not in the store: its start was
    /// lost, or the store was.
    async fn create_anew(
        &self,
        identity: &RunIdentity,
        start_time_ms: i64,
    ) -> Result<StoredRun, StoreError> {
        let start = Start::anew(identity, start_time_ms);
        // It was looked for a moment ago.
        self.create(identity, &start, false, false, None).await
    }

    /// Does the same as [`ready`](Self::ready) for a run of which nothing is left to deliver: one that
    /// is not in the store any more is not made anew.
    pub(super) async fn ready_to_close(
        &mut self,
        source: &mut Source,
        number: u32,
    ) -> Result<Result<StoredRun, String>, Halt> {
        if let Some(state) = source.runs.get(number)
            && matches!(state.phase, Phase::Mentioned)
            && is_made_anew(&state.identity)
        {
            match self.find(&state.identity).await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(Err(missing(state.identity.role).to_owned())),
                Err(error) => return refusal(error).map(Err),
            }
        }
        self.ready(source, number).await
    }

    /// A run that others start and end.
    async fn join(
        &self,
        identity: &RunIdentity,
        start: &Start<'_>,
    ) -> Result<Option<StoredRun>, StoreError> {
        let found = self.find(identity).await?;
        if let Some(run) = &found {
            self.add_tags(run, &tags_of(start)).await?;
        }
        Ok(found)
    }

    /// A run that has been started before goes on. The tags first: by them who ships what an earlier
    /// attempt left knows that it does.
    async fn resume(&self, run: &StoredRun, tags: &[Tag]) -> Result<(), StoreError> {
        self.add_tags(run, tags).await?;
        self.store.update_run(run, RunStatus::Running, None).await
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

    async fn create(
        &self,
        identity: &RunIdentity,
        start: &Start<'_>,
        in_doubt: bool,
        is_live: bool,
        parent: Option<String>,
    ) -> Result<StoredRun, StoreError> {
        let mut tags = tags_of(start);
        if let Some(run_id) = &identity.resumed {
            let run = self.store.get_run(run_id).await?;
            self.resume(&run, &tags).await?;
            return Ok(run);
        }
        let is_leader = identity.role == Role::Leader;
        if is_leader {
            tags.push(Tag {
                key: ATTEMPT_TAG.to_owned(),
                value: start.start_time_ms.to_string(),
            });
        }
        let experiment_id = self.store.experiment(&identity.experiment).await?;
        if in_doubt && let Some(run) = self.store.find_run(&experiment_id, &identity.key).await? {
            // It may be one of an earlier launch. What is left of a dead process does not go on.
            if is_leader && is_live {
                self.resume(&run, &tags).await?;
            }
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
        let created = self.store.create_run(&new).await?;
        if is_leader {
            // A request that was given up may have been carried out meanwhile, and other ranks may
            // log to its run already.
            let found = self.store.find_run(&experiment_id, &identity.key).await?;
            return Ok(found.unwrap_or(created));
        }
        Ok(created)
    }
}

fn tags_of(start: &Start<'_>) -> Vec<Tag> {
    let mut tags: Vec<Tag> = start
        .tags
        .iter()
        .map(|tag| tag.clone().into_owned())
        .collect();
    tags.retain(|tag| limits::key_fault(&tag.key).is_none());
    tags
}

/// Returns true if a run can be created from its identity alone, by whoever finds that it is not in
/// the store.
fn is_made_anew(identity: &RunIdentity) -> bool {
    matches!(identity.role, Role::Owner | Role::Leader) && identity.resumed.is_none()
}

/// Why there will be no run.
fn missing(role: Role) -> &'static str {
    match role {
        Role::Member { .. } | Role::Guest => "rank 0 has not started the run yet",
        Role::Owner | Role::Leader | Role::Child => "the run is not in the store any more",
    }
}
