//! Aliases of model versions.

use rusqlite::{Connection, OptionalExtension};

use super::{CatalogError, model_versions, registered_models, rows, workspace_condition};
use crate::entities::ModelVersion;
use crate::model::limits;
use crate::store::ClientError;

/// Sets an alias, and takes it from the version that had it.
pub(super) fn set(
    db: &Connection,
    name: &str,
    alias: &str,
    version: u64,
) -> Result<(), CatalogError> {
    let version = model_versions::require(db, name, version)?;
    db.prepare_cached(
        "INSERT INTO registered_model_aliases (name, alias, version) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET version = excluded.version",
    )?
    .execute((name, alias, version))?;
    Ok(())
}

/// Deletes an alias, if the model has it.
pub(super) fn delete(db: &Connection, name: &str, alias: &str) -> Result<(), CatalogError> {
    registered_models::require(db, name)?;
    let workspace = workspace_condition(db, "registered_model_aliases")?;
    db.prepare_cached(&format!(
        "DELETE FROM registered_model_aliases WHERE name = ?1 AND alias = ?2 AND {workspace}"
    ))?
    .execute((name, alias))?;
    Ok(())
}

/// Returns the version that an alias names. `latest` always names the newest version.
pub(super) fn resolve(
    db: &Connection,
    name: &str,
    alias: &str,
) -> Result<ModelVersion, CatalogError> {
    registered_models::require(db, name)?;
    let version = if limits::is_latest_alias(alias) {
        model_versions::newest(db, name)?
    } else {
        let workspace = workspace_condition(db, "registered_model_aliases")?;
        db.prepare_cached(&format!(
            "SELECT version FROM registered_model_aliases WHERE name = ?1 AND alias = ?2 AND {workspace}"
        ))?
        .query_row((name, alias), |row| rows::unsigned(row, 0))
        .optional()?
    };
    let version = version.ok_or_else(|| {
        ClientError::not_found(format!(
            "no version of the registered model `{name}` has the alias `{alias}`"
        ))
    })?;
    model_versions::get(db, name, version)
}
