//! Records in the server's answers.
//!
//! - An integer may come as a number or as a text, a text as an integer, and a value that is absent or `null`
//!   counts as empty: releases and servers differ. Anything else is no answer of MLflow, and an error.
//! - NaN and the infinities come as texts.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::entities::{
    DatasetInput, Experiment, FileInfo, LifecycleStage, MetricPoint, ModelVersion,
    ModelVersionStatus, RegisteredModel, Run,
};
use crate::model::RunStatus;

/// Tag of a run's dataset that holds [`DatasetInput::context`].
const CONTEXT_TAG: &str = "mlflow.data.context";

#[derive(Deserialize)]
pub(super) struct ExperimentAnswer {
    pub(super) experiment: ExperimentRecord,
}

#[derive(Deserialize)]
pub(super) struct ExperimentsAnswer {
    #[serde(default, deserialize_with = "list")]
    pub(super) experiments: Vec<ExperimentRecord>,
    #[serde(default, deserialize_with = "text")]
    pub(super) next_page_token: String,
}

#[derive(Deserialize)]
pub(super) struct ExperimentRecord {
    #[serde(deserialize_with = "text")]
    experiment_id: String,
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    artifact_location: String,
    #[serde(default, deserialize_with = "text")]
    lifecycle_stage: String,
    #[serde(default, deserialize_with = "integer")]
    creation_time: Option<i64>,
    #[serde(default, deserialize_with = "integer")]
    last_update_time: Option<i64>,
    #[serde(default, deserialize_with = "list")]
    tags: Vec<KeyValue>,
}

impl From<ExperimentRecord> for Experiment {
    fn from(record: ExperimentRecord) -> Self {
        Self {
            experiment_id: record.experiment_id,
            name: record.name,
            artifact_location: record.artifact_location,
            lifecycle_stage: LifecycleStage::from_name(&record.lifecycle_stage),
            creation_time_ms: record.creation_time,
            last_update_time_ms: record.last_update_time,
            tags: to_map(record.tags),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct RunAnswer {
    pub(super) run: RunRecord,
}

#[derive(Deserialize)]
pub(super) struct RunsAnswer {
    #[serde(default, deserialize_with = "list")]
    pub(super) runs: Vec<RunRecord>,
    #[serde(default, deserialize_with = "text")]
    pub(super) next_page_token: String,
}

#[derive(Deserialize)]
pub(super) struct RunRecord {
    info: RunInfo,
    #[serde(default)]
    data: RunData,
    #[serde(default)]
    inputs: RunInputs,
}

#[derive(Deserialize)]
struct RunInfo {
    #[serde(deserialize_with = "text")]
    run_id: String,
    #[serde(default, deserialize_with = "text")]
    run_name: String,
    #[serde(default, deserialize_with = "text")]
    experiment_id: String,
    #[serde(default, deserialize_with = "text")]
    user_id: String,
    #[serde(default, deserialize_with = "text")]
    status: String,
    #[serde(default, deserialize_with = "integer")]
    start_time: Option<i64>,
    #[serde(default, deserialize_with = "integer")]
    end_time: Option<i64>,
    #[serde(default, deserialize_with = "text")]
    artifact_uri: String,
    #[serde(default, deserialize_with = "text")]
    lifecycle_stage: String,
}

#[derive(Default, Deserialize)]
struct RunData {
    #[serde(default, deserialize_with = "list")]
    metrics: Vec<LatestMetric>,
    #[serde(default, deserialize_with = "list")]
    params: Vec<KeyValue>,
    #[serde(default, deserialize_with = "list")]
    tags: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct LatestMetric {
    #[serde(deserialize_with = "text")]
    key: String,
    #[serde(default, deserialize_with = "float")]
    value: f64,
    #[serde(default, deserialize_with = "integer")]
    timestamp: Option<i64>,
    #[serde(default, deserialize_with = "integer")]
    step: Option<i64>,
}

#[derive(Default, Deserialize)]
struct RunInputs {
    #[serde(default, deserialize_with = "list")]
    dataset_inputs: Vec<DatasetRecord>,
}

#[derive(Deserialize)]
struct DatasetRecord {
    #[serde(default, deserialize_with = "list")]
    tags: Vec<KeyValue>,
    dataset: Dataset,
}

#[derive(Deserialize)]
struct Dataset {
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    digest: String,
    #[serde(default, deserialize_with = "text")]
    source_type: String,
    #[serde(default, deserialize_with = "text")]
    source: String,
    schema: Option<String>,
    profile: Option<String>,
}

impl From<RunRecord> for Run {
    fn from(RunRecord { info, data, inputs }: RunRecord) -> Self {
        let metrics = data.metrics.into_iter().map(|metric| {
            let point = MetricPoint {
                step: metric.step.unwrap_or(0),
                value: metric.value,
                timestamp_ms: metric.timestamp.unwrap_or(0),
            };
            (metric.key, point)
        });
        let mut datasets: Vec<DatasetInput> =
            inputs.dataset_inputs.into_iter().map(Into::into).collect();
        datasets.sort();
        Self {
            run_id: info.run_id,
            name: info.run_name,
            experiment_id: info.experiment_id,
            user_id: info.user_id,
            status: parse_run_status(&info.status),
            start_time_ms: info.start_time,
            // MLflow writes 0 for a run that goes on after an end.
            end_time_ms: info.end_time.filter(|&end| end != 0),
            artifact_uri: info.artifact_uri,
            lifecycle_stage: LifecycleStage::from_name(&info.lifecycle_stage),
            metrics: metrics.collect(),
            params: to_map(data.params),
            tags: to_map(data.tags),
            datasets,
        }
    }
}

impl From<DatasetRecord> for DatasetInput {
    fn from(DatasetRecord { tags, dataset }: DatasetRecord) -> Self {
        let mut tags = tags.into_iter();
        let context = tags.find(|tag| tag.key == CONTEXT_TAG);
        Self {
            name: dataset.name,
            digest: dataset.digest,
            source_type: dataset.source_type,
            source: dataset.source,
            schema: dataset.schema,
            profile: dataset.profile,
            context: context.map(|tag| tag.value),
        }
    }
}

/// Reads MLflow's name of a status. An unknown one is that of a run that has not ended.
fn parse_run_status(name: &str) -> RunStatus {
    name.parse().unwrap_or(RunStatus::Running)
}

#[derive(Deserialize)]
pub(super) struct HistoryAnswer {
    #[serde(default, deserialize_with = "list")]
    pub(super) metrics: Vec<PointRecord>,
    #[serde(default, deserialize_with = "text")]
    pub(super) next_page_token: String,
}

/// Point of a metric, whose key is known.
#[derive(Deserialize)]
pub(super) struct PointRecord {
    #[serde(default, deserialize_with = "float")]
    value: f64,
    #[serde(default, deserialize_with = "integer")]
    timestamp: Option<i64>,
    #[serde(default, deserialize_with = "integer")]
    step: Option<i64>,
}

impl From<PointRecord> for MetricPoint {
    fn from(record: PointRecord) -> Self {
        Self {
            step: record.step.unwrap_or(0),
            value: record.value,
            timestamp_ms: record.timestamp.unwrap_or(0),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct FilesAnswer {
    #[serde(default, deserialize_with = "list")]
    pub(super) files: Vec<FileRecord>,
    #[serde(default, deserialize_with = "text")]
    pub(super) next_page_token: String,
}

#[derive(Deserialize)]
pub(super) struct FileRecord {
    #[serde(deserialize_with = "text")]
    path: String,
    #[serde(default)]
    is_dir: bool,
    #[serde(default, deserialize_with = "integer")]
    file_size: Option<i64>,
}

impl From<FileRecord> for FileInfo {
    fn from(record: FileRecord) -> Self {
        if record.is_dir {
            return Self::folder(record.path);
        }
        // The size of an empty file is omitted.
        let size = record.file_size.unwrap_or(0);
        Self::file(record.path, u64::try_from(size).unwrap_or(0))
    }
}

#[derive(Deserialize)]
pub(super) struct RegisteredModelAnswer {
    pub(super) registered_model: RegisteredModelRecord,
}

#[derive(Deserialize)]
pub(super) struct RegisteredModelsAnswer {
    #[serde(default, deserialize_with = "list")]
    pub(super) registered_models: Vec<RegisteredModelRecord>,
    #[serde(default, deserialize_with = "text")]
    pub(super) next_page_token: String,
}

#[derive(Deserialize)]
pub(super) struct RegisteredModelRecord {
    #[serde(deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "integer")]
    creation_timestamp: Option<i64>,
    #[serde(default, deserialize_with = "integer")]
    last_updated_timestamp: Option<i64>,
    #[serde(default, deserialize_with = "text")]
    description: String,
    #[serde(default, deserialize_with = "list")]
    tags: Vec<KeyValue>,
    #[serde(default, deserialize_with = "list")]
    aliases: Vec<AliasRecord>,
}

#[derive(Deserialize)]
struct AliasRecord {
    #[serde(deserialize_with = "text")]
    alias: String,
    #[serde(deserialize_with = "version_number")]
    version: u64,
}

impl From<RegisteredModelRecord> for RegisteredModel {
    fn from(record: RegisteredModelRecord) -> Self {
        let aliases = record.aliases.into_iter();
        Self {
            name: record.name,
            creation_time_ms: record.creation_timestamp,
            last_updated_time_ms: record.last_updated_timestamp,
            description: record.description,
            tags: to_map(record.tags),
            aliases: aliases
                .map(|AliasRecord { alias, version }| (alias, version))
                .collect(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct ModelVersionAnswer {
    pub(super) model_version: ModelVersionRecord,
}

#[derive(Deserialize)]
pub(super) struct ModelVersionsAnswer {
    #[serde(default, deserialize_with = "list")]
    pub(super) model_versions: Vec<ModelVersionRecord>,
    #[serde(default, deserialize_with = "text")]
    pub(super) next_page_token: String,
}

#[derive(Deserialize)]
pub(super) struct ModelVersionRecord {
    #[serde(deserialize_with = "text")]
    name: String,
    #[serde(deserialize_with = "version_number")]
    version: u64,
    #[serde(default, deserialize_with = "integer")]
    creation_timestamp: Option<i64>,
    #[serde(default, deserialize_with = "integer")]
    last_updated_timestamp: Option<i64>,
    #[serde(default, deserialize_with = "text")]
    description: String,
    #[serde(default, deserialize_with = "text")]
    user_id: String,
    #[serde(default, deserialize_with = "text")]
    source: String,
    #[serde(default, deserialize_with = "text")]
    run_id: String,
    #[serde(default, deserialize_with = "text")]
    status: String,
    #[serde(default, deserialize_with = "text")]
    status_message: String,
    #[serde(default, deserialize_with = "text")]
    run_link: String,
    #[serde(default, deserialize_with = "list")]
    tags: Vec<KeyValue>,
    #[serde(default, deserialize_with = "list")]
    aliases: Vec<String>,
}

impl From<ModelVersionRecord> for ModelVersion {
    fn from(record: ModelVersionRecord) -> Self {
        let mut aliases = record.aliases;
        aliases.sort();
        Self {
            name: record.name,
            version: record.version,
            creation_time_ms: record.creation_timestamp,
            last_updated_time_ms: record.last_updated_timestamp,
            description: record.description,
            user_id: record.user_id,
            source: record.source,
            run_id: Some(record.run_id).filter(|id| !id.is_empty()),
            status: ModelVersionStatus::from_name(&record.status),
            status_message: record.status_message,
            run_link: record.run_link,
            tags: to_map(record.tags),
            aliases,
        }
    }
}

#[derive(Deserialize)]
struct KeyValue {
    #[serde(deserialize_with = "text")]
    key: String,
    #[serde(default, deserialize_with = "text")]
    value: String,
}

fn to_map(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|KeyValue { key, value }| (key, value))
        .collect()
}

/// Integer or text, as servers write integers and ids.
enum Scalar {
    Absent,
    Integer(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer or a text")
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Absent)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar, E> {
        match i64::try_from(number) {
            Ok(number) => Ok(Scalar::Integer(number)),
            Err(_) => Err(E::custom("the integer does not fit into 64 bits")),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }
}

fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    match Scalar::deserialize(deserializer)? {
        Scalar::Absent => Ok(None),
        Scalar::Integer(number) => Ok(Some(number)),
        Scalar::Text(text) => text.parse().map(Some).map_err(D::Error::custom),
    }
}

fn version_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = integer(deserializer)?.and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| D::Error::custom("expected the number of a version"))
}

/// Reads a float from its digits: `serde_json` itself may return one of the neighbours of a float.
fn float<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let written = <&RawValue>::deserialize(deserializer)?.get();
    let quoted = written
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match quoted.unwrap_or(written) {
        "null" => Ok(0.0),
        digits => digits.parse().map_err(D::Error::custom),
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Scalar::deserialize(deserializer)? {
        Scalar::Absent => Ok(String::new()),
        Scalar::Integer(number) => Ok(number.to_string()),
        Scalar::Text(text) => Ok(text),
    }
}

fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(json: &str) -> Result<Run, serde_json::Error> {
        serde_json::from_str(json).map(|RunAnswer { run }| run.into())
    }

    #[test]
    fn a_run_is_read_as_real_servers_write_it() {
        let json = r#"{"run": {
            "info": {"run_uuid": "r", "run_id": "r", "experiment_id": "1", "run_name": "ü", "user_id": "u",
                "status": "FAILED", "start_time": 5, "end_time": 0, "artifact_uri": "mlflow-artifacts:/1/r/artifacts",
                "lifecycle_stage": "deleted"},
            "data": {
                "metrics": [
                    {"key": "a", "value": "NaN", "timestamp": "7", "step": "-3"},
                    {"key": "b", "value": 1, "timestamp": 8, "step": 2, "new": {}},
                    {"key": "c", "value": "-Infinity"}],
                "params": [{"key": "p", "value": "1"}, {"key": "q"}],
                "tags": [{"key": "t", "value": "x"}]},
            "inputs": {"dataset_inputs": [
                {"tags": [{"key": "mlflow.data.context", "value": "eval"}],
                 "dataset": {"name": "z", "digest": "1", "source_type": "local", "source": "{}", "schema": "{}"}},
                {"dataset": {"name": "a", "digest": "2", "source_type": "http", "source": "{}"}}]},
            "outputs": {}
        }}"#;
        let run = run(json).expect("a run");
        assert_eq!(run.name, "ü");
        assert_eq!(run.status, RunStatus::Failed);
        assert_eq!((run.start_time_ms, run.end_time_ms), (Some(5), None));
        assert!(run.is_deleted());
        assert!(run.metric("a").is_some_and(f64::is_nan));
        assert_eq!(run.metrics["a"].step, -3);
        assert_eq!(run.metrics["a"].timestamp_ms, 7);
        assert_eq!(run.metric("b"), Some(1.0));
        assert_eq!(run.metric("c"), Some(f64::NEG_INFINITY));
        assert_eq!(run.param("q"), Some(""));
        let datasets: Vec<_> = run
            .datasets
            .iter()
            .map(|dataset| (dataset.name.as_str(), dataset.context.as_deref()))
            .collect();
        assert_eq!(datasets, [("a", None), ("z", Some("eval"))]);
    }

    /// Regression test: `serde_json` read 0.09090909090909091 as 0.09090909090909093.
    #[test]
    fn floats_are_read_exactly() {
        let values = [
            0.090_909_090_909_090_91,
            1.0 / 3.0,
            f64::MIN_POSITIVE,
            -f64::MAX,
            5e-324,
            1e23,
        ];
        for value in values {
            for json in [
                format!("{value:e}"),
                format!("{value}"),
                format!("\"{value}\""),
            ] {
                let json =
                    format!(r#"{{"metrics": [{{"value": {json}, "timestamp": 1, "step": 2}}]}}"#);
                let answer: HistoryAnswer = serde_json::from_str(&json).expect("an answer");
                assert_eq!(answer.metrics[0].value, value, "{json}");
            }
        }
    }

    #[test]
    fn absent_and_null_fields_are_empty() {
        let json = r#"{"run": {"info": {"run_id": "r", "experiment_id": 17, "run_name": null,
            "start_time": null, "status": "SOMETHING"}, "data": {"metrics": null}}}"#;
        let run = run(json).expect("a run");
        assert_eq!(run.experiment_id, "17");
        assert_eq!((run.name.as_str(), run.start_time_ms), ("", None));
        assert_eq!(run.status, RunStatus::Running);
        assert!(run.metrics.is_empty() && run.datasets.is_empty());
        let none: RunsAnswer = serde_json::from_str("{}").expect("an answer");
        assert!(none.runs.is_empty() && none.next_page_token.is_empty());
    }

    #[test]
    fn what_is_no_answer_of_mlflow_is_an_error() {
        for json in [
            "{}",
            r#"{"run": {}}"#,
            r#"{"run": {"info": {}}}"#,
            r#"{"run": {"info": {"run_id": ["r"]}}}"#,
            r#"{"run": {"info": {"run_id": "r", "start_time": "soon"}}}"#,
            r#"{"run": {"info": {"run_id": "r", "start_time": 1.5}}}"#,
            r#"{"run": {"info": {"run_id": "r", "start_time": 18446744073709551615}}}"#,
            r#"{"run": {"info": {"run_id": "r"}, "data": {"metrics": [{"key": "a", "value": "x"}]}}}"#,
            r#"{"run": {"info": {"run_id": "r"}, "data": {"metrics": {}}}}"#,
        ] {
            assert!(run(json).is_err(), "{json}");
        }
        let version = |json: &str| {
            let read = serde_json::from_str(json);
            read.map(|ModelVersionAnswer { model_version }| ModelVersion::from(model_version))
        };
        for number in [r#""x""#, "-1", "null"] {
            let json = format!(r#"{{"model_version": {{"name": "m", "version": {number}}}}}"#);
            assert!(version(&json).is_err(), "{json}");
        }
    }

    #[test]
    fn registry_records_are_read() {
        let json = r#"{"registered_model": {"name": "m", "creation_timestamp": 1, "last_updated_timestamp": "2",
            "latest_versions": [{"name": "m", "version": "3"}], "tags": [{"key": "t", "value": "1"}],
            "aliases": [{"alias": "champion", "version": "3"}, {"alias": "a", "version": 2}]}}"#;
        let RegisteredModelAnswer { registered_model } =
            serde_json::from_str(json).expect("a model");
        let model = RegisteredModel::from(registered_model);
        assert_eq!(model.aliases["champion"], 3);
        assert_eq!(model.aliases["a"], 2);
        assert_eq!(model.last_updated_time_ms, Some(2));
        assert_eq!(model.description, "");
        let json = r#"{"model_version": {"name": "m", "version": "3", "current_stage": "None", "source": "s3://b/x",
            "run_id": "", "status": "READY", "aliases": ["z", "a"]}}"#;
        let ModelVersionAnswer { model_version } = serde_json::from_str(json).expect("a version");
        let version = ModelVersion::from(model_version);
        assert_eq!((version.version, version.run_id), (3, None));
        assert_eq!(version.status, ModelVersionStatus::Ready);
        assert_eq!(version.aliases, ["a", "z"]);
    }

    #[test]
    fn an_empty_file_has_a_size() {
        let json = r#"{"root_uri": "u", "files": [{"path": "a", "is_dir": false}, {"path": "d", "is_dir": true},
            {"path": "b", "is_dir": false, "file_size": "7"}]}"#;
        let FilesAnswer { files, .. } = serde_json::from_str(json).expect("a list");
        let files: Vec<FileInfo> = files.into_iter().map(Into::into).collect();
        let expected = [
            FileInfo::file("a", 0),
            FileInfo::folder("d"),
            FileInfo::file("b", 7),
        ];
        assert_eq!(files, expected);
    }
}
