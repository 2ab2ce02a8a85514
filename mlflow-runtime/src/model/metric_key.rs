//! Metric keys that are known before their values: at a call site, or in a handle.
//!
//! Invariant: a number that was assigned to a key never changes, and is never assigned to another key in the
//! same process. A child made by `fork` keeps the numbers of the keys that it has from its parent, and
//! continues counting from there. Parent and child may then assign one number to two keys, which does no
//! harm: they write to different journals.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

use crate::model::limits;
use crate::os::fork::PerProcess;
use crate::sync::lock;

/// A metric's name, with a number by which the key is found again in one load.
#[derive(Debug)]
pub struct Key {
    name: Cow<'static, str>,
    /// Number of the key; 0 until one is assigned.
    number: AtomicU32,
    /// True once no warning is left to be logged for values of the key without a run.
    is_warned: AtomicBool,
}

impl Key {
    /// Creates a key for a `static` at a call site.
    ///
    /// # Panics
    /// If MLflow would refuse the name. In a `const` context the panic is a compile error.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(limits::checked_key(name)),
            number: AtomicU32::new(0),
            is_warned: AtomicBool::new(false),
        }
    }

    /// Returns the key of this name that handles share, so that making handles in a loop uses up no numbers.
    pub(crate) fn interned(name: &str) -> Arc<Self> {
        static SHARED: PerProcess<Mutex<FxHashMap<Box<str>, Arc<Key>>>> = PerProcess::new();
        let mut shared = lock(SHARED.get());
        if let Some(key) = shared.get(name) {
            return Arc::clone(key);
        }
        let key = Arc::new(Self {
            name: Cow::Owned(name.to_owned()),
            number: AtomicU32::new(0),
            is_warned: AtomicBool::new(false),
        });
        shared.insert(name.into(), Arc::clone(&key));
        key
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    pub(crate) fn is_warned(&self) -> bool {
        self.is_warned.load(Ordering::Relaxed)
    }

    pub(crate) fn set_warned(&self) {
        self.is_warned.store(true, Ordering::Relaxed);
    }

    /// Returns the number of the key; 0 if none is assigned yet.
    #[inline]
    pub(crate) fn assigned_number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    /// Returns the number of the key, which is assigned now if need be.
    pub(crate) fn number(&self) -> u32 {
        match self.assigned_number() {
            0 => self.assign(),
            number => number,
        }
    }

    #[cold]
    fn assign(&self) -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let fresh = NEXT.fetch_add(1, Ordering::Relaxed);
        match self
            .number
            .compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => fresh,
            Err(earlier) => earlier,
        }
    }
}
