//! Chance that can be repeated: a seed gives the same numbers again.
//!
//! What it decides (when to kill, who sweeps) is repeated with it; what the machine makes of that is not.

use std::env;
use std::time::{Duration, UNIX_EPOCH};

pub(crate) struct Chance(u64);

impl Chance {
    /// From `RELIABILITY_SEED`, else from the clock. Printed, so that a failure can be followed up.
    pub(crate) fn seeded() -> Self {
        let seed = match env::var("RELIABILITY_SEED") {
            Ok(seed) => seed.parse().expect("RELIABILITY_SEED is a number"),
            Err(_) => u64::from(UNIX_EPOCH.elapsed().unwrap().subsec_nanos()),
        };
        println!("seed: {seed} (RELIABILITY_SEED)");
        Self(seed)
    }

    /// `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Any moment up to `longest`, alike.
    pub(crate) fn moment(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.next() as f64 / u64::MAX as f64)
    }
}
