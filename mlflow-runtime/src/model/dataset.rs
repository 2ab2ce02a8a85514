//! [`InputDataset`], a dataset as an input of a run, and [`DatasetRecord`], its form in the journal.
//!
//! Invariant: a record holds everything that a store needs, except the digest of a large file or frame, which is computed
//! in the background.

use serde::{Deserialize, Serialize};

use crate::model::{ArtifactKind, Tag};

/// Dataset that a run used, as a store writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputDataset {
    /// Name of the dataset.
    pub name: String,
    /// Digest of the dataset's content. An experiment has one dataset for each name and digest.
    pub digest: String,
    /// Kind of the source, e.g. `local` or `http`.
    pub source_type: String,
    /// Description of the source, as JSON.
    pub source: String,
    /// Schema as JSON.
    pub schema: Option<String>,
    /// Profile as JSON, e.g. the number of rows.
    pub profile: Option<String>,
    /// Tags of this use of the dataset, such as `mlflow.data.context`.
    pub tags: Vec<Tag>,
}

/// Dataset in the journal: the bytes of an artifact of the kind
/// [`Dataset`](crate::model::ArtifactKind::Dataset), as JSON. The names of the fields are a part of the
/// journal's format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatasetRecord {
    pub(crate) name: String,
    pub(crate) digest: RecordedDigest,
    pub(crate) source_type: String,
    pub(crate) source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<Tag>,
}

/// Digest of a recorded dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RecordedDigest {
    /// Digest that was known when the dataset was logged.
    Known(String),
    /// Digest of a file's content, computed at the delivery. `fallback` is used if the file can no longer be
    /// read as it was.
    OfFile { file: FileVersion, fallback: String },
    /// Digest of rows in memory, computed by the process that logged them. `fallback` is used if that process has ended
    /// before.
    OfRows { rows: RowsTicket, fallback: String },
}

/// Digest that was not known when the dataset was logged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LateDigest {
    /// Digest of a file's content.
    File(FileVersion),
    /// Digest of rows in memory.
    Rows(RowsTicket),
}

/// Identity of a digest that a process computes in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct RowsTicket {
    /// Random number of the process.
    pub(crate) process: u64,
    /// Number of the digest in the process.
    pub(crate) number: u64,
}

/// File as it was when a dataset was logged. A file with another length or time is another dataset.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct FileVersion {
    /// Absolute path.
    pub(crate) path: String,
    /// Length in bytes.
    pub(crate) length: u64,
    /// Time of the last change, in ns since the Unix epoch.
    pub(crate) modified_ns: i64,
}

impl DatasetRecord {
    /// Returns the path and the bytes of the artifact that the record is in the journal.
    pub(crate) fn to_artifact(&self) -> (String, Vec<u8>) {
        // Writing texts and numbers into memory does not fail.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        (ArtifactKind::dataset_path(&self.name, &bytes), bytes)
    }

    /// Returns the dataset as a store writes it. `late_digest` gets the name of the dataset and the
    /// fallback, and returns the digest if it was not known.
    pub(crate) fn into_input(
        self,
        late_digest: impl FnOnce(&str, LateDigest, String) -> String,
    ) -> InputDataset {
        let Self {
            name,
            digest,
            source_type,
            source,
            schema,
            profile,
            tags,
        } = self;
        InputDataset {
            digest: digest.resolve(&name, late_digest),
            name,
            source_type,
            source,
            schema,
            profile,
            tags,
        }
    }
}

impl RecordedDigest {
    /// Returns the digest of the dataset `name`. `late_digest` gets the name and the fallback, and returns the digest
    /// if it was not known.
    pub(crate) fn resolve(
        self,
        name: &str,
        late_digest: impl FnOnce(&str, LateDigest, String) -> String,
    ) -> String {
        match self {
            Self::Known(digest) => digest,
            Self::OfFile { file, fallback } => late_digest(name, LateDigest::File(file), fallback),
            Self::OfRows { rows, fallback } => late_digest(name, LateDigest::Rows(rows), fallback),
        }
    }
}
