//! Plan of the values that a victim logs. The file is a module, not a program: the program `victim.rs`
//! and the test program `reliability`, which checks the store, both include it.
//!
//! Invariant: a mark is written only after the call that it counts has returned, so the marks are true
//! whenever the process is killed.
//!
//! A life is one process of the program `victim`, and one run. Each round of each of its threads is a
//! child of that run. A thread numbers its values from 0 over all its rounds: the number is the step, and
//! the value encodes life, thread and number.
//!
//! The marks are counts in a file, which say how far each thread got. Only one thread at a time writes
//! a mark.

/// Number of threads of a life.
pub(crate) const THREADS: u64 = 4;
/// Stands for the life itself wherever the number of a thread is expected. The values of a life are those
/// of the tag [`TAG`] of its run: 1, 2, …, set by all threads in turn.
pub(crate) const LIFE: u64 = THREADS;
pub(crate) const TAG: &str = "turn";

/// Kind of mark: the thing that is counted.
#[derive(Clone, Copy)]
pub(crate) enum Mark {
    Values,
    /// Runs that were started. The notes of a run are logged before this mark.
    Started,
    Ended,
}

/// Returns the offset of a mark in the file, in bytes.
pub(crate) fn offset(mark: Mark, thread: u64) -> u64 {
    8 * (3 * thread + mark as u64)
}

pub(crate) fn value(life: u64, thread: u64, number: u64) -> f64 {
    ((life * THREADS + thread) * 1_000_000 + number) as f64
}

/// Returns true if a thread logs the value with this number to the life's run, under [`shared_key`]. The
/// thread logs other values to the round's run, under the key `value`.
pub(crate) fn is_shared(number: u64) -> bool {
    number.is_multiple_of(8)
}

pub(crate) fn shared_key(thread: u64) -> String {
    format!("thread/{thread}")
}

/// Returns the text of the artifact `notes.txt`, or `None` for a run that has no such artifact. The text is
/// long enough to be stored in a file beside the journal.
pub(crate) fn notes(life: u64, thread: u64, round: u64) -> Option<String> {
    let wanted = round.is_multiple_of(4);
    wanted.then(|| format!("life {life}, thread {thread}, round {round}\n").repeat(800))
}
