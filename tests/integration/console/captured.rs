//! What a process writes to stdout and stderr is passed on as it is, and is in the console of its
//! runs.

use super::{SWEEP, consoles_of, ends_well, eventually};
use crate::support::program::{Folder, one};

const PRINTED: &str = env!("CARGO_BIN_EXE_printed");
const CAPTURED: (&str, &str) = ("MLFLOW_CAPTURE_CONSOLE", "true");
/// So that what is on stderr is the program's.
const QUIET: (&str, &str) = ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true");

fn console(folder: &Folder, run: &str) -> String {
    consoles_of(folder, run)
        .remove("console.log")
        .unwrap_or_default()
}

/// Runs it, with bytes on stdout that are no UTF-8.
fn output(folder: &Folder, how: &str, environment: &[(&str, &str)]) -> (Vec<u8>, String, bool) {
    let output = folder
        .command(PRINTED)
        .arg(how)
        .envs(environment.iter().copied())
        .env(QUIET.0, QUIET.1)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.stdout, stderr, output.status.success())
}

#[test]
fn it_is_passed_on_as_it_is_and_each_run_has_its_part() {
    let plain = Folder::new();
    let without = output(&plain, "runs", &[]);
    let layer_only = console(&plain, "first");
    assert_eq!(
        layer_only.lines().count(),
        1,
        "off by default: {layer_only}"
    );

    let folder = Folder::new();
    let with = output(&folder, "runs", &[CAPTURED]);
    assert_eq!(with, without);
    assert!(with.2, "{}", with.1);
    let first = console(&folder, "first");
    let mut stdout = vec![
        "first on stdout",
        "token [redacted]",
        "from a subprocess",
        "nested",
        "bytes as they are:",
        "\u{fffd}\0",
    ];
    let lines: Vec<&str> = first.lines().collect();
    // In the order of stdout, with the others in between.
    for line in &lines {
        if stdout.first() == Some(line) {
            stdout.remove(0);
        }
    }
    assert!(stdout.is_empty(), "{stdout:?} of {first}");
    assert!(lines.contains(&"first on stderr"), "{first}");
    assert!(first.contains(": a line of the layer\n"), "{first}");
    assert_eq!(lines.len(), 8, "{first}");
    assert_eq!(console(&folder, "second"), "second\n");
    let nested = console(&folder, "nested");
    assert!(nested.ends_with(": a line of the child\n"), "{nested}");
    assert_eq!(nested.lines().count(), 1, "{nested}");
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn it_is_there_while_the_run_goes_on_and_logs_nothing() {
    let folder = Folder::new();
    let mut program = folder.start(PRINTED, &["waits"], &[CAPTURED]);
    program.wait_for_stdout("begins");
    eventually("nothing comes", || {
        let tables = "select count(*) from sqlite_master where name = 'runs'";
        one::<i64>(&folder.database(), tables) == 1 && console(&folder, "one") == "begins\n"
    });
    program.tell();
    ends_well(&program.end());
    assert_eq!(console(&folder, "one"), "begins\n");
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn it_outlives_a_killed_process() {
    let folder = Folder::new();
    let mut program = folder.start(PRINTED, &["waits"], &[CAPTURED]);
    program.wait_for_stdout("begins");
    program.kill();
    ends_well(&folder.run(SWEEP, &["1"], &[]));
    assert_eq!(console(&folder, "one"), "begins\n");
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn it_has_the_last_words_of_a_process_that_aborts() {
    let folder = Folder::new();
    let (stdout, _, success) = output(&folder, "aborts", &[CAPTURED]);
    assert!(!success);
    assert_eq!(stdout, b"begins\nthe last words");
    ends_well(&folder.run(SWEEP, &["1"], &[]));
    assert_eq!(console(&folder, "one"), "begins\nthe last words");
}

#[test]
fn it_has_the_message_of_a_panic() {
    let folder = Folder::new();
    let (stdout, stderr, success) = output(&folder, "panics", &[CAPTURED]);
    assert!(!success);
    assert_eq!(stdout, b"begins\n");
    assert!(stderr.contains("as it was to"), "{stderr}");
    let console = console(&folder, "one");
    assert!(console.starts_with("begins\n"), "{console}");
    assert!(console.contains("as it was to"), "{console}");
}

#[test]
fn without_tee_one_warning_says_so_and_nothing_else_changes() {
    let folder = Folder::new();
    let environment = [CAPTURED, ("PATH", "/nowhere")];
    let mut program = folder.start(PRINTED, &["waits"], &environment);
    program.wait_for_stdout("begins");
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    let warnings = ended.warnings();
    assert_eq!(warnings.len(), 1, "{}", ended.stderr);
    assert!(
        warnings[0].contains("cannot be captured"),
        "{}",
        ended.stderr
    );
    assert_eq!(console(&folder, "one"), "");
}

#[test]
fn beyond_its_limit_it_ends_and_the_output_goes_on() {
    let folder = Folder::new();
    let environment = [CAPTURED, ("MLFLOW_CONSOLE_MAX_BYTES", "1000")];
    let mut program = folder.start(PRINTED, &["100000"], &environment);
    program.wait_for_stderr("are captured no more");
    program.wait_for_stdout("     9999");
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    assert!(ended.stdout.ends_with("     9999\nends\n"));
    assert_eq!(ended.stdout.lines().count(), 10_002);
    let console = console(&folder, "one");
    assert!(console.contains("[more lines are left out"), "{console}");
    assert!(!console.contains("ends\n"), "{console}");
    assert_eq!(folder.journals_left(), 0);
}
