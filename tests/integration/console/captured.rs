//! Capture of stdout and stderr: the output of a process is passed on unchanged, and copied into the console
//! logs of its runs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use super::{SWEEP, consoles_of, ends_well, eventually};
use crate::support::program::{Folder, one};

const PRINTED: &str = env!("CARGO_BIN_EXE_printed");
const CAPTURED: (&str, &str) = ("MLFLOW_CAPTURE_CONSOLE", "true");
/// Setting that silences the library's lines, so that stderr holds only the program's output.
const QUIET: (&str, &str) = ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true");

fn console(folder: &Folder, run: &str) -> String {
    consoles_of(folder, run)
        .remove("console.log")
        .unwrap_or_default()
}

/// Runs the program to its end. Returns the bytes of its stdout, which may not be UTF-8, its stderr, and true
/// if it succeeded.
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
    // Lines of stdout keep their order, with other lines between them.
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
    let mut program = folder.start(PRINTED, &["waits"], &[CAPTURED, QUIET]);
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

/// Returns true if a file in the folder of the journals holds the word.
fn journal_holds(folder: &Folder, word: &str) -> bool {
    let mut folders = vec![folder.journal()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(path)
                && bytes
                    .windows(word.len())
                    .any(|part| part == word.as_bytes())
            {
                return true;
            }
        }
    }
    false
}

/// Regression: what a program printed lay in its journal as it was, until it was uploaded.
#[test]
#[cfg(feature = "redact")]
fn secrets_do_not_stay_in_the_journal() {
    let folder = Folder::new();
    // Nothing listens there, so nothing is uploaded.
    let away = ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9");
    let pattern = ("MLFLOW_REDACT_PATTERN", "ACME-[0-9A-F]{8}");
    let exit = ("MLFLOW_EXIT_TIMEOUT", "1");
    let environment = [CAPTURED, QUIET, away, pattern, exit];
    let mut program = folder.start(PRINTED, &["leaks"], &environment);
    program.wait_for_stdout("printed");
    eventually("it is in the journal", || journal_holds(&folder, "rows=3"));
    eventually("the secrets stay there", || {
        !journal_holds(&folder, "hunter2") && !journal_holds(&folder, "ACME-0123ABCD")
    });
    program.tell();
    let ended = program.end();
    // What the program itself prints is its own.
    assert!(ended.stdout.contains("password=hunter2") && ended.stdout.contains("api_key=hunter3"));
    assert_eq!(folder.journals_left(), 1);
    assert!(
        !journal_holds(&folder, "hunter3"),
        "the line without an end"
    );
    let inspected = folder.run(
        env!("CARGO_BIN_EXE_sweep"),
        &["1"],
        &[("MLFLOW_TRACKING_URI", "http://127.0.0.1:9"), exit],
    );
    assert!(inspected.success, "{}", inspected.stderr);
    assert!(!journal_holds(&folder, "hunter"));
}

/// Regression: a token that was printed in parts was in the store with its first part until the second one came.
#[test]
fn the_beginning_of_a_secret_is_not_uploaded_before_its_end() {
    let folder = Folder::new();
    let mut program = folder.start(PRINTED, &["halves"], &[CAPTURED, QUIET]);
    // The pipe is copied before the lines behind it are.
    eventually("it is in the journal", || {
        journal_holds(&folder, "ghp_Fake1Fak")
    });
    program.tell();
    eventually("it is flushed", || folder.path().join("flushed").exists());
    assert_eq!(console(&folder, "one"), "begins\nmore\n");
    program.tell();
    ends_well(&program.end());
    let all = console(&folder, "one");
    assert_eq!(all, "begins\nmore\nkey [redacted] end\n");
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn it_outlives_a_killed_process() {
    let folder = Folder::new();
    let mut program = folder.start(PRINTED, &["waits"], &[CAPTURED, QUIET]);
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

/// The journal still names the first run's part of the captured output.
#[test]
fn a_console_that_is_whole_is_not_replaced_by_what_a_killed_process_printed_later() {
    let folder = Folder::new();
    let (_, _, success) = output(&folder, "second", &[CAPTURED]);
    assert!(!success);
    assert_eq!(console(&folder, "first"), "of the first\n");
    ends_well(&folder.run(SWEEP, &["1"], &[]));
    assert_eq!(console(&folder, "first"), "of the first\n");
    assert_eq!(console(&folder, "second"), "of the second\n");
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn of_many_runs_one_after_the_other_every_byte_is_in_one() {
    let folder = Folder::new();
    let ended = folder.run(PRINTED, &["many", "200000"], &[CAPTURED, QUIET]);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    let consoles: Vec<String> = (0..10)
        .map(|number| console(&folder, &format!("run-{number}")))
        .collect();
    let lengths: Vec<usize> = consoles.iter().map(String::len).collect();
    // Output printed at the very end of a run may be in the next run's console log, but in no other.
    assert!(consoles.concat() == ended.stdout, "{lengths:?}");
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn files_that_are_limited_in_size_end_no_process() {
    let folder = Folder::new();
    let script = format!("ulimit -f 2000; exec {PRINTED} 3000000");
    let mut command = folder.command("sh");
    command.args(["-c", &script]).env(CAPTURED.0, CAPTURED.1);
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}: {stderr}", output.status);
    assert!(stderr.contains("ulimit -f unlimited"), "{stderr}");
    assert_eq!(output.stdout.len(), "begins\nends\n".len() + 3_000_000);
}

#[test]
fn it_has_the_message_of_a_panic() {
    let folder = Folder::new();
    let (stdout, stderr, success) = output(&folder, "panics", &[CAPTURED]);
    assert!(!success);
    assert_eq!(stdout, b"begins\n");
    assert!(stderr.contains("as it was to"), "{stderr}");
    let console = console(&folder, "one");
    // Two pipes have no order between them.
    assert!(console.contains("begins\n"), "{console}");
    assert!(console.contains("as it was to"), "{console}");
}

/// Regression: the child held a read end of the pipe itself, and waited forever for somebody to read from it.
#[test]
fn a_forked_child_meets_a_pipe_that_nobody_reads_as_without_the_copy() {
    let folder = Folder::new();
    for environment in [&[][..], &[CAPTURED]] {
        let mut program = folder
            .command(PRINTED)
            .arg("forks")
            .envs(environment.iter().copied())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(program.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "begins\n");
        drop(stdout);
        assert!(program.wait().unwrap().success());
        let met = folder.path().join("met");
        eventually("the child waits", || met.exists());
        fs::remove_file(met).unwrap();
    }
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
        warnings[0].contains("cannot capture stdout and stderr"),
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
    program.wait_for_stderr("are no longer captured");
    program.wait_for_stdout("     9999");
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    assert!(ended.stdout.ends_with("     9999\nends\n"));
    assert_eq!(ended.stdout.lines().count(), 10_002);
    let console = console(&folder, "one");
    let full = "\n[more lines are left out: see MLFLOW_CONSOLE_MAX_BYTES]\n";
    assert!(console.ends_with(full), "{console}");
    assert_eq!(console.len(), 1000 + full.len());
    assert_eq!(folder.journals_left(), 0);
}
