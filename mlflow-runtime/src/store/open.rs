//! Opening of the store that a [`Destination`] names.

#[cfg(feature = "postgres")]
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "postgres")]
use super::PostgresStore;
use super::{ClientStore, Credentials, RestOptions, RestStore, SqliteStore, StoreError};
use crate::config::Settings;
use crate::config::destination::Destination;
use crate::config::server::{Login, Tls};
use crate::secret::Secret;

/// Directory for the artifacts of a local database, below the working directory. MLflow uses the same.
const ARTIFACT_ROOT: &str = "mlruns";

/// Set once the user has been warned that certificates are not checked.
static INSECURE_TLS_WARNED: AtomicBool = AtomicBool::new(false);

impl Destination {
    /// Returns the store at this destination. Reads the certificate files, but opens no database file and no
    /// connection yet.
    pub(crate) fn open_store(
        &self,
        settings: &Settings,
    ) -> Result<Box<dyn ClientStore>, StoreError> {
        let uri = match self {
            Self::Sqlite { path } => return Ok(Box::new(SqliteStore::new(path, ARTIFACT_ROOT))),
            #[cfg(feature = "postgres")]
            Self::Postgres { uri } => {
                let store = PostgresStore::open(
                    (**uri).clone(),
                    Path::new(ARTIFACT_ROOT),
                    settings.request_timeout,
                );
                return Ok(Box::new(store));
            }
            Self::Rest { uri } => uri,
            Self::Unusable(unusable) => {
                return Err(StoreError::Blocked {
                    reason: format!(
                        "the tracking URI {:?} cannot be used: {unusable}",
                        unusable.given
                    )
                    .into(),
                    everything: true,
                });
            }
        };
        let Login {
            username,
            password,
            token,
        } = settings.server.login.clone();
        let Tls {
            insecure,
            ca_bundle,
            client_cert,
        } = settings.server.tls.clone();
        if insecure && !INSECURE_TLS_WARNED.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "mlflow",
                "the tracking server's certificate is not checked (MLFLOW_TRACKING_INSECURE_TLS, Config::insecure_tls)"
            );
        }
        let mut options = RestOptions::new(uri);
        options.credentials = Credentials::choose(
            username,
            password.map(Secret::into_inner),
            token.map(Secret::into_inner),
        );
        options.workspace.clone_from(&settings.server.workspace);
        options.timeout = settings.request_timeout;
        options.connect_timeout = options.connect_timeout.min(settings.request_timeout);
        options.multipart = settings.multipart;
        options.insecure_tls = insecure;
        options.ca_bundle = ca_bundle;
        options.client_cert = client_cert;
        Ok(Box::new(RestStore::new(options)?))
    }
}
