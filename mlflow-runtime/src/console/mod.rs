//! What the process writes to stdout and stderr, as the artifact `logs/console.log` of its runs.
//!
//! Invariants: it goes where it would have gone; off unless it was asked for; of one process and one
//! journal, that of the first configuration which asks. What became of a copy that could not be made
//! is one warning.

mod redirect;
mod settings;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redirect::Redirect;
pub(crate) use settings::{Options, Settings};

use crate::journal::Journal;
use crate::journal::console::Common;
use crate::journal::directory::CONSOLE_EXTENSION;
use crate::tracker::Tracker;

/// How long to wait for the last bytes where a subprocess goes on writing, or a terminal stands still.
const PATIENCE: Duration = Duration::from_secs(1);

/// The copy that is being made, and where.
pub(crate) struct Capture {
    redirect: Redirect,
    common: Arc<Common>,
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
        let file_name = format!("{}.{CONSOLE_EXTENSION}", uuid::Uuid::new_v4().simple());
        let path = directory.join(&file_name);
        let common = Arc::new(Common::create(&path)?);
        let (journal, copied) = (Arc::downgrade(journal), Arc::clone(&common));
        let redirect = Redirect::start(&path, move |length| {
            if length > max_bytes {
                copied.close();
                tracing::warn!(
                    target: "mlflow", max_bytes,
                    "stdout and stderr are captured no more: they are longer than MLFLOW_CONSOLE_MAX_BYTES allows"
                );
                return false;
            }
            if let Some(journal) = journal.upgrade() {
                journal.bell.ring_if_asleep();
            }
            true
        })?;
        Ok(Self {
            redirect,
            common,
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

    pub(crate) fn file_name(&self) -> &str {
        &self.file_name
    }
}

/// Ends the process's capture, and waits for what was written, but no longer than until then.
pub(crate) fn stop(until: Instant) {
    let until = until.min(Instant::now() + PATIENCE);
    for tracker in Tracker::all() {
        if let Some(capture) = tracker.capture() {
            capture.redirect.stop(until);
        }
    }
}
