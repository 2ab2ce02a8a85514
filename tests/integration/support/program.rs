//! Programs of this package, started as a user would start them: each in a folder of its own.

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

/// Longest wait for a line of a program on stderr before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longest time that a test may use one folder.
const LIFE: Duration = Duration::from_secs(600);

/// A temporary folder: working directory and journal of the programs that run in it.
pub(crate) struct Folder {
    path: PathBuf,
    /// Sender whose drop ends the watching thread; `None` if nothing watches the folder.
    _watched: Option<Sender<()>>,
}

/// Output and exit of a program that has ended.
pub(crate) struct Ended {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) success: bool,
    /// Exit code; `None` if a signal has ended the program.
    pub(crate) code: Option<i32>,
    pub(crate) took: Duration,
}

impl Folder {
    /// Creates a folder. Programs still running in the folder after ten minutes are killed. This ends every
    /// wait for such a program and for its output, and the test fails.
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

    /// Creates a folder without a time limit, for work whose length the caller knows.
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

    /// Returns the directory in which the programs keep their journals.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Returns the number of journals that still hold something to be shipped.
    pub(crate) fn journals_left(&self) -> usize {
        let is_journal = |entry: &io::Result<fs::DirEntry>| {
            let name = entry.as_ref().unwrap().file_name();
            let name = name.to_str().unwrap();
            !name.starts_with("rejected-") && !name.starts_with("damaged")
        };
        fs::read_dir(self.journal()).map_or(0, |entries| entries.filter(is_journal).count())
    }

    /// Returns the number of directories with entries that a store has rejected.
    pub(crate) fn rejected_left(&self) -> usize {
        let user = rustix::process::geteuid().as_raw();
        let folder = self.journal().join(format!("rejected-{user}"));
        fs::read_dir(folder).map_or(0, Iterator::count)
    }

    /// Returns a command that starts a program of this package, given by its path. Variables `MLFLOW_…` of
    /// the test process are removed from the environment.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            if name.starts_with("MLFLOW_") || name.starts_with("DATABRICKS_") {
                command.env_remove(variable);
            }
        }
        command
            .current_dir(&self.path)
            .env("MLFLOW_JOURNAL_DIR", self.journal())
            // The exit gets a generous timeout: the tests do not depend on the speed of the machine.
            .env("MLFLOW_EXIT_TIMEOUT", "120")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a program to its end.
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
            code: output.status.code(),
            took: started.elapsed(),
        }
        .checked()
    }

    /// Starts a program that runs beside the test.
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

    /// Opens the SQLite file of the default store.
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

/// Kills the programs that were started in `folder` and the processes that they started, found by the
/// folder's path in their environment. Returns the names of the killed processes.
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

/// Sets the fatal signals to their default handling in the program. A shell starts its background jobs,
/// perhaps the tests among them, with some of these signals ignored, and a child inherits that.
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
    /// Panics if the numbers of `health()` did not add up to the values that the program had logged.
    fn checked(self) -> Self {
        let is_wrong = self.stderr.contains("the numbers of mlflow::health");
        assert!(!is_wrong, "{}", self.stderr);
        self
    }

    /// Returns the lines on stderr that are warnings of the library.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.stderr
            .lines()
            .filter(|line| line.contains("WARN mlflow"))
            .collect()
    }
}

/// Program that runs beside the test.
pub(crate) struct Live {
    process: Child,
    started: Instant,
    /// Output read so far.
    stdout: String,
    stderr: Arc<(Mutex<String>, Condvar)>,
    reader: JoinHandle<()>,
}

impl Live {
    #[allow(dead_code, reason = "for the reliability programs")]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until the program has printed `words` on stderr.
    pub(crate) fn wait_for_stderr(&self, words: &str) {
        let (stderr, heard) = &*self.stderr;
        let silent = |text: &mut String| !text.contains(words);
        let (text, waited) = heard
            .wait_timeout_while(stderr.lock().unwrap(), PATIENCE, silent)
            .unwrap();
        assert!(!waited.timed_out(), "no {words:?} on stderr:\n{text}");
    }

    /// Waits until the program has printed `line` on stdout.
    pub(crate) fn wait_for_stdout(&mut self, line: &str) {
        let stdout = self.process.stdout.as_mut().unwrap();
        let mut byte = [0];
        while !self.stdout.ends_with(&format!("{line}\n")) {
            stdout.read_exact(&mut byte).unwrap();
            self.stdout.push(char::from(byte[0]));
        }
    }

    /// Writes an empty line to the program's stdin.
    pub(crate) fn tell(&mut self) {
        self.process
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"\n")
            .unwrap();
    }

    /// Kills the program by SIGKILL, and waits for its end.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.end();
    }

    /// Waits until the program ends.
    pub(crate) fn end(self) -> Ended {
        let output = self.process.wait_with_output().unwrap();
        self.reader.join().unwrap();
        Ended {
            stdout: self.stdout + &String::from_utf8(output.stdout).unwrap(),
            stderr: self.stderr.0.lock().unwrap().clone(),
            success: output.status.success(),
            code: output.status.code(),
            took: self.started.elapsed(),
        }
        .checked()
    }
}

/// Returns the first column of a query's first row.
pub(crate) fn one<T: rusqlite::types::FromSql>(database: &Connection, query: &str) -> T {
    database.query_row(query, [], |row| row.get(0)).unwrap()
}
