//! Tests of programs that are built without the store which their tracking URI names: the values wait in the journal for a
//! program that is built with it.

use std::path::Path;
use std::process::Command;

use mlflow::Config;
use mlflow::journals::{self, JournalSummary};

const PLAIN: &str = env!("CARGO_BIN_EXE_plain");

/// Runs the program in `folder`. Returns the lines on stderr.
fn run_plain(folder: &Path, tracking_uri: Option<&str>) -> Vec<String> {
    let mut program = Command::new(PLAIN);
    program
        .current_dir(folder)
        .env_remove("MLFLOW_TRACKING_URI")
        .env("MLFLOW_JOURNAL_DIR", folder.join("journal"))
        .env("MLFLOW_EXIT_TIMEOUT", "60");
    if let Some(uri) = tracking_uri {
        program.env("MLFLOW_TRACKING_URI", uri);
    }
    let output = program.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    stderr.lines().map(str::to_owned).collect()
}

fn waiting(folder: &Path) -> Vec<JournalSummary> {
    let config = Config::new().journal_dir(folder.join("journal"));
    journals::list(&config).unwrap()
}

/// Checks that everything waits for `destination`, and that one line on stderr says which feature the program lacks.
fn assert_waits(tracking_uri: Option<&str>, destination: &str, feature: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let destination = destination.replace("FOLDER", folder.to_str().unwrap());

    let stderr = run_plain(&folder, tracking_uri);
    let advice = format!("cargo add mlflow-runtime --features {feature}");
    let lines: Vec<_> = { stderr.iter() }
        .filter(|line| line.contains(&advice))
        .collect();
    let [line] = lines[..] else {
        panic!("{stderr:#?}")
    };
    assert!(line.contains(&format!("{destination:?}")), "{line}");
    let last = stderr.last().unwrap();
    let delivery = format!(
        " for {destination}; the next tracked program with that destination and the feature `{feature}`, or `cargo mlflow \
         sync`, ships them"
    );
    assert!(last.contains("5 values wait in "), "{last}");
    assert!(last.ends_with(&delivery), "{last}");
    assert_eq!(stderr.len(), 2, "{stderr:#?}");

    let journals = waiting(&folder);
    let [journal] = &journals[..] else {
        panic!("{journals:#?}")
    };
    assert_eq!(journal.destination.as_deref(), Some(&*destination));
    let [run] = &journal.runs[..] else {
        panic!("{journal:#?}")
    };
    assert_eq!(
        (run.points, run.params, run.artifacts, run.end_waits),
        (1, 1, 1, true)
    );
    assert!(!folder.join("mlflow.db").exists(), "no other store is used");
}

#[cfg(not(feature = "sqlite"))]
#[test]
fn without_sqlite_values_wait_for_the_file() {
    assert_waits(
        Some("sqlite:///runs.db"),
        "sqlite:///FOLDER/runs.db",
        "sqlite",
    );
}

#[cfg(not(feature = "sqlite"))]
#[test]
fn without_sqlite_and_tracking_uri_values_wait_for_the_default_file() {
    assert_waits(None, "sqlite:///FOLDER/mlflow.db", "sqlite");
}

#[cfg(not(feature = "rest"))]
#[test]
fn without_rest_values_wait_for_the_server() {
    let uri = "http://me:hunter2@127.0.0.1:9/prefix/";
    assert_waits(Some(uri), "http://127.0.0.1:9/prefix", "rest");
}

#[test]
fn without_postgres_values_wait_for_the_database() {
    let uri = "postgresql://me:hunter2@127.0.0.1:9/runs";
    assert_waits(Some(uri), "postgresql://127.0.0.1:9/runs", "postgres");
}

#[cfg(feature = "sqlite")]
#[test]
fn a_file_is_written_without_rest() {
    let folder = tempfile::tempdir().unwrap();
    run_plain(folder.path(), None);
    assert!(folder.path().join("mlflow.db").exists());
    assert!(waiting(folder.path()).is_empty());
}

/// The setting says by itself what is missing, before anything is logged.
#[test]
fn the_fault_of_the_tracking_uri_names_the_feature() {
    let uri = "postgresql://me:hunter2@127.0.0.1:9/runs";
    let fault = Config::new()
        .tracking_uri(uri)
        .tracking_uri_fault()
        .unwrap();
    assert!(fault.contains("the feature `postgres`"), "{fault}");
    assert!(!fault.contains("hunter2"), "{fault}");
}

#[cfg(not(any(feature = "rest", feature = "sqlite")))]
#[test]
fn the_fake_needs_no_store() {
    let fake = mlflow::testing::fake();
    let run = mlflow::start_run().name("faked").start();
    run.log_metric_at("loss", 0.5, 1);
    drop(run);
    fake.assert_run_finished("faked");
    fake.assert_metric("loss", &[(1, 0.5)]);
}
