//! The delivery of [deferred artifacts](crate::shipper::queue::deferred_artifacts) that are due.

use std::slice;

use tokio::time::Instant;

use crate::shipper::Delivery;
use crate::shipper::backoff::Backoff;
use crate::shipper::batch::{Artifact, ArtifactBytes, Rejection, RunBatch};
use crate::shipper::deliver::artifact_uploads::UploadOutcome;
use crate::shipper::deliver::delivery::WorkOrigin;
use crate::shipper::failure_scope::{Halt, RetryReason, StuckReason};
use crate::shipper::queue::deferred_artifacts::DeferredArtifact;
use crate::shipper::read::journal_reader::JournalReader;
use crate::store::StoredRun;

/// Number of artifacts that are tried in one step, if the store takes fewer at once. The others follow in the
/// next steps.
const MIN_ARTIFACT_TRIES_PER_STEP: usize = 4;

impl Delivery {
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
            values: 1,
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

    /// Tries the artifacts that are due: as many as the store takes at once, but at least
    /// [`MIN_ARTIFACT_TRIES_PER_STEP`].
    pub(in crate::shipper) async fn deliver_deferred(
        &mut self,
        reader: &mut JournalReader,
    ) -> Result<(), Halt> {
        self.note_settled_models(reader);
        let now = Instant::now();
        let concurrent = self.store.concurrent_uploads();
        let mut tries_left = concurrent.max(MIN_ARTIFACT_TRIES_PER_STEP);
        while tries_left > 0 {
            // After a failure of the artifact store, a single artifact shows if the store works again.
            let is_doubtful = reader.deferred.store_state.unavailable_until.is_some();
            let size = if is_doubtful { 1 } else { tries_left };
            let due = std::iter::from_fn(|| reader.deferred.take_due(now));
            let round: Vec<_> = due.take(size).collect();
            if round.is_empty() {
                break;
            }
            tries_left -= round.len();
            let uploads: Vec<_> = { round.iter() }
                .map(|one| (&one.run, slice::from_ref(&one.artifact)))
                .collect();
            let outcomes = self.upload_artifacts(&uploads).await;
            self.settle_deferred_round(reader, round, outcomes)?;
        }
        reader.settle();
        Ok(())
    }

    /// Tries the artifacts that were deferred last, `count` of them, unless the artifact store is unavailable.
    pub(in crate::shipper) async fn deliver_last_deferred(
        &mut self,
        reader: &mut JournalReader,
        count: usize,
    ) -> Result<(), Halt> {
        if reader.deferred.is_store_unavailable() {
            return Ok(());
        }
        let waiting = &mut reader.deferred.waiting;
        let round: Vec<_> = waiting
            .split_off(waiting.len().saturating_sub(count))
            .into();
        let uploads: Vec<_> = { round.iter() }
            .map(|one| (&one.run, slice::from_ref(&one.artifact)))
            .collect();
        let outcomes = self.upload_artifacts(&uploads).await;
        self.settle_deferred_round(reader, round, outcomes)
    }

    fn settle_deferred_round(
        &mut self,
        reader: &mut JournalReader,
        round: Vec<DeferredArtifact>,
        outcomes: Vec<Option<UploadOutcome>>,
    ) -> Result<(), Halt> {
        let (mut untried, mut unavailable, mut halted) = (Vec::new(), None, None);
        for (deferred, outcome) in round.into_iter().zip(outcomes) {
            match outcome {
                Some(UploadOutcome::Delivered) => {
                    reader.deferred.store_state.record_success();
                    self.settle_deferred(reader, deferred, None);
                }
                Some(UploadOutcome::Rejected(reason)) => {
                    reader.deferred.store_state.record_success();
                    self.settle_deferred(reader, deferred, Some(reason));
                }
                Some(UploadOutcome::Stuck(stuck)) => {
                    self.retry_deferred(reader, deferred, Some(stuck));
                }
                Some(UploadOutcome::StoreUnavailable(reason)) => {
                    unavailable.get_or_insert(reason);
                    self.retry_deferred(reader, deferred, None);
                }
                Some(UploadOutcome::Halted(halt)) => {
                    halted.get_or_insert(halt);
                    untried.push(deferred);
                }
                None => untried.push(deferred),
            }
        }
        for deferred in untried.into_iter().rev() {
            reader.deferred.waiting.push_front(deferred);
        }
        if let Some(reason) = unavailable {
            reader.deferred.store_state.record_failure(&reason);
        }
        halted.map_or(Ok(()), Err)
    }

    /// Puts an artifact that was tried in vain back into the queue. `stuck` is `None` if only the artifact store
    /// as a whole is unavailable.
    fn retry_deferred(
        &mut self,
        reader: &mut JournalReader,
        mut deferred: DeferredArtifact,
        stuck: Option<StuckReason>,
    ) {
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
            values,
            segments,
            ..
        } = deferred;
        reader.release_segments(&segments);
        self.update_blocked_counts(reader);
        if let Some(reason) = refused {
            self.count_refused(reader, values);
            let kept =
                self.keep_refused(reader, number, vec![Rejection::artifact(artifact, reason)]);
            if kept > 0 {
                self.stats().rejected_kept.add(values.saturating_sub(1));
            }
            return;
        }
        self.count_delivered(reader, values);
        if let ArtifactBytes::File(file) = artifact.bytes {
            reader.delete_when_unpinned(file, segments);
        }
    }
}
