//! [`EntryRecord`]: an entry of a journal as JSON, and [`describe`]: as a line for people.

use std::collections::BTreeMap;
use std::path::Path;

use mlflow::journals::{Entry, EntryArtifactKind, EntryValue};
use serde::Serialize;

use crate::output::format;
use crate::output::json_number::serialize_number;

/// Entry as it is exported.
#[derive(Serialize)]
pub(super) struct EntryRecord<'e> {
    run_key: &'e str,
    /// Order of all entries of the process but points.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    /// True if the store has the value, or has refused it for good.
    is_settled: bool,
    #[serde(flatten)]
    value: ValueRecord<'e>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ValueRecord<'e> {
    Start {
        name: &'e str,
        experiment_name: Option<&'e str>,
        experiment_id: Option<&'e str>,
        resumed_run_id: Option<&'e str>,
        parent_key: Option<&'e str>,
        user: &'e str,
        start_time_ms: i64,
        params: &'e BTreeMap<String, String>,
        tags: &'e BTreeMap<String, String>,
    },
    Point {
        key: &'e str,
        #[serde(serialize_with = "serialize_number")]
        value: f64,
        timestamp_ms: i64,
        /// None for the last step of the metric.
        step: Option<i64>,
    },
    Param {
        key: &'e str,
        value: &'e str,
    },
    Tag {
        key: &'e str,
        value: &'e str,
    },
    Artifact {
        path: &'e str,
        kind: &'e str,
        /// Number of rows, of rows of a table.
        #[serde(skip_serializing_if = "Option::is_none")]
        rows: Option<u64>,
        /// Step of a checkpoint.
        #[serde(skip_serializing_if = "Option::is_none")]
        step: Option<i64>,
        bytes: u64,
        file: Option<&'e Path>,
    },
    Dataset {
        name: &'e str,
        bytes: u64,
        file: Option<&'e Path>,
    },
    Model {
        name: &'e str,
        path: Option<&'e str>,
        bytes: u64,
        file: Option<&'e Path>,
    },
    Console {
        path: &'e str,
        bytes: u64,
    },
    End {
        status: &'e str,
        end_time_ms: i64,
    },
    /// Kind that this version of the program does not know.
    Other,
}

impl<'e> EntryRecord<'e> {
    pub(super) fn new(entry: &'e Entry) -> Self {
        let run = &entry.run;
        let value = match &entry.value {
            EntryValue::Start(start) => ValueRecord::Start {
                name: &start.name,
                experiment_name: run.experiment_name.as_deref(),
                experiment_id: run.experiment_id.as_deref(),
                resumed_run_id: run.resumed_run_id.as_deref(),
                parent_key: start.parent_key.as_deref(),
                user: &start.user,
                start_time_ms: start.start_time_ms,
                params: &start.params,
                tags: &start.tags,
            },
            EntryValue::Point(point) => ValueRecord::Point {
                key: &point.key,
                value: point.value,
                timestamp_ms: point.timestamp_ms,
                step: point.step,
            },
            EntryValue::Param { key, value } => ValueRecord::Param { key, value },
            EntryValue::Tag { key, value } => ValueRecord::Tag { key, value },
            EntryValue::Artifact {
                path,
                kind,
                bytes,
                file,
            } => {
                let (kind, rows, step) = artifact_fields(*kind);
                ValueRecord::Artifact {
                    path,
                    kind,
                    rows,
                    step,
                    bytes: *bytes,
                    file: file.as_deref(),
                }
            }
            EntryValue::Dataset { name, bytes, file } => ValueRecord::Dataset {
                name,
                bytes: *bytes,
                file: file.as_deref(),
            },
            EntryValue::Model {
                name,
                path,
                bytes,
                file,
            } => ValueRecord::Model {
                name,
                path: path.as_deref(),
                bytes: *bytes,
                file: file.as_deref(),
            },
            EntryValue::Console(console) => ValueRecord::Console {
                path: console.artifact_path(),
                bytes: console.len(),
            },
            EntryValue::End {
                status,
                end_time_ms,
            } => ValueRecord::End {
                status: status.as_str(),
                end_time_ms: *end_time_ms,
            },
            _ => ValueRecord::Other,
        };
        Self {
            run_key: &run.key,
            sequence: entry.sequence,
            is_settled: entry.is_settled,
            value,
        }
    }
}

/// Returns the name of a kind of artifacts, its number of rows, and its step.
fn artifact_fields(kind: EntryArtifactKind) -> (&'static str, Option<u64>, Option<i64>) {
    match kind {
        EntryArtifactKind::File => ("file", None, None),
        EntryArtifactKind::TableRows { rows } => ("table_rows", Some(rows), None),
        EntryArtifactKind::Image => ("image", None, None),
        EntryArtifactKind::CheckpointFile { step } => ("checkpoint_file", None, Some(step)),
        EntryArtifactKind::CheckpointEnd { step } => ("checkpoint_end", None, Some(step)),
        _ => ("other", None, None),
    }
}

/// Returns a line about an entry.
pub(super) fn describe(entry: &Entry) -> String {
    match &entry.value {
        EntryValue::Start(start) => format!(
            "start {} at {}, {}",
            start.name,
            format::time(start.start_time_ms),
            format::counted(start.params.len() as u64, "param")
        ),
        EntryValue::Point(point) => {
            let step = point
                .step
                .map_or_else(|| "the last step".to_owned(), |step| format!("step {step}"));
            let value = format::number(point.value);
            format!("metric {} = {value} at {step}", point.key)
        }
        EntryValue::Param { key, value } => format!("param {key} = {value}"),
        EntryValue::Tag { key, value } => format!("tag {key} = {value}"),
        EntryValue::Artifact {
            path, kind, bytes, ..
        } => {
            let size = format::size(*bytes);
            match kind {
                EntryArtifactKind::TableRows { rows } => {
                    let rows = format::counted(*rows, "row");
                    format!("{rows} of the table {path}, {size}")
                }
                EntryArtifactKind::Image => format!("image {path}, {size}"),
                EntryArtifactKind::CheckpointFile { step } => {
                    format!("file {path} of the checkpoint of step {step}, {size}")
                }
                EntryArtifactKind::CheckpointEnd { step } => {
                    format!("end of the checkpoint {path} of step {step}")
                }
                _ => format!("artifact {path}, {size}"),
            }
        }
        EntryValue::Dataset { name, .. } => format!("dataset {name}"),
        EntryValue::Model {
            name, path: None, ..
        } => format!("model {name}"),
        EntryValue::Model {
            name,
            path: Some(path),
            bytes,
            ..
        } => format!("file {path} of the model {name}, {}", format::size(*bytes)),
        EntryValue::Console(console) => format!(
            "log {}, {}",
            console.artifact_path(),
            format::size(console.len())
        ),
        EntryValue::End {
            status,
            end_time_ms,
        } => format!("end {status} at {}", format::time(*end_time_ms)),
        _ => "an entry of another kind".to_owned(),
    }
}
