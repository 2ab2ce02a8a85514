//! The end of the process, in stages.
//!
//! # Invariants
//!
//! 1. Each part of the library registers what it has to do at the end when it first has something to do. So this
//!    module knows none of them, and a process that has tracked nothing ends as it would without us.
//! 2. The stages run in the order of [`Stage`], whoever has registered first.
//! 3. Whoever ends the process waits no longer than the exit timeout, and a moment for the last words. The work is done
//!    by a thread of its own, as any part of it may meet a disk that does not answer, or a lock of a thread that waits
//!    for one.
//! 4. A child made by `fork` has the stages of its parent: nothing here is a lock that it could wait for.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;

use super::hooks;
use crate::stderr::write_stderr_line;
use crate::time::saturating_deadline;

/// What is done at the end, the first one first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// What was written to stdout and stderr until now belongs to runs that are open.
    StdioCapture,
    /// What is open now will never be ended; the next process would find it so, too.
    OpenRuns,
    SystemMetrics,
    Delivery,
}

/// The end that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExitContext {
    pub(crate) started: Instant,
    timeout: Duration,
}

impl ExitContext {
    /// Returns when the process is to be gone.
    pub(crate) fn deadline(&self) -> Instant {
        saturating_deadline(self.started, self.timeout)
    }
}

/// What the last words may take beyond the timeout.
const EXIT_GRACE_PERIOD: Duration = Duration::from_millis(250);

static STEPS: [OnceBox<fn(&ExitContext)>; 4] = [const { OnceBox::new() }; 4];
static BEGIN: OnceBox<fn() -> Option<Duration>> = OnceBox::new();

/// Has `step` be done at that stage, by a thread of its own. The first one that is registered for a stage counts.
pub(crate) fn register_stage(stage: Stage, step: fn(&ExitContext)) {
    let registered = &STEPS[stage as usize];
    if registered.get().is_none() {
        let _ = registered.set(Box::new(step));
    }
}

/// Has the stages run when the process ends: by returning from `main`, by `process::exit`, by a panic in `main`. `begin`
/// is called first, by the thread that ends the process, and returns how long the process may wait; `None` if there is
/// nothing to do.
pub(crate) fn install(begin: fn() -> Option<Duration>) {
    let _ = BEGIN.set(Box::new(begin));
    // Not a `Once`: a child made by `fork` meanwhile would wait for it.
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if !INSTALLED.swap(true, Ordering::Relaxed) && !hooks::register_exit_hook(run_exit_hook) {
        tracing::warn!(target: "mlflow", "no exit hook could be installed; call mlflow::flush before the program ends");
    }
}

extern "C" fn run_exit_hook() {
    // A panic must not cross into C.
    let _ = panic::catch_unwind(run_exit_stages);
}

/// Runs the stages, within the exit timeout.
pub(crate) fn run_exit_stages() {
    let started = Instant::now();
    let Some(timeout) = BEGIN.get().and_then(|begin| begin()) else {
        return;
    };
    let leaving = ExitContext { started, timeout };
    let until = saturating_deadline(started, timeout.saturating_add(EXIT_GRACE_PERIOD));
    let stages = move || {
        for step in STEPS.iter().filter_map(OnceBox::get) {
            step(&leaving);
        }
    };
    if !run_with_deadline(until, stages) {
        write_stderr_line(
            "mlflow: the disk did not answer within MLFLOW_EXIT_TIMEOUT; what it has of the journal is shipped by \
             the next tracked program",
        );
    }
}

/// Runs `work` on another thread, and waits for it until then; false if it goes on.
fn run_with_deadline(until: Instant, work: impl FnOnce() + Send + 'static) -> bool {
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
            write_stderr_line(&format!(
                "mlflow: nothing is delivered any more, as no thread could be started ({error}); what is in the \
                 journal is shipped by the next tracked program"
            ));
            true
        }
    }
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
        assert!(!run_with_deadline(
            Instant::now() + Duration::from_millis(20),
            work
        ));
        assert!(run_with_deadline(
            Instant::now() + Duration::from_secs(60),
            || {}
        ));
        let panics = || panic!("on the way");
        assert!(run_with_deadline(
            Instant::now() + Duration::from_secs(60),
            panics
        ));
    }
}
