//! Polars frames as datasets, with the digest, schema and profile of MLflow's Python client
//! (`mlflow/data/polars_dataset.py`).
//!
//! Invariants: the columns of a frame are shared, not copied. They are hashed once the dataset is logged, those of a large
//! frame in the background, and only if the dataset has no digest of its own. No thread pool is used, because that of Polars does not answer in a process
//! that was forked. A panic of Polars does not reach the function that logs.

use std::fmt;
use std::hash::BuildHasher as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use polars_core::hashing::columns_to_hashes;
use polars_core::prelude::{DataFrame, DataType, PolarsResult};
use polars_utils::aliases::{
    PlFixedStateQuality, PlSeedableRandomStateQuality, SeedableFromU64SeedExt as _,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{ColumnType, DEFAULT_NAME, Dataset};
use crate::model::python_json::{JsonObject, to_python_json};
use crate::run::LogAsInput;

/// Number of rows that are hashed at a time, which bounds the memory.
const ROWS_AT_A_TIME: usize = 1 << 16;

/// Frame whose description is logged.
#[derive(Clone)]
pub(super) struct Frame(DataFrame);

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("rows", &self.0.height())
            .field("columns", &self.0.width())
            .finish_non_exhaustive()
    }
}

impl Frame {
    pub(super) fn new(frame: &DataFrame) -> Self {
        Self(frame.clone())
    }

    /// Returns the sum of the hashes of the rows, as `frame.hash_rows().sum()` of Python gives it; else the reason why the
    /// rows cannot be hashed.
    pub(super) fn digest(&self) -> Result<String, String> {
        match catch_unwind(AssertUnwindSafe(|| self.hash_rows())) {
            Ok(hashed) => hashed.map_err(|error| error.to_string()),
            Err(_) => Err("Polars panicked".to_owned()),
        }
    }

    /// Returns the memory that the frame takes, in bytes, as Polars estimates it.
    pub(super) fn estimated_bytes(&self) -> usize {
        self.0.estimated_size()
    }

    fn hash_rows(&self) -> PolarsResult<String> {
        // The seeds of Python's `hash_rows`.
        let seed = PlFixedStateQuality::default().hash_one((0_u64, 0_u64, 0_u64, 0_u64));
        let hasher = PlSeedableRandomStateQuality::seed_from_u64(seed);
        let mut sum = 0_u64;
        let mut hashes = Vec::new();
        for start in (0..self.0.height()).step_by(ROWS_AT_A_TIME) {
            let rows = self.0.slice(start.cast_signed() as i64, ROWS_AT_A_TIME);
            hashes.clear();
            columns_to_hashes(&rows, Some(hasher.clone()), &mut hashes)?;
            sum = hashes.iter().fold(sum, |sum, hash| sum.wrapping_add(*hash));
        }
        Ok(sum.to_string())
    }

    /// Returns the schema as JSON, with the name that `shown_name` makes of a column's name; else the reason why MLflow
    /// has none for the frame, as the end of a sentence.
    pub(super) fn schema(&self, shown_name: impl Fn(&str) -> String) -> Result<String, String> {
        let describe = |column: &polars_core::prelude::Column| {
            let name = column.name();
            let mut fields = type_fields(column.dtype(), &shown_name).map_err(|unknown| {
                format!(
                    "its column {:?} has the type {unknown}, which MLflow lacks: cast the column, or set the schema",
                    shown_name(name)
                )
            })?;
            let has_values = column.null_count() < column.len();
            fields.push(("name".to_owned(), SchemaValue::Text(shown_name(name))));
            fields.push(("required".to_owned(), SchemaValue::Flag(has_values)));
            Ok(JsonObject(fields))
        };
        if self.0.width() == 0 {
            return Err("the frame has no columns".to_owned());
        }
        let columns = self.0.columns().iter().map(describe);
        let columns = columns.collect::<Result<Vec<_>, String>>()?;
        let schema = JsonObject(vec![("mlflow_colspec".to_owned(), columns)]);
        Ok(to_python_json(&schema))
    }

    /// Appends the numbers of rows and elements.
    pub(super) fn push_profile(&self, fields: &mut Vec<(String, Value)>) {
        let rows = self.0.height();
        let elements = rows.saturating_mul(self.0.width());
        fields.push(("num_rows".to_owned(), json!(rows)));
        fields.push(("num_elements".to_owned(), json!(elements)));
    }
}

/// Value in the description of a column. The order of the fields is a part of the format.
#[derive(Serialize)]
#[serde(untagged)]
enum SchemaValue {
    Type(ColumnType),
    Text(String),
    Flag(bool),
    Fields(JsonObject<SchemaValue>),
}

/// Returns the fields by which MLflow describes a type; else the name of a type that MLflow lacks. MLflow sorts the
/// properties of an object by name.
fn type_fields(
    data_type: &DataType,
    shown_name: &impl Fn(&str) -> String,
) -> Result<Vec<(String, SchemaValue)>, String> {
    let nested = |kind: &str, key: &str, fields: Vec<(String, SchemaValue)>| {
        vec![
            ("type".to_owned(), SchemaValue::Text(kind.to_owned())),
            (key.to_owned(), SchemaValue::Fields(JsonObject(fields))),
        ]
    };
    let plain = match data_type {
        DataType::List(inner) | DataType::Array(inner, _) => {
            return Ok(nested("array", "items", type_fields(inner, shown_name)?));
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            let describe = |field: &polars_core::prelude::Field| {
                let mut described = type_fields(field.dtype(), shown_name)?;
                described.push(("required".to_owned(), SchemaValue::Flag(true)));
                let described = SchemaValue::Fields(JsonObject(described));
                Ok((shown_name(field.name()), described))
            };
            let fields = fields.iter().map(describe);
            let mut fields = fields.collect::<Result<Vec<_>, String>>()?;
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            return Ok(nested("object", "properties", fields));
        }
        DataType::Boolean => ColumnType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 => ColumnType::Integer,
        DataType::UInt8 | DataType::UInt16 => ColumnType::Integer,
        DataType::Int64 | DataType::UInt32 => ColumnType::Long,
        DataType::Float32 => ColumnType::Float,
        DataType::Float64 => ColumnType::Double,
        DataType::String | DataType::Categorical(..) | DataType::Enum(..) => ColumnType::Text,
        DataType::Binary => ColumnType::Binary,
        DataType::Date | DataType::Datetime(..) => ColumnType::Datetime,
        other => return Err(other.to_string()),
    };
    Ok(vec![("type".to_owned(), SchemaValue::Type(plain))])
}

impl LogAsInput for DataFrame {
    /// Describes the frame as [`Dataset::from_polars`] does, with the name `dataset`.
    fn to_dataset(&self) -> Dataset {
        Dataset::from_polars(DEFAULT_NAME, self)
    }
}
