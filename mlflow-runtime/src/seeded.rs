//! Chance from a seed: what a simulation needs to run twice in the same way.
//!
//! Invariant: without [`begin`] on the same thread nothing here answers, and chance is left to itself.

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::RwLock;
use std::time::Duration;

use tokio::time::Instant;

thread_local! {
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
    static RANDOM: RefCell<Option<Random>> = const { RefCell::new(None) };
    /// How many changes the process may still make that has this thread now.
    static CHANGES: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Held while a simulation goes on, which counts on it that the lock of a file goes with its owner; and taken to start a
/// program: between `fork` and `exec` the child has all files of this process open, with their locks.
pub(crate) static FORK_LOCK: RwLock<()> = RwLock::new(());

/// The end of a simulated process in the middle of its work: what is unwound.
pub(crate) struct SimulatedDeath;

/// Has the process that runs now die before its next but `left` changes; returns what was left before.
pub(crate) fn set_changes_left(left: Option<u32>) -> Option<u32> {
    CHANGES.replace(left)
}

/// Called before each change of a file that others see: a process may die here.
///
/// # Panics
/// With [`Died`], if it does.
pub(crate) fn before_change() {
    match CHANGES.get() {
        None => {}
        Some(0) => {
            CHANGES.set(None);
            panic::resume_unwind(Box::new(SimulatedDeath));
        }
        Some(left) => CHANGES.set(Some(left - 1)),
    }
}

/// A generator of numbers (`SplitMix64`, by Sebastiano Vigna).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Returns true in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns one of `choices`.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap_or(0)]
    }
}

/// Has the calling thread's clock follow its simulated time from now on.
pub(crate) fn start_simulated_clock() {
    BEGUN.set(Some(Instant::now()));
}

/// Returns the simulated time in ms.
pub(crate) fn now_ms() -> Option<i64> {
    const BEGIN: Duration = Duration::from_millis(1_700_000_000_000);
    let now = BEGIN + BEGUN.get()?.elapsed();
    i64::try_from(now.as_millis()).ok()
}

/// Makes everything on the calling thread that is left to chance follow from `seed`.
pub(crate) fn seed_thread(seed: u64) {
    RANDOM.set(Some(Random::new(seed)));
}

/// Returns a number from 0 to 1.
pub(crate) fn random_fraction() -> Option<f64> {
    let bits = u32::try_from(next_number()? >> 32).unwrap_or(0);
    Some(f64::from(bits) / f64::from(u32::MAX))
}

/// Returns a name as a journal's directory has.
pub(crate) fn random_name() -> Option<String> {
    Some(format!("{:016x}{:016x}", next_number()?, next_number()?))
}

/// Returns whether a fault that hardly ever comes by itself comes now, as it does in one of four cases.
pub(crate) fn has_rare_fault() -> bool {
    next_number().is_some_and(|number| number.is_multiple_of(4))
}

fn next_number() -> Option<u64> {
    RANDOM.with_borrow_mut(|random| random.as_mut().map(Random::next))
}
