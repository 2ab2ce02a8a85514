//! The shipper: one background thread that brings the journal to the store.
//!
//! # Invariants
//!
//! 1. It acknowledges only what the store has accepted or will never accept.
//! 2. It never gives up: a store that is away is asked again, at growing intervals.
//!
//! # Operation
//!
//! [`Shipper::step`] reads a [`Pass`](read::batch::Pass) from a [`Source`], delivers it and acknowledges it.
//! The thread repeats that; a fake calls it by hand. What fails while the store answers for others
//! waits by itself: a run is [parked](deliver::parked_runs), an artifact [deferred](deliver::deferred_artifacts). When
//! this process's journal is empty, those that dead processes left for the same destination are shipped
//! too. One that cannot be finished now is left, and the next one has its turn.
//! How it falls asleep without missing anything: [`thread`], [`wakeup`](crate::journal::wakeup).

mod backoff;
mod deliver;
mod flush;
#[cfg(test)]
mod image_tests;
mod obstacle;
#[cfg(test)]
mod rank_tests;
mod read;
#[cfg(any(test, fuzzing))]
pub(crate) mod recovery;
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

use read::batch::Pass;
use rustc_hash::FxHashMap;

use deliver::delivery::DEAD_BATCH;
pub(crate) use deliver::delivery::Delivery;
pub(crate) use flush::{Control, Goal, PART_OF_DEAD};
pub(crate) use obstacle::Halt;
pub(crate) use read::source::Source;
pub(crate) use thread::spawn;

use crate::journal::directory::LeftBehind;
use crate::store::{StoreError, StoreInfo};

/// Moves values from journals to a store.
pub(crate) struct Shipper {
    delivery: Delivery,
    live: Source,
    live_pass: Pass,
    /// Whether the last step has read the journal anew.
    fresh: bool,
    /// What dead processes left and nobody has looked at yet.
    left_behind: Vec<LeftBehind>,
    /// Those of them whose runs others create.
    joining: Vec<LeftBehind>,
    /// The one of these that is being shipped.
    dead: Option<Source>,
    dead_pass: Pass,
    dead_stage: DeadStage,
    /// Journals of dead processes that could not be finished, and the values of each that are held.
    unfinished: FxHashMap<PathBuf, usize>,
}

/// What comes next for the journal of a dead process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeadStage {
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
pub(crate) enum Step {
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
    pub(crate) fn new(delivery: Delivery, live: Source) -> Self {
        Self {
            delivery,
            live,
            live_pass: Pass::default(),
            fresh: false,
            left_behind: Vec::new(),
            joining: Vec::new(),
            dead: None,
            dead_pass: Pass::default(),
            dead_stage: DeadStage::Reading,
            unfinished: FxHashMap::default(),
        }
    }

    /// Returns whether the last step has read what was logged before it.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// What the store says of itself.
    pub(crate) async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.delivery.info().await
    }

    /// One pass over this process's journal.
    pub(crate) async fn step(&mut self) -> Result<Step, Halt> {
        self.fresh = self.live_pass.is_empty();
        if self.fresh {
            self.live_pass = self.live.read(self.delivery.budget());
            self.delivery.stats().set_oldest(self.live_pass.oldest_ms);
        }
        let step = match (self.live_pass.more, self.live_pass.is_empty()) {
            (true, false) => Step::More,
            (true, true) => Step::Stalled,
            (false, false) => Step::Delivered,
            (false, true) => Step::Idle,
        };
        let delivered = self.deliver_live().await;
        self.count_held();
        delivered?;
        self.live.acknowledge(&self.live_pass);
        let oldest_ms = self.live.parked.oldest_ms();
        self.delivery.stats().set_oldest(oldest_ms);
        self.live_pass = Pass::default();
        let goes_on = self.delivery.deliver_doubtful(&mut self.live).await?;
        Ok(if goes_on { Step::More } else { step })
    }

    async fn deliver_live(&mut self) -> Result<(), Halt> {
        self.delivery.deliver_parked(&mut self.live).await?;
        self.delivery
            .deliver(&mut self.live, &mut self.live_pass)
            .await
    }

    /// Tells how many values wait for a person.
    pub(crate) fn count_held(&self) {
        self.delivery.count_held(&self.live);
        let stats = self.delivery.stats();
        let held = self.unfinished.iter().filter(|(_, held)| **held > 0);
        stats.set_held_of_dead(
            self.unfinished.values().sum(),
            held.map(|(folder, _)| folder.clone()),
        );
    }

    /// Returns whether anything waits by itself, and not for a person.
    pub(crate) fn has_waiting(&self) -> bool {
        self.live.parked.has_waiting() || self.live.deferred.has_waiting()
    }

    /// Returns whether all that waits by itself has failed again and again.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.live.parked.is_hopeless() && self.live.deferred.is_hopeless()
    }

    /// Tries again what waits by itself, whatever its interval.
    pub(crate) fn hurry(&mut self, at: tokio::time::Instant) {
        self.live.parked.hurry(at);
        self.live.deferred.hurry(at);
    }

    /// Sends what is sent after all else: artifacts that wait, and consoles. Returns whether nothing is
    /// left but what waits for a person.
    pub(crate) async fn send_waiting(&mut self) -> bool {
        let artifacts = self.delivery.deliver_deferred(&mut self.live).await;
        let consoles = self.send_consoles(true).await;
        self.count_held();
        artifacts.is_ok() && consoles && !self.has_waiting()
    }

    /// Sends what runs say in words: all of it, or what is due. Whether nothing is left that had to be
    /// sent.
    pub(crate) async fn send_consoles(&mut self, all: bool) -> bool {
        let sent = self.delivery.deliver_consoles(&mut self.live, all).await;
        self.count_held();
        sent
    }

    /// The next journal that was left behind. First those that create their runs: the others hold
    /// what they have for a run that is not there.
    fn next_dead(&mut self) -> Option<Source> {
        let live = &self.live.runs;
        let destination = self.live.destination();
        for found in &mut self.left_behind {
            while let Some(source) = found.next().map(Source::dead) {
                if source.runs.are_anothers() {
                    let directory = source.into_directory();
                    self.joining
                        .extend(directory.map(|directory| found.put_off(directory)));
                } else if !source.runs.are_led_for(live) {
                    return Some(source.sent_to(destination.clone()));
                }
            }
        }
        while let Some(mut found) = self.joining.pop() {
            if let Some(directory) = found.next() {
                return Some(Source::dead(directory).sent_to(destination.clone()));
            }
        }
        None
    }

    /// Goes on with a journal that was left behind, until something else is wanted first: this process's own
    /// values never wait for more than one run of a dead one, or one pass over what waits in it.
    async fn step_dead(&mut self, is_interrupted: &dyn Fn() -> bool) -> Result<Step, Halt> {
        if self.dead.is_none() {
            self.dead = self.next_dead();
            let under_way = usize::from(self.dead.is_some());
            self.delivery.stats().dead_under_way.set(under_way);
        }
        let Some(source) = &mut self.dead else {
            return Ok(Step::Idle);
        };
        let delivery = &mut self.delivery;
        match self.dead_stage {
            DeadStage::Reading => {
                if self.dead_pass.is_empty() {
                    // What is delivered is noted after each pass: a short program gets somewhere, too.
                    self.dead_pass = source.read(delivery.budget().min(DEAD_BATCH));
                }
                let is_done = self.dead_pass.is_empty();
                let pass = &mut self.dead_pass;
                if delivery.deliver_until(source, pass, is_interrupted).await? {
                    source.acknowledge(&self.dead_pass);
                    self.dead_pass = Pass::default();
                    if is_done {
                        self.dead_stage = DeadStage::Parked;
                    }
                }
            }
            DeadStage::Parked => {
                // What has failed once, as a connection was closed, is tried once more, at once.
                source.parked.hurry(tokio::time::Instant::now());
                delivery.deliver_parked(source).await?;
                self.dead_stage = DeadStage::Doubtful;
            }
            DeadStage::Doubtful => {
                if !delivery.deliver_doubtful(source).await? {
                    // What is not taken now stays for later: there are others to ship.
                    let _ = delivery.deliver_deferred(source).await;
                    let _ = delivery.deliver_consoles(source, true).await;
                    self.dead_stage = DeadStage::Closing;
                }
            }
            DeadStage::Closing => {
                if delivery.close(source, &self.live, is_interrupted).await? {
                    source.settle();
                    self.leave_dead();
                }
            }
        }
        Ok(Step::More)
    }

    /// Lets go of the journal that is being shipped. It is gone, unless something in it waits.
    fn leave_dead(&mut self) {
        if let Some(source) = self.dead.take() {
            self.unfinished.extend(source.remove());
        }
        self.dead_stage = DeadStage::Reading;
        self.delivery.stats().dead_under_way.set(0);
        self.count_held();
    }
}
