//! TLS settings: the certificates that are trusted, and the client's own.
//!
//! The cryptography provider is named here and not installed for the whole process: the process-wide choice
//! belongs to the program that uses this library.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::{BuilderVerifierExt, Verifier};

use super::{RestOptions, StoreError};
use crate::store::certificates::{
    AnyCertificate, Authorities, read_certificates, unusable_certificate_error,
};

/// Returns the configuration for the tracking server. Without `https`, nothing is read from the system: a
/// container that has no certificates has to be able to use a plain HTTP server.
pub(super) fn build_tracking_config(
    options: &RestOptions,
    https: bool,
) -> Result<ClientConfig, StoreError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            blocked_error(format!("TLS cannot be set up: {error}")).with_source(error)
        })?;
    let builder = if options.insecure_tls {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else if let Some(bundle) = &options.ca_bundle {
        let verifier = Authorities::new(bundle, provider, true)?;
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
    } else if https {
        builder.with_platform_verifier().map_err(|error| {
            blocked_error(format!(
                "the system's certificates cannot be used: {error}. Install them (ca-certificates), or set \
                 MLFLOW_TRACKING_SERVER_CERT_PATH"
            ))
            .with_source(error)
        })?
    } else {
        builder.with_root_certificates(RootCertStore::empty())
    };
    let Some(path) = &options.client_cert else {
        return Ok(builder.with_no_client_auth());
    };
    let key = PrivateKeyDer::from_pem_file(path)
        .map_err(|error| unusable_certificate_error(path, &error).with_source(error))?;
    builder
        .with_client_auth_cert(read_certificates(path)?, key)
        .map_err(|error| unusable_certificate_error(path, &error).with_source(error))
}

/// Returns a configuration that trusts nobody, for connections without encryption.
pub(super) fn build_plain_config() -> Result<ClientConfig, StoreError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            blocked_error(format!("TLS cannot be set up: {error}")).with_source(error)
        })?;
    let builder = builder.with_root_certificates(RootCertStore::empty());
    Ok(builder.with_no_client_auth())
}

/// Returns the configuration for buckets, which trusts the system's certificates and those of `ca_bundle`.
pub(super) fn build_bucket_config(ca_bundle: Option<&Path>) -> Result<ClientConfig, StoreError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            blocked_error(format!("TLS cannot be set up: {error}")).with_source(error)
        })?;
    let extra = ca_bundle
        .map(read_certificates)
        .transpose()?
        .unwrap_or_default();
    let verifier = Verifier::new_with_extra_roots(extra, provider).map_err(|error| {
        StoreError::Blocked {
            reason: format!(
                "the system's certificates cannot be used for the bucket: {error}. Install them (ca-certificates)"
            )
            .into(),
            everything: false,
        }
        .with_source(error)
    })?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(builder.with_no_client_auth())
}

fn blocked_error(reason: String) -> StoreError {
    StoreError::Blocked {
        reason: reason.into(),
        everything: true,
    }
}
