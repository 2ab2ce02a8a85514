//! Bringing a pass to the store.
//!
//! # Invariants
//!
//! 1. A run is [created](crate::shipper::deliver::create_run) before anything is logged to it.
//! 2. After a [`Halt`] the pass can be delivered again: what was done is not forgotten, what was
//!    under way is sent again with the same content.
//! 3. What the store refuses is taken out entry by entry, counted, kept in a folder of its own, and
//!    warned of once for each key; everything else goes through.
//! 4. A run that fails while the store answers is [parked](crate::shipper::deliver::parked_runs), an artifact
//!    [deferred](crate::shipper::deliver::deferred_artifacts): neither stops anything else.

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
use crate::shipper::stats::Stats;
use crate::store::{ArtifactContent, Store, StoreError, StoreInfo, StoredRun};
use crate::warnings::WarningLog;

/// How often in a row a batch is tried again as another client seems to be in the way. Then it is
/// taken for refused.
const MAX_CONTESTED_RETRIES: u32 = 20;
/// Failures in a row of one run or artifact before a warning.
const WARN_AFTER: u32 = 5;
/// The most entries of a batch of what a dead process left: while this process is stopped in the
/// middle of one, others wait for the lock of a file.
pub(in crate::shipper) const MAX_ORPHAN_BATCH: usize = 4096;

/// Where a work comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shipper) enum WorkOrigin {
    /// From the journal, for the first time.
    New,
    /// From a lane of what waits by itself, in batches of at most so many entries.
    Parked { largest: usize },
}

/// Brings values to one store.
pub(crate) struct Delivery {
    pub(in crate::shipper) store: Box<dyn Store>,
    stats: Arc<Stats>,
    pub(in crate::shipper) warning_log: WarningLog,
    pub(in crate::shipper) announcements: Announcements,
    /// Whether anything was done since it was last asked for.
    pub(in crate::shipper) has_progress: bool,
    /// How often in a row another client was in the way.
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

    /// How much to read at once.
    pub(in crate::shipper) fn read_budget(&self) -> usize {
        self.batch_entries().saturating_mul(10).min(65_536)
    }

    /// Returns how many entries one request may hold.
    pub(in crate::shipper) fn batch_entries(&self) -> usize {
        self.store.limits().total
    }

    /// Leaves the store to others, when it is time for that.
    async fn yield_store(&self) {
        let gap = self.store.gap();
        if !gap.is_zero() {
            tokio::time::sleep(gap).await;
        }
    }

    /// Whether the store has done something since the last call that will not be asked for again.
    pub(in crate::shipper) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_progress)
    }

    pub(in crate::shipper) async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.store.info().await
    }

    pub(in crate::shipper) fn uri(&self) -> String {
        self.store.uri()
    }

    /// Returns what is in the way, after an error: see [`classify_error`].
    pub(in crate::shipper) async fn classify_error(&self, error: StoreError) -> Obstacle {
        classify_error(&*self.store, error).await
    }

    /// Delivers what is left of `pass`. What cannot be delivered by itself is parked.
    pub(in crate::shipper) async fn deliver(
        &mut self,
        source: &mut JournalReader,
        pass: &mut ReadBatch,
    ) -> Result<(), Halt> {
        self.deliver_until(source, pass, &|| false).await?;
        Ok(())
    }

    /// Delivers runs of `pass`, one or more, until something else is wanted. Returns whether none is left.
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
            // A file that was removed: the run goes on in the new one.
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

    /// Has what is left of a run's work wait by itself.
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

    /// Counts metrics of a run that waits by itself for which there was no room. A dead journal has room
    /// for all of its own.
    fn count_lost(&self, source: &JournalReader, values: usize) {
        if values > 0 {
            self.stats.lost.add(values);
            source.count_dropped_copies(values);
        }
    }

    /// Delivers what is left of one run's work.
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
                // It will never end otherwise: it is known, and said, and all else goes on.
                Err(StoreError::Rejected { reason }) => {
                    return Err(StuckReason::Blocked(reason).into());
                }
                Err(error) => return Err(self.classify_error(error).await),
            }
            // First, as it may halt: what is done is not read again.
            self.check_for_duplicate(source, work.run).await?;
        }
        self.finish_work(source, work);
        Ok(())
    }

    /// Gives points that are to stand at the last step of their key that step.
    async fn find_last_steps(
        &mut self,
        source: &mut JournalReader,
        run: &StoredRun,
        work: &mut RunBatch,
    ) -> Result<(), Obstacle> {
        // What a dead process has delivered is not read again.
        let has_more = !source.is_live() || source.runs.may_have_metrics(work.run);
        if work.has_last_steps() {
            let stored = if has_more {
                match self.store.last_steps(run).await {
                    Ok(steps) => steps,
                    // What is known here has to do: nothing else waits for it.
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
                "a journal holds records of kinds that this version does not know; they stay for a newer one, \
                 everything else is shipped"
            );
        }
    }

    /// Counts values that the store has taken.
    pub(in crate::shipper) fn count_delivered(&self, source: &JournalReader, values: usize) {
        let delivered = if source.is_live() {
            &self.stats.delivered
        } else {
            &self.stats.delivered_from_orphans
        };
        delivered.add(values);
    }

    /// Tells how many values of this process's journal wait for a person.
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
            // The outage may not be over, and each try would add to what is doubtful.
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
                // A gateway refuses the size. One entry that is too large for it waits.
                Err(error @ StoreError::TooLarge { .. }) if split_batch(&batch).is_none() => {
                    return Err(self.classify_error(error).await);
                }
                Err(
                    StoreError::Rejected { reason }
                    | StoreError::Contested { reason }
                    | StoreError::TooLarge { reason },
                ) => {
                    self.contested_in_row = 0;
                    let refused = self.bisect(run, batch, reason).await?;
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

    /// Has metrics that the store may have wait by themselves: what is new goes first.
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

    /// Brings an artifact to the store, which may refuse it for good: then the reason is returned.
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
            Err(StoreError::Rejected { reason }) => Ok(Some(reason)),
            Err(error) => Err(error),
        }
    }

    /// Counts what the store has refused of a work, once, and keeps it.
    fn settle_refused(&mut self, source: &mut JournalReader, work: &mut RunBatch) {
        let refused = std::mem::take(&mut work.unsettled_refusals);
        // A start is one value, whatever became of its params.
        let of_start = work.count_start_params(&refused);
        self.stats.rejected_start_params.add(of_start);
        work.refused_count += refused.len() - of_start;
        self.count_refused(source, refused.len() - of_start);
        self.keep_refused(source, work.run, refused);
    }

    /// Counts values that the store has refused for good.
    pub(in crate::shipper) fn count_refused(&self, source: &JournalReader, values: usize) {
        let rejected = if source.is_live() {
            &self.stats.rejected
        } else {
            &self.stats.rejected_from_orphans
        };
        rejected.add(values);
    }

    /// Keeps what the store has refused for good, and says so.
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
            self.stats
                .record_refusal(|| format!("{kind} {key:?} is set aside: {reason}"));
            if let Some(end) = self.warning_log.admit(kind, key) {
                tracing::warn!(target: "mlflow", "{kind} {key:?} is set aside: {reason}{end}");
            }
        }
        let kept = source.keep_refused(run, refused);
        self.stats.rejected_kept.add(kept.entries);
        if let Some(error) = kept.fault
            && self.stats.record_keep_error(&error)
        {
            tracing::warn!(
                target: "mlflow", %error,
                "values that the store refuses for good cannot be kept; they are counted only"
            );
        }
    }

    /// Says once for each reason that something waits by itself, of what fails after some failures: one
    /// may be a connection that was closed meanwhile.
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
                        "the store fails for one run or artifact; it waits by itself and is tried again, everything else is shipped: {reason}{end}"
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
            tracing::warn!(target: "mlflow", "values stay in the journal: {reason}{end}");
        }
    }

    /// Says that what waits by itself could not be copied.
    pub(in crate::shipper) fn warn_copy_failed(&mut self, error: &std::io::Error) {
        if let Some(end) = self.warning_log.admit("in place", "") {
            tracing::warn!(
                target: "mlflow", %error,
                "values that wait by themselves cannot be copied; they stay where they are for the next tracked program{end}"
            );
        }
    }
}
