//! Experiments and runs in the SQLite file: finding, creating and updating them.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{
    Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params,
};
use uuid::Uuid;

use super::error::SqliteError;
use super::{NewRun, StoreError, StoredRun, columns};
use crate::model::RunStatus;
use crate::model::tag_keys;
use crate::time;

/// Returns the id of the experiment, if the experiment exists and is not deleted.
pub(super) fn experiment_by_id(db: &Connection, id: &str) -> Result<String, SqliteError> {
    let missing = || SqliteError::blocked(format!("there is no experiment with the id `{id}`"));
    let number: i64 = id.parse().map_err(|_| missing())?;
    let found = db
        .prepare_cached("SELECT name, lifecycle_stage FROM experiments WHERE experiment_id = ?1")?
        .query_row([number], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    let (name, stage) = found.ok_or_else(missing)?;
    if stage == "active" {
        Ok(number.to_string())
    } else {
        Err(deleted_experiment_error(&name))
    }
}

/// Returns the name of the experiment with this id, deleted or not.
pub(super) fn experiment_name(db: &Connection, id: &str) -> Result<Option<String>, SqliteError> {
    let name = db
        .prepare_cached("SELECT name FROM experiments WHERE experiment_id = ?1")?
        .query_row([id], |row| row.get(0));
    Ok(name.optional()?)
}

/// Returns the id of the experiment with this name, and creates the experiment if it is missing.
pub(super) fn find_or_create_experiment(
    db: &mut Connection,
    name: &str,
    artifact_root: &Path,
) -> Result<String, SqliteError> {
    if let Some(id) = find_experiment(db, name)? {
        return Ok(id);
    }
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let id = match find_experiment(&transaction, name)? {
        Some(id) => id,
        None => insert_experiment(&transaction, name, None, artifact_root)?,
    };
    transaction.commit()?;
    Ok(id)
}

fn find_experiment(db: &Connection, name: &str) -> Result<Option<String>, SqliteError> {
    // Newer files have workspaces: a name is unique only within a workspace.
    let query = if columns::has_column(db, "experiments", "workspace")? {
        "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?1 AND workspace = 'default'"
    } else {
        "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?1"
    };
    let found = db
        .prepare_cached(query)?
        .query_row([name], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    match found {
        Some((_, stage)) if stage != "active" => Err(deleted_experiment_error(name)),
        found => Ok(found.map(|(id, _)| id.to_string())),
    }
}

fn deleted_experiment_error(name: &str) -> SqliteError {
    SqliteError::blocked(format!(
        "the experiment `{name}` is deleted: restore it, or use another name"
    ))
}

/// Inserts a new experiment and returns its id: the greatest existing id plus one, or 0 in an empty table.
/// Without a location, the artifacts go to a directory below `artifact_root` that is named after the id.
pub(super) fn insert_experiment(
    db: &Connection,
    name: &str,
    artifact_location: Option<&str>,
    artifact_root: &Path,
) -> Result<String, SqliteError> {
    let id: i64 = db.query_row(
        "SELECT COALESCE(MAX(experiment_id) + 1, 0) FROM experiments",
        [],
        |row| row.get(0),
    )?;
    let location = artifact_location.map_or_else(
        || {
            artifact_root
                .join(id.to_string())
                .to_string_lossy()
                .into_owned()
        },
        str::to_owned,
    );
    let now = time::now_ms();
    db.prepare_cached(
        "INSERT INTO experiments
             (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time)
         VALUES (:id, :name, :location, 'active', :now, :now)",
    )?
    .execute(named_params! {
        ":id": id,
        ":name": name,
        ":location": location,
        ":now": now,
    })?;
    Ok(id.to_string())
}

/// Creates the run with its key as its id. Repeatable: a run that already exists is returned.
pub(super) fn create_run(db: &mut Connection, run: &NewRun<'_>) -> Result<StoredRun, SqliteError> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some((stored, _)) = select_run(&transaction, run.key)? {
        return Ok(stored);
    }
    let stored = insert_run(&transaction, run)?;
    transaction.commit()?;
    Ok(stored)
}

fn insert_run(transaction: &Transaction<'_>, run: &NewRun<'_>) -> Result<StoredRun, SqliteError> {
    let experiment_id = experiment_by_id(transaction, run.experiment_id)?;
    let location = artifact_location(transaction, &experiment_id)?;
    let stored = StoredRun {
        run_id: run.key.to_owned(),
        artifact_uri: format!("{}/{}/artifacts", location.trim_end_matches('/'), run.key),
        experiment_id,
    };
    transaction
        .prepare_cached(
            "INSERT INTO runs
                 (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,
                  source_version, lifecycle_stage, artifact_uri, experiment_id)
             VALUES (:id, :name, 'UNKNOWN', '', '', :user, 'RUNNING', :start, '', 'active', :artifacts, :experiment)",
        )?
        .execute(named_params! {
            ":id": stored.run_id,
            ":name": run.name,
            ":user": run.user_id,
            ":start": run.start_time_ms,
            ":artifacts": stored.artifact_uri,
            ":experiment": stored.experiment_id,
        })?;
    let mut tag = transaction
        .prepare_cached("INSERT INTO tags (run_uuid, key, value) VALUES (?1, ?2, ?3)")?;
    for (key, value) in [(tag_keys::RUN_NAME, run.name), (tag_keys::RUN_KEY, run.key)] {
        tag.execute((&stored.run_id, key, value))?;
    }
    for one in run.tags {
        tag.execute((&stored.run_id, &one.key, &one.value))?;
    }
    Ok(stored)
}

/// Returns the URI below which the artifacts of an experiment go.
pub(super) fn artifact_location(
    db: &Connection,
    experiment_id: &str,
) -> Result<String, SqliteError> {
    let location: Option<String> = db.query_row(
        "SELECT artifact_location FROM experiments WHERE experiment_id = ?1",
        [experiment_id],
        |row| row.get(0),
    )?;
    location.ok_or_else(|| {
        SqliteError::blocked(format!(
            "the experiment {experiment_id} has no artifact location"
        ))
    })
}

/// Returns a new id in the form in which MLflow writes the ids of datasets and inputs.
pub(super) fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Finds the run whose key is `key`, if the run is in this experiment.
pub(super) fn find_run(
    db: &Connection,
    experiment_id: &str,
    key: &str,
) -> Result<Option<StoredRun>, SqliteError> {
    Ok(select_run(db, key)?
        .map(|(run, _)| run)
        .filter(|run| run.experiment_id == experiment_id))
}

/// Returns the run, if it exists and is not deleted.
pub(super) fn require_active_run(db: &Connection, run_id: &str) -> Result<StoredRun, SqliteError> {
    match select_run(db, run_id)? {
        Some((run, LifecycleStage::Active)) => Ok(run),
        Some((_, LifecycleStage::Deleted)) => Err(SqliteError::blocked(format!(
            "the run {run_id} is deleted: restore it in MLflow to log to it again"
        ))),
        None => Err(SqliteError::Refused(StoreError::Missing {
            reason: format!("there is no run {run_id}").into(),
        })),
    }
}

/// Sets the status and the end time of a run, in ms since the Unix epoch.
pub(super) fn update_run(
    db: &mut Connection,
    run_id: &str,
    status: RunStatus,
    end: Option<i64>,
) -> Result<(), SqliteError> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    require_active_run(&transaction, run_id)?;
    transaction
        .prepare_cached("UPDATE runs SET status = ?2, end_time = ?3 WHERE run_uuid = ?1")?
        .execute((run_id, status.as_str(), end))?;
    transaction.commit()?;
    Ok(())
}

pub(super) fn is_running(db: &mut Connection, run_id: &str) -> Result<bool, SqliteError> {
    let mut query = db.prepare_cached("SELECT status = 'RUNNING' FROM runs WHERE run_uuid = ?1")?;
    let running = query.query_row([run_id], |row| row.get(0)).optional()?;
    Ok(running.unwrap_or(false))
}

pub(super) fn last_steps(
    db: &mut Connection,
    run_id: &str,
) -> Result<HashMap<String, i64>, SqliteError> {
    let mut query =
        db.prepare_cached("SELECT key, step FROM latest_metrics WHERE run_uuid = ?1")?;
    let steps = query.query_map([run_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(steps.collect::<Result<_, _>>()?)
}

pub(super) fn tag_value(
    db: &mut Connection,
    run_id: &str,
    key: &str,
) -> Result<Option<String>, SqliteError> {
    let mut query = db.prepare_cached("SELECT value FROM tags WHERE run_uuid = ?1 AND key = ?2")?;
    let value = query
        .query_row([run_id, key], |row| row.get(0))
        .optional()?;
    Ok(value.flatten())
}

enum LifecycleStage {
    Active,
    Deleted,
}

fn select_run(
    db: &Connection,
    run_id: &str,
) -> Result<Option<(StoredRun, LifecycleStage)>, SqliteError> {
    let read = |row: &Row<'_>| {
        let run = StoredRun {
            run_id: row.get(0)?,
            experiment_id: row.get::<_, i64>(1)?.to_string(),
            artifact_uri: row.get(2)?,
        };
        let stage = if row.get::<_, String>(3)? == "active" {
            LifecycleStage::Active
        } else {
            LifecycleStage::Deleted
        };
        Ok((run, stage))
    };
    let mut query = db.prepare_cached(
        "SELECT run_uuid, experiment_id, artifact_uri, lifecycle_stage FROM runs WHERE run_uuid = ?1",
    )?;
    Ok(query.query_row([run_id], read).optional()?)
}
