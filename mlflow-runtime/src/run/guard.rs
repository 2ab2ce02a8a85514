//! The guard that makes a run the current one of its thread.

use std::fmt;
use std::ops::Deref;
use std::thread;

use super::Run;
use crate::model::RunStatus;
use crate::run::context::{Context, HeldContext};

/// A guard: the run is the current one of its thread until the guard is dropped, which ends the run as
/// `FINISHED`, or as `FAILED` while the thread panics.
///
/// - **Order.** Guards may be dropped in any order. The current run is that of the youngest guard which is left.
/// - **Scopes.** A guard that leaves the tracked function, or the closure of [`Run::scope`], in which it was made
///   is current no longer.
/// - **Threads.** A guard stays on its thread: it is not `Send`. It is `Sync`, so `thread::scope` can borrow
///   it: `scope.spawn(|| run.scope(train))`.
/// - **Tasks.** A guard that an `async` function holds across an `await` is current in that future only, if the
///   future is a `#[tracked]` function's or has gone through [`Run::instrument`]. In any other future it is also
///   current for other tasks which the thread polls meanwhile. A future that is spawned on a runtime with several
///   threads takes the run along with [`Run::instrument`].
#[must_use = "the run ends when this is dropped"]
pub struct ActiveRun {
    run: Run,
    _context: Option<HeldContext>,
}

impl ActiveRun {
    /// Makes `run` the current one of the thread, whose context is `context`.
    pub(super) fn enter(run: Run, context: &Context) -> Self {
        let held = run
            .is_recorded()
            .then(|| context.with_run(run.clone()).hold());
        Self {
            run,
            _context: held,
        }
    }

    /// Ends the run with `status`, and the guard with it.
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
