//! A static with a separate value in every process.
//!
//! Invariant: nothing here waits. A child made by `fork` meets neither a lock that a thread of its parent
//! held at that moment, nor a cell that such a thread was filling: the thread does not exist in the child,
//! and the lock would be held for ever.

use once_cell::race::OnceBox;

use super::{current_generation, start_counting};

/// A list with one value for each process in the line of forks, the oldest process first. The values of
/// ancestors stay in the list and are not touched.
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

    /// Returns the calling process's value, which `make` creates at the first call. `make` receives the value
    /// of the nearest ancestor that has one; the locks in that value may be held for ever. Threads that call
    /// this at the same time may each call `make`, and one of the results is kept.
    pub(crate) fn get_or_make(&self, make: impl Fn(Option<&T>) -> T) -> &T {
        // After a fork that is not counted, the child would use this process's value.
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
    /// Returns the calling process's value, which is created at the first call.
    pub(crate) fn get(&self) -> &T {
        self.get_or_make(|_| T::default())
    }
}
