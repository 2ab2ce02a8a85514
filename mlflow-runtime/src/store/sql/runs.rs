//! Experiments and runs as the shipper needs them: finding, creating and updating them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use uuid::Uuid;

use super::connection::{SqlConnection, SqlRow, SqlValue};
use super::dialect::json_list;
use super::error::SqlError;
use super::query::{query_all, query_one, query_optional};
use super::rows;
use crate::model::{RunStatus, tag_keys};
use crate::store::{NewRun, StoredRun};
use crate::time;

/// Statement that sets the status and the end of a run.
pub(super) const UPDATE_RUN: &str =
    "UPDATE runs SET status = ?2, end_time = ?3 WHERE run_uuid = ?1";

/// Returns the id of an experiment as the columns hold it.
pub(super) fn experiment_number(id: &str) -> Result<i64, SqlError> {
    id.parse().map_err(|_| missing_experiment_error(id))
}

fn missing_experiment_error(id: &str) -> SqlError {
    SqlError::blocked(format!("there is no experiment with the id `{id}`"))
}

/// Returns the id of the experiment, if the experiment exists and is not deleted.
pub(super) fn experiment_by_id(db: &dyn SqlConnection, id: &str) -> Result<String, SqlError> {
    let number = experiment_number(id)?;
    let found = query_optional(
        db,
        "SELECT name, lifecycle_stage FROM experiments WHERE experiment_id = CAST(?1 AS BIGINT)",
        &[number.into()],
        |row| Ok((rows::string(row, 0)?, rows::string(row, 1)?)),
    )?;
    let (name, stage) = found.ok_or_else(|| missing_experiment_error(id))?;
    if stage == "active" {
        Ok(number.to_string())
    } else {
        Err(deleted_experiment_error(&name))
    }
}

/// Returns the name of the experiment with this id, deleted or not.
pub(super) fn experiment_name(
    db: &dyn SqlConnection,
    id: &str,
) -> Result<Option<String>, SqlError> {
    let Ok(number) = id.parse::<i64>() else {
        return Ok(None);
    };
    query_optional(
        db,
        "SELECT name FROM experiments WHERE experiment_id = CAST(?1 AS BIGINT)",
        &[number.into()],
        |row| rows::string(row, 0),
    )
}

/// Returns the id of the experiment with this name, and creates the experiment if it is missing.
pub(super) fn find_or_create_experiment(
    db: &dyn SqlConnection,
    name: &str,
    artifact_root: &Path,
) -> Result<String, SqlError> {
    match find_experiment(db, name)? {
        Some(id) => Ok(id),
        None => insert_experiment(db, name, None, artifact_root),
    }
}

/// Returns the id of the experiment with this name, if there is one.
pub(super) fn find_experiment(
    db: &dyn SqlConnection,
    name: &str,
) -> Result<Option<String>, SqlError> {
    // Newer databases have workspaces: a name is unique only within a workspace.
    let query = if db.has_column("experiments", "workspace")? {
        "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?1 AND workspace = 'default'"
    } else {
        "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?1"
    };
    let found = query_optional(db, query, &[name.into()], |row| {
        Ok((rows::integer(row, 0)?, rows::string(row, 1)?))
    })?;
    match found {
        Some((_, stage)) if stage != "active" => Err(deleted_experiment_error(name)),
        found => Ok(found.map(|(id, _)| id.to_string())),
    }
}

fn deleted_experiment_error(name: &str) -> SqlError {
    SqlError::blocked(format!(
        "the experiment `{name}` is deleted: restore it, or use another name"
    ))
}

/// Inserts a new experiment and returns its id: in SQLite, the greatest existing id plus one, or 0 in an empty table.
/// Without a location, the artifacts go to a directory below `artifact_root` that is named after the id.
pub(in crate::store) fn insert_experiment(
    db: &dyn SqlConnection,
    name: &str,
    artifact_location: Option<&str>,
    artifact_root: &Path,
) -> Result<String, SqlError> {
    let id = query_one(db, db.dialect().next_experiment_id(), &[], |row| {
        rows::integer(row, 0)
    })?;
    let location = artifact_location.map_or_else(
        || {
            artifact_root
                .join(id.to_string())
                .to_string_lossy()
                .into_owned()
        },
        str::to_owned,
    );
    db.execute(
        "INSERT INTO experiments
             (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time)
         VALUES (?1, ?2, ?3, 'active', ?4, ?4)",
        &[id.into(), name.into(), location.into(), time::now_ms().into()],
    )?;
    Ok(id.to_string())
}

/// Creates the run with its key as its id. Repeatable: a run that already exists is returned.
pub(super) fn create_run(db: &dyn SqlConnection, run: &NewRun<'_>) -> Result<StoredRun, SqlError> {
    if let Some((stored, _)) = select_run(db, run.key)? {
        return Ok(stored);
    }
    let mut inserted = insert_runs(db, &[run])?;
    inserted
        .pop()
        .ok_or_else(|| SqlError::unexpected("no run that it has inserted"))
}

/// Creates runs that do not exist yet, with their keys as their ids, and returns them in the same order.
pub(super) fn insert_runs(
    db: &dyn SqlConnection,
    runs: &[&NewRun<'_>],
) -> Result<Vec<StoredRun>, SqlError> {
    let mut locations: HashMap<&str, (String, String)> = HashMap::new();
    let mut stored = Vec::with_capacity(runs.len());
    for run in runs {
        let (experiment_id, location) = match locations.entry(run.experiment_id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let id = experiment_by_id(db, run.experiment_id)?;
                let location = artifact_location(db, &id)?;
                unknown.insert((id, location))
            }
        };
        stored.push(StoredRun {
            run_id: run.key.to_owned(),
            artifact_uri: format!("{}/{}/artifacts", location.trim_end_matches('/'), run.key),
            experiment_id: experiment_id.clone(),
        });
    }
    let mut values: Vec<SqlValue<'_>> = Vec::with_capacity(runs.len() * 6);
    for (run, stored) in runs.iter().zip(&stored) {
        values.extend([
            run.key.into(),
            run.name.into(),
            run.user_id.into(),
            run.start_time_ms.into(),
            (&stored.artifact_uri).into(),
            experiment_number(&stored.experiment_id)?.into(),
        ]);
    }
    db.execute_many(
        "INSERT INTO runs
             (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,
              source_version, lifecycle_stage, artifact_uri, experiment_id)
         VALUES (?1, ?2, 'UNKNOWN', '', '', ?3, 'RUNNING', ?4, '', 'active', ?5, ?6)",
        &values,
        6,
    )?;
    // Run by run: a row goes into an index by run and into one by key. Tag by tag, the rows of a thousand runs would jump
    // through both.
    let mut in_order: Vec<&NewRun<'_>> = runs.to_vec();
    in_order.sort_unstable_by_key(|run| run.key);
    let mut tags: Vec<SqlValue<'_>> = Vec::new();
    for run in in_order {
        let own = [(tag_keys::RUN_NAME, run.name), (tag_keys::RUN_KEY, run.key)];
        let given = { run.tags.iter() }.map(|tag| (tag.key.as_str(), tag.value.as_str()));
        // The page shows the tags of a run in the order of their rows.
        for (key, value) in own.into_iter().chain(given) {
            tags.extend([run.key.into(), key.into(), value.into()]);
        }
    }
    db.execute_many(
        "INSERT INTO tags (run_uuid, key, value) VALUES (?1, ?2, ?3)",
        &tags,
        3,
    )?;
    Ok(stored)
}

/// Returns the runs with these ids that exist, by their ids.
///
/// # Errors
/// Fails if one of them is deleted.
pub(super) fn active_runs(
    db: &dyn SqlConnection,
    run_ids: &[&str],
) -> Result<HashMap<String, StoredRun>, SqlError> {
    let wanted = db.dialect().text_elements("?1");
    let found = query_all(
        db,
        &format!(
            "SELECT run_uuid, experiment_id, artifact_uri, lifecycle_stage FROM runs WHERE run_uuid IN ({wanted})"
        ),
        &[json_list(run_ids).into()],
        read_run,
    )?;
    let active = found.into_iter().map(|(run, stage)| match stage {
        LifecycleStage::Active => Ok((run.run_id.clone(), run)),
        LifecycleStage::Deleted => Err(deleted_run_error(&run.run_id)),
    });
    active.collect()
}

/// Returns the URI below which the artifacts of an experiment go.
pub(super) fn artifact_location(
    db: &dyn SqlConnection,
    experiment_id: &str,
) -> Result<String, SqlError> {
    let location = query_one(
        db,
        "SELECT artifact_location FROM experiments WHERE experiment_id = CAST(?1 AS BIGINT)",
        &[experiment_number(experiment_id)?.into()],
        |row| rows::optional_string(row, 0),
    )?;
    location.ok_or_else(|| {
        SqlError::blocked(format!(
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
    db: &dyn SqlConnection,
    experiment_id: &str,
    key: &str,
) -> Result<Option<StoredRun>, SqlError> {
    Ok(select_run(db, key)?
        .map(|(run, _)| run)
        .filter(|run| run.experiment_id == experiment_id))
}

/// Returns the run, if it exists and is not deleted.
pub(super) fn require_active_run(
    db: &dyn SqlConnection,
    run_id: &str,
) -> Result<StoredRun, SqlError> {
    match select_run(db, run_id)? {
        Some((run, LifecycleStage::Active)) => Ok(run),
        Some((_, LifecycleStage::Deleted)) => Err(deleted_run_error(run_id)),
        None => Err(SqlError::missing(format!("there is no run {run_id}"))),
    }
}

fn deleted_run_error(run_id: &str) -> SqlError {
    SqlError::blocked(format!(
        "the run {run_id} is deleted: restore it in MLflow to log to it again"
    ))
}

/// Sets the status and the end time of a run, in ms since the Unix epoch.
pub(super) fn update_run(
    db: &dyn SqlConnection,
    run_id: &str,
    status: RunStatus,
    end: Option<i64>,
) -> Result<(), SqlError> {
    require_active_run(db, run_id)?;
    db.execute(
        UPDATE_RUN,
        &[run_id.into(), status.as_str().into(), end.into()],
    )?;
    Ok(())
}

pub(super) fn is_running(db: &dyn SqlConnection, run_id: &str) -> Result<bool, SqlError> {
    let running = query_optional(
        db,
        "SELECT status = 'RUNNING' FROM runs WHERE run_uuid = ?1",
        &[run_id.into()],
        |row| rows::flag(row, 0),
    )?;
    Ok(running.unwrap_or(false))
}

pub(super) fn last_steps(
    db: &dyn SqlConnection,
    run_id: &str,
) -> Result<HashMap<String, i64>, SqlError> {
    let steps = query_all(
        db,
        "SELECT key, step FROM latest_metrics WHERE run_uuid = ?1",
        &[run_id.into()],
        |row| Ok((rows::string(row, 0)?, rows::integer(row, 1)?)),
    )?;
    Ok(steps.into_iter().collect())
}

pub(super) fn tag_value(
    db: &dyn SqlConnection,
    run_id: &str,
    key: &str,
) -> Result<Option<String>, SqlError> {
    let value = query_optional(
        db,
        "SELECT value FROM tags WHERE run_uuid = ?1 AND key = ?2",
        &[run_id.into(), key.into()],
        |row| rows::optional_string(row, 0),
    )?;
    Ok(value.flatten())
}

/// Returns the revision of the schema, as MLflow records it in the database.
pub(in crate::store) fn schema_revision(db: &dyn SqlConnection) -> Result<String, SqlError> {
    query_one(
        db,
        "SELECT version_num FROM alembic_version LIMIT 1",
        &[],
        |row| rows::string(row, 0),
    )
}

enum LifecycleStage {
    Active,
    Deleted,
}

fn select_run(
    db: &dyn SqlConnection,
    run_id: &str,
) -> Result<Option<(StoredRun, LifecycleStage)>, SqlError> {
    query_optional(
        db,
        "SELECT run_uuid, experiment_id, artifact_uri, lifecycle_stage FROM runs WHERE run_uuid = ?1",
        &[run_id.into()],
        read_run,
    )
}

/// Reads the columns `run_uuid`, `experiment_id`, `artifact_uri` and `lifecycle_stage`.
fn read_run(row: &dyn SqlRow) -> Result<(StoredRun, LifecycleStage), SqlError> {
    let run = StoredRun {
        run_id: rows::string(row, 0)?,
        experiment_id: rows::integer(row, 1)?.to_string(),
        artifact_uri: rows::string(row, 2)?,
    };
    let stage = if rows::text(row, 3)? == "active" {
        LifecycleStage::Active
    } else {
        LifecycleStage::Deleted
    };
    Ok((run, stage))
}
