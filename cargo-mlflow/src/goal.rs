//! The meaning of a metric's name: the direction in which the metric is better, and its importance.

use mlflow::Goal;

/// Words in the names of metrics of which less is better.
const LESS_IS_BETTER: [&str; 17] = [
    "loss",
    "err",
    "error",
    "rmse",
    "mse",
    "mae",
    "mape",
    "wer",
    "cer",
    "perplexity",
    "ppl",
    "bpb",
    "fid",
    "latency",
    "nll",
    "bce",
    "kl",
];
/// Words in the names of metrics of which more is better.
const MORE_IS_BETTER: [&str; 16] = [
    "acc",
    "accuracy",
    "auc",
    "auroc",
    "f1",
    "precision",
    "recall",
    "r2",
    "score",
    "reward",
    "return",
    "map",
    "iou",
    "bleu",
    "throughput",
    "success",
];

/// Returns the direction in which the metric is better, or `None` if its name does not tell.
// Input:  `val/loss`, `top5_acc`, `lr`
// Output: minimize,   maximize,   none
pub(crate) fn guess(metric: &str) -> Option<Goal> {
    let lower = metric.to_lowercase();
    let words = || lower.split(|c: char| !c.is_alphanumeric());
    // The last word counts most: `loss_score` is a score.
    words().rev().find_map(|word| {
        if LESS_IS_BETTER.contains(&word) {
            Some(Goal::Minimize)
        } else if MORE_IS_BETTER.contains(&word) {
            Some(Goal::Maximize)
        } else {
            None
        }
    })
}

/// Returns true for a metric that is no by-product, such as those of the machine.
pub(crate) fn is_of_interest(metric: &str) -> bool {
    !metric.starts_with("system/") && !metric.starts_with("time/")
}

/// Returns true if `value` is better than `other`.
pub(crate) fn is_better(goal: Goal, value: f64, other: f64) -> bool {
    match goal {
        Goal::Minimize => value < other,
        Goal::Maximize => value > other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_direction() {
        for (metric, goal) in [
            ("loss", Some(Goal::Minimize)),
            ("val/RMSE", Some(Goal::Minimize)),
            ("top5_acc", Some(Goal::Maximize)),
            ("eval.f1", Some(Goal::Maximize)),
            ("loss_score", Some(Goal::Maximize)),
            ("lr", None),
            ("glossy", None),
            ("", None),
        ] {
            assert_eq!(guess(metric), goal, "{metric}");
        }
    }
}
