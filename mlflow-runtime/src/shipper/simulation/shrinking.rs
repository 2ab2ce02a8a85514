//! The fewest steps in which a property still does not hold.

use super::properties::Violation;
use super::schedule::Schedule;
use super::world;

/// Worlds that are tried for it.
const ATTEMPTS: usize = 1000;

/// Leaves out steps, by halves and then one by one, as long as the same property does not hold.
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
