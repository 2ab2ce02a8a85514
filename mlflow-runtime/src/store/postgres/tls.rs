//! Encryption of a connection by rustls, with the modes of PostgreSQL's own clients (`sslmode`).
//!
//! - `prefer`, the default, and `require` encrypt, but check no certificate: only `verify-full` proves that the server is
//!   the one that is meant. `require` with a file of authorities checks as `verify-ca` does.
//! - The cryptography provider is named here and not installed for the whole process.

use std::env;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ring::digest::{self, SHA256, SHA384, SHA512};
use rustls::ClientConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::{TlsConnector, client};

use super::StoreError;
use crate::config::destination::PostgresUri;
use crate::store::certificates::{
    AnyCertificate, Authorities, read_certificates, unusable_certificate_error,
};

/// Value of `sslrootcert` that stands for the authorities of the system.
const SYSTEM_AUTHORITIES: &str = "system";
/// Protocol that a server of release 17 and later expects in a handshake.
const PROTOCOL: &[u8] = b"postgresql";

/// Mode of encryption (`sslmode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsMode {
    Disable,
    /// Encryption, if the server offers it.
    Prefer,
    Require,
    /// Encryption with a certificate that a known authority has signed, for whatever host.
    VerifyAuthority,
    /// Encryption with a certificate that a known authority has signed for the host.
    VerifyFull,
}

impl TlsMode {
    /// Returns the mode that the URI or its variables choose.
    pub(super) fn choose(uri: &PostgresUri) -> Result<Self, StoreError> {
        let named = match uri.parameter("sslmode") {
            None => None,
            Some("disable") => Some(Self::Disable),
            Some("allow" | "prefer") => Some(Self::Prefer),
            Some("require") => Some(Self::Require),
            Some("verify-ca") => Some(Self::VerifyAuthority),
            Some("verify-full") => Some(Self::VerifyFull),
            Some(other) => {
                return Err(blocked(format!(
                    "sslmode={other:?} cannot be used; expected disable, allow, prefer, require, verify-ca or verify-full"
                )));
            }
        };
        if uri.parameter("sslrootcert") != Some(SYSTEM_AUTHORITIES) {
            return Ok(named.unwrap_or(Self::Prefer));
        }
        match named {
            None | Some(Self::VerifyFull) => Ok(Self::VerifyFull),
            // Anybody can get a certificate from an authority that the system knows.
            Some(_) => Err(blocked(
                "sslrootcert=system needs sslmode=verify-full".to_owned(),
            )),
        }
    }
}

/// Maker of encrypted connections.
#[derive(Clone)]
pub(super) struct Connector {
    /// Configuration, or `None` for connections that are not encrypted.
    config: Option<Arc<ClientConfig>>,
}

impl Connector {
    /// Returns a connector for connections that are not encrypted.
    pub(super) fn without_encryption() -> Self {
        Self { config: None }
    }

    /// Reads the certificate files.
    pub(super) fn new(uri: &PostgresUri, mode: TlsMode) -> Result<Self, StoreError> {
        let provider = Arc::new(default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                blocked(format!("TLS cannot be set up: {error}")).with_source(error)
            })?;
        let authorities = authorities_file(uri);
        let builder = match (mode, authorities) {
            (TlsMode::Require | TlsMode::VerifyAuthority, Some(file)) => {
                let verifier = Authorities::new(&file, provider, false)?;
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
            }
            (TlsMode::VerifyFull, Some(file)) => {
                let verifier = Authorities::new(&file, provider, true)?;
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
            }
            (TlsMode::VerifyFull, None) => builder.with_platform_verifier().map_err(|error| {
                blocked(format!(
                    "the system's certificates cannot be used: {error}. Install them (ca-certificates), or name a file \
                     by sslrootcert in the tracking URI or PGSSLROOTCERT"
                ))
                .with_source(error)
            })?,
            (TlsMode::VerifyAuthority, None) => {
                return Err(blocked(
                    "sslmode=verify-ca needs the certificate of the authority: name its file by sslrootcert in the \
                     tracking URI or PGSSLROOTCERT, or use sslmode=verify-full"
                        .to_owned(),
                ));
            }
            (TlsMode::Disable | TlsMode::Prefer | TlsMode::Require, _) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
        };
        let mut config = match client_certificate(uri) {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let private = PrivateKeyDer::from_pem_file(&key)
                    .map_err(|error| unusable_certificate_error(&key, &error).with_source(error))?;
                builder
                    .with_client_auth_cert(read_certificates(&certificate)?, private)
                    .map_err(|error| {
                        unusable_certificate_error(&certificate, &error).with_source(error)
                    })?
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self {
            config: Some(Arc::new(config)),
        })
    }
}

/// Returns the file of trusted authorities, if the connection names one or if the usual one exists.
fn authorities_file(uri: &PostgresUri) -> Option<PathBuf> {
    match uri.parameter("sslrootcert") {
        Some(SYSTEM_AUTHORITIES) => None,
        Some(file) => Some(PathBuf::from(file)),
        None => usual_file("root.crt"),
    }
}

/// Returns the files of the client's certificate and its key, if the connection names them or if the usual ones exist.
fn client_certificate(uri: &PostgresUri) -> Option<(PathBuf, PathBuf)> {
    let certificate = match uri.parameter("sslcert") {
        Some(file) => PathBuf::from(file),
        None => usual_file("postgresql.crt")?,
    };
    let key = match uri.parameter("sslkey") {
        Some(file) => PathBuf::from(file),
        None => usual_file("postgresql.key")?,
    };
    Some((certificate, key))
}

/// Returns the path of a file in the folder of PostgreSQL's own clients, if the file exists.
fn usual_file(name: &str) -> Option<PathBuf> {
    let home = env::home_dir().filter(|home| !home.as_os_str().is_empty())?;
    Some(home.join(".postgresql").join(name)).filter(|file| file.exists())
}

fn blocked(reason: String) -> StoreError {
    StoreError::Blocked {
        reason: reason.into(),
        everything: true,
    }
}

impl<S> MakeTlsConnect<S> for Connector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        let Some(config) = &self.config else {
            return Ok(Handshake(None));
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Handshake(Some((
            TlsConnector::from(Arc::clone(config)),
            name,
        ))))
    }
}

/// Handshake that is to be done.
pub(super) struct Handshake(Option<(TlsConnector, ServerName<'static>)>);

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let Some((connector, name)) = self.0 else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            Ok(Encrypted(Box::new(connector.connect(name, stream).await?)))
        })
    }
}

/// Encrypted stream.
pub(super) struct Encrypted<S>(Box<client::TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let (_, session) = self.0.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        match certificate.and_then(|certificate| end_point_digest(certificate)) {
            Some(digest) => ChannelBinding::tls_server_end_point(digest),
            None => ChannelBinding::none(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().0).poll_shutdown(context)
    }
}

/// Returns the digest of a certificate that binds a login to the encrypted channel (RFC 5929, `tls-server-end-point`), or
/// `None` if the digest of its signature is not known.
fn end_point_digest(certificate: &[u8]) -> Option<Vec<u8>> {
    // Object identifiers of signatures, as they are encoded: PKCS #1 with MD5, SHA-1, SHA-256, SHA-384 and SHA-512, and
    // ECDSA with SHA-1, SHA-256, SHA-384 and SHA-512. The digest is SHA-256 in place of MD5 and SHA-1.
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let (body, _) = read_element(certificate)?;
    let (_, behind) = read_element(body)?;
    let (signature, _) = read_element(behind)?;
    let (identifier, _) = read_element(signature)?;
    let algorithm = if let Some(kind) = identifier.strip_prefix(RSA) {
        match kind {
            [4 | 5 | 11] => &SHA256,
            [12] => &SHA384,
            [13] => &SHA512,
            _ => return None,
        }
    } else {
        match identifier.strip_prefix(ECDSA)? {
            [1] | [3, 2] => &SHA256,
            [3, 3] => &SHA384,
            [3, 4] => &SHA512,
            _ => return None,
        }
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// Returns the content of the first element of DER, and what stands behind it.
fn read_element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        let length = digits
            .iter()
            .fold(0, |length, digit| length << 8 | usize::from(*digit));
        (length, rest)
    };
    rest.split_at_checked(length)
}
