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
//! 4. No function of the crate waits in a child for what only a thread of the parent could give.
//!
//! Everything that belongs to a process remembers the [`current_generation`] it was made in; what is of an
//! earlier one is left alone, never dropped. A static with a lock in it is a [`PerProcess`], or a
//! lock reached only from one; a cell that is filled once is a [`OnceBox`](once_cell::race::OnceBox),
//! which nobody waits for. What a child needs of its parent's is a [`InheritedValue`].
//!
//! Not covered: locks that are not ours, of the standard library (its stderr, the panic hook), of a
//! subscriber, and those of a [fake](crate::testing) that another thread logs to at that moment.

mod bequest;
mod per_process;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

pub(crate) use bequest::InheritedValue;
pub(crate) use per_process::PerProcess;

use super::hooks::{close_in_child, register_fork_child_hook};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Whether this process has tracked, and whether one that it descends from had before the fork.
static IS_TRACKING: AtomicBool = AtomicBool::new(false);
static WAS_PARENT_TRACKING: AtomicBool = AtomicBool::new(false);

/// The descriptors that a child closes. Of more than fit, those that come too late stay open until
/// the child ends.
static OWN_DESCRIPTORS: [AtomicI32; 64] = [const { AtomicI32::new(NO_DESCRIPTOR) }; 64];
const NO_DESCRIPTOR: i32 = -1;

/// How often the process's line was forked since [`start_counting`] was first called.
#[inline]
pub(crate) fn current_generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Returns true in a child made by `fork` from a process that tracked at that time.
pub(crate) fn is_child() -> bool {
    WAS_PARENT_TRACKING.load(Ordering::Relaxed)
}

/// Notes that this process begins to track.
pub(crate) fn note_tracking() {
    start_counting();
    IS_TRACKING.store(true, Ordering::Relaxed);
}

/// From now on forks are counted. Returns when they are, so that no lock of the crate is taken
/// before.
pub(crate) fn start_counting() {
    if INSTALLED.load(Ordering::Acquire) != DONE {
        install();
    }
}

/// Whether forks are counted: [`DONE`], or the id of the process that is about to, or 0. Not a
/// `Once`: a child that is forked meanwhile would wait for it.
static INSTALLED: AtomicU32 = AtomicU32::new(0);
const DONE: u32 = u32::MAX;

#[cold]
fn install() {
    let own = std::process::id();
    loop {
        let seen = INSTALLED.load(Ordering::Acquire);
        if seen == DONE {
            return;
        }
        if seen == own {
            // Another thread is at it, which takes no time.
            std::thread::yield_now();
        } else if INSTALLED
            .compare_exchange(seen, own, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            break;
        }
    }
    let installed = register_fork_child_hook(reset_in_child);
    INSTALLED.store(DONE, Ordering::Release);
    if !installed {
        tracing::warn!(target: "mlflow", "forks cannot be noticed; a child that goes on without exec must not track");
    }
}

/// Async-signal-safe: atomics and `close`.
extern "C" fn reset_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    WAS_PARENT_TRACKING.fetch_or(
        IS_TRACKING.swap(false, Ordering::Relaxed),
        Ordering::Relaxed,
    );
    for lock in &OWN_DESCRIPTORS {
        let descriptor = lock.swap(NO_DESCRIPTOR, Ordering::Relaxed);
        if descriptor != NO_DESCRIPTOR {
            close_in_child(descriptor);
        }
    }
}

/// A file that no child keeps open: it has a lock, say.
pub(crate) struct CloseOnForkFile {
    file: Option<File>,
    generation: u32,
}

impl CloseOnForkFile {
    pub(crate) fn new(file: File) -> Self {
        let descriptor = file.as_raw_fd();
        let _ = OWN_DESCRIPTORS.iter().any(|lock| {
            lock.compare_exchange(
                NO_DESCRIPTOR,
                descriptor,
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
        });
        Self {
            file: Some(file),
            generation: current_generation(),
        }
    }
}

impl CloseOnForkFile {
    /// The file; `None` in a child, where it is closed.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file
            .as_ref()
            .filter(|_| self.generation == current_generation())
    }
}

impl Drop for CloseOnForkFile {
    fn drop(&mut self) {
        let file = self.file.take();
        if self.generation != current_generation() {
            // The child has closed it already, and may use its number for another.
            std::mem::forget(file);
            return;
        }
        let descriptor = file.as_ref().map_or(NO_DESCRIPTOR, File::as_raw_fd);
        let _ = OWN_DESCRIPTORS.iter().any(|lock| {
            lock.compare_exchange(
                descriptor,
                NO_DESCRIPTOR,
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
        });
    }
}
