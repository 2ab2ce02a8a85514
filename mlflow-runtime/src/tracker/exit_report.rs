//! Delivery by a tracker at the end of the process, and the last lines on stderr.
//!
//! Invariants: if the store is known to be unavailable, or has done nothing for this process yet, only one
//! more attempt is made. Values that are left stay in the journal, if it is on disk, and one line reports
//! them.

use std::time::{Duration, Instant};

use super::Tracker;
use crate::config::destination::Destination;
use crate::journal::directory::RejectedFolder;
use crate::journal::{self, quarantine};
use crate::os::exit::{self, ExitContext, Stage};
use crate::shipper::stats::RefusalKind;
use crate::shipper::{FlushScope, ORPHAN_TIMEOUT_DIVISOR};
use crate::stderr::write_stderr_line;
use crate::system_metrics::{self, StopMode};
use crate::time::saturating_deadline;

/// Registers the exit stages that deliver the logged values when the process ends.
pub(super) fn install() {
    exit::register_stage(Stage::StdioCapture, |leaving| {
        stop_captures(leaving.deadline());
    });
    exit::register_stage(Stage::SystemMetrics, |leaving| {
        system_metrics::stop_sampling(leaving.deadline(), StopMode::Final);
    });
    exit::register_stage(Stage::Delivery, deliver_all);
    exit::install(prepare_exit);
}

/// Seals the segments of the thread that ends the process, so that they can be shipped and deleted. Returns
/// the longest exit timeout; `None` if there is no tracker.
fn prepare_exit() -> Option<Duration> {
    let trackers = Tracker::all();
    for tracker in &trackers {
        journal::release_thread(tracker.journal());
    }
    (!trackers.is_empty()).then(longest_timeout)
}

/// Ends the captures of stdout and stderr, and waits for the bytes that were written before, but no longer
/// than `until`.
pub(super) fn stop_captures(until: Instant) {
    for tracker in Tracker::all() {
        if let Some(capture) = tracker.capture() {
            capture.stop(until);
        }
    }
}

fn deliver_all(leaving: &ExitContext) {
    for tracker in Tracker::all() {
        deliver_on_exit(&tracker, leaving.started);
    }
}

/// Returns the longest exit timeout of the process's trackers.
pub(crate) fn longest_timeout() -> Duration {
    let trackers = Tracker::all();
    let timeouts = trackers
        .iter()
        .map(|tracker| tracker.settings().exit_timeout);
    timeouts.max().unwrap_or_default()
}

// Output: `not delivered within the 5 s of MLFLOW_EXIT_TIMEOUT`
fn describe_timeout(timeout: Duration) -> String {
    let seconds = timeout.as_secs_f64();
    format!("not delivered within the {seconds} s of MLFLOW_EXIT_TIMEOUT")
}

fn deliver_on_exit(tracker: &Tracker, started: Instant) {
    let timeout = tracker.settings().exit_timeout;
    // A process without values of its own waits only for orphaned journals, which get a part of the timeout.
    let has_own = tracker.queued() > 0;
    let longest = if has_own {
        timeout
    } else {
        timeout / ORPHAN_TIMEOUT_DIVISOR
    };
    let deadline = saturating_deadline(started, longest);
    tracker.flush_queue.begin_exit();
    let logged = tracker.journal().value_count();
    let is_complete = tracker.flush_until(deadline, FlushScope::Exit(timeout));
    // The programs in this library's tests fail if they print this line.
    if cfg!(feature = "__numbers")
        && is_complete
        && let Err(miscounted) = tracker.check_numbers(logged)
    {
        write_stderr_line(&format!(
            "mlflow: the numbers of mlflow::health are wrong: {miscounted}. Please report that"
        ));
    }
    if tracker.queued() == 0 && !tracker.journal().is_empty() {
        // Threads of a pool never end, so their segments stay open. Sealed segments can be removed with their
        // files.
        tracker.journal().seal_all();
        tracker.flush_until(deadline, FlushScope::Own);
    }
    let left = tracker.queued();
    let is_cut_short = tracker.stats.orphans_in_progress.get() > 0;
    if left == 0 {
        tracker.journal().remove_if_empty();
    }
    if tracker.settings().quiet {
        return;
    }
    let destination = &tracker.settings().destination;
    let path = tracker.journal().path();
    let lost = match path {
        Some(_) => left.min(tracker.journal().values_in_memory()),
        None => left,
    };
    if let Some(path) = path
        && left > lost
    {
        let trouble = tracker.stats.waiting_reason();
        // The warning at the start said what to build, and `then` names the feature.
        let is_not_built =
            matches!(destination, Destination::Unusable(unusable) if unusable.is_not_built());
        let is_too_slow =
            || started.elapsed() >= longest && !matches!(destination, Destination::Unusable(_));
        let trouble = trouble
            .filter(|_| !is_not_built)
            .or_else(|| is_too_slow().then(|| describe_timeout(timeout)));
        let trouble = trouble.map_or_else(String::new, |reason| format!(" ({reason})"));
        let then = match destination {
            Destination::Unusable(unusable) => unusable.describe_delivery(),
            _ => {
                "the next tracked program with that destination, or `cargo mlflow sync`, ships them"
                    .to_owned()
            }
        };
        write_stderr_line(&format!(
            "mlflow: {} in {} for {destination}{trouble}; {then}",
            count_with_verb(left - lost, ["waits", "wait"]),
            path.display(),
        ));
    }
    // Blocked values are reported by a line of their own.
    if is_cut_short && left == 0 && tracker.stats.blocked_in_orphans.get() == 0 {
        write_stderr_line(&format!(
            "mlflow: not everything that earlier processes left for {destination} is shipped yet; later tracked programs \
             continue, and mlflow::recover, or `cargo mlflow sync`, ships the rest"
        ));
    }
    if let Some(rate) = tracker.settings().point_rate
        && let thinned @ 1.. = tracker.stats.thinned.get()
    {
        let points = if thinned == 1 {
            "point goes"
        } else {
            "points go"
        };
        write_stderr_line(&format!(
            "mlflow: {thinned} metric {points} into files below thinned_metrics of their runs and not into the metrics, as \
             MLFLOW_METRIC_MAX_POINTS_PER_SECOND is {rate}"
        ));
    }
    print_kept(tracker);
    let stats = &tracker.stats;
    let not_logged = stats.not_logged.get();
    if not_logged > 0 {
        let first = stats.describe_first_refusal(RefusalKind::NotLogged);
        let others = if not_logged > 1 {
            "; a subscriber of `tracing` prints the reason of each, e.g. tracing_subscriber::fmt::init()"
        } else {
            ""
        };
        write_stderr_line(&format!(
            "mlflow: {} could not be logged{first}{others}",
            count_values(not_logged)
        ));
    }
    let refused = stats
        .total_refused()
        .saturating_sub(stats.rejected_kept.get());
    if refused > 0 {
        let first = tracker.stats.describe_first_refusal(RefusalKind::Rejected);
        let fault = tracker.stats.keep_error();
        let fault = fault.as_deref().unwrap_or("the journal is in memory");
        write_stderr_line(&format!(
            "mlflow: {destination} has refused {}{first}, lost because nothing could be kept ({fault})",
            count_values(refused)
        ));
    }
    if lost > 0 {
        write_stderr_line(&format!(
            "mlflow: {} lost, because {destination} could not take what was in memory",
            count_with_verb(lost, ["is", "are"])
        ));
    }
    let dropped = tracker.dropped();
    let removed = dropped.journal_removed;
    if removed > 0 {
        write_stderr_line(&format!(
            "mlflow: {} lost: files of the journal were removed before {destination} had taken them",
            count_with_verb(removed, ["is", "are"])
        ));
    }
    let full = dropped.total() - removed;
    if full > 0 {
        write_stderr_line(&format!(
            "mlflow: {} lost, because the journal was full",
            count_with_verb(full, ["is", "are"])
        ));
    }
}

/// Returns the number of values in words, with the form of the verb that belongs to it: that of one, or of several.
fn count_with_verb(values: u64, [one, several]: [&str; 2]) -> String {
    let verb = if values == 1 { one } else { several };
    format!("{} {verb}", count_values(values))
}

fn count_values(values: u64) -> String {
    format!("{values} value{}", if values == 1 { "" } else { "s" })
}

/// Largest number of journal folders that one line lists.
const MAX_LISTED_FOLDERS: usize = 3;

/// Writes lines to stderr about values and files that are kept until a person acts.
fn print_kept(tracker: &Tracker) {
    let Some(root) = tracker.journal().root() else {
        return;
    };
    let destination = &tracker.settings().destination;
    let stats = &tracker.stats;
    let blocked = stats.own_blocked();
    if blocked > 0 {
        let own = tracker.journal().path();
        let folder = own.as_deref().unwrap_or(root);
        write_stderr_line(&format!(
            "mlflow: {} in {} for {destination}, which does not take them now{}; later tracked programs \
             try again. To discard what waits, remove that folder",
            count_with_verb(blocked, ["waits", "wait"]),
            folder.display(),
            stats.describe_first_blocked(true)
        ));
    }
    let blocked = stats.blocked_in_orphans.get();
    if blocked > 0 {
        let folders = stats.blocked_folders();
        let shown = folders
            .iter()
            .take(MAX_LISTED_FOLDERS)
            .map(|folder| folder.display().to_string());
        let shown = shown.collect::<Vec<_>>().join(", ");
        let more = match folders.len().saturating_sub(MAX_LISTED_FOLDERS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        write_stderr_line(&format!(
            "mlflow: {} in {shown}{more}, left by earlier programs for {destination}, which does \
             not take them now{}. To discard what waits, remove these folders",
            count_with_verb(blocked, ["waits", "wait"]),
            stats.describe_first_blocked(false)
        ));
    }
    let damaged = tracker.stats.damaged.get();
    if damaged > 0 {
        write_stderr_line(&format!(
            "mlflow: {damaged} records in damaged files of the journal could not be read; the files are kept in {}",
            quarantine::damaged_directory(root).display()
        ));
    }
    let refused = tracker.stats.rejected_kept.get();
    if refused > 0 {
        let first = tracker.stats.describe_first_refusal(RefusalKind::Rejected);
        write_stderr_line(&format!(
            "mlflow: {destination} has refused {}, kept in {}{first}. \
             mlflow::resend_rejected, or `cargo mlflow journal resend`, sends again what is kept",
            count_values(refused),
            RejectedFolder::directory_below(root).display()
        ));
    }
}
