//! Findings about the curve of a metric: values that are no numbers, divergence, a plateau, spikes, and overfitting.

use mlflow::Goal;

use super::{Curve, Finding, FindingKind, Severity};
use crate::analysis::trend::{Trend, median, middle, sigma_of_deviations};
use crate::goal::{guess, is_of_interest};
use crate::output::format::{self, is_number, number};

/// Change of a level in units of its noise, from which it is no accident.
const MIN_SIGNIFICANCE: f64 = 6.0;
/// Fewest points by which a divergence is seen.
const MIN_DIVERGENCE_POINTS: usize = 10;
/// Part of what a metric has improved that is lost again in a divergence.
const DIVERGENCE_OF_GAIN: f64 = 0.5;
/// Smallest growth of a divergence, as a part of the best level.
const DIVERGENCE_OF_BEST: f64 = 0.2;
/// Fewest points by which a plateau is seen.
const MIN_PLATEAU_POINTS: usize = 30;
/// Part of all improvement that the second half of the points makes at least, if it is no plateau.
const PLATEAU_OF_GAIN: f64 = 0.01;
/// Improvement in units of a level's noise, from which it is one. By noise alone, the medians of two quarters of the
/// levels differ by more than this in one of a thousand curves.
const PLATEAU_SIGNIFICANCE: f64 = 2.5;
/// Greatest improvement that noise may hide in a plateau, as a part of all improvement.
const HIDDEN_OF_GAIN: f64 = 0.15;
/// Greatest improvement that noise may hide where there is none, as a part of the level.
const HIDDEN_OF_LEVEL: f64 = 0.1;
/// Height of the first values, and of the first level, above the later ones in units of their noise, from which a
/// training has improved at its beginning.
const START_SIGNIFICANCE: f64 = 4.0;
/// Fewest points by which overfitting is seen: often one for each epoch.
const MIN_OVERFITTING_POINTS: usize = 6;
/// Part of what the validation has improved that is lost again by overfitting.
const OVERFITTING_OF_GAIN: f64 = 0.1;
/// Smallest growth by overfitting, as a part of the best level.
const OVERFITTING_OF_BEST: f64 = 0.05;
/// Fewest points by which spikes are seen.
const MIN_SPIKE_POINTS: usize = 30;
/// Number of neighbouring points from whose median a spike is measured; odd.
const SPIKE_WINDOW: usize = 9;
/// Fewest points, and greatest number, of the parts of a curve whose noise is judged by itself.
const SPIKE_PART: usize = 50;
const SPIKE_PARTS: usize = 20;
/// Height of a spike in units of the noise around the curve.
const SPIKE_SIGNIFICANCE: f64 = 12.0;
/// Height of a spike as a part of the range of all levels.
const SPIKE_OF_RANGE: f64 = 0.5;
/// Height of a spike as a part of the neighbouring values.
const SPIKE_OF_LEVEL: f64 = 0.2;

const TRAINING_WORDS: [&str; 3] = ["train", "training", "trn"];
const VALIDATION_WORDS: [&str; 8] = [
    "val",
    "valid",
    "validation",
    "eval",
    "evaluation",
    "dev",
    "test",
    "holdout",
];

/// Finds values that are NaN or infinite.
pub(super) fn find_non_numbers(curve: &Curve<'_>) -> Option<Finding> {
    let values = curve.values;
    let first = values.iter().position(|&value| !is_number(value))?;
    let nan = values.iter().filter(|value| value.is_nan()).count();
    let infinite = values
        .iter()
        .filter(|&&value| !value.is_nan() && !is_number(value))
        .count();
    let what = match (nan, infinite) {
        (_, 0) => "NaN",
        (0, _) => "infinite",
        _ => "NaN or infinite",
    };
    let remains = values.last().is_some_and(|&value| !is_number(value));
    let is_learning = guess(curve.key).is_some() && is_of_interest(curve.key);
    let step = curve.step(first);
    let place = step
        .map(|step| format!(" from step {step} on"))
        .unwrap_or_default();
    let end = if remains {
        "and is so at the end"
    } else {
        "and becomes a number again"
    };
    Some(Finding {
        kind: FindingKind::NotANumber,
        severity: if remains && is_learning {
            Severity::Error
        } else {
            Severity::Warning
        },
        metric: Some(curve.key.to_owned()),
        step,
        text: format!(
            "`{}` is {what} at {} of {}{place}, {end}: lower the learning rate, clip the gradients, and check the data \
             for values that are no numbers",
            curve.key,
            format::count(nan as u64 + infinite as u64),
            format::counted(values.len() as u64, "point"),
        ),
    })
}

/// Returns true if the metric is better at the end than at first.
pub(super) fn is_improved(curve: &Curve<'_>) -> bool {
    let trend =
        { guess(curve.key) }.and_then(|goal| Trend::of(curve.values, goal, MIN_PLATEAU_POINTS));
    trend.is_some_and(|trend| {
        let end = trend.worse_end().height;
        trend.first().height - end > MIN_SIGNIFICANCE * trend.noise
            || trend.start - end > MIN_SIGNIFICANCE * trend.value_noise
    })
}

/// Examines the curve of a metric that a training improves. `is_explained` says that the reason why the metric gets
/// worse is known, and `others_improve` that the training improves another metric.
pub(super) fn examine(curve: &Curve<'_>, is_explained: bool, others_improve: bool) -> Vec<Finding> {
    let Some(goal) = guess(curve.key) else {
        return Vec::new();
    };
    let worse = if is_explained {
        None
    } else {
        find_divergence(curve, goal).or_else(|| find_plateau(curve, goal, others_improve))
    };
    worse.into_iter().chain(find_spikes(curve, goal)).collect()
}

/// Finds out if the metric ends much worse than it was.
fn find_divergence(curve: &Curve<'_>, goal: Goal) -> Option<Finding> {
    let trend = Trend::of(curve.values, goal, MIN_DIVERGENCE_POINTS)?;
    let (_, best) = trend.best();
    let end = trend.end();
    let loss = end.height - best.height;
    let gain = trend.first().height - best.height;
    let is_diverging = loss > MIN_SIGNIFICANCE * trend.noise
        && loss > DIVERGENCE_OF_GAIN * gain
        && loss > DIVERGENCE_OF_BEST * best.height.abs();
    let step = curve.step(best.index);
    let near = step
        .map(|step| format!(" near step {step}"))
        .unwrap_or_default();
    let verb = match goal {
        Goal::Minimize => "grown",
        Goal::Maximize => "fallen",
    };
    is_diverging.then(|| Finding {
        kind: FindingKind::Divergence,
        severity: Severity::Error,
        metric: Some(curve.key.to_owned()),
        step,
        text: format!(
            "`{}` has {verb} from {}{near} to {} at the end: lower the learning rate or clip the gradients, and go \
             back to a checkpoint of that time",
            curve.key,
            number(trend.value(best.height)),
            number(trend.value(end.height)),
        ),
    })
}

/// Finds out if the last quarter of the points is no better than the one before the middle.
fn find_plateau(curve: &Curve<'_>, goal: Goal, others_improve: bool) -> Option<Finding> {
    let trend = Trend::of(curve.values, goal, MIN_PLATEAU_POINTS)?;
    let levels = trend.levels();
    let quarter = levels.len() / 4;
    let before = middle(levels.get(quarter..2 * quarter)?)?;
    let now = middle(levels.get(levels.len() - quarter..)?)?;
    let (_, best) = trend.best();
    let start = trend.first().height.max(trend.start);
    let late_gain = before - now;
    let is_optimal = match goal {
        Goal::Minimize => best.height <= 0.0,
        Goal::Maximize => [1.0, 100.0].contains(&trend.value(best.height)),
    };
    let is_improving = late_gain > PLATEAU_SIGNIFICANCE * trend.noise
        && late_gain > PLATEAU_OF_GAIN * (start - best.height);
    if is_optimal || is_improving {
        return None;
    }
    let never_improved = trend.first().height - before <= START_SIGNIFICANCE * trend.noise
        && trend.start - before <= START_SIGNIFICANCE * trend.value_noise;
    // Noise must not hide an improvement that would matter.
    let hidden = late_gain + PLATEAU_SIGNIFICANCE * trend.noise;
    let is_seen = if never_improved {
        hidden <= HIDDEN_OF_LEVEL * before.abs()
    } else {
        hidden <= HIDDEN_OF_GAIN * (start - best.height)
    };
    if !is_seen {
        return None;
    }
    let begin = { levels.iter() }
        .find(|level| level.height <= before + PLATEAU_SIGNIFICANCE * trend.noise)?;
    let now = number(trend.value(now));
    let (severity, step, text) = if never_improved {
        let (severity, advice) = if others_improve {
            (
                Severity::Info,
                "while other metrics have: a small validation set hides small changes",
            )
        } else {
            (
                Severity::Warning,
                "check the learning rate, and that the data and the gradients reach the model",
            )
        };
        let text = format!(
            "`{}` has not improved at all: it was {} at first and is {now} after {}; {advice}",
            curve.key,
            number(trend.value(start)),
            format::counted(trend.len as u64, "point"),
        );
        (severity, curve.step(0), text)
    } else {
        let step = curve.step(begin.index);
        let since = { step }
            .map(|step| format!(" since about step {step}"))
            .unwrap_or_default();
        let text = format!(
            "`{}` has not improved{since}, when it was {}; it is {now} at the end: an earlier stop gives the same, and \
             a lower learning rate may give more",
            curve.key,
            number(trend.value(begin.height)),
        );
        (Severity::Info, step, text)
    };
    Some(Finding {
        kind: FindingKind::Plateau,
        severity,
        metric: Some(curve.key.to_owned()),
        step,
        text,
    })
}

/// Finds single points that are much worse than those around them.
fn find_spikes(curve: &Curve<'_>, goal: Goal) -> Option<Finding> {
    let trend = Trend::of(curve.values, goal, MIN_SPIKE_POINTS)?;
    let numbers: Vec<(usize, f64)> = { curve.values.iter().copied().enumerate() }
        .filter(|&(_, value)| is_number(value))
        .map(|(index, value)| (index, trend.value(value)))
        .collect();
    let mut window = [0.0; SPIKE_WINDOW];
    // At both ends of the curve, a spike cannot be told from a beginning or a change.
    let deviations: Vec<(usize, f64, f64)> = { numbers.windows(SPIKE_WINDOW) }
        .filter_map(|around| {
            for (place, &(_, height)) in window.iter_mut().zip(around) {
                *place = height;
            }
            let &(index, height) = around.get(SPIKE_WINDOW / 2)?;
            let level = median(&mut window)?;
            Some((index, height - level, level))
        })
        .collect();
    let sigma_of = |part: &[(usize, f64, f64)]| {
        sigma_of_deviations(part.iter().map(|&(_, deviation, _)| deviation).collect())
    };
    let noise = sigma_of(&deviations);
    let range = trend.range();
    let mut spikes = Vec::new();
    // A loss is noisier at the beginning, where it is high.
    for part in deviations.chunks(SPIKE_PART.max(deviations.len() / SPIKE_PARTS)) {
        let noise = noise.max(sigma_of(part));
        spikes.extend({ part.iter() }.filter(|&&(_, deviation, level)| {
            deviation > SPIKE_SIGNIFICANCE * noise
                && deviation > SPIKE_OF_RANGE * range
                && deviation > SPIKE_OF_LEVEL * level.abs()
                && deviation > 0.0
        }));
    }
    let &&(first, _, _) = spikes.first()?;
    let &&(worst, _, level) =
        { spikes.iter() }.max_by(|(_, left, _), (_, right, _)| left.total_cmp(right))?;
    let worst_value = curve.values.get(worst).copied()?;
    let step = curve.step(first);
    let at = { curve.step(worst) }
        .map(|step| format!(" at step {step}"))
        .unwrap_or_default();
    Some(Finding {
        kind: FindingKind::Spikes,
        severity: Severity::Warning,
        metric: Some(curve.key.to_owned()),
        step,
        text: format!(
            "`{}` has {}, the worst of {}{at} between values of {}: look at the data of these steps, and clip the \
             gradients",
            curve.key,
            format::counted(spikes.len() as u64, "spike"),
            number(worst_value),
            number(trend.value(level)),
        ),
    })
}

/// Finds validation metrics that get worse while their training metrics improve.
pub(super) fn find_overfitting(curves: &[Curve<'_>]) -> Vec<Finding> {
    let named: Vec<(&Curve<'_>, Part, String)> = { curves.iter() }
        .filter(|curve| is_of_interest(curve.key))
        .map(|curve| {
            let (part, base) = split_name(curve.key);
            (curve, part, base)
        })
        .collect();
    let mut findings = Vec::new();
    for (validation, part, base) in &named {
        let Some(goal) = guess(validation.key).filter(|_| *part == Part::Validation) else {
            continue;
        };
        let find =
            |wanted| { named.iter() }.find(|(_, part, other)| *part == wanted && other == base);
        // Keras logs `loss` and `val_loss`.
        let Some((training, ..)) = find(Part::Training).or_else(|| find(Part::Unmarked)) else {
            continue;
        };
        findings.extend(judge_pair(training, validation, goal));
    }
    findings
}

/// Part of the data on which a metric is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Training,
    Validation,
    Unmarked,
}

/// Splits the name of a metric into the part of the data and the rest.
// Input:  `train/loss`,        `val_top5_acc`,           `loss`
// Output: training and `loss`, validation and `top5 acc`, unmarked and `loss`
fn split_name(key: &str) -> (Part, String) {
    let lower = key.to_lowercase();
    let mut part = Part::Unmarked;
    let mut rest = Vec::new();
    for word in lower.split(|c: char| !c.is_alphanumeric()) {
        if part != Part::Unmarked {
            rest.push(word);
        } else if TRAINING_WORDS.contains(&word) {
            part = Part::Training;
        } else if VALIDATION_WORDS.contains(&word) {
            part = Part::Validation;
        } else {
            rest.push(word);
        }
    }
    rest.retain(|word| !word.is_empty());
    (part, rest.join(" "))
}

/// Finds out if the validation metric gets worse while the training metric improves.
fn judge_pair(training: &Curve<'_>, validation: &Curve<'_>, goal: Goal) -> Option<Finding> {
    let trend = Trend::of(validation.values, goal, MIN_OVERFITTING_POINTS)?;
    let training_trend = Trend::of(training.values, goal, MIN_OVERFITTING_POINTS)?;
    let (_, best) = trend.best();
    let end = trend.end();
    let loss = end.height - best.height;
    let gain = trend.first().height - best.height;
    let gets_worse = loss > MIN_SIGNIFICANCE * trend.noise
        && loss > OVERFITTING_OF_GAIN * gain
        && loss > OVERFITTING_OF_BEST * best.height.abs();
    // Training and validation may count steps in other units. Both have clocks.
    let clock = Clock::of(training, validation);
    let turn = clock.time(validation, best.index)?;
    let at_turn = { training_trend.levels().iter() }.rfind(|level| {
        clock
            .time(training, level.index)
            .is_some_and(|time| time <= turn)
    })?;
    let training_gain = at_turn.height - training_trend.worse_end().height;
    let improves = training_gain > MIN_SIGNIFICANCE * training_trend.noise && training_gain > 0.0;
    if !(gets_worse && improves) {
        return None;
    }
    let step = validation.step(best.index);
    let near = step
        .map(|step| format!(" near step {step}"))
        .unwrap_or_default();
    Some(Finding {
        kind: FindingKind::Overfitting,
        severity: Severity::Warning,
        metric: Some(validation.key.to_owned()),
        step,
        text: format!(
            "`{}` was best with {}{near} and is {} at the end, while `{}` has improved further, from {} to {}: stop \
             there, use that checkpoint, or add data or regularization",
            validation.key,
            number(trend.value(best.height)),
            number(trend.value(end.height)),
            training.key,
            number(trend.value(at_turn.height)),
            number(trend.value(training_trend.worse_end().height)),
        ),
    })
}

/// Common axis of two curves.
#[derive(Clone, Copy, Debug)]
enum Clock {
    Steps,
    Times,
}

impl Clock {
    /// Chooses the steps if both curves count them alike, else the times.
    fn of(training: &Curve<'_>, validation: &Curve<'_>) -> Self {
        let last = |curve: &Curve<'_>| curve.steps.iter().max().copied().unwrap_or_default();
        let (left, right) = (last(training), last(validation));
        let is_alike = left > 0 && right > 0 && left.max(right) / 2 <= left.min(right);
        if is_alike { Self::Steps } else { Self::Times }
    }

    fn time(self, curve: &Curve<'_>, index: usize) -> Option<i64> {
        match self {
            Self::Steps => curve.steps.get(index).copied(),
            Self::Times => curve.timestamps_ms.get(index).copied(),
        }
    }
}
