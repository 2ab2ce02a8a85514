//! Starts the programs of this package as a user would: in a folder of their own.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

/// How long to wait for a program's words before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a test may work with one folder.
const LIFE: Duration = Duration::from_secs(600);

/// A temporary folder: working directory and journal of the programs that run in it.
pub(crate) struct Folder {
    path: PathBuf,
    /// Ends the watch when it is dropped.
    _watched: Option<Sender<()>>,
}

/// What a program left.
pub(crate) struct Ended {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) success: bool,
    pub(crate) took: Duration,
}

impl Folder {
    /// Makes one. What still runs in it after ten minutes is killed: with that every wait for a program
    /// and for its words ends, and the test fails.
    pub(crate) fn new() -> Self {
        let mut folder = Self::for_hours();
        let (watched, gone) = mpsc::channel();
        let path = folder.path.clone();
        thread::spawn(move || {
            while gone.recv_timeout(LIFE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("killed, after {LIFE:?}: {:?}", kill_all_in(&path));
            }
        });
        folder._watched = Some(watched);
        folder
    }

    /// Makes one for work whose length the caller knows.
    pub(crate) fn for_hours() -> Self {
        let path =
            std::env::temp_dir().join(format!("mlflow-runtime-tests-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self {
            path,
            _watched: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Directories of journals that still hold something to be shipped.
    pub(crate) fn journals_left(&self) -> usize {
        let is_journal = |entry: &io::Result<fs::DirEntry>| {
            let name = entry.as_ref().unwrap().file_name();
            let name = name.to_str().unwrap();
            !name.starts_with("rejected-") && !name.starts_with("damaged")
        };
        fs::read_dir(self.journal()).map_or(0, |entries| entries.filter(is_journal).count())
    }

    /// Directories of what a store has refused for good.
    pub(crate) fn rejected_left(&self) -> usize {
        let user = rustix::process::geteuid().as_raw();
        let folder = self.journal().join(format!("rejected-{user}"));
        fs::read_dir(folder).map_or(0, Iterator::count)
    }

    /// A program of this package, by its path.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("MLFLOW_") {
                command.env_remove(variable);
            }
        }
        command
            .current_dir(&self.path)
            .env("MLFLOW_JOURNAL_DIR", self.journal())
            // How fast the machine is today is not what is tested.
            .env("MLFLOW_EXIT_TIMEOUT", "120")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(
        &self,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Ended {
        let started = Instant::now();
        let output = self
            .command(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        Ended {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            success: output.status.success(),
            took: started.elapsed(),
        }
        .checked()
    }

    /// Starts it; it goes on while the test does.
    pub(crate) fn start(
        &self,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Live {
        let started = Instant::now();
        let mut process = self
            .command(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr: Arc<(Mutex<String>, Condvar)> = Arc::default();
        let (mut lines, heard) = (
            BufReader::new(process.stderr.take().unwrap()),
            stderr.clone(),
        );
        let reader = thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap() > 0 {
                heard.0.lock().unwrap().push_str(&line);
                heard.1.notify_all();
                line.clear();
            }
        });
        Live {
            process,
            started,
            stdout: String::new(),
            stderr,
            reader,
        }
    }

    /// The default store's file.
    pub(crate) fn database(&self) -> Connection {
        let database = Connection::open(self.path.join("mlflow.db")).unwrap();
        database.busy_timeout(Duration::from_secs(30)).unwrap();
        database
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Kills the programs that were started in `folder`, and what they have started, by their environment.
/// Returns their names.
fn kill_all_in(folder: &Path) -> Vec<String> {
    let folder = folder.as_os_str().as_bytes();
    let mut killed = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = process.file_name().to_str().and_then(|id| id.parse().ok());
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        let is_in_folder = environment.windows(folder.len()).any(|part| part == folder);
        if let Some(id) = id.and_then(Pid::from_raw).filter(|_| is_in_folder) {
            killed.push(fs::read_to_string(process.path().join("comm")).unwrap_or_default());
            let _ = kill_process(id, Signal::KILL);
        }
    }
    killed
}

/// Has the program start with the signals that end it at their default, also where the tests were started
/// with them ignored, as a shell does in its background.
pub(crate) fn with_default_signals(command: &mut Command) -> &mut Command {
    const FATAL: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
    #[allow(unsafe_code)]
    let reset = || {
        for signal in FATAL {
            // SAFETY: the default is no handler that could be wrong, and the call is async-signal-safe.
            if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between `fork` and `exec` the closure calls `signal` only.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(reset)
    }
}

impl Ended {
    /// Fails where `health()` did not add up to what the program had logged.
    fn checked(self) -> Self {
        let is_wrong = self.stderr.contains("the numbers of mlflow::health");
        assert!(!is_wrong, "{}", self.stderr);
        self
    }

    /// Lines on stderr that are warnings of the library.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.stderr
            .lines()
            .filter(|line| line.contains("WARN mlflow"))
            .collect()
    }
}

/// A program that runs beside the test.
pub(crate) struct Live {
    process: Child,
    started: Instant,
    /// Read so far.
    stdout: String,
    stderr: Arc<(Mutex<String>, Condvar)>,
    reader: JoinHandle<()>,
}

impl Live {
    #[allow(dead_code, reason = "for the reliability programs")]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it has printed `words` on stderr.
    pub(crate) fn wait_for_stderr(&self, words: &str) {
        let (stderr, heard) = &*self.stderr;
        let silent = |text: &mut String| !text.contains(words);
        let (text, waited) = heard
            .wait_timeout_while(stderr.lock().unwrap(), PATIENCE, silent)
            .unwrap();
        assert!(!waited.timed_out(), "no {words:?} on stderr:\n{text}");
    }

    /// Waits until it has printed `line` on stdout.
    pub(crate) fn wait_for_stdout(&mut self, line: &str) {
        let stdout = self.process.stdout.as_mut().unwrap();
        let mut byte = [0];
        while !self.stdout.ends_with(&format!("{line}\n")) {
            stdout.read_exact(&mut byte).unwrap();
            self.stdout.push(char::from(byte[0]));
        }
    }

    /// Gives it a line on stdin.
    pub(crate) fn tell(&mut self) {
        self.process
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"\n")
            .unwrap();
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.end();
    }

    /// Waits for its end.
    pub(crate) fn end(self) -> Ended {
        let output = self.process.wait_with_output().unwrap();
        self.reader.join().unwrap();
        Ended {
            stdout: self.stdout + &String::from_utf8(output.stdout).unwrap(),
            stderr: self.stderr.0.lock().unwrap().clone(),
            success: output.status.success(),
            took: self.started.elapsed(),
        }
        .checked()
    }
}

/// The only value of a query.
pub(crate) fn one<T: rusqlite::types::FromSql>(database: &Connection, query: &str) -> T {
    database.query_row(query, [], |row| row.get(0)).unwrap()
}
