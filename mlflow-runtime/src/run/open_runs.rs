//! Registry of the open runs of this process.
//!
//! Invariants: the registry keeps no run alive or open. The runs of fakes are not registered, because they
//! belong to a test.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use once_cell::race::OnceBox;

use super::{Run, WeakRun};
use crate::journal;
use crate::model::RunStatus;
use crate::os::exit::{self, Stage};
use crate::os::fork::PerProcess;
use crate::sync::lock;

/// Open runs, separate in each process: a forked child must not end the runs of its parent.
static OPEN_RUNS: PerProcess<Mutex<OpenRuns>> = PerProcess::new();

struct OpenRuns {
    runs: Vec<WeakRun>,
    /// Number of entries at which those of ended runs are removed.
    prune_at: usize,
}

impl Default for OpenRuns {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            prune_at: 64,
        }
    }
}

/// Set while a termination signal is ending the open runs.
static SIGNALLED: OnceBox<Arc<AtomicBool>> = OnceBox::new();
/// True once a signal handler can set [`SIGNALLED`].
static HAS_SIGNAL_HANDLER: AtomicBool = AtomicBool::new(false);

fn shared_signal_flag() -> &'static Arc<AtomicBool> {
    SIGNALLED.get_or_init(Box::default)
}

/// Returns a flag for signal handlers to set. From then until [`kill_open_runs`] returns, runs end as KILLED.
pub(crate) fn signal_flag() -> Arc<AtomicBool> {
    HAS_SIGNAL_HANDLER.store(true, Ordering::Relaxed);
    Arc::clone(shared_signal_flag())
}

pub(super) fn is_signalled() -> bool {
    HAS_SIGNAL_HANDLER.load(Ordering::Relaxed) && shared_signal_flag().load(Ordering::Acquire)
}

/// Registers a run that has started.
pub(super) fn register_run(run: &Run) {
    exit::register_stage(Stage::OpenRuns, |_| {
        kill_open_runs();
        journal::release_all();
    });
    let mut open = lock(OPEN_RUNS.get());
    if open.runs.len() >= open.prune_at {
        open.runs.retain(|run| run.upgrade_if_open().is_some());
        open.prune_at = 64.max(2 * open.runs.len());
    }
    open.runs.push(run.downgrade());
}

/// Returns true if a run of this process is open that the store knows by this id, or by this key.
pub(crate) fn is_open_here(run_id: &str, key: Option<&str>) -> bool {
    let runs = lock(OPEN_RUNS.get());
    let mut open = runs.runs.iter().filter_map(WeakRun::upgrade_if_open);
    open.any(|run| {
        let is_continued = run
            .identity()
            .and_then(|identity| identity.resumed.as_deref());
        Some(run.key()) == key
            || is_continued == Some(run_id)
            || run.run_id().as_deref() == Some(run_id)
    })
}

/// Ends the runs that are still open as KILLED.
pub(crate) fn kill_open_runs() {
    let runs = std::mem::take(&mut lock(OPEN_RUNS.get()).runs);
    // Youngest first, so that a child ends before its parent.
    for run in runs.iter().rev().filter_map(WeakRun::upgrade_if_open) {
        run.end(RunStatus::Killed);
    }
    shared_signal_flag().store(false, Ordering::Release);
}
