//! [`ArtifactKind`]: what the bytes of an artifact are, and where a store puts them.

use serde::{Deserialize, Serialize};

/// Kind of an artifact in the journal. Every kind is spooled, deferred, kept and sent again in the same way;
/// the kind decides what is sent to the store.
///
/// The name of a variant is a part of the journal's format. An event with a kind that a version does not know
/// stays in its file, for a newer version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ArtifactKind {
    /// File, stored as it is.
    #[default]
    File,
}

impl ArtifactKind {
    /// Returns true for a file, which is recorded without its kind, as all versions know it.
    pub(crate) fn is_file(&self) -> bool {
        *self == Self::File
    }

    /// Returns the word for an artifact of this kind in a message.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::File => "artifact",
        }
    }
}
