//! Artifacts that the store does not accept now. Each waits by itself, while all other values are delivered.
//!
//! # Invariants
//!
//! 1. An artifact that fails is tried again at growing intervals, and delays no other artifact.
//! 2. While the whole artifact store is unavailable (a bucket, a disk), one artifact is tried per interval,
//!    each in its turn; all others, new ones included, wait without a try.
//! 3. Of two artifacts with the same path, the newer one replaces the older one.
//! 4. A waiting artifact is recorded in [segments of its own](crate::journal::entry_log), so that it pins
//!    none of the segments that it was read from. Its bytes are in a file if the journal is on a disk.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::Instant;

use crate::journal::directory::ARTIFACT_EXTENSION;
use crate::journal::entry_log::EntryLog;
use crate::journal::record::Fingerprint;
use crate::journal::segment::Segment;
use crate::journal::user_files;
use crate::shipper::Delivery;
use crate::shipper::backoff::Backoff;
use crate::shipper::deliver::delivery::WorkOrigin;
use crate::shipper::deliver::parked_runs::{HOPELESS_AFTER, Lane};
use crate::shipper::failure_scope::{Halt, Obstacle, RetryReason, StuckReason};
use crate::shipper::read::batch::{Artifact, ArtifactBytes, Rejection, RunBatch};
use crate::shipper::read::journal_reader::{JournalOwner, JournalReader};
use crate::store::{StoreError, StoredRun};

/// Maximum number of artifacts tried in one step; the others follow in the next steps.
const MAX_TRIES_PER_STEP: usize = 4;
/// Number of consecutive failures of the artifact store before a warning.
const WARN_AFTER: u32 = 3;

/// Waiting artifacts of one journal.
#[derive(Default)]
pub(in crate::shipper) struct DeferredArtifacts {
    waiting: VecDeque<DeferredArtifact>,
    log: EntryLog,
    store_state: ArtifactStoreState,
}

/// An artifact that waits to be tried again.
struct DeferredArtifact {
    run_number: u32,
    run: StoredRun,
    artifact: Artifact,
    /// Reason why the artifact waits; `None` if only the artifact store as a whole is unavailable.
    stuck: Option<StuckReason>,
    backoff: Backoff,
    due: Instant,
    /// Segments that may name the artifact, or its file, and are pinned until it is settled.
    segments: Vec<Arc<Segment>>,
}

impl DeferredArtifact {
    fn is_blocked(&self) -> bool {
        self.stuck.as_ref().is_some_and(StuckReason::is_blocked)
    }
}

/// State of the artifact store, as last observed.
#[derive(Default)]
struct ArtifactStoreState {
    unavailable_until: Option<Instant>,
    backoff: Backoff,
    has_warned: bool,
}

impl DeferredArtifacts {
    pub(in crate::shipper) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns true if an artifact of the run waits here.
    pub(in crate::shipper) fn has_run(&self, run: u32) -> bool {
        self.waiting
            .iter()
            .any(|deferred| deferred.run_number == run)
    }

    /// Returns true if any artifact waits for something other than a person's action.
    pub(in crate::shipper) fn has_retryable(&self) -> bool {
        self.waiting.iter().any(|deferred| !deferred.is_blocked())
    }

    /// Returns true if the artifact store is unavailable, or everything that waits has failed repeatedly: the
    /// end of the process need not wait for it. Blocked artifacts do not count.
    pub(in crate::shipper) fn is_hopeless(&self) -> bool {
        let mut waiting = self
            .waiting
            .iter()
            .filter(|deferred| !deferred.is_blocked());
        self.store_state.unavailable_until.is_some()
            || waiting.all(|deferred| deferred.backoff.failures() >= HOPELESS_AFTER)
    }

    /// Returns the number of artifacts that are blocked until a person acts.
    pub(in crate::shipper) fn blocked_count(&self) -> usize {
        let held = self.waiting.iter().filter(|deferred| deferred.is_blocked());
        held.count()
    }

    /// Returns true if it is too early to try any artifact, because the artifact store is unavailable.
    pub(in crate::shipper) fn is_store_unavailable(&self) -> bool {
        self.store_state
            .unavailable_until
            .is_some_and(|until| until > Instant::now())
    }

    /// Returns the time of the next try; `None` if no artifact waits.
    pub(in crate::shipper) fn next_try_at(&self) -> Option<Instant> {
        let due = self.waiting.iter().map(|deferred| deferred.due).min()?;
        Some(
            self.store_state
                .unavailable_until
                .map_or(due, |until| until.max(due)),
        )
    }

    /// Brings every later try forward to `at`, because a caller waits for a flush.
    pub(in crate::shipper) fn retry_by(&mut self, at: Instant) {
        for deferred in &mut self.waiting {
            deferred.due = deferred.due.min(at);
        }
        let place = &mut self.store_state;
        place.unavailable_until = place.unavailable_until.map(|until| until.min(at));
    }

    fn take_due(&mut self, now: Instant) -> Option<DeferredArtifact> {
        if self.is_store_unavailable() {
            return None;
        }
        let at = self
            .waiting
            .iter()
            .position(|deferred| deferred.due <= now)?;
        self.waiting.remove(at)
    }
}

impl ArtifactStoreState {
    fn record_failure(&mut self, reason: &str) {
        let delay = self
            .backoff
            .next_delay(RetryReason::Unavailable { retry_after: None });
        self.unavailable_until = Some(Instant::now() + delay);
        if self.backoff.failures() >= WARN_AFTER && !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                target: "mlflow", reason,
                "the store does not accept artifacts; they wait in the journal, everything else is delivered. \
                 Check the server's artifact store"
            );
        }
    }

    fn record_success(&mut self) {
        self.backoff.reset();
        self.unavailable_until = None;
        if std::mem::take(&mut self.has_warned) {
            tracing::warn!(target: "mlflow", "the store accepts artifacts again; the waiting ones are being uploaded");
        }
    }
}

impl JournalReader {
    /// Drops a waiting artifact of this run and path, because the artifact at `sequence` replaces it. Returns
    /// true if there was such an artifact and it was another, older one.
    pub(in crate::shipper) fn supersede_deferred(
        &mut self,
        run_id: &str,
        path: &str,
        sequence: u64,
    ) -> bool {
        let is = |deferred: &DeferredArtifact| {
            deferred.run.run_id == run_id && deferred.artifact.path == path
        };
        let at = self.deferred.waiting.iter().position(is);
        let Some(older) = at.and_then(|at| self.deferred.waiting.remove(at)) else {
            return false;
        };
        let is_newer = older.artifact.sequence != sequence;
        self.release_segments(&older.segments);
        if let ArtifactBytes::File(file) = older.artifact.bytes {
            self.delete_when_unpinned(file, older.segments);
        }
        is_newer
    }

    /// Makes an artifact wait by itself. `cursors` are the indexes of the cursors that have read it.
    /// `is_shared`: the segments of these cursors name the artifact's file, too, and are pinned as well.
    fn defer(&mut self, mut deferred: DeferredArtifact, cursors: &[usize], is_shared: bool) {
        self.move_to_file(&mut deferred.artifact);
        let mut log = std::mem::take(&mut self.deferred.log);
        let artifact = &deferred.artifact;
        let copied = self.copy_to(&mut log, Lane::Artifacts, deferred.run_number, |log| {
            artifact.copy_to(log)
        });
        self.deferred.log = log;
        deferred.segments = match copied {
            Ok(copied) => copied
                .segments
                .into_iter()
                .map(|(segment, _)| segment)
                .collect(),
            // Without a copy of the entry, the segments that it was read from are pinned.
            Err(_) => self.segments_of(cursors),
        };
        if is_shared {
            deferred.segments.extend(self.segments_of(cursors));
        }
        for cursor in &mut self.cursors {
            let names = |segment: &Arc<Segment>| Arc::ptr_eq(segment, &cursor.segment);
            if deferred.segments.iter().any(names) {
                cursor.waiting_artifacts += 1;
                if cursor.lane == Some(Lane::Artifacts) {
                    cursor.skip_to_end();
                }
            }
        }
        self.deferred.waiting.push_back(deferred);
    }

    /// Moves bytes that were attached to a journal entry to a file, so that a waiting artifact takes no
    /// memory. If that is impossible, the bytes stay in memory.
    fn move_to_file(&self, artifact: &mut Artifact) {
        if let ArtifactBytes::Memory(bytes) = &artifact.bytes
            && let Some((file, fingerprint)) = self.spool(bytes)
        {
            artifact.bytes = ArtifactBytes::File(file);
            artifact.fingerprint = fingerprint;
        }
    }

    /// Writes `bytes` to a file beside the segments. Returns `None` if the journal is in memory, or the file
    /// cannot be written.
    fn spool(&self, bytes: &[u8]) -> Option<(PathBuf, Option<Fingerprint>)> {
        let directory = self.spool_directory()?;
        match &self.owner {
            JournalOwner::Live { journal, .. } => {
                let copy = journal.write_artifact(bytes)?.ok()?;
                Some((directory.join(copy.name), Some(copy.fingerprint)))
            }
            JournalOwner::Orphan { .. } => {
                let path = directory.join(artifact_name());
                let written =
                    user_files::create_file(&path).and_then(|mut file| file.write_all(bytes));
                if written.is_err() {
                    let _ = std::fs::remove_file(&path);
                }
                written.ok().map(|()| (path, None))
            }
        }
    }

    /// Gives a file beside the segments a second name. Returns `None` if the file system cannot do that.
    fn hard_link(&self, file: &Path) -> Option<PathBuf> {
        #[cfg(test)]
        if crate::determinism::has_rare_fault() {
            return None;
        }
        let own = file.with_file_name(artifact_name());
        std::fs::hard_link(file, &own).ok()?;
        if let JournalOwner::Live { journal, .. } = &self.owner {
            journal.add_artifact_bytes(user_files::file_length(&own));
        }
        Some(own)
    }

    /// Lowers the count of waiting artifacts that pin each of these segments.
    fn release_segments(&mut self, segments: &[Arc<Segment>]) {
        for cursor in &mut self.cursors {
            if segments.iter().any(|one| Arc::ptr_eq(one, &cursor.segment)) {
                cursor.waiting_artifacts = cursor.waiting_artifacts.saturating_sub(1);
            }
        }
    }
}

fn artifact_name() -> String {
    format!("{}.{ARTIFACT_EXTENSION}", uuid::Uuid::new_v4().simple())
}

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
        if reader.supersede_deferred(&run.run_id, &artifact.path, artifact.sequence) {
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
        for _ in 0..MAX_TRIES_PER_STEP {
            let Some(mut deferred) = reader.deferred.take_due(now) else {
                break;
            };
            match self
                .upload_artifact(&deferred.run, &deferred.artifact)
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
