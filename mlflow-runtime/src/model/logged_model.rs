//! Logged models: [`NewModel`] and [`StoredModel`] for the stores, and [`ModelRecord`], the form of a model in the
//! journal.
//!
//! Invariant: a record holds everything about a model except the contents of its files, each of which is an
//! artifact of its own. The path of each artifact holds what is needed to create the model, so that they can be
//! delivered in any order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::model_metric::RecordedMetric;
use crate::model::{Param, Tag};

/// Logged model to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewModel<'a> {
    /// Unique key of the model: 32 lower-case hex characters.
    pub key: &'a str,
    /// Name of the model, without the characters that MLflow refuses.
    pub name: &'a str,
    /// Kind of the model, a word of the user.
    pub model_type: Option<&'a str>,
}

/// Logged model as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredModel {
    /// Id that the store assigned to the model.
    pub model_id: String,
    /// Id of the model's experiment.
    pub experiment_id: String,
    /// Destination of the model's files: a URI or a directory.
    pub artifact_uri: String,
}

/// Registration of a logged model as a version of a registered model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration<'a> {
    /// Key of the logged model, by which a version is found again.
    pub key: &'a str,
    /// Name of the registered model.
    pub name: &'a str,
    /// Aliases that the version gets.
    pub aliases: &'a [String],
    /// Tags of the version.
    pub tags: &'a [Tag],
}

/// Status of a logged model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelStatus {
    /// The files of the model are being uploaded.
    Pending,
    /// The model is complete.
    Ready,
    /// A file of the model could not be uploaded.
    UploadFailed,
}

impl ModelStatus {
    /// Returns the name of the status in MLflow's interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "LOGGED_MODEL_PENDING",
            Self::Ready => "LOGGED_MODEL_READY",
            Self::UploadFailed => "LOGGED_MODEL_UPLOAD_FAILED",
        }
    }

    /// Returns the number of the status in MLflow's tables.
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Pending => 1,
            Self::Ready => 2,
            Self::UploadFailed => 3,
        }
    }
}

/// Logged model in the journal: the bytes of an artifact of the kind
/// [`Model`](crate::model::ArtifactKind::Model), as JSON. The names of the fields are a part of the journal's
/// format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelRecord {
    /// Sizes of the files in bytes, by their paths inside of the model.
    pub(crate) files: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) params: Vec<Param>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<Tag>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) metrics: Vec<RecordedMetric>,
    pub(crate) step: i64,
    /// Flavors by name, as `MLmodel` holds them.
    pub(crate) flavors: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<Value>,
    /// Description of the input example, as `MLmodel` holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input_example: Option<Value>,
    /// Time of the logging in UTC, as `MLmodel` holds it.
    pub(crate) utc_time_created: String,
    /// Name of the registered model of which the model becomes a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) registered_name: Option<String>,
    /// Aliases and tags of the version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) aliases: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) version_tags: Vec<Tag>,
}

/// Path of an artifact that belongs to a model: `key/name` for the model's record and `key/name/path` for a file.
/// A kind of model is appended to the key, in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelPath<'p> {
    pub(crate) key: &'p str,
    pub(crate) model_type: Option<String>,
    pub(crate) name: &'p str,
    /// Path of the file inside of the model; `None` for the record.
    pub(crate) file: Option<&'p str>,
}

/// Separator of the key and the kind of a model.
const TYPE_SEPARATOR: char = '.';

impl<'p> ModelPath<'p> {
    /// Returns the path of a model's record.
    // Input:  `0a…`, `llm`, `net`
    // Output: `0a….6c6c6d/net`
    pub(crate) fn of_record(model: &NewModel<'_>) -> String {
        let NewModel {
            key,
            name,
            model_type,
        } = model;
        match model_type {
            Some(kind) => {
                let kind = mlflow_rules::to_hex(kind.as_bytes());
                format!("{key}{TYPE_SEPARATOR}{kind}/{name}")
            }
            None => format!("{key}/{name}"),
        }
    }

    /// Reads a path; `None` if it is no path of a model.
    pub(crate) fn parse(path: &'p str) -> Option<Self> {
        let (head, rest) = path.split_once('/')?;
        let (name, file) = match rest.split_once('/') {
            Some((name, file)) => (name, Some(file)),
            None => (rest, None),
        };
        let (key, model_type) = match head.split_once(TYPE_SEPARATOR) {
            Some((key, hex)) => (key, Some(decode_hex(hex)?)),
            None => (head, None),
        };
        Some(Self {
            key,
            model_type,
            name,
            file,
        })
    }

    /// Returns the part of a path that people know: the name of the model, and the path of the file.
    pub(crate) fn shown(path: &str) -> &str {
        path.split_once('/').map_or(path, |(_, shown)| shown)
    }

    /// Returns the model that the path names, as it is to be created.
    pub(crate) fn model(&self) -> NewModel<'_> {
        NewModel {
            key: self.key,
            name: self.name,
            model_type: self.model_type.as_deref(),
        }
    }
}

fn decode_hex(hex: &str) -> Option<String> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    String::from_utf8(pairs.iter().map(|[high, low]| high << 4 | low).collect()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_holds_what_creates_the_model() {
        for model_type in [None, Some("llm/ü.v1")] {
            let model = NewModel {
                key: "0a1b",
                name: "net v1",
                model_type,
            };
            let record = ModelPath::of_record(&model);
            let parsed = ModelPath::parse(&record).expect("a path");
            assert_eq!((parsed.model(), parsed.file), (model, None));
            let file = format!("{record}/dir/weights.bin");
            let parsed = ModelPath::parse(&file).expect("a path");
            assert_eq!(
                (parsed.model(), parsed.file),
                (model, Some("dir/weights.bin"))
            );
            assert_eq!(ModelPath::shown(&file), "net v1/dir/weights.bin");
        }
        assert_eq!(ModelPath::parse("no path"), None);
        assert_eq!(ModelPath::parse("a.b/name"), None);
    }
}
