//! The shipper: one background thread that brings the journal to the store.
//!
//! # Invariants
//!
//! 1. It acknowledges only what the store has accepted or will never accept.
//! 2. While nothing is logged it sleeps without a timer, from [`STAY_AWAKE`] after the last value on:
//!    waking it costs the thread that logs some microseconds.
//! 3. It never gives up: a store that is away is asked again, at growing intervals.
//!
//! # Operation
//!
//! [`Shipper::step`] reads a [`Pass`](work::Pass) from a [`Source`], delivers it and acknowledges it.
//! The thread repeats that; a fake calls it by hand. A run that another process has still to create
//! keeps [its own work](awaited) back, and nothing else. When this process's journal is empty, those
//! that dead processes left for the same destination are shipped too.
//! How it falls asleep without missing anything: [`bell`](crate::journal::bell).

mod awaited;
mod backoff;
mod blame;
mod control;
mod creation;
mod cursor;
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

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use backoff::Backoff;
use delivery::Cause;
use work::Pass;

pub(crate) use control::{Control, Goal};
pub(crate) use delivery::{Delivery, Halt};
pub(crate) use source::Source;

use crate::config::Settings;
use crate::journal::bell::{DOZE, Sleeper};
use crate::journal::directory::{Directory, LeftBehind};
use crate::journal::{self, Journal};
use crate::stats::{Connection, Stats};
use crate::store::{StoreError, StoreInfo};
use crate::tracker::Links;

/// How long to let values gather before the next request.
const LINGER: Duration = Duration::from_millis(250);
/// How long after the last value it looks for the next one by itself.
const STAY_AWAKE: Duration = Duration::from_secs(5);
/// How long another thread needs to write down the start of a run.
const STALL: Duration = Duration::from_millis(1);
/// How long to wait for another process while somebody waits for a flush.
const SOON: Duration = Duration::from_millis(500);
/// Failures in a row before a warning: one may be a connection that was closed meanwhile.
const WARN_AFTER: u32 = 2;
/// The same for a lock that others hold: about half a minute.
const WARN_AFTER_BUSY: u32 = 50;

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
            self.delivery.close(source, &self.live).await?;
            if let Some(source) = self.dead.take() {
                source.remove();
            }
        }
        Ok(Step::More)
    }
}

/// Starts the thread.
pub(crate) fn spawn(
    settings: &Settings,
    journal: &Arc<Journal>,
    stats: &Arc<Stats>,
    control: &Arc<Control>,
    links: &Arc<Links>,
) {
    let worker = Worker {
        settings: settings.clone(),
        journal: Arc::clone(journal),
        stats: Arc::clone(stats),
        control: Arc::clone(control),
        links: Arc::clone(links),
        backoff: Backoff::default(),
        outage: false,
        begun: false,
        there: false,
        swept: 0,
        tried: 0,
    };
    let spawned = thread::Builder::new()
        .name("mlflow-shipper".to_owned())
        .spawn(move || worker.run());
    if let Err(error) = spawned {
        stats.set_connection(Connection::Away);
        control.fail(u64::MAX);
        tracing::warn!(target: "mlflow", %error, "no thread could be started; values stay in the journal until the next tracked program");
    }
}

struct Worker {
    settings: Settings,
    journal: Arc<Journal>,
    stats: Arc<Stats>,
    control: Arc<Control>,
    links: Arc<Links>,
    backoff: Backoff,
    /// Whether a warning said that the store is away.
    outage: bool,
    /// Whether anything was logged yet.
    begun: bool,
    /// Whether the store has done something, and has not failed for long since.
    there: bool,
    /// The last flush for which journals of dead processes were looked for.
    swept: u64,
    /// The last one for which artifacts that wait were tried again.
    tried: u64,
}

impl Worker {
    fn run(mut self) {
        // A store in a file that may not grow (`ulimit -f`) is one that is away.
        journal::block_here(libc::SIGXFSZ);
        match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime.block_on(self.ship()),
            Err(error) => {
                tracing::warn!(target: "mlflow", %error, "no I/O driver could be started; values stay in the journal until the next tracked program");
                self.control.fail(u64::MAX);
            }
        }
    }

    async fn ship(&mut self) {
        let store = match self.settings.destination.open(&self.settings) {
            Ok(store) => store,
            Err(error) => {
                tracing::warn!(target: "mlflow", %error, "values stay in the journal until the next tracked program");
                self.stats.set_connection(Connection::Away);
                self.control.fail(u64::MAX);
                return;
            }
        };
        let delivery = Delivery::new(store, Arc::clone(&self.stats), self.settings.quiet);
        let live = Source::live(Arc::clone(&self.journal), Arc::clone(&self.links));
        let mut shipper = Shipper::new(delivery, live);
        self.sweep(&mut shipper);
        let mut idle_since = None;
        loop {
            let ticket = self.control.asked();
            match self.round(&mut shipper, ticket).await {
                Ok(Step::More) => {
                    self.connected(&shipper);
                    tokio::time::sleep(shipper.delivery.gap()).await;
                }
                Ok(Step::Delivered) => {
                    self.connected(&shipper);
                    self.pause(LINGER).await;
                }
                Ok(Step::Stalled) => tokio::time::sleep(STALL).await,
                // Nothing is missing but runs of others, and somebody waits for them.
                Ok(Step::Idle)
                    if self.control.is_asked() && shipper.live.awaited.due().is_some() =>
                {
                    tokio::time::sleep(SOON).await;
                    shipper.live.awaited.hurry();
                }
                Ok(Step::Idle) => {
                    let since = *idle_since.get_or_insert_with(Instant::now);
                    if since.elapsed() < STAY_AWAKE {
                        self.pause(LINGER).await;
                        continue;
                    }
                    self.sleep(&mut shipper).await;
                }
                Err(halt) => {
                    let delay = self.failed(&mut shipper, &halt);
                    match halt.cause {
                        // Whoever waits for a flush, and be it at the process's end, waits for the
                        // lock, too, and for a server that has too much to do for a moment.
                        Cause::Busy => tokio::time::sleep(delay).await,
                        Cause::Away { .. } if self.there && self.control.is_asked() => {
                            tokio::time::sleep(delay).await;
                        }
                        Cause::Elsewhere => self.wait_for_others(delay).await,
                        Cause::Away { .. } | Cause::Blocked => {
                            self.control.fail(ticket);
                            self.pause(delay).await;
                        }
                    }
                }
            }
            idle_since = None;
        }
    }

    /// Looks for what dead processes left. The one that is being shipped is not found again.
    fn sweep(&self, shipper: &mut Shipper) {
        let destination = &self.journal.origin().destination;
        let mut roots = vec![self.settings.journal_dir.as_path()];
        // Where the configured one could not be written, as it may not have been for others.
        roots.extend(self.journal.root().filter(|root| *root != roots[0]));
        let found = roots
            .into_iter()
            .map(|root| Directory::left_behind(root, destination));
        shipper.left_behind = found.collect();
        shipper.joining.clear();
    }

    /// This process's values first; while there are no more of them, those of dead ones.
    async fn round(&mut self, shipper: &mut Shipper, ticket: u64) -> Result<Step, Halt> {
        let step = shipper.step().await?;
        let nothing_waits =
            self.artifacts(shipper, ticket).await && shipper.live.awaited.is_empty();
        if matches!(step, Step::More | Step::Stalled) {
            return Ok(step);
        }
        // What was read after the flush was asked for holds all that it is about, also where more
        // is logged meanwhile.
        let flushed = nothing_waits && (step == Step::Idle || shipper.fresh);
        if flushed {
            self.control.complete_own(ticket);
            // Children may have died meanwhile.
            if ticket > self.swept {
                self.swept = ticket;
                self.sweep(shipper);
            }
        }
        // Which runs this process has decides what it may do for dead ones.
        self.begun |= step != Step::Idle;
        if !self.begun && !self.control.is_asked() {
            return Ok(step);
        }
        let dead = shipper.step_dead().await?;
        if dead != Step::Idle {
            return Ok(dead);
        }
        if flushed {
            self.control.complete_all(ticket);
        }
        Ok(step)
    }

    /// Tries again what the store of the artifacts did not take; whether nothing waits for it.
    async fn artifacts(&mut self, shipper: &mut Shipper, ticket: u64) -> bool {
        let postponed = &shipper.live.postponed;
        if postponed.is_empty() {
            return true;
        }
        if ticket == self.tried && !postponed.is_due() {
            return false;
        }
        self.tried = ticket;
        match shipper.delivery.deliver_postponed(&mut shipper.live).await {
            Ok(()) => true,
            Err(_) => {
                self.stats.retried.add(1);
                self.control.fail(ticket);
                false
            }
        }
    }

    /// Waits, but not while somebody waits for a flush.
    async fn pause(&self, delay: Duration) {
        if self.control.is_asked() {
            return;
        }
        let _ = tokio::time::timeout(delay, self.journal.bell.heard()).await;
    }

    /// Waits for what another process has to do first; not for long while somebody waits for a flush.
    async fn wait_for_others(&self, delay: Duration) {
        let until = tokio::time::Instant::now() + delay;
        while !self.control.is_asked()
            && tokio::time::timeout_at(until, self.journal.bell.heard())
                .await
                .is_ok()
        {}
        if self.control.is_asked() {
            tokio::time::sleep(delay.min(SOON)).await;
        }
    }

    /// Waits until something is logged or a flush is asked for.
    async fn sleep(&self, shipper: &mut Shipper) {
        if self.control.is_asked() {
            return;
        }
        self.journal.bell.set_asleep(Sleeper::Shipper);
        if tokio::time::timeout(DOZE, self.journal.bell.heard())
            .await
            .is_ok()
        {
            return;
        }
        shipper.live_pass = shipper.live.read(shipper.delivery.budget());
        if shipper.live_pass.is_empty() && !self.control.is_asked() {
            let due = [shipper.live.postponed.due(), shipper.live.awaited.due()];
            match due.into_iter().flatten().min() {
                None => self.journal.bell.heard().await,
                Some(due) => {
                    let _ = tokio::time::timeout_at(due.into(), self.journal.bell.heard()).await;
                }
            }
        }
    }

    fn connected(&mut self, shipper: &Shipper) {
        self.stats.set_connection(Connection::Connected);
        self.backoff.reset();
        self.there = true;
        if std::mem::take(&mut self.outage) {
            tracing::warn!(target: "mlflow", store = shipper.delivery.uri(), "the store is back; what waited is being shipped");
        }
    }

    fn failed(&mut self, shipper: &mut Shipper, halt: &Halt) -> Duration {
        self.stats.retried.add(1);
        // A store that takes a part of every round is there, however long the backlog is.
        if shipper.delivery.take_progress() {
            self.backoff.reset();
            self.there = true;
        }
        let delay = self.backoff.next(halt.cause);
        let failures = self.backoff.failures();
        let away = match halt.cause {
            Cause::Busy | Cause::Elsewhere => false,
            Cause::Away { .. } => failures > self.settings.max_retries,
            Cause::Blocked => true,
        };
        self.there &= !away;
        self.stats.set_connection(if away {
            Connection::Away
        } else {
            Connection::Waiting
        });
        let warn = match halt.cause {
            Cause::Busy => failures >= WARN_AFTER_BUSY,
            Cause::Elsewhere => false,
            // Who waits may be about to end the process: it has to hear of it now.
            Cause::Away { .. } => failures >= WARN_AFTER || self.control.is_asked(),
            Cause::Blocked => true,
        };
        if warn && !std::mem::replace(&mut self.outage, true) {
            tracing::warn!(
                target: "mlflow", store = shipper.delivery.uri(), reason = halt.reason,
                "the store does not take values; they wait in the journal and are shipped when it does"
            );
        }
        delay
    }
}
