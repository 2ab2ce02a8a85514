//! Check of a database that was just connected to: whose tables it has, and if they are ready for use.

use super::StoreError;
use super::connection::Transaction;
use super::error::{blocked, unavailable};
use crate::store::sql::{SqlConnection as _, SqlError};

/// Columns that every write names. Databases of MLflow releases before 1.30 lack some of them.
const NEEDED_COLUMNS: [(&str, &str); 4] = [
    ("runs", "deleted_time"),
    ("runs", "name"),
    ("metrics", "is_nan"),
    ("experiments", "last_update_time"),
];

/// Returns true if the database is one of MLflow's, and false if it is empty.
///
/// Tables count if a statement finds them without a schema. Those of an extension do not count.
pub(super) fn is_ready(db: &Transaction<'_>, database: &str) -> Result<bool, SqlError> {
    let mut tables = Vec::new();
    db.query(
        "SELECT c.relname FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = ANY (current_schemas(false)) AND c.relkind IN ('r', 'p')
           AND NOT EXISTS (SELECT 1 FROM pg_depend d
                           WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')",
        &[],
        &mut |row| {
            tables.push(row.text(0)?.unwrap_or_default().into_owned());
            Ok(())
        },
    )?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    let is_mlflows = has("experiments") && has("runs") && has("metrics");
    if is_mlflows && has("alembic_version") {
        let mut revisions = 0;
        db.query("SELECT version_num FROM alembic_version", &[], &mut |_| {
            revisions += 1;
            Ok(())
        })?;
        if revisions == 0 {
            return Err(being_created(database));
        }
        for (table, column) in NEEDED_COLUMNS {
            if !db.has_column(table, column)? {
                return Err(refused(blocked(format!(
                    "the tables in {database} are those of an MLflow release that is too old: migrate them \
                     (`mlflow db upgrade {database}`)"
                ))));
            }
        }
        return Ok(true);
    }
    if is_mlflows {
        // MLflow creates its tables first and records the revision afterwards.
        return Err(being_created(database));
    }
    if !tables.is_empty() {
        return Err(refused(blocked(format!(
            "{database} has tables, but not those of MLflow: choose another database, or an empty schema by \
             ?options=-csearch_path%3Dmlflow in the tracking URI"
        ))));
    }
    let mut has_schema = false;
    db.query("SELECT current_schema()", &[], &mut |row| {
        has_schema = row.text(0)?.is_some();
        Ok(())
    })?;
    if !has_schema {
        return Err(refused(blocked(format!(
            "{database} has no schema of its search_path, or the user may not use it: create it, or correct the \
             search_path"
        ))));
    }
    Ok(false)
}

fn being_created(database: &str) -> SqlError {
    refused(unavailable(format!(
        "{database} is being set up by another program"
    )))
}

fn refused(error: StoreError) -> SqlError {
    SqlError::Refused(error)
}
