//! Console logs of runs: each is complete in the run's artifacts, even if its process dies or its store is
//! unavailable.

mod captured;
mod lines;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::fault::Fault;
use crate::support::mlflow::{Api, Server};
use crate::support::program::{Ended, Folder, Live, one};
use crate::support::proxy::Proxy;

const LINES: &str = env!("CARGO_BIN_EXE_lines");
/// Program that ships orphaned journals. Any other program that tracks would do.
const SWEEP: &str = env!("CARGO_BIN_EXE_sweep");

const THREADS: usize = 4;
const EACH: usize = 500;

/// Starts the program, and waits until it has logged the first half of its lines.
fn talking(folder: &Folder, environment: &[(&str, &str)]) -> Live {
    let arguments = [&THREADS.to_string(), &EACH.to_string(), "run"];
    let mut program = folder.start(LINES, &arguments, environment);
    program.wait_for_stdout("logged");
    program
}

/// Returns the console logs of the only run named `lines`, by file name, from the default store.
fn consoles(folder: &Folder) -> BTreeMap<String, String> {
    consoles_of(folder, "lines")
}

fn consoles_of(folder: &Folder, run: &str) -> BTreeMap<String, String> {
    let query = format!("select coalesce(max(artifact_uri), '') from runs where name = '{run}'");
    let root: String = one(&folder.database(), &query);
    let logs = Path::new(root.trim_start_matches("file://")).join("logs");
    let files = fs::read_dir(logs).into_iter().flatten().flatten();
    files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, fs::read_to_string(file.path()).unwrap())
        })
        .collect()
}

/// Returns true if the default store has a console log of the run.
fn has_lines(folder: &Folder) -> bool {
    let tables = "select count(*) from sqlite_master where name = 'runs'";
    one::<i64>(&folder.database(), tables) == 1 && !consoles(folder).is_empty()
}

/// Asserts that the console log holds every line of each thread, once and in order, and otherwise only the
/// first and the last line.
fn is_whole(console: &str, lines: usize) {
    let mut said: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut others = Vec::new();
    for line in console.lines() {
        match line.split_once("lines: thread: says thread=") {
            Some((_, numbers)) => {
                let (thread, line) = numbers.split_once(" line=").unwrap();
                let of_thread = said.entry(thread.parse().unwrap()).or_default();
                of_thread.push(line.parse().unwrap());
            }
            None => others.push(line.split_once(": ").unwrap().1),
        }
    }
    let expected: Vec<usize> = (0..lines).collect();
    for thread in 0..THREADS {
        assert_eq!(said.get(&thread), Some(&expected), "of thread {thread}");
    }
    let others_expected: &[&str] = if lines == EACH {
        &["begins"]
    } else {
        &["begins", "ends"]
    };
    assert_eq!(others, others_expected, "and nothing of the library's");
}

fn ends_well(ended: &Ended) {
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn lines_of_all_threads_are_there_while_the_run_goes_on_and_when_it_has_ended() {
    let folder = Folder::new();
    let mut program = talking(&folder, &[]);
    eventually("the first lines do not come", || has_lines(&folder));
    assert_eq!(
        one::<String>(&folder.database(), "select status from runs"),
        "RUNNING"
    );
    program.tell();
    let ended = program.end();
    ends_well(&ended);
    let consoles = consoles(&folder);
    assert_eq!(consoles.keys().collect::<Vec<_>>(), ["console.log"]);
    is_whole(&consoles["console.log"], 2 * EACH);
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn lines_outlive_a_killed_process() {
    let folder = Folder::new();
    for _ in 0..3 {
        let _ = fs::remove_file(folder.path().join("mlflow.db"));
        let program = talking(&folder, &[]);
        program.kill();
        ends_well(&folder.run(SWEEP, &["1"], &[]));
        is_whole(&consoles(&folder)["console.log"], EACH);
        assert_eq!(folder.journals_left(), 0);
    }
}

/// Returns the only run of an experiment.
fn only_run(api: &Api, experiment: &str) -> crate::support::seen::Seen {
    let runs = api.runs(&api.experiment(experiment));
    let [(run_id, _)] = &runs[..] else {
        panic!("one run: {runs:?}");
    };
    api.run(run_id)
}

#[test]
fn a_server_has_them_all_whatever_the_http_client_says_meanwhile() {
    let server = Server::shared();
    let folder = Folder::new();
    let experiment = format!("lines-{}", uuid::Uuid::new_v4());
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXPERIMENT_NAME", &experiment),
    ];
    let mut program = talking(&folder, &environment);
    program.tell();
    ends_well(&program.end());
    let run = only_run(&server.api(), &experiment);
    assert_eq!(run.status, "FINISHED");
    let console = String::from_utf8(run.artifacts["logs/console.log"].clone()).unwrap();
    is_whole(&console, 2 * EACH);
}

#[test]
fn lines_wait_for_the_artifact_store_and_keep_nothing_else_from_arriving() {
    let server = Server::shared();
    let is_upload = |request: &crate::support::fake_server::Request| {
        request
            .line
            .starts_with("PUT ")
            .then_some(Fault::Status(500))
    };
    let proxy = Proxy::start(server.url(), is_upload);
    let url = proxy.url();
    let folder = Folder::new();
    let experiment = format!("lines-{}", uuid::Uuid::new_v4());
    let environment = [
        ("MLFLOW_TRACKING_URI", url.as_str()),
        ("MLFLOW_EXPERIMENT_NAME", &experiment),
    ];
    let mut program = talking(&folder, &environment);
    program.wait_for_stderr("the store does not accept console logs");
    let api = server.api();
    let seen = only_run(&api, &experiment);
    assert_eq!(seen.points["loss"].len(), 1);
    assert!(seen.artifacts.is_empty());
    // The process ends without waiting, because its store is known to be unavailable. The next program ships
    // the rest.
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(only_run(&api, &experiment).status, "FINISHED");
    assert!(
        ended.stderr.contains("1 value waits in"),
        "{}",
        ended.stderr
    );
    proxy.heal();
    let swept = folder.run(SWEEP, &["1"], &[("MLFLOW_TRACKING_URI", url.as_str())]);
    ends_well(&swept);
    let run = only_run(&api, &experiment);
    let console = String::from_utf8(run.artifacts["logs/console.log"].clone()).unwrap();
    is_whole(&console, 2 * EACH);
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn a_store_that_takes_none_until_somebody_acts_is_told_of_once() {
    let server = Server::start_with(&[
        "--no-serve-artifacts",
        "--default-artifact-root",
        "ftp://nobody@nowhere/artifacts",
    ]);
    let folder = Folder::new();
    let environment = [("MLFLOW_TRACKING_URI", server.url())];
    let mut program = folder.start(LINES, &["1", "10", "run"], &environment);
    program.wait_for_stdout("logged");
    program.wait_for_stderr("they stay in the journal");
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.warnings().len(), 1, "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 1, "its bytes are kept");
}

#[test]
fn a_run_that_goes_on_in_another_process_has_a_console_of_each() {
    let folder = Folder::new();
    let mut first = folder.start(LINES, &["1", "10", "run"], &[]);
    first.wait_for_stdout("logged");
    first.tell();
    ends_well(&first.end());
    let run_id: String = one(&folder.database(), "select run_uuid from runs");
    let environment = [("MLFLOW_RUN_ID", run_id.as_str())];
    let mut second = folder.start(LINES, &["1", "10", "run"], &environment);
    second.wait_for_stdout("logged");
    second.tell();
    ends_well(&second.end());
    let consoles = consoles(&folder);
    assert_eq!(consoles.len(), 2, "{consoles:?}");
    assert!(consoles.keys().all(|name| name.starts_with("console")));
    for console in consoles.values() {
        assert_eq!(console.lines().count(), 22, "{console}");
    }
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn a_forked_child_has_a_console_of_its_own() {
    let folder = Folder::new();
    let mut program = folder.start(LINES, &["1", "10", "forks"], &[]);
    program.wait_for_stdout("logged");
    program.tell();
    ends_well(&program.end());
    let consoles = consoles(&folder);
    assert_eq!(consoles.len(), 2, "{consoles:?}");
    assert_eq!(consoles["console.log"].lines().count(), 22);
    let (_, childs) = consoles
        .iter()
        .find(|(name, _)| *name != "console.log")
        .unwrap();
    assert_eq!(childs.lines().count(), 1, "{childs}");
    assert!(childs.ends_with("the child says something\n"), "{childs}");
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn a_process_that_exits_in_its_run_leaves_nothing_behind() {
    let folder = Folder::new();
    let mut program = folder.start(LINES, &["1", "10", "exits"], &[]);
    program.wait_for_stdout("logged");
    program.tell();
    ends_well(&program.end());
    assert_eq!(consoles(&folder)["console.log"].lines().count(), 21);
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn a_console_that_is_full_says_so() {
    let folder = Folder::new();
    let environment = [("MLFLOW_CONSOLE_MAX_BYTES", "10000")];
    let mut program = folder.start(LINES, &["4", "500", "run"], &environment);
    program.wait_for_stdout("logged");
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    let console = &consoles(&folder)["console.log"];
    let full = "\n[more lines are left out: see MLFLOW_CONSOLE_MAX_BYTES]\n";
    let (_, under_way) = console.split_once(full).expect("a line that says so");
    // Each of the other three threads may have begun one line before the limit was reached.
    assert!(under_way.lines().count() <= 3, "{console}");
    assert!(console.len() <= 10_000 + full.len() && console.len() > 9_000);
    assert!(ended.stdout.ends_with("dropped 0\n"), "{}", ended.stdout);
}

#[test]
fn lines_that_the_journal_has_no_room_for_are_counted() {
    let folder = Folder::new();
    let server = crate::support::fake_server::FakeServer::start_deaf();
    let url = server.url();
    let environment = [
        ("MLFLOW_JOURNAL_MAX_BYTES", "200000"),
        ("MLFLOW_TRACKING_URI", url.as_str()),
        ("MLFLOW_EXIT_TIMEOUT", "0"),
    ];
    let mut program = folder.start(LINES, &["4", "2000", "run"], &environment);
    program.wait_for_stdout("logged");
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the journal is full"),
        "{}",
        ended.stderr
    );
    let dropped: u64 = ended
        .stdout
        .trim()
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..16_000).contains(&dropped), "{dropped}");
}

/// If the journal is in memory, console logs are kept in memory, too.
#[test]
fn lines_without_any_directory() {
    let folder = Folder::new();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("journal");
    let below = below.to_str().unwrap();
    let environment = [("MLFLOW_JOURNAL_DIR", below), ("TMPDIR", below)];
    let mut program = talking(&folder, &environment);
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    is_whole(&consoles(&folder)["console.log"], 2 * EACH);
}

#[test]
fn a_cleared_journal_directory_costs_no_line_that_the_process_still_has() {
    let folder = Folder::new();
    let mut program = talking(&folder, &[]);
    eventually("the first lines do not come", || has_lines(&folder));
    fs::remove_dir_all(folder.journal()).unwrap();
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    is_whole(&consoles(&folder)["console.log"], 2 * EACH);
}
