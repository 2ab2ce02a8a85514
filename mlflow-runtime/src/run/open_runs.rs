//! The runs of this process that are open.
//!
//! Invariant: a run is not kept alive, or open, by being here; those of fakes are not here, as they
//! are a test's own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use once_cell::race::OnceBox;

use super::{Run, WeakRun};
use crate::journal;
use crate::model::RunStatus;
use crate::os::exit::{self, Stage};
use crate::os::fork::PerProcess;
use crate::sync::lock;

/// Of each process its own: a child must not end its parent's.
static OPEN_RUNS: PerProcess<Mutex<OpenRuns>> = PerProcess::new();

struct OpenRuns {
    runs: Vec<WeakRun>,
    /// How many there may be before those that have ended are sorted out.
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

/// Whether a signal has come for which the open runs are to be ended, and is being dealt with.
static SIGNALLED: OnceBox<Arc<AtomicBool>> = OnceBox::new();
/// Whether anything can set that.
static HAS_SIGNAL_HANDLER: AtomicBool = AtomicBool::new(false);

fn shared_signal_flag() -> &'static Arc<AtomicBool> {
    SIGNALLED.get_or_init(Box::default)
}

/// A flag for signal handlers to set: from then until [`kill_open_runs`] returns, runs end as KILLED.
pub(crate) fn signal_flag() -> Arc<AtomicBool> {
    HAS_SIGNAL_HANDLER.store(true, Ordering::Relaxed);
    Arc::clone(shared_signal_flag())
}

pub(super) fn is_signalled() -> bool {
    HAS_SIGNAL_HANDLER.load(Ordering::Relaxed) && shared_signal_flag().load(Ordering::Acquire)
}

/// Notes a run that has started.
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

/// Ends those that have not ended as KILLED.
pub(crate) fn kill_open_runs() {
    let runs = std::mem::take(&mut lock(OPEN_RUNS.get()).runs);
    // The youngest first: a child ends before its parent.
    for run in runs.iter().rev().filter_map(WeakRun::upgrade_if_open) {
        run.end(RunStatus::Killed);
    }
    shared_signal_flag().store(false, Ordering::Release);
}
