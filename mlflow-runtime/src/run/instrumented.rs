//! Futures that run inside of a run.
//!
//! Invariant: an instrumented future is polled and dropped with its run as the current one, on whatever
//! thread. Between two polls, the thread has the run that it had before.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use crate::run::Run;
use crate::run::current_run::SuspendedContext;

pin_project_lite::pin_project! {
    /// Future that logs to a run. See [`Run::instrument`] for an example. `Send` if `F` is.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Instrumented<F> {
        // Becomes `None` only in `drop`: the destructor of the future needs the run to be current.
        #[pin]
        inner: Option<F>,
        context: SuspendedContext,
    }

    impl<F> PinnedDrop for Instrumented<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _current = this.context.resume_scoped();
            this.inner.set(None);
        }
    }
}

impl<F> Instrumented<F> {
    pub(crate) fn new(inner: F, context: impl Into<SuspendedContext>) -> Self {
        Self {
            inner: Some(inner),
            context: context.into(),
        }
    }
}

impl<F: Future> Future for Instrumented<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.inner.as_pin_mut() {
            Some(inner) => {
                let _current = this.context.resume_scoped();
                inner.poll(task)
            }
            None => Poll::Pending,
        }
    }
}

impl Run {
    /// Returns a future that does the work of `future` with this run as the current one. Meant for spawned
    /// tasks. A future that is awaited inside of a tracked function has the function's run without this call.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let run = mlflow::start_run().name("parent").start();
    /// let task = async { mlflow::log_metric("from a task", 1.0) };
    /// tokio::spawn(run.instrument(task)).await.unwrap();
    /// # });
    /// # fake.assert_metric_logged("from a task");
    /// ```
    pub fn instrument<F: Future>(&self, future: F) -> Instrumented<F> {
        Instrumented::new(future, self.as_current())
    }
}
