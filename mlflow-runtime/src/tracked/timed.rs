//! Runtime of `#[timed]`, which logs the duration of each call of a function as a metric of the current run.
//!
//! Invariants: `#[timed]` starts no run, and measures nothing without a current run. The time ends when the
//! body's locals are dropped, whether the body returns, panics or is cancelled.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use crate::run::Run;
use crate::tracker::global;

/// Function annotated with `#[timed]`.
#[derive(Debug)]
pub struct TimedCallsite {
    metric: &'static str,
    calls: AtomicI64,
}

impl TimedCallsite {
    /// Makes the callsite of a function whose durations are logged as `metric`, which is `time/<name>`.
    #[must_use]
    pub const fn new(metric: &'static str) -> Self {
        Self {
            metric,
            calls: AtomicI64::new(0),
        }
    }
}

/// Measurement of one call, which logs the duration when it is dropped.
#[derive(Debug)]
pub struct Timer {
    site: &'static TimedCallsite,
    run: Run,
    started: Instant,
}

impl Timer {
    /// Starts the measurement. Returns `None` if tracking is off or there is no current run.
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
    /// Future whose measurement ends when the future completes or is dropped.
    #[derive(Debug)]
    pub struct Timed<F> {
        // Declared, and therefore dropped, before the timer: the time of the future's destructors counts.
        #[pin]
        inner: F,
        timer: Option<Timer>,
    }
}

/// Makes `timer`, which is already running, stop at the end of `future`.
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
        // Taken out of the future, so that a panic drops the timer and ends the measurement.
        let timer = this.timer.take();
        let poll = this.inner.poll(task);
        if poll.is_pending() {
            *this.timer = timer;
        }
        poll
    }
}
