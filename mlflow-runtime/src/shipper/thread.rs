//! Thread of the shipper: the loop that decides when the next step is taken.
//!
//! Invariant: while nothing is logged and nothing waits, the thread sleeps without a timer. The sleep begins
//! [`IDLE_POLL_PERIOD`] after the last value. Waking a sleeping thread costs the thread that logs some
//! microseconds. Between the values of a busy program, the shipper's thread therefore polls instead of
//! sleeping.
//!
//! Each round takes one step of this process's journal, uploads the deferred artifacts and console logs that
//! are due, and completes the flushes that the round has satisfied. If this process has nothing left, the
//! round also takes one step of an orphaned journal. The result of the round determines how long the thread
//! pauses.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Settings;
use crate::config::destination::Destination;
use crate::journal::Journal;
use crate::journal::wakeup::{STORE_BUFFER_DRAIN, Sleeper};
use crate::os::{fork, hooks};
use crate::shipper::availability::{FailureContext, StoreAvailability};
use crate::shipper::failure_scope::RetryReason;
use crate::shipper::orphan_scan::OrphanScan;
use crate::shipper::run_link::RunLinks;
use crate::shipper::stats::{Connection, Stats};
use crate::shipper::{Delivery, FlushQueue, Halt, JournalReader, Shipper, StepOutcome};
use crate::store::Store;
use crate::warnings::warn_user;

/// Pause after a delivery, in which values gather for the next request.
const BATCH_DELAY: Duration = Duration::from_millis(250);
/// Time after the last value during which the thread polls for the next value.
const IDLE_POLL_PERIOD: Duration = Duration::from_secs(5);
/// Pause while another thread still writes an entry, such as the start of a run, that must be delivered
/// first.
const STALL_DELAY: Duration = Duration::from_millis(1);
/// Interval between the retries of parked runs and deferred artifacts while a thread waits for a flush.
const FLUSH_RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Longest pause during an outage while a thread waits for a flush.
const MAX_FLUSH_PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread, which starts the journal's sync thread: the caller, who is about to log its first value, pays for one
/// thread. If no thread can be started, all flushes fail at once and the values stay in the journal.
pub(crate) fn spawn_thread(
    settings: &Settings,
    journal: &Arc<Journal>,
    stats: &Arc<Stats>,
    flush_queue: &Arc<FlushQueue>,
    links: &Arc<RunLinks>,
) {
    let worker = Worker::new(settings, journal, stats, flush_queue, links);
    let spawned = thread::Builder::new()
        .name("mlflow-shipper".to_owned())
        .spawn(move || worker.run());
    if let Err(error) = spawned {
        journal.start_sync_thread();
        stats.set_connection(Connection::Unavailable);
        flush_queue.fail(u64::MAX);
        warn_user(format_args!(
            "the shipper's thread could not be started; values stay in the journal until the next tracked program ships them: {error}"
        ));
    }
}

/// State that the loop keeps from round to round.
pub(super) struct Worker {
    settings: Settings,
    journal: Arc<Journal>,
    stats: Arc<Stats>,
    flush_queue: Arc<FlushQueue>,
    links: Arc<RunLinks>,
    availability: StoreAvailability,
    orphan_scan: OrphanScan,
    console_flush: ConsoleFlush,
    /// Latest flush for which all parked runs and deferred artifacts were made due.
    retried_ticket: u64,
    /// Set once this process's journal had something to deliver.
    has_logged: bool,
}

/// Latest flushes for which the upload of all console logs succeeded, or failed.
#[derive(Default)]
struct ConsoleFlush {
    sent_ticket: u64,
    failed_ticket: u64,
}

impl Worker {
    pub(super) fn new(
        settings: &Settings,
        journal: &Arc<Journal>,
        stats: &Arc<Stats>,
        flush_queue: &Arc<FlushQueue>,
        links: &Arc<RunLinks>,
    ) -> Self {
        Self {
            settings: settings.clone(),
            journal: Arc::clone(journal),
            stats: Arc::clone(stats),
            flush_queue: Arc::clone(flush_queue),
            links: Arc::clone(links),
            availability: StoreAvailability::default(),
            orphan_scan: OrphanScan::default(),
            console_flush: ConsoleFlush::default(),
            retried_ticket: 0,
            has_logged: false,
        }
    }

    fn run(mut self) {
        self.journal.start_sync_thread();
        // `ulimit -f` must make a write to the store's file fail instead of ending the process.
        hooks::block_signal_on_thread(libc::SIGXFSZ);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        match fork::without_fork(|| builder.enable_all().build()) {
            Ok(runtime) => runtime.block_on(self.open_and_ship()),
            Err(error) => {
                warn_user(format_args!(
                    "the I/O driver of the shipper's thread could not be started; values stay in the journal until the next tracked \
                     program ships them: {error}"
                ));
                self.flush_queue.fail(u64::MAX);
            }
        }
    }

    async fn open_and_ship(&mut self) {
        match self.settings.destination.open_store(&self.settings) {
            Ok(store) => self.ship(store).await,
            Err(error) => {
                self.stats.set_store_error(Some(error.to_string()));
                // A warning about an unusable tracking URI was logged when the URI was read.
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

    /// Ships to `store` until the process ends.
    pub(super) async fn ship(&mut self, store: Box<dyn Store>) {
        let delivery = Delivery::new(store, Arc::clone(&self.stats), self.settings.quiet)
            .with_point_rate(self.settings.point_rate);
        let live = JournalReader::for_live(Arc::clone(&self.journal), Arc::clone(&self.links));
        let mut shipper = Shipper::new(delivery, live);
        self.orphan_scan
            .scan(&mut shipper, &self.settings, &self.journal);
        let mut idle_since = None;
        loop {
            let ticket = self.flush_queue.latest_ticket();
            let (blocked, refused) = (self.stats.own_blocked(), self.stats.own_refused());
            shipper
                .delivery
                .announcements
                .report_refusals(blocked, refused);
            let outcome = self.run_round(&mut shipper, ticket).await;
            if matches!(outcome, Ok(StepOutcome::More | StepOutcome::Delivered)) {
                self.availability
                    .record_success(&self.stats, &shipper.delivery);
            }
            match outcome {
                // Let the timers of this thread's runtime fire.
                Ok(StepOutcome::More) => tokio::task::yield_now().await,
                Ok(StepOutcome::Delivered) => self.pause(BATCH_DELAY).await,
                Ok(StepOutcome::Stalled) => tokio::time::sleep(STALL_DELAY).await,
                Ok(StepOutcome::Idle) if self.is_flush_blocked_by_retries(&shipper) => {
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
                Err(halt) => self.pause_after(&mut shipper, &halt, ticket).await,
            }
            idle_since = None;
        }
    }

    /// Returns true if a flush is waited for or pending, and parked runs or deferred artifacts are left to
    /// retry.
    fn is_flush_blocked_by_retries(&self, shipper: &Shipper) -> bool {
        let is_flush_open = self.flush_queue.has_waiters() || self.flush_queue.has_pending();
        is_flush_open && shipper.has_retryable()
    }

    /// Pauses after a failure of the whole delivery. The flush `ticket` fails, unless the store is expected
    /// to work again within a moment, because it is locked by another client, or because a server that was
    /// available is overloaded.
    async fn pause_after(&mut self, shipper: &mut Shipper, halt: &Halt, ticket: u64) {
        let made_progress = shipper.delivery.take_progress();
        let context = FailureContext {
            delivery: &shipper.delivery,
            max_retries: self.settings.max_retries,
            made_progress,
            is_flush_pending: self.flush_queue.has_pending(),
        };
        let delay = self
            .availability
            .record_failure(&self.stats, halt, &context);
        let is_momentary = match halt.cause {
            RetryReason::Locked => true,
            RetryReason::Unavailable { .. } => {
                self.availability.is_available() && self.flush_queue.has_pending()
            }
            RetryReason::NeedsAction => false,
        };
        if is_momentary {
            tokio::time::sleep(delay).await;
            return;
        }
        self.flush_queue.fail(ticket);
        self.pause(if self.flush_queue.has_waiters() {
            delay.min(MAX_FLUSH_PAUSE)
        } else {
            delay
        })
        .await;
    }

    /// Takes a step of this process's journal and, if that journal has nothing left, a step of an orphaned
    /// journal.
    async fn run_round(&mut self, shipper: &mut Shipper, ticket: u64) -> Result<StepOutcome, Halt> {
        let now = Instant::now();
        let values_at_start = self.journal.value_count();
        self.orphan_scan.set_extra_destination(
            self.flush_queue.extra_destination(),
            shipper,
            &self.settings,
            &self.journal,
        );
        self.make_retries_due(shipper, ticket, now);
        let is_exiting = self.flush_queue.is_exiting();
        let step = shipper.step().await?;
        let shipped = shipper.delivery.deliver_deferred(&mut shipper.live).await;
        shipper.update_blocked_counts();
        shipped?;
        let is_more_to_read = matches!(step, StepOutcome::More | StepOutcome::Stalled);
        let are_consoles_sent = self
            .send_due_consoles(shipper, ticket, !is_more_to_read)
            .await;
        if is_more_to_read {
            return Ok(step);
        }
        // A reading that began after the flush was requested contains all values of the flush, even if more
        // values are logged meanwhile.
        let is_read = step == StepOutcome::Idle || shipper.is_fresh;
        if is_exiting && is_read {
            shipper.finish_thinned_runs().await?;
        }
        let is_flushed = is_read && are_consoles_sent && !shipper.has_retryable();
        if is_read {
            self.orphan_scan
                .scan_for_flush(ticket, shipper, &self.settings, &self.journal);
        }
        if is_flushed {
            self.flush_queue.complete_own(ticket);
        } else if is_read && shipper.has_retryable() && shipper.is_hopeless() {
            self.flush_queue.fail(ticket);
        }
        self.has_logged |= step != StepOutcome::Idle;
        if !self.may_ship_orphans(shipper) {
            return Ok(step);
        }
        let orphan_step = self
            .step_orphan(shipper, now, values_at_start, ticket)
            .await?;
        if orphan_step != StepOutcome::Idle {
            return Ok(orphan_step);
        }
        self.orphan_scan.schedule_next(shipper);
        if is_flushed {
            self.flush_queue.complete_all(ticket);
        }
        Ok(step)
    }

    /// Makes all parked runs and deferred artifacts due: at once for a new flush, and within
    /// [`FLUSH_RETRY_INTERVAL`] while a thread waits for a flush.
    fn make_retries_due(&mut self, shipper: &mut Shipper, ticket: u64, now: Instant) {
        if ticket > self.retried_ticket {
            self.retried_ticket = ticket;
            shipper.retry_by(now);
        } else if self.flush_queue.has_waiters() {
            shipper.retry_by(now + FLUSH_RETRY_INTERVAL);
        }
    }

    /// Returns true if this process has logged something, a flush is pending, or an orphaned journal was
    /// begun. The runs of a process decide which orphaned journals that process may ship. A journal that this
    /// process has locked must be finished, because other processes have skipped the journal.
    fn may_ship_orphans(&self, shipper: &Shipper) -> bool {
        let is_one_begun =
            shipper.current_orphan.is_some() || !shipper.unfinished_orphans.is_empty();
        self.has_logged || self.flush_queue.has_pending() || is_one_begun
    }

    /// Takes a step of an orphaned journal. The step stops early if this process has logged something since
    /// the round began, or if another flush was requested since then.
    async fn step_orphan(
        &mut self,
        shipper: &mut Shipper,
        now: Instant,
        values_at_start: u64,
        ticket: u64,
    ) -> Result<StepOutcome, Halt> {
        self.orphan_scan
            .scan_if_due(now, shipper, &self.settings, &self.journal);
        let (journal, flush_queue) = (&self.journal, &self.flush_queue);
        let is_interrupted =
            || journal.value_count() > values_at_start || flush_queue.latest_ticket() > ticket;
        shipper.step_orphan(&is_interrupted).await
    }

    /// Uploads the console logs that are due. For a new flush, uploads all console logs, once everything else
    /// is delivered. Returns true if all console logs were uploaded for the flush.
    async fn send_due_consoles(
        &mut self,
        shipper: &mut Shipper,
        ticket: u64,
        is_all_else_delivered: bool,
    ) -> bool {
        let is_sent = ticket <= self.console_flush.sent_ticket;
        let all = is_all_else_delivered && !is_sent;
        let has_failed = ticket <= self.console_flush.failed_ticket;
        if shipper.live.consoles.is_failing() && (!all || has_failed) {
            return is_sent;
        }
        shipper.live.consoles.is_exiting = self.flush_queue.is_exiting();
        let is_complete = shipper.send_consoles(all).await;
        if all && is_complete {
            self.console_flush.sent_ticket = ticket;
        } else if shipper.live.consoles.is_failing() {
            self.console_flush.failed_ticket = ticket;
            self.stats.retried.add(1);
            self.flush_queue.fail(ticket);
        }
        ticket <= self.console_flush.sent_ticket
    }

    /// Waits until `delay` has passed or the thread is woken, but not at all while a flush is pending.
    async fn pause(&self, delay: Duration) {
        if self.flush_queue.has_pending() {
            return;
        }
        let _ = tokio::time::timeout(delay, self.journal.wakeup.notified()).await;
    }

    /// Waits, without polling, until something is logged, a flush is requested, or the next retry, console
    /// log or scan is due. Reads the journal once more before the wait: see
    /// [`wakeup`](crate::journal::wakeup).
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
                self.orphan_scan.due(),
            ];
            match due.into_iter().flatten().min() {
                None => self.journal.wakeup.notified().await,
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, self.journal.wakeup.notified()).await;
                }
            }
        }
    }
}
