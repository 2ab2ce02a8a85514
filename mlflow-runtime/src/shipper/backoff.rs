//! Delays before the next attempt: exponential backoff with jitter.
//!
//! Invariants: a delay is never longer than [`MAX_DELAY`], unless the store itself has requested more with
//! `Retry-After`. Waiting for another process does not count as a failure of the store.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::shipper::failure_scope::RetryReason;

/// Longest delay. MLflow's own client waits up to 120 s. Half of that notices sooner that the store is
/// available again, and is still no burden for the store.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// Longest `Retry-After` that is honoured.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// First delay while the store is unavailable.
const INITIAL_DELAY: Duration = Duration::from_millis(250);
/// Delay for a lock that another client holds for a moment; it does not grow.
const BUSY_DELAY: Duration = Duration::from_millis(100);
/// Longest delay between two lookups of a run that another process creates: a thousand ranks may look it up.
const MAX_LOOKUP_DELAY: Duration = Duration::from_secs(5);

/// First delay where a person may have to act. It is short, as the error page of a gateway may also disappear
/// within a second.
const INITIAL_BLOCKED_DELAY: Duration = Duration::from_secs(1);

/// Counts of consecutive failures, from which the next delay follows.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
    /// Consecutive lookups of a run that another process creates.
    lookups: u32,
}

impl Backoff {
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Counts one more failure and returns the delay before the next attempt. The delay doubles with each
    /// failure, except for a lock. Between 50 and 100 % of it is chosen at random, so that clients which
    /// failed together do not come back together.
    pub(super) fn next_delay(&mut self, cause: RetryReason) -> Duration {
        let (delay, asked) = match cause {
            RetryReason::Locked => (BUSY_DELAY, None),
            RetryReason::Unavailable { retry_after } => (
                double_delay(INITIAL_DELAY, self.failures).min(MAX_DELAY),
                retry_after,
            ),
            RetryReason::NeedsAction => (
                double_delay(INITIAL_BLOCKED_DELAY, self.failures).min(MAX_DELAY),
                None,
            ),
        };
        self.failures = self.failures.saturating_add(1);
        add_jitter(delay).max(asked.unwrap_or_default().min(MAX_RETRY_AFTER))
    }

    /// Returns the delay after a run of another process was looked up and not found. The store has answered,
    /// so its failures are counted anew from zero.
    pub(super) fn next_lookup_delay(&mut self) -> Duration {
        let delay = double_delay(BUSY_DELAY, self.lookups).min(MAX_LOOKUP_DELAY);
        self.failures = 0;
        self.lookups = self.lookups.saturating_add(1);
        add_jitter(delay)
    }
}

fn double_delay(delay: Duration, times: u32) -> Duration {
    delay.saturating_mul(1 << times.min(16))
}

fn add_jitter(delay: Duration) -> Duration {
    delay.mul_f64(0.5 + 0.5 * random_fraction())
}

/// Returns a random number from 0 to 1: every `RandomState` has keys of its own.
fn random_fraction() -> f64 {
    #[cfg(test)]
    if let Some(chance) = crate::determinism::random_fraction() {
        return chance;
    }
    let bits = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNAVAILABLE: RetryReason = RetryReason::Unavailable { retry_after: None };

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let first = backoff.next_delay(UNAVAILABLE);
        assert!(
            first >= INITIAL_DELAY / 2 && first <= INITIAL_DELAY,
            "{first:?}"
        );
        let second = backoff.next_delay(UNAVAILABLE);
        assert!(
            second >= INITIAL_DELAY && second <= INITIAL_DELAY * 2,
            "{second:?}"
        );
        let last = (0..100)
            .map(|_| backoff.next_delay(UNAVAILABLE))
            .last()
            .unwrap_or_default();
        assert!(last >= MAX_DELAY / 2 && last <= MAX_DELAY, "{last:?}");
    }

    #[test]
    fn a_lock_is_tried_again_soon_however_often() {
        let mut backoff = Backoff::default();
        let last = (0..100)
            .map(|_| backoff.next_delay(RetryReason::Locked))
            .last()
            .unwrap_or_default();
        assert!(last <= BUSY_DELAY, "{last:?}");
    }

    #[test]
    fn a_run_of_another_process_is_looked_for_at_growing_intervals_by_a_store_that_is_there() {
        let mut backoff = Backoff::default();
        assert!(backoff.next_lookup_delay() <= BUSY_DELAY);
        let last = (0..100).map(|_| backoff.next_lookup_delay()).last();
        let last = last.unwrap_or_default();
        assert!(
            last >= MAX_LOOKUP_DELAY / 2 && last <= MAX_LOOKUP_DELAY,
            "{last:?}"
        );
        assert!(
            backoff.next_delay(UNAVAILABLE) <= INITIAL_DELAY,
            "the store has not failed before"
        );
    }

    #[test]
    fn the_store_may_ask_for_more_but_not_for_ever() {
        let mut backoff = Backoff::default();
        let mut asked = |retry_after| {
            backoff.next_delay(RetryReason::Unavailable {
                retry_after: Some(retry_after),
            })
        };
        assert!(asked(Duration::from_secs(90)) >= Duration::from_secs(90));
        assert!(asked(Duration::MAX) <= MAX_RETRY_AFTER);
    }
}
