//! The shipper: one background thread for each tracker, which uploads the journal to the store.
//!
//! Logging only appends to the [journal](crate::journal), and never waits for the network. The shipper reads
//! the journal while it grows, sends the entries to a [`Store`](crate::store::Store), and acknowledges what
//! the store has accepted, so that the segments can be deleted. It also ships *orphaned* journals: journals
//! whose processes have terminated before everything was delivered.
//!
//! # Invariants
//!
//! 1. The shipper acknowledges an entry only when the store has accepted it, or will never accept it, or when
//!    the entry has been copied to a segment where it waits. An entry that is lost is counted.
//! 2. The shipper never gives up: a store that is unavailable is tried again, at growing intervals.
//! 3. A failure that concerns one run, artifact or console log stops nothing else.
//! 4. The values of this process have priority: they never wait for more than one run of an orphaned journal, one group of
//!    its runs with the attempts to find its size, the runs of it that are in flight, or one try of what waits in it.
//! 5. What has an order arrives in that order, however many requests are in flight: a parent is created before its
//!    children, a run before its values, and its params, its tags and its end follow each other.
//!
//! # The loop
//!
//! [`spawn_thread`] starts the thread `mlflow-shipper`, whose loop is in [`thread`]. Each round calls
//! [`Shipper::step`], which does the following for this process's journal:
//!
//! 1. It reads a [`ReadBatch`] with a [`JournalReader`], unless the previous batch is not delivered yet.
//! 2. It tries the parked runs that are due.
//! 3. It delivers the batch with [`Delivery`], and acknowledges it.
//! 4. It tries one part of the metrics that an earlier, failed request may have delivered.
//!
//! The round then tries the deferred artifacts and the console logs that are due. If nothing more is to be
//! read, it continues with an orphaned journal. Between rounds the thread pauses for a moment, so that values
//! gather and share a request. A few seconds after the last value the thread sleeps without a timer, until
//! the next append or flush wakes it; [`thread`] and [`wakeup`](crate::journal::wakeup) explain why no value
//! is missed. A fake tracker has no thread: it calls [`Shipper::step`] on the calling thread.
//!
//! # Reading
//!
//! Each segment has a [`Cursor`](read::cursor::Cursor), which knows up to which offset the segment was read,
//! is delivered, and is acknowledged. The [record reader](read::records) decodes the records behind the
//! cursor and groups them by run: a [`ReadBatch`] holds one [`RunBatch`](batch::RunBatch) for each run.
//! A reading ends at a budget of entries and bytes, so a long backlog is never in memory as a whole. Every
//! thread writes segments of its own, so [`read::order`] decides in which order the segments are read where
//! the order matters. [`RunStates`](run_states::RunStates) holds what is known of each run: its
//! identity, its start, whether the store has it, and which of its tags and artifacts are the newest.
//!
//! # Delivery
//!
//! For each run of a batch, [`Delivery`] [creates or finds](deliver::create_run) the run in the store, sends
//! params, tags and metrics in requests as large as the store accepts, uploads the artifacts, and then
//! [ends](deliver::end_run) the run if the batch holds its end. A [`RunBatch`](batch::RunBatch) records
//! what was sent, so delivery continues there after an interruption.
//!
//! # Several requests at once
//!
//! To a store that [takes several requests](crate::store::Store::concurrent_requests), i.e. a server, requests that have no
//! order among themselves go out at once, each on a connection of its own. These are the [metrics of one
//! run](deliver::metric_requests), once its params and tags are there, and [runs of which a few requests take
//! everything](deliver::concurrent_runs). [`Concurrency`](concurrency::Concurrency) finds out how many bring something;
//! while there is little to send it is one. A [window](deliver::request_window) keeps that many in flight. After a failure
//! of the store nothing new begins, what is in flight is waited for, and the outcomes are settled one after the other. A request that
//! the store refuses, or a run that fails, is then sent by itself, so that each failure is dealt with in one place.
//!
//! A file or a database has one connection. [Groups of runs](deliver::run_groups) save transactions there.
//!
//! # What waits
//!
//! What cannot be delivered now waits in one of five queues:
//!
//! - A run that fails alone is *parked* with all its further entries: [`deliver::parked_runs`].
//! - Metrics which a failed request may have delivered are *doubtful*, and wait in a lane of their own in
//!   [`deliver::parked_runs`].
//! - An artifact that fails alone is *deferred*: [`deliver::deferred_artifacts`].
//! - Console logs are uploaded again and again while they grow: [`deliver::console_logs`].
//! - Points that are left out of the metrics, on request, gather until they are written to a file:
//!   [`queue::thinned_points`].
//!
//! Entries in all of them but the console logs are copied to [segments of their own](crate::journal::entry_log), so the
//! segments they were read from can be deleted. If such a copy fails, the original segment is kept. Copies of
//! metrics take space from the journal's quota; metrics for which none is left are dropped and counted as
//! lost.
//!
//! # Store errors
//!
//! [`failure_scope`] turns an error into an [`Obstacle`](failure_scope::Obstacle): a [`Halt`] stops the whole delivery,
//! and the batch is delivered again after a delay from [`backoff`]; `Stuck` lets one run or artifact wait
//! alone. To tell an outage from a failure of one request, the store is [pinged](crate::store::Store::ping).
//!
//! The [`StoreError`](crate::store::StoreError) decides:
//!
//! - `Unavailable`: halt if the ping fails too, else the run is parked or the artifact deferred. After a
//!   batch, the run's [batch size](batch_size) is halved. The metrics of a batch that was sent for
//!   the first time are doubtful from then on, unless the store absorbs repeats or has asked for a delay. Where
//!   several requests were in flight, only half as many are from then on, as after the next two.
//! - `Busy`: halt. The store is tried again after about 100 ms, without counting as unavailable.
//! - `Contested`: for a batch, halt as for `Busy`; a batch that has failed so 20 times in a row is treated as
//!   rejected. For anything else, the run is parked or the artifact deferred.
//! - `Rejected`: a batch is [bisected](deliver::bisect). The entries to blame are counted and [kept in a
//!   folder of their own](queue::rejected_entries); everything else is logged. A run whose creation or end is
//!   rejected is parked until a person acts.
//! - `TooLarge`: a batch is bisected until its parts fit. A single entry or artifact that is too large waits,
//!   as after `Unavailable`.
//! - `Missing`: the run is parked and looked up by its key. If it is gone for good (at once in a file, after
//!   a minute on a server), the process that created it creates it anew.
//! - `Blocked`, for one run: the run is parked or the artifact deferred until a person acts, and counted as
//!   blocked. It is still tried again at growing intervals.
//! - `Blocked`, for everything: halt if the ping fails too, else the run is parked or the artifact deferred.
//!
//! An error of a console log halts only the console logs.
//!
//! # Flush
//!
//! A thread that wants everything delivered takes a ticket from the [`FlushQueue`], wakes the shipper, and
//! waits. Parked runs and deferred artifacts are then tried at once, and all console logs after them. The
//! flush is complete when nothing is left but what is blocked until a person acts. It fails when the store is
//! unavailable, or when all that waits has failed again and again. The [`FlushScope`] determines if orphaned
//! journals are included, and if a failure or only the deadline ends the wait.
//!
//! # Orphaned journals
//!
//! A living process holds a lock on the directory of its journal. A directory without a lock, for the same
//! destination, is orphaned; the shipper locks it, surveys all its segments, and ships it in the stages of
//! [`OrphanStage`]. Its batches are small, and delivery stops after any run if this process has logged
//! something meanwhile. Runs that the terminated process left open are closed as killed, unless another
//! process continues them. Then the directory is deleted. A journal in which something still waits is
//! released and tried again later, also by other processes, and the next journal has its turn. The shipper
//! looks for orphaned journals when it starts, for each flush, and, while some are unfinished, at growing
//! intervals. A process that has logged nothing ships none unless a flush has been requested.
//!
//! # Modules
//!
//! | module | content |
//! |---|---|
//! | [`thread`] | the loop of the thread: pauses, sleep, flushes |
//! | [`availability`] | the availability of the store, and the warnings of an outage |
//! | [`orphan_scan`] | the schedule of the scans for orphaned journals |
//! | [`batch`], [`run_states`], [`journal_owner`] | the entries that were read, the state of each run, the owner of a journal |
//! | [`batch_size`], [`concurrency`] | the size of a request that the store manages, and the number of requests at once |
//! | [`chosen_steps`] | steps chosen for points without a step |
//! | [`queue`] | the queues of what cannot be delivered now |
//! | [`read`] | from segments to batches: cursors, records, order, damaged files |
//! | [`deliver`] | from batches and queues to the store: runs, requests, artifacts, console logs |
//! | [`failure_scope`] | classification of store errors |
//! | [`backoff`] | delays between attempts |
//! | [`flush`] | the flushes that other threads wait for |
//! | [`run_link`] | the id and URL of a run, passed to its handles |
//! | [`stats`] | counters of what became of the values |
//! | `simulation` | tests of whole shippers with journals and a failing store, from a seed |
//! | `fuzz_support` | recovery of a journal given as bytes, for tests and fuzz targets |

mod availability;
mod backoff;
mod batch;
mod batch_size;
mod chosen_steps;
mod concurrency;
mod deliver;
mod failure_scope;
mod flush;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_support;
mod journal_owner;
mod orphan_scan;
#[cfg(test)]
mod power_loss_tests;
mod queue;
#[cfg(test)]
mod rank_tests;
mod read;
#[cfg(test)]
mod recovery_tests;
pub(crate) mod run_link;
mod run_states;
#[cfg(test)]
mod simulation;
pub(crate) mod stats;
#[cfg(test)]
mod tests;
mod thread;

use std::path::PathBuf;

use batch::ReadBatch;
use rustc_hash::FxHashMap;

pub(crate) use deliver::delivery::Delivery;
pub(crate) use failure_scope::Halt;
pub(crate) use flush::{FlushQueue, FlushScope, ORPHAN_TIMEOUT_DIVISOR};
pub(crate) use read::journal_reader::JournalReader;
pub(crate) use thread::spawn_thread;

use crate::journal::directory::OrphanedJournals;

/// Uploader of values from journals to one store.
pub(crate) struct Shipper {
    delivery: Delivery,
    /// Reader of this process's journal.
    live: JournalReader,
    /// Entries of `live` that were read and are not acknowledged yet.
    live_batch: ReadBatch,
    /// Set if the last step has read the journal, and not only delivered an earlier batch.
    is_fresh: bool,
    /// Orphaned journals that were found and not examined yet.
    orphaned: Vec<OrphanedJournals>,
    /// Orphaned journals that log to runs which other processes create: shipped after all others.
    joined_orphans: Vec<OrphanedJournals>,
    /// The orphaned journal that is being shipped.
    current_orphan: Option<JournalReader>,
    /// Entries of `current_orphan` that were read and are not acknowledged yet.
    orphan_batch: ReadBatch,
    orphan_stage: OrphanStage,
    /// Orphaned journals that could not be finished, by directory, with the number of blocked values of each.
    unfinished_orphans: FxHashMap<PathBuf, usize>,
}

/// Stage in the shipping of one orphaned journal, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrphanStage {
    /// Reading and delivery of the entries, a batch at a time.
    Reading,
    /// Second try of its parked runs.
    Parked,
    /// Delivery of its doubtful metrics, a part at a time; then of its deferred artifacts and console logs.
    Doubtful,
    /// Closing of the runs that its process left open.
    Closing,
}

/// Result of a step that was not halted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepOutcome {
    /// A batch was delivered or parked, and more can be read or sent at once.
    More,
    /// A batch was delivered or parked, and the journal was read to its end.
    Delivered,
    /// Nothing could be delivered: the next entry needs one that another thread is still writing.
    Stalled,
    /// Nothing was to be done.
    Idle,
}

impl Shipper {
    pub(crate) fn new(delivery: Delivery, live: JournalReader) -> Self {
        Self {
            delivery,
            live,
            live_batch: ReadBatch::default(),
            is_fresh: false,
            orphaned: Vec::new(),
            joined_orphans: Vec::new(),
            current_orphan: None,
            orphan_batch: ReadBatch::default(),
            orphan_stage: OrphanStage::Reading,
            unfinished_orphans: FxHashMap::default(),
        }
    }

    /// Returns true if the last step has read the journal, so that it has covered all that was logged before
    /// it unless more was left to read.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Reads one batch of this process's journal, delivers and acknowledges it. After a [`Halt`], the next
    /// call continues with the same batch.
    ///
    /// # Errors
    /// Fails if the whole delivery has to wait; nothing is lost.
    pub(crate) async fn step(&mut self) -> Result<StepOutcome, Halt> {
        self.is_fresh = self.live_batch.is_empty();
        if self.is_fresh {
            self.live_batch = self.live.read(self.delivery.read_budget());
            self.delivery
                .stats()
                .set_oldest_time_ms(self.live_batch.oldest_ms);
        }
        let step = match (self.live_batch.has_more, self.live_batch.is_empty()) {
            (true, false) => StepOutcome::More,
            (true, true) => StepOutcome::Stalled,
            (false, false) => StepOutcome::Delivered,
            (false, true) => StepOutcome::Idle,
        };
        let delivered = self.deliver_live().await;
        self.update_blocked_counts();
        delivered?;
        self.live.acknowledge(&self.live_batch);
        let oldest_ms = self.live.parked.oldest_ms();
        self.delivery.stats().set_oldest_time_ms(oldest_ms);
        self.live_batch = ReadBatch::default();
        let goes_on = self.delivery.deliver_doubtful(&mut self.live).await?;
        Ok(if goes_on { StepOutcome::More } else { step })
    }

    async fn deliver_live(&mut self) -> Result<(), Halt> {
        self.delivery.deliver_parked(&mut self.live).await?;
        self.delivery
            .deliver(&mut self.live, &mut self.live_batch)
            .await
    }

    /// Updates the counts of values that are blocked until a person acts, in this process's journal and in
    /// orphaned ones.
    pub(crate) fn update_blocked_counts(&self) {
        self.delivery.update_blocked_counts(&self.live);
        let stats = self.delivery.stats();
        let blocked = self
            .unfinished_orphans
            .iter()
            .filter(|(_, blocked)| **blocked > 0);
        stats.set_blocked_in_orphans(
            self.unfinished_orphans.values().sum(),
            blocked.map(|(folder, _)| folder.clone()),
        );
    }

    /// Returns true if a parked run or deferred artifact is worth another try without a person's action.
    pub(crate) fn has_retryable(&self) -> bool {
        self.live.parked.has_retryable() || self.live.deferred.has_retryable()
    }

    /// Returns true if all parked runs and deferred artifacts that are retried have failed again and again.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.live.parked.is_hopeless() && self.live.deferred.is_hopeless()
    }

    /// Makes every parked run and deferred artifact due by `at`, even if its delay is longer.
    pub(crate) fn retry_by(&mut self, at: tokio::time::Instant) {
        self.live.parked.retry_by(at);
        self.live.deferred.retry_by(at);
    }

    /// Writes files of the points that are left out of this process's open runs, as it is about to end.
    async fn finish_thinned_runs(&mut self) -> Result<(), Halt> {
        let finished = self.delivery.finish_thinned_runs(&mut self.live).await;
        self.update_blocked_counts();
        finished
    }

    /// Sends the deferred artifacts that are due and all console logs. Returns true if nothing is left but
    /// what is blocked until a person acts.
    pub(crate) async fn send_deferred(&mut self) -> bool {
        let artifacts = self.delivery.deliver_deferred(&mut self.live).await;
        let consoles = self.send_consoles(true).await;
        self.update_blocked_counts();
        artifacts.is_ok() && consoles && !self.has_retryable()
    }

    /// Uploads the console logs: all of them, or only those that are due. Returns true if nothing of these is
    /// left but what is blocked until a person acts.
    pub(crate) async fn send_consoles(&mut self, all: bool) -> bool {
        let sent = self.delivery.deliver_consoles(&mut self.live, all).await;
        self.update_blocked_counts();
        sent
    }

    /// Locks and returns the next orphaned journal. Journals that only join runs of other processes come
    /// last, as they have to wait while the run does not exist. A journal whose rank 0 led a run that this
    /// process has joined is skipped: see
    /// [`are_led_by_live_rank0`](run_states::RunStates::are_led_by_live_rank0).
    fn next_orphan(&mut self) -> Option<JournalReader> {
        let live = &self.live.runs;
        let destination = self.live.destination();
        let in_progress = &self.delivery.stats().orphans_in_progress;
        // The journal is locked from here on, so that nobody else finds it; to survey a large one takes seconds.
        let claim = |directory| {
            in_progress.set(1);
            JournalReader::for_orphan(directory)
        };
        for found in &mut self.orphaned {
            while let Some(reader) = found.next().map(claim) {
                if reader.runs.are_only_joined() {
                    let directory = reader.into_directory();
                    self.joined_orphans
                        .extend(directory.map(|directory| found.defer(directory)));
                } else if !reader.runs.are_led_by_live_rank0(live) {
                    return Some(reader.with_destination(destination.clone()));
                }
            }
        }
        while let Some(mut found) = self.joined_orphans.pop() {
            if let Some(directory) = found.next() {
                return Some(claim(directory).with_destination(destination.clone()));
            }
        }
        None
    }

    /// Continues with an orphaned journal until `is_interrupted` returns true. This process's own values
    /// never wait for more than one run of that journal, or one try of what waits in it.
    async fn step_orphan(
        &mut self,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<StepOutcome, Halt> {
        if self.current_orphan.is_none() {
            self.current_orphan = self.next_orphan();
            let under_way = usize::from(self.current_orphan.is_some());
            self.delivery.stats().orphans_in_progress.set(under_way);
        }
        let Some(reader) = &mut self.current_orphan else {
            return Ok(StepOutcome::Idle);
        };
        let delivery = &mut self.delivery;
        match self.orphan_stage {
            OrphanStage::Reading => {
                if self.orphan_batch.is_empty() {
                    // Small batches: each is acknowledged, so even a short program makes progress.
                    self.orphan_batch = reader.read(delivery.orphan_read_budget());
                }
                let is_done = self.orphan_batch.is_empty();
                let read_batch = &mut self.orphan_batch;
                if delivery
                    .deliver_until(reader, read_batch, is_interrupted)
                    .await?
                {
                    reader.acknowledge(&self.orphan_batch);
                    self.orphan_batch = ReadBatch::default();
                    if is_done {
                        self.orphan_stage = OrphanStage::Parked;
                    }
                }
            }
            OrphanStage::Parked => {
                // A run that failed once, e.g. as a connection was closed, is tried once more, at once.
                reader.parked.retry_by(tokio::time::Instant::now());
                delivery.deliver_parked(reader).await?;
                self.orphan_stage = OrphanStage::Doubtful;
            }
            OrphanStage::Doubtful => {
                if !delivery.deliver_doubtful(reader).await? {
                    delivery.finish_thinned_runs(reader).await?;
                    // An artifact or console log that fails now is left for later: other journals are
                    // waiting.
                    let _ = delivery.deliver_deferred(reader).await;
                    let _ = delivery.deliver_consoles(reader, true).await;
                    self.orphan_stage = OrphanStage::Closing;
                }
            }
            OrphanStage::Closing => {
                if delivery
                    .close_open_runs(reader, &self.live, is_interrupted)
                    .await?
                {
                    delivery.fail_unrecorded_models(reader).await?;
                    reader.settle();
                    self.release_orphan();
                }
            }
        }
        Ok(StepOutcome::More)
    }

    /// Releases the orphaned journal that is being shipped, and deletes it unless something in it still
    /// waits.
    fn release_orphan(&mut self) {
        if let Some(reader) = self.current_orphan.take() {
            self.unfinished_orphans.extend(reader.remove());
        }
        self.orphan_stage = OrphanStage::Reading;
        self.delivery.stats().orphans_in_progress.set(0);
        self.update_blocked_counts();
    }
}
