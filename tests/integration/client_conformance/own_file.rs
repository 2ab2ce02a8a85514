//! File that this library has written, and that no MLflow has opened: its schema is older than MLflow's. Python
//! gives the answers on a copy, which MLflow migrates.

use std::fs;
use std::path::{Path, PathBuf};

use mlflow::entities::{NewExperiment, NewModelVersion, NewRegisteredModel, RunUpdate};
use serde_json::{Value, json};

use super::python::Python;
use super::{client_of, copy_of, records, uri_of};
use crate::support::program::Folder;

/// Revision of the schema that this library writes.
const REVISION: &str = "7f2a7d5fae7d";

/// Runs the program `sampled`. Returns the file that it has written.
pub(super) fn write_sample(folder: &Folder) -> PathBuf {
    let ended = folder.run(env!("CARGO_BIN_EXE_sampled"), &[], &[]);
    assert!(ended.success, "{}", ended.stderr);
    folder.path().join("mlflow.db")
}

fn revision(database: &Path) -> String {
    let file = rusqlite::Connection::open(database).expect("the file");
    file.query_row("SELECT version_num FROM alembic_version", [], |row| {
        row.get(0)
    })
    .expect("a revision")
}

/// Returns the records of a copy of the file, as Python reads them.
fn read_copy(database: &Path) -> Value {
    let copy = copy_of(database);
    let records = Python::shared().ask(&json!({"request": "read", "uri": uri_of(&copy)}));
    assert_ne!(revision(&copy), REVISION, "MLflow has migrated the copy");
    records
}

#[test]
fn a_file_that_mlflow_has_not_migrated_is_read_and_not_changed() {
    let folder = Folder::new();
    let database = write_sample(&folder);
    let before = fs::read(&database).expect("the file");
    records::compare_all(&client_of(&uri_of(&database)), &read_copy(&database));
    assert!(
        fs::read(&database).expect("the file") == before,
        "reading has changed the file"
    );
    assert_eq!(revision(&database), REVISION);
}

#[test]
fn a_file_that_mlflow_has_not_migrated_is_administrated() {
    let folder = Folder::new();
    let database = write_sample(&folder);
    let client = client_of(&uri_of(&database));
    let id = client
        .create_experiment(NewExperiment::new("new").tag("team", "ü"))
        .expect("an experiment");
    client.rename_experiment(&*id, "newer").expect("a name");
    let first = client.experiment("first").expect("an experiment");
    let runs: Vec<_> = client
        .search_runs(mlflow::search::SearchRuns::new().experiment("first"))
        .collect::<Result<_, _>>()
        .expect("runs");
    client
        .set_tag(&*runs[0].run_id, "late", "tag")
        .expect("a tag");
    client
        .update_run(&*runs[1].run_id, RunUpdate::new().name("renamed"))
        .expect("an update");
    client.delete_run(&*runs[2].run_id).expect("a deletion");
    client.delete_experiment("0").expect("a deletion");
    client
        .set_experiment_tag(&*first.experiment_id, "key", "value")
        .expect("a tag");
    let model = NewRegisteredModel::new("model")
        .description("text")
        .tag("stage", "prod");
    client.create_registered_model(model).expect("a model");
    let version = NewModelVersion::new("model", "s3://bucket/a")
        .run_id(&runs[0].run_id)
        .tag("a", "b");
    assert_eq!(
        client
            .create_model_version(version)
            .expect("a version")
            .version,
        1
    );
    client
        .set_registered_model_alias("model", "champion", 1)
        .expect("an alias");
    assert_eq!(revision(&database), REVISION);
    records::compare_all(&client, &read_copy(&database));
}
