//! A value that a child made by `fork` gets from its parent, whatever the parent's threads were doing at that
//! moment.
//!
//! Invariant: at most one of the two copies is written at a time, and a copy is locked only while it is read
//! or written. In a child, a copy may stay locked for ever by a thread that does not exist there. The other
//! copy is then free, unless a second thread was using it at the moment of the fork.

use std::sync::Mutex;
use std::thread;

use crate::sync::lock;

/// A value in two copies.
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

    /// Replaces the value. Must not be called in a child of the process that created this.
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
