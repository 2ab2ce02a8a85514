//! The upload of each run's console log, repeated while the log grows.
//!
//! # Invariants
//!
//! 1. The store holds a prefix of a run's console log, never a piece from its middle, and after the run's end
//!    the whole log. While a log grows it is uploaded every ten seconds, a longer one less often: on average
//!    at most 100 KiB a second are sent for one log.
//! 2. A segment that names a console log is kept until nobody can append to the log and the store has all of
//!    it.
//! 3. Console logs delay nothing else for long: if the store does not accept them, everything else is
//!    delivered.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use mlflow_rules::Edge;
use tokio::time::Instant;

use crate::journal::Journal;
use crate::journal::console_log::{
    ConsoleBytes, ConsoleLog, mask_output, read_part_end, read_range, unfinished_secret_length,
};
use crate::journal::user_files;
use crate::shipper::backoff::Backoff;
use crate::shipper::batch::ArtifactBytes;
use crate::shipper::failure_scope::Halt;
use crate::shipper::journal_owner::JournalOwner;
use crate::warnings::warn_user;

/// Interval between two uploads of a growing console log.
pub(in crate::shipper) const UPLOAD_INTERVAL: Duration = Duration::from_secs(10);
/// Number of consecutive failed uploads before a warning.
pub(in crate::shipper) const CONSOLE_FAILURES_BEFORE_WARNING: u32 = 3;

/// Time for which an orphaned log file must be unchanged before it counts as complete: the helper process
/// that writes the file may outlive the tracked process by a moment.
pub(in crate::shipper) const STABLE_AGE: Duration = Duration::from_millis(200);

/// Value of [`OpenConsole::shipped_bytes`], longer than any log, for a log that the store does not accept:
/// nothing of it counts as pending.
pub(in crate::shipper) const FULLY_SHIPPED: u64 = u64::MAX;

/// Console logs of one journal.
#[derive(Default)]
pub(in crate::shipper) struct ConsoleLogs {
    pub(in crate::shipper) open: Vec<OpenConsole>,
    pub(in crate::shipper) backoff: Backoff,
    /// Time of the next try after a failed upload, for all logs of the journal.
    pub(in crate::shipper) failing_until: Option<Instant>,
    pub(in crate::shipper) has_warned: bool,
    /// True if the process is about to end. A log of an ended or forked run is then closed as soon as the
    /// store has all of it, also while handles of the run exist; later lines are not uploaded.
    pub(in crate::shipper) is_exiting: bool,
}

/// A console log that may still grow, or that the store does not have completely.
pub(in crate::shipper) struct OpenConsole {
    pub(in crate::shipper) run: u32,
    pub(in crate::shipper) path: String,
    /// File of the log in an orphaned journal; for a part of a shared file, the file that holds the part's
    /// end. Unused in the live journal, which provides the log itself.
    pub(in crate::shipper) file: PathBuf,
    pub(in crate::shipper) part: Option<ConsoleLogPart>,
    /// Number of bytes that the store has, or [`FULLY_SHIPPED`].
    pub(in crate::shipper) shipped_bytes: u64,
    pub(in crate::shipper) due: Instant,
    /// True while the store accepts nothing for the run until a person acts. The log stays where it is.
    pub(in crate::shipper) is_blocked: bool,
}

/// The part of a file shared by several runs that is one run's console log. The part begins at `from`; its
/// end is recorded in [`OpenConsole::file`].
pub(in crate::shipper) struct ConsoleLogPart {
    pub(in crate::shipper) file: PathBuf,
    pub(in crate::shipper) from: u64,
}

impl ConsoleLogs {
    pub(in crate::shipper) fn add(
        &mut self,
        run: u32,
        path: String,
        file: PathBuf,
        part: Option<ConsoleLogPart>,
    ) {
        self.open.push(OpenConsole {
            run,
            path,
            file,
            part,
            shipped_bytes: 0,
            due: Instant::now(),
            is_blocked: false,
        });
    }

    /// Returns true if the run has a console log that is still open.
    pub(in crate::shipper) fn has_run(&self, run: u32) -> bool {
        self.open.iter().any(|open| open.run == run)
    }

    pub(in crate::shipper) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns the number of logs that are blocked until a person acts.
    pub(in crate::shipper) fn blocked_count(&self) -> usize {
        self.open.iter().filter(|open| open.is_blocked).count()
    }

    pub(in crate::shipper) fn is_failing(&self) -> bool {
        self.failing_until
            .is_some_and(|until| until > Instant::now())
    }

    pub(in crate::shipper) fn record_failure(&mut self, halt: &Halt) {
        self.failing_until = Instant::now().checked_add(self.backoff.next_delay(halt.cause));
        if self.backoff.failures() >= CONSOLE_FAILURES_BEFORE_WARNING
            && !std::mem::replace(&mut self.has_warned, true)
        {
            warn_user(format_args!(
                "the store does not accept console logs; they wait in the journal, everything else is \
                 delivered. Check the server's artifact store: {}",
                halt.reason
            ));
        }
    }

    pub(in crate::shipper) fn record_success(&mut self) {
        self.backoff.reset();
        self.failing_until = None;
        self.has_warned = false;
    }
}

/// Calls `look` with a run's console log in this process's journal. Returns `None` if the log does not exist
/// yet.
pub(in crate::shipper) fn with_console<R>(
    journal: &Journal,
    run: u32,
    look: impl FnOnce(&ConsoleLog) -> R,
) -> Option<R> {
    let slot = journal.console_logs.get(run)?;
    slot.get()?.as_ref().map(look)
}

impl OpenConsole {
    /// Returns the present length in bytes; 0 if the log is not created yet, or is not needed any more.
    pub(in crate::shipper) fn length(&self, origin: &JournalOwner) -> u64 {
        match origin {
            JournalOwner::Live { journal, .. } => {
                with_console(journal, self.run, ConsoleLog::length).unwrap_or(0)
            }
            JournalOwner::Orphan { .. } => match &self.part {
                None => user_files::file_length(&self.file),
                Some(ConsoleLogPart { file, from }) => {
                    let to = read_part_end(&self.file).unwrap_or(0);
                    user_files::file_length(file).min(to).saturating_sub(*from)
                }
            },
        }
    }

    /// Makes a blocked log pending again, from its beginning, if its next try is due.
    pub(in crate::shipper) fn try_again_if_due(&mut self, now: Instant) {
        if self.is_blocked && self.due <= now {
            (self.is_blocked, self.shipped_bytes) = (false, 0);
        }
    }

    pub(in crate::shipper) fn has_pending(&self, origin: &JournalOwner) -> bool {
        self.length(origin) > self.shipped_bytes
    }

    /// Returns the first `length` bytes, and how many of them that is. Unless the log `is_final`, a last word that may be the
    /// beginning of a secret is left for later.
    pub(in crate::shipper) fn bytes(
        &self,
        origin: &JournalOwner,
        length: u64,
        is_final: bool,
    ) -> Option<(ArtifactBytes, u64)> {
        let bytes = match (origin, &self.part) {
            (JournalOwner::Live { journal, .. }, _) => {
                with_console(journal, self.run, |console| console.bytes(length))?.ok()?
            }
            (JournalOwner::Orphan { .. }, None) => ConsoleBytes::File(self.file.clone()),
            (JournalOwner::Orphan { .. }, Some(ConsoleLogPart { file, from })) => {
                let file = user_files::open_to_read(file).ok()?;
                ConsoleBytes::Unredacted(read_range(&file, *from, length).ok()?)
            }
        };
        Some(match bytes {
            ConsoleBytes::File(file) => (ArtifactBytes::File(file), length),
            ConsoleBytes::Memory(bytes) => (ArtifactBytes::Memory(bytes), length),
            ConsoleBytes::Unredacted(mut bytes) => {
                let length = match is_final {
                    true => length,
                    false => {
                        let unfinished = unfinished_secret_length(&bytes);
                        bytes.truncate(bytes.len() - unfinished);
                        length.saturating_sub(unfinished as u64)
                    }
                };
                let text = mask_output(&bytes, Edge::End);
                (ArtifactBytes::Memory(text.into_bytes()), length)
            }
        })
    }

    /// Deletes the log, and releases its quota in the live journal. `leaving`: the process is about to end.
    pub(in crate::shipper) fn remove(&self, origin: &JournalOwner, leaving: bool) {
        let JournalOwner::Live { journal, .. } = origin else {
            let _ = fs::remove_file(&self.file);
            return;
        };
        with_console(journal, self.run, |console| {
            console.remove();
            journal.release_console_bytes(console.reserved_bytes());
        });
        // Without `leaving` the run may begin a new log. While the process ends, the slot stays, so that a
        // late line does not create a log that nobody uploads.
        if !leaving {
            journal.console_logs.forget(self.run);
        }
    }

    /// Blocks until a shared log file has been unchanged for [`STABLE_AGE`], for at most five times as long.
    /// A file of one run only is not waited for.
    pub(in crate::shipper) fn wait_until_stable(&self) {
        let Some(ConsoleLogPart { file, .. }) = &self.part else {
            return;
        };
        let age = || {
            let modified = file.metadata().and_then(|file| file.modified()).ok()?;
            SystemTime::now().duration_since(modified).ok()
        };
        let until = Instant::now() + STABLE_AGE * 5;
        while Instant::now() < until
            && let Some(age) = age()
            && age < STABLE_AGE
        {
            std::thread::sleep(STABLE_AGE.saturating_sub(age));
        }
    }
}
