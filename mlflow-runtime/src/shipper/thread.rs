//! The shipper's thread: when to take the next step.
//!
//! Invariant: while nothing is logged it sleeps without a timer, from [`STAY_AWAKE`] after the last
//! value on, unless something waits: waking it costs the thread that logs some microseconds.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Settings;
use crate::config::destination::Destination;
use crate::journal::Journal;
use crate::journal::directory::Directory;
use crate::journal::wakeup::{DOZE, Sleeper};
use crate::os::hooks;
use crate::shipper::backoff::Backoff;
use crate::shipper::obstacle::Cause;
use crate::shipper::run_link::Links;
use crate::shipper::stats::{Connection, Stats};
use crate::shipper::{Control, Delivery, Halt, Shipper, Source, Step};
use crate::store::Store;
use crate::warnings::warn_user;

/// How long to let values gather before the next request.
const LINGER: Duration = Duration::from_millis(250);
/// How long after the last value it looks for the next one by itself.
const STAY_AWAKE: Duration = Duration::from_secs(5);
/// How long another thread needs to write down the start of a run.
const STALL: Duration = Duration::from_millis(1);
/// How long what waits by itself is left alone while somebody waits for a flush.
const SOON: Duration = Duration::from_millis(250);
/// The longest pause of a store that is away while somebody waits for a flush.
const WAITED_FOR: Duration = Duration::from_secs(1);
/// Failures in a row before a warning: one may be a connection that was closed meanwhile.
const WARN_AFTER: u32 = 2;
/// The same for a lock that others hold: about half a minute.
const WARN_AFTER_BUSY: u32 = 50;

/// Starts the thread.
pub(crate) fn spawn(
    settings: &Settings,
    journal: &Arc<Journal>,
    stats: &Arc<Stats>,
    control: &Arc<Control>,
    links: &Arc<Links>,
) {
    let worker = Worker::new(settings, journal, stats, control, links);
    let spawned = thread::Builder::new()
        .name("mlflow-shipper".to_owned())
        .spawn(move || worker.run());
    if let Err(error) = spawned {
        stats.set_connection(Connection::Away);
        control.fail(u64::MAX);
        tracing::warn!(target: "mlflow", %error, "no thread could be started; values stay in the journal until the next tracked program");
    }
}

/// The shipper's loop, and what it remembers from round to round.
pub(super) struct Worker {
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
    /// The last one for which all that waits by itself was tried again.
    tried: u64,
    /// The last one for which all consoles were sent.
    shown: u64,
    /// The last one for which the store did not take them.
    shown_in_vain: u64,
    /// Another destination, for which dead processes have left what is shipped, too.
    moved_from: Option<String>,
    /// When journals of dead processes that could not be finished are looked at again.
    sweep_due: Option<Instant>,
    sweep_backoff: Backoff,
}

impl Worker {
    pub(super) fn new(
        settings: &Settings,
        journal: &Arc<Journal>,
        stats: &Arc<Stats>,
        control: &Arc<Control>,
        links: &Arc<Links>,
    ) -> Self {
        Self {
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
            shown: 0,
            shown_in_vain: 0,
            moved_from: None,
            sweep_due: None,
            sweep_backoff: Backoff::default(),
        }
    }

    fn run(mut self) {
        // A store in a file that may not grow (`ulimit -f`) is one that is away.
        hooks::block_here(libc::SIGXFSZ);
        match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime.block_on(self.open_and_ship()),
            Err(error) => {
                tracing::warn!(target: "mlflow", %error, "no I/O driver could be started; values stay in the journal until the next tracked program");
                self.control.fail(u64::MAX);
            }
        }
    }

    async fn open_and_ship(&mut self) {
        match self.settings.destination.open(&self.settings) {
            Ok(store) => self.ship(store).await,
            Err(error) => {
                self.stats.set_trouble(Some(error.to_string()));
                // Of a tracking URI that cannot be used it was said when it was read.
                if !matches!(self.settings.destination, Destination::Unusable(_)) {
                    warn_user(format_args!(
                        "values stay in the journal until the next tracked program: {error}"
                    ));
                }
                self.stats.set_connection(Connection::Away);
                self.control.fail(u64::MAX);
            }
        }
    }

    /// Ships to `store`, without end.
    pub(super) async fn ship(&mut self, store: Box<dyn Store>) {
        let delivery = Delivery::new(store, Arc::clone(&self.stats), self.settings.quiet);
        let live = Source::live(Arc::clone(&self.journal), Arc::clone(&self.links));
        let mut shipper = Shipper::new(delivery, live);
        self.sweep(&mut shipper);
        let mut idle_since = None;
        loop {
            let ticket = self.control.asked();
            let (held, refused) = (self.stats.own_held(), self.stats.own_refused());
            shipper.delivery.announcements.refusals(held, refused);
            match self.round(&mut shipper, ticket).await {
                Ok(Step::More) => {
                    self.connected(&shipper);
                    // Others on this thread, the timers, get their turn.
                    tokio::task::yield_now().await;
                }
                Ok(Step::Delivered) => {
                    self.connected(&shipper);
                    self.pause(LINGER).await;
                }
                Ok(Step::Stalled) => tokio::time::sleep(STALL).await,
                // Nothing is missing but what waits by itself, and somebody waits for it, or has, until
                // a deadline passed.
                Ok(Step::Idle)
                    if (self.control.is_waited_for() || self.control.is_asked())
                        && shipper.has_waiting() =>
                {
                    tokio::time::sleep(SOON).await;
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
                        Cause::Away { .. } | Cause::Blocked => {
                            self.control.fail(ticket);
                            let is_waited_for = self.control.is_waited_for();
                            let longest = if is_waited_for { WAITED_FOR } else { delay };
                            self.pause(delay.min(longest)).await;
                        }
                    }
                }
            }
            idle_since = None;
        }
    }

    /// Looks for what dead processes left. The one that is being shipped is not found again.
    fn sweep(&mut self, shipper: &mut Shipper) {
        let own = self.journal.origin().destination.clone();
        let destinations = [self.moved_from.clone(), Some(own)];
        let roots = self.settings.journal_roots(&self.journal);
        let found = destinations.iter().flatten().flat_map(|destination| {
            let roots = roots.iter();
            roots.map(|root| Directory::left_behind(root, destination))
        });
        shipper.left_behind = found.collect();
        shipper.joining.clear();
        shipper.unfinished.clear();
        self.sweep_due = None;
    }

    /// This process's values first; while there are no more of them, those of dead ones.
    async fn round(&mut self, shipper: &mut Shipper, ticket: u64) -> Result<Step, Halt> {
        let now = Instant::now();
        let values = self.journal.values();
        let moved_from = self.control.moved_from();
        if moved_from != self.moved_from {
            self.moved_from = moved_from;
            self.sweep(shipper);
        }
        if ticket > self.tried {
            self.tried = ticket;
            shipper.hurry(now);
        } else if self.control.is_waited_for() {
            shipper.hurry(now + SOON);
        }
        let step = shipper.step().await?;
        let shipped = shipper.delivery.deliver_deferred(&mut shipper.live).await;
        shipper.count_held();
        shipped?;
        let nothing_waits = !shipper.has_waiting();
        let under_way = matches!(step, Step::More | Step::Stalled);
        let nothing_waits = self.consoles(shipper, ticket, !under_way).await && nothing_waits;
        if under_way {
            return Ok(step);
        }
        // What was read after the flush was asked for holds all that it is about, also where more
        // is logged meanwhile.
        let is_read = step == Step::Idle || shipper.fresh;
        let flushed = nothing_waits && is_read;
        // Children may have died meanwhile.
        if is_read && ticket > self.swept {
            self.swept = ticket;
            self.sweep(shipper);
        }
        if flushed {
            self.control.complete_own(ticket);
        } else if is_read && shipper.has_waiting() && shipper.is_hopeless() {
            self.control.fail(ticket);
        }
        // Which runs this process has decides what it may do for dead ones.
        self.begun |= step != Step::Idle;
        // One that was claimed for a flush is finished: others may have looked while it was ours.
        let has_dead = shipper.dead.is_some() || !shipper.unfinished.is_empty();
        if !self.begun && !self.control.is_asked() && !has_dead {
            return Ok(step);
        }
        if self.sweep_due.is_some_and(|due| due <= now) {
            self.sweep(shipper);
        }
        let (journal, control) = (&self.journal, &self.control);
        let is_interrupted = || journal.values() > values || control.asked() > ticket;
        let dead = shipper.step_dead(&is_interrupted).await?;
        if dead != Step::Idle {
            return Ok(dead);
        }
        self.plan_sweep(shipper);
        if flushed {
            self.control.complete_all(ticket);
        }
        Ok(step)
    }

    /// Has journals that could not be finished be looked at again.
    fn plan_sweep(&mut self, shipper: &Shipper) {
        if shipper.unfinished.is_empty() {
            self.sweep_backoff.reset();
        } else if self.sweep_due.is_none() {
            let delay = self.sweep_backoff.next(Cause::Blocked);
            self.sweep_due = Some(Instant::now() + delay);
        }
    }

    /// Sends what runs say in words: what is due, and for a flush, once, all of it when all else is
    /// delivered. Whether the flush finds nothing of it left.
    async fn consoles(&mut self, shipper: &mut Shipper, ticket: u64, all: bool) -> bool {
        let shown = ticket <= self.shown;
        let all = all && !shown;
        if shipper.live.consoles.is_failing() && (!all || ticket <= self.shown_in_vain) {
            return shown;
        }
        shipper.live.consoles.leaving = self.control.is_leaving();
        let sent = shipper.send_consoles(all).await;
        if all && sent {
            self.shown = ticket;
        } else if shipper.live.consoles.is_failing() {
            self.shown_in_vain = ticket;
            self.stats.retried.add(1);
            self.control.fail(ticket);
        }
        ticket <= self.shown
    }

    /// Waits, but not while somebody waits for a flush.
    async fn pause(&self, delay: Duration) {
        if self.control.is_asked() {
            return;
        }
        let _ = tokio::time::timeout(delay, self.journal.bell.heard()).await;
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
            let due = [
                shipper.live.deferred.due(),
                shipper.live.parked.due(),
                shipper.live.console_due(),
                self.sweep_due,
            ];
            match due.into_iter().flatten().min() {
                None => self.journal.bell.heard().await,
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, self.journal.bell.heard()).await;
                }
            }
        }
    }

    fn connected(&mut self, shipper: &Shipper) {
        self.stats.set_connection(Connection::Connected);
        self.stats.set_trouble(None);
        self.backoff.reset();
        self.there = true;
        if std::mem::take(&mut self.outage) {
            tracing::warn!(target: "mlflow", store = shipper.delivery.uri(), "the store is back; what waited is being shipped");
        }
    }

    fn failed(&mut self, shipper: &mut Shipper, halt: &Halt) -> Duration {
        self.stats.retried.add(1);
        self.stats.set_trouble(Some(halt.reason.clone()));
        // A store that takes a part of every round is there, however long the backlog is.
        if shipper.delivery.take_progress() {
            self.backoff.reset();
            self.there = true;
        }
        let delay = self.backoff.next(halt.cause);
        let failures = self.backoff.failures();
        let away = match halt.cause {
            Cause::Busy => false,
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
