//! The shipper's thread: when to take the next step.
//!
//! Invariant: while nothing is logged it sleeps without a timer, from [`IDLE_POLL_PERIOD`] after the last
//! value on, unless something waits: waking it costs the thread that logs some microseconds.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Settings;
use crate::config::destination::Destination;
use crate::journal::Journal;
use crate::journal::directory::Directory;
use crate::journal::wakeup::{STORE_BUFFER_DRAIN, Sleeper};
use crate::os::hooks;
use crate::shipper::backoff::Backoff;
use crate::shipper::obstacle::RetryReason;
use crate::shipper::run_link::RunLinks;
use crate::shipper::stats::{Connection, Stats};
use crate::shipper::{Delivery, FlushQueue, Halt, JournalReader, Shipper, StepOutcome};
use crate::store::Store;
use crate::warnings::warn_user;

/// How long to let values gather before the next request.
const BATCH_DELAY: Duration = Duration::from_millis(250);
/// How long after the last value it looks for the next one by itself.
const IDLE_POLL_PERIOD: Duration = Duration::from_secs(5);
/// How long another thread needs to write down the start of a run.
const STALL_DELAY: Duration = Duration::from_millis(1);
/// How long what waits by itself is left alone while somebody waits for a flush.
const FLUSH_RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// The longest pause of a store that is away while somebody waits for a flush.
const MAX_FLUSH_PAUSE: Duration = Duration::from_secs(1);
/// Failures in a row before a warning: one may be a connection that was closed meanwhile.
const WARN_AFTER: u32 = 2;
/// The same for a lock that others hold: about half a minute.
const WARN_AFTER_BUSY: u32 = 50;

/// Starts the thread.
pub(crate) fn spawn_thread(
    settings: &Settings,
    journal: &Arc<Journal>,
    stats: &Arc<Stats>,
    control: &Arc<FlushQueue>,
    links: &Arc<RunLinks>,
) {
    let worker = Worker::new(settings, journal, stats, control, links);
    let spawned = thread::Builder::new()
        .name("mlflow-shipper".to_owned())
        .spawn(move || worker.run());
    if let Err(error) = spawned {
        stats.set_connection(Connection::Unavailable);
        control.fail(u64::MAX);
        tracing::warn!(target: "mlflow", %error, "no thread could be started; values stay in the journal until the next tracked program");
    }
}

/// The shipper's loop, and what it remembers from round to round.
pub(super) struct Worker {
    settings: Settings,
    journal: Arc<Journal>,
    stats: Arc<Stats>,
    flush_queue: Arc<FlushQueue>,
    links: Arc<RunLinks>,
    backoff: Backoff,
    /// Whether a warning said that the store is away.
    is_outage_warned: bool,
    /// Whether anything was logged yet.
    has_logged: bool,
    /// Whether the store has done something, and has not failed for long since.
    is_store_available: bool,
    /// The last flush for which journals of dead processes were looked for.
    scanned_ticket: u64,
    /// The last one for which all that waits by itself was tried again.
    retried_ticket: u64,
    /// The last one for which all consoles were sent.
    consoles_sent_ticket: u64,
    /// The last one for which the store did not take them.
    consoles_failed_ticket: u64,
    /// Another destination, for which dead processes have left what is shipped, too.
    extra_destination: Option<String>,
    /// When journals of dead processes that could not be finished are looked at again.
    orphan_scan_due: Option<Instant>,
    orphan_scan_backoff: Backoff,
}

impl Worker {
    pub(super) fn new(
        settings: &Settings,
        journal: &Arc<Journal>,
        stats: &Arc<Stats>,
        control: &Arc<FlushQueue>,
        links: &Arc<RunLinks>,
    ) -> Self {
        Self {
            settings: settings.clone(),
            journal: Arc::clone(journal),
            stats: Arc::clone(stats),
            flush_queue: Arc::clone(control),
            links: Arc::clone(links),
            backoff: Backoff::default(),
            is_outage_warned: false,
            has_logged: false,
            is_store_available: false,
            scanned_ticket: 0,
            retried_ticket: 0,
            consoles_sent_ticket: 0,
            consoles_failed_ticket: 0,
            extra_destination: None,
            orphan_scan_due: None,
            orphan_scan_backoff: Backoff::default(),
        }
    }

    fn run(mut self) {
        // A store in a file that may not grow (`ulimit -f`) is one that is away.
        hooks::block_signal_on_thread(libc::SIGXFSZ);
        match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime.block_on(self.open_and_ship()),
            Err(error) => {
                tracing::warn!(target: "mlflow", %error, "no I/O driver could be started; values stay in the journal until the next tracked program");
                self.flush_queue.fail(u64::MAX);
            }
        }
    }

    async fn open_and_ship(&mut self) {
        match self.settings.destination.open_store(&self.settings) {
            Ok(store) => self.ship(store).await,
            Err(error) => {
                self.stats.set_store_error(Some(error.to_string()));
                // Of a tracking URI that cannot be used it was said when it was read.
                if !matches!(self.settings.destination, Destination::Unusable(_)) {
                    warn_user(format_args!(
                        "values stay in the journal until the next tracked program: {error}"
                    ));
                }
                self.stats.set_connection(Connection::Unavailable);
                self.flush_queue.fail(u64::MAX);
            }
        }
    }

    /// Ships to `store`, without end.
    pub(super) async fn ship(&mut self, store: Box<dyn Store>) {
        let delivery = Delivery::new(store, Arc::clone(&self.stats), self.settings.quiet);
        let live = JournalReader::for_live(Arc::clone(&self.journal), Arc::clone(&self.links));
        let mut shipper = Shipper::new(delivery, live);
        self.scan_for_orphans(&mut shipper);
        let mut idle_since = None;
        loop {
            let ticket = self.flush_queue.latest_ticket();
            let (held, refused) = (self.stats.own_blocked(), self.stats.own_refused());
            shipper
                .delivery
                .announcements
                .report_refusals(held, refused);
            match self.run_round(&mut shipper, ticket).await {
                Ok(StepOutcome::More) => {
                    self.record_success(&shipper);
                    // Others on this thread, the timers, get their turn.
                    tokio::task::yield_now().await;
                }
                Ok(StepOutcome::Delivered) => {
                    self.record_success(&shipper);
                    self.pause(BATCH_DELAY).await;
                }
                Ok(StepOutcome::Stalled) => tokio::time::sleep(STALL_DELAY).await,
                // Nothing is missing but what waits by itself, and somebody waits for it, or has, until
                // a deadline passed.
                Ok(StepOutcome::Idle)
                    if (self.flush_queue.has_waiters() || self.flush_queue.has_pending())
                        && shipper.has_retryable() =>
                {
                    tokio::time::sleep(FLUSH_RETRY_INTERVAL).await;
                }
                Ok(StepOutcome::Idle) => {
                    let since = *idle_since.get_or_insert_with(Instant::now);
                    if since.elapsed() < IDLE_POLL_PERIOD {
                        self.pause(BATCH_DELAY).await;
                        continue;
                    }
                    self.sleep(&mut shipper).await;
                }
                Err(halt) => {
                    let delay = self.record_failure(&mut shipper, &halt);
                    match halt.cause {
                        // Whoever waits for a flush, and be it at the process's end, waits for the
                        // lock, too, and for a server that has too much to do for a moment.
                        RetryReason::Locked => tokio::time::sleep(delay).await,
                        RetryReason::Unavailable { .. }
                            if self.is_store_available && self.flush_queue.has_pending() =>
                        {
                            tokio::time::sleep(delay).await;
                        }
                        RetryReason::Unavailable { .. } | RetryReason::NeedsAction => {
                            self.flush_queue.fail(ticket);
                            let is_waited_for = self.flush_queue.has_waiters();
                            let longest = if is_waited_for {
                                MAX_FLUSH_PAUSE
                            } else {
                                delay
                            };
                            self.pause(delay.min(longest)).await;
                        }
                    }
                }
            }
            idle_since = None;
        }
    }

    /// Looks for what dead processes left. The one that is being shipped is not found again.
    fn scan_for_orphans(&mut self, shipper: &mut Shipper) {
        let own = self.journal.origin().destination.clone();
        let destinations = [self.extra_destination.clone(), Some(own)];
        let roots = self.settings.journal_roots(&self.journal);
        let found = destinations.iter().flatten().flat_map(|destination| {
            let roots = roots.iter();
            roots.map(|root| Directory::find_orphaned(root, destination))
        });
        shipper.orphaned = found.collect();
        shipper.joined_orphans.clear();
        shipper.unfinished_orphans.clear();
        self.orphan_scan_due = None;
    }

    /// This process's values first; while there are no more of them, those of dead ones.
    async fn run_round(&mut self, shipper: &mut Shipper, ticket: u64) -> Result<StepOutcome, Halt> {
        let now = Instant::now();
        let values = self.journal.value_count();
        let moved_from = self.flush_queue.extra_destination();
        if moved_from != self.extra_destination {
            self.extra_destination = moved_from;
            self.scan_for_orphans(shipper);
        }
        if ticket > self.retried_ticket {
            self.retried_ticket = ticket;
            shipper.retry_by(now);
        } else if self.flush_queue.has_waiters() {
            shipper.retry_by(now + FLUSH_RETRY_INTERVAL);
        }
        let step = shipper.step().await?;
        let shipped = shipper.delivery.deliver_deferred(&mut shipper.live).await;
        shipper.update_blocked_counts();
        shipped?;
        let nothing_waits = !shipper.has_retryable();
        let under_way = matches!(step, StepOutcome::More | StepOutcome::Stalled);
        let nothing_waits =
            self.send_due_consoles(shipper, ticket, !under_way).await && nothing_waits;
        if under_way {
            return Ok(step);
        }
        // What was read after the flush was asked for holds all that it is about, also where more
        // is logged meanwhile.
        let is_read = step == StepOutcome::Idle || shipper.is_fresh;
        let flushed = nothing_waits && is_read;
        // Children may have died meanwhile.
        if is_read && ticket > self.scanned_ticket {
            self.scanned_ticket = ticket;
            self.scan_for_orphans(shipper);
        }
        if flushed {
            self.flush_queue.complete_own(ticket);
        } else if is_read && shipper.has_retryable() && shipper.is_hopeless() {
            self.flush_queue.fail(ticket);
        }
        // Which runs this process has decides what it may do for dead ones.
        self.has_logged |= step != StepOutcome::Idle;
        // One that was claimed for a flush is finished: others may have looked while it was ours.
        let has_dead = shipper.current_orphan.is_some() || !shipper.unfinished_orphans.is_empty();
        if !self.has_logged && !self.flush_queue.has_pending() && !has_dead {
            return Ok(step);
        }
        if self.orphan_scan_due.is_some_and(|due| due <= now) {
            self.scan_for_orphans(shipper);
        }
        let (journal, control) = (&self.journal, &self.flush_queue);
        let is_interrupted = || journal.value_count() > values || control.latest_ticket() > ticket;
        let dead = shipper.step_orphan(&is_interrupted).await?;
        if dead != StepOutcome::Idle {
            return Ok(dead);
        }
        self.schedule_orphan_scan(shipper);
        if flushed {
            self.flush_queue.complete_all(ticket);
        }
        Ok(step)
    }

    /// Has journals that could not be finished be looked at again.
    fn schedule_orphan_scan(&mut self, shipper: &Shipper) {
        if shipper.unfinished_orphans.is_empty() {
            self.orphan_scan_backoff.reset();
        } else if self.orphan_scan_due.is_none() {
            let delay = self
                .orphan_scan_backoff
                .next_delay(RetryReason::NeedsAction);
            self.orphan_scan_due = Some(Instant::now() + delay);
        }
    }

    /// Sends what runs say in words: what is due, and for a flush, once, all of it when all else is
    /// delivered. Whether the flush finds nothing of it left.
    async fn send_due_consoles(&mut self, shipper: &mut Shipper, ticket: u64, all: bool) -> bool {
        let shown = ticket <= self.consoles_sent_ticket;
        let all = all && !shown;
        if shipper.live.consoles.is_failing() && (!all || ticket <= self.consoles_failed_ticket) {
            return shown;
        }
        shipper.live.consoles.is_exiting = self.flush_queue.is_exiting();
        let sent = shipper.send_consoles(all).await;
        if all && sent {
            self.consoles_sent_ticket = ticket;
        } else if shipper.live.consoles.is_failing() {
            self.consoles_failed_ticket = ticket;
            self.stats.retried.add(1);
            self.flush_queue.fail(ticket);
        }
        ticket <= self.consoles_sent_ticket
    }

    /// Waits, but not while somebody waits for a flush.
    async fn pause(&self, delay: Duration) {
        if self.flush_queue.has_pending() {
            return;
        }
        let _ = tokio::time::timeout(delay, self.journal.wakeup.notified()).await;
    }

    /// Waits until something is logged or a flush is asked for.
    async fn sleep(&self, shipper: &mut Shipper) {
        if self.flush_queue.has_pending() {
            return;
        }
        self.journal.wakeup.set_asleep(Sleeper::Shipper);
        if tokio::time::timeout(STORE_BUFFER_DRAIN, self.journal.wakeup.notified())
            .await
            .is_ok()
        {
            return;
        }
        shipper.live_batch = shipper.live.read(shipper.delivery.read_budget());
        if shipper.live_batch.is_empty() && !self.flush_queue.has_pending() {
            let due = [
                shipper.live.deferred.next_try_at(),
                shipper.live.parked.next_try_at(),
                shipper.live.console_due(),
                self.orphan_scan_due,
            ];
            match due.into_iter().flatten().min() {
                None => self.journal.wakeup.notified().await,
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, self.journal.wakeup.notified()).await;
                }
            }
        }
    }

    fn record_success(&mut self, shipper: &Shipper) {
        self.stats.set_connection(Connection::Connected);
        self.stats.set_store_error(None);
        self.backoff.reset();
        self.is_store_available = true;
        if std::mem::take(&mut self.is_outage_warned) {
            tracing::warn!(target: "mlflow", store = shipper.delivery.uri(), "the store is back; what waited is being shipped");
        }
    }

    fn record_failure(&mut self, shipper: &mut Shipper, halt: &Halt) -> Duration {
        self.stats.retried.add(1);
        self.stats.set_store_error(Some(halt.reason.clone()));
        // A store that takes a part of every round is there, however long the backlog is.
        if shipper.delivery.take_progress() {
            self.backoff.reset();
            self.is_store_available = true;
        }
        let delay = self.backoff.next_delay(halt.cause);
        let failures = self.backoff.failures();
        let away = match halt.cause {
            RetryReason::Locked => false,
            RetryReason::Unavailable { .. } => failures > self.settings.max_retries,
            RetryReason::NeedsAction => true,
        };
        self.is_store_available &= !away;
        self.stats.set_connection(if away {
            Connection::Unavailable
        } else {
            Connection::Retrying
        });
        let warn = match halt.cause {
            RetryReason::Locked => failures >= WARN_AFTER_BUSY,
            // Who waits may be about to end the process: it has to hear of it now.
            RetryReason::Unavailable { .. } => {
                failures >= WARN_AFTER || self.flush_queue.has_pending()
            }
            RetryReason::NeedsAction => true,
        };
        if warn && !std::mem::replace(&mut self.is_outage_warned, true) {
            tracing::warn!(
                target: "mlflow", store = shipper.delivery.uri(), reason = halt.reason,
                "the store does not take values; they wait in the journal and are shipped when it does"
            );
        }
        delay
    }
}
