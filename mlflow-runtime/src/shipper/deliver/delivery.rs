//! Delivery of a [`ReadBatch`] to the store.
//!
//! # Invariants
//!
//! 1. A run is [created](crate::shipper::deliver::create_run) before anything is logged to it.
//! 2. After a [`Halt`] the batch can be delivered again: entries that the store has acknowledged are not sent
//!    again, entries of a request without an answer are sent again unchanged.
//! 3. Entries that the store rejects are taken out one by one, counted, kept in a folder of their own, and
//!    warned about once for each key. All other entries are delivered.
//! 4. While more than one request is in flight, nothing of a run overtakes its params and tags, and its end nothing of it.
//!    Only metrics of one run, which have no order, and [different runs](crate::shipper::deliver::concurrent_runs) go out
//!    at once.
//! 5. A run that fails while the store answers is [parked](crate::shipper::deliver::parked_runs), an artifact
//!    [deferred](crate::shipper::queue::deferred_artifacts). Neither stops anything else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::PointRate;
use crate::shipper::batch::{Artifact, ReadBatch, Rejection, RunBatch, split_batch};
use crate::shipper::batch_size::AdaptiveBatchSize;
use crate::shipper::concurrency::Concurrency;
use crate::shipper::deliver::artifact_uploads::UploadOutcome;
use crate::shipper::deliver::checkpoints::KnownCheckpoints;
use crate::shipper::deliver::concurrent_runs::ConcurrentOutcome;
use crate::shipper::deliver::copy_check;
use crate::shipper::deliver::datasets::LateDigests;
use crate::shipper::deliver::models::KnownModels;
use crate::shipper::deliver::run_groups::{Choice, GroupOutcome};
use crate::shipper::deliver::user_messages::Announcements;
use crate::shipper::failure_scope::{Halt, Obstacle, StuckReason, classify_error, into_halt};
use crate::shipper::read::journal_reader::JournalReader;
use crate::shipper::stats::{RefusalKind, Stats};
use crate::store::{BatchLimits, Store, StoreError, StoredRun};
use crate::warnings::{WarningLog, mask_credentials, warn_user};

/// Maximum number of consecutive retries of a batch for which the store reports that another client
/// interferes. After that the batch counts as rejected.
const MAX_CONTESTED_RETRIES_OF_BATCH: u32 = 20;
/// Number of consecutive failures of one run or artifact before a warning.
const STUCK_FAILURES_BEFORE_WARNING: u32 = 5;
/// Maximum number of entries in a batch from an orphaned journal: if this process is stopped in the middle of
/// a batch, other processes wait for the lock of the store's file.
const MAX_ORPHAN_BATCH: usize = 4096;

/// Maximum number of artifacts that are uploaded before their outcomes are settled: as many are repeated if the
/// process ends meanwhile.
const MAX_ARTIFACTS_PER_ROUND: usize = 256;

/// Origin of the entries of a [`RunBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shipper) enum WorkOrigin {
    /// Read from the journal for the first time.
    New,
    /// Read from a [lane](crate::shipper::queue::lane::Lane) of waiting entries, to be sent in
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
    pub(in crate::shipper) contested_in_row: u32,
    /// Number of requests with metrics of one run that are in flight.
    pub(in crate::shipper) metric_requests: Concurrency,
    /// Number of runs that are delivered at once.
    pub(in crate::shipper) run_requests: Concurrency,
    /// Rate above which points are left out of the metrics; `None` if all go to the store.
    pub(in crate::shipper) point_rate: Option<PointRate>,
    pub(in crate::shipper) late_digests: LateDigests,
    pub(in crate::shipper) models: KnownModels,
    pub(in crate::shipper) checkpoints: KnownCheckpoints,
}

impl Delivery {
    pub(crate) fn new(store: Box<dyn Store>, stats: Arc<Stats>, quiet: bool) -> Self {
        let concurrency = Concurrency::new(store.concurrent_requests());
        stats.concurrent_requests.set(concurrency.level());
        Self {
            store,
            stats,
            warning_log: WarningLog::default(),
            announcements: Announcements::new(quiet),
            has_progress: false,
            contested_in_row: 0,
            metric_requests: concurrency.clone(),
            run_requests: concurrency,
            point_rate: None,
            late_digests: LateDigests::default(),
            models: KnownModels::default(),
            checkpoints: KnownCheckpoints::default(),
        }
    }

    /// Sets the rate above which points are left out of the metrics.
    pub(crate) fn with_point_rate(mut self, rate: Option<PointRate>) -> Self {
        self.point_rate = rate;
        self
    }

    pub(in crate::shipper) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns the number of entries to read at once: ten full requests, or four for each that is in flight, at most 65 536.
    /// What was read is acknowledged as a whole, so that after a kill all of it may be sent once more.
    pub(in crate::shipper) fn read_budget(&self) -> usize {
        let requests = self.requests_at_once().saturating_mul(4).max(10);
        self.batch_entries().saturating_mul(requests).min(65_536)
    }

    /// Returns the number of entries of an orphaned journal to read at once.
    pub(in crate::shipper) fn orphan_read_budget(&self) -> usize {
        self.read_budget()
            .min(MAX_ORPHAN_BATCH * self.requests_at_once())
    }

    /// Shows in the statistics how many requests are in flight while many wait.
    pub(in crate::shipper) fn show_concurrency(&self) {
        self.stats.concurrent_requests.set(self.requests_at_once());
    }

    /// Returns the number of requests that are in flight while many wait.
    fn requests_at_once(&self) -> usize {
        self.metric_requests.level().max(self.run_requests.level())
    }

    /// Returns the limits of the next request of a run with this batch size.
    pub(in crate::shipper) fn request_limits(
        &self,
        reader: &JournalReader,
        batch_size: AdaptiveBatchSize,
    ) -> BatchLimits {
        let limits = batch_size.apply_to(self.store.limits());
        let most = if reader.is_live() {
            usize::MAX
        } else {
            MAX_ORPHAN_BATCH
        };
        BatchLimits {
            total: limits.total.min(most),
            ..limits
        }
    }

    /// Returns the number of entries that one request may hold.
    pub(in crate::shipper) fn batch_entries(&self) -> usize {
        self.store.limits().total
    }

    /// Leaves the store to other clients for as long as [`Store::gap`] demands.
    pub(in crate::shipper) async fn yield_store(&self) {
        let gap = self.store.gap();
        if !gap.is_zero() {
            tokio::time::sleep(gap).await;
        }
    }

    /// Returns true if something was completed since the last call. A completed part is not sent again.
    pub(in crate::shipper) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_progress)
    }

    pub(in crate::shipper) fn uri(&self) -> String {
        self.store.uri()
    }

    /// Returns the obstacle that an error amounts to, see [`classify_error`].
    pub(in crate::shipper) async fn classify_error(&self, error: StoreError) -> Obstacle {
        classify_error(&*self.store, error).await
    }

    /// Delivers what is left of `read_batch`. A run that cannot be delivered now is parked.
    pub(in crate::shipper) async fn deliver(
        &mut self,
        reader: &mut JournalReader,
        read_batch: &mut ReadBatch,
    ) -> Result<(), Halt> {
        self.deliver_until(reader, read_batch, &|| false).await?;
        Ok(())
    }

    /// Delivers the remaining runs of `read_batch`, at least one or one group, until `is_interrupted` returns true.
    /// Returns true if no run is left.
    pub(in crate::shipper) async fn deliver_until(
        &mut self,
        reader: &mut JournalReader,
        read_batch: &mut ReadBatch,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<bool, Halt> {
        self.warn_of_unknown(reader, std::mem::take(&mut read_batch.unknown_records));
        self.thin(reader, read_batch);
        let oldest_ms = read_batch.oldest_ms;
        let lost = reader.take_lost();
        self.stats.damaged.add(lost.records);
        self.stats.lost.add(lost.values);
        if let Some(said) = lost.unreadable_message {
            self.stats.record_blocked(reader.is_live(), &said);
        }
        let mut max_entries = self.store.max_group_entries();
        if !reader.is_live() {
            max_entries = max_entries.min(MAX_ORPHAN_BATCH);
        }
        let (mut max_runs, mut may_be_grouped) = (usize::MAX, max_entries > 0);
        let are_concurrent = max_entries == 0 && self.run_requests.is_adjustable();
        // Number of runs that have failed beside others, and are now delivered by themselves.
        let (mut alone, mut may_be_concurrent) = (0, are_concurrent);
        let mut choice = Choice::default();
        loop {
            if may_be_grouped {
                match self
                    .deliver_group(reader, read_batch, max_entries, max_runs)
                    .await?
                {
                    GroupOutcome::Delivered => {
                        max_runs = max_runs.saturating_mul(2);
                        if is_interrupted() {
                            return Ok(read_batch.current().is_none());
                        }
                        continue;
                    }
                    GroupOutcome::Refused(runs) => {
                        max_runs = runs / 2;
                        continue;
                    }
                    GroupOutcome::TooFew(found) => choice = found,
                }
            }
            if may_be_concurrent && alone == 0 {
                match self
                    .deliver_concurrently(reader, read_batch, is_interrupted)
                    .await?
                {
                    ConcurrentOutcome::Sent { failed } => {
                        alone = failed;
                        if alone == 0 && is_interrupted() {
                            return Ok(read_batch.current().is_none());
                        }
                        continue;
                    }
                    ConcurrentOutcome::TooFew(found) => choice = found,
                }
            }
            let Some(run_batch) = read_batch.current() else {
                return Ok(true);
            };
            if alone > 0 {
                alone -= 1;
            } else {
                may_be_concurrent = are_concurrent && choice.may_go_on_behind(run_batch.run);
            }
            may_be_grouped = max_entries > 0 && choice.may_go_on_behind(run_batch.run);
            // The run that a group was refused for is delivered now.
            max_runs = max_runs.saturating_mul(2).max(2);
            let mut delivered = match reader.parked.blocking_run(&reader.runs, run_batch.run) {
                None => {
                    self.deliver_run_batch(reader, run_batch, WorkOrigin::New)
                        .await
                }
                Some(run) => Err(StuckReason::BehindRun(run).into()),
            };
            // The store's file was removed: the run is looked up or created in the new file and continues
            // there.
            if let Err(Obstacle::Stuck(StuckReason::Missing(_))) = &delivered
                && self.store.absence_is_final()
                && self
                    .relocate_run(reader, run_batch.run, Duration::ZERO)
                    .await
                    .is_ok()
            {
                delivered = self
                    .deliver_run_batch(reader, run_batch, WorkOrigin::New)
                    .await;
            }
            match delivered {
                Ok(()) => read_batch.finish_current(),
                Err(Obstacle::Stuck(stuck)) => {
                    self.park(reader, run_batch, stuck, oldest_ms);
                    read_batch.discard_current();
                }
                Err(Obstacle::Halt(halt)) => return Err(halt),
            }
            if is_interrupted() {
                return Ok(read_batch.current().is_none());
            }
        }
    }

    /// Parks what is left of a run's batch, or blocks it in its segments if it cannot be copied.
    fn park(
        &mut self,
        reader: &mut JournalReader,
        run_batch: &mut RunBatch,
        stuck: StuckReason,
        oldest_ms: Option<i64>,
    ) {
        self.settle_refused(reader, run_batch);
        self.warn_stuck(reader, &stuck, 1);
        let (left, lost) = match reader.park(run_batch, stuck, oldest_ms) {
            Ok((records, lost)) => {
                self.count_lost(reader, lost);
                (records, lost)
            }
            Err(error) => {
                self.warn_copy_failed(&error);
                let left = run_batch
                    .entries
                    .saturating_sub(run_batch.refused_count + run_batch.deferred_count);
                reader.block_in_place(run_batch, left);
                (left, 0)
            }
        };
        let others = left + run_batch.deferred_count + run_batch.refused_count + lost;
        self.count_delivered(reader, run_batch.entries.saturating_sub(others));
    }

    /// Counts metrics of a parked run as lost because the quota for copies was exhausted. An orphaned journal
    /// has no such quota.
    fn count_lost(&self, reader: &JournalReader, values: usize) {
        if values > 0 {
            self.stats.lost.add(values);
            reader.count_dropped_copies(values);
        }
    }

    /// Delivers what is left of one run's batch: the run's creation, then params, tags and metrics, then
    /// artifacts, then the end.
    pub(in crate::shipper) async fn deliver_run_batch(
        &mut self,
        reader: &mut JournalReader,
        run_batch: &mut RunBatch,
        part: WorkOrigin,
    ) -> Result<(), Obstacle> {
        self.yield_store().await;
        if !reader.is_live() && !run_batch.is_checked {
            let torn = copy_check::refuse_torn(&mut run_batch.artifacts);
            self.models.note_incomplete(&torn);
            let number = run_batch.run;
            self.models.note_orphaned(number, &run_batch.artifacts);
            run_batch.record_refused(torn);
        }
        let refused = run_batch.take_invalid();
        run_batch.record_refused(refused);
        let run = self.ensure_run(reader, run_batch.run).await?;
        self.find_last_steps(reader, Some(&run), run_batch).await?;
        self.deliver_batches(reader, &run, run_batch, part).await?;
        self.deliver_artifacts(reader, &run, run_batch, part)
            .await?;
        if run_batch.end.is_some() || reader.thinned.is_full(run_batch.run) {
            self.write_points_files(reader, &run, run_batch.run).await?;
        }
        if let Some((status, end_time_ms)) = run_batch.end {
            self.deliver_last_lines(reader, run_batch.run).await;
            let (role, is_live) = (reader.runs.role(run_batch.run), reader.is_live());
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
            self.check_for_duplicate(reader, run_batch.run).await?;
        }
        self.finish_work(reader, run_batch);
        Ok(())
    }

    /// Sets the step of points that are logged at the last step of their key. `run` is `None` if the store does not have
    /// the run yet.
    pub(in crate::shipper) async fn find_last_steps(
        &mut self,
        reader: &mut JournalReader,
        run: Option<&StoredRun>,
        run_batch: &mut RunBatch,
    ) -> Result<(), Obstacle> {
        // Metrics that a dead process has delivered are not read again: only the store knows their steps.
        let has_more = !reader.is_live() || reader.runs.may_have_metrics(run_batch.run);
        if run_batch.has_last_steps() {
            let stored = match run.filter(|_| has_more) {
                Some(run) => match self.stored_last_steps(run).await {
                    Ok(steps) => steps,
                    Err(error) => return Err(self.classify_error(error).await),
                },
                None => HashMap::new(),
            };
            reader.choose_last_steps(run_batch, &stored);
        }
        reader.note_metrics(run_batch);
        Ok(())
    }

    /// Returns the greatest step of each key of a run in the store.
    pub(in crate::shipper) async fn stored_last_steps(
        &self,
        run: &StoredRun,
    ) -> Result<HashMap<String, i64>, StoreError> {
        match self.store.last_steps(run).await {
            // The store rejects the query: the steps known here must suffice, so that nothing is delayed.
            Err(StoreError::Rejected { .. }) => Ok(HashMap::new()),
            answer => answer,
        }
    }

    fn warn_of_unknown(&mut self, reader: &mut JournalReader, records: usize) {
        reader.blocked_in_place += records;
        if records > 0 && self.warning_log.admit("unknown", "").is_some() {
            tracing::warn!(
                target: "mlflow", records,
                "a journal contains record types that this version of the library does not know; they are kept for a newer version, \
                 everything else is shipped"
            );
        }
    }

    /// Counts values that the store has accepted.
    pub(in crate::shipper) fn count_delivered(&self, reader: &JournalReader, values: usize) {
        let delivered = if reader.is_live() {
            &self.stats.delivered
        } else {
            &self.stats.delivered_from_orphans
        };
        delivered.add(values);
    }

    /// Updates the counts of blocked values, console logs, and points that gather for a file in the statistics, if `reader`
    /// is this process's journal.
    pub(in crate::shipper) fn update_blocked_counts(&self, reader: &JournalReader) {
        if reader.is_live() {
            self.stats.blocked.set(reader.blocked_entries());
            self.stats.blocked_consoles.set(reader.blocked_consoles());
            self.stats.thinned_waiting.set(reader.gathering_points());
        }
    }

    pub(in crate::shipper) fn finish_work(
        &mut self,
        reader: &mut JournalReader,
        run_batch: &mut RunBatch,
    ) {
        self.settle_refused(reader, run_batch);
        let others = run_batch.deferred_count + run_batch.refused_count;
        self.count_delivered(reader, run_batch.entries.saturating_sub(others));
        if run_batch.end.is_some()
            && let Some(state) = reader.runs.get_mut(run_batch.run)
        {
            state.has_ended = true;
        }
    }

    /// Sends the params, tags and metrics of a batch that are not sent.
    pub(in crate::shipper) async fn deliver_batches(
        &mut self,
        reader: &mut JournalReader,
        run: &StoredRun,
        run_batch: &mut RunBatch,
        part: WorkOrigin,
    ) -> Result<(), Obstacle> {
        let largest = match part {
            WorkOrigin::New => usize::MAX,
            WorkOrigin::Parked { largest } => largest,
        };
        if run_batch.doubtful_count > 0 {
            // If the outage is not over, a further request would only make more metrics doubtful.
            self.store.ping().await.map_err(into_halt)?;
            self.separate_doubtful(reader, run_batch);
        }
        let are_concurrent = part == WorkOrigin::New && self.metric_requests.is_adjustable();
        // Number of requests that were refused beside others, and are now sent by themselves.
        let mut alone = 0_usize;
        loop {
            let batch_size = reader.batch_size(run_batch.run);
            let mut limits = self.request_limits(reader, batch_size);
            limits.total = limits.total.min(largest);
            if are_concurrent
                && alone == 0
                && run_batch.has_only_metrics_left()
                && run_batch.unsent_metrics().len() > limits.total.min(limits.metrics)
            {
                alone = self.send_metrics(reader, run, run_batch).await?;
                continue;
            }
            alone = alone.saturating_sub(1);
            let Some((batch, sent)) = run_batch.next_batch(limits) else {
                return Ok(());
            };
            self.yield_store().await;
            match self.store.log_batch(run, &batch).await {
                Ok(()) => {
                    reader.change_batch_size(run_batch.run, AdaptiveBatchSize::grow);
                    self.contested_in_row = 0;
                }
                Err(error @ StoreError::Contested { .. })
                    if self.contested_in_row < MAX_CONTESTED_RETRIES_OF_BATCH =>
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
                    run_batch.record_refused(refused);
                }
                Err(error) => {
                    if matches!(error, StoreError::Unavailable { .. }) {
                        let points = batch.metrics.len();
                        let is_doubtful = error.is_unanswered() && !self.store.absorbs_repeats();
                        if part == WorkOrigin::New && is_doubtful {
                            run_batch.doubtful_count = run_batch.doubtful_count.max(points);
                        }
                        reader.change_batch_size(run_batch.run, AdaptiveBatchSize::shrink);
                    }
                    let obstacle = self.classify_error(error).await;
                    if matches!(obstacle, Obstacle::Stuck(_)) {
                        self.separate_doubtful(reader, run_batch);
                    }
                    return Err(obstacle);
                }
            }
            run_batch.sent = sent;
            self.has_progress = true;
        }
    }

    /// Moves metrics that the store may already have to a lane of their own, so that new ones go first.
    pub(in crate::shipper) fn separate_doubtful(
        &mut self,
        reader: &mut JournalReader,
        run_batch: &mut RunBatch,
    ) {
        if run_batch.doubtful_count == 0 {
            return;
        }
        if let Some(state) = reader.runs.get_mut(run_batch.run) {
            run_batch.note_steps_in_doubt(&mut state.steps_in_doubt);
        }
        if let Err(error) = reader.park_doubtful(run_batch) {
            self.warn_copy_failed(&error);
        }
    }

    /// Uploads the artifacts that are not sent, in rounds of at most [`MAX_ARTIFACTS_PER_ROUND`].
    async fn deliver_artifacts(
        &mut self,
        reader: &mut JournalReader,
        run: &StoredRun,
        run_batch: &mut RunBatch,
        part: WorkOrigin,
    ) -> Result<(), Obstacle> {
        while !reader.deferred.is_store_unavailable() {
            let mut groups = run_batch.unsent_groups(MAX_ARTIFACTS_PER_ROUND);
            let is_behind = |group: &&[Artifact]| {
                group
                    .first()
                    .is_some_and(|first| reader.deferred.must_wait(&run.run_id, first))
            };
            match groups.iter().position(is_behind) {
                Some(0) => {
                    let count = groups.first().map_or(0, |group| group.len());
                    for artifact in run_batch.take_next_artifacts(count) {
                        self.defer(reader, run, run_batch, artifact, None, part);
                    }
                    continue;
                }
                Some(behind) => groups.truncate(behind),
                None => {}
            }
            if groups.is_empty() {
                break;
            }
            for artifact in groups.iter().copied().flatten() {
                self.supersede(reader, run, artifact);
            }
            let uploads: Vec<_> = groups.iter().map(|group| (run, *group)).collect();
            let outcomes = self.upload_artifacts(&uploads).await;
            self.settle_round(reader, run, run_batch, outcomes, part)?;
        }
        for artifact in run_batch.take_unsent_artifacts() {
            self.defer(reader, run, run_batch, artifact, None, part);
        }
        Ok(())
    }

    /// Settles the first unsent artifacts of a batch, in their order: of two with the same path, the later one
    /// supersedes the earlier, whether that was uploaded or deferred.
    fn settle_round(
        &mut self,
        reader: &mut JournalReader,
        run: &StoredRun,
        run_batch: &mut RunBatch,
        outcomes: Vec<Option<UploadOutcome>>,
        part: WorkOrigin,
    ) -> Result<(), Halt> {
        let mut round = run_batch.take_unsent_artifacts();
        let untried = round.split_off(outcomes.len().min(round.len()));
        let (mut unsent, mut unavailable, mut halted) = (Vec::new(), None, None);
        for (artifact, outcome) in round.into_iter().zip(outcomes) {
            match outcome {
                Some(UploadOutcome::Delivered) => {
                    self.supersede(reader, run, &artifact);
                    run_batch.push_sent_artifact(artifact);
                    self.has_progress = true;
                }
                Some(UploadOutcome::Rejected(reason)) => {
                    run_batch.record_refused(vec![Rejection::artifact(artifact, reason)]);
                }
                Some(UploadOutcome::Stuck(stuck)) => {
                    self.defer(reader, run, run_batch, artifact, Some(stuck), part);
                }
                Some(UploadOutcome::StoreUnavailable(reason)) => {
                    unavailable.get_or_insert(reason);
                    self.defer(reader, run, run_batch, artifact, None, part);
                }
                Some(UploadOutcome::Halted(halt)) => {
                    halted.get_or_insert(halt);
                    unsent.push(artifact);
                }
                None => unsent.push(artifact),
            }
        }
        unsent.extend(untried);
        run_batch.put_back_unsent_artifacts(unsent);
        if let Some(reason) = unavailable {
            reader.deferred.store_state.record_failure(&reason);
        }
        halted.map_or(Ok(()), Err)
    }

    /// Counts the entries of a batch that the store has rejected since the last call, and keeps them.
    fn settle_refused(&mut self, reader: &mut JournalReader, run_batch: &mut RunBatch) {
        let refused = std::mem::take(&mut run_batch.unsettled_refusals);
        // The start of a run counts as one value, even if some of its params are rejected.
        let of_start = run_batch.count_start_params(&refused);
        self.stats.rejected_start_params.add(of_start);
        run_batch.refused_count += refused.len() - of_start;
        self.count_refused(reader, refused.len() - of_start);
        self.keep_refused(reader, run_batch.run, refused);
    }

    /// Counts values that the store has rejected for good.
    pub(in crate::shipper) fn count_refused(&self, reader: &JournalReader, values: usize) {
        let rejected = if reader.is_live() {
            &self.stats.rejected
        } else {
            &self.stats.rejected_from_orphans
        };
        rejected.add(values);
    }

    /// Keeps entries that the store has rejected for good, and logs a warning, once for each key. Returns the number of
    /// entries that are kept.
    pub(in crate::shipper) fn keep_refused(
        &mut self,
        reader: &mut JournalReader,
        run: u32,
        refused: Vec<Rejection>,
    ) -> usize {
        if refused.is_empty() {
            return 0;
        }
        for one in &refused {
            let (kind, key) = one.kind_and_key();
            let reason = &one.reason;
            if reader.is_live() {
                self.announcements.record_refusal(reason);
            }
            let line = || format!("{kind} {key:?} is rejected for good: {reason}");
            self.stats.record_refusal(RefusalKind::Rejected, line);
            if let Some(end) = self.warning_log.admit(kind, key) {
                tracing::warn!(target: "mlflow", "{}{end}", mask_credentials(line()));
            }
        }
        let kept = reader.keep_refused(run, refused);
        self.stats.rejected_kept.add(kept.entries);
        if let Some(error) = kept.fault
            && self.stats.record_keep_error(&error)
        {
            warn_user(format_args!(
                "values that the store has rejected for good cannot be saved for mlflow::resend_rejected; they are only counted: {error}"
            ));
        }
        kept.entries
    }

    /// Warns, once for each reason, that a run or artifact waits by itself. A failing request is warned about
    /// only after [`STUCK_FAILURES_BEFORE_WARNING`] failures: the first may be a connection that was closed meanwhile.
    pub(in crate::shipper) fn warn_stuck(
        &mut self,
        reader: &JournalReader,
        stuck: &StuckReason,
        failures: u32,
    ) {
        match stuck {
            StuckReason::Blocked(reason) | StuckReason::Missing(reason) => {
                self.warn_blocked(reader, reason);
            }
            StuckReason::Failing { reason, .. } => {
                self.stats.record_stuck_reason(reason);
                if failures >= STUCK_FAILURES_BEFORE_WARNING
                    && let Some(end) = self.warning_log.admit("failing", reason)
                {
                    let reason = mask_credentials(reason.to_string());
                    tracing::warn!(
                        target: "mlflow",
                        "the store fails for a single run or artifact, which is retried separately; everything else is delivered: {reason}{end}"
                    );
                }
            }
            StuckReason::RunNotCreated | StuckReason::BehindRun(_) => {}
        }
    }

    pub(in crate::shipper) fn warn_blocked(&mut self, reader: &JournalReader, reason: &str) {
        if reader.is_live() {
            self.announcements.record_refusal(reason);
        }
        self.stats.record_blocked(reader.is_live(), reason);
        if let Some(end) = self.warning_log.admit("blocked", reason) {
            let reason = mask_credentials(reason.to_owned());
            tracing::warn!(target: "mlflow", "the store accepts some values only after somebody acts; they stay in the journal: {reason}{end}");
        }
    }

    /// Warns that entries that wait by themselves could not be copied.
    pub(in crate::shipper) fn warn_copy_failed(&mut self, error: &std::io::Error) {
        if let Some(end) = self.warning_log.admit("in place", "") {
            warn_user(format_args!(
                "values that the store does not accept now cannot be copied within the journal; they stay in it for the next tracked \
                 program{end}: {error}"
            ));
        }
    }
}
