//! Very many small runs: a file takes them in few transactions, each run exactly once, whatever happens.

use std::fs;

use crate::support::program::{Folder, one};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Number of small runs in a test.
const RUNS: i64 = 400;

/// Returns the number of transactions that have changed a SQLite file: the file change counter in its header
/// (<https://www.sqlite.org/fileformat.html>, 1.3.7).
fn count_transactions(folder: &Folder) -> u32 {
    let file = fs::read(folder.path().join("mlflow.db")).expect("the file");
    u32::from_be_bytes(file[24..28].try_into().expect("a counter"))
}

/// Checks that each small run is there once, with all that it has logged.
fn assert_trials(folder: &Folder) {
    let database = folder.database();
    let count = |query: &str| one::<i64>(&database, query);
    let trials = "SELECT run_uuid FROM runs WHERE name LIKE 'trial%'";
    for (number, query) in [
        (RUNS, "SELECT COUNT(*) FROM runs WHERE name LIKE 'trial%' AND status = 'FINISHED' AND end_time IS NOT NULL"),
        (RUNS, &*format!("SELECT COUNT(*) FROM ({trials})")),
        (RUNS, "SELECT COUNT(DISTINCT value) FROM params WHERE key = 'number'"),
        (RUNS, "SELECT COUNT(*) FROM params WHERE key = 'rate' AND value = '0.5'"),
        (3 * RUNS, "SELECT COUNT(*) FROM metrics WHERE key = 'loss'"),
        (RUNS, "SELECT COUNT(*) FROM latest_metrics WHERE key = 'loss' AND step = 2"),
        (RUNS, "SELECT COUNT(*) FROM metrics WHERE key = 'trial' AND step = 0"),
        (
            RUNS,
            "SELECT COUNT(*) FROM metrics AS m JOIN params AS p ON p.run_uuid = m.run_uuid AND p.key = 'number'
             WHERE m.key = 'trial' AND m.value = 0.5 * CAST(p.value AS REAL)",
        ),
        (
            RUNS,
            "SELECT COUNT(*) FROM tags AS t JOIN runs AS r ON r.run_uuid = t.value
             WHERE t.key = 'mlflow.parentRunId' AND r.name = 'sweep'",
        ),
    ] {
        assert_eq!(count(query), number, "{query}");
    }
}

/// Regression: each run took three transactions, and a sweep of ten thousand took a quarter of an hour.
#[test]
fn small_runs_share_transactions() {
    let folder = Folder::new();
    let trials = format!("trials {RUNS}");
    let ended = folder.run(SCRIPTED, &["start sweep", &trials, "end sweep"], &[]);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    assert_trials(&folder);
    let transactions = count_transactions(&folder);
    assert!(
        i64::from(transactions) < RUNS / 4,
        "{transactions} transactions"
    );
}

#[test]
fn small_runs_of_a_killed_process_share_transactions_and_are_there_once() {
    let folder = Folder::new();
    let trials = format!("trials {RUNS}");
    folder.run(SCRIPTED, &["start sweep", &trials, "abort"], &[]);
    assert_eq!(folder.journals_left(), 1);
    let ended = folder.run(SCRIPTED, &["recover 60"], &[]);
    assert!(
        ended.stdout.starts_with("recovered complete true found 1"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert_trials(&folder);
    let transactions = count_transactions(&folder);
    assert!(
        i64::from(transactions) < RUNS / 4,
        "{transactions} transactions"
    );
}
