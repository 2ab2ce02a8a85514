//! Runs a body whose return type may be a boxed future by another name.
//!
//! Invariant: a boxed future is found by type, so `BoxFuture` and every other alias of one is
//! followed to its end: an inherent method beats a trait's.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use crate::call::Call;
use crate::outcome::Ending;
use crate::timed::{Timer, time};
use crate::tracked::{Tracked, call};

/// Stands for what a function returns.
#[derive(Debug)]
pub struct Returned<R>(PhantomData<fn() -> R>);

impl<R> Returned<R> {
    /// The only value.
    pub const HERE: Self = Self(PhantomData);
}

macro_rules! boxed_futures {
    ($($future:ident: $($auto:ident)*;)*) => {$(
        type $future<'f, T> = Pin<Box<dyn Future<Output = T> $(+ $auto)* + 'f>>;

        impl<'f, T: 'f> Returned<$future<'f, T>> {
            /// One run, from the future's first poll to its end.
            #[inline]
            pub fn __mlflow_call(
                &self,
                call: Option<Box<Call>>,
                body: impl FnOnce() -> $future<'f, T>,
                outcome: impl Fn(&T, &mut Ending<'_>) $(+ $auto)* + 'f,
            ) -> $future<'f, T> {
                let future = body();
                match call {
                    None => future,
                    call => Box::pin(Tracked::new(call, future, outcome)),
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
                    timer => Box::pin(time(timer, future)),
                }
            }
        }
    )*};
}

boxed_futures! {
    LocalBoxed: ;
    Boxed: Send;
    SyncBoxed: Send Sync;
}

/// Every other type is a value.
pub trait OtherType<R> {
    /// One run around the body.
    fn __mlflow_call(
        &self,
        call: Option<Box<Call>>,
        body: impl FnOnce() -> R,
        outcome: impl Fn(&R, &mut Ending<'_>),
    ) -> R;

    /// The time that the body takes.
    fn __mlflow_time(&self, timer: Option<Timer>, body: impl FnOnce() -> R) -> R;
}

impl<R> OtherType<R> for Returned<R> {
    #[inline]
    fn __mlflow_call(
        &self,
        tracked: Option<Box<Call>>,
        body: impl FnOnce() -> R,
        outcome: impl Fn(&R, &mut Ending<'_>),
    ) -> R {
        call(tracked, body, outcome)
    }

    #[inline]
    fn __mlflow_time(&self, timer: Option<Timer>, body: impl FnOnce() -> R) -> R {
        let _timer = timer;
        body()
    }
}
