//! Availability of the store, as the latest requests have shown.
//!
//! Invariants: the beginning of an outage causes one warning, and its end causes another one. A user without a `tracing`
//! subscriber is told on stderr once the store counts as unavailable, which a short outage does not reach, and when such an
//! outage ends. A store that accepts something between its failures counts as available, however large the backlog is.

use std::time::Duration;

use crate::shipper::Delivery;
use crate::shipper::backoff::Backoff;
use crate::shipper::failure_scope::{Halt, RetryReason};
use crate::shipper::stats::{Connection, Stats};
use crate::warnings::{mask_credentials, tell_user};

/// Number of consecutive failures that cause the warning of an outage. A single failure may be that of a
/// connection that was closed while idle.
const FAILURES_BEFORE_WARNING: u32 = 2;
/// Number of consecutive failures that cause the warning if other clients hold a lock. With a SQLite file,
/// the failures take about half a minute, because each attempt itself waits for the lock.
const LOCK_FAILURES_BEFORE_WARNING: u32 = 50;

/// State of an outage, or the absence of one.
#[derive(Default)]
pub(super) struct StoreAvailability {
    backoff: Backoff,
    /// Set once the store has accepted something, until the store has failed more than `max_retries` times in
    /// a row or refuses everything until a person acts.
    is_available: bool,
    /// Set from the warning of an outage until the store works again.
    is_outage_warned: bool,
    /// Set from the line on stderr about an outage until the store works again.
    is_outage_told: bool,
}

/// Circumstances of a failure, which determine when the warning of an outage is logged.
pub(super) struct FailureContext<'a> {
    pub(super) delivery: &'a Delivery,
    /// Number of consecutive failures after which the store counts as unavailable.
    pub(super) max_retries: u32,
    /// True if the store has accepted something since the last failure.
    pub(super) made_progress: bool,
    /// True if a thread waits for a flush, which may be followed by the end of the process.
    pub(super) is_flush_pending: bool,
}

impl StoreAvailability {
    /// Returns true if the store has accepted something, and has not failed more often than allowed since.
    pub(super) fn is_available(&self) -> bool {
        self.is_available
    }

    /// Records that the store has done what was requested. Logs a warning if that ends an outage.
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
        if std::mem::take(&mut self.is_outage_told) {
            tell_user(format_args!(
                "{} is available again; waiting values are being delivered",
                delivery.uri()
            ));
        }
    }

    /// Records a failure of the whole delivery, and logs the warning of an outage when it is due. Returns the
    /// delay before the next attempt.
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
            let reason = mask_credentials(halt.reason.clone());
            tracing::warn!(
                target: "mlflow", store = context.delivery.uri(), reason,
                "the store does not accept values; they wait in the journal and are delivered when it does"
            );
        }
        if is_unavailable && !std::mem::replace(&mut self.is_outage_told, true) {
            tell_user(format_args!(
                "the store does not accept values; they wait in the journal and are delivered when it does: {}: {}",
                context.delivery.uri(),
                halt.reason
            ));
        }
        delay
    }
}
