//! Values behind an `Rc` or `Arc`, which serde looks into only where its feature `rc` is on: that is for the
//! user to say, and not for a library that stands in the same program.

use std::rc::Rc;
use std::sync::Arc;

/// An `Rc` or `Arc`, or what leads to one.
pub trait Shared {
    /// What is shared.
    type Content: ?Sized;

    /// Returns what is shared; `None` where an `Option` is.
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
