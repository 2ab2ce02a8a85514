//! [`FileInfo`].

use serde::Serialize;

/// File or folder among the artifacts of a run. See [`Client::list_artifacts`](crate::Client::list_artifacts) for an
/// example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileInfo {
    /// Path below the artifact root of the run, `/`-separated.
    pub path: String,
    /// True for a folder.
    pub is_dir: bool,
    /// Size of a file in bytes; `None` for a folder.
    pub file_size: Option<u64>,
}

impl FileInfo {
    /// Creates the record of a file of `file_size` bytes.
    pub(crate) fn file(path: impl Into<String>, file_size: u64) -> Self {
        Self {
            path: path.into(),
            is_dir: false,
            file_size: Some(file_size),
        }
    }

    /// Creates the record of a folder.
    pub(crate) fn folder(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            is_dir: true,
            file_size: None,
        }
    }
}
