//! What becomes of tracking in a child made by `fork` that goes on without `exec`.
//!
//! # Invariants
//!
//! 1. A child writes to no segment of its parent, waits for none of its locks (the thread that holds
//!    one may not exist there) and ships nothing of its journal. It has its own journal, and a thread
//!    that ships it; where the store is a SQLite file, which a child must not open, its parent or the
//!    next process ships it.
//! 2. A child keeps no journal of its parent alive: it closes the files whose locks say that.
//! 3. On the way of a value this costs one relaxed load.
//!
//! Everything that belongs to a process remembers the [`generation`] it was made in; what is of an
//! earlier one is left alone, never dropped.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use crate::journal::{close_in_child, in_children};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The descriptors that a child closes. Of more than fit, those that come too late stay open until
/// the child ends.
static LOCKS: [AtomicI32; 64] = [const { AtomicI32::new(NONE) }; 64];
const NONE: i32 = -1;

/// How often the process's line was forked since [`watch`] was first called.
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// How many generations of forked processes have a state of their own; later ones share the last.
pub(crate) const GENERATIONS: usize = 8;

/// The generation, as the index of what exists once for each.
pub(crate) fn slot() -> usize {
    usize::try_from(generation()).map_or(GENERATIONS - 1, |slot| slot.min(GENERATIONS - 1))
}

/// From now on forks are counted.
pub(crate) fn watch() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        if !in_children(begin) {
            tracing::warn!(target: "mlflow", "forks cannot be noticed; a child that goes on without exec must not track");
        }
    });
}

/// Async-signal-safe: atomics and `close`.
extern "C" fn begin() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for lock in &LOCKS {
        let descriptor = lock.swap(NONE, Ordering::Relaxed);
        if descriptor != NONE {
            close_in_child(descriptor);
        }
    }
}

/// A file that no child keeps open: it has a lock, say.
pub(crate) struct OwnFile {
    file: Option<File>,
    generation: u32,
}

impl OwnFile {
    pub(crate) fn new(file: File) -> Self {
        let descriptor = file.as_raw_fd();
        let _ = LOCKS.iter().any(|lock| {
            lock.compare_exchange(NONE, descriptor, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        });
        Self {
            file: Some(file),
            generation: generation(),
        }
    }
}

impl OwnFile {
    /// The file; `None` in a child, where it is closed.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file
            .as_ref()
            .filter(|_| self.generation == generation())
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let file = self.file.take();
        if self.generation != generation() {
            // The child has closed it already, and may use its number for another.
            std::mem::forget(file);
            return;
        }
        let descriptor = file.as_ref().map_or(NONE, File::as_raw_fd);
        let _ = LOCKS.iter().any(|lock| {
            lock.compare_exchange(descriptor, NONE, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        });
    }
}
