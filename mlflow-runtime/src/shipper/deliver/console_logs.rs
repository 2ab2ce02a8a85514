//! The upload of each run's console log, repeated while the log grows.
//!
//! # Invariants
//!
//! 1. The store holds a prefix of a run's console log, never a piece from its middle, and after the run's end
//!    the whole log. While a log grows it is uploaded every ten seconds, a longer one less often: on average
//!    at most [`MAX_BYTES_PER_SECOND`] are sent for one log.
//! 2. A segment that names a console log is kept until nobody can append to the log and the store has all of
//!    it.
//! 3. Console logs delay nothing else for long: if the store does not accept them, everything else is
//!    delivered.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use mlflow_rules::{Edge, mask};
use tokio::time::Instant;

use crate::journal::Journal;
use crate::journal::console_log::{ConsoleBytes, ConsoleLog, read_part_end, read_range};
use crate::journal::user_files;
use crate::shipper::backoff::Backoff;
use crate::shipper::deliver::delivery::Delivery;
use crate::shipper::failure_scope::{Halt, Obstacle, StuckReason, into_halt};
use crate::shipper::read::batch::{Artifact, ArtifactBytes, Rejection};
use crate::shipper::read::journal_reader::{JournalOwner, JournalReader};
use crate::store::StoreError;

/// Interval between two uploads of a growing console log.
const UPLOAD_INTERVAL: Duration = Duration::from_secs(10);
/// Interval between two tries for a console log that the store does not accept until a person acts.
const BLOCKED_RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Average upload rate of one console log, in bytes per second, which its upload interval keeps.
const MAX_BYTES_PER_SECOND: u64 = 100 << 10;
/// Number of consecutive failed uploads before a warning.
const WARN_AFTER: u32 = 3;
/// Time for which a run's end waits for the upload of the last lines.
const FINAL_UPLOAD_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for which an orphaned log file must be unchanged before it counts as complete: the helper process
/// that writes the file may outlive the tracked process by a moment.
const STABLE_AGE: Duration = Duration::from_millis(200);
/// Value of [`OpenConsole::shipped_bytes`], longer than any log, for a log that the store does not accept:
/// nothing of it counts as pending.
const FULLY_SHIPPED: u64 = u64::MAX;

/// Console logs of one journal.
#[derive(Default)]
pub(in crate::shipper) struct ConsoleLogs {
    open: Vec<OpenConsole>,
    backoff: Backoff,
    /// Time of the next try after a failed upload, for all logs of the journal.
    failing_until: Option<Instant>,
    has_warned: bool,
    /// True if the process is about to end. A log of an ended or forked run is then closed as soon as the
    /// store has all of it, also while handles of the run exist; later lines are not uploaded.
    pub(in crate::shipper) is_exiting: bool,
}

/// A console log that may still grow, or that the store does not have completely.
struct OpenConsole {
    run: u32,
    path: String,
    /// File of the log in an orphaned journal; for a part of a shared file, the file that holds the part's
    /// end. Unused in the live journal, which provides the log itself.
    file: PathBuf,
    part: Option<ConsoleLogPart>,
    /// Number of bytes that the store has, or [`FULLY_SHIPPED`].
    shipped_bytes: u64,
    due: Instant,
    /// True while the store accepts nothing for the run until a person acts. The log stays where it is.
    is_blocked: bool,
}

/// The part of a file shared by several runs that is one run's console log. The part begins at `from`; its
/// end is recorded in [`OpenConsole::file`].
pub(in crate::shipper) struct ConsoleLogPart {
    pub(in crate::shipper) file: PathBuf,
    pub(in crate::shipper) from: u64,
}

/// Result of an upload that was answered.
enum UploadOutcome {
    Complete,
    /// The store will never accept the log.
    Refused(String),
    /// The store accepts no console log for this run until a person acts.
    Blocked(String),
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

    fn record_failure(&mut self, halt: &Halt) {
        self.failing_until = Instant::now().checked_add(self.backoff.next_delay(halt.cause));
        if self.backoff.failures() >= WARN_AFTER && !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                target: "mlflow", reason = halt.reason,
                "the store does not accept console logs; they wait in the journal, everything else is \
                 delivered. Check the server's artifact store"
            );
        }
    }

    fn record_success(&mut self) {
        self.backoff.reset();
        self.failing_until = None;
        self.has_warned = false;
    }
}

/// Calls `look` with a run's console log in this process's journal. Returns `None` if the log does not exist
/// yet.
fn with_console<R>(journal: &Journal, run: u32, look: impl FnOnce(&ConsoleLog) -> R) -> Option<R> {
    let slot = journal.console_logs.get(run)?;
    slot.get()?.as_ref().map(look)
}

impl OpenConsole {
    /// Returns the present length in bytes; 0 if the log is not created yet, or is not needed any more.
    fn length(&self, origin: &JournalOwner) -> u64 {
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
    fn try_again_if_due(&mut self, now: Instant) {
        if self.is_blocked && self.due <= now {
            (self.is_blocked, self.shipped_bytes) = (false, 0);
        }
    }

    fn has_pending(&self, origin: &JournalOwner) -> bool {
        self.length(origin) > self.shipped_bytes
    }

    fn bytes(&self, origin: &JournalOwner, length: u64) -> Option<ArtifactBytes> {
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
            ConsoleBytes::File(file) => ArtifactBytes::File(file),
            ConsoleBytes::Memory(bytes) => ArtifactBytes::Memory(bytes),
            ConsoleBytes::Unredacted(bytes) => ArtifactBytes::Memory(mask_secrets(bytes)),
        })
    }

    /// Deletes the log, and releases its quota in the live journal. `leaving`: the process is about to end.
    fn remove(&self, origin: &JournalOwner, leaving: bool) {
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
    fn wait_until_stable(&self) {
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

impl JournalReader {
    /// Returns the time at which a console log has to be uploaded next; `None` if no log has new content.
    pub(in crate::shipper) fn console_due(&self) -> Option<Instant> {
        let open = self.consoles.open.iter();
        let waiting = open.filter(|open| open.has_pending(&self.owner));
        let due = waiting.map(|open| open.due).min()?;
        let failing_until = self.consoles.failing_until;
        Some(failing_until.map_or(due, |until| until.max(due)))
    }

    fn record_shipped(&mut self, index: usize, length: u64, is_held: bool) {
        let Some(open) = self.consoles.open.get_mut(index) else {
            return;
        };
        open.is_blocked = is_held;
        open.shipped_bytes = length;
        let pause = if is_held {
            BLOCKED_RETRY_INTERVAL
        } else {
            UPLOAD_INTERVAL.max(Duration::from_secs(length / MAX_BYTES_PER_SECOND))
        };
        open.due = Instant::now().checked_add(pause).unwrap_or(open.due);
        if let JournalOwner::Live { journal, .. } = &self.owner {
            with_console(journal, open.run, |console| console.set_shipped(length));
        }
    }

    /// Returns true if nobody can append to the log any more. `over`: the numbers of the runs that have ended
    /// and have no handles left.
    fn is_final(&self, open: &OpenConsole, over: &[u32]) -> bool {
        let JournalOwner::Live { journal, .. } = &self.owner else {
            return true;
        };
        let is_left = || {
            self.consoles.is_exiting
                && self
                    .runs
                    .get(open.run)
                    .is_none_or(|state| state.has_ended || state.identity.role.is_forked())
        };
        (over.contains(&open.run) || is_left())
            && with_console(journal, open.run, ConsoleLog::is_final).unwrap_or(true)
    }

    /// Closes and deletes the console logs to which nobody can append any more and which the store has
    /// completely.
    fn close_consoles(&mut self) {
        // The ended runs are listed before the lengths are measured: a line appended in between is then seen
        // as pending.
        let over = self.runs.closed_runs();
        let before = self.consoles.open.len();
        for index in (0..before).rev() {
            let open = &self.consoles.open[index];
            if !open.is_blocked && self.is_final(open, &over) && !open.has_pending(&self.owner) {
                let open = self.consoles.open.swap_remove(index);
                open.remove(&self.owner, self.consoles.is_exiting);
            }
        }
        if self.consoles.open.len() < before {
            self.settle();
        }
    }
}

impl Delivery {
    /// Uploads the console logs that have new content: all of them, or only those that are due. Returns true
    /// if nothing that had to be uploaded is left.
    pub(in crate::shipper) async fn deliver_consoles(
        &mut self,
        reader: &mut JournalReader,
        all: bool,
    ) -> bool {
        let mut delivered = true;
        let now = Instant::now();
        for index in 0..reader.consoles.open.len() {
            if !reader.is_live() {
                reader.consoles.open[index].wait_until_stable();
            }
            reader.consoles.open[index].try_again_if_due(now);
            let open = &reader.consoles.open[index];
            if !open.has_pending(&reader.owner) || (!all && open.due > now) {
                continue;
            }
            let run = open.run;
            if let Some(front) = reader.parked.blocking_run(&reader.runs, run) {
                reader.consoles.open[index].due = now + UPLOAD_INTERVAL;
                delivered &= reader.parked.is_run_blocked(front);
                continue;
            }
            match self.send_console(reader, index).await {
                Ok(()) => {}
                // The log is uploaded when its run can be delivered.
                Err(Obstacle::Stuck(_)) => {
                    reader.consoles.open[index].due = now + UPLOAD_INTERVAL;
                    delivered = false;
                }
                Err(Obstacle::Halt(halt)) => {
                    reader.consoles.record_failure(&halt);
                    // The next call begins with the logs behind this one.
                    reader.consoles.open.rotate_left(index + 1);
                    delivered = false;
                    break;
                }
            }
        }
        reader.close_consoles();
        delivered
    }

    /// Uploads the run's console log before the run's end is sent, so that the log is complete for whoever
    /// sees the run ended. If the upload fails, or takes longer than [`FINAL_UPLOAD_TIMEOUT`], the end is
    /// sent without it.
    pub(in crate::shipper) async fn deliver_last_lines(
        &mut self,
        reader: &mut JournalReader,
        run: u32,
    ) {
        let is_of = |open: &OpenConsole| open.run == run;
        let Some(index) = reader.consoles.open.iter().position(is_of) else {
            return;
        };
        if reader.consoles.is_failing() || !reader.consoles.open[index].has_pending(&reader.owner) {
            return;
        }
        // A testing fake has no tokio runtime, hence no timers; its store never makes the upload wait.
        let sent = if tokio::runtime::Handle::try_current().is_ok() {
            tokio::time::timeout(FINAL_UPLOAD_TIMEOUT, self.send_console(reader, index)).await
        } else {
            Ok(self.send_console(reader, index).await)
        };
        if let Ok(Err(Obstacle::Halt(halt))) = sent {
            reader.consoles.record_failure(&halt);
        }
    }

    async fn send_console(
        &mut self,
        reader: &mut JournalReader,
        index: usize,
    ) -> Result<(), Obstacle> {
        let open = &reader.consoles.open[index];
        let (run, path) = (open.run, open.path.clone());
        // Measured before the bytes are read: a line appended in between counts as new.
        let length = open.length(&reader.owner);
        let Some(bytes) = open.bytes(&reader.owner, length) else {
            return Ok(());
        };
        let sequence = 0;
        let artifact = Artifact {
            sequence,
            path,
            bytes,
            fingerprint: None,
        };
        let sent = match self.ensure_run(reader, run).await {
            Ok(stored) => match self.upload_artifact(&stored, &artifact).await {
                Ok(None) => UploadOutcome::Complete,
                Ok(Some(reason)) => UploadOutcome::Refused(reason),
                Err(StoreError::Blocked {
                    reason,
                    everything: false,
                }) => UploadOutcome::Blocked(reason.to_string()),
                Err(error) => return Err(into_halt(error).into()),
            },
            Err(Obstacle::Stuck(StuckReason::Blocked(reason))) => UploadOutcome::Blocked(reason),
            Err(obstacle) => return Err(obstacle),
        };
        reader.consoles.record_success();
        self.has_progress = true;
        match sent {
            UploadOutcome::Complete => reader.record_shipped(index, length, false),
            UploadOutcome::Refused(reason) => {
                // The log continues to grow in its file, so a copy of its present content is kept.
                let copy = ArtifactBytes::Memory(artifact.read().unwrap_or_default());
                let artifact = Artifact {
                    bytes: copy,
                    ..artifact
                };
                // A console log is not a value of the journal and has a counter of its own.
                self.stats().rejected_consoles.add(1);
                self.keep_refused(reader, run, vec![Rejection::artifact(artifact, reason)]);
                reader.record_shipped(index, FULLY_SHIPPED, false);
            }
            UploadOutcome::Blocked(reason) => {
                self.warn_blocked(reader, &reason);
                reader.record_shipped(index, FULLY_SHIPPED, true);
            }
        }
        Ok(())
    }
}

/// Masks secrets in the captured output of a process. Bytes that are not UTF-8 become U+FFFD.
fn mask_secrets(bytes: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    match mask(&text, Edge::End) {
        Some(masked) => masked.text.into_bytes(),
        None => text.into_bytes(),
    }
}
