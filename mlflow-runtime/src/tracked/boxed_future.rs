//! Runs a body whose return type may be a boxed future by another name.
//!
//! Invariant: a boxed future is found by type, so `BoxFuture` and every other alias of one is
//! followed to its end: an inherent method beats a trait's. A trait object with other bounds than
//! `Send`, `Sync` and `Unpin` is a value.

use std::future::Future;
use std::pin::Pin;

use crate::tracked::call::Call;
use crate::tracked::outcome::RunOutcome;
use crate::tracked::timed::{Timer, time};
use crate::tracked::type_hints::ReturnType;
use crate::tracked::{Tracked, call};

macro_rules! followed {
    ($future:ident, $boxed:path, $($auto:ident)*) => {
        impl<'f, T: 'f> ReturnType<$future<'f, T>> {
            /// One run, from the future's first poll to its end.
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

            /// The time until the future ends.
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

// Without the two of unwind safety, every set of what the standard library marks.
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

/// Every other type is a value.
pub trait NotAFuture<R> {
    /// One run around the body.
    fn __mlflow_call(
        &self,
        call: Option<Box<Call>>,
        body: impl FnOnce() -> R,
        outcome: impl Fn(&R, &mut RunOutcome<'_>),
    ) -> R;

    /// The time that the body takes.
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
