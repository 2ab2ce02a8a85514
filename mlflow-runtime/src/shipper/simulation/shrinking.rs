//! The reduction of a failing schedule to the fewest steps in which the same property still does not hold.

use super::properties::Violation;
use super::schedule::Schedule;
use super::world;

/// Maximum number of worlds that are tried for one reduction.
const ATTEMPTS: usize = 1000;

/// Removes steps, at first half of them at once and in the end one by one, and then the pauses between the
/// steps, as long as the same property is violated.
pub(super) fn shrink(schedule: &Schedule, failure: &Violation) -> (Schedule, Violation) {
    let mut smallest = schedule.clone();
    let mut failure = failure.clone();
    let mut attempts = 0;
    let mut fails = |candidate: &Schedule| {
        attempts += 1;
        if attempts > ATTEMPTS {
            return None;
        }
        let found = world::run_world(candidate, false).failure;
        found.filter(|found| found.property == failure.property)
    };
    let mut last = failure.clone();
    let mut part = smallest.steps.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        let mut is_smaller = false;
        while at < smallest.steps.len() {
            let mut candidate = smallest.clone();
            let to = (at + part).min(candidate.steps.len());
            candidate.steps.drain(at..to);
            match fails(&candidate) {
                Some(found) => {
                    (smallest, last) = (candidate, found);
                    is_smaller = true;
                }
                None => at += part,
            }
        }
        if !is_smaller || part > 1 {
            part /= 2;
        }
    }
    for at in 0..smallest.steps.len() {
        if smallest.steps[at].after_ms > 0 {
            let mut candidate = smallest.clone();
            candidate.steps[at].after_ms = 0;
            if let Some(found) = fails(&candidate) {
                (smallest, last) = (candidate, found);
            }
        }
    }
    failure = last;
    (smallest, failure)
}
