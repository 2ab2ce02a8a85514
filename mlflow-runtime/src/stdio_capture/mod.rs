//! What the process writes to stdout and stderr, as the artifact `logs/console.log` of its runs.
//!
//! Invariants: it goes where it would have gone; off unless it was asked for; of one process and one
//! journal, that of the first configuration which asks. What became of a copy that could not be made
//! is one warning.

mod redirect;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use redirect::{Redirect, bytes_in_pipes};

use crate::journal::Journal;
use crate::journal::console_log::SharedLogFile;
use crate::journal::directory::CONSOLE_EXTENSION;
use crate::journal::segment::allocate::check_file_size_limit;

/// How long to wait for the last bytes where a subprocess goes on writing, or a terminal stands still.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// How long what was written may take to arrive, unless a terminal stands still.
const ARRIVAL_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the file has to be as it is when nothing is on its way in the pipes: what the helper has in
/// its hands cannot be seen, and the processor may have others to serve first.
const QUIET_PERIOD: Duration = Duration::from_millis(50);

/// The copy that is being made, and where.
pub(crate) struct Capture {
    redirect: Redirect,
    shared_file: Arc<SharedLogFile>,
    directory: PathBuf,
    file_name: String,
}

impl Capture {
    /// Begins, beside the journal.
    pub(crate) fn start(journal: &Arc<Journal>, max_bytes: u64) -> Option<Self> {
        match Self::try_start(journal, max_bytes) {
            Ok(capture) => Some(capture),
            Err(error) => {
                tracing::warn!(target: "mlflow", %error, "stdout and stderr cannot be captured; they go where they went");
                None
            }
        }
    }

    fn try_start(journal: &Arc<Journal>, max_bytes: u64) -> io::Result<Self> {
        let directory = journal.spool_directory().ok_or_else(|| {
            io::Error::other("the journal is in memory; set MLFLOW_JOURNAL_DIR to a directory that can be written")
        })?;
        // A line that is written beyond the limit would end the process.
        check_file_size_limit(u64::MAX).map_err(|_| {
            io::Error::other(
                "the process's files are limited in size; `ulimit -f unlimited` lifts that",
            )
        })?;
        let file_name = format!("{}.{CONSOLE_EXTENSION}", uuid::Uuid::new_v4().simple());
        let path = directory.join(&file_name);
        let common = Arc::new(SharedLogFile::create(&path)?);
        let mut watched = CaptureMonitor {
            journal: Arc::downgrade(journal),
            shared_file: Arc::clone(&common),
            max_bytes,
            length: 0,
            is_closed: false,
        };
        let redirect = Redirect::start(&path, move |length| watched.check_length(length));
        if redirect.is_err() {
            let _ = fs::remove_file(&path);
        }
        Ok(Self {
            redirect: redirect?,
            shared_file: common,
            directory,
            file_name,
        })
    }

    /// Whether it goes on.
    pub(crate) fn is_on(&self) -> bool {
        self.redirect.is_on()
    }

    pub(crate) fn shared_file(&self) -> &Arc<SharedLogFile> {
        &self.shared_file
    }

    /// How many bytes were written and are not in the file yet, about.
    pub(crate) fn pending_bytes(&self) -> u64 {
        if self.is_on() { bytes_in_pipes() } else { 0 }
    }

    /// Where the file lies, and those that say where runs' parts of it end.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits a moment for what was written to arrive, and has the parts of runs that have ended end
    /// there.
    pub(crate) fn drain(&self, until: Instant) {
        let until = until.min(Instant::now() + ARRIVAL_TIMEOUT);
        let mut length = None;
        while Instant::now() < until {
            let now = self.shared_file.length();
            if bytes_in_pipes() == 0 && length == Some(now) {
                break;
            }
            length = Some(now);
            thread::sleep(QUIET_PERIOD);
        }
        self.shared_file.finish_ended_parts(Duration::ZERO);
    }

    /// Ends it, and waits for what was written, but no longer than until then.
    pub(crate) fn stop(&self, until: Instant) {
        let until = until.min(Instant::now() + STOP_TIMEOUT);
        self.redirect.stop(until);
        self.shared_file.finish_ended_parts(Duration::ZERO);
    }

    pub(crate) fn file_name(&self) -> &str {
        &self.file_name
    }
}

/// What is looked at once a second.
struct CaptureMonitor {
    journal: Weak<Journal>,
    shared_file: Arc<SharedLogFile>,
    max_bytes: u64,
    length: u64,
    is_closed: bool,
}

impl CaptureMonitor {
    /// Whether the copy goes on.
    fn check_length(&mut self, length: u64) -> bool {
        if bytes_in_pipes() == 0 {
            self.shared_file.finish_ended_parts(ARRIVAL_TIMEOUT);
        }
        let needed = self.shared_file.reclaim_space();
        if needed > self.max_bytes && !self.is_closed {
            self.is_closed = true;
            self.shared_file.close();
            tracing::warn!(
                target: "mlflow", max_bytes = self.max_bytes,
                "stdout and stderr are captured no more: they are longer than MLFLOW_CONSOLE_MAX_BYTES allows"
            );
        }
        if length != self.length
            && let Some(journal) = self.journal.upgrade()
        {
            journal.wakeup.notify_if_asleep();
        }
        self.length = length;
        !self.is_closed
    }
}
