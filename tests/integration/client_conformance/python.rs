//! MLflow's own Python client, which gives the expected answers: one process for all tests of this program.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;

use crate::support::mlflow::python_command;

/// Process that runs `answers.py`. It ends with the test program, and removes the directory then.
pub(super) struct Python {
    process: Mutex<(Child, BufReader<ChildStdout>)>,
    directory: PathBuf,
}

impl Python {
    /// Returns the process, which is started by the first call.
    pub(super) fn shared() -> &'static Self {
        static SHARED: OnceLock<Python> = OnceLock::new();
        SHARED.get_or_init(|| {
            let directory = tempfile::tempdir().expect("a directory").keep();
            let mut process = python_command()
                .args(["-c", include_str!("answers.py")])
                .arg(&directory)
                .current_dir(&directory)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                // MLflow writes a line for each migration of a file.
                .stderr(Stdio::null())
                .spawn()
                .expect("python");
            let stdout = BufReader::new(process.stdout.take().expect("a pipe"));
            Self {
                process: Mutex::new((process, stdout)),
                directory,
            }
        })
    }

    /// Returns the directory for files of the tests, which is removed at the end.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Sends a request, and returns the answer. The request names a function of `answers.py`.
    pub(super) fn ask(&self, request: &Value) -> Value {
        let (process, stdout) = &mut *self.lock();
        let stdin = process.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{request}").expect("python reads");
        let mut line = String::new();
        stdout.read_line(&mut line).expect("python writes");
        let mut answer: Value = serde_json::from_str(&line).expect("an answer of python");
        if let Some(raised) = answer["raised"].as_str() {
            panic!("{}: {raised}", request["request"]);
        }
        answer["ok"].take()
    }

    fn lock(&self) -> MutexGuard<'_, (Child, BufReader<ChildStdout>)> {
        // A test that failed while it had the lock has read its answer.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
