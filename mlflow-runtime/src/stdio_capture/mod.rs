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

use redirect::{Redirect, on_the_way};

use crate::journal::Journal;
use crate::journal::console_log::Common;
use crate::journal::directory::CONSOLE_EXTENSION;
use crate::journal::segment::allocate::check_limit;

/// How long to wait for the last bytes where a subprocess goes on writing, or a terminal stands still.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long what was written may take to arrive, unless a terminal stands still.
const MOMENT: Duration = Duration::from_millis(500);
/// How long the file has to be as it is when nothing is on its way in the pipes: what the helper has in
/// its hands cannot be seen, and the processor may have others to serve first.
const AT_REST: Duration = Duration::from_millis(50);

/// The copy that is being made, and where.
pub(crate) struct Capture {
    redirect: Redirect,
    common: Arc<Common>,
    directory: PathBuf,
    file_name: String,
}

impl Capture {
    /// Begins, beside the journal.
    pub(crate) fn start(journal: &Arc<Journal>, max_bytes: u64) -> Option<Self> {
        match Self::begin(journal, max_bytes) {
            Ok(capture) => Some(capture),
            Err(error) => {
                tracing::warn!(target: "mlflow", %error, "stdout and stderr cannot be captured; they go where they went");
                None
            }
        }
    }

    fn begin(journal: &Arc<Journal>, max_bytes: u64) -> io::Result<Self> {
        let directory = journal.spool_directory().ok_or_else(|| {
            io::Error::other("the journal is in memory; set MLFLOW_JOURNAL_DIR to a directory that can be written")
        })?;
        // A line that is written beyond the limit would end the process.
        check_limit(u64::MAX).map_err(|_| {
            io::Error::other(
                "the process's files are limited in size; `ulimit -f unlimited` lifts that",
            )
        })?;
        let file_name = format!("{}.{CONSOLE_EXTENSION}", uuid::Uuid::new_v4().simple());
        let path = directory.join(&file_name);
        let common = Arc::new(Common::create(&path)?);
        let mut watched = Watched {
            journal: Arc::downgrade(journal),
            common: Arc::clone(&common),
            max_bytes,
            length: 0,
            is_closed: false,
        };
        let redirect = Redirect::start(&path, move |length| watched.look(length));
        if redirect.is_err() {
            let _ = fs::remove_file(&path);
        }
        Ok(Self {
            redirect: redirect?,
            common,
            directory,
            file_name,
        })
    }

    /// Whether it goes on.
    pub(crate) fn is_on(&self) -> bool {
        self.redirect.is_on()
    }

    pub(crate) fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// How many bytes were written and are not in the file yet, about.
    pub(crate) fn on_the_way(&self) -> u64 {
        if self.is_on() { on_the_way() } else { 0 }
    }

    /// Where the file lies, and those that say where runs' parts of it end.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits a moment for what was written to arrive, and has the parts of runs that have ended end
    /// there.
    pub(crate) fn catch_up(&self, until: Instant) {
        let until = until.min(Instant::now() + MOMENT);
        let mut length = None;
        while Instant::now() < until {
            let now = self.common.length();
            if on_the_way() == 0 && length == Some(now) {
                break;
            }
            length = Some(now);
            thread::sleep(AT_REST);
        }
        self.common.finish(Duration::ZERO);
    }

    /// Ends it, and waits for what was written, but no longer than until then.
    pub(crate) fn stop(&self, until: Instant) {
        let until = until.min(Instant::now() + PATIENCE);
        self.redirect.stop(until);
        self.common.finish(Duration::ZERO);
    }

    pub(crate) fn file_name(&self) -> &str {
        &self.file_name
    }
}

/// What is looked at once a second.
struct Watched {
    journal: Weak<Journal>,
    common: Arc<Common>,
    max_bytes: u64,
    length: u64,
    is_closed: bool,
}

impl Watched {
    /// Whether the copy goes on.
    fn look(&mut self, length: u64) -> bool {
        if on_the_way() == 0 {
            self.common.finish(MOMENT);
        }
        let needed = self.common.tidy();
        if needed > self.max_bytes && !self.is_closed {
            self.is_closed = true;
            self.common.close();
            tracing::warn!(
                target: "mlflow", max_bytes = self.max_bytes,
                "stdout and stderr are captured no more: they are longer than MLFLOW_CONSOLE_MAX_BYTES allows"
            );
        }
        if length != self.length
            && let Some(journal) = self.journal.upgrade()
        {
            journal.bell.ring_if_asleep();
        }
        self.length = length;
        !self.is_closed
    }
}
