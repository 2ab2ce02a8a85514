//! Logged models in the SQLite file: the rows that MLflow's own client writes.
//!
//! - A file has tables for logged models only after MLflow 3 has migrated it. Until then, a model is blocked.
//! - The id of a model is made of its key, so that a repeated call finds the model.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, named_params};
use serde::{Deserialize, Serialize};

use super::error::SqliteError;
use super::log_batch::MetricRow;
use super::{StoreError, StoredRun, columns, runs};
use crate::model::python_json::to_python_json;
use crate::model::{
    DatasetId, ModelMetric, ModelStatus, NewModel, Param, StoredModel, Tag, tag_keys,
};
use crate::time;

/// Version of a registered model, as a tag of the logged model names it.
#[derive(PartialEq, Serialize, Deserialize)]
struct ModelVersionNote {
    name: String,
    version: u64,
}

/// Creates the model, unless it exists.
pub(super) fn find_or_create(
    db: &mut Connection,
    run: &StoredRun,
    new: &NewModel<'_>,
) -> Result<StoredModel, SqliteError> {
    require_tables(db)?;
    let model_id = format!("m-{}", new.key);
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let run = runs::require_active_run(&transaction, &run.run_id)?;
    let location = runs::artifact_location(&transaction, &run.experiment_id)?;
    let model = StoredModel {
        artifact_uri: format!(
            "{}/models/{model_id}/artifacts",
            location.trim_end_matches('/')
        ),
        model_id,
        experiment_id: run.experiment_id,
    };
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO logged_models
                 (model_id, experiment_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms,
                  status, lifecycle_stage, model_type, source_run_id)
             VALUES (:id, :experiment, :name, :location, :now, :now, :status, 'active', :type, :run)
             ON CONFLICT DO NOTHING",
        )?
        .execute(named_params! {
            ":id": model.model_id,
            ":experiment": model.experiment_id,
            ":name": new.name,
            ":location": model.artifact_uri,
            ":now": time::now_ms(),
            ":status": ModelStatus::Pending.code(),
            ":type": new.model_type,
            ":run": run.run_id,
        })?;
    if inserted > 0 {
        insert_tag(&transaction, &model, tag_keys::MODEL_KEY, new.key)?;
    } else if let Err(error) = status(&transaction, &model) {
        // The id is made of the key, so that nobody can log the model again.
        return Err(match error {
            SqliteError::Refused(StoreError::Missing { .. }) => {
                SqliteError::Refused(StoreError::Rejected {
                    reason: "somebody has deleted the logged model; log the model again".into(),
                })
            }
            error => error,
        });
    }
    transaction.commit()?;
    Ok(model)
}

/// Returns an error unless MLflow 3 has migrated the file.
fn require_tables(db: &Connection) -> Result<(), SqliteError> {
    if columns::has_column(db, "logged_models", "model_id")?
        && columns::has_column(db, "inputs", "step")?
    {
        return Ok(());
    }
    let file = db.path().unwrap_or_default();
    Err(SqliteError::blocked(format!(
        "logged models need tables that MLflow 3 adds to {file}: open the file once with MLflow 3 (`mlflow ui \
         --backend-store-uri sqlite:///{file}`), and the models that wait are stored"
    )))
}

fn insert_tag(
    db: &Connection,
    model: &StoredModel,
    key: &str,
    value: &str,
) -> Result<(), SqliteError> {
    db.prepare_cached(
        "INSERT INTO logged_model_tags (model_id, experiment_id, tag_key, tag_value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (model_id, tag_key) DO UPDATE SET tag_value = excluded.tag_value",
    )?
    .execute((&model.model_id, &model.experiment_id, key, value))?;
    Ok(())
}

/// Returns the status of a model that exists and is not deleted.
pub(super) fn status(db: &Connection, model: &StoredModel) -> Result<ModelStatus, SqliteError> {
    require_tables(db)?;
    let code: Option<i64> = db
        .prepare_cached(
            "SELECT status FROM logged_models WHERE model_id = ?1 AND lifecycle_stage = 'active'",
        )?
        .query_row([&model.model_id], |row| row.get(0))
        .optional()?;
    let Some(code) = code else {
        return Err(SqliteError::Refused(StoreError::Missing {
            reason: format!("there is no logged model {}", model.model_id).into(),
        }));
    };
    let known = [ModelStatus::Ready, ModelStatus::UploadFailed].into_iter();
    Ok(known
        .into_iter()
        .find(|status| status.code() == code)
        .unwrap_or(ModelStatus::Pending))
}

pub(super) fn set_status(
    db: &mut Connection,
    model: &StoredModel,
    status: ModelStatus,
) -> Result<(), SqliteError> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    self::status(&transaction, model)?;
    transaction
        .prepare_cached(
            "UPDATE logged_models SET status = ?2, last_updated_timestamp_ms = ?3 WHERE model_id = ?1",
        )?
        .execute((&model.model_id, status.code(), time::now_ms()))?;
    transaction.commit()?;
    Ok(())
}

pub(super) fn describe(
    db: &mut Connection,
    model: &StoredModel,
    params: &[Param],
    tags: &[Tag],
) -> Result<(), SqliteError> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    status(&transaction, model)?;
    for Param { key, value } in params {
        transaction
            .prepare_cached(
                "INSERT INTO logged_model_params (model_id, experiment_id, param_key, param_value)
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            )?
            .execute((&model.model_id, &model.experiment_id, key, value))?;
    }
    for Tag { key, value } in tags {
        insert_tag(&transaction, model, key, value)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Notes in a tag that the model is a version of a registered model, as MLflow does.
pub(super) fn note_version(
    db: &mut Connection,
    model: &StoredModel,
    name: &str,
    version: u64,
) -> Result<(), SqliteError> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    status(&transaction, model)?;
    let old: Option<String> = transaction
        .prepare_cached(
            "SELECT tag_value FROM logged_model_tags WHERE model_id = ?1 AND tag_key = ?2",
        )?
        .query_row((&model.model_id, tag_keys::MODEL_VERSIONS), |row| {
            row.get(0)
        })
        .optional()?;
    let old = old.and_then(|old| serde_json::from_str::<Vec<ModelVersionNote>>(&old).ok());
    let mut notes = old.unwrap_or_default();
    let name = name.to_owned();
    let note = ModelVersionNote { name, version };
    if !notes.contains(&note) {
        notes.push(note);
        let value = to_python_json(&notes);
        insert_tag(&transaction, model, tag_keys::MODEL_VERSIONS, &value)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Connects metrics of the run with the model.
pub(super) fn log_metrics(
    db: &mut Connection,
    run: &StoredRun,
    model: &StoredModel,
    metrics: &[ModelMetric],
) -> Result<(), SqliteError> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    runs::require_active_run(&transaction, &run.run_id)?;
    status(&transaction, model)?;
    for ModelMetric { point, dataset } in metrics {
        let MetricRow {
            step,
            timestamp,
            value,
            is_nan: _,
        } = MetricRow::from_metric(point);
        let (name, digest) = match dataset {
            Some(DatasetId { name, digest }) => (Some(name), Some(digest)),
            None => (None, None),
        };
        transaction
            .prepare_cached(
                "INSERT INTO logged_model_metrics
                     (model_id, metric_name, metric_timestamp_ms, metric_step, metric_value, experiment_id, run_id,
                      dataset_name, dataset_digest)
                 VALUES (:model, :key, :time, :step, :value, :experiment, :run, :dataset, :digest)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(named_params! {
                ":model": model.model_id,
                ":key": &*point.key,
                ":time": timestamp,
                ":step": step,
                ":value": value,
                ":experiment": model.experiment_id,
                ":run": run.run_id,
                ":dataset": name,
                ":digest": digest,
            })?;
    }
    transaction.commit()?;
    Ok(())
}

/// Logs a model as an output of the run.
pub(super) fn log_output(
    db: &mut Connection,
    run: &StoredRun,
    model_id: &str,
    step: i64,
) -> Result<(), SqliteError> {
    connect(db, run, ["RUN_OUTPUT", "MODEL_OUTPUT"], model_id, step)
}

/// Logs a model as an input of the run.
pub(super) fn log_input(
    db: &mut Connection,
    run: &StoredRun,
    model_id: &str,
) -> Result<(), SqliteError> {
    connect(db, run, ["RUN_INPUT", "MODEL_INPUT"], model_id, 0)
}

/// Connects the run with a model. `types` are the names of the two ends.
fn connect(
    db: &mut Connection,
    run: &StoredRun,
    types: [&str; 2],
    model_id: &str,
    step: i64,
) -> Result<(), SqliteError> {
    require_tables(db)?;
    let [run_type, model_type] = types;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    runs::require_active_run(&transaction, &run.run_id)?;
    transaction
        .prepare_cached(
            "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id, step)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        )?
        .execute((
            runs::new_id(),
            run_type,
            &run.run_id,
            model_type,
            model_id,
            step,
        ))?;
    transaction.commit()?;
    Ok(())
}
