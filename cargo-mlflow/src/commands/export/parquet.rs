//! Exports as Parquet, with typed columns: numbers as `double`, times as `timestamp[ms, UTC]`, steps and
//! durations as `int64`, all else as text.
//!
//! Invariants: only one row group of points is prepared at a time, beside the history of one metric, so that many
//! points do not fill the memory. NaN and infinities are kept. A value that a run does not have is null.

use std::io::{self, Write};
use std::sync::Arc;

use mlflow::blocking::Client;
use mlflow::entities::{MetricPoint, Run};
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::columns::{Column, Kind, Value};
use super::{POINT_COLUMNS, for_each_point};
use crate::arguments::Export;
use crate::failure::Failure;

/// Number of runs in a row group.
const RUNS_PER_GROUP: usize = 10_000;
/// Number of points in a row group, which takes some 30 MB while it is prepared.
const POINTS_PER_GROUP: usize = 250_000;

/// Writes a row for each run.
pub(super) fn write_runs(output: &mut (impl Write + Send), runs: &[Run]) -> Result<(), Failure> {
    let columns = Column::of(runs);
    let fields = { columns.iter() }
        .map(|column| field(&column.name(), column.kind(), Repetition::OPTIONAL))
        .collect::<Result<Vec<_>, _>>()?;
    let mut writer = writer(output, fields, properties())?;
    for runs in runs.chunks(RUNS_PER_GROUP) {
        let mut group = writer.next_row_group()?;
        for column in &columns {
            let values = || runs.iter().map(|run| column.value(run));
            match column.kind() {
                Kind::Text => write_optional::<ByteArrayType>(
                    &mut group,
                    values().map(|value| match value {
                        Some(Value::Text(text)) => Some(ByteArray::from(text)),
                        _ => None,
                    }),
                )?,
                Kind::Number => write_optional::<DoubleType>(
                    &mut group,
                    values().map(|value| match value {
                        Some(Value::Number(number)) => Some(number),
                        _ => None,
                    }),
                )?,
                Kind::Integer | Kind::Time => write_optional::<Int64Type>(
                    &mut group,
                    values().map(|value| match value {
                        Some(Value::Integer(number) | Value::Time(number)) => Some(number),
                        _ => None,
                    }),
                )?,
            }
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

/// Writes a row for each point of the chosen metrics, and returns the number of points.
pub(super) fn write_points(
    client: &Client,
    output: &mut (impl Write + Send),
    options: &Export,
) -> Result<usize, Failure> {
    let [run_id, run_name, metric, step, value, time] = POINT_COLUMNS;
    let required = |name, kind| field(name, kind, Repetition::REQUIRED);
    let fields = vec![
        required(run_id, Kind::Text)?,
        required(run_name, Kind::Text)?,
        required(metric, Kind::Text)?,
        required(step, Kind::Integer)?,
        required(value, Kind::Number)?,
        required(time, Kind::Time)?,
    ];
    // Steps and times grow by steady amounts, and values are seldom equal.
    let mut properties = properties();
    for growing in [step, time] {
        let path = || ColumnPath::from(growing);
        properties = properties
            .set_column_dictionary_enabled(path(), false)
            .set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
    }
    properties = properties.set_column_dictionary_enabled(ColumnPath::from(value), false);
    let mut writer = writer(output, fields, properties)?;
    let mut rows = PointRows::default();
    let mut count = 0;
    for_each_point(client, options, |run, metric, point| {
        count += 1;
        rows.push(run, metric, point);
        if rows.steps.len() >= POINTS_PER_GROUP {
            rows.write_group(&mut writer)?;
        }
        Ok(())
    })?;
    if !rows.steps.is_empty() {
        rows.write_group(&mut writer)?;
    }
    writer.close()?;
    Ok(count)
}

/// Rows of the row group that is prepared, by column.
#[derive(Default)]
struct PointRows {
    run_ids: Vec<ByteArray>,
    run_names: Vec<ByteArray>,
    metrics: Vec<ByteArray>,
    steps: Vec<i64>,
    values: Vec<f64>,
    times: Vec<i64>,
}

impl PointRows {
    fn push(&mut self, run: &Run, metric: &str, point: MetricPoint) {
        push_shared(&mut self.run_ids, &run.run_id);
        push_shared(&mut self.run_names, &run.name);
        push_shared(&mut self.metrics, metric);
        self.steps.push(point.step);
        self.values.push(point.value);
        self.times.push(point.timestamp_ms);
    }

    /// Writes the rows as a row group, and removes them.
    fn write_group<W: Write + Send>(
        &mut self,
        writer: &mut SerializedFileWriter<W>,
    ) -> Result<(), Failure> {
        let Self {
            run_ids,
            run_names,
            metrics,
            steps,
            values,
            times,
        } = std::mem::take(self);
        let mut group = writer.next_row_group()?;
        write_column::<ByteArrayType>(&mut group, &run_ids, None)?;
        write_column::<ByteArrayType>(&mut group, &run_names, None)?;
        write_column::<ByteArrayType>(&mut group, &metrics, None)?;
        write_column::<Int64Type>(&mut group, &steps, None)?;
        write_column::<DoubleType>(&mut group, &values, None)?;
        write_column::<Int64Type>(&mut group, &times, None)?;
        group.close()?;
        Ok(())
    }
}

/// Adds a text, which shares its memory with the last one if both are equal.
fn push_shared(texts: &mut Vec<ByteArray>, text: &str) {
    let shared = { texts.last() }
        .filter(|last| last.data() == text.as_bytes())
        .cloned();
    texts.push(shared.unwrap_or_else(|| ByteArray::from(text)));
}

fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("cargo-mlflow ", env!("CARGO_PKG_VERSION")).to_owned())
}

fn writer<W: Write + Send>(
    output: W,
    fields: Vec<TypePtr>,
    properties: WriterPropertiesBuilder,
) -> Result<SerializedFileWriter<W>, Failure> {
    let schema = Type::group_type_builder("schema")
        .with_fields(fields)
        .build()?;
    let properties = Arc::new(properties.build());
    Ok(SerializedFileWriter::new(
        output,
        Arc::new(schema),
        properties,
    )?)
}

/// Returns the schema of a column.
fn field(name: &str, kind: Kind, repetition: Repetition) -> Result<TypePtr, Failure> {
    let (physical, logical) = match kind {
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Number => (Physical::DOUBLE, None),
        Kind::Integer => (Physical::INT64, None),
        Kind::Time => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::MILLIS)),
        ),
    };
    let field = Type::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical);
    Ok(Arc::new(field.build()?))
}

/// Writes the next column of the group, with nulls.
fn write_optional<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    values: impl Iterator<Item = Option<T::T>>,
) -> Result<(), Failure> {
    let (mut present, mut levels) = (Vec::new(), Vec::new());
    for value in values {
        levels.push(i16::from(value.is_some()));
        present.extend(value);
    }
    write_column::<T>(group, &present, Some(&levels))
}

/// Writes the next column of the group. `levels` is 0 for each null and 1 for each value.
fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), Failure> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(values, levels, None)?;
        column.close()?;
    }
    Ok(())
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        let text = format!("cannot write Parquet: {error}");
        match error {
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(error) => Self::from(*error),
                Err(_) => Self::Other(text),
            },
            _ => Self::Other(text),
        }
    }
}
