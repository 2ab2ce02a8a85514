//! Installation of MLflow for the tests: one pinned version, installed once into `target/`.
//!
//! The variable `MLFLOW_TEST_SERVER_BIN` names another `mlflow` executable to be used instead.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Python packages to install. The upper bounds keep later releases of MLflow's dependencies from breaking
/// MLflow.
const PACKAGES: [&str; 9] = [
    "mlflow==3.17.2",
    "sqlalchemy<2.2",
    "alembic<2",
    "protobuf<8",
    "pandas<4",
    "psycopg2-binary<3", // driver for PostgreSQL
    "boto3<2",           // client for S3
    "moto<6",            // S3 service on this machine
    "Flask-WTF<2",       // the application `basic-auth` of the server
];

/// Newer release, for what the installed one does not have.
const NEWER: &str = "mlflow==3.18.0";

/// Release of Polars for Python whose frames have the same hashes as those of the Rust crates, and its compiled part.
#[cfg(feature = "polars")]
const POLARS: [&str; 2] = ["polars==1.41.2", "polars-runtime-32==1.41.2"];

/// Returns the directory of the newer release. A server uses the release if `PYTHONPATH` names this directory.
pub(crate) fn newer_release() -> &'static Path {
    static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| installed_beside(&[NEWER]));
    &DIRECTORY
}

/// Returns the directory of Polars. Python finds it if `PYTHONPATH` names this directory.
#[cfg(feature = "polars")]
pub(crate) fn polars_release() -> &'static Path {
    static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| installed_beside(&POLARS));
    &DIRECTORY
}

/// Installs packages alone, beside those of the installed MLflow, into a directory that is named after the first one.
fn installed_beside(packages: &[&str]) -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = home.join(packages[0]);
    let python = executable().with_file_name("python");
    let lock = File::create(home.join("mlflow.lock")).expect("a lock file under target/");
    lock.lock().expect("the lock");
    if !directory.join("ready").exists() {
        let _ = fs::remove_dir_all(&directory);
        let mut install = Command::new(python);
        must_succeed(
            install
                .args(["-m", "pip", "install", "--quiet", "--no-deps"])
                .args(packages)
                .arg("--target")
                .arg(&directory),
            "the tests install further Python packages from the package index",
        );
        fs::write(directory.join("ready"), "").expect("a file under target/");
    }
    directory
}

/// Returns the path of the `mlflow` executable. MLflow is installed first if it is missing.
pub(super) fn executable() -> &'static Path {
    static EXECUTABLE: LazyLock<PathBuf> =
        LazyLock::new(|| match env::var_os("MLFLOW_TEST_SERVER_BIN") {
            Some(path) => PathBuf::from(path),
            None => installed().join("bin/mlflow"),
        });
    &EXECUTABLE
}

/// Returns the virtual environment under `target/`. The environment is created, or created anew, unless it
/// holds exactly `PACKAGES`.
fn installed() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let venv = home.join("mlflow-3.17.2");
    let ready = venv.join("ready");
    // Several test processes may install at the same time.
    let lock = File::create(home.join("mlflow.lock")).expect("a lock file under target/");
    lock.lock().expect("the lock");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&ready).ok().as_ref() != Some(&wanted) {
        let _ = fs::remove_dir_all(&venv);
        let mut create = Command::new("python3");
        must_succeed(
            create.args(["-m", "venv"]).arg(&venv),
            "the tests need Python 3.10 or later with its venv module (on Debian: apt install python3-venv)",
        );
        let mut install = Command::new(venv.join("bin/python"));
        must_succeed(
            install
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                ])
                .args(PACKAGES),
            "the tests install MLflow from the package index; without a network set MLFLOW_TEST_SERVER_BIN \
             to the `mlflow` executable of MLflow 3.17.2",
        );
        fs::write(ready, wanted).expect("a file under target/");
    }
    venv
}

/// Runs a command. Panics with `needed`, which states the requirement, unless the command succeeds.
fn must_succeed(command: &mut Command, needed: &str) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{needed}. {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{needed}. {command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
