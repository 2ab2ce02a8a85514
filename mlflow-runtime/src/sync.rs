//! Locks that a panic leaves usable.
//!
//! Invariant: the data behind a lock of this crate is valid at every step, so a panic of whoever held the lock is no
//! reason to stop tracking.

use std::sync::{LockResult, Mutex, MutexGuard, PoisonError};

/// Locks the mutex, also one whose holder has panicked.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    ignore_poison(mutex.lock())
}

/// Returns the guard, also that of a lock whose holder has panicked.
pub(crate) fn ignore_poison<G>(locked: LockResult<G>) -> G {
    locked.unwrap_or_else(PoisonError::into_inner)
}
