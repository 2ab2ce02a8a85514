//! `show`: everything about one run.

use mlflow::blocking::Client;
use mlflow::entities::{DatasetInput, FileInfo, MetricHistory, Run, is_automatic_tag};
use serde::Serialize;

use crate::analysis::diagnosis::{Finding, Severity};
use crate::arguments::Show;
use crate::failure::Failure;
use crate::output::record::RunRecord;
use crate::output::style::{dim, error, heading, warning};
use crate::output::table::{number_cell, shorten, table, to_text};
use crate::output::{Output, format, without_escapes};
use crate::run_diagnosis::read_curves;
use crate::selection::{select, select_deleted};

/// Greatest number of characters of a value.
const MAX_VALUE_CHARS: usize = 120;
/// Greatest number of characters of a key or a short name.
const MAX_KEY_CHARS: usize = 60;
/// Greatest number of characters of a dataset's source.
const MAX_SOURCE_CHARS: usize = 80;
/// Number of points after which no further curve is examined.
const MAX_DIAGNOSED_POINTS: u64 = 100_000;

/// Run with what belongs to it, as `--json` writes it.
#[derive(Serialize)]
struct Details<'r> {
    #[serde(flatten)]
    run: RunRecord<&'r Run>,
    experiment: Option<String>,
    artifacts: &'r [FileInfo],
    findings: Vec<Finding>,
    /// Metrics whose curves were not examined, as there are too many points.
    not_examined: &'r [String],
}

/// Shows a run.
pub(crate) fn run(client: &Client, output: Output, options: &Show) -> Result<(), Failure> {
    let select = if options.deleted {
        select_deleted
    } else {
        select
    };
    let run = select(client, &options.experiment, &options.run)?;
    let artifacts = client.list_artifacts(&*run.run_id, "")?;
    let experiment = client
        .experiment_by_id(&*run.experiment_id)
        .ok()
        .map(|experiment| experiment.name);
    if output.json {
        let curves = read_curves(&run, MAX_DIAGNOSED_POINTS, |key| {
            client.metric_history(&*run.run_id, key)
        })?;
        return output.json(&Details {
            run: RunRecord::new(&run),
            experiment,
            artifacts: &artifacts,
            findings: curves.findings(&run),
            not_examined: &curves.left_out,
        });
    }
    write_head(output, &run, experiment.as_deref())?;
    if !run.params.is_empty() {
        output.line(format_args!("\n{}", heading("Params")))?;
        for (key, value) in &run.params {
            output.line(format_args!(
                "  {} = {}",
                shorten(key, MAX_KEY_CHARS),
                shorten(value, MAX_VALUE_CHARS)
            ))?;
        }
    }
    let mut histories = Vec::new();
    if !run.metrics.is_empty() {
        let keys: Vec<_> = run.metrics.keys().cloned().collect();
        histories = client.metric_histories(&*run.run_id, keys)?;
        output.line(format_args!("\n{}", heading("Metrics")))?;
        output.line(metrics_table(output, &run, &histories))?;
    }
    let curves = read_curves(&run, MAX_DIAGNOSED_POINTS, |wanted| {
        let history = histories.iter().find(|history| history.key() == wanted);
        history
            .ok_or_else(|| Failure::Other(format!("the store returned no history of `{wanted}`")))
    })?;
    write_findings(output, &curves.findings(&run))?;
    if !curves.left_out.is_empty() {
        output.remark(format_args!(
            "not examined: the curves of {}, as there are too many points",
            shorten(&curves.left_out.join(", "), MAX_VALUE_CHARS)
        ));
    }
    let tags: Vec<_> = run
        .tags
        .iter()
        .filter(|(key, _)| options.all || !is_automatic_tag(key))
        .collect();
    if !tags.is_empty() {
        output.line(format_args!("\n{}", heading("Tags")))?;
        for (key, value) in tags {
            output.line(format_args!(
                "  {} = {}",
                shorten(key, MAX_KEY_CHARS),
                shorten(value, MAX_VALUE_CHARS)
            ))?;
        }
    }
    if !run.datasets.is_empty() {
        output.line(format_args!("\n{}", heading("Datasets")))?;
        output.line(datasets_table(output, &run.datasets))?;
    }
    if !artifacts.is_empty() {
        output.line(format_args!("\n{}", heading("Artifacts")))?;
        for artifact in &artifacts {
            let size = artifact.file_size.map(format::size).unwrap_or_default();
            let slash = if artifact.is_dir { "/" } else { "" };
            let path = shorten(&artifact.path, MAX_VALUE_CHARS);
            output.line(format_args!("  {path}{slash}  {}", dim(size)))?;
        }
    }
    Ok(())
}

fn write_head(output: Output, run: &Run, experiment: Option<&str>) -> Result<(), Failure> {
    output.line(heading(shorten(&run.name, MAX_VALUE_CHARS)))?;
    let field = |name: &str, value: &str| {
        if value.is_empty() {
            return Ok(());
        }
        output.line(format_args!(
            "  {name:<11} {}",
            shorten(value, MAX_VALUE_CHARS)
        ))
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
        field("error", error)?;
    }
    if let Some(note) = run.tag("mlflow.note.content") {
        output.line(format_args!("\n{}", without_escapes(note.trim_end())))?;
    }
    Ok(())
}

/// Writes findings, if there are any.
pub(crate) fn write_findings(output: Output, findings: &[Finding]) -> Result<(), Failure> {
    if findings.is_empty() {
        return Ok(());
    }
    output.line(format_args!("\n{}", heading("Findings")))?;
    for finding in findings {
        // Aligned before the colour is added, whose characters have no width.
        let label = format!("{:<7}", finding.severity.as_str());
        let label = match finding.severity {
            Severity::Error => error(label),
            Severity::Warning => warning(label),
            Severity::Info => dim(label),
        };
        output.line(format_args!("  {label}  {}", finding.text))?;
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
            format!("  {}", shorten(history.key(), MAX_KEY_CHARS)).into(),
            number_cell(format::number(last.value)),
            number_cell(format::number(least)),
            number_cell(format::number(greatest)),
            number_cell(history.len()),
            number_cell(last.step),
        ]);
    }
    to_text(&rows)
}

fn datasets_table(output: Output, datasets: &[DatasetInput]) -> String {
    let mut rows = table(output, &["  NAME", "DIGEST", "CONTEXT", "KIND", "SOURCE"]);
    for dataset in datasets {
        let DatasetInput {
            name,
            digest,
            context,
            source_type,
            source,
            ..
        } = dataset;
        rows.add_row([
            format!("  {}", shorten(name, MAX_KEY_CHARS)),
            shorten(digest, MAX_KEY_CHARS),
            shorten(context.as_deref().unwrap_or_default(), MAX_KEY_CHARS),
            shorten(source_type, MAX_KEY_CHARS),
            shorten(&place_of(source), MAX_SOURCE_CHARS),
        ]);
    }
    to_text(&rows)
}

/// Returns the address or path in the source of a dataset, which MLflow records as JSON; the whole source if none
/// is in it.
// Input:  `{"uri": "s3://b/wine.csv"}`, `{"tags": {}}`
// Output: `s3://b/wine.csv`,            `{"tags": {}}`
fn place_of(source: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(source).ok();
    { parsed.iter() }
        .flat_map(|parsed| ["uri", "url", "path"].map(|key| &parsed[key]))
        .find_map(|place| place.as_str())
        .unwrap_or(source)
        .to_owned()
}
