//! Level 3: a tracking server, whose URI is in `MLFLOW_TRACKING_URI`. Run with
//! `cargo test --features server-tests`.
#![cfg(feature = "server-tests")]

use std::time::Duration;

use serde_json::Value;
use testing_guide::train;

#[test]
fn a_training_is_on_the_server() {
    let server = std::env::var("MLFLOW_TRACKING_URI").expect("MLFLOW_TRACKING_URI names a server for tests");
    let folder = tempfile::tempdir().unwrap();
    mlflow::configure(mlflow::Config::new().journal_dir(folder.path()).quiet(true));

    // The training is a child of this run. The run's id is known when the server has assigned it.
    let parent = mlflow::start_run().experiment("descent").name("server-test").start();
    train(0.25, 2).unwrap();
    assert!(mlflow::flush(Duration::from_secs(60)).complete);
    let id = parent.run_id().expect("the server has named it");
    drop(parent);
    assert!(mlflow::flush(Duration::from_secs(60)).complete);

    let url = format!("{server}/api/2.0/mlflow/runs/get?run_id={id}");
    let answer: Value = ureq::get(&url).call().unwrap().body_mut().read_json().unwrap();
    assert_eq!(answer["run"]["info"]["status"], "FINISHED");
}
