//! Queries whose result is collected.

use super::connection::{SqlConnection, SqlRow, SqlValue};
use super::error::SqlError;

/// Returns the first row of a result that has at least one.
pub(super) fn query_one<T>(
    db: &dyn SqlConnection,
    sql: &str,
    values: &[SqlValue<'_>],
    read: impl FnMut(&dyn SqlRow) -> Result<T, SqlError>,
) -> Result<T, SqlError> {
    let found = query_optional(db, sql, values, read)?;
    found.ok_or_else(|| SqlError::unexpected("no row where one was expected"))
}

/// Returns the first row of a result.
pub(super) fn query_optional<T>(
    db: &dyn SqlConnection,
    sql: &str,
    values: &[SqlValue<'_>],
    mut read: impl FnMut(&dyn SqlRow) -> Result<T, SqlError>,
) -> Result<Option<T>, SqlError> {
    let mut found = None;
    db.query(sql, values, &mut |row| {
        if found.is_none() {
            found = Some(read(row)?);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Returns all rows of a result.
pub(super) fn query_all<T>(
    db: &dyn SqlConnection,
    sql: &str,
    values: &[SqlValue<'_>],
    mut read: impl FnMut(&dyn SqlRow) -> Result<T, SqlError>,
) -> Result<Vec<T>, SqlError> {
    let mut found = Vec::new();
    db.query(sql, values, &mut |row| {
        found.push(read(row)?);
        Ok(())
    })?;
    Ok(found)
}
