//! Level 2: the SQLite file that MLflow opens. The destination of the runs is a setting of the whole
//! process, so this test program contains a single test.

use std::time::Duration;

use mlflow::Config;
use rusqlite::Connection;
use testing_guide::train;

#[test]
fn a_training_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    // The artifacts of a new file are stored in `mlruns` in the working directory, as with MLflow itself.
    std::env::set_current_dir(folder.path()).unwrap();
    let file = folder.path().join("mlflow.db");
    mlflow::configure(
        Config::new()
            .tracking_uri(format!("sqlite:///{}", file.display()))
            .journal_dir(folder.path().join("journal"))
            .quiet(true),
    );
    train(0.25, 2).unwrap();
    assert!(mlflow::flush(Duration::from_secs(60)).complete);

    let file = Connection::open(file).unwrap();
    let losses: Vec<(i64, f64)> = file
        .prepare("select step, value from metrics where key = 'loss' order by step")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(losses, [(0, 0.25), (1, 0.0625)]);
    let status: String = file.query_row("select status from runs", [], |row| row.get(0)).unwrap();
    assert_eq!(status, "FINISHED");
}
