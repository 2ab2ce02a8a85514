//! `export`: runs or the history of their metrics, for other programs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use mlflow::blocking::Client;
use mlflow::entities::{MetricPoint, Run};
use serde::Serialize;

use crate::arguments::{Export, Format};
use crate::failure::Failure;
use crate::output::{Output, format as text, write_json_array};

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
    let format = if output.json {
        Format::Json
    } else {
        options.format
    };
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
            let mut draft = path.clone().into_os_string();
            draft.push(".part");
            let draft = PathBuf::from(draft);
            let mut file = BufWriter::new(File::create(&draft).map_err(failed)?);
            let written = write(client, &mut file, options, format);
            let moved = file.flush().and_then(|()| match written {
                Ok(_) => fs::rename(&draft, path),
                Err(_) => fs::remove_file(&draft),
            });
            let written = written?;
            moved.map_err(failed)?;
            written
        }
        None => write(
            client,
            &mut BufWriter::new(io::stdout().lock()),
            options,
            format,
        )?,
    };
    output.remark(written);
    Ok(())
}

/// Writes the export, and returns what was written, for people.
fn write(
    client: &Client,
    output: &mut impl Write,
    options: &Export,
    format: Format,
) -> Result<String, Failure> {
    let search = super::search(&options.choice);
    if !options.metrics.is_empty() {
        let count = write_points(client, output, options, format)?;
        return Ok(text::counted(count as u64, "point"));
    }
    let found = client.search_runs(search);
    let count = match format {
        Format::Json => write_json_array(output, found)?,
        Format::Csv => {
            // The columns are known when all runs are.
            let runs = found.collect::<Result<Vec<_>, _>>()?;
            write_csv(output, &runs)?;
            runs.len()
        }
    };
    Ok(text::counted(count as u64, "run"))
}

fn write_csv(output: &mut impl Write, runs: &[Run]) -> Result<(), Failure> {
    let keys = |of: fn(&Run) -> Vec<&String>| -> BTreeSet<String> {
        runs.iter().flat_map(of).cloned().collect()
    };
    let params = keys(|run| run.params.keys().collect());
    let metrics = keys(|run| run.metrics.keys().collect());
    let tags = keys(|run| run.tags.keys().collect());
    let mut writer = csv::Writer::from_writer(output);
    let fixed = [
        "run_id",
        "name",
        "experiment_id",
        "status",
        "start_time_ms",
        "end_time_ms",
        "user_id",
        "artifact_uri",
    ];
    let named = |prefix: &str, keys: &BTreeSet<String>| -> Vec<String> {
        keys.iter().map(|key| format!("{prefix}.{key}")).collect()
    };
    let mut header: Vec<String> = fixed.map(str::to_owned).to_vec();
    header.extend(named("params", &params));
    header.extend(named("metrics", &metrics));
    header.extend(named("tags", &tags));
    writer.write_record(&header).map_err(csv_failure)?;
    for run in runs {
        let time = |ms: Option<i64>| ms.map(|ms| ms.to_string()).unwrap_or_default();
        let mut record = vec![
            run.run_id.clone(),
            run.name.clone(),
            run.experiment_id.clone(),
            run.status.to_string(),
            time(run.start_time_ms),
            time(run.end_time_ms),
            run.user_id.clone(),
            run.artifact_uri.clone(),
        ];
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        record.extend(params.iter().map(|key| text(run.param(key))));
        record.extend(metrics.iter().map(|key| {
            let value = run.metric(key).map(|value| value.to_string());
            value.unwrap_or_default()
        }));
        record.extend(tags.iter().map(|key| text(run.tag(key))));
        writer.write_record(&record).map_err(csv_failure)?;
    }
    writer.flush()?;
    Ok(())
}

fn csv_failure(error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => Failure::Other(format!("cannot write CSV: {other:?}")),
    }
}

/// Writes the points of the runs, one run after the other, and returns their number.
fn write_points(
    client: &Client,
    output: &mut impl Write,
    options: &Export,
    format: Format,
) -> Result<usize, Failure> {
    let mut count = 0;
    match format {
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(output);
            let header = [
                "run_id",
                "run_name",
                "metric",
                "step",
                "value",
                "timestamp_ms",
            ];
            writer.write_record(header).map_err(csv_failure)?;
            for_each_point(client, options, |run, metric, point| {
                count += 1;
                let (step, value) = (point.step.to_string(), point.value.to_string());
                let time = point.timestamp_ms.to_string();
                let record = [&run.run_id, &run.name, metric, &step, &value, &time];
                writer.write_record(record).map_err(csv_failure)
            })?;
            writer.flush()?;
        }
        Format::Json => {
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
        }
    }
    Ok(count)
}

/// Calls `write` with each point of the chosen metrics, with the run and the name of the metric.
fn for_each_point(
    client: &Client,
    options: &Export,
    mut write: impl FnMut(&Run, &str, MetricPoint) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let wants_all = options.metrics.iter().any(|key| key == "all");
    for run in client.search_runs(super::search(&options.choice)) {
        let run = run?;
        let keys: Vec<&String> = if wants_all {
            run.metrics.keys().collect()
        } else {
            let known = |key: &&String| run.metrics.contains_key(*key);
            options.metrics.iter().filter(known).collect()
        };
        if keys.is_empty() {
            continue;
        }
        for history in client.metric_histories(&*run.run_id, keys)? {
            for point in history.iter() {
                write(&run, history.key(), point)?;
            }
        }
    }
    Ok(())
}
