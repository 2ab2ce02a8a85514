//! Locks that stay usable after a panic.
//!
//! Invariant: the data behind a lock of this crate is valid at every step, so a panic of the thread that
//! holds the lock is no reason to stop tracking.

use std::sync::{LockResult, Mutex, MutexGuard, PoisonError};

/// Locks the mutex, even if a thread has panicked while it held the lock.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    ignore_poison(mutex.lock())
}

/// Returns the guard, even if a thread has panicked while it held the lock.
pub(crate) fn ignore_poison<G>(locked: LockResult<G>) -> G {
    locked.unwrap_or_else(PoisonError::into_inner)
}
