//! Tests of the redirection. Each test starts this binary once more, because descriptors 1 and 2 belong to
//! the output of the test harness: the [`scenario`] runs in the new process, and its output is examined from
//! outside.

mod scenario;

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader, PipeReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::Signal;

use scenario::{BEGIN, FILE, SCENARIO, awkward, large};

use crate::determinism::FORK_LOCK;
use crate::sync::ignore_poison;

/// Folder that is removed after the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = env::temp_dir().join(format!("mlflow-runtime-test-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("console.log")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Targets {
    /// `2>&1`
    One,
    Two,
}

struct Seen {
    out: Vec<u8>,
    /// Empty if stderr goes to the same pipe as stdout.
    err: Vec<u8>,
    /// `None` if the file does not exist.
    file: Option<Vec<u8>>,
    mode: Option<u32>,
    status: ExitStatus,
}

impl Seen {
    fn succeeded(self) -> Self {
        let [out, err] = [&self.out, &self.err].map(|bytes| tail(bytes));
        assert!(self.status.success(), "{}\n{out}\n{err}", self.status);
        self
    }

    fn file(&self) -> &[u8] {
        self.file.as_deref().unwrap()
    }
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2000)..]).into_owned()
}

fn command(scenario: &str, folder: &Folder) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "stdio_capture::redirect::tests::scenario::child"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env(SCENARIO, scenario)
        .env(FILE, folder.file())
        .stdin(Stdio::null());
    command
}

fn run(scenario: &str, targets: Targets) -> Seen {
    run_with(scenario, targets, |_, _| {})
}

fn run_with(scenario: &str, targets: Targets, prepare: impl FnOnce(&mut Command, &Folder)) -> Seen {
    let folder = Folder::new();
    let mut command = command(scenario, &folder);
    prepare(&mut command, &folder);
    let (out, out_end) = io::pipe().unwrap();
    let (err, err_end) = io::pipe().unwrap();
    let other = match targets {
        Targets::One => {
            drop(err_end);
            out_end.try_clone().unwrap()
        }
        Targets::Two => err_end,
    };
    command.stdout(out_end).stderr(other);
    let mut child = spawn(&mut command);
    // `command` holds the write ends, too.
    drop(command);
    let err = thread::spawn(move || read(err));
    // The helpers have ended when both pipes are read to their end.
    let (out, err) = (read(out), err.join().unwrap());
    let status = child.wait().unwrap();
    Seen {
        out,
        err,
        file: fs::read(folder.file()).ok(),
        mode: fs::metadata(folder.file())
            .ok()
            .map(|file| file.permissions().mode()),
        status,
    }
}

fn spawn(command: &mut Command) -> Child {
    let _no_simulation = ignore_poison(FORK_LOCK.write());
    command.spawn().unwrap()
}

/// Returns the output of the scenario, without that of the test harness.
fn read(mut from: PipeReader) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    let begin = bytes
        .windows(BEGIN.len())
        .rposition(|part| part == BEGIN)
        .map_or(0, |at| at + BEGIN.len());
    bytes.split_off(begin)
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Fails without printing the values in full, as they are megabytes long.
#[track_caller]
fn assert_same(bytes: &[u8], expected: &[u8]) {
    if bytes != expected {
        let (have, expected) = (bytes.len(), expected.len());
        panic!("{have} bytes, not {expected}, or others: …{}", tail(bytes));
    }
}

#[test]
fn bytes_are_passed_on_and_copied_unchanged() {
    for targets in [Targets::One, Targets::Two] {
        let seen = run("bytes", targets).succeeded();
        assert_same(&seen.out, &awkward());
        assert_same(&seen.err, b"");
        assert_same(seen.file(), &awkward());
        assert_eq!(seen.mode.unwrap() & 0o777, 0o600);
    }
}

#[test]
fn one_target_keeps_the_order_of_both() {
    let seen = run("order", Targets::One).succeeded();
    let expected: String = (0..1000)
        .map(|line| format!("out {line}\nerr {line}\n"))
        .collect();
    assert_same(&seen.out, expected.as_bytes());
    assert_same(seen.file(), expected.as_bytes());
}

#[test]
fn two_targets_stay_apart_and_are_both_in_the_file() {
    let seen = run("order", Targets::Two).succeeded();
    let lines = |of: &str| -> String { (0..1000).map(|line| format!("{of} {line}\n")).collect() };
    assert_same(&seen.out, lines("out").as_bytes());
    assert_same(&seen.err, lines("err").as_bytes());
    let file = String::from_utf8(seen.file().to_vec()).unwrap();
    assert_eq!(file.lines().count(), 2000);
    for of in ["out", "err"] {
        let copied: String = file
            .split_inclusive('\n')
            .filter(|line| line.starts_with(of))
            .collect();
        assert_same(copied.as_bytes(), lines(of).as_bytes());
    }
}

#[test]
fn a_file_that_is_there_is_written_on() {
    let prepare = |_: &mut Command, folder: &Folder| fs::write(folder.file(), "before\n").unwrap();
    let seen = run_with("stop", Targets::Two, prepare).succeeded();
    assert_same(seen.file(), b"before\nduring\nhalf a line");
}

#[test]
fn nothing_is_lost_by_sigkill() {
    for time in 0..50 {
        let targets = [Targets::One, Targets::Two][time % 2];
        let seen = run("kill", targets);
        assert_eq!(seen.status.signal(), Some(Signal::KILL.as_raw()));
        assert_last_words(&seen, targets);
    }
}

#[test]
fn nothing_is_lost_by_abort() {
    for time in 0..10 {
        let targets = [Targets::One, Targets::Two][time % 2];
        let seen = run("abort", targets);
        assert_eq!(seen.status.signal(), Some(Signal::ABORT.as_raw()));
        assert_last_words(&seen, targets);
    }
}

fn assert_last_words(seen: &Seen, targets: Targets) {
    let (out, err) = (b"last words\n", b"of both\n");
    let both = [out.as_slice(), err].concat();
    if targets == Targets::One {
        assert_same(&seen.out, &both);
        assert_same(seen.file(), &both);
    } else {
        assert_same(&seen.out, out);
        assert_same(&seen.err, err);
        assert_eq!(seen.file().len(), both.len());
        assert!(holds(seen.file(), out) && holds(seen.file(), err));
    }
}

#[test]
fn a_helper_that_is_killed_neither_loses_nor_stops_anything() {
    for targets in [Targets::One, Targets::Two] {
        let seen = run("killed helper", targets).succeeded();
        let written = [b"first\n", large().as_slice()].concat();
        assert_same(seen.file(), &written);
        // Later output may overtake the bytes in the pipe.
        let mut out = seen.out.clone();
        let told = take_line(&mut out, b"20");
        assert!(holds(&told, b"are no longer copied to"), "{}", tail(&told));
        assert!(holds(&told, b"SIGKILL"), "{}", tail(&told));
        assert_eq!(take_line(&mut out, b"afterwards"), b"afterwards\n");
        assert_same(&out, &written);
    }
}

/// Removes and returns the line that begins with `beginning`, wherever it stands.
fn take_line(bytes: &mut Vec<u8>, beginning: &[u8]) -> Vec<u8> {
    let mut places = bytes.windows(beginning.len());
    let start = places.position(|place| place == beginning).unwrap();
    let length = bytes[start..]
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap();
    bytes.drain(start..=start + length).collect()
}

#[test]
fn a_subprocess_goes_on_when_the_helper_is_killed() {
    let seen = run("killed helper of a subprocess", Targets::Two).succeeded();
    assert_same(&seen.out, b"first\nfrom below\n");
    assert_same(seen.file(), b"first\nfrom below\n");
}

#[test]
fn signals_to_all_processes_of_a_job_do_not_end_the_copy() {
    let seen = run("signals", Targets::Two).succeeded();
    assert_same(&seen.out, b"first\nsecond\n");
    assert_same(seen.file(), b"first\nsecond\n");
}

#[test]
fn a_pipe_that_nobody_reads_is_met_as_without_the_copy() {
    let folder = Folder::new();
    let mut command = command("nobody reads", &folder);
    let mut child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line != "line\n" {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0);
    }
    drop(out);
    assert!(child.wait().unwrap().success());
}

#[test]
fn output_of_subprocesses_is_copied() {
    let seen = run("subprocess", Targets::Two).succeeded();
    assert_same(&seen.out, b"from below\n");
    assert_same(seen.file(), b"from below\n");
}

#[test]
fn a_stop_gives_the_descriptors_back() {
    let seen = run("stop", Targets::Two).succeeded();
    assert_same(&seen.out, b"during\nhalf a lineafter\n");
    assert_same(seen.file(), b"during\nhalf a line");
}

#[test]
fn a_stop_waits_for_no_daemon() {
    let seen = run("daemon", Targets::Two).succeeded();
    assert_same(&seen.out, b"after the stop\nlate\n");
    assert_same(seen.file(), b"late\n");
}

#[test]
fn a_lock_of_stdout_that_is_never_released_holds_no_stop_up() {
    let seen = run("locked", Targets::Two).succeeded();
    assert_same(&seen.out, b"during\nafter\n");
    assert_same(seen.file(), b"during\n");
}

#[test]
fn a_descriptor_that_was_replaced_is_not_given_back() {
    let seen = run("replaced", Targets::Two).succeeded();
    assert_same(&seen.out, b"during\n");
    assert_same(&seen.err, b"elsewhere\n");
    assert_same(seen.file(), b"during\n");
}

#[test]
fn a_start_that_fails_changes_nothing() {
    let no_tee = |command: &mut Command, folder: &Folder| {
        command.env("PATH", &folder.0);
    };
    let no_folder = |command: &mut Command, folder: &Folder| {
        command.env(FILE, folder.file().join("no folder"));
    };
    for seen in [
        run_with("cannot start", Targets::Two, no_tee),
        run_with("cannot start", Targets::Two, no_folder),
        run("closed", Targets::Two),
    ] {
        let seen = seen.succeeded();
        assert_eq!(seen.file, None);
        assert_same(&seen.err, b"unchanged\n");
    }
}

#[test]
fn a_helper_that_cannot_run_loses_nothing() {
    let broken = |command: &mut Command, folder: &Folder| {
        let tee = folder.0.join("tee");
        fs::write(&tee, "#!/no/such/program\n").unwrap();
        fs::set_permissions(&tee, fs::Permissions::from_mode(0o755)).unwrap();
        let path = env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", folder.0.display()));
    };
    // The start may notice the broken helper, or come too early for that.
    let seen = run_with("broken", Targets::Two, broken).succeeded();
    assert_same(&seen.out, b"line\n");
}

#[test]
fn who_watches_stops_the_copy() {
    let seen = run("watched", Targets::Two).succeeded();
    assert_same(&seen.out, b"during\nafter\n");
    assert_same(seen.file(), b"during\n");
}

#[test]
fn there_is_one_copy_at_a_time() {
    let seen = run("twice", Targets::Two).succeeded();
    assert_same(&seen.out, b"once\ntwice\n");
    assert_same(seen.file(), b"once\ntwice\n");
}
