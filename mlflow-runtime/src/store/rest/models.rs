//! Logged models, which servers have since MLflow 3.0.
//!
//! Invariant: a model carries its key as a tag from its creation on, so that the model is found again after a lost
//! answer.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::error::{Cause, RequestError};
use super::http::{HttpClient, Idempotency};
use super::json::{self, EmptyResponse, KeyValue, to_json};
use super::{StoreError, StoredRun};
use crate::model::{ModelMetric, ModelStatus, NewModel, Param, StoredModel, Tag, tag_keys};

/// Number of params that one request holds, as those of MLflow's Python client.
const PARAMS_PER_REQUEST: usize = 100;
/// Number of metrics that one request holds, as MLflow allows it.
const METRICS_PER_REQUEST: usize = 1000;
/// Longest chain of folders that is listed.
const MAX_DEPTH: usize = 64;

#[derive(Deserialize)]
pub(super) struct ModelResponse {
    pub(super) model: Model,
}

#[derive(Deserialize)]
struct ModelsResponse {
    #[serde(default)]
    models: Vec<Model>,
}

#[derive(Deserialize)]
pub(super) struct Model {
    info: ModelInfo,
    #[serde(default)]
    data: ModelData,
}

#[derive(Deserialize)]
struct ModelInfo {
    model_id: String,
    experiment_id: String,
    #[serde(default)]
    artifact_uri: String,
    #[serde(default)]
    status: String,
}

#[derive(Default, Deserialize)]
struct ModelData {
    #[serde(default)]
    params: Vec<ModelParam>,
}

#[derive(Deserialize)]
struct ModelParam {
    key: String,
}

#[derive(Deserialize)]
struct FilesResponse {
    #[serde(default)]
    files: Vec<ModelFile>,
}

#[derive(Deserialize)]
struct ModelFile {
    path: String,
    #[serde(default)]
    is_dir: bool,
    /// Size, which the server omits for an empty file.
    #[serde(default)]
    file_size: u64,
}

#[derive(Deserialize)]
struct RunResponse {
    run: Run,
}

#[derive(Deserialize)]
struct Run {
    #[serde(default)]
    inputs: RunInputs,
    #[serde(default)]
    outputs: RunOutputs,
}

#[derive(Default, Deserialize)]
struct RunInputs {
    #[serde(default)]
    model_inputs: Vec<ModelOutput>,
}

#[derive(Default, Deserialize)]
struct RunOutputs {
    #[serde(default)]
    model_outputs: Vec<ModelOutput>,
}

#[derive(Deserialize)]
struct ModelOutput {
    model_id: String,
}

impl Model {
    pub(super) fn into_stored(self) -> StoredModel {
        StoredModel {
            model_id: self.info.model_id,
            experiment_id: self.info.experiment_id,
            artifact_uri: self.info.artifact_uri,
        }
    }
}

/// Finds the model with this key, or creates it. Of several, which a lost answer can lead to, the one that is complete or
/// has files is taken, else the oldest. The others are deleted if they hold nothing.
pub(super) async fn find_or_create(
    http: &HttpClient,
    run: &StoredRun,
    new: &NewModel<'_>,
) -> Result<StoredModel, StoreError> {
    let found = find(http, run, new).await.map_err(explain)?;
    if !found.is_empty() {
        return choose(http, found).await;
    }
    #[derive(Serialize)]
    struct Body<'a> {
        experiment_id: &'a str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        model_type: Option<&'a str>,
        source_run_id: &'a str,
        tags: [KeyValue<'a>; 1],
    }
    let body = to_json(&Body {
        experiment_id: &run.experiment_id,
        name: new.name,
        model_type: new.model_type,
        source_run_id: &run.run_id,
        tags: [KeyValue::new(tag_keys::MODEL_KEY, new.key)],
    });
    let created = http
        .post("logged-models", body, Idempotency::NonIdempotent)
        .await;
    let ModelResponse { model } = created.map_err(explain)?;
    Ok(model.into_stored())
}

/// Returns the model to use among models with one key, the oldest first, and deletes those that hold nothing.
async fn choose(http: &HttpClient, mut found: Vec<Model>) -> Result<StoredModel, StoreError> {
    if found.len() == 1 {
        return Ok(found.swap_remove(0).into_stored());
    }
    let (mut used, mut empty) = (Vec::new(), Vec::new());
    for model in found {
        let is_pending = model.info.status == ModelStatus::Pending.as_str();
        let model = model.into_stored();
        if is_pending && list_files(http, &model).await?.is_empty() {
            empty.push(model);
        } else {
            used.push((is_pending, model));
        }
    }
    // A stable sort: the oldest of those that are complete comes first.
    used.sort_by_key(|(is_pending, _)| *is_pending);
    let chosen = match used.into_iter().next() {
        Some((_, model)) => model,
        None => empty.remove(0),
    };
    for duplicate in empty {
        let path = format!("logged-models/{}", duplicate.model_id);
        let body = to_json(&serde_json::json!({ "model_id": duplicate.model_id }));
        let repeat = Idempotency::Idempotent;
        let EmptyResponse {} = http.call(Method::DELETE, &path, body, repeat).await?;
    }
    Ok(chosen)
}

/// Returns the models with this key, the oldest first.
async fn find(
    http: &HttpClient,
    run: &StoredRun,
    new: &NewModel<'_>,
) -> Result<Vec<Model>, RequestError> {
    #[derive(Serialize)]
    struct Body<'a> {
        experiment_ids: [&'a str; 1],
        filter: String,
        max_results: i64,
        order_by: [Order; 1],
    }
    #[derive(Serialize)]
    struct Order {
        field_name: &'static str,
        ascending: bool,
    }
    json::check_filter_value(new.key)?;
    let body = to_json(&Body {
        experiment_ids: [&run.experiment_id],
        filter: format!("tags.`{}` = '{}'", tag_keys::MODEL_KEY, new.key),
        max_results: 50,
        order_by: [Order {
            field_name: "creation_timestamp",
            ascending: true,
        }],
    });
    let ModelsResponse { models } = http
        .post("logged-models/search", body, Idempotency::Idempotent)
        .await?;
    Ok(models)
}

/// Converts the failure of the call that creates a model. Without a model, its files have no destination, so a
/// refusal keeps them.
fn explain(failure: RequestError) -> StoreError {
    match failure {
        RequestError::Known(Cause::UnknownRoute, _) => no_models_error(),
        failure => failure.into_blocked(),
    }
}

/// Converts the failure of a call that MLflow has since 3.0.
fn explain_missing_route(failure: RequestError) -> StoreError {
    match failure {
        RequestError::Known(Cause::UnknownRoute, _) => no_models_error(),
        failure => failure.into(),
    }
}

fn no_models_error() -> StoreError {
    StoreError::Blocked {
        reason: "the server has no logged models, which MLflow has since 3.0: upgrade the server to get the models \
                 that wait here"
            .into(),
        everything: false,
    }
}

async fn get(http: &HttpClient, model: &StoredModel) -> Result<Model, StoreError> {
    let path = format!("logged-models/{}", model.model_id);
    let ModelResponse { model } = http.get(&path, &[]).await?;
    Ok(model)
}

pub(super) async fn status(
    http: &HttpClient,
    model: &StoredModel,
) -> Result<ModelStatus, StoreError> {
    let status = get(http, model).await?.info.status;
    let known = [ModelStatus::Ready, ModelStatus::UploadFailed];
    Ok(known
        .into_iter()
        .find(|known| known.as_str() == status)
        .unwrap_or(ModelStatus::Pending))
}

pub(super) async fn set_status(
    http: &HttpClient,
    model: &StoredModel,
    status: ModelStatus,
) -> Result<(), StoreError> {
    #[derive(Serialize)]
    struct Body<'a> {
        model_id: &'a str,
        status: &'a str,
    }
    let path = format!("logged-models/{}", model.model_id);
    let body = to_json(&Body {
        model_id: &model.model_id,
        status: status.as_str(),
    });
    let repeat = Idempotency::Idempotent;
    let EmptyResponse {} = http.call(Method::PATCH, &path, body, repeat).await?;
    Ok(())
}

/// Adds params and tags. The server refuses a param that the model has, so only the missing ones are sent.
pub(super) async fn describe(
    http: &HttpClient,
    model: &StoredModel,
    params: &[Param],
    tags: &[Tag],
) -> Result<(), StoreError> {
    let path = format!("logged-models/{}", model.model_id);
    if !params.is_empty() {
        let known = get(http, model).await?.data.params;
        let is_missing = |param: &&Param| !known.iter().any(|known| known.key == param.key);
        let missing: Vec<_> = { params.iter().filter(is_missing) }
            .map(|Param { key, value }| KeyValue::new(key, value))
            .collect();
        for part in missing.chunks(PARAMS_PER_REQUEST) {
            let body = to_json(&serde_json::json!({ "model_id": model.model_id, "params": part }));
            let repeat = Idempotency::NonIdempotent;
            let EmptyResponse {} = http.post(&format!("{path}/params"), body, repeat).await?;
        }
    }
    if !tags.is_empty() {
        let tags: Vec<_> = { tags.iter() }
            .map(|Tag { key, value }| KeyValue::new(key, value))
            .collect();
        let body = to_json(&serde_json::json!({ "model_id": model.model_id, "tags": tags }));
        let repeat = Idempotency::Idempotent;
        let path = format!("{path}/tags");
        let EmptyResponse {} = http.call(Method::PATCH, &path, body, repeat).await?;
    }
    Ok(())
}

/// Logs metrics of the run that are also those of the model. The server connects a point of the run with the model
/// also if it has the point already.
pub(super) async fn log_metrics(
    http: &HttpClient,
    run: &StoredRun,
    model: &StoredModel,
    metrics: &[ModelMetric],
) -> Result<(), RequestError> {
    let (nan, numbers): (Vec<_>, Vec<_>) =
        { metrics.iter() }.partition(|metric| metric.point.value.is_nan());
    let mut is_nan_refused = false;
    // Releases up to 3.14 refuse a request that holds a NaN point which they have already.
    let requests = numbers.chunks(METRICS_PER_REQUEST).chain(nan.chunks(1));
    for part in requests {
        let body = json::model_metrics_body(&run.run_id, &model.model_id, part);
        match http
            .post("runs/log-batch", body, Idempotency::Idempotent)
            .await
        {
            Ok(EmptyResponse {}) => {}
            Err(failure) if failure.is_duplicate_point() => is_nan_refused = true,
            Err(failure) => return Err(failure),
        }
    }
    if is_nan_refused {
        return Err(StoreError::Rejected {
            reason: "those that are NaN are on the run only, because MLflow shows a NaN on a model since 3.15: upgrade \
                     the server"
                .into(),
        }
        .into());
    }
    Ok(())
}

/// Lists the files of a model, folder by folder.
pub(super) async fn list_files(
    http: &HttpClient,
    model: &StoredModel,
) -> Result<BTreeMap<String, Option<u64>>, StoreError> {
    let path = format!("logged-models/{}/artifacts/directories", model.model_id);
    let mut found = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let query: &[(&str, &str)] = match &*folder {
            "" => &[],
            folder => &[("artifact_directory_path", folder)],
        };
        let FilesResponse { files } = http.get(&path, query).await?;
        for file in files {
            if !file.is_dir {
                found.insert(file.path, Some(file.file_size));
            } else if file.path.split('/').count() < MAX_DEPTH && file.path.len() > folder.len() {
                folders.push(file.path);
            }
        }
    }
    Ok(found)
}

/// Logs the model as an output of the run. The server refuses an output that the run has.
pub(super) async fn log_output(
    http: &HttpClient,
    run: &StoredRun,
    model_id: &str,
    step: i64,
) -> Result<(), StoreError> {
    let known = get_run(http, run).await?.outputs.model_outputs;
    if known.iter().any(|output| output.model_id == model_id) {
        return Ok(());
    }
    #[derive(Serialize)]
    struct Body<'a> {
        run_id: &'a str,
        models: [Output<'a>; 1],
    }
    #[derive(Serialize)]
    struct Output<'a> {
        model_id: &'a str,
        step: i64,
    }
    let body = to_json(&Body {
        run_id: &run.run_id,
        models: [Output { model_id, step }],
    });
    let repeat = Idempotency::NonIdempotent;
    let logged = http.post("runs/outputs", body, repeat).await;
    let EmptyResponse {} = logged.map_err(explain_missing_route)?;
    Ok(())
}

/// Logs the model as an input of the run. A server without logged models takes the request and ignores the model.
pub(super) async fn log_input(
    http: &HttpClient,
    run: &StoredRun,
    model_id: &str,
) -> Result<(), StoreError> {
    let models = [serde_json::json!({ "model_id": model_id })];
    let body = to_json(&serde_json::json!({ "run_id": run.run_id, "models": models }));
    let logged = http
        .post("runs/log-inputs", body, Idempotency::Idempotent)
        .await;
    let EmptyResponse {} = logged.map_err(RequestError::into_missing_or_blocked)?;
    let known = get_run(http, run).await?.inputs.model_inputs;
    if known.iter().any(|input| input.model_id == model_id) {
        return Ok(());
    }
    Err(no_models_error())
}

async fn get_run(http: &HttpClient, run: &StoredRun) -> Result<Run, StoreError> {
    let RunResponse { run } = http
        .get("runs/get", &[("run_id", &run.run_id)])
        .await
        .map_err(RequestError::into_missing_or_blocked)?;
    Ok(run)
}
