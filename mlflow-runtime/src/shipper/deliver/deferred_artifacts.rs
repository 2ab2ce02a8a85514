//! Artifacts that are not taken now, each waiting by itself, while all other values go on.
//!
//! # Invariants
//!
//! 1. An artifact that fails is tried again at growing intervals, and keeps no other one back.
//! 2. Where the whole place of the artifacts is away (a bucket, a disk), one of them is tried at a time,
//!    in turn, and none of the new ones before.
//! 3. Of two artifacts with the same path the newer one stays.
//! 4. What waits is named in [segments of its own](crate::journal::entry_log), so that it keeps none of
//!    those that it was read from; its bytes lie in a file where the journal lies on a disk.

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
use crate::shipper::obstacle::{Halt, Obstacle, RetryReason, StuckReason};
use crate::shipper::read::batch::{Artifact, ArtifactBytes, Rejection, RunBatch};
use crate::shipper::read::source::{JournalOwner, JournalReader};
use crate::store::{StoreError, StoredRun};

/// Artifacts that are tried at one step: the others have their turn at the next.
const MAX_TRIES_PER_STEP: usize = 4;
/// Failures of the place in a row before a warning.
const WARN_AFTER: u32 = 3;

/// The artifacts of one journal that wait.
#[derive(Default)]
pub(in crate::shipper) struct DeferredArtifacts {
    waiting: VecDeque<DeferredArtifact>,
    log: EntryLog,
    store_state: ArtifactStoreState,
}

/// One of them.
struct DeferredArtifact {
    run_number: u32,
    run: StoredRun,
    artifact: Artifact,
    /// `None`: nothing is known against it, its place is away.
    stuck: Option<StuckReason>,
    backoff: Backoff,
    due: Instant,
    /// The segments that may name it.
    segments: Vec<Arc<Segment>>,
}

impl DeferredArtifact {
    fn is_blocked(&self) -> bool {
        self.stuck.as_ref().is_some_and(StuckReason::is_blocked)
    }
}

/// The place where artifacts go, as it was last seen.
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

    /// Returns whether an artifact of the run waits here.
    pub(in crate::shipper) fn has_run(&self, run: u32) -> bool {
        self.waiting
            .iter()
            .any(|deferred| deferred.run_number == run)
    }

    /// Returns whether any waits for something else than a person.
    pub(in crate::shipper) fn has_retryable(&self) -> bool {
        self.waiting.iter().any(|deferred| !deferred.is_blocked())
    }

    /// Returns whether all that waits has failed again and again: whoever ends the process need not wait.
    pub(in crate::shipper) fn is_hopeless(&self) -> bool {
        let mut waiting = self
            .waiting
            .iter()
            .filter(|deferred| !deferred.is_blocked());
        self.store_state.unavailable_until.is_some()
            || waiting.all(|deferred| deferred.backoff.failures() >= HOPELESS_AFTER)
    }

    /// Returns how many wait for a person.
    pub(in crate::shipper) fn blocked_count(&self) -> usize {
        let held = self.waiting.iter().filter(|deferred| deferred.is_blocked());
        held.count()
    }

    /// Returns whether it is too early to try any.
    pub(in crate::shipper) fn is_store_unavailable(&self) -> bool {
        self.store_state
            .unavailable_until
            .is_some_and(|until| until > Instant::now())
    }

    /// Returns when the next try is due.
    pub(in crate::shipper) fn next_try_at(&self) -> Option<Instant> {
        let due = self.waiting.iter().map(|deferred| deferred.due).min()?;
        Some(
            self.store_state
                .unavailable_until
                .map_or(due, |until| until.max(due)),
        )
    }

    /// Makes every try due by `at`: somebody waits.
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
                "the store does not take artifacts; they wait in the journal, everything else is shipped. \
                 Look at the server's artifact store"
            );
        }
    }

    fn record_success(&mut self) {
        self.backoff.reset();
        self.unavailable_until = None;
        if std::mem::take(&mut self.has_warned) {
            tracing::warn!(target: "mlflow", "the store takes artifacts again; those that waited are being shipped");
        }
    }
}

impl JournalReader {
    /// Lets go of a waiting artifact of this path: the one at `sequence` takes its place. Returns
    /// whether that is a newer one.
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

    /// Has an artifact wait by itself. `cursors` are those that have read it. With `is_shared` the segments
    /// that they read name the file of the artifact, too, and keep it.
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
            // The segments that it was read from keep it.
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

    /// Writes bytes that travel inside of the journal to a file: what waits takes no memory. Where that
    /// cannot be, they stay in memory.
    fn move_to_file(&self, artifact: &mut Artifact) {
        if let ArtifactBytes::Memory(bytes) = &artifact.bytes
            && let Some((file, fingerprint)) = self.spool(bytes)
        {
            artifact.bytes = ArtifactBytes::File(file);
            artifact.fingerprint = fingerprint;
        }
    }

    /// Writes `bytes` to a file beside the segments.
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

    /// Gives a file beside the segments a second name. Not every file system can.
    fn hard_link(&self, file: &Path) -> Option<PathBuf> {
        #[cfg(test)]
        if crate::seeded::has_rare_fault() {
            return None;
        }
        let own = file.with_file_name(artifact_name());
        std::fs::hard_link(file, &own).ok()?;
        if let JournalOwner::Live { journal, .. } = &self.owner {
            journal.add_artifact_bytes(user_files::file_length(&own));
        }
        Some(own)
    }

    /// These segments name one waiting artifact less.
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
    /// Tells what is in the way of an artifact. `None`: its place is away, for all of them.
    pub(in crate::shipper) async fn classify_artifact_error(
        &mut self,
        source: &mut JournalReader,
        run: &StoredRun,
        error: StoreError,
    ) -> Result<Option<StuckReason>, Obstacle> {
        let stuck = match self.classify_error(error).await {
            Obstacle::Stuck(stuck) => stuck,
            halt @ Obstacle::Halt(_) => return Err(halt),
        };
        if !stuck.is_blocked() && self.store.ping_artifacts(run).await.is_err() {
            source.deferred.store_state.record_failure(stuck.reason());
            return Ok(None);
        }
        Ok(Some(stuck))
    }

    /// Has an artifact of `work` wait by itself.
    pub(in crate::shipper) fn defer(
        &mut self,
        source: &mut JournalReader,
        run: &StoredRun,
        work: &mut RunBatch,
        mut artifact: Artifact,
        stuck: Option<StuckReason>,
        part: WorkOrigin,
    ) {
        work.deferred_count += 1;
        if let Some(stuck) = &stuck {
            self.warn_stuck(source, stuck, 1);
        }
        self.supersede(source, run, &artifact);
        let mut is_shared = false;
        if let WorkOrigin::Parked { .. } = part {
            // What is read from a lane may be read again, and then needs its file.
            let lane_file = match &mut artifact.bytes {
                ArtifactBytes::File(file) => source
                    .hard_link(file)
                    .map(|own| std::mem::replace(file, own)),
                ArtifactBytes::Memory(_) => None,
            };
            is_shared = lane_file.is_none() && artifact.file().is_some();
            let sequence = artifact.sequence;
            source.parked.hand_over(work.run, sequence, lane_file);
            work.handed_over.push(sequence);
        }
        let mut backoff = Backoff::default();
        let delay = stuck
            .as_ref()
            .map(|_| backoff.next_delay(RetryReason::Unavailable { retry_after: None }));
        let deferred = DeferredArtifact {
            run_number: work.run,
            run: run.clone(),
            artifact,
            stuck,
            backoff,
            due: Instant::now() + delay.unwrap_or_default(),
            segments: Vec::new(),
        };
        source.defer(deferred, &work.cursors, is_shared);
    }

    /// Lets go of a waiting artifact for which this one comes.
    pub(in crate::shipper) fn supersede(
        &self,
        source: &mut JournalReader,
        run: &StoredRun,
        artifact: &Artifact,
    ) {
        if source.supersede_deferred(&run.run_id, &artifact.path, artifact.sequence) {
            self.update_blocked_counts(source);
            self.count_delivered(source, 1);
        }
    }

    /// Tries the artifacts that are due.
    pub(in crate::shipper) async fn deliver_deferred(
        &mut self,
        source: &mut JournalReader,
    ) -> Result<(), Halt> {
        let now = Instant::now();
        for _ in 0..MAX_TRIES_PER_STEP {
            let Some(mut deferred) = source.deferred.take_due(now) else {
                break;
            };
            match self
                .upload_artifact(&deferred.run, &deferred.artifact)
                .await
            {
                Ok(refused) => {
                    source.deferred.store_state.record_success();
                    self.settle_deferred(source, deferred, refused);
                }
                Err(error) => {
                    let run = deferred.run.clone();
                    let stuck = match self.classify_artifact_error(source, &run, error).await {
                        Ok(stuck) => stuck,
                        Err(obstacle) => {
                            source.deferred.waiting.push_front(deferred);
                            match obstacle {
                                Obstacle::Halt(halt) => return Err(halt),
                                Obstacle::Stuck(_) => break,
                            }
                        }
                    };
                    self.stats().retried.add(1);
                    if let Some(stuck) = &stuck {
                        self.warn_stuck(source, stuck, deferred.backoff.failures() + 1);
                        let delay = deferred
                            .backoff
                            .next_delay(RetryReason::Unavailable { retry_after: None });
                        deferred.due = Instant::now() + delay;
                    }
                    deferred.stuck = stuck;
                    source.deferred.waiting.push_back(deferred);
                }
            }
        }
        source.settle();
        Ok(())
    }

    fn settle_deferred(
        &mut self,
        source: &mut JournalReader,
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
        source.release_segments(&segments);
        self.update_blocked_counts(source);
        if let Some(reason) = refused {
            self.count_refused(source, 1);
            self.keep_refused(source, number, vec![Rejection::artifact(artifact, reason)]);
            return;
        }
        self.count_delivered(source, 1);
        if let ArtifactBytes::File(file) = artifact.bytes {
            source.delete_when_unpinned(file, segments);
        }
    }
}
