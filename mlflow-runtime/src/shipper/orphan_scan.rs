//! Schedule of the scans for orphaned journals: the journals of processes that have ended.
//!
//! Invariants: a scan takes place at the start, once for each flush, when the further destination changes,
//! and, while some orphaned journals could not be finished, after growing delays. A process that has logged
//! nothing ships no orphaned journal unless a flush is requested, because the process may be a short-lived
//! tool.

use tokio::time::Instant;

use crate::config::Settings;
use crate::journal::Journal;
use crate::journal::directory::Directory;
use crate::shipper::Shipper;
use crate::shipper::backoff::Backoff;
use crate::shipper::failure_scope::RetryReason;

/// State of the schedule.
#[derive(Default)]
pub(super) struct OrphanScan {
    /// Latest flush for which a scan was made.
    scanned_ticket: u64,
    /// Further destination whose orphaned journals are shipped, on behalf of
    /// [`recover_from`](crate::recover_from).
    extra_destination: Option<String>,
    /// Time of the next scan, while orphaned journals are unfinished.
    due: Option<Instant>,
    backoff: Backoff,
}

impl OrphanScan {
    /// Returns the time of the next scan, if one is scheduled.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Sets the further destination, and scans if the destination has changed.
    pub(super) fn set_extra_destination(
        &mut self,
        destination: Option<String>,
        shipper: &mut Shipper,
        settings: &Settings,
        journal: &Journal,
    ) {
        if destination != self.extra_destination {
            self.extra_destination = destination;
            self.scan(shipper, settings, journal);
        }
    }

    /// Scans unless a scan was made for the flush `ticket`. Forked children may have died since the previous
    /// scan.
    pub(super) fn scan_for_flush(
        &mut self,
        ticket: u64,
        shipper: &mut Shipper,
        settings: &Settings,
        journal: &Journal,
    ) {
        if ticket > self.scanned_ticket {
            self.scanned_ticket = ticket;
            self.scan(shipper, settings, journal);
        }
    }

    /// Scans if the time of the next scan has come.
    pub(super) fn scan_if_due(
        &mut self,
        now: Instant,
        shipper: &mut Shipper,
        settings: &Settings,
        journal: &Journal,
    ) {
        if self.due.is_some_and(|due| due <= now) {
            self.scan(shipper, settings, journal);
        }
    }

    /// Gives `shipper` the orphaned journals of this process's destination and of the further one. The
    /// journal that is being shipped is locked, and therefore not among them.
    pub(super) fn scan(&mut self, shipper: &mut Shipper, settings: &Settings, journal: &Journal) {
        let own = journal.origin().destination.clone();
        let destinations = [self.extra_destination.clone(), Some(own)];
        let roots = settings.journal_roots(journal.root());
        let found = destinations.iter().flatten().flat_map(|destination| {
            let roots = roots.iter();
            roots.map(|root| Directory::find_orphaned(root, destination))
        });
        shipper.orphaned = found.collect();
        shipper.joined_orphans.clear();
        shipper.unfinished_orphans.clear();
        self.due = None;
    }

    /// Schedules the next scan if orphaned journals could not be finished.
    pub(super) fn schedule_next(&mut self, shipper: &Shipper) {
        if shipper.unfinished_orphans.is_empty() {
            self.backoff.reset();
        } else if self.due.is_none() {
            let delay = self.backoff.next_delay(RetryReason::NeedsAction);
            self.due = Some(Instant::now() + delay);
        }
    }
}
