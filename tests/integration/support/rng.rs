//! Rng that can be repeated: a seed gives the same numbers again.
//!
//! What it decides (when to kill, who sweeps) is repeated with it; what the machine makes of that is not.

use std::env;
use std::time::UNIX_EPOCH;

#[derive(Debug)]
pub(crate) struct Rng {
    seed: u64,
    state: u64,
}

impl Rng {
    /// From `MLFLOW_TEST_SEED`, else from the clock. Printed, so that a failure can be followed up.
    pub(crate) fn seeded() -> Self {
        Self::seeded_or(u64::from(UNIX_EPOCH.elapsed().unwrap().subsec_nanos()))
    }

    /// The same with a seed of the test's own instead of the clock.
    pub(crate) fn seeded_or(seed: u64) -> Self {
        let seed = env::var("MLFLOW_TEST_SEED").map_or(seed, |seed| {
            seed.parse().expect("MLFLOW_TEST_SEED is a number")
        });
        println!("MLFLOW_TEST_SEED={seed}");
        Self { seed, state: seed }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
