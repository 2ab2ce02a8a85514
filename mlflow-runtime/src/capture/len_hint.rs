//! The length of a collection, if it can be found without a look at the entries.
//!
//! Invariant: finding the length takes constant time, however long the collection is.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// A collection, or a pointer or `Option` that leads to one.
pub trait Length {
    /// Returns the number of entries; `None` if an `Option` on the way to the collection is `None`.
    fn entries(&self) -> Option<usize>;
}

macro_rules! collections {
    ($([$($generics:tt)*] $collection:ty;)*) => {$(
        impl<$($generics)*> Length for $collection {
            fn entries(&self) -> Option<usize> {
                Some(self.len())
            }
        }
    )*};
}

collections! {
    [T] [T];
    [T, const N: usize] [T; N];
    [T] Vec<T>;
    [T] VecDeque<T>;
    [T] LinkedList<T>;
    [T] BinaryHeap<T>;
    [T] BTreeSet<T>;
    [K, V] BTreeMap<K, V>;
    [T, S] HashSet<T, S>;
    [K, V, S] HashMap<K, V, S>;
}

macro_rules! pointers {
    ($($pointer:ty;)*) => {$(
        impl<L: Length + ?Sized> Length for $pointer {
            fn entries(&self) -> Option<usize> {
                (**self).entries()
            }
        }
    )*};
}

pointers! {
    &L;
    &mut L;
    Box<L>;
    Rc<L>;
    Arc<L>;
}

impl<L: Length + ToOwned + ?Sized> Length for Cow<'_, L> {
    fn entries(&self) -> Option<usize> {
        (**self).entries()
    }
}

impl<L: Length> Length for Option<L> {
    fn entries(&self) -> Option<usize> {
        self.as_ref()?.entries()
    }
}
