//! Shipping what processes that are gone have left.
//!
//! Invariants: what was logged for one destination goes to another one only by a call that names both;
//! nothing is waited for longer than the caller says.

use std::error::Error;
use std::fmt::{self, Display};
use std::time::{Duration, Instant};

use crate::config::destination::Destination;
use crate::journal::directory::Directory;
use crate::shipper::FlushScope;
use crate::time::saturating_deadline;
use crate::tracker::Tracker;

/// What a [`recover`] led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoverReport {
    /// Set if nothing is left: every journal that was left behind is delivered and gone. What the store has
    /// refused for good is [kept elsewhere](crate::resend_rejected).
    pub complete: bool,
    /// Journals that were found.
    pub journals_found: u64,
    /// Values that the store took.
    pub delivered: u64,
    /// Values that the store refused for good.
    pub rejected: u64,
    /// Values that the store takes only when a person has acted, e.g. of a deleted experiment.
    pub held: u64,
    /// Journals that are left: they hold values, or a run to be closed.
    pub journals_left: u64,
}

/// Why [`recover_from`] has moved nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoverError {
    /// `to` is no tracking URI.
    InvalidUri {
        /// What is wrong with it, and what is expected, as the middle of a sentence.
        reason: String,
    },
    /// The values would go elsewhere: this process ships to another destination than `to`. Set
    /// `MLFLOW_TRACKING_URI`, or call [`set_tracking_uri`](crate::set_tracking_uri), first.
    OtherDestination {
        /// Where this process ships to, without credentials.
        present: String,
        /// What was named, without credentials.
        to: String,
    },
    /// Tracking is off (`MLFLOW_TRACKING_ENABLED=false`), or compiled out: nothing is shipped.
    Disabled,
}

impl Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUri { reason } => {
                write!(f, "`to` is no tracking URI that can be used: {reason}")
            }
            Self::OtherDestination { present, to } => write!(
                f,
                "this process ships to {present}, not to {to}; set MLFLOW_TRACKING_URI, or call set_tracking_uri, first"
            ),
            Self::Disabled => f.write_str(
                "tracking is off; unset MLFLOW_TRACKING_ENABLED, or build without the feature `disabled`",
            ),
        }
    }
}

impl Error for RecoverError {}

/// Ships everything that processes which are gone have left for the present destination, and waits until that
/// is done, but not longer than `timeout`. What this process has logged itself is delivered first.
///
/// A tracked program does that by itself while it runs, and at its end for a tenth of its exit timeout
/// (`MLFLOW_EXIT_TIMEOUT`). Call this where all of it has to be there: in the last job of a day, before a
/// machine goes away. Each journal is tried once: what fails, and all of it where the store is away, is left
/// for the next call or program. What a timeout cuts short goes on while the process lives. A journal whose
/// process is alive, or which another process is shipping, is not found. May be called from anywhere, also
/// inside an async runtime, whose thread it blocks.
///
/// Where tracking is off nothing is shipped, and the report is empty and not complete. With a
/// [fake](crate::testing::fake) there is nothing to be shipped, which is complete.
///
/// ```no_run
/// let report = mlflow::recover(std::time::Duration::from_secs(600));
/// println!("{} values shipped, {} journals left", report.delivered, report.journals_left);
/// assert!(report.complete);
/// ```
pub fn recover(timeout: Duration) -> RecoverReport {
    let Some(tracker) = Tracker::scoped_or_global() else {
        return RecoverReport::default();
    };
    let destination = tracker.journal().origin().destination.clone();
    ship_orphans(&tracker, &destination, timeout)
}

/// Ships what processes that are gone have left for the destination `from` to `to`, which has to be the
/// present one, and waits as [`recover`] does: values that were logged to a URI that was wrong.
///
/// Both are tracking URIs; credentials in them count for nothing. `from` may be one that cannot be used, as
/// it was given: `host:5000`. A run that was created at `from` already is created anew at `to`, with what is
/// left of it. A run that names its experiment by an id goes to the one that has this id at `to`. One call is
/// made at a time: a second one waits for the first. What `to` refuses is kept for `to`. A journal of this very process, which had another
/// URI before [`set_tracking_uri`](crate::set_tracking_uri), is not found while the process lives. A report
/// that has found no journal may be of a `from` that is misspelt: the line at the end of the process that
/// logged the values shows it.
///
/// ```no_run
/// // The path was missing.
/// let report = mlflow::recover_from(
///     "http://host:5000/",
///     "http://host:5000/mlflow",
///     std::time::Duration::from_secs(600),
/// )?;
/// assert!(report.complete);
/// # Ok::<(), mlflow::RecoverError>(())
/// ```
///
/// # Errors
/// Fails if `to` cannot be used or is not the present destination, or if tracking is off.
pub fn recover_from(
    from: &str,
    to: &str,
    timeout: Duration,
) -> Result<RecoverReport, RecoverError> {
    // What was given may have been unusable, and is now to go where it was meant.
    let from = Destination::parse_or_unusable(from).to_string();
    let to = match Destination::parse_or_unusable(to) {
        Destination::Unusable(unusable) => {
            return Err(RecoverError::InvalidUri {
                reason: unusable.to_string(),
            });
        }
        usable => usable.to_string(),
    };
    let tracker = Tracker::scoped_or_global().ok_or(RecoverError::Disabled)?;
    let present = tracker.journal().origin().destination.clone();
    if to != present || tracker.is_inline() {
        return Err(RecoverError::OtherDestination { present, to });
    }
    let control = &tracker.flush_queue;
    let report = control.with_extra_destination(&from, || ship_orphans(&tracker, &from, timeout));
    Ok(report)
}

/// Ships what is left behind for `origin`.
fn ship_orphans(tracker: &Tracker, origin: &str, timeout: Duration) -> RecoverReport {
    if tracker.is_inline() {
        return RecoverReport {
            complete: true,
            ..RecoverReport::default()
        };
    }
    let deadline = saturating_deadline(Instant::now(), timeout);
    let stats = &tracker.stats;
    let (delivered, rejected) = (
        stats.delivered_from_orphans.get(),
        stats.rejected_from_orphans.get(),
    );
    let journals_found = count_orphans(tracker, origin);
    tracker.flush_until(deadline, FlushScope::All);
    let journals_left = count_orphans(tracker, origin);
    RecoverReport {
        complete: journals_left == 0,
        journals_found,
        delivered: stats.delivered_from_orphans.get() - delivered,
        rejected: stats.rejected_from_orphans.get() - rejected,
        held: stats.blocked_in_orphans.get(),
        journals_left,
    }
}

/// Counts the journals that are left behind for `origin`.
fn count_orphans(tracker: &Tracker, origin: &str) -> u64 {
    let roots = tracker.settings().journal_roots(tracker.journal());
    let left = roots
        .iter()
        .map(|root| Directory::find_orphaned(root, origin).count() as u64);
    // The one that is being shipped is locked as that of a process that is alive is.
    left.sum::<u64>() + tracker.stats.orphans_in_progress.get()
}
