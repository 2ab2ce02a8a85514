//! Logged models as the shipper needs them: the rows that MLflow's own client writes.
//!
//! - A database has tables for logged models only after MLflow 3 has migrated it. Until then, a model is blocked.
//! - The id of a model is made of its key, so that a repeated call finds the model.

use serde::{Deserialize, Serialize};

use super::connection::{SqlConnection, SqlValue};
use super::error::SqlError;
use super::metric_row::MetricRow;
use super::query::query_optional;
use super::{rows, runs};
use crate::model::python_json::to_python_json;
use crate::model::{
    DatasetId, ModelMetric, ModelStatus, NewModel, Param, StoredModel, Tag, tag_keys,
};
use crate::store::{StoreError, StoredRun};
use crate::time;

/// Version of a registered model, as a tag of the logged model names it.
#[derive(PartialEq, Serialize, Deserialize)]
struct ModelVersionNote {
    name: String,
    version: u64,
}

/// Creates the model, unless it exists.
pub(super) fn find_or_create(
    db: &dyn SqlConnection,
    run: &StoredRun,
    new: &NewModel<'_>,
) -> Result<StoredModel, SqlError> {
    require_tables(db)?;
    let model_id = format!("m-{}", new.key);
    let run = runs::require_active_run(db, &run.run_id)?;
    let location = runs::artifact_location(db, &run.experiment_id)?;
    let model = StoredModel {
        artifact_uri: format!(
            "{}/models/{model_id}/artifacts",
            location.trim_end_matches('/')
        ),
        model_id,
        experiment_id: run.experiment_id,
    };
    let inserted = db.execute(
        "INSERT INTO logged_models
             (model_id, experiment_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms,
              status, lifecycle_stage, model_type, source_run_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, 'active', ?7, ?8) ON CONFLICT DO NOTHING",
        &[
            (&model.model_id).into(),
            runs::experiment_number(&model.experiment_id)?.into(),
            new.name.into(),
            (&model.artifact_uri).into(),
            time::now_ms().into(),
            ModelStatus::Pending.code().into(),
            new.model_type.into(),
            (&run.run_id).into(),
        ],
    )?;
    if inserted > 0 {
        insert_tag(db, &model, tag_keys::MODEL_KEY, new.key)?;
    } else if let Err(error) = status(db, &model) {
        // The id is made of the key, so that nobody can log the model again.
        return Err(match error {
            SqlError::Refused(StoreError::Missing { .. }) => {
                SqlError::Refused(StoreError::Rejected {
                    reason: "somebody has deleted the logged model; log the model again".into(),
                })
            }
            error => error,
        });
    }
    Ok(model)
}

/// Returns an error unless MLflow 3 has migrated the database.
fn require_tables(db: &dyn SqlConnection) -> Result<(), SqlError> {
    if db.has_column("logged_models", "model_id")? && db.has_column("inputs", "step")? {
        return Ok(());
    }
    Err(db.models_missing_error())
}

fn insert_tag(
    db: &dyn SqlConnection,
    model: &StoredModel,
    key: &str,
    value: &str,
) -> Result<(), SqlError> {
    db.execute(
        "INSERT INTO logged_model_tags (model_id, experiment_id, tag_key, tag_value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (model_id, tag_key) DO UPDATE SET tag_value = excluded.tag_value",
        &[
            (&model.model_id).into(),
            runs::experiment_number(&model.experiment_id)?.into(),
            key.into(),
            value.into(),
        ],
    )?;
    Ok(())
}

/// Returns the status of a model that exists and is not deleted.
pub(super) fn status(db: &dyn SqlConnection, model: &StoredModel) -> Result<ModelStatus, SqlError> {
    require_tables(db)?;
    let code = query_optional(
        db,
        "SELECT status FROM logged_models WHERE model_id = ?1 AND lifecycle_stage = 'active'",
        &[(&model.model_id).into()],
        |row| rows::integer(row, 0),
    )?;
    let Some(code) = code else {
        return Err(SqlError::missing(format!(
            "there is no logged model {}",
            model.model_id
        )));
    };
    let known = [ModelStatus::Ready, ModelStatus::UploadFailed].into_iter();
    Ok(known
        .into_iter()
        .find(|status| status.code() == code)
        .unwrap_or(ModelStatus::Pending))
}

pub(super) fn set_status(
    db: &dyn SqlConnection,
    model: &StoredModel,
    status: ModelStatus,
) -> Result<(), SqlError> {
    self::status(db, model)?;
    db.execute(
        "UPDATE logged_models SET status = ?2, last_updated_timestamp_ms = ?3 WHERE model_id = ?1",
        &[
            (&model.model_id).into(),
            status.code().into(),
            time::now_ms().into(),
        ],
    )?;
    Ok(())
}

pub(super) fn describe(
    db: &dyn SqlConnection,
    model: &StoredModel,
    params: &[Param],
    tags: &[Tag],
) -> Result<(), SqlError> {
    status(db, model)?;
    let experiment = runs::experiment_number(&model.experiment_id)?;
    let values: Vec<SqlValue<'_>> = { params.iter() }
        .flat_map(|Param { key, value }| {
            [
                (&model.model_id).into(),
                experiment.into(),
                key.into(),
                value.into(),
            ]
        })
        .collect();
    db.execute_many(
        "INSERT INTO logged_model_params (model_id, experiment_id, param_key, param_value)
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        &values,
        4,
    )?;
    for Tag { key, value } in tags {
        insert_tag(db, model, key, value)?;
    }
    Ok(())
}

/// Notes in a tag that the model is a version of a registered model, as MLflow does.
pub(super) fn note_version(
    db: &dyn SqlConnection,
    model: &StoredModel,
    name: &str,
    version: u64,
) -> Result<(), SqlError> {
    status(db, model)?;
    let old = query_optional(
        db,
        "SELECT tag_value FROM logged_model_tags WHERE model_id = ?1 AND tag_key = ?2",
        &[(&model.model_id).into(), tag_keys::MODEL_VERSIONS.into()],
        |row| rows::string(row, 0),
    )?;
    let old = old.and_then(|old| serde_json::from_str::<Vec<ModelVersionNote>>(&old).ok());
    let mut notes = old.unwrap_or_default();
    let name = name.to_owned();
    let note = ModelVersionNote { name, version };
    if !notes.contains(&note) {
        notes.push(note);
        let value = to_python_json(&notes);
        insert_tag(db, model, tag_keys::MODEL_VERSIONS, &value)?;
    }
    Ok(())
}

/// Connects metrics of the run with the model.
pub(super) fn log_metrics(
    db: &dyn SqlConnection,
    run: &StoredRun,
    model: &StoredModel,
    metrics: &[ModelMetric],
) -> Result<(), SqlError> {
    runs::require_active_run(db, &run.run_id)?;
    status(db, model)?;
    let experiment = runs::experiment_number(&model.experiment_id)?;
    let values: Vec<SqlValue<'_>> = { metrics.iter() }
        .flat_map(|ModelMetric { point, dataset }| {
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
            [
                (&model.model_id).into(),
                (&*point.key).into(),
                timestamp.into(),
                step.into(),
                value.into(),
                experiment.into(),
                (&run.run_id).into(),
                name.into(),
                digest.into(),
            ]
        })
        .collect();
    db.execute_many(
        "INSERT INTO logged_model_metrics
             (model_id, metric_name, metric_timestamp_ms, metric_step, metric_value, experiment_id, run_id,
              dataset_name, dataset_digest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        &values,
        9,
    )?;
    Ok(())
}

/// Logs a model as an output of the run.
pub(super) fn log_output(
    db: &dyn SqlConnection,
    run: &StoredRun,
    model_id: &str,
    step: i64,
) -> Result<(), SqlError> {
    connect(db, run, ["RUN_OUTPUT", "MODEL_OUTPUT"], model_id, step)
}

/// Logs a model as an input of the run.
pub(super) fn log_input(
    db: &dyn SqlConnection,
    run: &StoredRun,
    model_id: &str,
) -> Result<(), SqlError> {
    connect(db, run, ["RUN_INPUT", "MODEL_INPUT"], model_id, 0)
}

/// Connects the run with a model. `types` are the names of the two ends.
fn connect(
    db: &dyn SqlConnection,
    run: &StoredRun,
    types: [&str; 2],
    model_id: &str,
    step: i64,
) -> Result<(), SqlError> {
    require_tables(db)?;
    let [run_type, model_type] = types;
    runs::require_active_run(db, &run.run_id)?;
    db.execute(
        "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id, step)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        &[
            runs::new_id().into(),
            run_type.into(),
            (&run.run_id).into(),
            model_type.into(),
            model_id.into(),
            step.into(),
        ],
    )?;
    Ok(())
}
