//! The shipper: one background thread that brings the journal to the store.
//!
//! # Invariants
//!
//! 1. It acknowledges only what the store has accepted or will never accept.
//! 2. It never gives up: a store that is away is asked again, at growing intervals.
//!
//! # Operation
//!
//! [`Shipper::step`] reads a [`ReadBatch`](read::batch::ReadBatch) from a [`JournalReader`], delivers it and acknowledges it.
//! The thread repeats that; a fake calls it by hand. What fails while the store answers for others
//! waits by itself: a run is [parked](deliver::parked_runs), an artifact [deferred](deliver::deferred_artifacts). When
//! this process's journal is empty, those that dead processes left for the same destination are shipped
//! too. One that cannot be finished now is left, and the next one has its turn.
//! How it falls asleep without missing anything: [`thread`], [`wakeup`](crate::journal::wakeup).

mod backoff;
mod deliver;
mod flush;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_support;
#[cfg(test)]
mod image_tests;
mod obstacle;
#[cfg(test)]
mod rank_tests;
mod read;
#[cfg(test)]
mod recovery_tests;
pub(crate) mod run_link;
#[cfg(test)]
mod simulation;
pub(crate) mod stats;
#[cfg(test)]
mod tests;
mod thread;

use std::path::PathBuf;

use read::batch::ReadBatch;
use rustc_hash::FxHashMap;

pub(crate) use deliver::delivery::Delivery;
use deliver::delivery::MAX_ORPHAN_BATCH;
pub(crate) use flush::{FlushQueue, FlushScope, ORPHAN_TIMEOUT_DIVISOR};
pub(crate) use obstacle::Halt;
pub(crate) use read::source::JournalReader;
pub(crate) use thread::spawn_thread;

use crate::journal::directory::OrphanedJournals;
use crate::store::{StoreError, StoreInfo};

/// Moves values from journals to a store.
pub(crate) struct Shipper {
    delivery: Delivery,
    live: JournalReader,
    live_batch: ReadBatch,
    /// Whether the last step has read the journal anew.
    is_fresh: bool,
    /// What dead processes left and nobody has looked at yet.
    orphaned: Vec<OrphanedJournals>,
    /// Those of them whose runs others create.
    joined_orphans: Vec<OrphanedJournals>,
    /// The one of these that is being shipped.
    current_orphan: Option<JournalReader>,
    orphan_batch: ReadBatch,
    orphan_stage: OrphanStage,
    /// Journals of dead processes that could not be finished, and the values of each that are held.
    unfinished_orphans: FxHashMap<PathBuf, usize>,
}

/// What comes next for the journal of a dead process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrphanStage {
    /// Its entries are read and delivered, a pass at a time.
    Reading,
    /// Runs that wait by themselves are tried once more.
    Parked,
    /// What is in doubt goes out, a part at a time; then artifacts and consoles that wait.
    Doubtful,
    /// The runs that its process left open are closed.
    Closing,
}

/// What a step led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepOutcome {
    /// Something was delivered, and more is waiting.
    More,
    /// Something was delivered.
    Delivered,
    /// What comes next is on its way into the journal at this moment.
    Stalled,
    /// There was nothing to do.
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

    /// Returns whether the last step has read what was logged before it.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// What the store says of itself.
    pub(crate) async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.delivery.info().await
    }

    /// One pass over this process's journal.
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

    /// Tells how many values wait for a person.
    pub(crate) fn update_blocked_counts(&self) {
        self.delivery.update_blocked_counts(&self.live);
        let stats = self.delivery.stats();
        let held = self
            .unfinished_orphans
            .iter()
            .filter(|(_, held)| **held > 0);
        stats.set_blocked_in_orphans(
            self.unfinished_orphans.values().sum(),
            held.map(|(folder, _)| folder.clone()),
        );
    }

    /// Returns whether anything waits by itself, and not for a person.
    pub(crate) fn has_retryable(&self) -> bool {
        self.live.parked.has_retryable() || self.live.deferred.has_retryable()
    }

    /// Returns whether all that waits by itself has failed again and again.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.live.parked.is_hopeless() && self.live.deferred.is_hopeless()
    }

    /// Tries again what waits by itself, whatever its interval.
    pub(crate) fn retry_by(&mut self, at: tokio::time::Instant) {
        self.live.parked.retry_by(at);
        self.live.deferred.retry_by(at);
    }

    /// Sends what is sent after all else: artifacts that wait, and consoles. Returns whether nothing is
    /// left but what waits for a person.
    pub(crate) async fn send_deferred(&mut self) -> bool {
        let artifacts = self.delivery.deliver_deferred(&mut self.live).await;
        let consoles = self.send_consoles(true).await;
        self.update_blocked_counts();
        artifacts.is_ok() && consoles && !self.has_retryable()
    }

    /// Sends what runs say in words: all of it, or what is due. Whether nothing is left that had to be
    /// sent.
    pub(crate) async fn send_consoles(&mut self, all: bool) -> bool {
        let sent = self.delivery.deliver_consoles(&mut self.live, all).await;
        self.update_blocked_counts();
        sent
    }

    /// The next journal that was left behind. First those that create their runs: the others hold
    /// what they have for a run that is not there.
    fn next_orphan(&mut self) -> Option<JournalReader> {
        let live = &self.live.runs;
        let destination = self.live.destination();
        for found in &mut self.orphaned {
            while let Some(source) = found.next().map(JournalReader::for_orphan) {
                if source.runs.are_only_joined() {
                    let directory = source.into_directory();
                    self.joined_orphans
                        .extend(directory.map(|directory| found.defer(directory)));
                } else if !source.runs.are_led_by_live_rank0(live) {
                    return Some(source.with_destination(destination.clone()));
                }
            }
        }
        while let Some(mut found) = self.joined_orphans.pop() {
            if let Some(directory) = found.next() {
                return Some(
                    JournalReader::for_orphan(directory).with_destination(destination.clone()),
                );
            }
        }
        None
    }

    /// Goes on with a journal that was left behind, until something else is wanted first: this process's own
    /// values never wait for more than one run of a dead one, or one pass over what waits in it.
    async fn step_orphan(
        &mut self,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<StepOutcome, Halt> {
        if self.current_orphan.is_none() {
            self.current_orphan = self.next_orphan();
            let under_way = usize::from(self.current_orphan.is_some());
            self.delivery.stats().orphans_in_progress.set(under_way);
        }
        let Some(source) = &mut self.current_orphan else {
            return Ok(StepOutcome::Idle);
        };
        let delivery = &mut self.delivery;
        match self.orphan_stage {
            OrphanStage::Reading => {
                if self.orphan_batch.is_empty() {
                    // What is delivered is noted after each pass: a short program gets somewhere, too.
                    self.orphan_batch = source.read(delivery.read_budget().min(MAX_ORPHAN_BATCH));
                }
                let is_done = self.orphan_batch.is_empty();
                let pass = &mut self.orphan_batch;
                if delivery.deliver_until(source, pass, is_interrupted).await? {
                    source.acknowledge(&self.orphan_batch);
                    self.orphan_batch = ReadBatch::default();
                    if is_done {
                        self.orphan_stage = OrphanStage::Parked;
                    }
                }
            }
            OrphanStage::Parked => {
                // What has failed once, as a connection was closed, is tried once more, at once.
                source.parked.retry_by(tokio::time::Instant::now());
                delivery.deliver_parked(source).await?;
                self.orphan_stage = OrphanStage::Doubtful;
            }
            OrphanStage::Doubtful => {
                if !delivery.deliver_doubtful(source).await? {
                    // What is not taken now stays for later: there are others to ship.
                    let _ = delivery.deliver_deferred(source).await;
                    let _ = delivery.deliver_consoles(source, true).await;
                    self.orphan_stage = OrphanStage::Closing;
                }
            }
            OrphanStage::Closing => {
                if delivery
                    .close_open_runs(source, &self.live, is_interrupted)
                    .await?
                {
                    source.settle();
                    self.release_orphan();
                }
            }
        }
        Ok(StepOutcome::More)
    }

    /// Lets go of the journal that is being shipped. It is gone, unless something in it waits.
    fn release_orphan(&mut self) {
        if let Some(source) = self.current_orphan.take() {
            self.unfinished_orphans.extend(source.remove());
        }
        self.orphan_stage = OrphanStage::Reading;
        self.delivery.stats().orphans_in_progress.set(0);
        self.update_blocked_counts();
    }
}
