//! A static of which every process has one of its own.
//!
//! Invariant: nobody waits here. A child made by `fork` meets neither a lock that a thread of its
//! parent held at that moment, nor a cell that one was filling: that thread does not exist in it,
//! and the lock would be held for ever.

use once_cell::race::OnceBox;

use super::{current_generation, start_counting};

/// A list of one value for each process of the line, the eldest first. Values of ancestors stay and
/// are not touched.
#[derive(Debug, Default)]
pub(crate) struct PerProcess<T>(OnceBox<Entry<T>>);

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: T,
    next: PerProcess<T>,
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceBox::new())
    }

    /// Returns the calling process's value, made by `make` at the first call. `make` is given the
    /// value of the nearest ancestor that has one, whose locks may be held for ever; threads that
    /// meet here may each call it, and one of the results is kept.
    pub(crate) fn get_or_make(&self, make: impl Fn(Option<&T>) -> T) -> &T {
        // A fork that nobody counts would leave the child this process's value.
        start_counting();
        let generation = current_generation();
        let (mut cell, mut ancestor) = (self, None);
        loop {
            let entry = cell.0.get_or_init(|| {
                Box::new(Entry {
                    generation,
                    value: make(ancestor),
                    next: Self::new(),
                })
            });
            if entry.generation == generation {
                return &entry.value;
            }
            ancestor = Some(&entry.value);
            cell = &entry.next;
        }
    }
}

impl<T: Default> PerProcess<T> {
    /// Returns the calling process's value, made at the first call.
    pub(crate) fn get(&self) -> &T {
        self.get_or_make(|_| T::default())
    }
}
