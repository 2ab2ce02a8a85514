//! Classification of failed deliveries: either everything waits ([`Halt`]), or one run or artifact waits
//! alone ([`StuckReason`]).
//!
//! Invariant: a failure of one run or artifact never becomes a [`Halt`] while the store answers a
//! [`ping`](Store::ping). If the ping fails too, the failure is an outage, and everything waits. If it
//! succeeds, only the run or artifact waits. A store that is locked by another client is not pinged:
//! everything waits a moment.

use std::time::Duration;

use crate::store::{Store, StoreError};

/// A stop of the whole delivery, with its reason. Nothing is lost: the delivery is repeated later.
#[derive(Clone, Debug)]
pub(crate) struct Halt {
    pub(super) reason: String,
    pub(super) cause: RetryReason,
}

/// Kind of a [`Halt`]: determines the [delay](crate::shipper::backoff) before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryReason {
    /// The store is available, and another client has locked it for a moment.
    Locked,
    /// The store cannot be reached, or cannot work. `retry_after` is the delay that it has requested.
    Unavailable { retry_after: Option<Duration> },
    /// The store refuses everything until a person acts.
    NeedsAction,
}

/// Reason why one run or artifact waits alone while everything else is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StuckReason {
    /// The store does not accept the run or artifact until a person acts.
    Blocked(String),
    /// The store does not have the run; another server behind the same address may have it.
    Missing(String),
    /// The request fails, and the store answers other requests.
    Failing {
        reason: String,
        retry_after: Option<Duration>,
    },
    /// Another process creates the run, and has not done so yet.
    RunNotCreated,
    /// The run with this number has to be created first, and waits, too.
    BehindRun(u32),
}

impl StuckReason {
    /// Returns the reason as a clause for a message.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Blocked(reason) | Self::Missing(reason) | Self::Failing { reason, .. } => reason,
            Self::BehindRun(_) => "its parent run is not created yet",
            Self::RunNotCreated => {
                "the process that started the run has not created it in the store yet"
            }
        }
    }

    /// Returns true if a person has to act first.
    pub(super) fn is_blocked(&self) -> bool {
        matches!(self, Self::Blocked(_) | Self::Missing(_))
    }
}

/// A reason why something was not delivered.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// Nothing can be delivered now.
    Halt(Halt),
    /// A single run or artifact cannot be delivered now; everything else can.
    Stuck(StuckReason),
}

impl From<Halt> for Obstacle {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl From<StuckReason> for Obstacle {
    fn from(stuck: StuckReason) -> Self {
        Self::Stuck(stuck)
    }
}

/// Distinguishes the failure of one request from a failure of the store. Where `error` does not tell, the
/// store is [pinged](Store::ping): the request is stuck if the ping succeeds, else everything halts.
pub(super) async fn classify_error(store: &dyn Store, error: StoreError) -> Obstacle {
    let (reason, retry_after) = match error {
        StoreError::Missing { reason } => return StuckReason::Missing(reason.to_string()).into(),
        StoreError::Rejected { reason }
        | StoreError::Blocked {
            reason,
            everything: false,
        } => return StuckReason::Blocked(reason.to_string()).into(),
        StoreError::Busy { .. } => return into_halt(error).into(),
        StoreError::Unavailable {
            ref reason,
            retry_after,
        } => (reason.clone(), retry_after),
        // Batches never get here: a batch that is contested for long is rejected.
        StoreError::Contested { ref reason }
        | StoreError::TooLarge { ref reason }
        | StoreError::Blocked {
            ref reason,
            everything: true,
        } => (reason.clone(), None),
    };
    match store.ping().await {
        Ok(()) => StuckReason::Failing {
            reason: reason.to_string(),
            retry_after,
        }
        .into(),
        Err(_) => into_halt(error).into(),
    }
}

/// Converts an error into a [`Halt`], whatever it concerns.
pub(super) fn into_halt(error: StoreError) -> Halt {
    let (reason, cause) = match error {
        StoreError::Unavailable {
            reason,
            retry_after,
        } => (reason, RetryReason::Unavailable { retry_after }),
        StoreError::Busy { reason } | StoreError::Contested { reason } => {
            (reason, RetryReason::Locked)
        }
        StoreError::Rejected { reason }
        | StoreError::TooLarge { reason }
        | StoreError::Missing { reason }
        | StoreError::Blocked { reason, .. } => (reason, RetryReason::NeedsAction),
    };
    Halt {
        reason: reason.to_string(),
        cause,
    }
}
