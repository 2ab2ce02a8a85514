//! Values in the rows of a result.

use std::borrow::Cow;

use rusqlite::Row;
use rusqlite::types::ValueRef;

/// Returns a text; NULL is empty. A text that is not UTF-8 is shown as well as possible.
pub(super) fn text<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<Cow<'r, str>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(Cow::Borrowed("")),
        // The check of the whole text is faster than that by parts, and nearly always enough.
        ValueRef::Text(bytes) => Ok(std::str::from_utf8(bytes)
            .map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)),
        other => Err(rusqlite::Error::InvalidColumnType(
            column,
            "text".to_owned(),
            other.data_type(),
        )),
    }
}

/// Returns a text that the caller keeps; NULL is empty.
pub(super) fn string(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    text(row, column).map(Cow::into_owned)
}

/// Returns a position in the list that the statement was given.
pub(super) fn position(row: &Row<'_>, column: usize) -> rusqlite::Result<usize> {
    let position: i64 = row.get(column)?;
    usize::try_from(position)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, position))
}

/// Returns the number of a version.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}
