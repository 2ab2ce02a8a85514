//! `show`: everything about one run.

use mlflow::blocking::Client;
use mlflow::entities::{FileInfo, MetricHistory, Run};
use serde::Serialize;

use crate::arguments::Show;
use crate::failure::Failure;
use crate::output::style::{dim, heading};
use crate::output::table::{number_cell, shorten, table, to_text};
use crate::output::{Output, format};
use crate::selection::select;

/// Greatest number of characters of a value.
const MAX_VALUE_CHARS: usize = 120;

/// Run with what belongs to it, as `--json` writes it.
#[derive(Serialize)]
struct Details<'r> {
    #[serde(flatten)]
    run: &'r Run,
    experiment: Option<String>,
    artifacts: &'r [FileInfo],
}

/// Shows a run.
pub(crate) fn run(client: &Client, output: Output, options: &Show) -> Result<(), Failure> {
    let run = select(client, &options.experiment, &options.run)?;
    let artifacts = client.list_artifacts(&*run.run_id, "")?;
    let experiment = client
        .experiment_by_id(&*run.experiment_id)
        .ok()
        .map(|experiment| experiment.name);
    if output.json {
        return output.json(&Details {
            run: &run,
            experiment,
            artifacts: &artifacts,
        });
    }
    write_head(output, &run, experiment.as_deref())?;
    if !run.params.is_empty() {
        output.line(format_args!("\n{}", heading("Params")))?;
        for (key, value) in &run.params {
            output.line(format_args!(
                "  {key} = {}",
                shorten(value, MAX_VALUE_CHARS)
            ))?;
        }
    }
    if !run.metrics.is_empty() {
        let keys: Vec<_> = run.metrics.keys().cloned().collect();
        let histories = client.metric_histories(&*run.run_id, keys)?;
        output.line(format_args!("\n{}", heading("Metrics")))?;
        output.line(metrics_table(output, &run, &histories))?;
    }
    let tags: Vec<_> = run
        .tags
        .iter()
        .filter(|(key, _)| options.all || !is_automatic(key))
        .collect();
    if !tags.is_empty() {
        output.line(format_args!("\n{}", heading("Tags")))?;
        for (key, value) in tags {
            output.line(format_args!(
                "  {key} = {}",
                shorten(value, MAX_VALUE_CHARS)
            ))?;
        }
    }
    if !artifacts.is_empty() {
        output.line(format_args!("\n{}", heading("Artifacts")))?;
        for artifact in &artifacts {
            let size = artifact.file_size.map(format::size).unwrap_or_default();
            let slash = if artifact.is_dir { "/" } else { "" };
            output.line(format_args!("  {}{slash}  {}", artifact.path, dim(size)))?;
        }
    }
    Ok(())
}

fn write_head(output: Output, run: &Run, experiment: Option<&str>) -> Result<(), Failure> {
    output.line(heading(&run.name))?;
    let field = |name: &str, value: &str| {
        if value.is_empty() {
            return Ok(());
        }
        output.line(format_args!("  {name:<11} {value}"))
    };
    field("id", &run.run_id)?;
    field("experiment", experiment.unwrap_or(&run.experiment_id))?;
    let deleted = if run.is_deleted() { " (deleted)" } else { "" };
    field("status", &format!("{}{deleted}", run.status))?;
    let start = run.start_time_ms;
    let start = start.map(|ms| format!("{} ({})", format::time(ms), format::ago(ms)));
    field("started", &start.unwrap_or_default())?;
    field(
        "duration",
        &run.duration().map(format::duration).unwrap_or_default(),
    )?;
    field("user", &run.user_id)?;
    field("source", run.tag("mlflow.source.name").unwrap_or_default())?;
    let commit = run.tag("mlflow.source.git.commit").unwrap_or_default();
    let branch = run.tag("mlflow.source.git.branch");
    let branch = branch
        .map(|branch| format!(" on {branch}"))
        .unwrap_or_default();
    let commit: String = commit.chars().take(12).collect();
    if !commit.is_empty() {
        field("commit", &format!("{commit}{branch}"))?;
    }
    field("parent", run.parent_run_id().unwrap_or_default())?;
    if let Some(error) = run.tag("error.message") {
        field("error", &shorten(error, MAX_VALUE_CHARS))?;
    }
    if let Some(note) = run.tag("mlflow.note.content") {
        output.line(format_args!("\n{}", note.trim_end()))?;
    }
    Ok(())
}

fn metrics_table(output: Output, run: &Run, histories: &[MetricHistory]) -> String {
    let mut rows = table(
        output,
        &["  NAME", "LAST", "MIN", "MAX", "POINTS", "LAST STEP"],
    );
    for history in histories {
        let Some(last) = run.metrics.get(history.key()) else {
            continue;
        };
        // `min` and `max` leave NaN out; a metric that never was a number has neither.
        let numbers = || {
            history
                .values()
                .iter()
                .copied()
                .filter(|value| !value.is_nan())
        };
        let least = numbers().reduce(f64::min).unwrap_or(f64::NAN);
        let greatest = numbers().reduce(f64::max).unwrap_or(f64::NAN);
        rows.add_row(vec![
            format!("  {}", history.key()).into(),
            number_cell(format::number(last.value)),
            number_cell(format::number(least)),
            number_cell(format::number(greatest)),
            number_cell(history.len()),
            number_cell(last.step),
        ]);
    }
    to_text(&rows)
}

/// Returns true for the tags that every run has by itself.
pub(crate) fn is_automatic(key: &str) -> bool {
    const PREFIXES: [&str; 13] = [
        "mlflow.",
        "mlflow-",
        "host.",
        "os.",
        "process.",
        "code.",
        "service.",
        "rust.",
        "git.",
        "cargo.",
        "error.",
        "distributed.",
        "cicd.",
    ];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}
