//! [`SqlConnection`]: the one way from the mapping to a database.

use std::borrow::Cow;

use super::dialect::Dialect;
use super::error::SqlError;
use crate::model::Metric;

/// Connection to a database in MLflow's schema, inside a transaction.
///
/// The parameters of a statement are written `?1`, `?2`, …, and the first value is that of `?1`. A statement may name
/// a parameter several times. The number of different statements has no limit, as searches compose theirs: a
/// connection that keeps prepared statements keeps the ones that were used last.
pub(in crate::store) trait SqlConnection {
    fn dialect(&self) -> Dialect;

    /// Executes a statement that returns no rows. Returns the number of rows that were changed.
    fn execute(&self, sql: &str, values: &[SqlValue<'_>]) -> Result<u64, SqlError>;

    /// Executes a statement once for each `width` values, in their order. Returns the number of rows that were changed
    /// in all.
    fn execute_many(
        &self,
        sql: &str,
        values: &[SqlValue<'_>],
        width: usize,
    ) -> Result<u64, SqlError>;

    /// Executes a statement, and hands each row of the result to `each`, which must not use the connection: the other
    /// rows may still be on their way. An error of `each` ends the reading.
    fn query(
        &self,
        sql: &str,
        values: &[SqlValue<'_>],
        each: &mut dyn FnMut(&dyn SqlRow) -> Result<(), SqlError>,
    ) -> Result<(), SqlError>;

    /// Returns true if the table exists and has this column. Databases of newer MLflow releases have more columns.
    fn has_column(&self, table: &str, column: &str) -> Result<bool, SqlError>;

    /// Inserts into `metrics` the points that their runs do not have yet, as [`MetricRow`](super::MetricRow)s. The points
    /// are sorted by key, then by run; of the other points, the order is that of logging. A point may be there twice.
    fn insert_points(&self, points: &[RunPoint<'_>]) -> Result<(), SqlError>;

    /// Returns the error for logged models in a database that has no tables for them, with what a person has to do.
    fn models_missing_error(&self) -> SqlError;
}

/// Metric point of a run.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct RunPoint<'a> {
    pub(in crate::store) run_id: &'a str,
    pub(in crate::store) metric: &'a Metric,
}

/// Value that is bound to a parameter of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) enum SqlValue<'a> {
    Null,
    Flag(bool),
    Integer(i64),
    Real(f64),
    Text(Cow<'a, str>),
}

impl From<bool> for SqlValue<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for SqlValue<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for SqlValue<'_> {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl<'a> From<&'a str> for SqlValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for SqlValue<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for SqlValue<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a, T: Into<SqlValue<'a>>> From<Option<T>> for SqlValue<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Row of a result. NULL is `None`. A value of another type is an error.
pub(in crate::store) trait SqlRow {
    fn integer(&self, column: usize) -> Result<Option<i64>, SqlError>;

    /// Returns a number, which the column may also hold as an integer.
    fn real(&self, column: usize) -> Result<Option<f64>, SqlError>;

    fn flag(&self, column: usize) -> Result<Option<bool>, SqlError>;

    /// Returns a text. A text that is not UTF-8 is shown as well as possible.
    fn text(&self, column: usize) -> Result<Option<Cow<'_, str>>, SqlError>;
}
