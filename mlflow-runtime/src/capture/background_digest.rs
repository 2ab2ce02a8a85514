//! Digests of data in memory that a thread computes, so that the thread which logs the data does not wait.
//!
//! Invariants: one thread computes one digest after the other, and ends when none is left. Whoever waits for a digest gets an
//! answer, even if the computation panics. The data is dropped as soon as
//! its digest is known. Only the process that logged the data can compute the digest: for a child made by `fork`, and for
//! whoever delivers the journal of a process that was killed, the digest is lost.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex};
use std::thread;

use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::model::dataset::RowsTicket;
use crate::os::fork::PerProcess;
use crate::sync::{ignore_poison, lock};

/// Number of digests that are kept for a dataset that is delivered again. The oldest is forgotten first.
const MAX_KEPT_DIGESTS: usize = 65_536;
/// Reason why a digest is lost.
const PROCESS_ENDED: &str = "the process that logged it ended before its rows were hashed";

/// Computation of a digest, or the reason why there is none.
type Computation = Box<dyn FnOnce() -> Result<String, String> + Send>;

/// Digests of this process.
static DIGESTS: PerProcess<Digests> = PerProcess::new();

struct Digests {
    /// Random number that no other process has.
    process: u64,
    state: Mutex<State>,
    computed: Condvar,
}

#[derive(Default)]
struct State {
    started: u64,
    waiting: VecDeque<(u64, Computation)>,
    has_thread: bool,
    /// Results by number; `None` until the digest is computed.
    results: FxHashMap<u64, Option<Result<String, String>>>,
}

impl Default for Digests {
    fn default() -> Self {
        Self {
            process: Uuid::new_v4().as_u64_pair().0,
            state: Mutex::default(),
            computed: Condvar::new(),
        }
    }
}

/// Starts to compute a digest on another thread. Returns the ticket by which [`wait`] finds the digest.
pub(crate) fn start(
    compute: impl FnOnce() -> Result<String, String> + Send + 'static,
) -> RowsTicket {
    let digests = DIGESTS.get();
    let mut state = lock(&digests.state);
    let number = state.started;
    state.started += 1;
    state.results.insert(number, None);
    if let Some(oldest) = number.checked_sub(MAX_KEPT_DIGESTS as u64) {
        // A digest that is not computed yet is still needed.
        if state.results.get(&oldest).is_some_and(Option::is_some) {
            state.results.remove(&oldest);
        }
    }
    state.waiting.push_back((number, Box::new(compute)));
    if !state.has_thread {
        let spawned = thread::Builder::new()
            .name("mlflow-digest".to_owned())
            .spawn(|| digests.compute_all());
        state.has_thread = spawned.is_ok();
    }
    let has_thread = state.has_thread;
    drop(state);
    if !has_thread {
        // The system has no thread left, so the caller has to wait.
        digests.compute_all();
    }
    RowsTicket {
        process: digests.process,
        number,
    }
}

/// Returns the digest with this ticket, once it is computed; else the reason why there is none.
pub(crate) fn wait(ticket: RowsTicket) -> Result<String, String> {
    let digests = DIGESTS.get();
    if ticket.process != digests.process {
        return Err(PROCESS_ENDED.to_owned());
    }
    let mut state = lock(&digests.state);
    loop {
        match state.results.get(&ticket.number) {
            Some(Some(result)) => return result.clone(),
            Some(None) => state = ignore_poison(digests.computed.wait(state)),
            None => return Err("it was logged too long ago".to_owned()),
        }
    }
}

impl Digests {
    /// Computes the digests that wait, until none is left.
    fn compute_all(&self) {
        let mut state = lock(&self.state);
        while let Some((number, compute)) = state.waiting.pop_front() {
            drop(state);
            let computed = catch_unwind(AssertUnwindSafe(compute));
            let result = computed.unwrap_or_else(|_| Err("its computation panicked".to_owned()));
            state = lock(&self.state);
            state.results.insert(number, Some(result));
            self.computed.notify_all();
        }
        state.has_thread = false;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_digest_is_computed_on_another_thread() {
        let (allow, allowed) = mpsc::channel();
        let caller = thread::current().id();
        let first = start(move || {
            allowed.recv().map_err(|error| error.to_string())?;
            assert_ne!(thread::current().id(), caller);
            Ok("first".to_owned())
        });
        let second = start(|| Err("no rows".to_owned()));
        allow.send(()).expect("the computation waits");
        assert_eq!(wait(second), Err("no rows".to_owned()));
        for _ in 0..2 {
            assert_eq!(wait(first), Ok("first".to_owned()), "it is asked for again");
        }
    }

    #[test]
    fn a_computation_that_panics_keeps_nobody_waiting() {
        let broken = start(|| panic!("a fault of the data's crate"));
        let good = start(|| Ok("good".to_owned()));
        assert_eq!(wait(broken), Err("its computation panicked".to_owned()));
        assert_eq!(wait(good), Ok("good".to_owned()));
    }

    #[test]
    fn the_digest_of_another_process_is_lost() {
        let ours = start(|| Ok("ours".to_owned()));
        let theirs = RowsTicket {
            process: ours.process.wrapping_add(1),
            ..ours
        };
        assert_eq!(wait(theirs), Err(PROCESS_ENDED.to_owned()));
    }
}
