//! Aliases of model versions.

use super::workspace::{primary_key, workspace_condition};
use super::{model_versions, registered_models};
use crate::entities::ModelVersion;
use crate::model::limits;
use crate::store::ClientError;
use crate::store::sql::error::CatalogError;
use crate::store::sql::query::query_optional;
use crate::store::sql::{SqlConnection, rows};

/// Sets an alias, and takes it from the version that had it.
pub(super) fn set(
    db: &dyn SqlConnection,
    name: &str,
    alias: &str,
    version: u64,
) -> Result<(), CatalogError> {
    let version = model_versions::require(db, name, version)?;
    let key = primary_key(db, "registered_model_aliases", "name, alias")?;
    db.execute(
        &format!(
            "INSERT INTO registered_model_aliases (name, alias, version) VALUES (?1, ?2, ?3)
             ON CONFLICT ({key}) DO UPDATE SET version = excluded.version"
        ),
        &[name.into(), alias.into(), version.into()],
    )?;
    Ok(())
}

/// Deletes an alias, if the model has it.
pub(super) fn delete(db: &dyn SqlConnection, name: &str, alias: &str) -> Result<(), CatalogError> {
    registered_models::require(db, name)?;
    let workspace = workspace_condition(db, "registered_model_aliases")?;
    db.execute(
        &format!(
            "DELETE FROM registered_model_aliases WHERE name = ?1 AND alias = ?2 AND {workspace}"
        ),
        &[name.into(), alias.into()],
    )?;
    Ok(())
}

/// Returns the version that an alias names. `latest` always names the newest version.
pub(super) fn resolve(
    db: &dyn SqlConnection,
    name: &str,
    alias: &str,
) -> Result<ModelVersion, CatalogError> {
    registered_models::require(db, name)?;
    let version = if limits::is_latest_alias(alias) {
        model_versions::newest(db, name)?
    } else {
        let workspace = workspace_condition(db, "registered_model_aliases")?;
        query_optional(
            db,
            &format!(
                "SELECT version FROM registered_model_aliases WHERE name = ?1 AND alias = ?2 AND {workspace}"
            ),
            &[name.into(), alias.into()],
            |row| rows::unsigned(row, 0),
        )?
    };
    let version = version.ok_or_else(|| {
        ClientError::not_found(format!(
            "no version of the registered model `{name}` has the alias `{alias}`"
        ))
    })?;
    model_versions::get(db, name, version)
}
