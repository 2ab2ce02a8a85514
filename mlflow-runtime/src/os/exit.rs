//! The end of the process, in stages.
//!
//! # Invariants
//!
//! 1. Each part of the library registers its work for the end of the process when it first has something to
//!    do. Therefore this module knows none of the parts, and a process that has tracked nothing ends as it
//!    would without the library.
//! 2. The stages run in the order of [`Stage`], whatever the order of their registration.
//! 3. The thread that ends the process waits no longer than the exit timeout and [`EXIT_GRACE_PERIOD`]. The
//!    stages run on a thread of their own, because any of them may meet a disk that does not answer, or a
//!    lock of a thread that waits for such a disk.
//! 4. A child made by `fork` has the stages of its parent, and no lock here could keep the child waiting.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;

use super::hooks;
use crate::stderr::write_stderr_line;
use crate::time::saturating_deadline;

/// Stages of the end, in the order in which they run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// End of the capture of stdout and stderr. Runs that are still open get the output written until now.
    StdioCapture,
    /// End of the open runs. Nothing else will end them any more, and the next process would find them open.
    OpenRuns,
    SystemMetrics,
    Delivery,
}

/// State of the end that is in progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExitContext {
    pub(crate) started: Instant,
    timeout: Duration,
}

impl ExitContext {
    /// Returns the time by which the process is to have ended.
    pub(crate) fn deadline(&self) -> Instant {
        saturating_deadline(self.started, self.timeout)
    }
}

/// Time beyond the exit timeout for the last messages.
const EXIT_GRACE_PERIOD: Duration = Duration::from_millis(250);

static STEPS: [OnceBox<fn(&ExitContext)>; 4] = [const { OnceBox::new() }; 4];
static BEGIN: OnceBox<fn() -> Option<Duration>> = OnceBox::new();

/// Registers `step` to run at a stage, on the thread of the stages. Only the first registration for a stage
/// counts.
pub(crate) fn register_stage(stage: Stage, step: fn(&ExitContext)) {
    let registered = &STEPS[stage as usize];
    if registered.get().is_none() {
        let _ = registered.set(Box::new(step));
    }
}

/// Arranges for the stages to run when the process ends: by returning from `main`, by `process::exit`, or by
/// a panic in `main`. `begin` is called first, on the thread that ends the process, and returns how long the
/// process may wait; `None` if there is nothing to do.
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

/// Runs the stages, and returns within the exit timeout and [`EXIT_GRACE_PERIOD`].
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
            "mlflow: the disk did not respond within MLFLOW_EXIT_TIMEOUT; the values in the journal on it are shipped by \
             the next tracked program",
        );
    }
}

/// Runs `work` on another thread, and waits for it until the time `until`. Returns false if `work` has not
/// finished by then. If no thread can be started, prints a message and returns true.
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
                "mlflow: no thread could be started at exit ({error}), so nothing more is delivered; the values in the \
                 journal are shipped by the next tracked program"
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
