//! Comparison of runs: params, metrics and tags side by side, with the best value of each metric.

use std::collections::BTreeSet;
use std::time::Duration;

use mlflow::entities::{MetricPoint, Run, is_automatic_tag};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use crate::goal::{self, is_of_interest};
use crate::output::format;
use crate::output::record::duration_ms;

/// Key of the durations, which are shown with their units.
pub(crate) const DURATION_KEY: &str = "duration_ms";

/// Line of a comparison, as `--json` writes it.
#[derive(Serialize)]
pub(crate) struct Row {
    /// `param`, `metric`, `tag` or `run`.
    pub(crate) kind: &'static str,
    pub(crate) key: String,
    /// Value of each run, in the order of the runs; null if the run has none.
    pub(crate) values: Vec<Option<Value>>,
    /// Index of the run with the best value; null if none is better.
    pub(crate) best: Option<usize>,
}

/// Value of one run.
#[derive(Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Text(String),
    Number(MetricValue),
    DurationMs(i64),
}

/// Value of a metric. NaN is equal to NaN here, as two runs with NaN do not differ.
#[derive(Clone, Copy)]
pub(crate) struct MetricValue(MetricPoint);

impl PartialEq for MetricValue {
    fn eq(&self, other: &Self) -> bool {
        self.0.value.to_bits() == other.0.value.to_bits()
    }
}

impl Serialize for MetricValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::to_value(self.0) {
            Ok(point) => point["value"].serialize(serializer),
            Err(error) => Err(S::Error::custom(error)),
        }
    }
}

impl Value {
    /// Returns the value as people read it.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(MetricValue(point)) => format::number(point.value),
            Self::DurationMs(ms) => format::duration(Duration::from_millis(ms.unsigned_abs())),
        }
    }
}

impl Row {
    /// Returns true if not all runs have the same value.
    pub(crate) fn differs(&self) -> bool {
        self.values
            .iter()
            .any(|value| Some(value) != self.values.first())
    }
}

/// Returns a row for each param, metric and tag that one of the runs has, and for the runs themselves.
pub(crate) fn rows_of(runs: &[Run]) -> Vec<Row> {
    let text_row = |kind, key: &str, value: &dyn Fn(&Run) -> Option<String>| Row {
        kind,
        key: key.to_owned(),
        values: runs.iter().map(|run| value(run).map(Value::Text)).collect(),
        best: None,
    };
    let mut rows = vec![
        text_row("run", "status", &|run| Some(run.status.to_string())),
        Row {
            kind: "run",
            key: DURATION_KEY.to_owned(),
            values: { runs.iter() }
                .map(|run| duration_ms(run).map(Value::DurationMs))
                .collect(),
            best: None,
        },
        text_row("run", "commit", &|run| {
            let commit = run.tag("mlflow.source.git.commit")?;
            Some(commit.chars().take(12).collect())
        }),
    ];
    let keys = |of: fn(&Run) -> Vec<&String>| -> BTreeSet<String> {
        runs.iter().flat_map(of).cloned().collect()
    };
    for key in keys(|run| run.params.keys().collect()) {
        rows.push(text_row("param", &key, &|run| {
            run.param(&key).map(str::to_owned)
        }));
    }
    for key in keys(|run| run.metrics.keys().collect()) {
        let mut row = Row {
            kind: "metric",
            values: runs
                .iter()
                .map(|run| run.metrics.get(&key).copied())
                .map(|point| point.map(|point| Value::Number(MetricValue(point))))
                .collect(),
            key: key.clone(),
            best: None,
        };
        if is_of_interest(&key) {
            row.best = best_run(runs, &key);
        }
        rows.push(row);
    }
    for key in keys(|run| run.tags.keys().collect()) {
        if !is_automatic_tag(&key) {
            rows.push(text_row("tag", &key, &|run| {
                run.tag(&key).map(str::to_owned)
            }));
        }
    }
    rows
}

/// Returns the index of the run with the best value, if the metric's name tells what is better, and one run
/// is better than all others.
fn best_run(runs: &[Run], key: &str) -> Option<usize> {
    let goal = goal::guess(key)?;
    let mut best: Option<(usize, f64)> = None;
    let mut is_shared = false;
    for (index, run) in runs.iter().enumerate() {
        let Some(value) = run.metric(key).filter(|&value| format::is_number(value)) else {
            continue;
        };
        match best {
            Some((_, other)) if value == other => is_shared = true,
            Some((_, other)) if !goal::is_better(goal, value, other) => {}
            _ => {
                best = Some((index, value));
                is_shared = false;
            }
        }
    }
    best.filter(|_| !is_shared).map(|(index, _)| index)
}
