//! Why something was not delivered, and what follows: everything waits, or what failed waits alone.
//!
//! Invariant: a failure of one run or artifact never becomes a [`Halt`] while the store answers a
//! [`ping`](Store::ping). What fails for everybody is an outage; what fails while the store answers is
//! put aside by itself.

use std::time::Duration;

use crate::store::{Store, StoreError};

/// Why delivery stopped. Everything is still there.
#[derive(Debug)]
pub(crate) struct Halt {
    pub(super) reason: String,
    pub(super) cause: RetryReason,
}

/// The reason for which the whole delivery waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryReason {
    /// The store is there, and somebody else has it.
    Locked,
    /// The store cannot be reached, or cannot work.
    Unavailable { retry_after: Option<Duration> },
    /// The store refuses everything until a person acts.
    NeedsAction,
}

/// Why one run or artifact waits by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StuckReason {
    /// The store takes nothing for it until a person acts.
    Blocked(String),
    /// The store does not have the run: another server behind the same address may.
    Missing(String),
    /// The request fails, and the store answers others.
    Failing {
        reason: String,
        retry_after: Option<Duration>,
    },
    /// Another process creates the run, sooner or later.
    RunNotCreated,
    /// The run of this number has to be created first, and waits by itself.
    BehindRun(u32),
}

impl StuckReason {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Blocked(reason) | Self::Missing(reason) | Self::Failing { reason, .. } => reason,
            Self::BehindRun(_) => "its parent run is not created yet",
            Self::RunNotCreated => "the process that has started the run has not created it yet",
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        matches!(self, Self::Blocked(_) | Self::Missing(_))
    }
}

/// A reason why something was not delivered.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// Nothing can be delivered.
    Halt(Halt),
    /// One run or artifact cannot; everything else can.
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

/// Tells a failure of what was asked from a failure of the store, which is asked once more for that.
pub(super) async fn classify_error(store: &dyn Store, error: StoreError) -> Obstacle {
    let (reason, retry_after) = match error {
        StoreError::Missing { reason } => return StuckReason::Missing(reason).into(),
        StoreError::Rejected { reason }
        | StoreError::Blocked {
            reason,
            everything: false,
        } => return StuckReason::Blocked(reason).into(),
        StoreError::Busy { .. } | StoreError::Contested { .. } => return into_halt(error).into(),
        StoreError::Unavailable {
            ref reason,
            retry_after,
        } => (reason.clone(), retry_after),
        StoreError::TooLarge { ref reason }
        | StoreError::Blocked {
            ref reason,
            everything: true,
        } => (reason.clone(), None),
    };
    match store.ping().await {
        Ok(()) => StuckReason::Failing {
            reason,
            retry_after,
        }
        .into(),
        Err(_) => into_halt(error).into(),
    }
}

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
    Halt { reason, cause }
}
