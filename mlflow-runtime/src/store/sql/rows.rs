//! Values in the rows of a result.

use std::borrow::Cow;

use super::connection::SqlRow;
use super::error::SqlError;

/// Returns a text; NULL is empty.
pub(super) fn text(row: &dyn SqlRow, column: usize) -> Result<Cow<'_, str>, SqlError> {
    Ok(row.text(column)?.unwrap_or_default())
}

/// Returns a text that the caller keeps; NULL is empty.
pub(super) fn string(row: &dyn SqlRow, column: usize) -> Result<String, SqlError> {
    text(row, column).map(Cow::into_owned)
}

/// Returns a text that the caller keeps, or `None` for NULL.
pub(super) fn optional_string(row: &dyn SqlRow, column: usize) -> Result<Option<String>, SqlError> {
    Ok(row.text(column)?.map(Cow::into_owned))
}

/// Returns a number that is never NULL.
pub(super) fn integer(row: &dyn SqlRow, column: usize) -> Result<i64, SqlError> {
    row.integer(column)?.ok_or_else(null_error)
}

/// Returns a number that is never NULL.
pub(super) fn real(row: &dyn SqlRow, column: usize) -> Result<f64, SqlError> {
    row.real(column)?.ok_or_else(null_error)
}

/// Returns a flag that is never NULL.
pub(super) fn flag(row: &dyn SqlRow, column: usize) -> Result<bool, SqlError> {
    row.flag(column)?.ok_or_else(null_error)
}

/// Returns a position in the list that the statement was given.
pub(super) fn position(row: &dyn SqlRow, column: usize) -> Result<usize, SqlError> {
    usize::try_from(integer(row, column)?).map_err(|_| negative_error())
}

/// Returns the number of a version.
pub(super) fn unsigned(row: &dyn SqlRow, column: usize) -> Result<u64, SqlError> {
    u64::try_from(integer(row, column)?).map_err(|_| negative_error())
}

fn null_error() -> SqlError {
    SqlError::unexpected("NULL where a value was expected")
}

fn negative_error() -> SqlError {
    SqlError::unexpected("a negative number where a count was expected")
}
