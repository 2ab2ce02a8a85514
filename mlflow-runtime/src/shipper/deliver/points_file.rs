//! The file of points that are left out of the metrics of a run.
//!
//! The format is [Parquet](https://parquet.apache.org/docs/file-format/), which pandas, Polars and `DuckDB` read, compressed by
//! Snappy. Its columns are named as those of MLflow's metric history:
//!
//! | column | type |
//! |---|---|
//! | `key` | text |
//! | `step` | `int64` |
//! | `timestamp` | `timestamp[ms, UTC]` |
//! | `value` | `double`; NaN and infinities are kept |
//!
//! Invariants: no column has nulls, and the rows are sorted by key, step and time. The path of a file has the time of its
//! first point and a checksum of its bytes, so that each file of a run has its own.

use std::io;

use crate::journal::segment::mapped::checksum;
use crate::model::{ArtifactKind, Metric};
use crate::shipper::batch::{Artifact, ArtifactBytes};
use crate::time;

/// Folder of the files among the artifacts of a run.
pub(in crate::shipper) const FOLDER: &str = "thinned_metrics";

/// Smallest position of a file in the order of all events. It is greater than those of all other events, and leaves room for
/// a checksum, by which the files of a run that are handed from queue to queue are told apart.
const FIRST_SEQUENCE: u64 = 1 << 40;

/// Returns the artifact with the bytes of a file. The paths of several files sort by the time of their earliest point.
// Output: `thinned_metrics/20261130-162000.250-1a2b3c4d.parquet`
pub(super) fn into_artifact(file: Vec<u8>, points: &[&Metric]) -> Artifact {
    let times = points.iter().map(|point| point.timestamp_ms);
    let earliest_ms = times.min().unwrap_or_default();
    let checksum = checksum(&file);
    let path = format!(
        "{FOLDER}/{}.{:03}-{checksum:08x}.parquet",
        time::format_compact_utc(earliest_ms),
        earliest_ms.rem_euclid(1000),
    );
    Artifact {
        sequence: FIRST_SEQUENCE + u64::from(checksum),
        kind: ArtifactKind::File,
        path,
        bytes: ArtifactBytes::Memory(file),
        fingerprint: None,
    }
}

/// Returns the bytes of the file, and sorts the points as it does.
///
/// # Errors
/// Fails if the points cannot be encoded, in particular in a program without the feature `thinning`.
#[cfg(feature = "thinning")]
pub(super) fn encode(points: &mut [&Metric]) -> io::Result<Vec<u8>> {
    points.sort_by(|one, other| {
        let order = |point: &Metric| (point.step, point.timestamp_ms);
        (&one.key, order(one)).cmp(&(&other.key, order(other)))
    });
    columns::write(points).map_err(io::Error::other)
}

#[cfg(not(feature = "thinning"))]
pub(super) fn encode(_: &mut [&Metric]) -> io::Result<Vec<u8>> {
    Err(io::Error::other(
        "the program is built without mlflow-runtime's feature `thinning`",
    ))
}

#[cfg(feature = "thinning")]
mod columns {
    use std::sync::Arc;

    use parquet::basic::{
        Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical,
    };
    use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
    use parquet::errors::ParquetError;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
    use parquet::schema::types::{ColumnPath, Type, TypePtr};

    use crate::model::Metric;

    const KEY: &str = "key";
    const STEP: &str = "step";
    const TIMESTAMP: &str = "timestamp";
    const VALUE: &str = "value";

    /// Writes the points as one row group.
    pub(super) fn write(points: &[&Metric]) -> Result<Vec<u8>, ParquetError> {
        let time = LogicalType::timestamp(true, TimeUnit::MILLIS);
        let fields = vec![
            field(KEY, Physical::BYTE_ARRAY, Some(LogicalType::String))?,
            field(STEP, Physical::INT64, None)?,
            field(TIMESTAMP, Physical::INT64, Some(time))?,
            field(VALUE, Physical::DOUBLE, None)?,
        ];
        let schema = Type::group_type_builder("schema")
            .with_fields(fields)
            .build()?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("mlflow-runtime ", env!("CARGO_PKG_VERSION")).to_owned());
        // Steps and times grow by steady amounts, and values are seldom equal.
        for growing in [STEP, TIMESTAMP] {
            properties = properties
                .set_column_dictionary_enabled(ColumnPath::from(growing), false)
                .set_column_encoding(ColumnPath::from(growing), Encoding::DELTA_BINARY_PACKED);
        }
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(VALUE), false);
        let mut file = Vec::new();
        let properties = Arc::new(properties.build());
        let mut writer = SerializedFileWriter::new(&mut file, Arc::new(schema), properties)?;
        let mut group = writer.next_row_group()?;
        write_column::<ByteArrayType>(&mut group, &keys(points))?;
        let steps: Vec<i64> = points.iter().map(|point| point.step).collect();
        write_column::<Int64Type>(&mut group, &steps)?;
        let times: Vec<i64> = points.iter().map(|point| point.timestamp_ms).collect();
        write_column::<Int64Type>(&mut group, &times)?;
        let values: Vec<f64> = points.iter().map(|point| point.value).collect();
        write_column::<DoubleType>(&mut group, &values)?;
        group.close()?;
        writer.close()?;
        Ok(file)
    }

    /// Returns the keys of the points. Equal ones that follow each other share their memory.
    fn keys(points: &[&Metric]) -> Vec<ByteArray> {
        let mut keys: Vec<ByteArray> = Vec::with_capacity(points.len());
        for point in points {
            let shared = { keys.last() }
                .filter(|last| last.data() == point.key.as_bytes())
                .cloned();
            keys.push(shared.unwrap_or_else(|| ByteArray::from(&*point.key)));
        }
        keys
    }

    fn field(
        name: &str,
        physical: Physical,
        logical: Option<LogicalType>,
    ) -> Result<TypePtr, ParquetError> {
        let field = Type::primitive_type_builder(name, physical)
            .with_logical_type(logical)
            .with_repetition(Repetition::REQUIRED)
            .build()?;
        Ok(Arc::new(field))
    }

    fn write_column<T: DataType>(
        group: &mut SerializedRowGroupWriter<'_, &mut Vec<u8>>,
        values: &[T::T],
    ) -> Result<(), ParquetError> {
        let Some(mut column) = group.next_column()? else {
            return Err(ParquetError::General("a column is missing".to_owned()));
        };
        column.typed::<T>().write_batch(values, None, None)?;
        column.close()
    }
}

/// Returns the points of a file.
#[cfg(all(test, feature = "thinning"))]
pub(in crate::shipper) fn decode(file: Vec<u8>) -> Vec<Metric> {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;

    let file = SerializedFileReader::new(bytes::Bytes::from(file)).expect("a file of points");
    let rows = file.get_row_iter(None).expect("rows");
    rows.map(|row| {
        let row = row.expect("a row");
        Metric {
            key: row.get_string(0).expect("a key").as_str().into(),
            step: row.get_long(1).expect("a step"),
            timestamp_ms: row.get_timestamp_millis(2).expect("a time"),
            value: row.get_double(3).expect("a value"),
        }
    })
    .collect()
}
