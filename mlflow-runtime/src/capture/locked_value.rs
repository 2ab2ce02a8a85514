//! Values behind a lock. A lock is tried, and never waited for.
//!
//! Invariant: no capture waits for a lock that can be recognised by its type. serde's `Serialize` of a
//! `Mutex` or `RwLock` does wait: it would deadlock if the caller holds the lock, and delay the caller if
//! another thread does.
//!
//! The locks and cells of the standard library are [tried](Lock). Other locks, and locks inside of a value,
//! are recognised by the name of their type only, and are [skipped](is_lock). Two kinds of lock cannot be
//! recognised: a lock that a user's own `Serialize` takes, and a lock in a field that serde's `derive`
//! serializes in place (`transparent`, `flatten`, `untagged`, an internally tagged newtype).

use std::any::type_name;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, RwLock, TryLockError};

/// A lock or cell of the standard library, or a pointer or `Option` that leads to one.
pub trait Lock {
    /// Type of the value that the lock protects.
    type Content: ?Sized;

    /// Calls `look` with the current state of the lock, and returns the result.
    fn look<R>(&self, look: impl FnOnce(Look<'_, Self::Content>) -> R) -> R;
}

/// State of a [`Lock`] at the moment when it is tried.
#[derive(Debug)]
pub enum Look<'l, C: ?Sized> {
    /// Content of the lock, which nobody else changes while it is borrowed.
    Content(&'l C),
    /// A lock that is held already, or a cell that is borrowed mutably.
    Locked,
    /// No content: an `Option` that is `None`, or a cell that is not set yet.
    Absent,
}

impl<C: ?Sized> Lock for Mutex<C> {
    type Content = C;

    fn look<R>(&self, look: impl FnOnce(Look<'_, C>) -> R) -> R {
        match self.try_lock() {
            Ok(content) => look(Look::Content(&content)),
            Err(TryLockError::Poisoned(poisoned)) => look(Look::Content(&poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => look(Look::Locked),
        }
    }
}

impl<C: ?Sized> Lock for RwLock<C> {
    type Content = C;

    fn look<R>(&self, look: impl FnOnce(Look<'_, C>) -> R) -> R {
        match self.try_read() {
            Ok(content) => look(Look::Content(&content)),
            Err(TryLockError::Poisoned(poisoned)) => look(Look::Content(&poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => look(Look::Locked),
        }
    }
}

impl<C: ?Sized> Lock for RefCell<C> {
    type Content = C;

    fn look<R>(&self, look: impl FnOnce(Look<'_, C>) -> R) -> R {
        match self.try_borrow() {
            Ok(content) => look(Look::Content(&content)),
            Err(_) => look(Look::Locked),
        }
    }
}

macro_rules! set_once {
    ($($cell:ident)*) => {$(
        impl<C> Lock for $cell<C> {
            type Content = C;

            fn look<R>(&self, look: impl FnOnce(Look<'_, C>) -> R) -> R {
                look(self.get().map_or(Look::Absent, Look::Content))
            }
        }
    )*};
}

set_once!(OnceCell OnceLock);

macro_rules! pointers {
    ($($pointer:ty;)*) => {$(
        impl<L: Lock + ?Sized> Lock for $pointer {
            type Content = L::Content;

            fn look<R>(&self, look: impl FnOnce(Look<'_, L::Content>) -> R) -> R {
                (**self).look(look)
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

impl<L: Lock> Lock for Option<L> {
    type Content = L::Content;

    fn look<R>(&self, look: impl FnOnce(Look<'_, L::Content>) -> R) -> R {
        match self {
            Some(lock) => lock.look(look),
            None => look(Look::Absent),
        }
    }
}

/// Returns true if, judging by the type's name, the `Serialize` of a `T` waits for a lock.
pub(super) fn is_lock<T: ?Sized>() -> bool {
    find_lock_name(type_name::<T>()).is_some()
}

/// Returns true if, judging by the type's name, the `Debug` of a `T` waits for a lock. The `Debug` of a
/// `Mutex` does not: it tries the lock.
pub(super) fn is_lock_in_debug<T: ?Sized>() -> bool {
    matches!(
        find_lock_name(type_name::<T>()),
        Some("DashMap" | "DashSet")
    )
}

/// Returns the name of the lock in a type's name, without its path and its content: `Mutex`.
pub(super) fn lock_name<T: ?Sized>() -> &'static str {
    find_lock_name(type_name::<T>()).unwrap_or("lock")
}

/// Finds the name of the lock in a type's name, looking through the types that are transparent to serde.
fn find_lock_name(mut name: &'static str) -> Option<&'static str> {
    // Locks of the standard library, lock_api (parking_lot), spin, tokio and dashmap.
    const LOCKS: [&str; 7] = [
        "Mutex",
        "RwLock",
        "FairMutex",
        "ReentrantMutex",
        "ReentrantLock",
        "DashMap",
        "DashSet",
    ];
    const TRANSPARENT: [&str; 9] = [
        "Arc", "Rc", "Weak", "Box", "Cow", "Pin", "RefCell", "Reverse", "Option",
    ];
    loop {
        name = name.trim_start_matches(['&', ' ']);
        if let Some(behind) = name.strip_prefix("mut ") {
            name = behind;
            continue;
        }
        let (head, content) = name.split_once('<')?;
        // A tuple, a slice or a function is no lock, whatever it contains.
        if head.starts_with(|first: char| !first.is_alphabetic()) {
            return None;
        }
        let head = head.rsplit("::").next().unwrap_or(head);
        if LOCKS.contains(&head) {
            return Some(head);
        }
        if !TRANSPARENT.contains(&head) {
            return None;
        }
        name = content;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_known_behind_what_leads_to_it() {
        assert!(is_lock::<Mutex<f64>>());
        assert!(is_lock::<RwLock<[f64]>>());
        assert!(is_lock::<&&mut Box<Arc<Rc<Mutex<String>>>>>());
        assert!(is_lock::<Option<Arc<RwLock<f64>>>>());
        assert!(is_lock::<&mut &Mutex<f64>>());
        assert!(is_lock::<std::sync::Weak<Mutex<f64>>>());
        assert_eq!(lock_name::<Arc<RwLock<f64>>>(), "RwLock");
        assert!(!is_lock::<f64>());
        assert!(!is_lock::<str>());
        assert!(!is_lock::<Vec<Mutex<f64>>>());
        assert!(!is_lock::<(Mutex<f64>, u8)>());
        assert!(!is_lock::<Arc<dyn std::fmt::Debug>>());
    }
}
