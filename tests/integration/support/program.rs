//! Starts the programs of this package as a user would: in a folder of their own.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;

/// How long to wait for a program's words before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A temporary folder: working directory and journal of the programs that run in it.
pub(crate) struct Folder(PathBuf);

/// What a program left.
pub(crate) struct Ended {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) success: bool,
    pub(crate) took: Duration,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("mlflow-rs-tests-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.0.join("journal")
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
            .current_dir(&self.0)
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
        let database = Connection::open(self.0.join("mlflow.db")).unwrap();
        database.busy_timeout(Duration::from_secs(30)).unwrap();
        database
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Ended {
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
    }
}

/// The only value of a query.
pub(crate) fn one<T: rusqlite::types::FromSql>(database: &Connection, query: &str) -> T {
    database.query_row(query, [], |row| row.get(0)).unwrap()
}
