//! The file `MLmodel`, by which MLflow knows how to load a logged model.

use serde_json::{Map, Value, json};

use crate::model::logged_model::{ModelRecord, StoredModel};
use crate::model::to_yaml;

/// Path of the file inside of a model.
pub(crate) const MLMODEL_FILE: &str = "MLmodel";
/// Path of the input example inside of a model.
pub(crate) const INPUT_EXAMPLE_FILE: &str = "input_example.json";
/// Oldest release of MLflow that reads a model as it is written here.
const MLFLOW_VERSION: &str = "3.0.0";

/// Returns the content of the file, as MLflow's Python client writes it.
pub(crate) fn to_mlmodel(record: &ModelRecord, model: &StoredModel, run_id: &str) -> String {
    let ModelRecord {
        files,
        params: _,
        tags: _,
        metrics: _,
        step: _,
        flavors,
        signature,
        input_example,
        utc_time_created,
        registered_name: _,
        aliases: _,
        version_tags: _,
    } = record;
    let mut fields = Map::new();
    let mut set = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    set("artifact_path", json!(model.artifact_uri));
    set("flavors", flavors.clone());
    set("metadata", Value::Null);
    set("mlflow_version", json!(MLFLOW_VERSION));
    set("model_id", json!(model.model_id));
    set("model_size_bytes", json!(files.values().sum::<u64>()));
    set("model_uuid", json!(model.model_id));
    set("run_id", json!(run_id));
    if let Some(example) = input_example {
        set("saved_input_example_info", example.clone());
    }
    if let Some(signature) = signature {
        set("signature", signature.clone());
    }
    set("utc_time_created", json!(utc_time_created));
    to_yaml(&Value::Object(fields))
}
