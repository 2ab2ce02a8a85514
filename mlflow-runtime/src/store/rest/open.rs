//! Opening of a [`RestStore`] with the settings of the process.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{RestOptions, RestStore, StoreError};
use crate::config::Settings;
use crate::config::destination::ServerUri;
use crate::config::server::Tls;
use crate::warnings::warn_user;

/// Set once the user has been warned that certificates are not checked.
static INSECURE_TLS_WARNED: AtomicBool = AtomicBool::new(false);

/// Returns the store of the server at `uri`, with the settings of the process.
pub(in crate::store) fn open(
    uri: &ServerUri,
    settings: &Settings,
) -> Result<RestStore, StoreError> {
    let Tls {
        insecure,
        ca_bundle,
        client_cert,
    } = settings.server.tls.clone();
    if insecure && !INSECURE_TLS_WARNED.swap(true, Ordering::Relaxed) {
        warn_user(format_args!(
            "the tracking server's certificate is not checked (MLFLOW_TRACKING_INSECURE_TLS, Config::insecure_tls)"
        ));
    }
    let mut options = RestOptions::new(uri.with_credentials());
    options.has_own_login = uri.login().is_some();
    options.login = Some(uri.login().unwrap_or(&settings.server.login).clone());
    options.headers = settings.server.headers.clone();
    // A tracking URI with a login of its own, such as that of Databricks, is no gateway of AWS.
    options.aws_sigv4 = settings.server.aws_sigv4 && uri.login().is_none();
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
    store.http.warn_if_exposed();
    Ok(store)
}
