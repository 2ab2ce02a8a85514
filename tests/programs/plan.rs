//! What a victim logs, as it and whoever reads the store both know it.
//!
//! A life of a victim is a run; each round of one of its threads is a child of that run. A thread
//! numbers its values from 0 over all its rounds: the number is the step, and the value tells life,
//! thread and number.
//!
//! How far it got stands in a file of marks: numbers that are written after the call returned that
//! they are about, by a thread each, so that they are true whenever the process is killed.

/// Threads of a life.
pub(crate) const THREADS: u64 = 4;
/// In the place of a thread: the life itself. Its values are those of the tag [`TAG`] of its run,
/// 1, 2, …, set by all threads in turn.
pub(crate) const LIFE: u64 = THREADS;
pub(crate) const TAG: &str = "turn";

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Mark {
    Values,
    /// Runs; their notes are logged by then.
    Started,
    Ended,
}

/// Where in the file it stands.
pub(crate) fn offset(mark: Mark, thread: u64) -> u64 {
    8 * (3 * thread + mark as u64)
}

pub(crate) fn value(life: u64, thread: u64, number: u64) -> f64 {
    ((life * THREADS + thread) * 1_000_000 + number) as f64
}

/// Whether all threads log this one to the life's run, under [`shared_key`]; the others go to the
/// round's run, under the key `value`.
pub(crate) fn is_shared(number: u64) -> bool {
    number.is_multiple_of(8)
}

pub(crate) fn shared_key(thread: u64) -> String {
    format!("thread/{thread}")
}

/// The text of the artifact `notes.txt`, long enough to lie beside the journal. Only some runs have it.
pub(crate) fn notes(life: u64, thread: u64, round: u64) -> Option<String> {
    let wanted = round.is_multiple_of(4);
    wanted.then(|| format!("life {life}, thread {thread}, round {round}\n").repeat(800))
}
