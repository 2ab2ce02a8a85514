//! `compare`: what differs between runs.

use std::collections::BTreeSet;
use std::time::Duration;

use comfy_table::{Attribute, Cell, Color};
use mlflow::blocking::Client;
use mlflow::entities::{MetricPoint, Run, is_automatic_tag};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use super::runs::{ID_CHARS, is_of_interest};
use crate::arguments::Compare;
use crate::failure::Failure;
use crate::goal;
use crate::output::record::duration_ms;
use crate::output::table::{hidden_columns, number_cell, shorten, table, to_text};
use crate::output::{Output, format};
use crate::selection::select_or_newest;

/// Number of runs that are compared if none is named.
const DEFAULT_RUNS: usize = 5;
const MAX_VALUE_CHARS: usize = 30;
/// Key of the durations, which are shown with their units.
const DURATION_KEY: &str = "duration_ms";

/// Line of the comparison, as `--json` writes it.
#[derive(Serialize)]
struct Row {
    /// `param`, `metric`, `tag` or `run`.
    kind: &'static str,
    key: String,
    /// Value of each run, in the order of the runs; null if the run has none.
    values: Vec<Option<Value>>,
    /// Index of the run with the best value; null if none is better.
    best: Option<usize>,
}

/// Value of one run.
#[derive(Clone, PartialEq, Serialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Number(MetricValue),
    DurationMs(i64),
}

/// Value of a metric. NaN is equal to NaN here, as two runs with NaN do not differ.
#[derive(Clone, Copy)]
struct MetricValue(MetricPoint);

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
    fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(MetricValue(point)) => format::number(point.value),
            Self::DurationMs(ms) => format::duration(Duration::from_millis(ms.unsigned_abs())),
        }
    }
}

#[derive(Serialize)]
struct Comparison<'r> {
    runs: Vec<&'r str>,
    rows: &'r [Row],
}

/// Compares runs.
pub(crate) fn run(client: &Client, output: Output, options: &Compare) -> Result<(), Failure> {
    let runs = select_or_newest(client, &options.experiment, &options.runs, DEFAULT_RUNS)?;
    if runs.len() < 2 {
        return Err(Failure::NotFound(
            "there are fewer than two runs to compare".to_owned(),
        ));
    }
    let mut rows = rows_of(&runs);
    rows.retain(|row| options.all || row.differs());
    if output.json {
        return output.json(&Comparison {
            runs: runs.iter().map(|run| run.run_id.as_str()).collect(),
            rows: &rows,
        });
    }
    let mut header = vec![String::new()];
    header.extend(runs.iter().map(|run| {
        let id: String = run.run_id.chars().take(ID_CHARS).collect();
        format!("{}\n{id}", shorten(&run.name, MAX_VALUE_CHARS))
    }));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut text = table(output, &header);
    let mut kind = "";
    for row in &rows {
        if row.kind != kind {
            kind = row.kind;
            text.add_row(vec![
                Cell::new(heading_of(kind)).add_attribute(Attribute::Bold),
            ]);
        }
        let key = match row.key.as_str() {
            DURATION_KEY if row.kind == "run" => "duration",
            key => key,
        };
        let mut cells = vec![Cell::new(format!("  {key}"))];
        for (index, value) in row.values.iter().enumerate() {
            let value = value
                .as_ref()
                .map_or_else(|| "–".to_owned(), Value::to_text);
            let value = shorten(&value, MAX_VALUE_CHARS);
            cells.push(if row.best == Some(index) {
                number_cell(format!("{value} *"))
                    .fg(Color::Green)
                    .add_attribute(Attribute::Bold)
            } else if kind == "metric" {
                number_cell(format!("{value}  "))
            } else {
                Cell::new(value)
            });
        }
        text.add_row(cells);
    }
    if rows.is_empty() {
        output.remark("the runs do not differ: --all shows what they have in common");
        return Ok(());
    }
    output.line(to_text(&text))?;
    match hidden_columns(&text) as u64 {
        0 => {}
        hidden => output.remark(format_args!(
            "there is no room for {}: widen the terminal, or name fewer",
            format::counted(hidden, "run")
        )),
    }
    if rows.iter().any(|row| row.best.is_some()) {
        output.remark("* best value");
    }
    Ok(())
}

fn heading_of(kind: &str) -> &'static str {
    match kind {
        "param" => "Params",
        "metric" => "Metrics",
        "tag" => "Tags",
        _ => "Run",
    }
}

impl Row {
    fn differs(&self) -> bool {
        self.values
            .iter()
            .any(|value| Some(value) != self.values.first())
    }
}

fn rows_of(runs: &[Run]) -> Vec<Row> {
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
        let is_result = |value: &f64| !value.is_nan() && !format::is_infinite(*value);
        let Some(value) = run.metric(key).filter(is_result) else {
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
