//! The end of the process.
//!
//! Invariants: a run that is still open ends as KILLED. It waits no longer than the exit timeout;
//! where the store is known to be away, or has done nothing for this process yet, it makes one more
//! attempt and leaves. What is left is in the journal, and one line says so.
//!
//! The work is done by a thread of its own, as any part of it may meet a disk that does not answer,
//! or a lock of a thread that waits for one: whoever ends the process only waits, with a deadline.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::journal::directory::RejectedFolder;
use crate::journal::{self, kept};
use crate::os::hooks;
use crate::run;
use crate::shipper::{Goal, PART_OF_DEAD};
use crate::stderr::say;
use crate::stdio_capture;
use crate::system_metrics::{self, Later};
use crate::time::deadline;
use crate::tracker::Tracker;

/// Has the process flush when it ends: by returning from `main`, by `process::exit`, by a panic in `main`.
pub(crate) fn install() {
    // Not a `Once`: a child made by `fork` meanwhile would wait for it.
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if !INSTALLED.swap(true, Ordering::Relaxed) && !hooks::at_exit(finish) {
        tracing::warn!(target: "mlflow", "no exit hook could be installed; call mlflow::flush before the program ends");
    }
}

extern "C" fn finish() {
    // A panic must not cross into C.
    let _ = panic::catch_unwind(leave);
}

/// What the last words may take beyond the timeout.
const GRACE: Duration = Duration::from_millis(250);

/// Delivers what there is, within the exit timeout, and says what is left.
pub(crate) fn leave() {
    let started = Instant::now();
    let trackers = Tracker::all();
    if trackers.is_empty() {
        return;
    }
    for tracker in &trackers {
        journal::release_thread(tracker.journal());
    }
    let until = deadline(started, timeout().saturating_add(GRACE));
    if !within(until, move || deliver(started)) {
        say(
            "mlflow: the disk did not answer within MLFLOW_EXIT_TIMEOUT; what it has of the journal is shipped by \
             the next tracked program",
        );
    }
}

/// Runs `work` on another thread, and waits for it until then; false if it goes on.
fn within(until: Instant, work: impl FnOnce() + Send + 'static) -> bool {
    let (done, ended) = mpsc::channel();
    let spawned = thread::Builder::new()
        .name("mlflow-exit".to_owned())
        .spawn(move || {
            let _ = panic::catch_unwind(panic::AssertUnwindSafe(work));
            let _ = done.send(());
        });
    match spawned {
        Ok(_) => ended
            .recv_timeout(until.saturating_duration_since(Instant::now()))
            .is_ok(),
        Err(error) => {
            say(&format!(
                "mlflow: nothing is delivered any more, as no thread could be started ({error}); what is in the \
                 journal is shipped by the next tracked program"
            ));
            true
        }
    }
}

fn deliver(started: Instant) {
    // First, as what was written until now belongs to runs that are open.
    stdio_capture::stop(deadline(started, timeout()));
    // What is open now will never be ended; the next process would find it so, too.
    run::end_open();
    journal::release_all();
    system_metrics::stop(deadline(started, timeout()), Later::Ignored);
    for tracker in Tracker::all() {
        leave_one(&tracker, started);
    }
}

fn leave_one(tracker: &Tracker, started: Instant) {
    let timeout = tracker.settings().exit_timeout;
    // Whoever has nothing of its own to deliver waits for what others have left only.
    let has_own = tracker.queued() > 0;
    let longest = if has_own {
        timeout
    } else {
        timeout / PART_OF_DEAD
    };
    let deadline = deadline(started, longest);
    tracker.control.leave();
    let logged = tracker.journal().values();
    let is_complete = tracker.flush_until(deadline, Goal::Exit(timeout));
    // Each program of our own tests fails by this line.
    if cfg!(feature = "__numbers")
        && is_complete
        && let Err(miscounted) = tracker.check_numbers(logged)
    {
        say(&format!(
            "mlflow: the numbers of mlflow::health are wrong: {miscounted}. Please report that"
        ));
    }
    if tracker.queued() == 0 && !tracker.journal().is_empty() {
        // Threads of a pool never end, and what they write to is kept for them.
        tracker.journal().seal_all();
        tracker.flush_until(deadline, Goal::Own);
    }
    let left = tracker.queued();
    let is_cut_short = tracker.stats.dead_under_way.get() > 0;
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
        let trouble = tracker.stats.trouble();
        let trouble = trouble.map_or_else(String::new, |reason| format!(" ({reason})"));
        let then = if destination.is_usable() {
            "the next tracked program with that destination ships them".to_owned()
        } else {
            format!(
                "with the right URI the next tracked program ships them, if it is plain what was meant, else \
                 mlflow::recover_from({:?}, …) does",
                destination.to_string()
            )
        };
        say(&format!(
            "mlflow: {} values wait in {} for {destination}{trouble}; {then}",
            left - lost,
            path.display(),
        ));
    }
    // Of what is held there is a line of its own.
    if is_cut_short && left == 0 && tracker.stats.held_of_dead.get() == 0 {
        say(&format!(
            "mlflow: what earlier processes have left for {destination} is not all shipped; later tracked programs go \
             on with it, mlflow::recover ships all of it"
        ));
    }
    say_kept(tracker);
    let stats = &tracker.stats;
    let not_logged = stats.not_logged.get();
    if not_logged > 0 {
        let first = stats.first_refusal("is not logged");
        say(&format!(
            "mlflow: {not_logged} values could not be logged{first}"
        ));
    }
    let refused = stats.all_refused().saturating_sub(stats.kept.get());
    if refused > 0 {
        let first = tracker.stats.first_refusal("is set aside");
        let fault = tracker.stats.keep_fault();
        let fault = fault.as_deref().unwrap_or("the journal is in memory");
        say(&format!(
            "mlflow: {destination} has refused {refused} values{first}; they could not be kept ({fault}) and are lost"
        ));
    }
    if lost > 0 {
        say(&format!(
            "mlflow: {lost} values could not be delivered to {destination} and are lost"
        ));
    }
    let dropped = tracker.dropped();
    let removed = dropped.journal_removed;
    if removed > 0 {
        say(&format!(
            "mlflow: {removed} values are lost: files of the journal were removed before {destination} had taken them"
        ));
    }
    let full = dropped.total() - removed;
    if full > 0 {
        say(&format!(
            "mlflow: {full} values found no room in the journal and are lost"
        ));
    }
}

/// How many folders of journals one line names.
const FOLDERS: usize = 3;

/// Says what is kept until a person acts.
fn say_kept(tracker: &Tracker) {
    let Some(root) = tracker.journal().root() else {
        return;
    };
    let destination = &tracker.settings().destination;
    let stats = &tracker.stats;
    let held = stats.own_held();
    if held > 0 {
        let own = tracker.journal().path();
        let folder = own.as_deref().unwrap_or(root);
        say(&format!(
            "mlflow: {held} values wait in {} for {destination}, which does not take them now{}; later tracked programs \
             try again. To give them up, remove that folder",
            folder.display(),
            stats.first_held(true)
        ));
    }
    let held = stats.held_of_dead.get();
    if held > 0 {
        let folders = stats.held_folders();
        let shown = folders
            .iter()
            .take(FOLDERS)
            .map(|folder| folder.display().to_string());
        let shown = shown.collect::<Vec<_>>().join(", ");
        let more = match folders.len().saturating_sub(FOLDERS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        say(&format!(
            "mlflow: {held} values that earlier programs have left wait in {shown}{more} for {destination}, which does \
             not take them now{}. To give them up, remove these folders",
            stats.first_held(false)
        ));
    }
    let damaged = tracker.stats.damaged.get();
    if damaged > 0 {
        say(&format!(
            "mlflow: {damaged} records in damaged files of the journal could not be read; the files are kept in {}",
            kept::folder(root).display()
        ));
    }
    let refused = tracker.stats.kept.get();
    if refused > 0 {
        let first = tracker.stats.first_refusal("is set aside");
        say(&format!(
            "mlflow: {destination} has refused {refused} values; they are kept in {}{first}. \
             mlflow::resend_rejected sends them again",
            RejectedFolder::below(root).display()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_does_not_answer_keeps_no_process_from_ending() {
        let (_never, silent) = mpsc::channel::<()>();
        let work = move || {
            let _ = silent.recv();
        };
        assert!(!within(Instant::now() + Duration::from_millis(20), work));
        assert!(within(Instant::now() + Duration::from_secs(60), || {}));
        let panics = || panic!("on the way");
        assert!(within(Instant::now() + Duration::from_secs(60), panics));
    }
}
