//! Execution of a body whose return type may be an alias of a boxed future.
//!
//! Invariant: a boxed future is recognized by type, so that `BoxFuture` and every other alias of one is
//! tracked until the future ends. The selection works because the compiler prefers an inherent method to a
//! trait's method. A trait object with other bounds than `Send`, `Sync` and `Unpin` counts as a plain value.

use std::future::Future;
use std::pin::Pin;

use crate::tracked::call::Call;
use crate::tracked::closure::call;
use crate::tracked::future::Tracked;
use crate::tracked::outcome::RunOutcome;
use crate::tracked::return_type::ReturnType;
use crate::tracked::timed::{Timer, time};

macro_rules! followed {
    ($future:ident, $boxed:path, $($auto:ident)*) => {
        impl<'f, T: 'f> ReturnType<$future<'f, T>> {
            /// Runs `body`, and makes the future that it returns one run, from the first poll to the end.
            #[inline]
            pub fn __mlflow_call(
                &self,
                call: Option<Box<Call>>,
                body: impl FnOnce() -> $future<'f, T>,
                outcome: impl Fn(&T, &mut RunOutcome<'_>) $(+ $auto)* + 'f,
            ) -> $future<'f, T> {
                let future = body();
                match call {
                    None => future,
                    call => $boxed(Tracked::new(call, future, outcome)),
                }
            }

            /// Runs `body`, and measures the time until the future that it returns ends.
            #[inline]
            pub fn __mlflow_time(
                &self,
                timer: Option<Timer>,
                body: impl FnOnce() -> $future<'f, T>,
            ) -> $future<'f, T> {
                let future = body();
                match timer {
                    None => future,
                    timer => $boxed(time(timer, future)),
                }
            }
        }
    };
}

macro_rules! pinned {
    ($($future:ident: $($auto:ident)*;)*) => {$(
        type $future<'f, T> = Pin<Box<dyn Future<Output = T> $(+ $auto)* + 'f>>;
        followed! { $future, Box::pin, $($auto)* }
    )*};
}

macro_rules! unpinned {
    ($($future:ident: $($auto:ident)*;)*) => {$(
        type $future<'f, T> = Box<dyn Future<Output = T> $(+ $auto)* + 'f>;
        followed! { $future, Box::new, $($auto)* }
    )*};
}

// Every combination of the standard library's auto traits, except `UnwindSafe` and `RefUnwindSafe`.
pinned! {
    Local: ;
    Sent: Send;
    Shared: Sync;
    SentShared: Send Sync;
    LocalUnpin: Unpin;
    SentUnpin: Send Unpin;
    SharedUnpin: Sync Unpin;
    SentSharedUnpin: Send Sync Unpin;
}

unpinned! {
    BoxedLocal: Unpin;
    BoxedSent: Send Unpin;
    BoxedShared: Sync Unpin;
    BoxedSentShared: Send Sync Unpin;
}

/// Fallback for every other return type, which counts as a plain value.
pub trait NotAFuture<R> {
    /// Runs `body` as one run.
    fn __mlflow_call(
        &self,
        call: Option<Box<Call>>,
        body: impl FnOnce() -> R,
        outcome: impl Fn(&R, &mut RunOutcome<'_>),
    ) -> R;

    /// Runs `body`, and measures the time that it takes.
    fn __mlflow_time(&self, timer: Option<Timer>, body: impl FnOnce() -> R) -> R;
}

impl<R> NotAFuture<R> for ReturnType<R> {
    #[inline]
    fn __mlflow_call(
        &self,
        tracked: Option<Box<Call>>,
        body: impl FnOnce() -> R,
        outcome: impl Fn(&R, &mut RunOutcome<'_>),
    ) -> R {
        call(tracked, body, outcome)
    }

    #[inline]
    fn __mlflow_time(&self, timer: Option<Timer>, body: impl FnOnce() -> R) -> R {
        let _timer = timer;
        body()
    }
}
