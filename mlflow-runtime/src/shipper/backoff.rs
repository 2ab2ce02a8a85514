//! How long to wait before the next attempt.
//!
//! Invariants: never longer than [`LONGEST`], unless the store itself asked for more. To wait for
//! another process is no failure of the store.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::shipper::obstacle::Cause;

/// MLflow's own cap is 120 s; half of that finds a store again sooner and is still no burden.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest that a `Retry-After` is honoured.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
const FIRST: Duration = Duration::from_millis(250);
/// For a lock that somebody holds for a moment.
const BUSY: Duration = Duration::from_millis(100);
/// The longest between two looks for a run that another process creates: a thousand ranks may look.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// The first delay where a person may have to act: a gateway's page may also be gone in a second.
const FIRST_BLOCKED: Duration = Duration::from_secs(1);

/// Failures in a row, and what follows from them.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
    /// Looks in a row for a run of another process.
    looks: u32,
}

impl Backoff {
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Returns the delay after one more failure: doubling, with the upper half left to chance, so that
    /// clients that failed together do not come back together.
    pub(super) fn next(&mut self, cause: Cause) -> Duration {
        let (delay, asked) = match cause {
            Cause::Busy => (BUSY, None),
            Cause::Away { retry_after } => {
                (doubled(FIRST, self.failures).min(LONGEST), retry_after)
            }
            Cause::Blocked => (doubled(FIRST_BLOCKED, self.failures).min(LONGEST), None),
        };
        self.failures = self.failures.saturating_add(1);
        jittered(delay).max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }

    /// Returns the delay after a look in vain for a run that another process creates: no failure of
    /// the store.
    pub(super) fn next_look(&mut self) -> Duration {
        let delay = doubled(BUSY, self.looks).min(LONGEST_LOOK);
        self.failures = 0;
        self.looks = self.looks.saturating_add(1);
        jittered(delay)
    }
}

fn doubled(delay: Duration, times: u32) -> Duration {
    delay.saturating_mul(1 << times.min(16))
}

fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(0.5 + 0.5 * chance())
}

/// A number from 0 to 1: every `RandomState` has keys of its own.
fn chance() -> f64 {
    #[cfg(test)]
    if let Some(chance) = crate::seeded::chance() {
        return chance;
    }
    let bits = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAY: Cause = Cause::Away { retry_after: None };

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let first = backoff.next(AWAY);
        assert!(first >= FIRST / 2 && first <= FIRST, "{first:?}");
        let second = backoff.next(AWAY);
        assert!(second >= FIRST && second <= FIRST * 2, "{second:?}");
        let last = (0..100)
            .map(|_| backoff.next(AWAY))
            .last()
            .unwrap_or_default();
        assert!(last >= LONGEST / 2 && last <= LONGEST, "{last:?}");
    }

    #[test]
    fn a_lock_is_tried_again_soon_however_often() {
        let mut backoff = Backoff::default();
        let last = (0..100)
            .map(|_| backoff.next(Cause::Busy))
            .last()
            .unwrap_or_default();
        assert!(last <= BUSY, "{last:?}");
    }

    #[test]
    fn a_run_of_another_process_is_looked_for_at_growing_intervals_by_a_store_that_is_there() {
        let mut backoff = Backoff::default();
        assert!(backoff.next_look() <= BUSY);
        let last = (0..100).map(|_| backoff.next_look()).last();
        let last = last.unwrap_or_default();
        assert!(last >= LONGEST_LOOK / 2 && last <= LONGEST_LOOK, "{last:?}");
        assert!(
            backoff.next(AWAY) <= FIRST,
            "the store has not failed before"
        );
    }

    #[test]
    fn the_store_may_ask_for_more_but_not_for_ever() {
        let mut backoff = Backoff::default();
        let mut asked = |retry_after| {
            backoff.next(Cause::Away {
                retry_after: Some(retry_after),
            })
        };
        assert!(asked(Duration::from_secs(90)) >= Duration::from_secs(90));
        assert!(asked(Duration::MAX) <= LONGEST_ASKED);
    }
}
