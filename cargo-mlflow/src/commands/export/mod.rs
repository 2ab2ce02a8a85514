//! `export`: runs or the history of their metrics, for other programs.
//!
//! The points of one metric of one run are in memory at a time, so that a long run does not fill it. A table of runs is
//! written when all runs are there, because its columns are not known before.

mod columns;
mod csv;
mod draft;
#[cfg(feature = "parquet")]
mod parquet;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};

use mlflow::blocking::Client;
use mlflow::entities::{MetricPoint, Run};
use mlflow::search::SearchRuns;
use serde::Serialize;

use self::draft::Draft;
use crate::arguments::{Export, Format};
use crate::failure::Failure;
use crate::output::record::RunRecord;
use crate::output::{Output, format as text, write_json_array};
use crate::selection::list_metrics;

/// Name that stands for every metric.
const ALL_METRICS: &str = "all";
/// Columns of a table of points.
const POINT_COLUMNS: [&str; 6] = [
    "run_id",
    "run_name",
    "metric",
    "step",
    "value",
    "timestamp_ms",
];

/// Point of a metric, as JSON holds it.
#[derive(Serialize)]
struct JsonPoint<'p> {
    run_id: &'p str,
    run_name: &'p str,
    metric: &'p str,
    #[serde(flatten)]
    point: MetricPoint,
}

/// Exports runs or points.
pub(crate) fn run(client: &Client, output: Output, options: &Export) -> Result<(), Failure> {
    let format = format_of(output, options)?;
    check_metrics(client, output, options)?;
    let written = match &options.output {
        // A device, a pipe or the target of a link must not be replaced by a file.
        Some(path) if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) => {
            let failed = |error| Failure::Io(format!("cannot write {}", path.display()), error);
            let mut file = BufWriter::new(File::create(path).map_err(failed)?);
            let written = write(client, &mut file, options, format)?;
            file.flush().map_err(failed)?;
            written
        }
        Some(path) => {
            // A file of the name appears when it is complete, and an earlier one stays until then.
            let failed = |error| Failure::Io(format!("cannot write {}", path.display()), error);
            let (draft, file) = Draft::create(path).map_err(failed)?;
            let mut file = BufWriter::new(file);
            let written = write(client, &mut file, options, format)?;
            { file.flush() }
                .and_then(|()| draft.rename(path))
                .map_err(failed)?;
            written
        }
        None => write(client, &mut BufWriter::new(io::stdout()), options, format)?,
    };
    output.remark(written);
    Ok(())
}

/// Fails if no run has one of the chosen metrics. A line tells of single metrics that no run has.
fn check_metrics(client: &Client, output: Output, options: &Export) -> Result<(), Failure> {
    let mut missing: BTreeSet<&str> = options.metrics.iter().map(String::as_str).collect();
    if missing.contains(ALL_METRICS) {
        return Ok(());
    }
    let mut known = BTreeSet::new();
    let mut runs = client.search_runs(search(options));
    while !missing.is_empty() {
        let Some(run) = runs.next().transpose()? else {
            break;
        };
        missing.retain(|key| !run.metrics.contains_key(*key));
        known.extend(run.metrics.into_keys());
    }
    if missing.is_empty() || known.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.iter().map(|key| format!("`{key}`")).collect();
    let text = format!(
        "no run has the metric {}: {}",
        names.join(" or "),
        list_metrics("the runs have", known.iter().map(String::as_str))
    );
    if missing.len() < options.metrics.len() {
        output.remark(text);
        return Ok(());
    }
    Err(Failure::NotFound(text))
}

/// Returns the format to write, if it can be written to where the export goes.
fn format_of(output: Output, options: &Export) -> Result<Format, Failure> {
    match options.format {
        #[cfg(feature = "parquet")]
        Format::Parquet if output.json => Err(Failure::Usage(
            "--json and --format parquet exclude each other".to_owned(),
        )),
        #[cfg(feature = "parquet")]
        Format::Parquet if options.output.is_none() && output.is_terminal => Err(Failure::Usage(
            "a terminal cannot show Parquet: give --output FILE".to_owned(),
        )),
        _ if output.json => Ok(Format::Json),
        format => Ok(format),
    }
}

/// Writes the export, and returns what was written, for people.
fn write(
    client: &Client,
    output: &mut (impl Write + Send),
    options: &Export,
    format: Format,
) -> Result<String, Failure> {
    if !options.metrics.is_empty() {
        let count = match format {
            Format::Csv => csv::write_points(client, output, options)?,
            Format::Json => write_json_points(client, output, options)?,
            #[cfg(feature = "parquet")]
            Format::Parquet => parquet::write_points(client, output, options)?,
        };
        output.flush()?;
        return Ok(text::counted(count as u64, "point"));
    }
    let found = client.search_runs(search(options));
    let count = match format {
        Format::Json => {
            write_json_array(&mut *output, found.map(|found| found.map(RunRecord::new)))?
        }
        Format::Csv => {
            let runs = found.collect::<Result<Vec<_>, _>>()?;
            csv::write_runs(output, &runs)?;
            runs.len()
        }
        #[cfg(feature = "parquet")]
        Format::Parquet => {
            let runs = found.collect::<Result<Vec<_>, _>>()?;
            parquet::write_runs(output, &runs)?;
            runs.len()
        }
    };
    output.flush()?;
    Ok(text::counted(count as u64, "run"))
}

/// Returns the search for the runs to export.
fn search(options: &Export) -> SearchRuns {
    let search = super::search(&options.choice);
    match options.limit {
        0 => search,
        limit => search.limit(limit),
    }
}

/// Writes the points of the runs as a JSON array, and returns their number.
fn write_json_points(
    client: &Client,
    output: &mut impl Write,
    options: &Export,
) -> Result<usize, Failure> {
    let mut count = 0;
    write!(output, "[")?;
    for_each_point(client, options, |run, metric, point| {
        let separator = if count == 0 { "\n" } else { ",\n" };
        count += 1;
        write!(output, "{separator}")?;
        let point = JsonPoint {
            run_id: &run.run_id,
            run_name: &run.name,
            metric,
            point,
        };
        Ok(serde_json::to_writer(&mut *output, &point)?)
    })?;
    writeln!(output, "{}]", if count == 0 { "" } else { "\n" })?;
    output.flush()?;
    Ok(count)
}

/// Calls `write` with each point of the chosen metrics, with the run and the name of the metric.
fn for_each_point(
    client: &Client,
    options: &Export,
    mut write: impl FnMut(&Run, &str, MetricPoint) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let wants_all = options.metrics.iter().any(|key| key == ALL_METRICS);
    for run in client.search_runs(search(options)) {
        let run = run?;
        let keys: Vec<&String> = if wants_all {
            run.metrics.keys().collect()
        } else {
            let known = |key: &&String| run.metrics.contains_key(*key);
            options.metrics.iter().filter(known).collect()
        };
        // One metric at a time, as all metrics of a long run may not fit into the memory.
        for key in keys {
            let history = client.metric_history(&*run.run_id, key)?;
            for point in history.iter() {
                write(&run, history.key(), point)?;
            }
        }
    }
    Ok(())
}
