//! TLS settings: the certificates that are trusted, and the client's own.
//!
//! The cryptography provider is named here and not installed for the whole process: the process-wide choice
//! belongs to the program that uses this library.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::{BuilderVerifierExt, Verifier};

use super::{RestOptions, StoreError};

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
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(bundle)? {
            roots
                .add(certificate)
                .map_err(|error| unusable_certificate_error(bundle, &error).with_source(error))?;
        }
        builder.with_root_certificates(roots)
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

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let found =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => {
            Err(unusable_certificate_error(path, &"it holds no certificate"))
        }
        found => found.map_err(|error| unusable_certificate_error(path, &error).with_source(error)),
    }
}

fn unusable_certificate_error(path: &Path, why: &dyn std::fmt::Display) -> StoreError {
    blocked_error(format!(
        "the certificate file {} cannot be used: {why}",
        path.display()
    ))
}

fn blocked_error(reason: String) -> StoreError {
    StoreError::Blocked {
        reason: reason.into(),
        everything: true,
    }
}

/// Verifier that accepts every certificate, but still checks that the server has the certificate's key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
