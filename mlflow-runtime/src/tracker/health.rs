//! What the process can be asked about its tracking.
//!
//! Invariant: asking waits for nothing, except [`flush`] and [`shutdown`], which wait no longer
//! than they are told to.

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
use crate::tracker::{global, last_words, stand_in};

/// How the process and its store get along; see [`Health`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Tracking is off (`MLFLOW_TRACKING_ENABLED=false`).
    Disabled,
    /// No run was started yet.
    Idle,
    /// The last request was answered, or none was needed yet.
    Connected,
    /// The last request failed; it is tried again.
    Waiting,
    /// So did the ones before it, or a person has to act; values are kept and tried again at long intervals.
    Degraded,
}

/// A look at tracking at one moment; see [`health`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// How the store was last seen.
    pub state: State,
    /// Values logged and not settled: they wait in the journal. A value is a metric point, a param,
    /// a tag, an artifact, a run's start or its end, what is new on a run's console; params and tags
    /// given with the start are part of it.
    pub queued: u64,
    /// Values the store has taken, those that dead processes left included.
    pub delivered: u64,
    /// Requests that failed and are tried again.
    pub retried: u64,
    /// Values the store has refused for good, or that could not be logged at all. Those that were
    /// refused are kept: see [`resend_rejected`](crate::resend_rejected).
    pub rejected: u64,
    /// Values the store takes only when a person has acted, e.g. of a deleted experiment. They are kept,
    /// and tried again every minute or so.
    pub held: u64,
    /// Records that were lost in damaged files of the journal, each a value as a rule: a record that is
    /// damaged, a stretch of a file in which none can be made out (one, however long it is), and a value
    /// whose metric or run was named by such a record. Everything else of these files is delivered; they
    /// are kept in the folder `damaged-<uid>` beside [`journal`](Self::journal).
    pub damaged: u64,
    /// Values that found no room.
    pub dropped: Dropped,
    /// Bytes of disk, or memory, that the journal takes, without the artifacts beside it.
    pub journal_bytes: u64,
    /// Bytes of artifacts that wait beside the journal. The free space of the disk bounds them, not
    /// `MLFLOW_JOURNAL_MAX_BYTES`.
    pub artifact_bytes: u64,
    /// How long the oldest value that the store was offered has been waiting; `None` if none waits.
    pub oldest: Option<Duration>,
    /// Where it lies; `None` if it is in memory, or not there yet.
    pub journal: Option<PathBuf>,
}

/// Values that were lost, by reason. The first of each reason warns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// Metric points, texts up to 16 KiB and console lines beyond `MLFLOW_JOURNAL_MAX_BYTES`.
    pub journal_full: u64,
    /// Values beyond the memory that they may take where no journal can be written.
    pub memory_full: u64,
    /// Values in files of the journal that somebody removed while they waited.
    pub journal_removed: u64,
}

impl Dropped {
    /// All of them.
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

/// What a [`flush`] led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushReport {
    /// Whether all that was logged before has been settled.
    pub complete: bool,
    /// Values that still wait in the journal, without those that are held.
    pub queued: u64,
    /// Values that the store has taken until now, as in [`Health::delivered`].
    pub delivered: u64,
    /// Values that the store takes only when a person has acted, as in [`Health::held`]: a report may be
    /// complete without them.
    pub held: u64,
    /// Values that the store has refused until now, or that could not be logged, as in [`Health::rejected`].
    pub rejected: u64,
}

impl FlushReport {
    /// Tells of `trackers`, after a flush that was or was not complete.
    pub(crate) fn from_trackers(trackers: &[Arc<Tracker>], complete: bool) -> Self {
        let sum = |count: fn(&Tracker) -> u64| trackers.iter().map(|tracker| count(tracker)).sum();
        Self {
            complete,
            queued: sum(Tracker::queued),
            delivered: sum(|tracker| tracker.stats.total_delivered()),
            held: sum(|tracker| tracker.stats.total_blocked()),
            rejected: sum(|tracker| tracker.stats.total_rejected()),
        }
    }
}

/// How tracking is doing. Costs a lock and a few loads, and a system call for each run with a console;
/// starts nothing.
///
/// ```
/// let health = mlflow::health();
/// assert_eq!(health.dropped.total(), 0);
/// ```
#[must_use]
pub fn health() -> Health {
    match current_tracker() {
        Some(tracker) => tracker.health(),
        None => Health {
            state: if global::is_enabled() {
                State::Idle
            } else {
                State::Disabled
            },
            queued: 0,
            delivered: 0,
            retried: 0,
            rejected: 0,
            held: 0,
            damaged: 0,
            dropped: Dropped::default(),
            journal_bytes: 0,
            artifact_bytes: 0,
            oldest: None,
            journal: None,
        },
    }
}

/// Waits until all that was logged so far is delivered, set aside or held, but not longer than
/// `timeout`. May be called from anywhere, also inside an async runtime, whose thread it blocks.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let report = mlflow::flush(std::time::Duration::from_secs(10));
/// assert!(report.complete);
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

/// The same, for the end of a program that cannot count on its exit hook (it is ended by `abort`,
/// or is a library unloaded early). Logging goes on working afterwards, but runs that are open get no
/// more system metrics.
pub fn shutdown(timeout: Duration) -> FlushReport {
    if stand_in::scoped_fake().is_none() {
        let deadline = saturating_deadline(Instant::now(), timeout);
        system_metrics::stop_sampling(deadline, StopMode::Restartable);
        last_words::stop_captures(deadline);
    }
    for tracker in all_trackers() {
        journal::release_thread(tracker.journal());
    }
    flush(timeout)
}

/// The scope's tracker, or the process's with those of earlier configurations.
pub(crate) fn all_trackers() -> Vec<Arc<Tracker>> {
    match stand_in::scoped_fake() {
        Some(fake) => vec![fake],
        None => Tracker::all(),
    }
}

/// The tracker of this scope or of the process, if there is one yet.
fn current_tracker() -> Option<Arc<Tracker>> {
    stand_in::scoped_fake().or_else(Tracker::existing)
}

impl Tracker {
    /// Values that wait.
    pub(crate) fn queued(&self) -> u64 {
        let values = self
            .journal()
            .value_count()
            .saturating_sub(self.stats.settled() + self.stats.blocked.get());
        values + self.journal().console_logs.unshipped_count()
    }

    /// Checks, after a flush that was complete, that each value is counted once. `logged`: the values of
    /// the journal before the flush.
    ///
    /// # Errors
    ///
    /// What is counted, if that is less than was logged before, or more than was logged until now.
    pub(crate) fn check_numbers(&self, logged: u64) -> Result<(), String> {
        let stats = &self.stats;
        let (delivered, rejected) = (stats.delivered.get(), stats.rejected.get());
        let (lost, held) = (stats.lost.get(), stats.blocked.get());
        let counted = delivered + rejected + lost + held;
        let now = self.journal().value_count();
        if (logged.min(now)..=now).contains(&counted) {
            return Ok(());
        }
        Err(format!(
            "of {logged} to {now} values {delivered} are delivered, {rejected} rejected, {lost} lost, {held} held"
        ))
    }

    /// Values that found no room.
    pub(crate) fn dropped(&self) -> Dropped {
        Dropped {
            journal_full: self.journal().dropped(DropReason::JournalFull),
            memory_full: self.journal().dropped(DropReason::MemoryFull),
            journal_removed: self.journal().dropped(DropReason::Removed),
        }
    }

    fn health(&self) -> Health {
        let stats = &self.stats;
        Health {
            state: match stats.connection() {
                Connection::Untried | Connection::Connected => State::Connected,
                Connection::Retrying => State::Waiting,
                Connection::Unavailable => State::Degraded,
            },
            queued: self.queued(),
            delivered: stats.total_delivered(),
            retried: stats.retried.get(),
            rejected: stats.total_rejected(),
            held: stats.total_blocked(),
            damaged: stats.damaged.get(),
            dropped: self.dropped(),
            journal_bytes: self.journal().used_bytes(),
            artifact_bytes: self.journal().artifact_bytes(),
            oldest: stats.oldest_time_ms().map(|since_ms| {
                // The clock may have been set back.
                let age_ms = time::now_ms().saturating_sub(since_ms);
                Duration::from_millis(u64::try_from(age_ms).unwrap_or(0))
            }),
            journal: self.journal().path(),
        }
    }
}
