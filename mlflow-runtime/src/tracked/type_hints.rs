//! Hints that let the compiler infer a body's types as it would without the attribute.
//!
//! The body of a tracked function becomes a closure or an `async` block, whose return type the compiler
//! infers from the body alone. The macro therefore puts a statement before the body which is never executed
//! and returns a value of the declared type, as `tracing`'s attribute does. The functions in this module make
//! such values.
//!
//! Invariant: nothing here does anything when the program runs.

use std::future::Future;

use crate::tracked::future::Tracked;
use crate::tracked::return_type::ReturnType;

/// Returns `future`, and states that its output is an `R`. The compiler needs the type of the output when it
/// selects the captures of the returned value, which is before it has inferred the type from the body.
#[inline]
pub fn with_output<F: Future<Output = R>, R>(future: F) -> F {
    future
}

/// Makes a closure or an `async` block own `value`, even if the body does not name it.
#[inline]
pub fn mark_used<T: ?Sized>(_: &T) {}

/// Returns `None`. The macro places a `return` of the content behind an `if let Some`. The `return` is never
/// executed, and gives an `async` block its return type.
#[inline]
#[must_use]
pub const fn none<T>() -> Option<T> {
    None
}

/// Returns `None`, whose content has the type of the marker. A `return` of the content, which is never
/// executed, ties the marker to the type that is returned.
#[inline]
#[must_use]
pub fn none_like<T>(_: ReturnType<T>) -> Option<T> {
    None
}

/// Returns `None`, whose content is a tracked future. A `return` of that future, which is never executed,
/// makes `R` the output that the signature declares.
#[inline]
#[must_use]
pub fn none_future_like<R, F, O>(_: ReturnType<R>) -> Option<Tracked<R, F, O>> {
    None
}

/// Returns `value`, which has the type of the marker. The compiler checks an argument's expression with
/// everything that it knows about the expected type, which the parameters of a closure need. An expression
/// that is returned is not checked that way.
#[inline]
pub fn with_type_of<T>(_: ReturnType<T>, value: T) -> (T,) {
    (value,)
}
