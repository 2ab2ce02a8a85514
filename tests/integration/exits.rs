//! Ends of a program: in every kind of end, the logged values arrive before the process has ended, and the
//! exit status is the program's own.

use crate::support::program::{Folder, one};

const EXITS: &str = env!("CARGO_BIN_EXE_exits");
const LATE: &str = env!("CARGO_BIN_EXE_exits_late");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");

/// Runs the program until it ends by `how`. Returns its exit code, and each run's status and number of
/// points.
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

/// Regression: eleven of eleven clean ends left a journal's folder, with params in clear text. Threads of a
/// pool never end, and the segments that they had written to were kept for them.
#[test]
fn a_clean_end_leaves_no_journal_also_where_threads_of_a_pool_live_on() {
    for how in ["rayon", "return", "runtime"] {
        let folder = Folder::new();
        let output = folder.command(EXITS).arg(how).output().unwrap();
        assert!(output.status.success(), "{how}: {output:?}");
        let database = folder.database();
        let points: i64 = database
            .query_row("select count(*) from metrics", [], |row| row.get(0))
            .unwrap();
        assert_eq!(points, 1000, "{how}");
        assert_eq!(folder.journals_left(), 0, "{how}");
    }
}

/// Regression: values were lost if they were logged by a C `atexit` handler that runs after the library's, or
/// by other threads at that time.
#[test]
fn what_was_logged_to_the_current_run_after_the_end_of_main_vanished() {
    for how in ["return", "exit", "thread"] {
        let folder = Folder::new();
        let ended = folder.run(LATE, &[how], &[]);
        assert!(ended.success, "{how}: {}", ended.stderr);
        // A function that has returned has no current run, so the value is reported as logged outside of any
        // run.
        let warnings = ended.warnings();
        let is_outside = |line: &&str| line.contains("was logged outside of any run");
        assert!(warnings.iter().all(is_outside), "{how}: {warnings:?}");
        assert_eq!(warnings.is_empty(), how != "return", "{how}");
        let beside: i64 = ended.stdout.trim().parse().unwrap();
        assert_eq!(beside > 0, how == "thread", "{how}");

        folder.run(NUMBERS, &["next", "1", "1"], &[]);
        let database = folder.database();
        let points = |key: &str| -> i64 {
            let query = format!("select count(*) from metrics where key = '{key}'");
            one(&database, &query)
        };
        assert_eq!(points("late"), 1000, "{how}");
        assert_eq!(points("late/handle"), 1, "{how}");
        assert_eq!(points("alone"), 1, "{how}");
        let is_inside = i64::from(how != "return");
        assert_eq!(points("late/current"), is_inside, "{how}");
        let tags = "select count(*) from tags where key = 'late/current'";
        assert_eq!(one::<i64>(&database, tags), is_inside, "{how}");
        assert!(points("beside") >= beside, "{how}");
        let open = "select count(*) from runs where status = 'RUNNING'";
        assert_eq!(one::<i64>(&database, open), 0, "{how}");
        assert_eq!(folder.journals_left(), 0, "{how}");
    }
}
