//! Starts the programs of this package as a user would: in a folder of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;

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

    /// Directories of journals that still hold something.
    pub(crate) fn journals_left(&self) -> usize {
        fs::read_dir(self.journal()).map_or(0, Iterator::count)
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

/// The only value of a query.
pub(crate) fn one<T: rusqlite::types::FromSql>(database: &Connection, query: &str) -> T {
    database.query_row(query, [], |row| row.get(0)).unwrap()
}
