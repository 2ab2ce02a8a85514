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
static OPEN: PerProcess<Mutex<Open>> = PerProcess::new();

struct Open {
    runs: Vec<WeakRun>,
    /// How many there may be before those that have ended are sorted out.
    sort_at: usize,
}

impl Default for Open {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            sort_at: 64,
        }
    }
}

/// Whether a signal has come for which the open runs are to be ended, and is being dealt with.
static SIGNALLED: OnceBox<Arc<AtomicBool>> = OnceBox::new();
/// Whether anything can set that.
static WATCHED: AtomicBool = AtomicBool::new(false);

fn signalled() -> &'static Arc<AtomicBool> {
    SIGNALLED.get_or_init(Box::default)
}

/// A flag for signal handlers to set: from then until [`end_open`] returns, runs end as KILLED.
pub(crate) fn signal_flag() -> Arc<AtomicBool> {
    WATCHED.store(true, Ordering::Relaxed);
    Arc::clone(signalled())
}

pub(super) fn is_signalled() -> bool {
    WATCHED.load(Ordering::Relaxed) && signalled().load(Ordering::Acquire)
}

/// Notes a run that has started.
pub(super) fn note(run: &Run) {
    exit::at_exit(Stage::OpenRuns, |_| {
        end_open();
        journal::release_all();
    });
    let mut open = lock(OPEN.get());
    if open.runs.len() >= open.sort_at {
        open.runs.retain(|run| run.open().is_some());
        open.sort_at = 64.max(2 * open.runs.len());
    }
    open.runs.push(run.downgrade());
}

/// Ends those that have not ended as KILLED.
pub(crate) fn end_open() {
    let runs = std::mem::take(&mut lock(OPEN.get()).runs);
    // The youngest first: a child ends before its parent.
    for run in runs.iter().rev().filter_map(WeakRun::open) {
        run.end(RunStatus::Killed);
    }
    signalled().store(false, Ordering::Release);
}
