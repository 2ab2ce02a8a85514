//! The availability of the store, as the latest requests showed it.
//!
//! Invariants: an outage is warned of once, and its end once. A store that has accepted a part of each round is
//! available, however large the backlog is.

use std::time::Duration;

use crate::shipper::Delivery;
use crate::shipper::backoff::Backoff;
use crate::shipper::obstacle::{Halt, RetryReason};
use crate::shipper::stats::{Connection, Stats};

/// Consecutive failures before an outage is warned of. A single failure may be a connection that was closed while it
/// was idle.
const FAILURES_BEFORE_WARNING: u32 = 2;
/// Consecutive failures before a lock that other clients hold is warned of: about half a minute.
const LOCK_FAILURES_BEFORE_WARNING: u32 = 50;

/// The state of an outage, or the absence of one.
#[derive(Default)]
pub(super) struct StoreAvailability {
    backoff: Backoff,
    /// Set since the store has accepted something, until it has failed more than `max_retries` times in a row.
    is_available: bool,
    /// Set since the warning of an outage, until the store is available again.
    is_outage_warned: bool,
}

/// The circumstances of a failure that decide when an outage is warned of.
pub(super) struct FailureContext<'a> {
    pub(super) delivery: &'a Delivery,
    /// The number of consecutive failures after which the store counts as unavailable.
    pub(super) max_retries: u32,
    /// True if the store has accepted something since the last failure.
    pub(super) made_progress: bool,
    /// True if a thread waits for a flush, which may be followed by the end of the process.
    pub(super) is_flush_pending: bool,
}

impl StoreAvailability {
    /// Returns true if the store has worked, and has not failed for long since.
    pub(super) fn is_available(&self) -> bool {
        self.is_available
    }

    /// Records that the store has done what was requested.
    pub(super) fn record_success(&mut self, stats: &Stats, delivery: &Delivery) {
        stats.set_connection(Connection::Connected);
        stats.set_store_error(None);
        self.backoff.reset();
        self.is_available = true;
        if std::mem::take(&mut self.is_outage_warned) {
            tracing::warn!(
                target: "mlflow", store = delivery.uri(),
                "the store is available again; waiting values are being delivered"
            );
        }
    }

    /// Records a failure of the whole delivery. Returns the delay before the next attempt.
    pub(super) fn record_failure(
        &mut self,
        stats: &Stats,
        halt: &Halt,
        context: &FailureContext<'_>,
    ) -> Duration {
        stats.retried.add(1);
        stats.set_store_error(Some(halt.reason.clone()));
        if context.made_progress {
            self.backoff.reset();
            self.is_available = true;
        }
        let delay = self.backoff.next_delay(halt.cause);
        let failures = self.backoff.failures();
        let is_unavailable = match halt.cause {
            RetryReason::Locked => false,
            RetryReason::Unavailable { .. } => failures > context.max_retries,
            RetryReason::NeedsAction => true,
        };
        self.is_available &= !is_unavailable;
        stats.set_connection(if is_unavailable {
            Connection::Unavailable
        } else {
            Connection::Retrying
        });
        let is_warning_due = match halt.cause {
            RetryReason::Locked => failures >= LOCK_FAILURES_BEFORE_WARNING,
            RetryReason::Unavailable { .. } => {
                failures >= FAILURES_BEFORE_WARNING || context.is_flush_pending
            }
            RetryReason::NeedsAction => true,
        };
        if is_warning_due && !std::mem::replace(&mut self.is_outage_warned, true) {
            tracing::warn!(
                target: "mlflow", store = context.delivery.uri(), reason = halt.reason,
                "the store does not accept values; they wait in the journal and are delivered when it does"
            );
        }
        delay
    }
}
