//! Changes of runs: name, status, tags, deletion.

use super::runs::missing_error;
use crate::entities::RunUpdate;
use crate::model::{limits, tag_keys};
use crate::store::ClientError;
use crate::store::sql::error::CatalogError;
use crate::store::sql::query::query_optional;
use crate::store::sql::{SqlConnection, rows};
use crate::time;

/// Checks that the run exists and is not deleted.
fn require_active(db: &dyn SqlConnection, run_id: &str) -> Result<(), CatalogError> {
    match is_deleted(db, run_id)? {
        true => Err(CatalogError::Declined(ClientError::invalid(format!(
            "the run {run_id} is deleted: restore it to change it"
        )))),
        false => Ok(()),
    }
}

/// Checks that the run exists and is deleted.
pub(super) fn require_deleted(db: &dyn SqlConnection, run_id: &str) -> Result<(), CatalogError> {
    match is_deleted(db, run_id)? {
        true => Ok(()),
        false => Err(CatalogError::Declined(ClientError::invalid(format!(
            "the run {run_id} is not deleted: only a deleted run can be deleted for good"
        )))),
    }
}

fn is_deleted(db: &dyn SqlConnection, run_id: &str) -> Result<bool, CatalogError> {
    let stage = query_optional(
        db,
        "SELECT lifecycle_stage FROM runs WHERE run_uuid = ?1",
        &[run_id.into()],
        |row| rows::string(row, 0),
    )?;
    Ok(stage.ok_or_else(|| missing_error(run_id))? == "deleted")
}

/// Changes name, status and end of a run. As in MLflow, an empty name changes nothing.
pub(super) fn update(
    db: &dyn SqlConnection,
    run_id: &str,
    update: &RunUpdate,
) -> Result<(), CatalogError> {
    let RunUpdate {
        name,
        status,
        end_time_ms,
    } = update;
    require_active(db, run_id)?;
    if let Some(status) = status {
        let end_time_ms = match end_time_ms {
            None if status.is_end() => Some(time::now_ms()),
            end_time_ms => *end_time_ms,
        };
        db.execute(
            "UPDATE runs SET status = ?2, end_time = ?3 WHERE run_uuid = ?1",
            &[run_id.into(), status.as_str().into(), end_time_ms.into()],
        )?;
    } else if let Some(end_time_ms) = end_time_ms {
        db.execute(
            "UPDATE runs SET end_time = ?2 WHERE run_uuid = ?1",
            &[run_id.into(), (*end_time_ms).into()],
        )?;
    }
    match name {
        Some(name) => rename(db, run_id, name),
        None => Ok(()),
    }
}

fn rename(db: &dyn SqlConnection, run_id: &str, name: &str) -> Result<(), CatalogError> {
    if name.is_empty() {
        return Ok(());
    }
    db.execute(
        "UPDATE runs SET name = ?2 WHERE run_uuid = ?1",
        &[run_id.into(), name.into()],
    )?;
    upsert_tag(db, run_id, tag_keys::RUN_NAME, name)
}

fn upsert_tag(
    db: &dyn SqlConnection,
    run_id: &str,
    key: &str,
    value: &str,
) -> Result<(), CatalogError> {
    db.execute(
        "INSERT INTO tags (run_uuid, key, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value",
        &[run_id.into(), key.into(), value.into()],
    )?;
    Ok(())
}

/// Deletes a run. Each call sets the time of deletion anew, as in MLflow.
pub(super) fn delete(db: &dyn SqlConnection, run_id: &str) -> Result<(), CatalogError> {
    let changed = db.execute(
        "UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = ?2 WHERE run_uuid = ?1",
        &[run_id.into(), time::now_ms().into()],
    )?;
    require_change(changed, run_id)
}

/// Restores a run.
pub(super) fn restore(db: &dyn SqlConnection, run_id: &str) -> Result<(), CatalogError> {
    let changed = db.execute(
        "UPDATE runs SET lifecycle_stage = 'active', deleted_time = NULL WHERE run_uuid = ?1",
        &[run_id.into()],
    )?;
    require_change(changed, run_id)
}

/// Deletes a deleted run for good, as `mlflow gc` does: with its metrics, params and tags, and with all that the
/// tables of newer MLflow releases tie to a run by their foreign keys. Inputs of the run stay, as in MLflow.
pub(super) fn delete_permanently(db: &dyn SqlConnection, run_id: &str) -> Result<(), CatalogError> {
    require_deleted(db, run_id)?;
    for delete in [
        "DELETE FROM metrics WHERE run_uuid = ?1",
        "DELETE FROM latest_metrics WHERE run_uuid = ?1",
        "DELETE FROM params WHERE run_uuid = ?1",
        "DELETE FROM tags WHERE run_uuid = ?1",
        "DELETE FROM runs WHERE run_uuid = ?1",
    ] {
        db.execute(delete, &[run_id.into()])?;
    }
    Ok(())
}

fn require_change(changed: u64, run_id: &str) -> Result<(), CatalogError> {
    match changed {
        0 => Err(missing_error(run_id)),
        _ => Ok(()),
    }
}

/// Sets a tag. A value that is too long is cut, as MLflow does it.
pub(super) fn set_tag(
    db: &dyn SqlConnection,
    run_id: &str,
    key: &str,
    value: &str,
) -> Result<(), CatalogError> {
    require_active(db, run_id)?;
    let (value, _) = limits::truncate_chars(value.into(), limits::TAG_VALUE_CHARS);
    if key == tag_keys::RUN_NAME {
        rename(db, run_id, &value)
    } else {
        upsert_tag(db, run_id, key, &value)
    }
}

/// Deletes a tag. As in MLflow, a run keeps its name without the tag of the name.
pub(super) fn delete_tag(
    db: &dyn SqlConnection,
    run_id: &str,
    key: &str,
) -> Result<(), CatalogError> {
    require_active(db, run_id)?;
    let deleted = db.execute(
        "DELETE FROM tags WHERE run_uuid = ?1 AND key = ?2",
        &[run_id.into(), key.into()],
    )?;
    if deleted == 0 {
        return Err(CatalogError::Declined(ClientError::not_found(format!(
            "the run {run_id} has no tag `{key}`"
        ))));
    }
    Ok(())
}
