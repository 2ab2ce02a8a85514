//! Errors of the mapping: who has to act, and if the connection can be used afterwards.

use crate::search::SearchError;
use crate::store::{ClientError, StoreError};

/// Reason why a piece of work of the shipper was not done.
#[derive(Debug)]
pub(in crate::store) enum SqlError {
    /// Answer in the caller's terms, after which the connection is as good as before.
    Refused(StoreError),
    /// Failure of the database, in the caller's terms.
    Failed {
        error: StoreError,
        /// True if the next call may use the same connection.
        connection_usable: bool,
    },
}

impl SqlError {
    /// Returns the error for a refusal that concerns one run or experiment.
    pub(super) fn blocked(reason: String) -> Self {
        Self::Refused(StoreError::Blocked {
            reason: reason.into(),
            everything: false,
        })
    }

    /// Returns the error for a record that does not exist.
    pub(super) fn missing(reason: String) -> Self {
        Self::Refused(StoreError::Missing {
            reason: reason.into(),
        })
    }

    /// Returns the error for a result that MLflow's schema does not allow. Somebody may be changing the schema.
    pub(super) fn unexpected(found: &str) -> Self {
        Self::Failed {
            error: StoreError::Unavailable {
                reason: format!("the database returned {found}").into(),
                retry_after: None,
            },
            connection_usable: false,
        }
    }
}

impl From<SqlError> for StoreError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Refused(error) | SqlError::Failed { error, .. } => error,
        }
    }
}

/// Reason why a call of a client brought no result.
#[derive(Debug)]
pub(in crate::store) enum CatalogError {
    /// Answer in the caller's terms, after which the connection is as good as before.
    Declined(ClientError),
    /// Failure of the database.
    Failed(SqlError),
}

impl From<ClientError> for CatalogError {
    fn from(error: ClientError) -> Self {
        Self::Declined(error)
    }
}

impl From<SearchError> for CatalogError {
    fn from(error: SearchError) -> Self {
        Self::Declined(error.into())
    }
}

impl From<SqlError> for CatalogError {
    fn from(error: SqlError) -> Self {
        Self::Failed(error)
    }
}

impl From<CatalogError> for ClientError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Declined(error) => error,
            CatalogError::Failed(error) => StoreError::from(error).into(),
        }
    }
}

/// Error of a piece of work, as the database has to know it.
pub(in crate::store) trait WorkError: From<SqlError> + Send + 'static {
    /// Returns true if the same connection may be used for the next call.
    fn leaves_connection_usable(&self) -> bool;
}

impl WorkError for SqlError {
    fn leaves_connection_usable(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Failed {
                connection_usable, ..
            } => *connection_usable,
        }
    }
}

impl WorkError for CatalogError {
    fn leaves_connection_usable(&self) -> bool {
        match self {
            Self::Declined(_) => true,
            Self::Failed(error) => error.leaves_connection_usable(),
        }
    }
}
