//! Signals that end the process, and signals that do not.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::program::{Folder, one, with_default_signals};

const SIGNALS: &str = env!("CARGO_BIN_EXE_signals");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Running program that is ready to receive a signal.
struct Ready {
    process: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Ready {
    fn start(command: &mut Command) -> Self {
        let command = with_default_signals(command.stdin(Stdio::null()));
        let mut process = command.spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { process, stdout }
    }

    fn send(&self, signal: i32) {
        let sent = Command::new("kill")
            .args([format!("-{signal}"), self.process.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits until the program ends. Returns its exit status, its remaining stdout, and its stderr.
    fn end(mut self) -> (ExitStatus, String, String) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        let mut errors = self.process.stderr.take().unwrap();
        errors.read_to_string(&mut stderr).unwrap();
        (self.process.wait().unwrap(), stdout, stderr)
    }
}

#[test]
fn a_signal_ends_the_runs_as_killed_and_then_the_process() {
    for signal in [SIGINT, SIGTERM] {
        let folder = Folder::new();
        let mut command = folder.command(SIGNALS);
        command.env("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true");
        let program = Ready::start(command.arg("plain"));
        program.send(signal);
        let (status, stdout, stderr) = program.end();
        assert_eq!(status.signal(), Some(signal), "{stderr}");
        assert_eq!(stdout, "");
        assert_eq!(stderr, "");
        let database = folder.database();
        let run = "select status || ' ' || (end_time >= start_time) from runs";
        assert_eq!(one::<String>(&database, run), "KILLED 1");
        let points = "select count(*) from metrics where key = 'loss' and value = step";
        assert_eq!(one::<i64>(&database, points), 1000);
        // The journal still exists because the program's threads still ran at the end. All of its values were
        // delivered.
        let end = "select end_time from runs where name like 'train-%'";
        let ended: i64 = one(&database, end);
        folder.run(NUMBERS, &["next", "1", "1"], &[]);
        assert_eq!(one::<i64>(&database, end), ended);
        assert_eq!(one::<i64>(&database, points), 1000);
        assert_eq!(folder.journals_left(), 0);
    }
}

#[test]
fn a_program_with_a_handler_of_its_own_goes_on() {
    let folder = Folder::new();
    let program = Ready::start(folder.command(SIGNALS).arg("handled"));
    program.send(SIGTERM);
    let (status, stdout, stderr) = program.end();
    assert!(status.success(), "{stderr}");
    assert_eq!(stdout, "done\n");
    let database = folder.database();
    // The program ran to its end, but had received a signal. Values logged after the signal have arrived.
    let run = "select status from runs";
    assert_eq!(one::<String>(&database, run), "KILLED");
    let finished = "select count(*) from metrics where key = 'finished'";
    assert_eq!(one::<i64>(&database, finished), 1);
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let folder = Folder::new();
    let mut shell = folder.command("sh");
    shell.args(["-c", "trap '' INT; exec \"$@\"", "sh", SIGNALS, "plain"]);
    let program = Ready::start(&mut shell);
    program.send(SIGINT);
    program.send(SIGTERM);
    let (status, _, stderr) = program.end();
    assert_eq!(status.signal(), Some(SIGTERM), "{stderr}");
}

#[test]
fn a_second_signal_ends_a_process_that_waits_for_its_server() {
    // The server accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let folder = Folder::new();
    let mut program = Ready::start(
        folder
            .command(SIGNALS)
            .arg("plain")
            .env("MLFLOW_TRACKING_URI", &url)
            .env("MLFLOW_EXIT_TIMEOUT", "600"),
    );
    let begun = Instant::now();
    // Signals of one kind that arrive while one is pending are merged, so the signal is sent until the
    // program ends.
    while program.process.try_wait().unwrap().is_none() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the first one waits for ten minutes"
        );
        program.send(SIGTERM);
        thread::yield_now();
    }
    let (status, _, stderr) = program.end();
    assert_eq!(status.signal(), Some(SIGTERM), "{stderr}");
    assert_eq!(folder.journals_left(), 1, "nothing is lost");
}

/// Regression: only the parent has the thread that waits for the first signal, so a child did not react to
/// signals.
#[test]
fn a_forked_child_ends_at_its_first_signal() {
    let folder = Folder::new();
    let mut command = folder.command(SIGNALS);
    let ended = with_default_signals(command.arg("forks")).output().unwrap();
    let stdout = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(stdout, "the child got Some(15)\n", "{ended:?}");
    assert!(ended.status.success());
    let run = "select status from runs";
    assert_eq!(one::<String>(&folder.database(), run), "FINISHED");
}
