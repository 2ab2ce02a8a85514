//! Columns that a table has: newer MLflow releases add some.

use rusqlite::Connection;

/// Returns true if the table has this column. Newer files have columns that ours lack.
pub(super) fn has_column(
    connection: &Connection,
    table: &str,
    name: &str,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2)")?
        .query_row((table, name), |row| row.get(0))
}
