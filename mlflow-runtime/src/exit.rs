//! The end of the process.
//!
//! Invariants: a run that is still open ends as KILLED. It waits no longer than the exit timeout; where the store is known to be away it
//! makes one more attempt and leaves. What is left is in the journal, and one line says so.

use std::io::{self, Write};
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::journal;
use crate::run;
use crate::shipper::Goal;
use crate::system_metrics::{self, Later};
use crate::tracker::Tracker;

/// Has the process flush when it ends: by returning from `main`, by `process::exit`, by a panic in `main`.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        if !journal::at_exit(finish) {
            tracing::warn!(target: "mlflow", "no exit hook could be installed; call mlflow::flush before the program ends");
        }
    });
}

extern "C" fn finish() {
    // A panic must not cross into C.
    let _ = std::panic::catch_unwind(leave);
}

/// Delivers what there is, within the exit timeout, and says what is left.
pub(crate) fn leave() {
    let started = Instant::now();
    // What is open now will never be ended; the next process would find it so, too.
    run::end_open();
    system_metrics::stop(deadline(started, timeout()), Later::Ignored);
    for tracker in Tracker::all() {
        leave_one(&tracker, started);
    }
}

fn leave_one(tracker: &Tracker, started: Instant) {
    journal::release_thread(tracker.journal());
    let deadline = deadline(started, tracker.settings().exit_timeout);
    tracker.flush_until(deadline, Goal::Exit);
    let left = tracker.queued();
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
        say(&format!(
            "mlflow: {} values wait in {} for {destination}; the next tracked program with that \
             destination ships them",
            left - lost,
            path.display(),
        ));
    }
    if lost > 0 {
        say(&format!(
            "mlflow: {lost} values could not be delivered to {destination} and are lost"
        ));
    }
    let dropped = tracker.dropped().total();
    if dropped > 0 {
        say(&format!(
            "mlflow: {dropped} values found no room in the journal and are lost"
        ));
    }
}

/// The longest exit timeout of the process.
pub(crate) fn timeout() -> Duration {
    let trackers = Tracker::all();
    let timeouts = trackers
        .iter()
        .map(|tracker| tracker.settings().exit_timeout);
    timeouts.max().unwrap_or_default()
}

/// The end of a wait that may be longer than the clock can count.
pub(crate) fn deadline(start: Instant, timeout: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_secs(1 << 30);
    start.checked_add(timeout).unwrap_or(start + FOR_EVER)
}

/// Writes a line to stderr. One that is closed is nobody's trouble; `eprintln!` would panic.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
