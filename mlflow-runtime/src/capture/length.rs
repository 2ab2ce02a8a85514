//! How long a value is, where that can be known without looking at it.
//!
//! Invariant: the answer takes no time in proportion to the length.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// A collection, or what leads to one.
pub trait Length {
    /// How many entries there are; `None` where there is no collection.
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
