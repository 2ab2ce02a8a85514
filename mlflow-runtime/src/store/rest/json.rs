//! Bodies of requests and answers.
//!
//! Every field is written with exactly the type that the server expects. The server keeps everything that it
//! read up to the first field which does not convert, drops the rest and answers 200.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Batch, InputDataset, NewRun, StoreError, StoredRun};
use crate::model::tag_keys;
use crate::model::{DatasetId, Metric, ModelMetric, RunStatus, Tag};

/// Size beyond which the next entry goes into a new body: proxies and Databricks refuse more than 1 MB.
const MAX_BODY_BYTES: usize = 900_000;

/// Answer of which nothing is needed.
#[derive(Deserialize)]
pub(super) struct EmptyResponse {}

#[derive(Deserialize)]
pub(super) struct ExperimentIdResponse {
    pub(super) experiment_id: String,
}

#[derive(Deserialize)]
pub(super) struct ExperimentResponse {
    pub(super) experiment: Experiment,
}

#[derive(Deserialize)]
pub(super) struct Experiment {
    pub(super) experiment_id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) lifecycle_stage: String,
}

#[derive(Deserialize)]
pub(super) struct RunResponse {
    pub(super) run: Run,
}

#[derive(Deserialize)]
pub(super) struct Run {
    pub(super) info: RunInfo,
    #[serde(default)]
    pub(super) data: RunData,
}

#[derive(Default, Deserialize)]
pub(super) struct RunData {
    #[serde(default)]
    pub(super) tags: Vec<RunTag>,
    #[serde(default)]
    pub(super) metrics: Vec<RunMetric>,
}

/// Latest point of a metric.
#[derive(Deserialize)]
pub(super) struct RunMetric {
    #[serde(default)]
    pub(super) key: String,
    /// Step as a number: some servers send it in quotes, others omit it if it is 0.
    #[serde(default)]
    step: serde_json::Value,
}

impl RunMetric {
    pub(super) fn step(&self) -> i64 {
        let text = self.step.as_str().and_then(|text| text.parse().ok());
        self.step.as_i64().or(text).unwrap_or(0)
    }
}

#[derive(Deserialize)]
pub(super) struct RunTag {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Deserialize)]
pub(super) struct RunInfo {
    pub(super) run_id: String,
    pub(super) experiment_id: String,
    #[serde(default)]
    pub(super) artifact_uri: String,
    #[serde(default)]
    pub(super) lifecycle_stage: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) start_time: i64,
}

impl RunInfo {
    pub(super) fn is_deleted(&self) -> bool {
        self.lifecycle_stage == "deleted"
    }

    pub(super) fn into_stored_run(self) -> StoredRun {
        StoredRun {
            run_id: self.run_id,
            experiment_id: self.experiment_id,
            artifact_uri: self.artifact_uri,
        }
    }
}

#[derive(Serialize)]
pub(super) struct KeyValue<'a> {
    key: &'a str,
    value: &'a str,
}

impl<'a> KeyValue<'a> {
    pub(super) fn new(key: &'a str, value: &'a str) -> Self {
        Self { key, value }
    }
}

/// Returns tags as the server expects them.
pub(super) fn to_key_values(tags: &BTreeMap<String, String>) -> Vec<KeyValue<'_>> {
    tags.iter()
        .map(|(key, value)| KeyValue { key, value })
        .collect()
}

/// Serializes the body of a request. Writing strings and integers into memory does not fail. If it ever did,
/// the server's refusal of the empty body would show the failure.
pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

pub(super) fn create_experiment(name: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        name: &'a str,
    }
    to_json(&Body { name })
}

/// Returns the body of a request to sign an upload. `id_field` is the name of the field with the id.
pub(super) fn presigned_upload(id_field: &str, id: &str, path: &str) -> Vec<u8> {
    to_json(&BTreeMap::from([(id_field, id), ("path", path)]))
}

/// Part of an upload that the bucket has.
pub(super) struct MultipartPart {
    pub(super) part_number: u64,
    pub(super) etag: String,
    /// Signed URL of the part.
    pub(super) url: String,
}

pub(super) fn create_multipart(name: &str, parts: u64) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        path: &'a str,
        num_parts: u64,
    }
    to_json(&Body {
        path: name,
        num_parts: parts,
    })
}

/// Returns the body that joins the parts. Their URLs are credentials, and sent only if the upload has no id:
/// then they are what names the parts.
pub(super) fn complete_multipart(
    name: &str,
    upload_id: Option<&str>,
    parts: &[MultipartPart],
) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        path: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        upload_id: Option<&'a str>,
        parts: Vec<Part<'a>>,
    }
    #[derive(Serialize)]
    struct Part<'a> {
        part_number: u64,
        etag: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<&'a str>,
    }
    let parts = parts.iter().map(|part| Part {
        part_number: part.part_number,
        etag: &part.etag,
        url: upload_id.is_none().then_some(&*part.url),
    });
    to_json(&Body {
        path: name,
        upload_id,
        parts: parts.collect(),
    })
}

pub(super) fn abort_multipart(name: &str, upload_id: Option<&str>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        path: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        upload_id: Option<&'a str>,
    }
    to_json(&Body {
        path: name,
        upload_id,
    })
}

pub(super) fn create_run(run: &NewRun<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        experiment_id: &'a str,
        user_id: &'a str,
        run_name: &'a str,
        start_time: i64,
        tags: Vec<KeyValue<'a>>,
    }
    let mut tags = vec![
        KeyValue {
            key: tag_keys::RUN_NAME,
            value: run.name,
        },
        KeyValue {
            key: tag_keys::RUN_KEY,
            value: run.key,
        },
    ];
    tags.extend(run.tags.iter().map(|tag| KeyValue {
        key: &tag.key,
        value: &tag.value,
    }));
    to_json(&Body {
        experiment_id: run.experiment_id,
        user_id: run.user_id,
        run_name: run.name,
        start_time: run.start_time_ms,
        tags,
    })
}

pub(super) fn find_run(experiment_id: &str, tag: &str, key: &str) -> Result<Vec<u8>, StoreError> {
    #[derive(Serialize)]
    struct Body<'a> {
        experiment_ids: [&'a str; 1],
        filter: String,
        run_view_type: &'a str,
        max_results: i64,
        order_by: [&'a str; 1],
    }
    check_filter_value(key)?;
    Ok(to_json(&Body {
        experiment_ids: [experiment_id],
        filter: format!("tags.`{tag}` = '{key}'"),
        run_view_type: "ALL",
        max_results: 100,
        order_by: ["attributes.start_time ASC"],
    }))
}

/// Rejects a key that a filter cannot hold. A filter has no escape for quotes, so only harmless characters are
/// allowed.
pub(super) fn check_filter_value(key: &str) -> Result<(), StoreError> {
    let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if key.bytes().all(is_harmless) {
        return Ok(());
    }
    Err(StoreError::Rejected {
        reason: format!("`{key}` is not a key of this library").into(),
    })
}

pub(super) fn delete_run(run_id: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        run_id: &'a str,
    }
    to_json(&Body { run_id })
}

pub(super) fn log_inputs(run_id: &str, inputs: &[InputDataset]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        run_id: &'a str,
        datasets: Vec<Input<'a>>,
    }
    #[derive(Serialize)]
    struct Input<'a> {
        dataset: Dataset<'a>,
        tags: Vec<KeyValue<'a>>,
    }
    #[derive(Serialize)]
    struct Dataset<'a> {
        name: &'a str,
        digest: &'a str,
        source_type: &'a str,
        source: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        schema: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        profile: Option<&'a str>,
    }
    let datasets = inputs.iter().map(|input| {
        let InputDataset {
            name,
            digest,
            source_type,
            source,
            schema,
            profile,
            tags,
        } = input;
        let tags = tags
            .iter()
            .map(|Tag { key, value }| KeyValue { key, value });
        Input {
            dataset: Dataset {
                name,
                digest,
                source_type,
                source,
                schema: schema.as_deref(),
                profile: profile.as_deref(),
            },
            tags: tags.collect(),
        }
    });
    to_json(&Body {
        run_id,
        datasets: datasets.collect(),
    })
}

pub(super) fn update_run(run_id: &str, status: RunStatus, end_time_ms: Option<i64>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        run_id: &'a str,
        status: &'a str,
        end_time: i64,
    }
    // 0 clears the end time. Without the field, a resumed run would keep its old end time.
    to_json(&Body {
        run_id,
        status: status.as_str(),
        end_time: end_time_ms.unwrap_or(0),
    })
}

/// Returns the bodies for the batch without its NaN points, as few as the size allows. Params come first, as
/// the server writes them first.
pub(crate) fn log_batch(run_id: &str, batch: &Batch<'_>) -> Vec<Vec<u8>> {
    let entries = batch.metrics.len() + batch.params.len() + batch.tags.len();
    let mut bodies = BatchBodyBuilder::new(run_id, (entries * 96 + 64).min(MAX_BODY_BYTES));
    for param in batch.params {
        bodies.push_entry("params", |body| {
            write_key_value(body, &param.key, &param.value);
        });
    }
    for metric in batch.metrics.iter().filter(|metric| !metric.value.is_nan()) {
        bodies.push_entry("metrics", |body| write_metric(body, metric));
    }
    for tag in batch.tags {
        bodies.push_entry("tags", |body| write_key_value(body, &tag.key, &tag.value));
    }
    bodies.finish()
}

/// Returns one body with these points.
pub(super) fn metrics_body(run_id: &str, points: &[&Metric]) -> Vec<u8> {
    let mut body = b"{\"run_id\":".to_vec();
    write_string(&mut body, run_id);
    body.extend_from_slice(b",\"metrics\":[");
    for (index, metric) in points.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write_metric(&mut body, metric);
    }
    body.extend_from_slice(b"]}");
    body
}

/// Returns one body with these metrics of a logged model.
pub(super) fn model_metrics_body(
    run_id: &str,
    model_id: &str,
    metrics: &[&ModelMetric],
) -> Vec<u8> {
    let mut body = b"{\"run_id\":".to_vec();
    write_string(&mut body, run_id);
    body.extend_from_slice(b",\"metrics\":[");
    for (index, ModelMetric { point, dataset }) in metrics.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write_metric(&mut body, point);
        // The point's closing brace.
        body.pop();
        let mut link = vec![("model_id", model_id)];
        if let Some(DatasetId { name, digest }) = dataset {
            link.extend([("dataset_name", &**name), ("dataset_digest", digest)]);
        }
        for (field, value) in link {
            body.push(b',');
            write_string(&mut body, field);
            body.push(b':');
            write_string(&mut body, value);
        }
        body.push(b'}');
    }
    body.extend_from_slice(b"]}");
    body
}

/// Builder of the bodies for `log-batch`.
struct BatchBodyBuilder {
    /// Beginning of every body.
    prefix: Vec<u8>,
    capacity: usize,
    finished: Vec<Vec<u8>>,
    current: Vec<u8>,
    /// Name of the list that is being written, if any.
    list: Option<&'static str>,
}

impl BatchBodyBuilder {
    fn new(run_id: &str, capacity: usize) -> Self {
        let mut head = b"{\"run_id\":".to_vec();
        write_string(&mut head, run_id);
        Self {
            prefix: head,
            capacity,
            finished: Vec::new(),
            current: Vec::new(),
            list: None,
        }
    }

    fn push_entry(&mut self, list: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        if self.current.len() > MAX_BODY_BYTES {
            self.finish_current();
        }
        if self.current.is_empty() {
            self.current.reserve(self.capacity);
            self.current.extend_from_slice(&self.prefix);
        }
        if self.list == Some(list) {
            self.current.push(b',');
        } else {
            if self.list.is_some() {
                self.current.push(b']');
            }
            self.current.extend_from_slice(b",\"");
            self.current.extend_from_slice(list.as_bytes());
            self.current.extend_from_slice(b"\":[");
            self.list = Some(list);
        }
        write(&mut self.current);
    }

    fn finish_current(&mut self) {
        if self.list.take().is_some() {
            self.current.extend_from_slice(b"]}");
            self.finished.push(std::mem::take(&mut self.current));
        }
    }

    fn finish(mut self) -> Vec<Vec<u8>> {
        self.finish_current();
        self.finished
    }
}

fn write_metric(body: &mut Vec<u8>, metric: &Metric) {
    body.extend_from_slice(b"{\"key\":");
    write_string(body, &metric.key);
    body.extend_from_slice(b",\"value\":");
    write_float(body, metric.value);
    body.extend_from_slice(b",\"timestamp\":");
    write_integer(body, metric.timestamp_ms);
    body.extend_from_slice(b",\"step\":");
    write_integer(body, metric.step);
    body.push(b'}');
}

fn write_key_value(body: &mut Vec<u8>, key: &str, value: &str) {
    body.extend_from_slice(b"{\"key\":");
    write_string(body, key);
    body.extend_from_slice(b",\"value\":");
    write_string(body, value);
    body.push(b'}');
}

/// Writes a value as JSON. Writing into a `Vec` does not fail, and neither does the serialization of a
/// string, an integer or a finite float.
fn write_scalar(body: &mut Vec<u8>, value: &impl Serialize) {
    let written = serde_json::to_writer(body, value);
    debug_assert!(written.is_ok());
}

fn write_string(body: &mut Vec<u8>, value: &str) {
    write_scalar(body, &value);
}

fn write_integer(body: &mut Vec<u8>, value: i64) {
    write_scalar(body, &value);
}

fn write_float(body: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        write_scalar(body, &value);
    } else if value.is_nan() {
        body.extend_from_slice(b"\"NaN\"");
    } else if value > 0.0 {
        body.extend_from_slice(b"\"Infinity\"");
    } else {
        body.extend_from_slice(b"\"-Infinity\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Param;

    fn metric(key: &str, value: f64, step: i64) -> Metric {
        Metric {
            key: key.into(),
            value,
            timestamp_ms: 7,
            step,
        }
    }

    fn param(key: &str, value: &str) -> Param {
        Param {
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn a_batch_has_the_types_the_server_expects() {
        let metrics = [
            metric("a", 1.0, -3),
            metric("a", f64::NAN, 1),
            metric("b\"\n", f64::INFINITY, i64::MAX),
            metric("c", f64::NEG_INFINITY, 0),
            metric("d", 1e-300, i64::MIN),
        ];
        let batch = Batch {
            metrics: &metrics,
            params: &[param("p", "1")],
            tags: &[Tag {
                key: "t".to_owned(),
                value: "ü".to_owned(),
            }],
        };
        let bodies = log_batch("r", &batch);
        assert_eq!(bodies.len(), 1);
        assert_eq!(
            String::from_utf8_lossy(&bodies[0]),
            concat!(
                r#"{"run_id":"r","params":[{"key":"p","value":"1"}],"metrics":["#,
                r#"{"key":"a","value":1.0,"timestamp":7,"step":-3},"#,
                r#"{"key":"b\"\n","value":"Infinity","timestamp":7,"step":9223372036854775807},"#,
                r#"{"key":"c","value":"-Infinity","timestamp":7,"step":0},"#,
                r#"{"key":"d","value":1e-300,"timestamp":7,"step":-9223372036854775808}],"#,
                r#""tags":[{"key":"t","value":"ü"}]}"#
            )
        );
        assert_eq!(
            String::from_utf8_lossy(&super::metrics_body("r", &[&metrics[1], &metrics[1]])),
            concat!(
                r#"{"run_id":"r","metrics":[{"key":"a","value":"NaN","timestamp":7,"step":1},"#,
                r#"{"key":"a","value":"NaN","timestamp":7,"step":1}]}"#
            )
        );
    }

    #[test]
    fn nothing_to_send_is_no_body() {
        let nan = [metric("a", f64::NAN, 0)];
        assert!(log_batch("r", &Batch::default()).is_empty());
        assert!(
            log_batch(
                "r",
                &Batch {
                    metrics: &nan,
                    ..Batch::default()
                }
            )
            .is_empty()
        );
    }

    #[test]
    fn large_batches_are_split_by_bytes() {
        let params: Vec<_> = (0..100)
            .map(|i| param(&format!("p{i}"), &"日".repeat(6000)))
            .collect();
        let bodies = log_batch(
            "r",
            &Batch {
                params: &params,
                ..Batch::default()
            },
        );
        assert!(bodies.len() > 1);
        let mut entries = 0;
        for body in &bodies {
            assert!(body.len() < 1_000_000);
            let parsed: serde_json::Value = serde_json::from_slice(body).expect("JSON");
            assert_eq!(parsed["run_id"], "r");
            entries += parsed["params"].as_array().expect("a list").len();
        }
        assert_eq!(entries, 100);
    }
}
