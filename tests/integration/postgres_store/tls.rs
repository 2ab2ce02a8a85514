//! Encryption, with the modes of PostgreSQL's own clients.

use std::fs;

use mlflow::store::{ExperimentRef, Store};

use super::{Database, is_blocked, open};
use crate::support::block_on;
use crate::support::mlflow::python;
use crate::support::postgres::{LOCKED_USER, PASSWORD, Postgres};

/// Makes an authority, and a certificate of it for `localhost`.
const MAKE_CERTIFICATES: &str = r#"
import datetime, json
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
def key():
    return ec.generate_private_key(ec.SECP256R1())
def certificate(subject, public, issuer, signer, *extensions):
    name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    builder = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(public)
        .serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + 9 * day))
    for extension in extensions:
        builder = builder.add_extension(extension, False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
def private(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()).decode()
root, server = key(), key()
print(json.dumps(dict(
    root=certificate("root", root.public_key(), "root", root, x509.BasicConstraints(True, None)),
    other=certificate("root", server.public_key(), "root", server, x509.BasicConstraints(True, None)),
    server=certificate("server", server.public_key(), "root", root,
        x509.SubjectAlternativeName([x509.DNSName("localhost")])),
    key=private(server))))
"#;

#[test]
fn a_connection_is_encrypted_and_checked_as_it_is_asked_for() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let files: serde_json::Value =
        serde_json::from_str(&python(MAKE_CERTIFICATES, &[])).expect("JSON");
    let file = |name: &str| files[name].as_str().expect("a text").to_owned();
    let home = tempfile::tempdir().expect("a directory");
    let [root, other] = ["root", "other"].map(|name| {
        let path = home.path().join(format!("{name}.crt"));
        fs::write(&path, file(name)).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    });
    let database = Database::on(&server);
    let experiment = ExperimentRef::Id("0".to_owned());
    let encrypted = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) \
                     where application_name = 'mlflow-runtime'";
    let uri = |host: &str, parameters: &str| {
        format!(
            "postgresql://mlflow@{host}:{}/{}?{parameters}",
            server.port(),
            database.name
        )
    };
    block_on(async {
        // A server without encryption.
        let plain = open(&uri("localhost", "sslmode=prefer"));
        plain.experiment(&experiment).await.expect("an answer");
        assert_eq!(database.ask(encrypted), "f");
        let refused = open(&uri("localhost", "sslmode=require"));
        is_blocked(
            refused.experiment(&experiment).await,
            &["server does not support TLS", "sslmode"],
        );
        drop(plain);

        let certificate = server.write_file("server.crt", &file("server"));
        let key = server.write_file("server.key", &file("key"));
        for setting in [
            format!("ssl_cert_file = '{}'", certificate.display()),
            format!("ssl_key_file = '{}'", key.display()),
            "ssl = on".to_owned(),
        ] {
            database.ask(&format!("alter system set {setting}"));
        }
        database.ask("select pg_reload_conf()");
        while database.ask("show ssl") != "on" {
            std::thread::yield_now();
        }

        let verified = format!("sslmode=verify-full&sslrootcert={root}");
        for (host, parameters) in [
            ("localhost", "".to_owned()),
            ("localhost", "sslmode=require".to_owned()),
            ("localhost", verified.clone()),
            ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={root}")),
            ("127.0.0.1", format!("sslmode=require&sslrootcert={root}")),
        ] {
            let store = open(&uri(host, &parameters));
            store.experiment(&experiment).await.expect("an answer");
            assert_eq!(database.ask(encrypted), "t", "{parameters}");
            drop(store);
            while database.ask(encrypted) == "t" {
                std::thread::yield_now();
            }
        }
        for (host, parameters, word) in [
            ("127.0.0.1", verified.clone(), "not valid for name"),
            (
                "localhost",
                format!("sslmode=verify-full&sslrootcert={other}"),
                "certificate",
            ),
            (
                "localhost",
                format!("sslmode=require&sslrootcert={other}"),
                "certificate",
            ),
            (
                "localhost",
                "sslmode=verify-full&sslrootcert=/nowhere".to_owned(),
                "/nowhere",
            ),
            (
                "localhost",
                "sslmode=verify-full&sslrootcert=system".to_owned(),
                "certificate",
            ),
            (
                "localhost",
                "sslmode=require&sslrootcert=system".to_owned(),
                "verify-full",
            ),
            ("localhost", "sslmode=sometimes".to_owned(), "sometimes"),
        ] {
            let store = open(&uri(host, &parameters));
            is_blocked(store.experiment(&experiment).await, &[word]);
        }

        // A password that is bound to the channel.
        database.ask(&format!(
            "grant all on all tables in schema public to {LOCKED_USER}"
        ));
        let bound = format!(
            "postgresql://{LOCKED_USER}:{PASSWORD}@localhost:{}/{}?{verified}&channel_binding=require",
            server.port(),
            database.name
        );
        let store = open(&bound);
        store.experiment(&experiment).await.expect("an answer");
    });
}
