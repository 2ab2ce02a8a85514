//! The tool that returns the curves of metrics, thinned to a budget of points.

use mlflow::entities::{MetricPoint, Run};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::run_record::json_point;
use super::tool::{Effect, Tool};
use super::tool_context::ToolContext;
use crate::analysis::thinning::{Thinning, thin};
use crate::commands::runs::ID_CHARS;
use crate::failure::Failure;
use crate::output::format::{self, number};
use crate::output::json_number::json_number;
use crate::output::table::shorten;

const DEFAULT_POINTS: usize = 200;
const MAX_POINTS: usize = 2000;
/// Fewest points of a curve that has more.
const MIN_POINTS: usize = 4;
const MAX_RUNS: usize = 10;
const MAX_METRICS: usize = 20;
const MAX_CURVES: usize = 50;
const MAX_NAME_CHARS: usize = 60;

pub(super) fn history_tools() -> Vec<Tool> {
    vec![Tool::new(
        "get_metric_history",
        "Get metric history",
        "Returns the curves of metrics, of one or several runs. They are thinned to a budget of points: first, last, \
         smallest and greatest values always stay, and the places of NaN where there is room. Each curve gets at least \
         4 points, and comes with its number of points, minimum, maximum, first and last point.",
        Effect::Reads,
        get_metric_history,
    )]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Names of metrics, 1 to 20.
    #[schemars(length(min = 1, max = MAX_METRICS))]
    metrics: Vec<String>,
    /// Runs, 1 to 10: beginnings of ids, names, `last`, `best:METRIC`, `min:METRIC` or `max:METRIC`. Default: `last`.
    #[schemars(length(min = 1, max = MAX_RUNS))]
    runs: Option<Vec<String>>,
    /// Names of experiments in which the runs are looked for. Default: all.
    #[serde(default)]
    experiments: Vec<String>,
    /// Greatest number of points of all curves together, 4 to 2000, but each curve gets at least 4. Default: 200.
    #[schemars(range(min = MIN_POINTS, max = MAX_POINTS))]
    max_points: Option<usize>,
    /// First step to return. Default: the first of the curve.
    from_step: Option<i64>,
    /// Last step to return. Default: the last of the curve.
    to_step: Option<i64>,
    /// True to get the time of each point, too.
    #[serde(default)]
    times: bool,
}

fn get_metric_history(context: &ToolContext, arguments: Arguments) -> Result<Answer, Failure> {
    let Arguments {
        metrics,
        runs,
        experiments,
        max_points,
        from_step,
        to_step,
        times,
    } = arguments;
    let runs = runs.unwrap_or_else(|| vec!["last".to_owned()]);
    let max_points = max_points.unwrap_or(DEFAULT_POINTS);
    if let (Some(from), Some(to)) = (from_step, to_step)
        && from > to
    {
        return Err(Failure::Usage(format!(
            "argument `from_step`: {from} is behind `to_step`, which is {to}; expected a first step and a last one"
        )));
    }
    let runs: Vec<Run> = { runs.iter() }
        .map(|run| context.select(&experiments, run))
        .collect::<Result<_, _>>()?;
    let curves_asked = runs.len() * metrics.len();
    if curves_asked > MAX_CURVES {
        return Err(Failure::Usage(format!(
            "these are {curves_asked} curves, and {MAX_CURVES} are the most in one answer: ask for fewer runs or metrics"
        )));
    }
    let is_wanted = |step: i64| {
        from_step.is_none_or(|from| step >= from) && to_step.is_none_or(|to| step <= to)
    };
    let mut curves = Vec::new();
    let mut missing = Vec::new();
    for run in &runs {
        let (known, unknown): (Vec<&String>, Vec<&String>) =
            { metrics.iter() }.partition(|key| run.metrics.contains_key(*key));
        missing.extend(
            { unknown.iter() }
                .map(|key| format!("`{key}` in {}", shorten(&run.name, MAX_NAME_CHARS))),
        );
        if known.is_empty() {
            continue;
        }
        for history in context.client.metric_histories(&*run.run_id, known)? {
            let points: Vec<MetricPoint> = { history.iter() }
                .filter(|point| is_wanted(point.step))
                .collect();
            curves.push((run, history.key().to_owned(), points));
        }
    }
    if curves.is_empty() {
        return Err(Failure::NotFound(format!(
            "there is no such metric: {}; get_run lists the metrics of a run",
            shorten(&missing.join(", "), 300)
        )));
    }
    let lengths: Vec<usize> = curves.iter().map(|(_, _, points)| points.len()).collect();
    let mut lines = Vec::new();
    let mut records = Vec::new();
    for ((run, key, points), budget) in curves.iter().zip(share_budget(&lengths, max_points)) {
        let curve = to_curve(run, key, points, budget, times);
        lines.extend(curve.0);
        records.push(curve.1);
    }
    if !missing.is_empty() {
        lines.push(format!("no such metric: {}", missing.join(", ")));
    }
    Answer::new(&lines, &json!({ "curves": records, "missing": missing }))
}

/// Divides a budget of points among curves: a short curve leaves what it does not need to the longer ones. Each curve
/// gets [`MIN_POINTS`], if it has as many, also where all of them are then more than the budget.
fn share_budget(lengths: &[usize], budget: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| lengths.get(index).copied());
    let mut shares = vec![0; lengths.len()];
    let (mut left, mut curves) = (budget, lengths.len());
    for index in order {
        let fair = (left / curves).max(MIN_POINTS);
        let share = lengths.get(index).copied().unwrap_or_default().min(fair);
        if let Some(place) = shares.get_mut(index) {
            *place = share;
        }
        left = left.saturating_sub(share);
        curves -= 1;
    }
    shares
}

/// Returns the lines and the record of a curve.
fn to_curve(
    run: &Run,
    key: &str,
    points: &[MetricPoint],
    budget: usize,
    times: bool,
) -> (Vec<String>, Value) {
    let values: Vec<f64> = points.iter().map(|point| point.value).collect();
    let Thinning {
        indices,
        non_finite,
    } = thin(&values, budget);
    let shown: Vec<MetricPoint> = { indices.iter() }
        .filter_map(|&index| points.get(index).copied())
        .collect();
    let numbers = || {
        points
            .iter()
            .copied()
            .filter(|point| format::is_number(point.value))
    };
    let least = numbers().min_by(|left, right| left.value.total_cmp(&right.value));
    let greatest = numbers().max_by(|left, right| left.value.total_cmp(&right.value));
    let (first, last) = (points.first().copied(), points.last().copied());
    let left_out = points.len() - shown.len();
    let hint = (left_out > 0).then(|| {
        format!("{left_out} points are left out: raise max_points, or give from_step and to_step")
    });
    let id: String = run.run_id.chars().take(ID_CHARS).collect();
    let mut lines = vec![format!(
        "{key} of {} {id}: {}",
        shorten(&run.name, MAX_NAME_CHARS),
        format::counted(points.len() as u64, "point")
    )];
    let named = [
        ("first", first),
        ("last", last),
        ("min", least),
        ("max", greatest),
    ];
    let named: Vec<String> = { named.iter() }
        .filter_map(|(name, point)| {
            point.map(|point| format!("{name} {} at step {}", number(point.value), point.step))
        })
        .collect();
    if !named.is_empty() {
        lines.push(format!("  {}", named.join(", ")));
    }
    if non_finite > 0 {
        let non_finite = format::counted(non_finite as u64, "value");
        lines.push(format!("  NaN or infinite: {non_finite}"));
    }
    let pairs: Vec<String> = { shown.iter() }
        .map(|point| format!("{}:{}", point.step, number(point.value)))
        .collect();
    lines.push(format!("  step:value {}", pairs.join(" ")));
    lines.extend({ hint.as_ref() }.map(|hint| format!("  {hint}")));
    let to_json = |point: &MetricPoint| {
        if times {
            json!([point.step, json_number(point.value), point.timestamp_ms])
        } else {
            json!([point.step, json_number(point.value)])
        }
    };
    let record = json!({
        "run_id": run.run_id,
        "run_name": shorten(&run.name, MAX_NAME_CHARS),
        "metric": key,
        "points_total": points.len(),
        "non_finite": non_finite,
        "first": first.map(json_point),
        "last": last.map(json_point),
        "min": least.map(json_point),
        "max": greatest.map(json_point),
        "columns": if times { json!(["step", "value", "time_ms"]) } else { json!(["step", "value"]) },
        "points": shown.iter().map(to_json).collect::<Vec<_>>(),
        "left_out": hint,
    });
    (lines, record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_curves_leave_their_budget_to_long_ones() {
        assert_eq!(share_budget(&[1000, 10, 1000], 210), [100, 10, 100]);
        assert_eq!(share_budget(&[5, 5], 200), [5, 5]);
        assert_eq!(share_budget(&[], 200), [0; 0]);
        // Each curve keeps its ends and extremes, however small the budget is.
        assert_eq!(share_budget(&[100, 100, 100], 4), [4, 4, 4]);
    }
}
