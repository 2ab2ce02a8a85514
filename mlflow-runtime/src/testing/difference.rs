//! Messages of failed assertions: the expected and the recorded values, as a diff by line.
//!
//! Invariants: a line that was expected and is missing is marked `-`; a line that was recorded in its place
//! is marked `+`. Of long lists, only enough is shown to find the difference.

use std::fmt::{self, Display, Write};

use super::recorded::{RecordedRun, is_automatic};
use crate::entities::{DatasetInput, MetricPoint};

/// Number of runs that are shown at most.
const MAX_SHOWN_RUNS: usize = 16;
/// Number of equal points that are shown before and after a difference, and of differing points at the end of
/// each side.
const CONTEXT_POINTS: usize = 3;
/// Number of differing points that are shown at the beginning of each side.
const MAX_DIFFERING_POINTS: usize = 8;

/// Number of rows of a table that are shown at most.
const MAX_SHOWN_ROWS: usize = 8;

/// Row of a table: its values by column.
pub(super) type Row = serde_json::Map<String, serde_json::Value>;

/// Expectation of an assertion about a run.
pub(super) enum Expected<'a> {
    Status {
        name: &'a str,
        status: &'static str,
    },
    Param {
        key: &'a str,
        value: &'a str,
    },
    Tag {
        key: &'a str,
        value: &'a str,
    },
    SomePoints {
        key: &'a str,
    },
    Points {
        key: &'a str,
        points: &'a [(i64, f64)],
    },
    Input {
        name: &'a str,
        context: &'a str,
    },
    Artifact {
        path: &'a str,
    },
    Table {
        path: &'a str,
        rows: &'a [Row],
    },
    Model {
        name: &'a str,
    },
    Nothing,
}

/// Status of a model that is complete.
const READY: &str = "READY";

impl Expected<'_> {
    pub(super) fn matches(&self, run: &RecordedRun) -> bool {
        match *self {
            Self::Status { name, status } => run.name == name && run.status.as_str() == status,
            Self::Param { key, value } => run.params.get(key).is_some_and(|found| found == value),
            Self::Tag { key, value } => run.tags.get(key).is_some_and(|found| found == value),
            Self::SomePoints { key } => run.metrics.contains_key(key),
            Self::Points { key, points } => run.metrics.get(key).is_some_and(|found| {
                found.len() == points.len()
                    && found
                        .iter()
                        .zip(points)
                        .all(|(found, point)| is_same_point(found, point))
            }),
            Self::Input { name, context } => { run.inputs.iter() }
                .any(|input| input.name == name && context_of(input) == context),
            Self::Artifact { path } => run.artifacts.contains_key(path),
            Self::Table { path, rows } => {
                { run.table::<Row>(path) }.is_some_and(|found| are_same_rows(&found, rows))
            }
            Self::Model { name } => {
                { run.models.iter() }.any(|model| model.name == name && model.status == READY)
            }
            Self::Nothing => false,
        }
    }

    /// Returns true if the run has something in the place of the expectation, such as another value of the
    /// same param: such runs are shown first, with the expected line beside the recorded one.
    fn is_near(&self, run: &RecordedRun) -> bool {
        match *self {
            Self::Status { name, .. } => run.name == name,
            Self::Param { key, .. } => run.params.contains_key(key),
            Self::Tag { key, .. } => run.tags.contains_key(key),
            Self::SomePoints { .. } => false,
            Self::Points { key, .. } => run.metrics.contains_key(key),
            Self::Input { name, .. } => run.inputs.iter().any(|input| input.name == name),
            Self::Artifact { .. } => false,
            Self::Table { path, .. } => run.artifacts.contains_key(path),
            Self::Model { name } => run.models.iter().any(|model| model.name == name),
            Self::Nothing => true,
        }
    }
}

impl Display for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { name, status } => write!(f, "no run {name:?} has the status {status}"),
            Self::Param { key, value } => write!(f, "no run has the param {key:?} = {value:?}"),
            Self::Tag { key, value } => write!(f, "no run has the tag {key:?} = {value:?}"),
            Self::SomePoints { key } => write!(f, "no run has a point of the metric {key:?}"),
            Self::Points { key, .. } => {
                write!(f, "no run has exactly these points of the metric {key:?}")
            }
            Self::Input { name, context } => {
                write!(
                    f,
                    "no run has the input {name:?} with the context {context:?}"
                )
            }
            Self::Artifact { path } => write!(f, "no run has the artifact {path:?}"),
            Self::Table { path, .. } => {
                write!(f, "no run has exactly these rows of the table {path:?}")
            }
            Self::Model { name } => write!(f, "no run has the model {name:?}"),
            Self::Nothing => write!(f, "nothing should have been logged"),
        }
    }
}

/// Returns the whole message of a failed assertion.
pub(super) fn describe_mismatch(expected: &Expected<'_>, runs: &[RecordedRun]) -> String {
    let mut lines = DiffLines::default();
    // Runs that are near come first: only the first `MAX_SHOWN_RUNS` are shown.
    let (near, far): (Vec<_>, Vec<_>) = runs.iter().partition(|run| expected.is_near(run));
    let nowhere = near.is_empty() && runs.len() != 1;
    if nowhere {
        lines.expected_only(expected);
    }
    let anywhere = near.is_empty() && !nowhere;
    for run in near
        .iter()
        .copied()
        .chain(far.iter().copied())
        .take(MAX_SHOWN_RUNS)
    {
        let looked_for = (anywhere || expected.is_near(run)).then_some(expected);
        lines.run(run, looked_for);
    }
    if runs.is_empty() {
        lines.context_line(0, format_args!("no run was started"));
    }
    if let Some(more) = runs
        .len()
        .checked_sub(MAX_SHOWN_RUNS)
        .filter(|more| *more > 0)
    {
        lines.context_line(0, format_args!("… and {more} more runs"));
    }
    format!("{expected}\n{}", lines.0)
}

/// Returns the message for an experiment that was not created, with the experiments that were.
pub(super) fn describe_missing_experiment(expected: &str, created: &[String]) -> String {
    let mut lines = DiffLines::default();
    lines.line('-', 0, format_args!("experiment {expected:?}"));
    for name in created {
        lines.line('+', 0, format_args!("experiment {name:?}"));
    }
    format!("the experiment {expected:?} was not created\n{}", lines.0)
}

/// Returns true if the rows are equal. A column that a row lacks is null.
fn are_same_rows(found: &[Row], expected: &[Row]) -> bool {
    let is_same = |(left, right): (&Row, &Row)| {
        let mut columns = left.keys().chain(right.keys());
        let value = |row: &Row, column: &str| row.get(column).cloned().unwrap_or_default();
        columns.all(|column| value(left, column) == value(right, column))
    };
    found.len() == expected.len() && found.iter().zip(expected).all(is_same)
}

/// Returns the context of a dataset; an empty one if it has none.
fn context_of(input: &DatasetInput) -> &str {
    input.context.as_deref().unwrap_or_default()
}

fn is_same_point(found: &MetricPoint, (step, value): &(i64, f64)) -> bool {
    found.step == *step && (found.value == *value || found.value.is_nan() && value.is_nan())
}

#[derive(Default)]
struct DiffLines(String);

impl DiffLines {
    fn line(&mut self, mark: char, depth: usize, text: fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "{mark} {:width$}{text}", "", width = 2 * depth);
    }

    fn context_line(&mut self, depth: usize, text: fmt::Arguments<'_>) {
        self.line(' ', depth, text);
    }

    fn expected_only(&mut self, expected: &Expected<'_>) {
        match expected {
            Expected::Status { name, status } => {
                self.line('-', 0, format_args!("run {name:?}, {status}"));
            }
            Expected::Param { key, value } => {
                self.line('-', 1, format_args!("param {key} = {value:?}"));
            }
            Expected::Tag { key, value } => {
                self.line('-', 1, format_args!("tag {key} = {value:?}"));
            }
            Expected::SomePoints { key } => self.line('-', 1, format_args!("metric {key}")),
            Expected::Points { key, points } => {
                self.line('-', 1, format_args!("metric {key}"));
                self.points('-', points.iter().copied());
            }
            Expected::Input { name, context } => self.input('-', name, context),
            Expected::Artifact { path } => self.line('-', 1, format_args!("artifact {path}")),
            Expected::Table { path, rows } => self.table('-', path, rows),
            Expected::Model { name } => self.model('-', name, READY),
            Expected::Nothing => {}
        }
    }

    /// Writes the rows of a table; of many, only the first ones.
    fn table(&mut self, mark: char, path: &str, rows: &[Row]) {
        self.line(mark, 1, format_args!("table {path}"));
        for row in rows.iter().take(MAX_SHOWN_ROWS) {
            let row = serde_json::to_string(row).unwrap_or_default();
            self.line(mark, 2, format_args!("{row}"));
        }
        if let Some(more @ 1..) = rows.len().checked_sub(MAX_SHOWN_ROWS) {
            self.line(mark, 2, format_args!("… {more} more"));
        }
    }

    fn input(&mut self, mark: char, name: &str, context: &str) {
        self.line(
            mark,
            1,
            format_args!("input {name:?} with the context {context:?}"),
        );
    }

    fn model(&mut self, mark: char, name: &str, status: &str) {
        self.line(mark, 1, format_args!("model {name:?}, {status}"));
    }

    /// Writes the run, with the expected line beside the line that the run has in its place.
    fn run(&mut self, run: &RecordedRun, expected: Option<&Expected<'_>>) {
        let status = run.status.as_str();
        let other = if matches!(expected, Some(Expected::Nothing)) {
            '+'
        } else {
            ' '
        };
        let header = match expected {
            Some(Expected::Status {
                name,
                status: expected,
            }) => {
                self.line(
                    '-',
                    0,
                    format_args!("run {name:?} in {:?}, {expected}", run.experiment),
                );
                '+'
            }
            _ => other,
        };
        self.line(
            header,
            0,
            format_args!("run {:?} in {:?}, {status}", run.name, run.experiment),
        );
        if let Some(Expected::Param { key, value }) = expected {
            self.line('-', 1, format_args!("param {key} = {value:?}"));
        }
        for (key, value) in &run.params {
            let looked_for =
                matches!(expected, Some(Expected::Param { key: sought, .. }) if sought == key);
            let mark = if looked_for { '+' } else { other };
            self.line(mark, 1, format_args!("param {key} = {value:?}"));
        }
        self.metrics(run, expected, other);
        if let Some(Expected::Tag { key, value }) = expected {
            self.line('-', 1, format_args!("tag {key} = {value:?}"));
        }
        for (key, value) in &run.tags {
            let looked_for =
                matches!(expected, Some(Expected::Tag { key: sought, .. }) if sought == key);
            if looked_for {
                self.line('+', 1, format_args!("tag {key} = {value:?}"));
            } else if !is_automatic(key) {
                self.line(other, 1, format_args!("tag {key} = {value:?}"));
            }
        }
        match expected {
            Some(Expected::Artifact { path }) => {
                self.line('-', 1, format_args!("artifact {path}"));
            }
            Some(Expected::Table { path, rows }) => {
                self.table('-', path, rows);
                if let Some(found) = run.table::<Row>(path) {
                    self.table('+', path, &found);
                }
            }
            _ => {}
        }
        for (path, bytes) in &run.artifacts {
            self.line(
                other,
                1,
                format_args!("artifact {path}, {} bytes", bytes.len()),
            );
        }
        if let Some(Expected::Input { name, context }) = expected {
            self.input('-', name, context);
        }
        for input in &run.inputs {
            let looked_for =
                matches!(expected, Some(Expected::Input { name, .. }) if *name == input.name);
            let mark = if looked_for { '+' } else { other };
            self.input(mark, &input.name, context_of(input));
        }
        if let Some(Expected::Model { name }) = expected {
            self.model('-', name, READY);
        }
        for model in &run.models {
            let looked_for =
                matches!(expected, Some(Expected::Model { name }) if *name == model.name);
            let mark = if looked_for { '+' } else { other };
            self.model(mark, &model.name, model.status);
        }
    }

    fn metrics(&mut self, run: &RecordedRun, expected: Option<&Expected<'_>>, other: char) {
        match expected {
            Some(Expected::SomePoints { key }) => self.line('-', 1, format_args!("metric {key}")),
            Some(Expected::Points { key, points }) if !run.metrics.contains_key(*key) => {
                self.line('-', 1, format_args!("metric {key}"));
                self.points('-', points.iter().copied());
            }
            _ => {}
        }
        for (key, found) in &run.metrics {
            self.line(other, 1, format_args!("metric {key}"));
            match expected {
                Some(Expected::Points {
                    key: sought,
                    points,
                }) if sought == key => {
                    self.points_beside(points, found);
                }
                _ => self.points(other, found.iter().map(|point| (point.step, point.value))),
            }
        }
    }

    /// Writes the points; of many, only some from the beginning and the end.
    fn points(&mut self, mark: char, points: impl ExactSizeIterator<Item = (i64, f64)>) {
        let count = points.len();
        for (at, (step, value)) in points.enumerate() {
            if at < MAX_DIFFERING_POINTS || at + CONTEXT_POINTS >= count {
                self.line(mark, 2, format_args!("step {step}: {value:?}"));
            } else if at == MAX_DIFFERING_POINTS {
                let more = count - MAX_DIFFERING_POINTS - CONTEXT_POINTS;
                self.line(mark, 2, format_args!("… {more} more"));
            }
        }
    }

    /// Writes where the expected and the recorded points differ. Of their common beginning and end, only the
    /// points next to the difference are shown.
    fn points_beside(&mut self, expected: &[(i64, f64)], found: &[MetricPoint]) {
        let pairs = found.iter().zip(expected);
        let before = pairs
            .take_while(|(found, point)| is_same_point(found, point))
            .count();
        let (rest, found_rest) = (&expected[before..], &found[before..]);
        let backwards = found_rest.iter().rev().zip(rest.iter().rev());
        let after = backwards
            .take_while(|(found, point)| is_same_point(found, point))
            .count();
        let (apart, found_apart) = (
            &rest[..rest.len() - after],
            &found_rest[..found_rest.len() - after],
        );
        let (head, tail) = (&expected[..before], &rest[rest.len() - after..]);
        if let Some(hidden) = head
            .len()
            .checked_sub(CONTEXT_POINTS)
            .filter(|hidden| *hidden > 0)
        {
            self.context_line(2, format_args!("… {hidden} as expected"));
        }
        for (step, value) in &head[head.len().saturating_sub(CONTEXT_POINTS)..] {
            self.context_line(2, format_args!("step {step}: {value:?}"));
        }
        self.points('-', apart.iter().copied());
        self.points(
            '+',
            found_apart.iter().map(|point| (point.step, point.value)),
        );
        for (step, value) in tail.iter().take(CONTEXT_POINTS) {
            self.context_line(2, format_args!("step {step}: {value:?}"));
        }
        if let Some(hidden) = tail
            .len()
            .checked_sub(CONTEXT_POINTS)
            .filter(|hidden| *hidden > 0)
        {
            self.context_line(2, format_args!("… {hidden} as expected"));
        }
    }
}
