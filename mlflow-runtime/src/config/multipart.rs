//! [`MultipartUploads`]: settings of uploads in parts, under the names that MLflow's Python client gives them.

use super::resolver::Resolver;
use crate::env_vars::{parse_flag, parse_number};

const ENABLED: &str = "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD";
const MIN_FILE_BYTES: &str = "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE";
const PART_BYTES: &str = "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE";
/// Description of a length that can be used.
const BYTES: &str = "a number of bytes";

/// Settings of uploads in parts.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MultipartUploads {
    /// True to upload large files in parts, false not to; `None` to do what the server advertises.
    pub enabled: Option<bool>,
    /// Length from which on a file counts as large, in bytes. Default: 500 MiB.
    pub min_file_bytes: u64,
    /// Length of a part in bytes. Default: 10 MiB. Longer parts are used if there would be more than 10,000, and
    /// none is shorter than 5 MiB but the last one.
    pub part_bytes: u64,
}

impl Default for MultipartUploads {
    fn default() -> Self {
        Self {
            enabled: None,
            min_file_bytes: 500 << 20,
            part_bytes: 10 << 20,
        }
    }
}

impl MultipartUploads {
    pub(super) fn resolve(resolver: &mut Resolver<'_>) -> Self {
        let Self {
            min_file_bytes,
            part_bytes,
            ..
        } = Self::default();
        Self {
            enabled: resolver
                .choose(ENABLED)
                .variable(|value| parse_flag(ENABLED, &value))
                .or_unset(),
            min_file_bytes: resolver
                .choose(MIN_FILE_BYTES)
                .variable(|value| parse_number(MIN_FILE_BYTES, &value, BYTES))
                .or(min_file_bytes),
            part_bytes: resolver
                .choose(PART_BYTES)
                .variable(|value| parse_number(PART_BYTES, &value, BYTES))
                .or(part_bytes),
        }
    }
}
