//! However a program ends, what it has logged arrives before it is gone, and its status is its own.

use crate::support::program::Folder;

const EXITS: &str = env!("CARGO_BIN_EXE_exits");

/// The exit code, and each run's status and number of points, when the program has ended.
fn after(how: &str) -> (Option<i32>, Vec<(String, i64)>) {
    let folder = Folder::new();
    let output = folder.command(EXITS).arg(how).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("values wait"), "{how}: {stderr}");
    assert!(!stderr.contains("WARN mlflow"), "{how}: {stderr}");
    let database = folder.database();
    let runs = database
        .prepare(
            "select status, (select count(*) from metrics m where m.run_uuid = r.run_uuid) \
             from runs r order by start_time, status",
        )
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    (output.status.code(), runs)
}

#[test]
fn every_end_of_a_program_delivers_what_it_logged() {
    let finished = || ("FINISHED".to_owned(), 1000);
    let failed = || ("FAILED".to_owned(), 1000);
    for (how, code, expected) in [
        ("return", 0, vec![finished()]),
        ("error", 2, vec![failed()]),
        ("panic", 101, vec![failed()]),
        ("runtime", 0, vec![finished()]),
        ("flush in a runtime", 0, vec![finished()]),
        ("exit inside", 3, vec![("KILLED".to_owned(), 1000)]),
        ("exit on a thread", 3, vec![finished()]),
        ("shutdown", 0, vec![finished(), finished()]),
        ("thread-local", 0, vec![("FINISHED".to_owned(), 2)]),
    ] {
        let (exit, runs) = after(how);
        assert_eq!(exit, Some(code), "{how}");
        assert_eq!(runs, expected, "{how}");
    }
}
