//! [`ClientError`]: causes for which a call of a client brings no result.
//!
//! Invariant: the variant names the cause, and with it who has to act. The text says what was wrong and what
//! to do, and no code depends on the text.

use std::error::Error;
use std::fmt::{self, Display};
use std::sync::Arc;

use super::{ErrorReason, StoreError};
use crate::search::SearchError;

/// Error of a [`Client`](crate::Client). The variant names the cause; the text says what to do.
///
/// ```
/// use mlflow::ClientError;
///
/// # let fake = mlflow::testing::fake();
/// let client = mlflow::blocking::Client::new();
/// match client.experiment("wine") {
///     Err(ClientError::NotFound { .. }) => { client.create_experiment("wine")?; }
///     found => { found?; }
/// }
/// assert_eq!(client.experiment("wine")?.name, "wine");
/// # Ok::<(), ClientError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// Filter or order that the search does not understand.
    Search(SearchError),
    /// Record or artifact that the store does not have.
    NotFound {
        /// Description of what is missing, and of what to do.
        reason: ErrorReason,
    },
    /// Record whose name is already used by another.
    AlreadyExists {
        /// Description of what exists, and of what to do.
        reason: ErrorReason,
    },
    /// Call that the store will never accept as it is.
    Invalid {
        /// Description of what is wrong, and of what was expected.
        reason: ErrorReason,
    },
    /// Refusal of everything from this client, or for this record, until a person changes something: wrong
    /// credentials, missing permissions, or a tracking URI that cannot be used.
    Blocked {
        /// Description of what was refused, and of what to do.
        reason: ErrorReason,
    },
    /// Store that cannot be reached, that does not answer in time, or whose file is locked by another
    /// process. The same call may succeed later.
    Unavailable {
        /// Observed failure.
        reason: ErrorReason,
    },
    /// Call that this store, or this version of the server, does not offer.
    Unsupported {
        /// Description of what is missing, and of who offers it.
        reason: ErrorReason,
    },
    /// File or directory of this machine that cannot be read or written.
    LocalFile {
        /// Path and observed failure.
        reason: ErrorReason,
    },
}

impl ClientError {
    /// Creates the error of a record that the store does not have.
    pub(crate) fn not_found(reason: impl Into<String>) -> Self {
        Self::NotFound {
            reason: reason.into().into(),
        }
    }

    /// Creates the error of a name that is already used.
    pub(crate) fn already_exists(reason: impl Into<String>) -> Self {
        Self::AlreadyExists {
            reason: reason.into().into(),
        }
    }

    /// Creates the error of a call that is never accepted.
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid {
            reason: reason.into().into(),
        }
    }

    /// Creates the error of a call that the store does not offer.
    pub(crate) fn unsupported(reason: impl Into<String>) -> Self {
        Self::Unsupported {
            reason: reason.into().into(),
        }
    }

    /// Creates the error of a file of this machine.
    pub(crate) fn local_file(reason: String, source: std::io::Error) -> Self {
        let mut reason = ErrorReason::from(reason);
        reason.set_source(Arc::new(source));
        Self::LocalFile { reason }
    }

    /// Returns the description, except for the error of a search.
    fn reason(&self) -> Option<&ErrorReason> {
        match self {
            Self::Search(_) => None,
            Self::NotFound { reason }
            | Self::AlreadyExists { reason }
            | Self::Invalid { reason }
            | Self::Blocked { reason }
            | Self::Unavailable { reason }
            | Self::Unsupported { reason }
            | Self::LocalFile { reason } => Some(reason),
        }
    }
}

impl From<SearchError> for ClientError {
    fn from(error: SearchError) -> Self {
        Self::Search(error)
    }
}

impl From<StoreError> for ClientError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { reason, .. }
            | StoreError::Busy { reason }
            | StoreError::Contested { reason } => Self::Unavailable { reason },
            StoreError::Rejected { reason } | StoreError::TooLarge { reason } => {
                Self::Invalid { reason }
            }
            StoreError::Missing { reason } => Self::NotFound { reason },
            StoreError::Blocked { reason, .. } => Self::Blocked { reason },
        }
    }
}

impl Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Search(error) => error.fmt(f),
            Self::NotFound { reason }
            | Self::AlreadyExists { reason }
            | Self::Invalid { reason }
            | Self::Blocked { reason }
            | Self::Unavailable { reason }
            | Self::Unsupported { reason }
            | Self::LocalFile { reason } => reason.fmt(f),
        }
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason()?.source()
    }
}
