//! How others talk to the shipper: wait until all is delivered, or until there is no hope.
//!
//! Invariants: a flush is complete only if everything logged before it was asked for is delivered,
//! set aside or held. A wait never outlasts its deadline. The end of a process waits for what dead ones
//! left for a tenth of its time, and only when all of its own is delivered: a thousand runs that were
//! left behind must not keep every short program from ending.

use crate::sync::{ignore_poison, lock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Flushes, numbered.
#[derive(Default)]
pub(crate) struct FlushQueue {
    is_exiting: AtomicBool,
    tickets: Mutex<FlushTickets>,
    changed: Condvar,
    /// Another destination, for which dead processes have left what is shipped now.
    extra_destination: Mutex<Option<String>>,
    /// Held while that is shipped.
    extra_destination_lock: Mutex<()>,
}

#[derive(Default)]
struct FlushTickets {
    latest_requested: u64,
    /// Delivered: what this process had logged.
    own_completed: u64,
    /// Delivered: that, and what dead processes left.
    all_completed: u64,
    /// Asked for before an attempt that failed.
    failed: u64,
    /// Threads that wait for one at this moment.
    waiter_count: usize,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlushScope {
    /// What this process has logged, until the deadline: a store that is away may come back.
    Own,
    /// That and what dead processes left, unless the store is away.
    All,
    /// The same for the end of the process, which may take so long; what dead ones left may take a tenth of
    /// that.
    Exit(Duration),
}

/// Of the time that the end of a process may take, the part that what dead ones left may.
pub(crate) const ORPHAN_TIMEOUT_DIVISOR: u32 = 10;

impl FlushQueue {
    /// The process is about to end.
    pub(crate) fn begin_exit(&self) {
        self.is_exiting.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_exiting(&self) -> bool {
        self.is_exiting.load(Ordering::Relaxed)
    }

    /// Asks for a flush. The caller rings the bell, then [`wait`](Self::wait)s.
    pub(crate) fn request(&self) -> u64 {
        let mut tickets = self.lock();
        tickets.latest_requested += 1;
        tickets.latest_requested
    }

    /// Waits for the flush; false if the deadline passed or, unless only this process's own values are
    /// waited for, an attempt made since it was asked for failed.
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

    /// Stands for a thread that begins to wait, or ends.
    #[cfg(test)]
    pub(super) fn set_has_waiter(&self, is_waiting: bool) {
        let mut tickets = self.lock();
        tickets.waiter_count = if is_waiting {
            tickets.waiter_count + 1
        } else {
            tickets.waiter_count - 1
        };
    }

    /// Returns whether a thread waits, also for what has failed since: pauses are short then.
    pub(crate) fn has_waiters(&self) -> bool {
        self.lock().waiter_count > 0
    }

    /// The newest flush asked for: read before the journal is.
    pub(crate) fn latest_ticket(&self) -> u64 {
        self.lock().latest_requested
    }

    /// Whether someone waits for a flush.
    pub(crate) fn has_pending(&self) -> bool {
        let tickets = self.lock();
        tickets.latest_requested > tickets.all_completed.max(tickets.failed)
    }

    pub(crate) fn complete_own(&self, ticket: u64) {
        let mut tickets = self.lock();
        tickets.own_completed = tickets.own_completed.max(ticket);
        drop(tickets);
        self.changed.notify_all();
    }

    pub(crate) fn complete_all(&self, ticket: u64) {
        let mut tickets = self.lock();
        tickets.own_completed = tickets.own_completed.max(ticket);
        tickets.all_completed = tickets.all_completed.max(ticket);
        drop(tickets);
        self.changed.notify_all();
    }

    pub(crate) fn fail(&self, ticket: u64) {
        let mut tickets = self.lock();
        tickets.failed = tickets.failed.max(ticket);
        drop(tickets);
        self.changed.notify_all();
    }

    /// Calls `ship` while what was left behind for `destination` is shipped, too: one at a time.
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

    /// Returns the other destination, for which dead processes have left what is shipped now.
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
