//! Uploads of artifacts, several at once.
//!
//! # Invariants
//!
//! 1. No more uploads are in flight than [`Store::concurrent_uploads`](crate::store::Store::concurrent_uploads)
//!    allows.
//! 2. If the paths of two artifacts of a run collide, i.e. if they are equal or one is a folder of the other, the
//!    later upload begins after the earlier one has ended. The store receives them in their order. The record of
//!    a logged model, whose path is a folder of its files' paths, therefore comes after all of them.
//! 3. After a failure of rows of a table, neither later rows of that table nor a file of its path are tried, after one of a
//!    file, no rows of its path, and after one of a file of a checkpoint, not the end of that checkpoint.
//! 4. After a failure that concerns all artifacts, no further upload begins. Uploads in flight are waited for,
//!    so that no artifact that has arrived is sent again.

use std::slice;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::model::checkpoint::CHECKPOINTS;
use crate::model::{ArtifactKind, ImageForm};
use crate::shipper::Delivery;
use crate::shipper::batch::Artifact;
use crate::shipper::failure_scope::{Halt, Obstacle, StuckReason};
use crate::store::{StoreError, StoredRun};

/// Artifacts that one upload takes (a single one, or rows of one table), with the run to which they go.
pub(in crate::shipper) type Upload<'a> = (&'a StoredRun, &'a [Artifact]);

/// End of an upload.
#[derive(Clone)]
pub(in crate::shipper) enum UploadOutcome {
    Delivered,
    /// The store rejects the artifact for good, for this reason.
    Rejected(String),
    /// This artifact cannot be uploaded now; others can.
    Stuck(StuckReason),
    /// The artifact store is unavailable for all artifacts, for this reason.
    StoreUnavailable(String),
    /// Nothing can be delivered now.
    Halted(Halt),
}

impl UploadOutcome {
    /// Returns true if the store has the artifact, or will never take it.
    fn is_settled(&self) -> bool {
        matches!(self, Self::Delivered | Self::Rejected(_))
    }

    /// Returns true if a further upload would fail, too.
    fn concerns_all(&self) -> bool {
        match self {
            Self::StoreUnavailable(_) | Self::Halted(_) => true,
            Self::Delivered | Self::Rejected(_) | Self::Stuck(_) => false,
        }
    }
}

impl Delivery {
    /// Carries out uploads, and returns the outcomes of their artifacts in the same order. An artifact that was not
    /// tried has no outcome.
    pub(in crate::shipper) async fn upload_artifacts(
        &self,
        uploads: &[Upload<'_>],
    ) -> Vec<Option<UploadOutcome>> {
        let max_in_flight = self.store.concurrent_uploads().max(1);
        let mut outcomes: Vec<Option<Vec<UploadOutcome>>> = uploads.iter().map(|_| None).collect();
        let mut waiting = uploads.iter().zip(&mut outcomes).peekable();
        let mut in_flight: Vec<&Upload<'_>> = Vec::new();
        let mut running = FuturesUnordered::new();
        let mut failed: Vec<&Upload<'_>> = Vec::new();
        let mut is_stopped = false;
        let progress = &self.stats().uploads;
        loop {
            progress.set_pending(waiting.len() + in_flight.len());
            while !is_stopped
                && in_flight.len() < max_in_flight
                && let Some((upload, outcome)) =
                    waiting.next_if(|(next, _)| !in_flight.iter().any(|one| do_collide(one, next)))
            {
                if failed.iter().any(|earlier| must_follow(upload, earlier)) {
                    // What comes behind this upload has to wait as well.
                    failed.push(upload);
                    continue;
                }
                in_flight.push(upload);
                running.push(async move {
                    let (run, artifacts) = *upload;
                    (upload, outcome, self.try_upload(run, artifacts).await)
                });
            }
            let Some((upload, outcome, ended)) = running.next().await else {
                break;
            };
            in_flight.retain(|one| !std::ptr::eq(*one, upload));
            is_stopped |= ended.iter().any(UploadOutcome::concerns_all);
            if !ended.iter().all(UploadOutcome::is_settled) {
                failed.push(upload);
            }
            *outcome = Some(ended);
        }
        drop(running);
        progress.set_pending(0);
        let of_artifacts = |((_, artifacts), outcomes): (&Upload<'_>, Option<Vec<_>>)| {
            outcomes.map_or_else(
                || artifacts.iter().map(|_| None).collect::<Vec<_>>(),
                |outcomes| outcomes.into_iter().map(Some).collect(),
            )
        };
        uploads
            .iter()
            .zip(outcomes)
            .flat_map(of_artifacts)
            .collect()
    }

    /// Carries out an upload. If the store rejects the rows of several artifacts, they are tried one by one, so that
    /// those which are at fault cost no others.
    async fn try_upload(&self, run: &StoredRun, artifacts: &[Artifact]) -> Vec<UploadOutcome> {
        let outcome = self.try_upload_at_once(run, artifacts).await;
        if artifacts.len() < 2 || !matches!(outcome, UploadOutcome::Rejected(_)) {
            return vec![outcome; artifacts.len()];
        }
        let mut outcomes: Vec<UploadOutcome> = Vec::with_capacity(artifacts.len());
        for artifact in artifacts {
            let outcome = match outcomes.last() {
                Some(last) if !last.is_settled() => last.clone(),
                _ => {
                    self.try_upload_at_once(run, slice::from_ref(artifact))
                        .await
                }
            };
            outcomes.push(outcome);
        }
        outcomes
    }

    async fn try_upload_at_once(&self, run: &StoredRun, artifacts: &[Artifact]) -> UploadOutcome {
        let (path, length) = artifacts.first().map_or(("", 0), |first| {
            (first.kind.shown_name(&first.path), first.length())
        });
        let upload = self.upload(run, artifacts);
        let uploads = &self.stats().uploads;
        let error = match uploads.track(path, length, upload).await {
            Ok(None) => return UploadOutcome::Delivered,
            Ok(Some(reason)) => return UploadOutcome::Rejected(reason),
            Err(error) => error,
        };
        let stuck = match self.classify_error(error).await {
            Obstacle::Stuck(stuck) => stuck,
            Obstacle::Halt(halt) => return UploadOutcome::Halted(halt),
        };
        if !stuck.is_blocked() && self.store.ping_artifacts(run).await.is_err() {
            return UploadOutcome::StoreUnavailable(stuck.reason().to_owned());
        }
        UploadOutcome::Stuck(stuck)
    }

    /// Uploads an artifact, or appends rows to their table. Returns the reason if the store rejects them for good.
    pub(in crate::shipper) async fn upload(
        &self,
        run: &StoredRun,
        artifacts: &[Artifact],
    ) -> Result<Option<String>, StoreError> {
        let Some(artifact) = artifacts.first() else {
            return Ok(None);
        };
        let sent = match artifact.kind {
            ArtifactKind::File => self.put_file(run, artifact).await,
            ArtifactKind::Image(layout) => {
                self.put_image(run, artifact, ImageForm::Pixels(layout))
                    .await
            }
            ArtifactKind::ImageFile { place } => {
                self.put_image(run, artifact, ImageForm::File { place })
                    .await
            }
            ArtifactKind::Dataset => self.log_dataset(run, artifact).await,
            ArtifactKind::ModelFile => self.put_model_file(run, artifact).await,
            ArtifactKind::Model => self.complete_model(run, artifact).await,
            ArtifactKind::CheckpointFile(call) => {
                self.put_checkpoint_file(run, artifact, call).await
            }
            ArtifactKind::Checkpoint(call) => self.end_checkpoint(run, artifact, call).await,
            ArtifactKind::ModelOutput => self.log_output(run, artifact).await,
            ArtifactKind::ModelInput => self.store.log_model_input(run, &artifact.path).await,
            ArtifactKind::TableRows(_) => {
                self.append_table_rows(run, &artifact.path, artifacts).await
            }
        };
        match sent {
            Ok(()) => Ok(None),
            Err(StoreError::Rejected { reason }) => Ok(Some(reason.to_string())),
            Err(error) => Err(error),
        }
    }

    async fn put_file(&self, run: &StoredRun, artifact: &Artifact) -> Result<(), StoreError> {
        let content = artifact.content();
        self.store.put_artifact(run, &artifact.path, content).await
    }
}

/// Returns true if an upload has to wait until an earlier one has succeeded.
fn must_follow((run, artifacts): &Upload<'_>, (other_run, earlier): &Upload<'_>) -> bool {
    let (Some(one), Some(other)) = (artifacts.first(), earlier.first()) else {
        return false;
    };
    let path = one.table_or_file();
    let is_of_table = path.is_some()
        && path == other.table_or_file()
        && (one.table().is_some() || other.table().is_some());
    let ended = one.ended_checkpoint();
    let ends_checkpoint = ended.is_some() && ended == other.checkpoint_of_file();
    run.run_id == other_run.run_id && (is_of_table || ends_checkpoint)
}

/// Returns true if the order of two uploads matters to the store.
fn do_collide((run, artifacts): &Upload<'_>, (other_run, others): &Upload<'_>) -> bool {
    let is_inside = |path: &str, folder: &str| {
        let rest = path.strip_prefix(folder);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let (Some(one), Some(other)) = (artifacts.first(), others.first()) else {
        return false;
    };
    // Two tables are entered into one list of the run, which is read before it is written.
    let are_tables = one.table().is_some() && other.table().is_some();
    run.run_id == other_run.run_id
        && (are_tables
            || is_inside(touched(one), touched(other))
            || is_inside(touched(other), touched(one)))
}

/// Returns the path of the file or folder in which an upload changes anything. The end of a checkpoint may delete
/// other checkpoints.
fn touched(artifact: &Artifact) -> &str {
    match artifact.kind {
        ArtifactKind::Checkpoint(call) if call.keep > 0 => CHECKPOINTS,
        _ => &artifact.path,
    }
}
