//! Exports as CSV, quoted as spreadsheets expect it.

use std::io::Write;

use mlflow::blocking::Client;
use mlflow::entities::Run;

use super::columns::{Column, Value};
use super::{POINT_COLUMNS, for_each_point};
use crate::arguments::Export;
use crate::failure::Failure;

/// Writes a line for each run.
pub(super) fn write_runs(output: &mut impl Write, runs: &[Run]) -> Result<(), Failure> {
    let columns = Column::of(runs);
    let mut writer = csv::Writer::from_writer(output);
    writer
        .write_record(columns.iter().map(Column::name))
        .map_err(failure)?;
    for run in runs {
        let fields = columns.iter().map(|column| match column.value(run) {
            Some(Value::Text(text)) => text.to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Integer(number) | Value::Time(number)) => number.to_string(),
            None => String::new(),
        });
        writer.write_record(fields).map_err(failure)?;
    }
    writer.flush()?;
    Ok(())
}

/// Writes a line for each point of the chosen metrics, and returns the number of points.
pub(super) fn write_points(
    client: &Client,
    output: &mut impl Write,
    options: &Export,
) -> Result<usize, Failure> {
    let mut count = 0;
    let mut writer = csv::Writer::from_writer(output);
    writer.write_record(POINT_COLUMNS).map_err(failure)?;
    for_each_point(client, options, |run, metric, point| {
        count += 1;
        let (step, value) = (point.step.to_string(), point.value.to_string());
        let time = point.timestamp_ms.to_string();
        let record = [&run.run_id, &run.name, metric, &step, &value, &time];
        writer.write_record(record).map_err(failure)
    })?;
    writer.flush()?;
    Ok(count)
}

fn failure(error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => Failure::Other(format!("cannot write CSV: {other:?}")),
    }
}
