//! [`ServerInfo`]: the abilities of the server's artifact storage, as the server advertises them.

use serde::Deserialize;

/// Abilities of the server's artifact storage. A server before release 3.17 advertises none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServerInfo {
    /// True if the storage takes uploads in parts.
    pub(super) multipart_uploads_enabled: bool,
    /// True if the server passes no artifacts on, since MLflow 3.18.
    pub(super) artifacts_presigned_only: bool,
}
