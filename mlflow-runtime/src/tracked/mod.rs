//! Execution of the body of an annotated function.
//!
//! Invariants: the body runs once, from one place in the code, tracked or not. The value that the body
//! returns, or the payload that it panics with, is passed on unchanged. Everything that the run records about
//! the outcome is recorded before the caller receives the outcome.

pub(crate) mod boxed_future;
pub(crate) mod call;
pub(crate) mod docs;
pub(crate) mod name_template;
pub(crate) mod outcome;
pub(crate) mod panic_hook;
pub(crate) mod timed;
pub(crate) mod type_hints;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::thread;

use crate::run::current_run::ContextGuard;
use crate::tracked::call::Call;
use crate::tracked::outcome::RunOutcome;
use crate::tracked::type_hints::ReturnType;

/// Runs `body` as one run, or without a run if `call` is `None`. `outcome` records what it finds in the
/// returned value.
#[inline]
pub fn call<R>(
    call: Option<Box<Call>>,
    body: impl FnOnce() -> R,
    outcome: impl Fn(&R, &mut RunOutcome<'_>),
) -> R {
    match call {
        None => run_body(body),
        Some(mut call) => run_observed(&mut call, body, outcome),
    }
}

/// Runs `body`. No other place contains the body's code, tracked or not.
#[inline(never)]
fn run_body<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[cold]
#[inline(never)]
fn run_observed<R>(
    call: &mut Call,
    body: impl FnOnce() -> R,
    outcome: impl Fn(&R, &mut RunOutcome<'_>),
) -> R {
    let current = call.enter();
    match catch_unwind(AssertUnwindSafe(|| run_body(body))) {
        Ok(value) => {
            call.finish_returned(&mut |ending| outcome(&value, ending));
            drop(current);
            value
        }
        Err(payload) => {
            call.finish_panicked(&*payload);
            drop(current);
            resume_unwind(payload)
        }
    }
}

/// Runs `body`. The bound lets the closure return a reborrow of what it holds, unlike a closure that is
/// called directly.
#[inline]
pub fn invoke<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// Records nothing: the `outcome` of a function whose returned value is of no interest to the run.
#[inline]
pub fn ignore_value<R>(_: &R, _: &mut RunOutcome<'_>) {}

/// Run of a body that cannot be wrapped in a closure: of a function that never returns, that has
/// `#[track_caller]`, or that returns `impl Fn`.
#[derive(Debug)]
pub struct Guard {
    call: Option<Box<Call>>,
    /// True if the thread was already unwinding when the body began, as in a destructor.
    was_unwinding: bool,
    current: Option<ContextGuard>,
}

impl Guard {
    /// Starts the run of `call`, if there is one, and makes the run current until the guard is dropped.
    #[inline]
    #[must_use]
    pub fn new(mut call: Option<Box<Call>>) -> Self {
        let current = call.as_deref_mut().map(Call::enter);
        let unwinding = call.is_some() && thread::panicking();
        Self {
            call,
            was_unwinding: unwinding,
            current,
        }
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            if thread::panicking() && !self.was_unwinding {
                call.finish_unwinding();
            } else {
                call.finish_returned(&mut |_| ());
            }
        }
        self.current = None;
    }
}

pin_project_lite::pin_project! {
    /// Future whose run starts at the first poll.
    pub struct Tracked<R, F, O> {
        // Becomes `None` only in `drop`: the destructor of the future needs the run to be current. A future
        // of an `async` block has a niche, so the `Option` costs nothing.
        #[pin]
        inner: Option<F>,
        call: Option<Box<Call>>,
        outcome: O,
        // Stands for `F::Output`, which is known before `F` is.
        returned: ReturnType<R>,
    }

    impl<R, F, O> PinnedDrop for Tracked<R, F, O> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let Some(mut call) = this.call.take().filter(|call| call.has_started()) else { return };
            let _current = call.enter();
            let _abandon = AbandonGuard(Some(call));
            this.inner.set(None);
        }
    }
}

/// Guard that ends the run as KILLED, also if a destructor of the future panics.
struct AbandonGuard(Option<Box<Call>>);

impl Drop for AbandonGuard {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call.finish_abandoned();
        }
    }
}

impl<R, F, O> Tracked<R, F, O>
where
    F: Future<Output = R>,
    O: Fn(&R, &mut RunOutcome<'_>),
{
    /// Makes `inner` one run. `outcome` records what it finds in the output of `inner`.
    #[inline]
    #[must_use]
    pub fn new(call: Option<Box<Call>>, inner: F, outcome: O) -> Self {
        Self {
            inner: Some(inner),
            call,
            outcome,
            returned: ReturnType::MARKER,
        }
    }
}

impl<R, F, O> Future for Tracked<R, F, O>
where
    F: Future<Output = R>,
    O: Fn(&R, &mut RunOutcome<'_>),
{
    type Output = R;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<R> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            return Poll::Pending;
        };
        let Some(call) = this.call.as_deref_mut() else {
            return poll_once(inner, task);
        };
        let current = call.enter();
        match catch_unwind(AssertUnwindSafe(|| poll_once(inner, task))) {
            Ok(Poll::Pending) => {
                call.suspend(&current);
                Poll::Pending
            }
            Ok(Poll::Ready(value)) => {
                if let Some(call) = this.call.take() {
                    call.finish_returned(&mut |ending| (this.outcome)(&value, ending));
                }
                Poll::Ready(value)
            }
            Err(payload) => {
                if let Some(call) = this.call.take() {
                    call.finish_panicked(&*payload);
                }
                drop(current);
                resume_unwind(payload)
            }
        }
    }
}

/// Polls `inner`. No other place contains the future's code, tracked or not.
#[inline(never)]
fn poll_once<F: Future>(inner: Pin<&mut F>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
    inner.poll(task)
}
