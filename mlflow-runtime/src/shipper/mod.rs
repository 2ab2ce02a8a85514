//! The shipper: one background thread that brings the journal to the store.
//!
//! # Invariants
//!
//! 1. It acknowledges only what the store has accepted or will never accept.
//! 2. It never gives up: a store that is away is asked again, at growing intervals.
//!
//! # Operation
//!
//! [`Shipper::step`] reads a [`Pass`](work::Pass) from a [`Source`], delivers it and acknowledges it.
//! The thread repeats that; a fake calls it by hand. A run that another process has still to create
//! keeps [its own work](awaited) back, and nothing else. When this process's journal is empty, those
//! that dead processes left for the same destination are shipped too.
//! How it falls asleep without missing anything: [`worker`], [`bell`](crate::journal::bell).

mod awaited;
mod backoff;
mod blame;
mod consoles;
mod control;
mod creation;
mod cursor;
mod damage;
mod delivery;
mod ending;
mod postponed;
#[cfg(test)]
mod rank_tests;
mod reading;
#[cfg(any(test, fuzzing))]
pub(crate) mod recovery;
#[cfg(test)]
mod recovery_tests;
mod runs;
mod share;
mod source;
#[cfg(test)]
mod tests;
mod work;
mod worker;

use work::Pass;

pub(crate) use control::{Control, Goal};
pub(crate) use delivery::{Delivery, Halt};
pub(crate) use source::Source;
pub(crate) use worker::spawn;

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
        }
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
        self.delivery.deliver_awaited(&mut self.live).await?;
        self.delivery
            .deliver(&mut self.live, &mut self.live_pass)
            .await?;
        self.live.acknowledge(&self.live_pass);
        let oldest_ms = self.live.awaited.oldest_ms();
        self.delivery.stats().set_oldest(oldest_ms);
        self.live_pass = Pass::default();
        Ok(step)
    }

    /// Sends what runs say in words: all of it, or what is due. Whether nothing is left that had to be
    /// sent.
    pub(crate) async fn send_consoles(&mut self, all: bool) -> bool {
        self.delivery.deliver_consoles(&mut self.live, all).await
    }

    /// The next journal that was left behind. First those that create their runs: the others hold
    /// what they have for a run that is not there.
    fn next_dead(&mut self) -> Option<Source> {
        let live = &self.live.runs;
        for found in &mut self.left_behind {
            while let Some(source) = found.next().map(Source::dead) {
                if source.runs.are_anothers() {
                    let directory = source.into_directory();
                    self.joining
                        .extend(directory.map(|directory| found.put_off(directory)));
                } else if !source.runs.are_led_for(live) {
                    return Some(source);
                }
            }
        }
        while let Some(mut found) = self.joining.pop() {
            if let Some(directory) = found.next() {
                return Some(Source::dead(directory));
            }
        }
        None
    }

    /// One pass over a journal that was left behind.
    async fn step_dead(&mut self) -> Result<Step, Halt> {
        if self.dead.is_none() {
            self.dead = self.next_dead();
        }
        let Some(source) = &mut self.dead else {
            return Ok(Step::Idle);
        };
        if self.dead_pass.is_empty() {
            self.dead_pass = source.read(self.delivery.budget());
        }
        let done = self.dead_pass.is_empty();
        self.delivery.deliver(source, &mut self.dead_pass).await?;
        source.acknowledge(&self.dead_pass);
        self.dead_pass = Pass::default();
        if done {
            // What is not taken now stays for the next process: this one has others to ship.
            let _ = self.delivery.deliver_postponed(source).await;
            let _ = self.delivery.deliver_consoles(source, true).await;
            self.delivery.close(source, &self.live).await?;
            if let Some(source) = self.dead.take() {
                source.remove();
            }
        }
        Ok(Step::More)
    }
}
