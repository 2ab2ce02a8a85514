//! Values behind an `Rc` or `Arc`.
//!
//! serde serializes such a value only if its feature `rc` is on. Turning the feature on is up to the user,
//! and not to a library in the same program.

use std::rc::Rc;
use std::sync::Arc;

/// An `Rc` or `Arc`, or a pointer or `Option` that leads to one.
pub trait Shared {
    /// Type of the shared value.
    type Content: ?Sized;

    /// Returns the shared value; `None` if an `Option` on the way to it is `None`.
    fn content(&self) -> Option<&Self::Content>;
}

macro_rules! shared {
    ($($pointer:ident)*) => {$(
        impl<C: ?Sized> Shared for $pointer<C> {
            type Content = C;

            fn content(&self) -> Option<&C> {
                Some(self)
            }
        }
    )*};
}

shared!(Rc Arc);

macro_rules! pointers {
    ($($pointer:ty;)*) => {$(
        impl<S: Shared + ?Sized> Shared for $pointer {
            type Content = S::Content;

            fn content(&self) -> Option<&S::Content> {
                (**self).content()
            }
        }
    )*};
}

pointers! {
    &S;
    &mut S;
    Box<S>;
}

impl<S: Shared> Shared for Option<S> {
    type Content = S::Content;

    fn content(&self) -> Option<&S::Content> {
        self.as_ref()?.content()
    }
}
