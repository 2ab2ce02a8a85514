//! `#[timed]`: how long a function takes, as a metric of the run it is called in.
//!
//! Invariants: it starts no run; without a current run nothing is measured; the time ends when
//! the body's locals are gone, however it ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use crate::run::Run;
use crate::tracker::global;

/// A function annotated with `#[timed]`.
#[derive(Debug)]
pub struct TimedCallsite {
    metric: &'static str,
    calls: AtomicI64,
}

impl TimedCallsite {
    /// `metric` is `time/<name>`.
    #[must_use]
    pub const fn new(metric: &'static str) -> Self {
        Self {
            metric,
            calls: AtomicI64::new(0),
        }
    }
}

/// A call that is being timed.
#[derive(Debug)]
pub struct Timer {
    site: &'static TimedCallsite,
    run: Run,
    started: Instant,
}

impl Timer {
    /// Starts the clock, if there is a run.
    #[inline]
    #[must_use]
    pub fn start(site: &'static TimedCallsite) -> Option<Self> {
        if !global::is_enabled() {
            return None;
        }
        Run::current().map(|run| Self {
            site,
            run,
            started: Instant::now(),
        })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let call = self.site.calls.fetch_add(1, Ordering::Relaxed) + 1;
        self.run.log_metric_at(self.site.metric, seconds, call);
    }
}

pin_project_lite::pin_project! {
    /// A future whose time ends when it does, or when it is dropped.
    #[derive(Debug)]
    pub struct Timed<F> {
        // Dropped before the timer: the time of its destructors counts.
        #[pin]
        inner: F,
        timer: Option<Timer>,
    }
}

/// `future`, timed from now to its end.
#[inline]
#[must_use]
pub fn time<F: Future>(timer: Option<Timer>, future: F) -> Timed<F> {
    Timed {
        inner: future,
        timer,
    }
}

impl<F: Future> Future for Timed<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // Out of the future, so that a panic ends the time.
        let timer = this.timer.take();
        let poll = this.inner.poll(task);
        if poll.is_pending() {
            *this.timer = timer;
        }
        poll
    }
}
