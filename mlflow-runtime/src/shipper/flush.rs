//! Flushes: requests of other threads to wait until the shipper has delivered everything.
//!
//! Each flush has a number, its *ticket*. Tickets grow, so completing or failing one does the same for all
//! earlier ones. A thread [requests](FlushQueue::request) a flush, wakes the shipper and
//! [waits](FlushQueue::wait); the shipper reads the [latest ticket](FlushQueue::latest_ticket) before it
//! reads the journal, and completes or fails that ticket afterwards.
//!
//! # Invariants
//!
//! 1. A flush is complete only if everything logged before its request is delivered, rejected or blocked.
//! 2. A wait never outlasts its deadline.
//! 3. The exit of a process waits for orphaned journals for a tenth of its timeout, and only when everything
//!    of its own is delivered: a thousand orphaned runs must not keep every short program from ending.

use crate::sync::{ignore_poison, lock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Flushes by ticket, shared by the shipper and the threads that wait for it.
#[derive(Default)]
pub(crate) struct FlushQueue {
    is_exiting: AtomicBool,
    tickets: Mutex<FlushTickets>,
    changed: Condvar,
    /// A second destination whose orphaned journals are shipped now, to the store of this process.
    extra_destination: Mutex<Option<String>>,
    /// Lock that is held while `extra_destination` is set: one at a time.
    extra_destination_lock: Mutex<()>,
}

#[derive(Default)]
struct FlushTickets {
    latest_requested: u64,
    /// Latest ticket for which everything that this process had logged is delivered.
    own_completed: u64,
    /// Latest ticket for which orphaned journals are delivered, too.
    all_completed: u64,
    /// Latest ticket that was requested before an attempt which failed.
    failed: u64,
    /// Threads that wait for a flush at this moment.
    waiter_count: usize,
}

/// Journals that a flush waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlushScope {
    /// Only the journal of this process. The wait lasts until the deadline, even if an attempt fails: a store
    /// that is unavailable may come back.
    Own,
    /// The journal of this process and orphaned ones. The wait ends when an attempt fails.
    All,
    /// As [`All`](Self::All), at the exit of the process, whose timeout this is. Orphaned journals may take a
    /// tenth of the timeout.
    Exit(Duration),
}

/// Divisor of the exit timeout that gives the time for orphaned journals.
pub(crate) const ORPHAN_TIMEOUT_DIVISOR: u32 = 10;

impl FlushQueue {
    /// Notes that the process is about to exit.
    pub(crate) fn begin_exit(&self) {
        self.is_exiting.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_exiting(&self) -> bool {
        self.is_exiting.load(Ordering::Relaxed)
    }

    /// Requests a flush and returns its ticket. The caller then has to wake the shipper, and to
    /// [`wait`](Self::wait).
    pub(crate) fn request(&self) -> u64 {
        let mut tickets = self.lock();
        tickets.latest_requested += 1;
        tickets.latest_requested
    }

    /// Waits until the flush `ticket` is complete. Returns false if the deadline passes first, or if an
    /// attempt made since the request has failed; with [`FlushScope::Own`] a failed attempt does not end the
    /// wait.
    pub(crate) fn wait(&self, ticket: u64, mut deadline: Instant, goal: FlushScope) -> bool {
        let mut own_is_done = false;
        let mut tickets = self.lock();
        tickets.waiter_count += 1;
        let flushed = loop {
            let done = match goal {
                FlushScope::Own => tickets.own_completed,
                FlushScope::All | FlushScope::Exit(_) => tickets.all_completed,
            };
            if done >= ticket {
                break true;
            }
            if let FlushScope::Exit(timeout) = goal
                && tickets.own_completed >= ticket
                && !std::mem::replace(&mut own_is_done, true)
            {
                let of_dead = Instant::now().checked_add(timeout / ORPHAN_TIMEOUT_DIVISOR);
                deadline = deadline.min(of_dead.unwrap_or(deadline));
            }
            let hopeless = goal != FlushScope::Own && tickets.failed >= ticket;
            let left = deadline.saturating_duration_since(Instant::now());
            if hopeless || left.is_zero() {
                break false;
            }
            tickets = ignore_poison(self.changed.wait_timeout(tickets, left)).0;
        };
        tickets.waiter_count -= 1;
        flushed
    }

    /// Returns true if an attempt made since the flush `ticket` was requested has failed.
    pub(crate) fn has_failed(&self, ticket: u64) -> bool {
        self.lock().failed >= ticket
    }

    /// Counts a simulated thread that begins, or ends, to wait.
    #[cfg(test)]
    pub(super) fn set_has_waiter(&self, is_waiting: bool) {
        let mut tickets = self.lock();
        tickets.waiter_count = if is_waiting {
            tickets.waiter_count + 1
        } else {
            tickets.waiter_count - 1
        };
    }

    /// Returns true if a thread waits, even for a flush that has failed since. The shipper pauses briefly
    /// then.
    pub(crate) fn has_waiters(&self) -> bool {
        self.lock().waiter_count > 0
    }

    /// Returns the latest ticket that was requested. It has to be read before the journal is.
    pub(crate) fn latest_ticket(&self) -> u64 {
        self.lock().latest_requested
    }

    /// Returns true if a flush was requested that is neither complete nor failed.
    pub(crate) fn has_pending(&self) -> bool {
        let tickets = self.lock();
        tickets.latest_requested > tickets.all_completed.max(tickets.failed)
    }

    /// Completes `ticket` and earlier ones as far as this process's journal is concerned.
    pub(crate) fn complete_own(&self, ticket: u64) {
        let mut tickets = self.lock();
        tickets.own_completed = tickets.own_completed.max(ticket);
        drop(tickets);
        self.changed.notify_all();
    }

    /// Completes `ticket` and earlier ones, orphaned journals included.
    pub(crate) fn complete_all(&self, ticket: u64) {
        let mut tickets = self.lock();
        tickets.own_completed = tickets.own_completed.max(ticket);
        tickets.all_completed = tickets.all_completed.max(ticket);
        drop(tickets);
        self.changed.notify_all();
    }

    /// Marks `ticket` and earlier ones as failed.
    pub(crate) fn fail(&self, ticket: u64) {
        let mut tickets = self.lock();
        tickets.failed = tickets.failed.max(ticket);
        drop(tickets);
        self.changed.notify_all();
    }

    /// Calls `ship` while the shipper also ships the orphaned journals of `destination`, to the store of this
    /// process. A second call waits until the first one has returned.
    pub(crate) fn with_extra_destination<R>(
        &self,
        destination: &str,
        ship: impl FnOnce() -> R,
    ) -> R {
        let _moving = lock(&self.extra_destination_lock);
        self.set_extra_destination(Some(destination.to_owned()));
        let shipped = ship();
        self.set_extra_destination(None);
        shipped
    }

    fn set_extra_destination(&self, destination: Option<String>) {
        let moved_from = self.extra_destination.lock();
        *ignore_poison(moved_from) = destination;
    }

    /// Returns the second destination whose orphaned journals are shipped now, if there is one.
    pub(crate) fn extra_destination(&self) -> Option<String> {
        let moved_from = self.extra_destination.lock();
        ignore_poison(moved_from).clone()
    }

    fn lock(&self) -> MutexGuard<'_, FlushTickets> {
        lock(&self.tickets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_waits_for_what_dead_processes_left_a_tenth_of_its_time() {
        const TIMEOUT: Duration = Duration::from_secs(600);
        let control = FlushQueue::default();
        let ticket = control.request();
        control.complete_own(ticket);
        let begun = Instant::now();
        let exit = FlushScope::Exit(Duration::from_millis(10));
        assert!(!control.wait(ticket, begun + TIMEOUT, exit));
        assert!(begun.elapsed() < TIMEOUT / 2, "{:?}", begun.elapsed());
        assert!(control.wait(ticket, begun, FlushScope::Own));
        control.complete_all(ticket);
        assert!(control.wait(ticket, begun, exit));
    }
}
