//! Delivery of a [`ReadBatch`] to the store.
//!
//! # Invariants
//!
//! 1. A run is [created](crate::shipper::deliver::create_run) before anything is logged to it.
//! 2. After a [`Halt`] the batch can be delivered again: entries that the store has acknowledged are not sent
//!    again, entries of a request without an answer are sent again unchanged.
//! 3. Entries that the store rejects are taken out one by one, counted, kept in a folder of their own, and
//!    warned about once for each key. All other entries are delivered.
//! 4. A run that fails while the store answers is [parked](crate::shipper::deliver::parked_runs), an artifact
//!    [deferred](crate::shipper::deliver::deferred_artifacts). Neither stops anything else.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::shipper::deliver::announcements::Announcements;
use crate::shipper::deliver::batch_size::AdaptiveBatchSize;
use crate::shipper::deliver::copy_check;
use crate::shipper::obstacle::{Halt, Obstacle, StuckReason, classify_error, into_halt};
use crate::shipper::read::batch::{
    Artifact, ArtifactBytes, ReadBatch, Rejection, RunBatch, split_batch,
};
use crate::shipper::read::source::JournalReader;
use crate::shipper::stats::{RefusalKind, Stats};
use crate::store::{ArtifactContent, Store, StoreError, StoreInfo, StoredRun};
use crate::warnings::WarningLog;

/// Maximum number of consecutive retries of a batch for which the store reports that another client
/// interferes. After that the batch counts as rejected.
const MAX_CONTESTED_RETRIES: u32 = 20;
/// Number of consecutive failures of one run or artifact before a warning.
const WARN_AFTER: u32 = 5;
/// Maximum number of entries in a batch from an orphaned journal: if this process is stopped in the middle of
/// a batch, other processes wait for the lock of the store's file.
pub(in crate::shipper) const MAX_ORPHAN_BATCH: usize = 4096;

/// Origin of the entries of a [`RunBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shipper) enum WorkOrigin {
    /// Read from the journal for the first time.
    New,
    /// Read from a [lane](crate::shipper::deliver::parked_runs::Lane) of waiting entries, to be sent in
    /// requests of at most `largest` entries.
    Parked { largest: usize },
}

/// Delivers the entries of journals to one store.
pub(crate) struct Delivery {
    pub(in crate::shipper) store: Box<dyn Store>,
    stats: Arc<Stats>,
    pub(in crate::shipper) warning_log: WarningLog,
    pub(in crate::shipper) announcements: Announcements,
    /// True if something was completed since the last [`take_progress`](Delivery::take_progress).
    pub(in crate::shipper) has_progress: bool,
    /// Number of consecutive requests that failed because another client interfered.
    contested_in_row: u32,
}

impl Delivery {
    pub(crate) fn new(store: Box<dyn Store>, stats: Arc<Stats>, quiet: bool) -> Self {
        Self {
            store,
            stats,
            warning_log: WarningLog::default(),
            announcements: Announcements::new(quiet),
            has_progress: false,
            contested_in_row: 0,
        }
    }

    pub(in crate::shipper) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns the number of entries to read at once: ten full requests, at most 65 536.
    pub(in crate::shipper) fn read_budget(&self) -> usize {
        self.batch_entries().saturating_mul(10).min(65_536)
    }

    /// Returns the number of entries that one request may hold.
    pub(in crate::shipper) fn batch_entries(&self) -> usize {
        self.store.limits().total
    }

    /// Leaves the store to other clients for as long as [`Store::gap`] demands.
    async fn yield_store(&self) {
        let gap = self.store.gap();
        if !gap.is_zero() {
            tokio::time::sleep(gap).await;
        }
    }

    /// Returns true if something was completed since the last call. A completed part is not sent again.
    pub(in crate::shipper) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_progress)
    }

    pub(in crate::shipper) async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.store.info().await
    }

    pub(in crate::shipper) fn uri(&self) -> String {
        self.store.uri()
    }

    /// Returns the obstacle that an error amounts to, see [`classify_error`].
    pub(in crate::shipper) async fn classify_error(&self, error: StoreError) -> Obstacle {
        classify_error(&*self.store, error).await
    }

    /// Delivers what is left of `pass`. A run that cannot be delivered now is parked.
    pub(in crate::shipper) async fn deliver(
        &mut self,
        source: &mut JournalReader,
        pass: &mut ReadBatch,
    ) -> Result<(), Halt> {
        self.deliver_until(source, pass, &|| false).await?;
        Ok(())
    }

    /// Delivers the remaining runs of `pass`, at least one, until `is_interrupted` returns true. Returns true
    /// if no run is left.
    pub(in crate::shipper) async fn deliver_until(
        &mut self,
        source: &mut JournalReader,
        pass: &mut ReadBatch,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<bool, Halt> {
        self.warn_of_unknown(source, std::mem::take(&mut pass.unknown_records));
        let oldest_ms = pass.oldest_ms;
        let lost = source.take_lost();
        self.stats.damaged.add(lost.records);
        self.stats.lost.add(lost.values);
        if let Some(said) = lost.unreadable_message {
            self.stats.record_blocked(source.is_live(), &said);
        }
        while let Some(work) = pass.current() {
            let mut delivered = match source.parked.blocking_run(&source.runs, work.run) {
                None => self.deliver_run_batch(source, work, WorkOrigin::New).await,
                Some(run) => Err(StuckReason::BehindRun(run).into()),
            };
            // The store's file was removed: the run is looked up or created in the new file and continues
            // there.
            if let Err(Obstacle::Stuck(StuckReason::Missing(_))) = &delivered
                && self.store.absence_is_final()
                && self
                    .relocate_run(source, work.run, Duration::ZERO)
                    .await
                    .is_ok()
            {
                delivered = self.deliver_run_batch(source, work, WorkOrigin::New).await;
            }
            match delivered {
                Ok(()) => pass.finish_current(),
                Err(Obstacle::Stuck(stuck)) => {
                    self.park(source, work, stuck, oldest_ms);
                    pass.discard_current();
                }
                Err(Obstacle::Halt(halt)) => return Err(halt),
            }
            if is_interrupted() {
                return Ok(pass.current().is_none());
            }
        }
        Ok(true)
    }

    /// Parks what is left of a run's batch, or blocks it in its segments if it cannot be copied.
    fn park(
        &mut self,
        source: &mut JournalReader,
        work: &mut RunBatch,
        stuck: StuckReason,
        oldest_ms: Option<i64>,
    ) {
        self.settle_refused(source, work);
        self.warn_stuck(source, &stuck, 1);
        let (left, lost) = match source.park(work, stuck, oldest_ms) {
            Ok((records, lost)) => {
                self.count_lost(source, lost);
                (records, lost)
            }
            Err(error) => {
                self.warn_copy_failed(&error);
                let left = work
                    .entries
                    .saturating_sub(work.refused_count + work.deferred_count);
                source.block_in_place(work, left);
                (left, 0)
            }
        };
        let others = left + work.deferred_count + work.refused_count + lost;
        self.count_delivered(source, work.entries.saturating_sub(others));
    }

    /// Counts metrics of a parked run as lost because the quota for copies was exhausted. An orphaned journal
    /// has no such quota.
    fn count_lost(&self, source: &JournalReader, values: usize) {
        if values > 0 {
            self.stats.lost.add(values);
            source.count_dropped_copies(values);
        }
    }

    /// Delivers what is left of one run's batch: the run's creation, then params, tags and metrics, then
    /// artifacts, then the end.
    pub(in crate::shipper) async fn deliver_run_batch(
        &mut self,
        source: &mut JournalReader,
        work: &mut RunBatch,
        part: WorkOrigin,
    ) -> Result<(), Obstacle> {
        self.yield_store().await;
        if !source.is_live() && !work.is_checked {
            let torn = copy_check::refuse_torn(&mut work.artifacts);
            work.record_refused(torn);
        }
        let refused = work.take_invalid();
        work.record_refused(refused);
        let run = self.ensure_run(source, work.run).await?;
        self.find_last_steps(source, &run, work).await?;
        self.deliver_batches(source, &run, work, part).await?;
        self.deliver_artifacts(source, &run, work, part).await?;
        if let Some((status, end_time_ms)) = work.end {
            self.deliver_last_lines(source, work.run).await;
            let (role, is_live) = (source.runs.role(work.run), source.is_live());
            match self.end_run(&run, role, is_live, status, end_time_ms).await {
                Ok(()) => {}
                // The store will never accept this end, so the run is blocked with a warning and everything
                // else continues.
                Err(StoreError::Rejected { reason }) => {
                    return Err(StuckReason::Blocked(reason.to_string()).into());
                }
                Err(error) => return Err(self.classify_error(error).await),
            }
            // The check may halt the delivery, so it comes before the batch is finished: a finished batch is
            // not delivered again.
            self.check_for_duplicate(source, work.run).await?;
        }
        self.finish_work(source, work);
        Ok(())
    }

    /// Sets the step of points that are logged at the last step of their key.
    async fn find_last_steps(
        &mut self,
        source: &mut JournalReader,
        run: &StoredRun,
        work: &mut RunBatch,
    ) -> Result<(), Obstacle> {
        // Metrics that a dead process has delivered are not read again: only the store knows their steps.
        let has_more = !source.is_live() || source.runs.may_have_metrics(work.run);
        if work.has_last_steps() {
            let stored = if has_more {
                match self.store.last_steps(run).await {
                    Ok(steps) => steps,
                    // The store rejects the query: the steps known here must suffice, so that nothing is
                    // delayed.
                    Err(StoreError::Rejected { .. }) => HashMap::new(),
                    Err(error) => return Err(self.classify_error(error).await),
                }
            } else {
                HashMap::new()
            };
            let known = source.runs.get(work.run).map(|state| &state.steps_in_doubt);
            let found = work.find_last_steps(&stored, known, &source.noted_steps);
            source.note_steps(&found);
        }
        if !work.metrics.is_empty()
            && let Some(state) = source.runs.get_mut(work.run)
        {
            state.has_metrics = true;
        }
        Ok(())
    }

    fn warn_of_unknown(&mut self, source: &mut JournalReader, records: usize) {
        source.blocked_in_place += records;
        if records > 0 && self.warning_log.admit("unknown", "").is_some() {
            tracing::warn!(
                target: "mlflow", records,
                "a journal contains record types that this version of the library does not know; they are kept for a newer version, \
                 everything else is shipped"
            );
        }
    }

    /// Counts values that the store has accepted.
    pub(in crate::shipper) fn count_delivered(&self, source: &JournalReader, values: usize) {
        let delivered = if source.is_live() {
            &self.stats.delivered
        } else {
            &self.stats.delivered_from_orphans
        };
        delivered.add(values);
    }

    /// Updates the counts of blocked values and console logs in the statistics, if `source` is this process's
    /// journal.
    pub(in crate::shipper) fn update_blocked_counts(&self, source: &JournalReader) {
        if source.is_live() {
            self.stats.blocked.set(source.blocked_entries());
            self.stats.blocked_consoles.set(source.blocked_consoles());
        }
    }

    fn finish_work(&mut self, source: &mut JournalReader, work: &mut RunBatch) {
        self.settle_refused(source, work);
        let others = work.deferred_count + work.refused_count;
        self.count_delivered(source, work.entries.saturating_sub(others));
        if work.end.is_some()
            && let Some(state) = source.runs.get_mut(work.run)
        {
            state.has_ended = true;
        }
    }

    async fn deliver_batches(
        &mut self,
        source: &mut JournalReader,
        run: &StoredRun,
        work: &mut RunBatch,
        part: WorkOrigin,
    ) -> Result<(), Obstacle> {
        let largest = match part {
            WorkOrigin::New => usize::MAX,
            WorkOrigin::Parked { largest } => largest,
        };
        let largest = if source.is_live() {
            largest
        } else {
            largest.min(MAX_ORPHAN_BATCH)
        };
        if work.doubtful_count > 0 {
            // If the outage is not over, a further request would only make more metrics doubtful.
            self.store.ping().await.map_err(into_halt)?;
            self.separate_doubtful(source, work);
        }
        loop {
            let mut limits = source.batch_size(work.run).apply_to(self.store.limits());
            limits.total = limits.total.min(largest);
            let Some((batch, sent)) = work.next_batch(limits) else {
                return Ok(());
            };
            self.yield_store().await;
            match self.store.log_batch(run, &batch).await {
                Ok(()) => {
                    source.change_batch_size(work.run, AdaptiveBatchSize::grow);
                    self.contested_in_row = 0;
                }
                Err(error @ StoreError::Contested { .. })
                    if self.contested_in_row < MAX_CONTESTED_RETRIES =>
                {
                    self.contested_in_row += 1;
                    return Err(into_halt(error).into());
                }
                // A gateway rejects the size of the request. A single entry that is too large waits, because
                // the limit may be raised.
                Err(error @ StoreError::TooLarge { .. }) if split_batch(&batch).is_none() => {
                    return Err(self.classify_error(error).await);
                }
                Err(
                    StoreError::Rejected { reason }
                    | StoreError::Contested { reason }
                    | StoreError::TooLarge { reason },
                ) => {
                    self.contested_in_row = 0;
                    let refused = self.bisect(run, batch, reason.to_string()).await?;
                    work.record_refused(refused);
                }
                Err(error) => {
                    if matches!(error, StoreError::Unavailable { .. }) {
                        let points = batch.metrics.len();
                        if part == WorkOrigin::New && !self.store.absorbs_repeats() {
                            work.doubtful_count = work.doubtful_count.max(points);
                        }
                        source.change_batch_size(work.run, AdaptiveBatchSize::shrink);
                    }
                    let obstacle = self.classify_error(error).await;
                    if matches!(obstacle, Obstacle::Stuck(_)) {
                        self.separate_doubtful(source, work);
                    }
                    return Err(obstacle);
                }
            }
            work.sent = sent;
            self.has_progress = true;
        }
    }

    /// Moves metrics that the store may already have to a lane of their own, so that new ones go first.
    fn separate_doubtful(&mut self, source: &mut JournalReader, work: &mut RunBatch) {
        if work.doubtful_count == 0 {
            return;
        }
        if let Some(state) = source.runs.get_mut(work.run) {
            work.note_steps_in_doubt(&mut state.steps_in_doubt);
        }
        if let Err(error) = source.park_doubtful(work) {
            self.warn_copy_failed(&error);
        }
    }

    async fn deliver_artifacts(
        &mut self,
        source: &mut JournalReader,
        run: &StoredRun,
        work: &mut RunBatch,
        part: WorkOrigin,
    ) -> Result<(), Obstacle> {
        while let Some(artifact) = work.artifacts.get(work.sent.artifacts) {
            if source.deferred.is_store_unavailable() {
                break;
            }
            self.supersede(source, run, artifact);
            let stuck = match self.upload_artifact(run, artifact).await {
                Ok(None) => {
                    work.sent.artifacts += 1;
                    self.has_progress = true;
                    continue;
                }
                Ok(Some(reason)) => {
                    let artifact = work.artifacts.remove(work.sent.artifacts);
                    work.record_refused(vec![Rejection::artifact(artifact, reason)]);
                    continue;
                }
                Err(error) => self.classify_artifact_error(source, run, error).await?,
            };
            let artifact = work.artifacts.remove(work.sent.artifacts);
            self.defer(source, run, work, artifact, stuck, part);
        }
        for artifact in work.take_unsent_artifacts() {
            self.defer(source, run, work, artifact, None, part);
        }
        Ok(())
    }

    /// Uploads an artifact. Returns the reason if the store rejects it for good.
    pub(in crate::shipper) async fn upload_artifact(
        &self,
        run: &StoredRun,
        artifact: &Artifact,
    ) -> Result<Option<String>, StoreError> {
        let content = match &artifact.bytes {
            ArtifactBytes::Memory(bytes) => ArtifactContent::Bytes(Cow::Borrowed(bytes)),
            ArtifactBytes::File(file) => ArtifactContent::File(file),
        };
        match self.store.put_artifact(run, &artifact.path, content).await {
            Ok(()) => Ok(None),
            Err(StoreError::Rejected { reason }) => Ok(Some(reason.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Counts the entries of a batch that the store has rejected since the last call, and keeps them.
    fn settle_refused(&mut self, source: &mut JournalReader, work: &mut RunBatch) {
        let refused = std::mem::take(&mut work.unsettled_refusals);
        // The start of a run counts as one value, even if some of its params are rejected.
        let of_start = work.count_start_params(&refused);
        self.stats.rejected_start_params.add(of_start);
        work.refused_count += refused.len() - of_start;
        self.count_refused(source, refused.len() - of_start);
        self.keep_refused(source, work.run, refused);
    }

    /// Counts values that the store has rejected for good.
    pub(in crate::shipper) fn count_refused(&self, source: &JournalReader, values: usize) {
        let rejected = if source.is_live() {
            &self.stats.rejected
        } else {
            &self.stats.rejected_from_orphans
        };
        rejected.add(values);
    }

    /// Keeps entries that the store has rejected for good, and logs a warning, once for each key.
    pub(in crate::shipper) fn keep_refused(
        &mut self,
        source: &mut JournalReader,
        run: u32,
        refused: Vec<Rejection>,
    ) {
        if refused.is_empty() {
            return;
        }
        for one in &refused {
            let (kind, key) = one.kind_and_key();
            let reason = &one.reason;
            if source.is_live() {
                self.announcements.record_refusal(reason);
            }
            self.stats.record_refusal(RefusalKind::Rejected, || {
                format!("{kind} {key:?} is rejected for good: {reason}")
            });
            if let Some(end) = self.warning_log.admit(kind, key) {
                tracing::warn!(target: "mlflow", "{kind} {key:?} is rejected for good: {reason}{end}");
            }
        }
        let kept = source.keep_refused(run, refused);
        self.stats.rejected_kept.add(kept.entries);
        if let Some(error) = kept.fault
            && self.stats.record_keep_error(&error)
        {
            tracing::warn!(
                target: "mlflow", %error,
                "values that the store has rejected for good cannot be saved for mlflow::resend_rejected; they are only counted"
            );
        }
    }

    /// Warns, once for each reason, that a run or artifact waits by itself. A failing request is warned about
    /// only after [`WARN_AFTER`] failures: the first may be a connection that was closed meanwhile.
    pub(in crate::shipper) fn warn_stuck(
        &mut self,
        source: &JournalReader,
        stuck: &StuckReason,
        failures: u32,
    ) {
        match stuck {
            StuckReason::Blocked(reason) | StuckReason::Missing(reason) => {
                self.warn_blocked(source, reason);
            }
            StuckReason::Failing { reason, .. } => {
                self.stats.record_stuck_reason(reason);
                if failures >= WARN_AFTER
                    && let Some(end) = self.warning_log.admit("failing", reason)
                {
                    tracing::warn!(
                        target: "mlflow",
                        "the store fails for a single run or artifact, which is retried separately; everything else is delivered: {reason}{end}"
                    );
                }
            }
            StuckReason::RunNotCreated | StuckReason::BehindRun(_) => {}
        }
    }

    pub(in crate::shipper) fn warn_blocked(&mut self, source: &JournalReader, reason: &str) {
        if source.is_live() {
            self.announcements.record_refusal(reason);
        }
        self.stats.record_blocked(source.is_live(), reason);
        if let Some(end) = self.warning_log.admit("held", reason) {
            tracing::warn!(target: "mlflow", "the store accepts some values only after somebody acts; they stay in the journal: {reason}{end}");
        }
    }

    /// Warns that entries that wait by themselves could not be copied.
    pub(in crate::shipper) fn warn_copy_failed(&mut self, error: &std::io::Error) {
        if let Some(end) = self.warning_log.admit("in place", "") {
            tracing::warn!(
                target: "mlflow", %error,
                "values that the store does not accept now cannot be copied within the journal; they stay in it for the next tracked program{end}"
            );
        }
    }
}
