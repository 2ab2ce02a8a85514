//! The body of a function that is not `async`, called as a closure.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::tracked::call::Call;
use crate::tracked::outcome::RunOutcome;

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
