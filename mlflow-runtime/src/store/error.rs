//! Errors of stores.
//!
//! Invariant: the variant of an error determines what the caller does next. The text of an error is for
//! people only, and no code depends on that text.

use std::error::Error;
use std::fmt::{self, Display};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// Reason why a store did not carry out a call. The variant determines what the caller does next.
///
/// ```
/// use mlflow::StoreError;
///
/// let error = StoreError::Rejected { reason: "the param `lr` has another value".into() };
/// assert_eq!(&**error.reason(), "the param `lr` has another value");
/// assert_eq!(error.to_string(), "the param `lr` has another value");
/// assert!(std::error::Error::source(&error).is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// Store that cannot be reached, or that cannot work now: the caller repeats the same call later.
    Unavailable {
        /// Observed failure, e.g. `connection refused`.
        reason: ErrorReason,
        /// Minimum delay before the next attempt, if the store has requested one.
        retry_after: Option<Duration>,
    },
    /// Store that works, but is in use by another client at this moment (e.g. a file that is locked): the
    /// caller repeats the same call soon.
    Busy {
        /// Observed failure.
        reason: ErrorReason,
    },
    /// Conflict with another client, which seems to create the same row at this moment: the caller repeats
    /// the same call soon, but not for ever. A call that fails again and again with this error is treated as
    /// rejected. For example, a database that ignores case keeps `Loss` and `loss` in one row, so their
    /// conflict never ends.
    Contested {
        /// Observed failure.
        reason: ErrorReason,
    },
    /// Call that the store will never accept: the caller rejects the entry and continues.
    Rejected {
        /// Error text of the store.
        reason: ErrorReason,
    },
    /// Request that is too large for something between client and store, e.g. a gateway: the caller halves
    /// the batch. A single entry that is too large may be accepted later, when a person has raised the limit.
    TooLarge {
        /// Observed failure.
        reason: ErrorReason,
    },
    /// Run that the store does not have. Another server behind the same address may have the run.
    Missing {
        /// Error text of the store.
        reason: ErrorReason,
    },
    /// Refusal of everything for this run or from this client until a person acts (e.g. a deleted experiment,
    /// wrong credentials): the values are kept.
    Blocked {
        /// Description of the problem and of what to do about it.
        reason: ErrorReason,
        /// True if the store refuses everything (e.g. wrong credentials), not only this run.
        everything: bool,
    },
}

impl StoreError {
    /// Returns true if nobody knows whether the call was carried out. A store that asks for a delay has not carried it out.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(
            self,
            Self::Unavailable {
                retry_after: None,
                ..
            }
        )
    }

    /// Returns the delay before the next attempt that the store has requested.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Returns the description of the failure. See [`StoreError`] for an example.
    #[must_use]
    pub fn reason(&self) -> &ErrorReason {
        match self {
            Self::Unavailable { reason, .. }
            | Self::Busy { reason }
            | Self::Contested { reason }
            | Self::Rejected { reason }
            | Self::TooLarge { reason }
            | Self::Missing { reason }
            | Self::Blocked { reason, .. } => reason,
        }
    }

    /// Returns this error with `source` as its underlying error.
    #[must_use]
    pub(super) fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        let (Self::Unavailable { reason, .. }
        | Self::Busy { reason }
        | Self::Contested { reason }
        | Self::Rejected { reason }
        | Self::TooLarge { reason }
        | Self::Missing { reason }
        | Self::Blocked { reason, .. }) = &mut self;
        reason.source = Some(Arc::new(source));
        self
    }
}

impl Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(f)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason().source()
    }
}

/// Description of a failure for people, with the underlying error, if there is one. Two descriptions are
/// equal if their texts are equal. Dereferences to the text. See [`StoreError`] for an example.
#[derive(Clone, Debug)]
pub struct ErrorReason {
    text: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ErrorReason {
    /// Returns the underlying error.
    pub(super) fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }

    /// Sets the underlying error.
    pub(super) fn set_source(&mut self, source: Arc<dyn Error + Send + Sync>) {
        self.source = Some(source);
    }
}

impl From<String> for ErrorReason {
    fn from(text: String) -> Self {
        Self { text, source: None }
    }
}

impl From<&str> for ErrorReason {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Deref for ErrorReason {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl Display for ErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for ErrorReason {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ErrorReason {}
