//! Findings about the speed of a training: its throughput, or the time that a step takes.

use mlflow::Goal;

use super::{Curve, Finding, FindingKind, Severity};
use crate::analysis::trend::{Trend, best_of, middle};
use crate::output::format::number;

/// Fewest points by which a speed is judged.
const MIN_POINTS: usize = 20;
/// Change of the level, as a factor, from which a training counts as slower.
const SLOWDOWN: f64 = 1.3;
/// Change of the level in units of its noise, from which it is no accident.
const MIN_SIGNIFICANCE: f64 = 6.0;
/// Words of which one tells a throughput.
const THROUGHPUT_WORDS: [&str; 3] = ["throughput", "fps", "tps"];
/// Units of time: `tokens_per_second` is a throughput, and `step_seconds` is a time.
const TIME_UNITS: [&str; 6] = ["s", "sec", "secs", "second", "seconds", "ms"];
const TIME_WORDS: [&str; 3] = ["time", "duration", "latency"];

/// Returns the direction in which the training is faster; `None` if the metric is no speed.
// Input:  `tokens_per_sec`, `time/step`, `loss`
// Output: maximize,         minimize,    none
pub(super) fn goal_of(curve: &Curve<'_>) -> Option<Goal> {
    let lower = curve.key.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
    let has = |known: &[&str]| words.iter().any(|word| known.contains(word));
    if has(&THROUGHPUT_WORDS) || words.contains(&"per") && has(&TIME_UNITS) {
        Some(Goal::Maximize)
    } else if has(&TIME_WORDS) || has(&TIME_UNITS) {
        // The time since the start grows in every run.
        (!curve.values.is_sorted()).then_some(Goal::Minimize)
    } else {
        None
    }
}

/// Finds out if the training has become slower for good.
pub(super) fn find_slowdown(curve: &Curve<'_>, goal: Goal) -> Option<Finding> {
    let trend = Trend::of(curve.values, goal, MIN_POINTS)?;
    // The first block holds the time in which caches are filled.
    let levels = trend.levels().get(1..)?;
    let half = levels.len() / 2;
    let (early, late) = levels.split_at_checked(half)?;
    let (before, now) = (middle(early)?, trend.end().height);
    // The whole later half is slower, not only its end.
    let is_lasting = middle(late)? > before;
    let (before_value, now_value) = (trend.value(before), trend.value(now));
    let factor = match goal {
        Goal::Minimize => now_value / before_value,
        Goal::Maximize => before_value / now_value,
    };
    let is_slower = before_value > 0.0
        && now_value > 0.0
        && factor >= SLOWDOWN
        && now - before > MIN_SIGNIFICANCE * trend.noise
        && is_lasting;
    let (_, begin) = best_of(levels)?;
    is_slower.then(|| Finding {
        kind: FindingKind::Slowdown,
        severity: Severity::Warning,
        metric: Some(curve.key.to_owned()),
        step: curve.step(begin.index),
        text: format!(
            "`{}` went from {} to {}, {:.1} times as slow: look for growing memory, swapping, a throttled device, or \
             data that is read from a slower disk",
            curve.key,
            number(before_value),
            number(now_value),
            factor
        ),
    })
}
