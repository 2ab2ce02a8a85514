//! Artifacts that the store does not accept now. Each waits by itself, while all other values are delivered.
//!
//! # Invariants
//!
//! 1. An artifact that fails is tried again at growing intervals, and delays no other artifact.
//! 2. While the whole artifact store is unavailable (a bucket, a disk), one artifact is tried per interval,
//!    each in its turn; all others, new ones included, wait without a try.
//! 3. Of two artifacts with the same path, the newer one replaces the older one. The rows of a table are tried
//!    in the order in which they were logged instead, as is a file at the path of their table, and the end of a checkpoint
//!    after all of its files.
//! 4. A waiting artifact is recorded in [segments of its own](crate::journal::entry_log), so that it pins
//!    none of the segments that it was read from. Its bytes are in a file if the journal is on a disk.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use crate::journal::entry_log::EntryLog;
use crate::journal::segment::Segment;
use crate::shipper::backoff::Backoff;
use crate::shipper::batch::Artifact;
use crate::shipper::failure_scope::{RetryReason, StuckReason};
use crate::shipper::queue::parked_runs::HOPELESS_AFTER;
use crate::store::StoredRun;
use crate::warnings::warn_user;

/// Number of consecutive failures of the artifact store before a warning.
pub(in crate::shipper) const ARTIFACT_FAILURES_BEFORE_WARNING: u32 = 3;

/// Waiting artifacts of one journal.
#[derive(Default)]
pub(in crate::shipper) struct DeferredArtifacts {
    pub(in crate::shipper) waiting: VecDeque<DeferredArtifact>,
    pub(in crate::shipper) log: EntryLog,
    pub(in crate::shipper) store_state: ArtifactStoreState,
}

/// An artifact that waits to be tried again.
pub(in crate::shipper) struct DeferredArtifact {
    pub(in crate::shipper) run_number: u32,
    pub(in crate::shipper) run: StoredRun,
    pub(in crate::shipper) artifact: Artifact,
    /// Number of values that the artifact counts as: the points of a file of points that were left out, else one.
    pub(in crate::shipper) values: usize,
    /// Reason why the artifact waits; `None` if only the artifact store as a whole is unavailable.
    pub(in crate::shipper) stuck: Option<StuckReason>,
    pub(in crate::shipper) backoff: Backoff,
    pub(in crate::shipper) due: Instant,
    /// Segments that may name the artifact, or its file, and are pinned until it is settled.
    pub(in crate::shipper) segments: Vec<Arc<Segment>>,
}

impl DeferredArtifact {
    pub(in crate::shipper) fn is_blocked(&self) -> bool {
        self.stuck.as_ref().is_some_and(StuckReason::is_blocked)
    }

    /// Returns the run and the path of the table to which the artifact appends rows; `None` for any other kind of
    /// artifact.
    fn table(&self) -> Option<(&str, &str)> {
        Some((&self.run.run_id, self.artifact.table()?))
    }

    /// Returns the run and the path of the table, or of the file that may be one; `None` for any other kind of artifact.
    fn table_or_file(&self) -> Option<(&str, &str)> {
        Some((&self.run.run_id, self.artifact.table_or_file()?))
    }
}

/// State of the artifact store, as last observed.
#[derive(Default)]
pub(in crate::shipper) struct ArtifactStoreState {
    pub(in crate::shipper) unavailable_until: Option<Instant>,
    pub(in crate::shipper) backoff: Backoff,
    pub(in crate::shipper) has_warned: bool,
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
        self.fronts().any(|deferred| !deferred.is_blocked())
    }

    /// Returns true if the artifact store is unavailable, or everything that waits has failed repeatedly: the
    /// end of the process need not wait for it. Blocked artifacts do not count.
    pub(in crate::shipper) fn is_hopeless(&self) -> bool {
        let mut waiting = self.fronts().filter(|deferred| !deferred.is_blocked());
        self.store_state.unavailable_until.is_some()
            || waiting.all(|deferred| deferred.backoff.failures() >= HOPELESS_AFTER)
    }

    /// Returns the number of values of artifacts that are blocked until a person acts, with the rows that wait for blocked
    /// rows of their table, and the ends of checkpoints that wait for blocked files.
    pub(in crate::shipper) fn blocked_count(&self) -> usize {
        let firsts = self.firsts_of_tables();
        let blocked_files: FxHashSet<u64> = { self.waiting.iter() }
            .filter(|deferred| deferred.is_blocked())
            .filter_map(|deferred| deferred.artifact.checkpoint_of_file())
            .collect();
        let is_blocked = |deferred: &&DeferredArtifact| {
            let front = firsts.get(&deferred.table_or_file()).copied();
            let ended = deferred.artifact.ended_checkpoint();
            front.unwrap_or(deferred).is_blocked()
                || ended.is_some_and(|call| blocked_files.contains(&call))
        };
        let blocked = self.waiting.iter().filter(is_blocked);
        blocked.map(|deferred| deferred.values).sum()
    }

    /// Returns true if it is too early to try any artifact, because the artifact store is unavailable.
    pub(in crate::shipper) fn is_store_unavailable(&self) -> bool {
        self.store_state
            .unavailable_until
            .is_some_and(|until| until > Instant::now())
    }

    /// Returns the time of the next try; `None` if no artifact waits.
    pub(in crate::shipper) fn next_try_at(&self) -> Option<Instant> {
        let due = self.fronts().map(|deferred| deferred.due).min()?;
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

    /// Returns true if `artifact` holds rows of a table, and earlier rows or a file of that path wait here, if it is a file,
    /// and earlier rows of that path wait here, or if it ends a checkpoint of which files wait here.
    pub(in crate::shipper) fn must_wait(&self, run_id: &str, artifact: &Artifact) -> bool {
        if let Some(call) = artifact.ended_checkpoint() {
            let mut waiting = self.waiting.iter();
            return waiting.any(|deferred| deferred.artifact.checkpoint_of_file() == Some(call));
        }
        let appends = artifact.table().is_some();
        let table = artifact.table_or_file().map(|path| (run_id, path));
        table.is_some_and(|table| {
            let is_before = |deferred: &DeferredArtifact| {
                deferred.table_or_file() == Some(table)
                    && (appends || deferred.table().is_some())
                    && deferred.artifact.sequence < artifact.sequence
            };
            self.waiting.iter().any(is_before)
        })
    }

    /// Returns the artifacts that may be tried: all but the rows and files of a table for which earlier ones wait here, and
    /// the ends of checkpoints of which files wait here.
    fn fronts(&self) -> impl Iterator<Item = &DeferredArtifact> {
        let firsts = self.firsts_of_tables();
        let files: FxHashSet<u64> = { self.waiting.iter() }
            .filter_map(|deferred| deferred.artifact.checkpoint_of_file())
            .collect();
        self.waiting.iter().filter(move |deferred| {
            let front = firsts.get(&deferred.table_or_file());
            let ended = deferred.artifact.ended_checkpoint();
            front.is_none_or(|front| std::ptr::eq(*front, *deferred))
                && ended.is_none_or(|call| !files.contains(&call))
        })
    }

    /// Returns the earliest rows or file of each table of which rows wait.
    fn firsts_of_tables(&self) -> FxHashMap<Option<(&str, &str)>, &DeferredArtifact> {
        let rows = self.waiting.iter().filter(|one| one.table().is_some());
        let mut firsts: FxHashMap<_, _> = rows.map(|one| (one.table(), one)).collect();
        if firsts.is_empty() {
            return firsts;
        }
        for deferred in &self.waiting {
            if let Some(first) = firsts.get_mut(&deferred.table_or_file())
                && deferred.artifact.sequence < first.artifact.sequence
            {
                *first = deferred;
            }
        }
        firsts
    }

    pub(in crate::shipper) fn take_due(&mut self, now: Instant) -> Option<DeferredArtifact> {
        if self.is_store_unavailable() {
            return None;
        }
        let at = {
            let due = self.fronts().find(|deferred| deferred.due <= now)?;
            let is_due = |deferred: &DeferredArtifact| std::ptr::eq(deferred, due);
            self.waiting.iter().position(is_due)?
        };
        self.waiting.remove(at)
    }
}

impl ArtifactStoreState {
    pub(in crate::shipper) fn record_failure(&mut self, reason: &str) {
        let delay = self
            .backoff
            .next_delay(RetryReason::Unavailable { retry_after: None });
        self.unavailable_until = Some(Instant::now() + delay);
        if self.backoff.failures() >= ARTIFACT_FAILURES_BEFORE_WARNING
            && !std::mem::replace(&mut self.has_warned, true)
        {
            warn_user(format_args!(
                "the store does not accept artifacts; they wait in the journal, everything else is delivered. \
                 Check the server's artifact store: {reason}"
            ));
        }
    }

    pub(in crate::shipper) fn record_success(&mut self) {
        self.backoff.reset();
        self.unavailable_until = None;
        if std::mem::take(&mut self.has_warned) {
            warn_user(format_args!(
                "the store accepts artifacts again; the waiting ones are being uploaded"
            ));
        }
    }
}
