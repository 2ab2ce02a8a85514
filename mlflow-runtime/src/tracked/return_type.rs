//! The return type of a function as a value, which the compiler infers other types from.

use std::marker::PhantomData;

/// Marker for the return type of a function. The marker is invariant in `R`, so that the markers of one
/// return type have one type, not a type and its subtype: what the compiler infers for one marker holds for
/// the other.
#[derive(Debug)]
pub struct ReturnType<R>(PhantomData<fn(R) -> R>);

impl<R> ReturnType<R> {
    /// Only value of the marker.
    pub const MARKER: Self = Self(PhantomData);
}

impl<R> Clone for ReturnType<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for ReturnType<R> {}
