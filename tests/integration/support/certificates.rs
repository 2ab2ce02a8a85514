//! Certificates for tests of encryption: an authority, what it has signed, and what others have signed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::Value;

use super::mlflow::python;

/// Makes an authority, and certificates of servers and a client. Each key pair is that of one certificate.
const MAKE: &str = r#"
import datetime, json
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
def key():
    return ec.generate_private_key(ec.SECP256R1())
def certificate(subject, public, issuer, signer, *extensions, ends=now + 9 * day):
    name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    builder = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(public)
        .serial_number(x509.random_serial_number()).not_valid_before(now - 9 * day).not_valid_after(ends))
    for extension in extensions:
        builder = builder.add_extension(extension, False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
def private(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()).decode()
def named(host):
    return x509.SubjectAlternativeName([x509.DNSName(host)])
authority = x509.BasicConstraints(True, None)
root, stranger = key(), key()
made = dict(
    root=certificate("root", root.public_key(), "root", root, authority),
    stranger=certificate("root", stranger.public_key(), "root", stranger, authority))
def add(name, issuer, *extensions, **more):
    own = key()
    signer = own if issuer == name else root
    made[name] = certificate(name, own.public_key(), issuer, signer, *extensions, **more)
    made[name + " key"] = private(own)
add("good", "root", named("localhost"))
add("other host", "root", named("example.com"))
add("expired", "root", named("localhost"), ends=now - day)
add("self-signed", "self-signed", named("localhost"))
add("self-signed authority", "self-signed authority", named("localhost"), authority)
add("self-signed other host", "self-signed other host", named("example.com"), authority)
add("self-signed expired", "self-signed expired", named("localhost"), authority, ends=now - day)
add("client", "root", x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]))
print(json.dumps(made))
"#;

/// Certificates and keys by their names, and a folder with their files.
pub(crate) struct Certificates {
    made: Value,
    folder: tempfile::TempDir,
}

impl Certificates {
    pub(crate) fn make() -> Self {
        Self {
            made: serde_json::from_str(&python(MAKE, &[])).expect("JSON"),
            folder: tempfile::tempdir().expect("a directory"),
        }
    }

    fn pem(&self, name: &str) -> &str {
        self.made[name].as_str().expect(name)
    }

    /// Returns a file that holds what has these names, one after the other.
    pub(crate) fn file(&self, names: &[&str]) -> String {
        let path: PathBuf = self.folder.path().join(names.join("+").replace(' ', "-"));
        let content: String = names.iter().map(|name| self.pem(name)).collect();
        fs::write(&path, content).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Returns the settings of a server that has this certificate and, with `asks_client`, wants one of the client, too.
    pub(crate) fn server(&self, name: &str, asks_client: bool) -> Arc<ServerConfig> {
        let certificate = |name| CertificateDer::from_pem_slice(self.pem(name).as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.pem(&format!("{name} key")).as_bytes());
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if asks_client {
            let mut roots = rustls::RootCertStore::empty();
            roots
                .add(certificate("root").expect("a certificate"))
                .expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![certificate(name).expect("a certificate")];
        let config = builder.with_single_cert(chain, key.expect("a key"));
        Arc::new(config.expect("a certificate with its key"))
    }
}
