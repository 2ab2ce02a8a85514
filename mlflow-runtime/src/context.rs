//! Who is the current run: per thread, and carried along by tasks.
//!
//! Invariants: entering and leaving nest; what a guard replaced is back when it is dropped, also
//! while unwinding. A context is two reference counts: cheap to capture, cheap to carry.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;

use crate::process::COMPILED_OUT;
use crate::run::Run;
use crate::tracker::Tracker;

thread_local! {
    static CURRENT: RefCell<Context> = const { RefCell::new(Context { run: None, tracker: None }) };
}

/// The current run, and the tracker that new runs go to where it is not the process's.
#[derive(Clone, Default)]
pub(crate) struct Context {
    run: Option<Run>,
    tracker: Option<Arc<Tracker>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, tracker } = self;
        f.debug_struct("Context")
            .field("run", run)
            .field("scoped", &tracker.is_some())
            .finish()
    }
}

/// Puts back the context that was current before.
#[derive(Debug)]
pub(crate) struct ContextGuard {
    previous: Context,
    /// Not `Send`: it belongs to its thread.
    _thread: PhantomData<*const ()>,
}

impl Context {
    /// The calling thread's context.
    pub(crate) fn current() -> Self {
        CURRENT
            .try_with(|current| current.borrow().clone())
            .unwrap_or_default()
    }

    /// The same tracker, with `run` as the current run.
    pub(crate) fn with_run(&self, run: Run) -> Self {
        Self {
            run: Some(run),
            tracker: self.tracker.clone(),
        }
    }

    /// No run; new ones go to `tracker`.
    pub(crate) fn with_tracker(tracker: Arc<Tracker>) -> Self {
        Self {
            run: None,
            tracker: Some(tracker),
        }
    }

    pub(crate) fn enter(self) -> ContextGuard {
        ContextGuard {
            previous: replace(self),
            _thread: PhantomData,
        }
    }

    pub(crate) fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Where a run started in this context goes; `None` where tracking is disabled.
    pub(crate) fn tracker(&self) -> Option<Arc<Tracker>> {
        self.run
            .as_ref()
            .and_then(Run::tracker)
            .or(self.tracker.as_ref())
            .cloned()
            .or_else(Tracker::global)
    }

    /// The tracker of this scope, where it is not the process's.
    pub(crate) fn scoped_tracker(&self) -> Option<&Arc<Tracker>> {
        self.tracker.as_ref()
    }
}

/// Calls `log` with the current run, if there is one. `log` must not call code of the user's: the
/// context cannot change meanwhile.
#[inline]
pub(crate) fn with_current_run(log: impl FnOnce(&Run)) {
    if COMPILED_OUT {
        return;
    }
    // A destructor that logs while the context is being replaced, or after the thread's locals are
    // gone, has no current run.
    let _ = CURRENT.try_with(|current| {
        if let Ok(current) = current.try_borrow()
            && let Some(run) = &current.run
        {
            log(run);
        }
    });
}

fn replace(context: Context) -> Context {
    CURRENT
        .try_with(|current| {
            current
                .try_borrow_mut()
                .map(|mut current| mem::replace(&mut *current, context))
        })
        .map_or_else(|_| Context::default(), Result::unwrap_or_default)
}

impl Drop for ContextGuard {
    fn drop(&mut self) {
        replace(mem::take(&mut self.previous));
    }
}
