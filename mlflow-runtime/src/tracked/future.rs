//! The body of an `async` function, polled as a future.
//!
//! Invariant: the run is current whenever the future is polled or dropped, and at no other time.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use crate::tracked::call::Call;
use crate::tracked::outcome::RunOutcome;
use crate::tracked::return_type::ReturnType;

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
