//! How others talk to the shipper: wait until all is delivered, or until there is no hope.
//!
//! Invariants: a flush is complete only if everything logged before it was asked for is delivered,
//! set aside or held. A wait never outlasts its deadline. The end of a process waits for what dead ones
//! left for a tenth of its time, and only when all of its own is delivered: a thousand runs that were
//! left behind must not keep every short program from ending.

use crate::sync::{lock, unpoisoned};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Flushes, numbered.
#[derive(Default)]
pub(crate) struct Control {
    leaving: AtomicBool,
    tickets: Mutex<Tickets>,
    changed: Condvar,
    /// Another destination, for which dead processes have left what is shipped now.
    moved_from: Mutex<Option<String>>,
    /// Held while that is shipped.
    moving: Mutex<()>,
}

#[derive(Default)]
struct Tickets {
    asked: u64,
    /// Delivered: what this process had logged.
    own: u64,
    /// Delivered: that, and what dead processes left.
    all: u64,
    /// Asked for before an attempt that failed.
    failed: u64,
    /// Threads that wait for one at this moment.
    waiting: usize,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// What this process has logged, until the deadline: a store that is away may come back.
    Own,
    /// That and what dead processes left, unless the store is away.
    All,
    /// The same for the end of the process, which may take so long; what dead ones left may take a tenth of
    /// that.
    Exit(Duration),
}

/// Of the time that the end of a process may take, the part that what dead ones left may.
pub(crate) const PART_OF_DEAD: u32 = 10;

impl Control {
    /// The process is about to end.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Asks for a flush. The caller rings the bell, then [`wait`](Self::wait)s.
    pub(crate) fn ask(&self) -> u64 {
        let mut tickets = self.lock();
        tickets.asked += 1;
        tickets.asked
    }

    /// Waits for the flush; false if the deadline passed or, unless only this process's own values are
    /// waited for, an attempt made since it was asked for failed.
    pub(crate) fn wait(&self, ticket: u64, mut deadline: Instant, goal: Goal) -> bool {
        let mut own_is_done = false;
        let mut tickets = self.lock();
        tickets.waiting += 1;
        let flushed = loop {
            let done = match goal {
                Goal::Own => tickets.own,
                Goal::All | Goal::Exit(_) => tickets.all,
            };
            if done >= ticket {
                break true;
            }
            if let Goal::Exit(timeout) = goal
                && tickets.own >= ticket
                && !std::mem::replace(&mut own_is_done, true)
            {
                let of_dead = Instant::now().checked_add(timeout / PART_OF_DEAD);
                deadline = deadline.min(of_dead.unwrap_or(deadline));
            }
            let hopeless = goal != Goal::Own && tickets.failed >= ticket;
            let left = deadline.saturating_duration_since(Instant::now());
            if hopeless || left.is_zero() {
                break false;
            }
            tickets = unpoisoned(self.changed.wait_timeout(tickets, left)).0;
        };
        tickets.waiting -= 1;
        flushed
    }

    /// Stands for a thread that begins to wait, or ends.
    #[cfg(test)]
    pub(super) fn set_waiting(&self, is_waiting: bool) {
        let mut tickets = self.lock();
        tickets.waiting = if is_waiting {
            tickets.waiting + 1
        } else {
            tickets.waiting - 1
        };
    }

    /// Returns whether a thread waits, also for what has failed since: pauses are short then.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.lock().waiting > 0
    }

    /// The newest flush asked for: read before the journal is.
    pub(crate) fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// Whether someone waits for a flush.
    pub(crate) fn is_asked(&self) -> bool {
        let tickets = self.lock();
        tickets.asked > tickets.all.max(tickets.failed)
    }

    pub(crate) fn complete_own(&self, ticket: u64) {
        let mut tickets = self.lock();
        tickets.own = tickets.own.max(ticket);
        drop(tickets);
        self.changed.notify_all();
    }

    pub(crate) fn complete_all(&self, ticket: u64) {
        let mut tickets = self.lock();
        tickets.own = tickets.own.max(ticket);
        tickets.all = tickets.all.max(ticket);
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
    pub(crate) fn moving_from<R>(&self, destination: &str, ship: impl FnOnce() -> R) -> R {
        let _moving = lock(&self.moving);
        self.set_moved_from(Some(destination.to_owned()));
        let shipped = ship();
        self.set_moved_from(None);
        shipped
    }

    fn set_moved_from(&self, destination: Option<String>) {
        let moved_from = self.moved_from.lock();
        *unpoisoned(moved_from) = destination;
    }

    /// Returns the other destination, for which dead processes have left what is shipped now.
    pub(crate) fn moved_from(&self) -> Option<String> {
        let moved_from = self.moved_from.lock();
        unpoisoned(moved_from).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Tickets> {
        lock(&self.tickets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_waits_for_what_dead_processes_left_a_tenth_of_its_time() {
        const TIMEOUT: Duration = Duration::from_secs(600);
        let control = Control::default();
        let ticket = control.ask();
        control.complete_own(ticket);
        let begun = Instant::now();
        let exit = Goal::Exit(Duration::from_millis(10));
        assert!(!control.wait(ticket, begun + TIMEOUT, exit));
        assert!(begun.elapsed() < TIMEOUT / 2, "{:?}", begun.elapsed());
        assert!(control.wait(ticket, begun, Goal::Own));
        control.complete_all(ticket);
        assert!(control.wait(ticket, begun, exit));
    }
}
