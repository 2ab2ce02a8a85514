//! Opening of the store that a [`Destination`] names.
//!
//! Each store has a cargo feature. Values for a store that the program was built without wait in the journal.

use super::{ClientStore, StoreError};
use crate::config::Settings;
use crate::config::destination::Destination;

/// Directory for the artifacts of a local database, below the working directory. MLflow uses the same.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
const ARTIFACT_ROOT: &str = "mlruns";

impl Destination {
    /// Returns the store at this destination. Reads the certificate files, but opens no database file and no
    /// connection yet.
    #[cfg_attr(
        not(any(feature = "rest", feature = "postgres")),
        allow(unused_variables, reason = "a file needs no settings")
    )]
    pub(crate) fn open_store(
        &self,
        settings: &Settings,
    ) -> Result<Box<dyn ClientStore>, StoreError> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite { path } => Ok(Box::new(super::SqliteStore::new(path, ARTIFACT_ROOT))),
            #[cfg(feature = "postgres")]
            Self::Postgres { uri } => Ok(Box::new(super::PostgresStore::open(
                (**uri).clone(),
                std::path::Path::new(ARTIFACT_ROOT),
                settings.request_timeout,
            ))),
            #[cfg(feature = "rest")]
            Self::Rest { uri } => Ok(Box::new(super::rest::open::open(uri, settings)?)),
            Self::Unusable(unusable) => Err(StoreError::Blocked {
                reason: format!(
                    "the tracking URI {:?} cannot be used: {unusable}",
                    unusable.given
                )
                .into(),
                everything: true,
            }),
            // `parse_or_unusable` returns no destination whose store is not built.
            #[cfg(not(all(feature = "rest", feature = "sqlite", feature = "postgres")))]
            not_built => Err(StoreError::Blocked {
                reason: format!("this program was built without the store of {not_built}").into(),
                everything: true,
            }),
        }
    }
}
