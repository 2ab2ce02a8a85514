//! Random numbers and time for a simulation, which repeats exactly if its seed is the same.
//!
//! Invariant: on a thread without [`seed_thread`] nothing here supplies a random value, and on one without
//! [`start_simulated_clock`] nothing supplies a time. Callers then use the real ones.

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::RwLock;
use std::time::Duration;

use tokio::time::Instant;

thread_local! {
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
    static RANDOM: RefCell<Option<Random>> = const { RefCell::new(None) };
    /// Number of changes that the simulated process on this thread may still make; `None` if there is no
    /// limit.
    static CHANGES: Cell<Option<u32>> = const { Cell::new(None) };
}

/// A lock that is held for reading while a simulation runs, and for writing to start a program. The
/// simulation relies on the release of a file's lock when its owner ends; but between `fork` and `exec` a
/// child has all files of this process open, with their locks.
pub(crate) static FORK_LOCK: RwLock<()> = RwLock::new(());

/// Payload of the panic that ends a simulated process in the middle of its work.
pub(crate) struct SimulatedDeath;

/// Lets the simulated process on this thread make `left` more changes, and die before the next one. Returns
/// the previous number.
pub(crate) fn set_changes_left(left: Option<u32>) -> Option<u32> {
    CHANGES.replace(left)
}

/// Counts a change of a file that others see. Called before each such change, because the process may die
/// here.
///
/// # Panics
/// With [`SimulatedDeath`], if the simulated process dies.
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

/// A generator of random numbers (`SplitMix64`, by Sebastiano Vigna).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a random number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a random number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Returns true in `percent` of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns a random one of `choices`.
    ///
    /// # Panics
    /// If `choices` is empty.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap_or(0)]
    }
}

/// Makes [`now_ms`] on the calling thread follow tokio's simulated time from now on.
pub(crate) fn start_simulated_clock() {
    BEGUN.set(Some(Instant::now()));
}

/// Returns the simulated time, in ms since the Unix epoch; `None` on a thread without a simulated clock.
pub(crate) fn now_ms() -> Option<i64> {
    const BEGIN: Duration = Duration::from_millis(1_700_000_000_000);
    let now = BEGIN + BEGUN.get()?.elapsed();
    i64::try_from(now.as_millis()).ok()
}

/// Makes every random value on the calling thread follow from `seed`.
pub(crate) fn seed_thread(seed: u64) {
    RANDOM.set(Some(Random::new(seed)));
}

/// Returns a random number from 0 to 1; `None` on a thread without a seed.
pub(crate) fn random_fraction() -> Option<f64> {
    let bits = u32::try_from(next_number()? >> 32).unwrap_or(0);
    Some(f64::from(bits) / f64::from(u32::MAX))
}

/// Returns a random name for the directory of a journal; `None` on a thread without a seed.
pub(crate) fn random_name() -> Option<String> {
    Some(format!("{:016x}{:016x}", next_number()?, next_number()?))
}

/// Returns true if a fault that is rare in reality is to happen now: in one of four cases on a thread with a
/// seed, never on another.
pub(crate) fn has_rare_fault() -> bool {
    next_number().is_some_and(|number| number.is_multiple_of(4))
}

fn next_number() -> Option<u64> {
    RANDOM.with_borrow_mut(|random| random.as_mut().map(Random::next))
}
