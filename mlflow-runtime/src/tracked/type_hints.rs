//! Hints that let the compiler infer a body's types as it would without the attribute.
//!
//! The body of a tracked function becomes a closure or an `async` block, whose return type the compiler infers from
//! the body alone. The macro therefore puts a statement before the body which is never executed and returns a value
//! of the declared type, as `tracing`'s attribute does. The functions here make such values.
//!
//! Invariant: nothing here does anything when the program runs.

use std::future::Future;
use std::marker::PhantomData;

use crate::tracked::Tracked;

/// Stands for what a function returns. Invariant in it, so that two that are the same have one type,
/// not a type and its subtype: what the compiler knows of the one, it knows of the other.
#[derive(Debug)]
pub struct ReturnType<R>(PhantomData<fn(R) -> R>);

impl<R> ReturnType<R> {
    /// The only value.
    pub const MARKER: Self = Self(PhantomData);
}

impl<R> Clone for ReturnType<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for ReturnType<R> {}

/// Returns `future`, whose output is an `R`: what a value can do is asked before the body has told what it
/// returns.
#[inline]
pub fn with_output<F: Future<Output = R>, R>(future: F) -> F {
    future
}

/// Makes a closure or an `async` block own `value`, whether or not the body names it.
#[inline]
pub fn mark_used<T: ?Sized>(_: &T) {}

/// Never there; gives an `async` block its return type.
#[inline]
#[must_use]
pub const fn none<T>() -> Option<T> {
    None
}

/// Never there; of the type that another `return` has already told.
#[inline]
#[must_use]
pub fn none_like<T>(_: ReturnType<T>) -> Option<T> {
    None
}

/// Never there; a `return` of it makes `R` what the signature says of a future's output.
#[inline]
#[must_use]
pub fn none_future_like<R, F, O>(_: ReturnType<R>) -> Option<Tracked<R, F, O>> {
    None
}

/// `value`, of the type that a `return` has already told. An argument's expression is checked with
/// all that is known of the type, as a closure's parameters need; a returned one is not.
#[inline]
pub fn with_type_of<T>(_: ReturnType<T>, value: T) -> (T,) {
    (value,)
}
