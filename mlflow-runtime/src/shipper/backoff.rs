//! How long to wait before the next attempt.
//!
//! Invariant: never longer than [`LONGEST`], unless the store itself asked for more.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// MLflow's own cap is 120 s; half of that finds a store again sooner and is still no burden.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest that a `Retry-After` is honoured.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
const FIRST: Duration = Duration::from_millis(250);

/// Failures in a row, and what follows from them.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The delay after one more failure: doubling, with the upper half left to chance, so that
    /// clients that failed together do not come back together.
    pub(super) fn next(&mut self, asked: Option<Duration>, blocked: bool) -> Duration {
        let doubled = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let delay = if blocked { LONGEST } else { doubled };
        let jittered = delay.mul_f64(0.5 + 0.5 * chance());
        match asked {
            Some(asked) => jittered.max(asked.min(LONGEST_ASKED)),
            None => jittered,
        }
    }
}

/// A number from 0 to 1: every `RandomState` has keys of its own.
fn chance() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let first = backoff.next(None, false);
        assert!(first >= FIRST / 2 && first <= FIRST, "{first:?}");
        let second = backoff.next(None, false);
        assert!(second >= FIRST && second <= FIRST * 2, "{second:?}");
        let last = (0..100)
            .map(|_| backoff.next(None, false))
            .last()
            .unwrap_or_default();
        assert!(last >= LONGEST / 2 && last <= LONGEST, "{last:?}");
    }

    #[test]
    fn the_store_may_ask_for_more_but_not_for_ever() {
        let mut backoff = Backoff::default();
        assert!(backoff.next(Some(Duration::from_secs(90)), false) >= Duration::from_secs(90));
        assert!(backoff.next(Some(Duration::MAX), false) <= LONGEST_ASKED);
    }
}
