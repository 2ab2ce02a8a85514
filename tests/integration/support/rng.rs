//! Random number generator for tests whose decisions can be repeated: the same seed gives the same numbers.
//!
//! A seed repeats the decisions (when to kill, which process sweeps), but not the machine's timing.

use std::env;
use std::time::UNIX_EPOCH;

/// Random number generator (`SplitMix64`) that remembers its seed.
#[derive(Debug)]
pub(crate) struct Rng {
    seed: u64,
    state: u64,
}

impl Rng {
    /// Creates a generator from `MLFLOW_TEST_SEED`, else from the clock. The seed is printed, so that a
    /// failure can be repeated.
    pub(crate) fn seeded() -> Self {
        Self::seeded_or(u64::from(UNIX_EPOCH.elapsed().unwrap().subsec_nanos()))
    }

    /// Creates a generator from `MLFLOW_TEST_SEED`, else from `seed`. The seed is printed, so that a failure
    /// can be repeated.
    pub(crate) fn seeded_or(seed: u64) -> Self {
        let seed = env::var("MLFLOW_TEST_SEED").map_or(seed, |seed| {
            seed.parse().expect("MLFLOW_TEST_SEED is a number")
        });
        println!("MLFLOW_TEST_SEED={seed}");
        Self { seed, state: seed }
    }

    /// Returns a generator for another thread, whose numbers depend on this one's.
    #[allow(dead_code, reason = "for the reliability programs")]
    pub(crate) fn split(&mut self) -> Self {
        Self {
            seed: self.seed,
            state: self.next(),
        }
    }

    /// Returns the seed, for messages of failed tests.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the next number of the `SplitMix64` sequence.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
