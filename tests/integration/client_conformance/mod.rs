//! Conformance of [`mlflow::blocking::Client`]: reads and administration of every store.
//!
//! Invariant: the expected answers come from MLflow's own Python client on the same data (`answers.py`). Only
//! what MLflow cannot answer is computed here, from the records that Python has read.
//!
//! The stores are a SQLite file that Python has written, a server on a copy of that file, a file that this
//! library has written, a PostgreSQL database that Python has filled in the same way, and the fake.

mod administration;
mod artifacts;
mod cases;
mod fake;
mod faults;
mod logging;
mod own_file;
mod paging;
#[cfg(feature = "postgres")]
mod postgres;
mod python;
mod queries;
mod query;
mod records;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mlflow::{ClientError, Config, blocking};
use serde_json::{Value, json};

use crate::support::mlflow::Server;
use crate::support::unique;
use python::Python;

/// SQLite file with the data that `create` of `answers.py` describes. No test changes the file.
fn sample() -> &'static Path {
    static SAMPLE: OnceLock<PathBuf> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let python = Python::shared();
        let database = python.directory().join("sample.db");
        let root = python.directory().join("artifacts");
        python.ask(&json!({"request": "create", "uri": uri_of(&database), "root": root}));
        database
    })
}

/// Returns a copy of a SQLite file, in a directory of its own.
fn copy_of(database: &Path) -> PathBuf {
    let directory = Python::shared().directory().join(unique());
    fs::create_dir(&directory).expect("a directory");
    let copy = directory.join("copy.db");
    fs::copy(database, &copy).expect("a copy");
    copy
}

fn uri_of(database: &Path) -> String {
    format!("sqlite:///{}", database.display())
}

fn client_of(uri: &str) -> blocking::Client {
    blocking::Client::with_config(Config::new().tracking_uri(uri))
}

/// Starts a server on a SQLite file.
fn server_on(database: &Path) -> Server {
    Server::start_with(&["--backend-store-uri", &uri_of(database)])
}

/// Returns the server on a copy of the sample. No test changes its data.
fn sample_server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| server_on(&copy_of(sample())))
}

/// Returns true if our error is of the kind of MLflow's error code.
fn is_of_kind(error: &ClientError, code: &str) -> bool {
    match error {
        ClientError::NotFound { .. } => code == "RESOURCE_DOES_NOT_EXIST",
        ClientError::AlreadyExists { .. } => code == "RESOURCE_ALREADY_EXISTS",
        ClientError::Invalid { .. } => {
            matches!(
                code,
                "INVALID_PARAMETER_VALUE" | "BAD_REQUEST" | "INVALID_STATE"
            )
        }
        ClientError::Search(_) => matches!(code, "INVALID_PARAMETER_VALUE" | "INTERNAL_ERROR"),
        _ => false,
    }
}

/// Returns the bits of a float as `answers.py` writes them.
fn bits(number: f64) -> Value {
    let number = if number.is_nan() { f64::NAN } else { number };
    json!(format!("{:016x}", number.to_bits()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
