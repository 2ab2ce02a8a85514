//! Workspaces, which newer MLflow releases have: a client without workspaces works in one of them.

use crate::store::sql::{SqlConnection, SqlError};

/// Returns the condition that restricts a table to the workspace in which a client without workspaces works.
/// Databases of older MLflow releases have no workspaces.
pub(super) fn workspace_condition(
    db: &dyn SqlConnection,
    table: &str,
) -> Result<&'static str, SqlError> {
    Ok(if db.has_column(table, "workspace")? {
        "workspace = 'default'"
    } else {
        "TRUE"
    })
}

/// Returns the columns of a table's primary key, which begins with the workspace in newer databases.
pub(super) fn primary_key(
    db: &dyn SqlConnection,
    table: &str,
    columns: &str,
) -> Result<String, SqlError> {
    Ok(if db.has_column(table, "workspace")? {
        format!("workspace, {columns}")
    } else {
        columns.to_owned()
    })
}
