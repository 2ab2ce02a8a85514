//! Opening of a [`RestStore`] with the settings of the process.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Credentials, RestOptions, RestStore, StoreError};
use crate::config::Settings;
use crate::config::destination::ServerUri;
use crate::config::server::{Login, Tls};
use crate::secret::Secret;
use crate::warnings::warn_user;

/// Set once the user has been warned that certificates are not checked.
static INSECURE_TLS_WARNED: AtomicBool = AtomicBool::new(false);

/// Set once the user has been warned that credentials are sent without encryption.
static EXPOSED_CREDENTIALS_WARNED: AtomicBool = AtomicBool::new(false);

/// Returns the store of the server at `uri`, with the settings of the process.
pub(in crate::store) fn open(
    uri: &ServerUri,
    settings: &Settings,
) -> Result<RestStore, StoreError> {
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
    let mut options = RestOptions::new(uri.with_credentials());
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
    options
        .local_artifacts_dir
        .clone_from(&settings.server.local_artifacts_dir);
    let store = RestStore::new(options)?;
    if store.exposes_credentials() && !EXPOSED_CREDENTIALS_WARNED.swap(true, Ordering::Relaxed) {
        warn_user(format_args!(
            "the password or token for {uri} is sent without encryption, so that anyone on the way can read it; use an https:// \
             address as the tracking URI"
        ));
    }
    Ok(store)
}
