//! Queries about the state of tracking, and functions that wait for delivery.
//!
//! Invariant: a query waits for nothing, except [`flush`] and [`shutdown`], which wait no longer than their
//! timeout.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::journal::{self, DropReason};
use crate::shipper::FlushScope;
use crate::shipper::stats::Connection;
use crate::system_metrics::{self, StopMode};
use crate::time;
use crate::time::saturating_deadline;
use crate::tracker::Tracker;
use crate::tracker::{exit_report, fake_scope, global};

/// State of tracking and of the connection to the store; see [`Health`]. See
/// [`Fake::offline`](crate::testing::Fake::offline) for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrackingState {
    /// Tracking is off (`MLFLOW_TRACKING_ENABLED=false`).
    Disabled,
    /// No run was started yet.
    Idle,
    /// The last request was answered, or no request was needed yet.
    Connected,
    /// The last request failed and is tried again.
    Waiting,
    /// Several requests failed one after another, or a person has to act. Values are kept, and the request is
    /// tried again at long intervals.
    Degraded,
}

impl Display for TrackingState {
    /// Writes the state in lower case, for example `connected`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Disabled => "disabled",
            Self::Idle => "idle",
            Self::Connected => "connected",
            Self::Waiting => "waiting",
            Self::Degraded => "degraded",
        })
    }
}

/// Snapshot of the state of tracking. See [`health()`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// State of the connection to the store after the last request.
    pub state: TrackingState,
    /// Values that were logged and wait in the journal for delivery, without those in [`blocked`](Self::blocked). A
    /// value is a metric point, a param, a tag, an artifact, the start of a run, the end of a run, or new
    /// text in the console log of a run. Params and tags that are given with the start belong to the start.
    pub queued: u64,
    /// Values that the store has taken, including those of processes that have ended.
    pub delivered: u64,
    /// Requests that failed and are tried again.
    pub retried: u64,
    /// Values that the store has refused for good, or that could not be logged at all. Refused values are
    /// kept: see [`resend_rejected`](crate::resend_rejected).
    pub rejected: u64,
    /// Values that the store takes only after a person has acted, for example because their experiment is
    /// deleted. Such values are kept, and are tried again about every minute.
    pub blocked: u64,
    /// Records that were lost in damaged files of the journal; usually each is one value. Each of the
    /// following counts as one record: a damaged record; a stretch of a file in which no record can be
    /// recognized, however long the stretch is; and a value whose metric or run was defined by a damaged
    /// record. Everything else in these files is delivered. The files are kept in the folder `damaged-<uid>`
    /// beside [`journal`](Self::journal).
    pub damaged: u64,
    /// Values that were lost, by reason.
    pub dropped: Dropped,
    /// Bytes that the journal takes on disk or in memory, without the artifacts beside it.
    pub journal_bytes: u64,
    /// Bytes of artifacts that wait beside the journal. They are limited by the free space of the disk, not
    /// by `MLFLOW_JOURNAL_MAX_BYTES`.
    pub artifact_bytes: u64,
    /// Age of the oldest value that the shipper is sending or retries; `None` if there is no such value.
    pub oldest: Option<Duration>,
    /// Largest number of requests with values that are in flight at once now, each on a connection of its own. The library
    /// finds out how many raise the rate of delivery to a server. 0 before the store is opened, and 1 for a file or a
    /// database.
    pub concurrent_requests: u64,
    /// Metric points that were left out of the runs' metrics, as
    /// [`metric_max_points_per_second`](crate::Config::metric_max_points_per_second) asks for, including those of processes
    /// that have ended. Such a point counts as queued until the file that holds it is delivered.
    pub thinned: u64,
    /// Directory of this process's journal; `None` if the journal is in memory or not created yet.
    pub journal: Option<PathBuf>,
}

/// Values that were lost, by reason. The first loss for each reason logs a warning. See [`health()`] for an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// Metric points, texts up to 16 KiB and console lines beyond `MLFLOW_JOURNAL_MAX_BYTES`.
    pub journal_full: u64,
    /// Values beyond the memory limit that applies if no journal can be written to disk.
    pub memory_full: u64,
    /// Values in files of the journal that were removed, by something other than this library, before
    /// delivery.
    pub journal_removed: u64,
}

impl Dropped {
    /// Returns the number of lost values, for all reasons together. See [`health()`] for an example.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            journal_full,
            memory_full,
            journal_removed,
        } = self;
        journal_full + memory_full + journal_removed
    }
}

/// Result of a flush. See [`flush()`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushReport {
    /// True if everything logged before the call is delivered, rejected or blocked.
    pub complete: bool,
    /// Values that still wait in the journal, without those in [`blocked`](Self::blocked), and without points that were left
    /// out of the metrics and gather for their [file](crate::Config::metric_max_points_per_second).
    pub queued: u64,
    /// Values that the store has taken until now, as in [`Health::delivered`].
    pub delivered: u64,
    /// Values that the store takes only after a person has acted, as in [`Health::blocked`]. A report may be
    /// complete while there are such values.
    pub blocked: u64,
    /// Values that the store has refused until now or that could not be logged, as in [`Health::rejected`].
    pub rejected: u64,
}

impl FlushReport {
    /// Returns a report with the sums over `trackers`. `complete` is the result of the flush.
    pub(crate) fn from_trackers(trackers: &[Arc<Tracker>], complete: bool) -> Self {
        let sum = |count: fn(&Tracker) -> u64| trackers.iter().map(|tracker| count(tracker)).sum();
        Self {
            complete,
            queued: sum(|tracker| {
                let gathering = tracker.stats.thinned_waiting.get();
                tracker.queued().saturating_sub(gathering)
            }),
            delivered: sum(|tracker| tracker.stats.total_delivered()),
            blocked: sum(|tracker| tracker.stats.total_blocked()),
            rejected: sum(|tracker| tracker.stats.total_rejected()),
        }
    }
}

/// Returns the present state of tracking. Neither makes a tracker nor starts a thread. Costs a lock and a few
/// loads, and a system call for each run with a console log.
///
/// ```
/// use mlflow::TrackingState;
///
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().start();
/// run.log_metric("loss", 0.5);
/// mlflow::flush(std::time::Duration::from_secs(10));
/// let health = mlflow::health();
/// assert_eq!(health.state, TrackingState::Connected);
/// assert_eq!((health.queued, health.delivered), (0, 2)); // the start of the run, and the point
/// assert_eq!((health.rejected, health.dropped.total()), (0, 0));
/// ```
#[must_use]
pub fn health() -> Health {
    match current_tracker() {
        Some(tracker) => tracker.health(),
        None => Health {
            state: if global::is_enabled() {
                TrackingState::Idle
            } else {
                TrackingState::Disabled
            },
            queued: 0,
            delivered: 0,
            retried: 0,
            rejected: 0,
            blocked: 0,
            damaged: 0,
            dropped: Dropped::default(),
            journal_bytes: 0,
            artifact_bytes: 0,
            oldest: None,
            concurrent_requests: 0,
            thinned: 0,
            journal: None,
        },
    }
}

/// Waits until everything logged so far is delivered, rejected or blocked, but no longer than `timeout`. May be
/// called from anywhere; inside an async runtime it blocks the calling thread.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().param("lr", 0.1).start();
/// run.log_metric("loss", 0.5);
/// let report = mlflow::flush(std::time::Duration::from_secs(10));
/// assert!(report.complete);
/// assert_eq!((report.queued, report.delivered, report.rejected), (0, 2, 0));
/// ```
pub fn flush(timeout: Duration) -> FlushReport {
    let deadline = saturating_deadline(Instant::now(), timeout);
    let trackers = all_trackers();
    let mut complete = true;
    for tracker in &trackers {
        complete &= tracker.flush_until(deadline, FlushScope::Own);
    }
    FlushReport::from_trackers(&trackers, complete)
}

/// Flushes as [`flush`] does, at the end of a program that cannot rely on its exit hook, because the program
/// ends by `abort`, or because it is a library that is unloaded early. Logging still works afterwards, but
/// runs that are open receive no more system metrics, and stdout and stderr are no longer captured.
///
/// ```
/// use std::time::Duration;
///
/// # let fake = mlflow::testing::fake();
/// mlflow::start_run().name("fit").start().finish(mlflow::RunStatus::Finished);
/// let report = mlflow::shutdown(Duration::from_secs(10));
/// assert!(report.complete);
/// // std::process::abort();
/// ```
pub fn shutdown(timeout: Duration) -> FlushReport {
    if fake_scope::scoped_fake().is_none() {
        let deadline = saturating_deadline(Instant::now(), timeout);
        system_metrics::stop_sampling(deadline, StopMode::Restartable);
        exit_report::stop_captures(deadline);
    }
    for tracker in all_trackers() {
        journal::release_thread(tracker.journal());
    }
    flush(timeout)
}

/// Returns the fake of the calling scope or, without one, the trackers of the process, including those of
/// earlier configurations.
pub(crate) fn all_trackers() -> Vec<Arc<Tracker>> {
    match fake_scope::scoped_fake() {
        Some(fake) => vec![fake],
        None => Tracker::all(),
    }
}

/// Returns the tracker of the calling scope or of the process, if there is one yet.
fn current_tracker() -> Option<Arc<Tracker>> {
    fake_scope::scoped_fake().or_else(Tracker::existing)
}

impl Tracker {
    /// Returns the number of values that wait for delivery. Blocked values are not among them.
    pub(crate) fn queued(&self) -> u64 {
        let values = self
            .journal()
            .value_count()
            .saturating_sub(self.stats.settled() + self.stats.blocked.get());
        values + self.journal().console_logs.unshipped_count()
    }

    /// Checks, after a complete flush, that each value is counted once. `logged` is the number of values that
    /// the journal had before the flush.
    ///
    /// # Errors
    ///
    /// Returns the counts as text if fewer values are counted than were logged before the flush, or more than
    /// were logged until now.
    pub(crate) fn check_numbers(&self, logged: u64) -> Result<(), String> {
        let stats = &self.stats;
        let (delivered, rejected) = (stats.delivered.get(), stats.rejected.get());
        let (lost, blocked) = (stats.lost.get(), stats.blocked.get());
        let thinned = stats.thinned_waiting.get();
        let counted = delivered + rejected + lost + blocked + thinned;
        let now = self.journal().value_count();
        if (logged.min(now)..=now).contains(&counted) {
            return Ok(());
        }
        Err(format!(
            "of {logged} to {now} values {delivered} are delivered, {rejected} rejected, {lost} lost, {blocked} blocked, {thinned} left out"
        ))
    }

    /// Returns the numbers of lost values, by reason.
    pub(crate) fn dropped(&self) -> Dropped {
        Dropped {
            journal_full: self.journal().dropped(DropReason::JournalFull),
            memory_full: self.journal().dropped(DropReason::MemoryFull),
            journal_removed: self.journal().dropped(DropReason::Removed),
        }
    }

    /// Returns the state of the connection to the store.
    pub(super) fn connection_state(&self) -> TrackingState {
        match self.stats.connection() {
            Connection::Untried | Connection::Connected => TrackingState::Connected,
            Connection::Retrying => TrackingState::Waiting,
            Connection::Unavailable => TrackingState::Degraded,
        }
    }

    fn health(&self) -> Health {
        let stats = &self.stats;
        Health {
            state: self.connection_state(),
            queued: self.queued(),
            delivered: stats.total_delivered(),
            retried: stats.retried.get(),
            rejected: stats.total_rejected(),
            blocked: stats.total_blocked(),
            damaged: stats.damaged.get(),
            dropped: self.dropped(),
            journal_bytes: self.journal().used_bytes(),
            artifact_bytes: self.journal().artifact_bytes(),
            oldest: stats.oldest_time_ms().map(|since_ms| {
                // The clock may have been set back since.
                let age_ms = time::now_ms().saturating_sub(since_ms);
                Duration::from_millis(u64::try_from(age_ms).unwrap_or(0))
            }),
            concurrent_requests: stats.concurrent_requests.get(),
            thinned: stats.thinned.get(),
            journal: self.journal().path(),
        }
    }
}
