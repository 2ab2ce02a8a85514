//! Shipping of orphaned journals: those of processes that have ended and left values undelivered.
//!
//! Invariants: values that were logged for one destination are shipped to another one only by a call that
//! names both. No call waits longer than its timeout.

use std::error::Error;
use std::fmt::{self, Display};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::config::destination::Destination;
use crate::journal::directory::{Directory, RejectedFolder};
use crate::shipper::FlushScope;
use crate::store::UploadProgress;
use crate::time::saturating_deadline;
use crate::tracker::Tracker;
use crate::tracker::global::COMPILED_OUT;
use crate::tracker::health::TrackingState;

/// Result of [`recover()`] or [`recover_from()`]. See [`recover()`] for an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoverReport {
    /// True if nothing is left: every orphaned journal was delivered and removed within the timeout. Values that
    /// the store has refused for good are [kept elsewhere](crate::resend_rejected).
    pub complete: bool,
    /// Orphaned journals that existed when the call began.
    pub journals_found: u64,
    /// Values that the store took during the call.
    pub delivered: u64,
    /// Values that the store refused for good during the call.
    pub rejected: u64,
    /// Values that the store takes only after a person has acted, for example because their experiment is
    /// deleted.
    pub blocked: u64,
    /// Orphaned journals that are left. Each still holds values, or a run that has to be ended.
    pub journals_left: u64,
}

/// Reason why [`recover_from`] or [`Recovery`] shipped nothing.
///
/// ```
/// use mlflow::{Config, RecoverError, Recovery};
///
/// let without_scheme = Recovery::new(Config::new().tracking_uri("host:5000"));
/// assert!(matches!(without_scheme, Err(RecoverError::InvalidUri { .. })));
/// let off = Recovery::new(Config::new().enabled(false));
/// assert_eq!(off.err(), Some(RecoverError::Disabled));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoverError {
    /// Unusable tracking URI in `to`.
    InvalidUri {
        /// Description of the fault and of what is expected, phrased to continue a sentence.
        reason: String,
    },
    /// Destination of this process that differs from `to`. The values would be shipped to the wrong place.
    /// Set `MLFLOW_TRACKING_URI`, or call [`set_tracking_uri`](crate::set_tracking_uri), first.
    OtherDestination {
        /// Destination of this process, without credentials.
        present: String,
        /// Destination that the call named, without credentials.
        to: String,
    },
    /// Tracking that is off (`MLFLOW_TRACKING_ENABLED=false`) or compiled out: nothing is shipped.
    Disabled,
}

impl Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUri { reason } => {
                write!(f, "`to` is not a usable tracking URI: {reason}")
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

/// Ships every orphaned journal for the present destination: everything that processes which have ended left
/// undelivered. Waits until that is done, but no longer than `timeout`. Values of this process are delivered
/// first.
///
/// A tracked program ships orphaned journals by itself while it runs, and at its end for a tenth of its exit
/// timeout (`MLFLOW_EXIT_TIMEOUT`). Call this function where all values have to be delivered, for example in
/// the last job of a day before a machine is removed.
///
/// Each journal is tried once. A journal that fails, or every journal if the store is unavailable, is left
/// for the next call or the next program. Work that the timeout cuts short continues while the process lives.
/// Journals whose process is alive, or which another process is shipping, are not found. The function may be
/// called from anywhere; inside an async runtime it blocks the calling thread.
///
/// If tracking is off, nothing is shipped, and the report is empty and not complete. With a
/// [fake](crate::testing::fake) there is nothing to ship, and the report is complete.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let report = mlflow::recover(std::time::Duration::from_secs(600));
/// eprintln!("{} values shipped, {} journals left", report.delivered, report.journals_left);
/// assert!(report.complete);
/// ```
pub fn recover(timeout: Duration) -> RecoverReport {
    let Some(tracker) = Tracker::scoped_or_global() else {
        return RecoverReport::default();
    };
    let destination = tracker.journal().origin().destination.clone();
    ship_orphans(&tracker, &destination, timeout)
}

/// Ships the orphaned journals for the destination `from` to `to`, and waits as [`recover`] does. Meant for
/// values that were logged to a wrong URI. The destination `to` has to be the present one.
///
/// Each argument is a tracking URI; credentials in it are ignored. A URI in `from` that was unusable, such as
/// `host:5000`, is given as it was configured.
///
/// A run that was already created at `from` is created anew at `to`, with the values that are left of it. A
/// run that names its experiment by an id goes to the experiment with this id at `to`. Values that `to`
/// refuses for good are kept as rejected values of `to`.
///
/// Only one call runs at a time: a second call waits for the first. A journal of this very process, which had
/// another URI before [`set_tracking_uri`](crate::set_tracking_uri), is not found while the process lives. If
/// the report has found no journal, `from` may be misspelt: compare it with the line that the process which
/// logged the values wrote to stderr at its end.
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
/// Returns an error if `to` cannot be used or is not the present destination, or if tracking is off. In the
/// scope of a [fake](crate::testing::fake), every call returns an error.
pub fn recover_from(
    from: &str,
    to: &str,
    timeout: Duration,
) -> Result<RecoverReport, RecoverError> {
    // The URI in `from` may have been unusable when the values were logged.
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

/// Interval between two reports of the progress of a [`Recovery`].
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Shipping of orphaned journals to one destination, apart from the runs of this process. For programs that
/// ship to several destinations, show the progress, or end the wait early; else [`recover`] is simpler.
///
/// The thread that ships is started at once, and lives until the process ends. So make one `Recovery` for each
/// destination, and use it as often as needed.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::time::Duration;
///
/// # let directory = std::env::temp_dir().join(format!("mlflow-doc-recovery-{}", std::process::id()));
/// let config = mlflow::Config::new().tracking_uri("http://mlflow.example.org");
/// # let config = config.journal_dir(&directory).quiet(true);
/// let recovery = mlflow::Recovery::new(config)?;
/// assert_eq!(recovery.destination(), "http://mlflow.example.org");
/// let show = |progress: &mlflow::RecoverProgress| {
///     match &progress.upload {
///         Some(upload) => eprintln!("{upload}"),
///         None => eprintln!("{} values shipped", progress.delivered),
///     }
///     ControlFlow::Continue(())
/// };
/// recovery.put_back_rejected(); // to send once more what was refused
/// let mut report = recovery.run(Duration::from_secs(600), show);
/// if report.complete {
///     // What was logged to the server's former address.
///     report = recovery.run_from("http://old.example.org", Duration::from_secs(600), show);
/// }
/// if !report.complete {
///     eprintln!("{}", recovery.progress().reason.unwrap_or_default());
/// }
/// # assert!(report.complete, "there is nothing to ship: {report:?}");
/// # drop(recovery);
/// # let _ = std::fs::remove_dir_all(&directory);
/// # Ok::<(), mlflow::RecoverError>(())
/// ```
pub struct Recovery {
    tracker: Arc<Tracker>,
}

impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Recovery");
        let fields = fields.field("destination", &self.destination());
        fields.finish_non_exhaustive()
    }
}

/// Progress of a [`Recovery`] since it was made. See [`Recovery`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoverProgress {
    /// State of the connection to the store after the last request.
    pub state: TrackingState,
    /// Values that the store has taken.
    pub delivered: u64,
    /// Values that the store has refused for good. They are kept: see
    /// [`resend_rejected`](crate::resend_rejected).
    pub rejected: u64,
    /// Values that the store takes only after a person has acted.
    pub blocked: u64,
    /// Records that were lost in damaged files, as in [`Health::damaged`](crate::Health::damaged).
    pub damaged: u64,
    /// Reason why values wait: the store does not answer, or does not take some of them. `None` if none is
    /// known.
    pub reason: Option<String>,
    /// Artifact that has been uploaded for more than two seconds, the one with the most bytes left; `None` if there is
    /// none, or if the store does not count bytes.
    pub upload: Option<UploadProgress>,
}

impl Recovery {
    /// Starts a thread that ships to the destination of `config`. Nothing is shipped before [`run`](Self::run).
    ///
    /// # Errors
    /// Returns an error if the tracking URI cannot be used, or if tracking is off.
    pub fn new(config: Config) -> Result<Self, RecoverError> {
        let mut settings = config.resolve();
        if COMPILED_OUT || !settings.enabled {
            return Err(RecoverError::Disabled);
        }
        if let Destination::Unusable(unusable) = &settings.destination {
            return Err(RecoverError::InvalidUri {
                reason: unusable.to_string(),
            });
        }
        // The output of this process belongs to no run that is shipped.
        settings.console.capture = false;
        Ok(Self {
            tracker: Tracker::start_for_recovery(settings),
        })
    }

    /// Returns the destination, without credentials, as [`journals`](crate::journals) names it.
    #[must_use]
    pub fn destination(&self) -> &str {
        &self.tracker.journal().origin().destination
    }

    /// Ships the orphaned journals of the destination as [`recover`] does, and waits until that is done, but
    /// no longer than `timeout`. Calls `on_progress` ten times a second; if it returns a break, the wait ends.
    pub fn run(
        &self,
        timeout: Duration,
        on_progress: impl FnMut(&RecoverProgress) -> ControlFlow<()>,
    ) -> RecoverReport {
        self.ship(self.destination(), timeout, on_progress)
    }

    /// Ships the orphaned journals of the destination `from` to this one as [`recover_from`] does, and waits as
    /// [`run`](Self::run) does. Journals of this very destination are shipped, too. The URI `from` may be one
    /// that cannot be used.
    pub fn run_from(
        &self,
        from: &str,
        timeout: Duration,
        on_progress: impl FnMut(&RecoverProgress) -> ControlFlow<()>,
    ) -> RecoverReport {
        let from = Destination::parse_or_unusable(from).to_string();
        let control = &self.tracker.flush_queue;
        control.with_extra_destination(&from, || self.ship(&from, timeout, on_progress))
    }

    fn ship(
        &self,
        origin: &str,
        timeout: Duration,
        mut on_progress: impl FnMut(&RecoverProgress) -> ControlFlow<()>,
    ) -> RecoverReport {
        let deadline = saturating_deadline(Instant::now(), timeout);
        report_on(&self.tracker, origin, || {
            let tick = || on_progress(&self.progress());
            self.tracker
                .flush_all_watched(deadline, PROGRESS_INTERVAL, tick)
        })
    }

    /// Puts the values that the destination has refused for good back among the orphaned journals, so that the
    /// next [`run`](Self::run) sends them again. Returns the number of journals with such values.
    pub fn put_back_rejected(&self) -> usize {
        put_back_rejected(&self.tracker)
    }

    /// Returns the progress since the `Recovery` was made.
    #[must_use]
    pub fn progress(&self) -> RecoverProgress {
        let stats = &self.tracker.stats;
        let blocked = || stats.first_blocked_reason(false);
        RecoverProgress {
            state: self.tracker.connection_state(),
            delivered: stats.delivered_from_orphans.get(),
            rejected: stats.total_refused(),
            blocked: stats.blocked_in_orphans.get(),
            damaged: stats.damaged.get(),
            reason: stats.waiting_reason().or_else(blocked),
            upload: stats.uploads.progress(),
        }
    }
}

impl Drop for Recovery {
    /// Removes the empty journal of the thread, which is not among those that the end of the process removes.
    fn drop(&mut self) {
        self.tracker.journal().remove_if_empty();
    }
}

/// Puts the values that a tracker's destination has refused for good back among the orphaned journals. Returns
/// the number of journals with such values.
pub(super) fn put_back_rejected(tracker: &Tracker) -> usize {
    let destination = &tracker.journal().origin().destination;
    let roots = tracker.settings().journal_roots(tracker.journal().root());
    let put_back = roots
        .iter()
        .map(|root| RejectedFolder::put_back(root, destination));
    put_back.sum()
}

/// Ships the orphaned journals for the destination `origin`.
fn ship_orphans(tracker: &Tracker, origin: &str, timeout: Duration) -> RecoverReport {
    if tracker.is_inline() {
        return RecoverReport {
            complete: true,
            ..RecoverReport::default()
        };
    }
    let deadline = saturating_deadline(Instant::now(), timeout);
    report_on(tracker, origin, || {
        tracker.flush_until(deadline, FlushScope::All)
    })
}

/// Calls `ship`, which returns true if it was not cut short, and reports what it has changed in the orphaned
/// journals for the destination `origin`.
fn report_on(tracker: &Tracker, origin: &str, ship: impl FnOnce() -> bool) -> RecoverReport {
    let stats = &tracker.stats;
    let (delivered, rejected) = (
        stats.delivered_from_orphans.get(),
        stats.rejected_from_orphans.get(),
    );
    let journals_found = count_orphans(tracker, origin);
    let is_done = ship();
    let journals_left = count_orphans(tracker, origin);
    RecoverReport {
        complete: is_done && journals_left == 0,
        journals_found,
        delivered: stats.delivered_from_orphans.get() - delivered,
        rejected: stats.rejected_from_orphans.get() - rejected,
        blocked: stats.blocked_in_orphans.get(),
        journals_left,
    }
}

/// Counts the orphaned journals for the destination `origin`.
fn count_orphans(tracker: &Tracker, origin: &str) -> u64 {
    let roots = tracker.settings().journal_roots(tracker.journal().root());
    let left = roots
        .iter()
        .map(|root| Directory::find_orphaned(root, origin).count() as u64);
    // `find_orphaned` skips the journal that is being shipped, because it is locked like that of a live
    // process.
    left.sum::<u64>() + tracker.stats.orphans_in_progress.get()
}
