//! Processes that fork in the middle of a run: parent and child both log, each through a journal of its own.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rusqlite::Connection;

use crate::support::mlflow::Server;
use crate::support::program::{Folder, one};

const FORKS: &str = env!("CARGO_BIN_EXE_forks");
const BUSY: &str = env!("CARGO_BIN_EXE_forks_busy");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");

fn count(database: &Connection, key: &str) -> i64 {
    let query = format!(
        "select count(*) from metrics m join runs r using (run_uuid) \
         where r.name like 'train-%' and m.key = '{key}' and m.value = m.step"
    );
    one(database, &query)
}

#[test]
fn a_child_logs_to_its_parents_run_and_does_not_end_it() {
    // The test is repeated, because the state of the parent's other threads at the moment of the fork is
    // random.
    for _ in 0..5 {
        let folder = Folder::new();
        let ended = folder.run(FORKS, &["exit"], &[]);
        assert!(ended.success, "{}", ended.stderr);
        assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
        let database = folder.database();
        assert_eq!(count(&database, "parent"), 1000);
        assert_eq!(count(&database, "child"), 1000);
        let query = "select count(*) from metrics where key = 'before'";
        assert_eq!(one::<i64>(&database, query), 1, "nothing is sent by both");
        let forked = "select count(*) from tags t join runs r using (run_uuid) \
                      where r.name like 'train-%' and t.key = 'forked'";
        assert_eq!(one::<i64>(&database, forked), 1);
        let own = "select p.name from runs r join tags t using (run_uuid) join runs p on p.run_uuid = t.value \
                   where r.name like 'of_the_child-%' and t.key = 'mlflow.parentRunId'";
        assert!(one::<String>(&database, own).starts_with("train-"));
        let open = "select count(*) from runs where status != 'FINISHED'";
        assert_eq!(one::<i64>(&database, open), 0);
        assert_eq!(folder.journals_left(), 0);
    }
}

#[test]
fn a_child_ships_to_a_server_by_itself() {
    let server = Server::start_with(&[]);
    let folder = Folder::new();
    let environment = [("MLFLOW_TRACKING_URI", server.url())];
    let ended = folder.run(FORKS, &["exit"], &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    assert!(!ended.stderr.contains("values wait"), "{}", ended.stderr);
    let api = server.api();
    // On a fresh server the two experiments have the ids 1 and 2, in either order.
    let runs: Vec<_> = ["1", "2"]
        .iter()
        .flat_map(|experiment| api.runs(experiment))
        .map(|(id, _)| api.run(&id))
        .filter(|run| !run.name.starts_with("run-"))
        .collect();
    assert_eq!(runs.len(), 2, "train and of_the_child");
    for run in &runs {
        assert_eq!(run.status, "FINISHED", "{}", run.name);
    }
    let train = runs.iter().find(|run| run.name.starts_with("train-"));
    let points = &train.unwrap().points;
    assert_eq!(points["parent"].len(), 1000);
    assert_eq!(points["child"].len(), 1000);
    assert_eq!(points["before"].len(), 1);
}

#[test]
fn a_child_that_outlives_its_parent_does_not_keep_the_parents_journal() {
    let folder = Folder::new();
    let mut command = folder.command(FORKS);
    let mut process = command.arg("orphan").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "alive\n");
    let child_lives = process.stdin.take();
    assert!(!process.wait().unwrap().success(), "the parent has aborted");

    folder.run(NUMBERS, &["next", "1", "1"], &[]);
    let database = folder.database();
    let status = "select status from runs where name like 'train-%'";
    assert_eq!(one::<String>(&database, status), "KILLED");

    drop(child_lives);
    // The child's end of the pipe is closed when the child has ended.
    while stdout.read_line(&mut line).unwrap() > 0 {}
    folder.run(NUMBERS, &["last", "1", "1"], &[]);
    assert_eq!(count(&database, "child"), 1000);
    let own = "select status from runs where name like 'of_the_child-%'";
    assert_eq!(one::<String>(&database, own), "FINISHED");
    assert_eq!(one::<String>(&database, status), "KILLED", "still");
    assert_eq!(folder.journals_left(), 0);
}

/// Environment with no server at the tracking URI, so that nothing is delivered, and without backtraces,
/// which take a lock of the standard library.
const ALONE: [(&str, &str); 4] = [
    ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9"),
    ("MLFLOW_EXIT_TIMEOUT", "1"),
    ("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true"),
    ("RUST_BACKTRACE", "0"),
];

#[test]
fn a_child_of_a_busy_process_waited_for_ever_for_a_lock() {
    for environment in [&ALONE[..], &ALONE[1..]] {
        let folder = Folder::new();
        let ended = folder.run(BUSY, &["30"], environment);
        assert!(ended.success, "{}", ended.stderr);
    }
}

#[test]
fn a_child_forked_in_the_middle_of_the_first_calls_waits_for_none_of_them() {
    for _ in 0..10 {
        let folder = Folder::new();
        let ended = folder.run(BUSY, &["first"], &ALONE);
        assert!(ended.success, "{}", ended.stderr);
    }
}
