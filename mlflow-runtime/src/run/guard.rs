//! Guard that makes a run the current one of the guard's thread.

use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::thread;

use super::Run;
use crate::model::RunStatus;
use crate::run::current_run::{Context, HeldContext};

/// Guard of a run, made by [`RunBuilder::start`](crate::RunBuilder::start). The run is the current one of the
/// guard's thread until the guard is dropped. The drop ends the run as `FINISHED`, or as `FAILED` while the
/// thread panics.
///
/// A guard dereferences to its [`Run`]. See [`start_run()`](fn@crate::start_run) for an example.
///
/// - **Order.** Guards may be dropped in any order. The current run is that of the youngest guard that is
///   alive.
/// - **Scopes.** A guard may be moved out of the tracked function, or the closure of [`Run::scope`], in which
///   it was made. The run is then no longer the current one.
/// - **Threads.** A guard is not `Send`, so it stays on its thread. A guard is `Sync`, so `thread::scope` can
///   borrow it: `scope.spawn(|| run.scope(train))`.
/// - **Tasks.** An `async` function may hold a guard across an `await`. If the future is that of a
///   `#[tracked]` function, or was wrapped by [`Run::instrument`], the run is current in that future only. In
///   any other future, the run is also current for the other tasks that the thread polls meanwhile. To take a
///   run along into a future that is spawned on a runtime with several threads, wrap the future with
///   [`Run::instrument`].
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().start();
/// std::thread::scope(|threads| {
///     threads.spawn(|| run.scope(|| mlflow::log_metric("from a thread", 1)));
/// });
/// # drop(run);
/// # fake.assert_metric("from a thread", &[(0, 1.0)]);
/// ```
#[must_use = "the run ends when this is dropped"]
pub struct ActiveRun {
    run: Run,
    _context: Option<HeldContext>,
}

impl ActiveRun {
    /// Makes `run` the current run of the calling thread. `context` is the thread's context until now.
    pub(super) fn enter(run: Run, context: &Context) -> Self {
        let held = run
            .is_recorded()
            .then(|| context.with_run(run.clone()).hold());
        Self {
            run,
            _context: held,
        }
    }

    /// Ends the run with `status`, and consumes the guard. Does not change the status of a run that has ended
    /// already.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().name("interrupted").start();
    /// run.finish(mlflow::RunStatus::Killed);
    /// assert_eq!(fake.runs()[0].status, mlflow::RunStatus::Killed);
    /// ```
    pub fn finish(self, status: RunStatus) {
        self.run.end(status);
    }
}

// As for `Run`. What the guard adds, the place among the contexts of its thread, changes only when the guard is made and dropped.
impl UnwindSafe for ActiveRun {}
impl RefUnwindSafe for ActiveRun {}

impl fmt::Debug for ActiveRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActiveRun").field(&self.run).finish()
    }
}

impl Deref for ActiveRun {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

impl Drop for ActiveRun {
    fn drop(&mut self) {
        self.run.end(if thread::panicking() {
            RunStatus::Failed
        } else {
            RunStatus::Finished
        });
    }
}
