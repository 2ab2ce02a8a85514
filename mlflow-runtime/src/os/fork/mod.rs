//! Tracking in a child made by `fork` that continues without `exec`.
//!
//! # Invariants
//!
//! 1. A child writes to no segment of its parent, waits for none of the parent's locks (the thread that holds
//!    a lock may not exist in the child) and ships nothing of the parent's journal. The child has its own
//!    journal, and a thread that ships it. If the store is a SQLite file, which a child must not open, the
//!    parent or the next process ships the child's journal.
//! 2. A child does not make a journal of its parent look alive: it closes the files whose locks mark a
//!    journal as in use.
//! 3. The detection of forks costs a logged value one relaxed load.
//! 4. No function of the crate waits in a child for something that only a thread of the parent could provide.
//!
//! Every object that belongs to one process records the [`current_generation`] in which it was created. An
//! object of an earlier generation is left alone, and never dropped. A static with a lock in it is a
//! [`PerProcess`], or the lock is reached only through one. A cell that is filled once is a
//! [`OnceBox`](once_cell::race::OnceBox), for which no thread waits. A value that a child needs from its
//! parent is an [`InheritedValue`].
//!
//! Statics of other crates that are filled once are filled [`without_fork`]: those of tokio, when a runtime is built. Not
//! covered are locks outside of this crate, i.e. of the standard library (its stderr, the panic hook) and of a subscriber, and the locks of a [fake](crate::testing) to which another thread logs at the moment of
//! the fork.

mod inherited_value;
mod per_process;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

pub(crate) use inherited_value::InheritedValue;
pub(crate) use per_process::PerProcess;

use super::hooks::{ForkHooks, close_in_child, register_fork_hooks};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Set once this process tracks. [`WAS_PARENT_TRACKING`] is set if any of its ancestors tracked before the
/// fork.
static IS_TRACKING: AtomicBool = AtomicBool::new(false);
static WAS_PARENT_TRACKING: AtomicBool = AtomicBool::new(false);

/// Descriptors that a child closes. If there are more of them than fit, the last ones stay open until the
/// child ends.
static OWN_DESCRIPTORS: [AtomicI32; 64] = [const { AtomicI32::new(NO_DESCRIPTOR) }; 64];
const NO_DESCRIPTOR: i32 = -1;

/// Returns the number of forks in this process's line since [`start_counting`] was first called.
#[inline]
pub(crate) fn current_generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Returns true in a child made by `fork` from a process that tracked at that time, and in the child's
/// descendants.
pub(crate) fn is_child() -> bool {
    WAS_PARENT_TRACKING.load(Ordering::Relaxed)
}

/// Records that this process tracks.
pub(crate) fn note_tracking() {
    start_counting();
    IS_TRACKING.store(true, Ordering::Relaxed);
}

/// Starts to count forks, if this has not happened yet. Returns only once forks are counted, so that no lock
/// of the crate is taken before.
pub(crate) fn start_counting() {
    if INSTALLED.load(Ordering::Acquire) != DONE {
        install();
    }
}

/// State of the counting: [`DONE`], or the id of the process that is starting it, or 0. Not a `Once`: a child
/// that is forked meanwhile would wait for the `Once`.
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
            // Another thread is installing the hook, which takes hardly any time.
            std::thread::yield_now();
        } else if INSTALLED
            .compare_exchange(seen, own, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            break;
        }
    }
    let installed = register_fork_hooks(&ForkHooks {
        prepare: prepare_fork,
        parent: end_fork,
        child: reset_in_child,
    });
    INSTALLED.store(DONE, Ordering::Release);
    if !installed {
        tracing::warn!(target: "mlflow", "forks cannot be detected; a child process that continues without exec must not use tracking");
    }
}

/// Number of threads that fork at this moment.
static FORKING: AtomicU32 = AtomicU32::new(0);
/// Number of threads that are inside of [`without_fork`].
static FORK_DELAYS: AtomicU32 = AtomicU32::new(0);
/// Number of times that a fork and [`without_fork`] look for each other before they go on all the same: neither may hang. Some
/// tens of milliseconds.
const MAX_LOOKS: u32 = 100_000;

/// Calls `build`, and lets no thread fork meanwhile. `build` fills statics of other crates: a child that was forked in the
/// middle would wait for them for ever. It takes far less than a millisecond, and does not fork.
pub(crate) fn without_fork<R>(build: impl FnOnce() -> R) -> R {
    /// One of [`FORK_DELAYS`], until it is dropped, also by a panic.
    struct Delay;
    impl Drop for Delay {
        fn drop(&mut self) {
            decrement(&FORK_DELAYS);
        }
    }
    for _ in 0..MAX_LOOKS {
        FORK_DELAYS.fetch_add(1, Ordering::SeqCst);
        let delay = Delay;
        if FORKING.load(Ordering::SeqCst) == 0 {
            return build();
        }
        drop(delay);
        std::thread::yield_now();
    }
    build()
}

/// Lowers a number that a child may have reset meanwhile, or whose counting began in the middle.
fn decrement(number: &AtomicU32) {
    let _ = number.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| now.checked_sub(1));
}

/// Waits until no thread is inside of [`without_fork`]. Async-signal-safe: only atomics and `sched_yield` are used.
extern "C" fn prepare_fork() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    for _ in 0..MAX_LOOKS {
        if FORK_DELAYS.load(Ordering::SeqCst) == 0 {
            return;
        }
        std::thread::yield_now();
    }
}

extern "C" fn end_fork() {
    decrement(&FORKING);
}

/// Updates the state in a new child. Async-signal-safe: only atomics and `close` are used.
extern "C" fn reset_in_child() {
    FORKING.store(0, Ordering::SeqCst);
    FORK_DELAYS.store(0, Ordering::SeqCst);
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

/// A file that a child closes at once, for example because the file is locked.
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
    /// Returns the file; `None` in a child, where the file is closed.
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
            // The child has closed this file already, and may use the descriptor's number for another file.
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::determinism::FORK_LOCK;
    use crate::sync::ignore_poison;

    /// Found in a test of forks under load: a child waited for ever for a static of tokio that a thread of its parent was filling.
    #[test]
    fn a_fork_waits_until_the_statics_of_other_crates_are_filled() {
        let _no_forks = ignore_poison(FORK_LOCK.write());
        let (enter, entered) = mpsc::channel();
        let (fill, filled) = mpsc::channel();
        let is_filled = &AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(move || {
                without_fork(|| {
                    enter.send(()).expect("the test waits");
                    filled.recv().expect("the test goes on");
                    is_filled.store(true, Ordering::SeqCst);
                });
            });
            entered.recv().expect("it begins");
            let forking = scope.spawn(move || {
                prepare_fork();
                let seen = is_filled.load(Ordering::SeqCst);
                end_fork();
                seen
            });
            while FORKING.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            fill.send(()).expect("it waits");
            assert!(forking.join().expect("no panic"), "the fork did not wait");
        });
    }

    #[test]
    fn an_end_of_a_fork_whose_beginning_was_not_counted_hangs_nothing() {
        let _no_forks = ignore_poison(FORK_LOCK.write());
        end_fork();
        assert_eq!(without_fork(|| 7), 7);
        assert_eq!(FORKING.load(Ordering::SeqCst), 0);
    }
}
