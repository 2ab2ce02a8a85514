//! The runs of this process that are open.
//!
//! Invariant: a run is not kept alive, or open, by being here; those of fakes are not here, as they
//! are a test's own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use super::{Run, WeakRun};
use crate::fork::{self, GENERATIONS};
use crate::store::RunStatus;

/// By generation: a child must not end its parent's.
static OPEN: [Mutex<Open>; GENERATIONS] = [const { Mutex::new(Open::new()) }; GENERATIONS];

struct Open {
    runs: Vec<WeakRun>,
    /// How many there may be before those that have ended are sorted out.
    sort_at: usize,
}

impl Open {
    const fn new() -> Self {
        Self {
            runs: Vec::new(),
            sort_at: 64,
        }
    }
}

/// Whether a signal has come for which the open runs are to be ended, and is being dealt with.
static SIGNALLED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
/// Whether anything can set that.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// A flag for signal handlers to set: from then until [`end_open`] returns, runs end as KILLED.
pub(crate) fn signal_flag() -> Arc<AtomicBool> {
    WATCHED.store(true, Ordering::Relaxed);
    Arc::clone(&SIGNALLED)
}

pub(super) fn is_signalled() -> bool {
    WATCHED.load(Ordering::Relaxed) && SIGNALLED.load(Ordering::Acquire)
}

/// Notes a run that has started.
pub(super) fn note(run: &Run) {
    let mut open = OPEN[fork::slot()]
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if open.runs.len() >= open.sort_at {
        open.runs.retain(|run| run.open().is_some());
        open.sort_at = 64.max(2 * open.runs.len());
    }
    open.runs.push(run.downgrade());
}

/// Ends those that have not ended as KILLED.
pub(crate) fn end_open() {
    let runs = std::mem::take(
        &mut OPEN[fork::slot()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .runs,
    );
    // The youngest first: a child ends before its parent.
    for run in runs.iter().rev().filter_map(WeakRun::open) {
        run.end(RunStatus::Killed);
    }
    SIGNALLED.store(false, Ordering::Release);
}
