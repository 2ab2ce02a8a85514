//! A value that a child made by `fork` gets from its parent, whatever the parent's threads were
//! doing at that moment.
//!
//! Invariant: of the two copies, at most one is being written at a time, and a copy is locked only
//! while it is read or written. So in a child one of them is free, or is soon: the other may be
//! locked by a thread that does not exist there.

use std::sync::Mutex;
use std::thread;

use crate::sync::lock;

/// The value, twice.
#[derive(Debug)]
pub(crate) struct InheritedValue<T> {
    copies: [Mutex<T>; 2],
    writing: Mutex<()>,
}

impl<T: Clone> InheritedValue<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            copies: [Mutex::new(value.clone()), Mutex::new(value)],
            writing: Mutex::new(()),
        }
    }

    /// Replaces the value. Not to be called in a child of the process that made this.
    pub(crate) fn set(&self, value: &T) {
        let _writing = lock(&self.writing);
        for copy in &self.copies {
            *lock(copy) = value.clone();
        }
    }

    /// Returns the value, from any process.
    pub(crate) fn get(&self) -> T {
        loop {
            for copy in &self.copies {
                if let Ok(copy) = copy.try_lock() {
                    return copy.clone();
                }
            }
            thread::yield_now();
        }
    }
}
