//! The delivery of [deferred artifacts](crate::shipper::queue::deferred_artifacts) that are due.

use tokio::time::Instant;

use crate::shipper::Delivery;
use crate::shipper::backoff::Backoff;
use crate::shipper::batch::{Artifact, ArtifactBytes, Rejection, RunBatch};
use crate::shipper::deliver::delivery::WorkOrigin;
use crate::shipper::failure_scope::{Halt, Obstacle, RetryReason, StuckReason};
use crate::shipper::queue::deferred_artifacts::DeferredArtifact;
use crate::shipper::read::journal_reader::JournalReader;
use crate::store::{StoreError, StoredRun};

/// Maximum number of artifacts tried in one step; the others follow in the next steps.
const MAX_ARTIFACT_TRIES_PER_STEP: usize = 4;

impl Delivery {
    /// Returns the reason why an artifact is stuck, after an error. Returns `None` if the artifact store is
    /// unavailable for all artifacts.
    pub(in crate::shipper) async fn classify_artifact_error(
        &mut self,
        reader: &mut JournalReader,
        run: &StoredRun,
        error: StoreError,
    ) -> Result<Option<StuckReason>, Obstacle> {
        let stuck = match self.classify_error(error).await {
            Obstacle::Stuck(stuck) => stuck,
            halt @ Obstacle::Halt(_) => return Err(halt),
        };
        if !stuck.is_blocked() && self.store.ping_artifacts(run).await.is_err() {
            reader.deferred.store_state.record_failure(stuck.reason());
            return Ok(None);
        }
        Ok(Some(stuck))
    }

    /// Makes an artifact of `run_batch` wait by itself.
    pub(in crate::shipper) fn defer(
        &mut self,
        reader: &mut JournalReader,
        run: &StoredRun,
        run_batch: &mut RunBatch,
        mut artifact: Artifact,
        stuck: Option<StuckReason>,
        part: WorkOrigin,
    ) {
        run_batch.deferred_count += 1;
        if let Some(stuck) = &stuck {
            self.warn_stuck(reader, stuck, 1);
        }
        self.supersede(reader, run, &artifact);
        let mut is_shared = false;
        if let WorkOrigin::Parked { .. } = part {
            // An entry of a lane may be read again and then needs its file, so the waiting artifact gets a
            // second name for the file.
            let lane_file = match &mut artifact.bytes {
                ArtifactBytes::File(file) => reader
                    .hard_link(file)
                    .map(|own| std::mem::replace(file, own)),
                ArtifactBytes::Memory(_) => None,
            };
            is_shared = lane_file.is_none() && artifact.file().is_some();
            let sequence = artifact.sequence;
            reader.parked.hand_over(run_batch.run, sequence, lane_file);
            run_batch.handed_over.push(sequence);
        }
        let mut backoff = Backoff::default();
        let delay = stuck
            .as_ref()
            .map(|_| backoff.next_delay(RetryReason::Unavailable { retry_after: None }));
        let deferred = DeferredArtifact {
            run_number: run_batch.run,
            run: run.clone(),
            artifact,
            stuck,
            backoff,
            due: Instant::now() + delay.unwrap_or_default(),
            segments: Vec::new(),
        };
        reader.defer(deferred, &run_batch.cursors, is_shared);
    }

    /// Drops a waiting artifact that `artifact` replaces, and counts it as delivered if it was older.
    pub(in crate::shipper) fn supersede(
        &self,
        reader: &mut JournalReader,
        run: &StoredRun,
        artifact: &Artifact,
    ) {
        if reader.supersede_deferred(&run.run_id, artifact) {
            self.update_blocked_counts(reader);
            self.count_delivered(reader, 1);
        }
    }

    /// Tries the artifacts that are due.
    pub(in crate::shipper) async fn deliver_deferred(
        &mut self,
        reader: &mut JournalReader,
    ) -> Result<(), Halt> {
        let now = Instant::now();
        for _ in 0..MAX_ARTIFACT_TRIES_PER_STEP {
            let Some(mut deferred) = reader.deferred.take_due(now) else {
                break;
            };
            match self
                .upload_artifacts(&deferred.run, std::slice::from_ref(&deferred.artifact))
                .await
            {
                Ok(refused) => {
                    reader.deferred.store_state.record_success();
                    self.settle_deferred(reader, deferred, refused);
                }
                Err(error) => {
                    let run = deferred.run.clone();
                    let stuck = match self.classify_artifact_error(reader, &run, error).await {
                        Ok(stuck) => stuck,
                        Err(obstacle) => {
                            reader.deferred.waiting.push_front(deferred);
                            match obstacle {
                                Obstacle::Halt(halt) => return Err(halt),
                                Obstacle::Stuck(_) => break,
                            }
                        }
                    };
                    self.stats().retried.add(1);
                    if let Some(stuck) = &stuck {
                        self.warn_stuck(reader, stuck, deferred.backoff.failures() + 1);
                        let delay = deferred
                            .backoff
                            .next_delay(RetryReason::Unavailable { retry_after: None });
                        deferred.due = Instant::now() + delay;
                    }
                    deferred.stuck = stuck;
                    reader.deferred.waiting.push_back(deferred);
                }
            }
        }
        reader.settle();
        Ok(())
    }

    fn settle_deferred(
        &mut self,
        reader: &mut JournalReader,
        deferred: DeferredArtifact,
        refused: Option<String>,
    ) {
        self.has_progress = true;
        let DeferredArtifact {
            run_number: number,
            artifact,
            segments,
            ..
        } = deferred;
        reader.release_segments(&segments);
        self.update_blocked_counts(reader);
        if let Some(reason) = refused {
            self.count_refused(reader, 1);
            self.keep_refused(reader, number, vec![Rejection::artifact(artifact, reason)]);
            return;
        }
        self.count_delivered(reader, 1);
        if let ArtifactBytes::File(file) = artifact.bytes {
            reader.delete_when_unpinned(file, segments);
        }
    }
}
