//! Columns in the schema of a dataset.

use serde::Serialize;

use crate::model::python_json::{JsonObject, to_python_json};

/// Type of a column, as MLflow names it. See [`Dataset`](crate::Dataset) for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ColumnType {
    /// Truth value.
    Boolean,
    /// Integer of 32 bits.
    Integer,
    /// Integer of 64 bits.
    Long,
    /// Float of 32 bits.
    Float,
    /// Float of 64 bits.
    Double,
    /// Text, which MLflow calls `string`. A public name `String` would make the compiler write `std::string::String`
    /// in every message of a user's crate.
    #[serde(rename = "string")]
    Text,
    /// Bytes.
    Binary,
    /// Date and time.
    Datetime,
}

/// Column as MLflow describes it. The order of the fields is a part of the digest.
#[derive(Serialize)]
pub(super) struct ColumnDescription<'a> {
    #[serde(rename = "type")]
    pub(super) column_type: ColumnType,
    pub(super) name: &'a str,
    pub(super) required: bool,
}

/// Returns the schema of the columns.
pub(super) fn schema(columns: &[ColumnDescription<'_>]) -> String {
    to_python_json(&JsonObject(vec![("mlflow_colspec".to_owned(), columns)]))
}
