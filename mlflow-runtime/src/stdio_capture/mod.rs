//! Capture of the process's stdout and stderr into the artifact `logs/console.log` of its runs.
//!
//! Invariants: the output still reaches its original destination. Capturing is off unless it is configured. A
//! process has one capture, for one journal: that of the first configuration that enables capturing. A
//! capture that fails causes one warning.

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
use crate::warnings::warn_user;

/// Longest time that a stop waits for the last bytes, if a subprocess continues to write or a terminal is
/// paused.
const TEE_STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time that the last look for secrets takes. In this time, some tens of megabytes are searched.
const LAST_LOOK_TIMEOUT: Duration = Duration::from_millis(200);

/// Longest time that written bytes take to arrive in the file, unless a terminal is paused.
const ARRIVAL_TIMEOUT: Duration = Duration::from_millis(500);
/// Time for which the length of the file must not change before the output counts as arrived. Empty pipes are
/// not enough: bytes that the helper has read and not written yet cannot be seen, and the helper may have to
/// wait for a processor.
const QUIET_PERIOD: Duration = Duration::from_millis(50);

/// Running copy of stdout and stderr, and the location of its file.
pub(crate) struct Capture {
    redirect: Redirect,
    shared_file: Arc<SharedLogFile>,
    directory: PathBuf,
    file_name: String,
}

impl Capture {
    /// Starts the capture into a new file beside the journal. Returns `None`, with a warning, if stdout and
    /// stderr cannot be captured.
    pub(crate) fn start(journal: &Arc<Journal>, max_bytes: u64) -> Option<Self> {
        match Self::try_start(journal, max_bytes) {
            Ok(capture) => Some(capture),
            Err(error) => {
                warn_user(format_args!(
                    "cannot capture stdout and stderr; output is passed through unchanged: {error}"
                ));
                None
            }
        }
    }

    fn try_start(journal: &Arc<Journal>, max_bytes: u64) -> io::Result<Self> {
        let directory = journal.spool_directory().ok_or_else(|| {
            io::Error::other(
                "the journal is kept in memory; set MLFLOW_JOURNAL_DIR to a writable directory",
            )
        })?;
        // A write beyond the limit would end the process.
        check_file_size_limit(u64::MAX).map_err(|_| {
            io::Error::other(
                "the size of files that this process may write is limited; `ulimit -f unlimited` removes the limit",
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

    /// Returns true while output is captured.
    pub(crate) fn is_on(&self) -> bool {
        self.redirect.is_on()
    }

    pub(crate) fn shared_file(&self) -> &Arc<SharedLogFile> {
        &self.shared_file
    }

    /// Returns about how many bytes were written to stdout and stderr and are not in the file yet.
    pub(crate) fn pending_bytes(&self) -> u64 {
        if self.is_on() { bytes_in_pipes() } else { 0 }
    }

    /// Returns the directory of the file, and of the marker files that record where each run's part of it
    /// ends.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits for written bytes to arrive in the file, no longer than [`ARRIVAL_TIMEOUT`] or than until
    /// `until`, and ends the parts of ended runs there.
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

    /// Ends the capture, and waits for written bytes to arrive, no longer than [`TEE_STOP_TIMEOUT`] or than until
    /// `until`.
    pub(crate) fn stop(&self, until: Instant) {
        let until = until.min(Instant::now() + TEE_STOP_TIMEOUT);
        self.redirect.stop(until);
        self.shared_file.finish_ended_parts(Duration::ZERO);
        self.shared_file
            .blot_last_secrets(Instant::now() + LAST_LOOK_TIMEOUT);
    }

    pub(crate) fn file_name(&self) -> &str {
        &self.file_name
    }
}

/// State of the check that is made once a second.
struct CaptureMonitor {
    journal: Weak<Journal>,
    shared_file: Arc<SharedLogFile>,
    max_bytes: u64,
    length: u64,
    is_closed: bool,
}

impl CaptureMonitor {
    /// Checks the file, which is `length` bytes long, and overwrites new secrets in it; returns false if the capture has to
    /// end. Wakes the shipper if the file has changed.
    fn check_length(&mut self, length: u64) -> bool {
        if bytes_in_pipes() == 0 {
            self.shared_file.finish_ended_parts(ARRIVAL_TIMEOUT);
        }
        let needed = self.shared_file.reclaim_space();
        self.shared_file.blot_secrets();
        if needed > self.max_bytes && !self.is_closed {
            self.is_closed = true;
            self.shared_file.close();
            tracing::warn!(
                target: "mlflow", max_bytes = self.max_bytes,
                "stdout and stderr are no longer captured: the output is longer than MLFLOW_CONSOLE_MAX_BYTES allows"
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
