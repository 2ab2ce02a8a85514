//! What runs say in words, brought to the store again and again while it grows.
//!
//! # Invariants
//!
//! 1. The store has the beginning of a run's console, never a piece from its middle, and all of it
//!    when the run has ended. While it grows it is sent every ten seconds, the longer ones more
//!    rarely: on the whole no more than [`MAX_BYTES_PER_SECOND`] bytes a second go out for one.
//! 2. A segment that names a console stays until nobody can append to it and the store has all of it.
//! 3. Consoles hold little up: where the store does not take them, everything else goes on.

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
use crate::shipper::obstacle::{Halt, Obstacle, StuckReason, into_halt};
use crate::shipper::read::batch::{Artifact, ArtifactBytes, Rejection};
use crate::shipper::read::source::{JournalOwner, JournalReader};
use crate::store::StoreError;

/// How often a growing console is sent.
const UPLOAD_INTERVAL: Duration = Duration::from_secs(10);
/// How often one is tried of which the store takes nothing until a person acts.
const BLOCKED_RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// How many bytes a second are sent of one, on the whole.
const MAX_BYTES_PER_SECOND: u64 = 100 << 10;
/// Failures in a row before a warning.
const WARN_AFTER: u32 = 3;
/// How long the end of a run waits for its last lines to be sent.
const FINAL_UPLOAD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a file has to be as it is before what its process left is taken for whole: the helper that
/// writes it may have outlived the process by a moment.
const STABLE_AGE: Duration = Duration::from_millis(200);
/// Longer than any console can be: of one that the store does not take, nothing waits.
const FULLY_SHIPPED: u64 = u64::MAX;

/// The consoles of one journal.
#[derive(Default)]
pub(in crate::shipper) struct ConsoleLogs {
    open: Vec<OpenConsole>,
    backoff: Backoff,
    /// When to try again, where the store does not take them.
    failing_until: Option<Instant>,
    has_warned: bool,
    /// The process is about to end: what the store has by now is not added to.
    pub(in crate::shipper) is_exiting: bool,
}

/// One that may still grow, or is not yet in the store.
struct OpenConsole {
    run: u32,
    path: String,
    /// Where it lies in a dead process's journal; in this one's it is asked for.
    file: PathBuf,
    part: Option<ConsoleLogPart>,
    /// How much of it the store has.
    shipped_bytes: u64,
    due: Instant,
    /// The store takes nothing for its run now: it stays where it is.
    is_blocked: bool,
}

/// What of a file that runs have in common it is. Its own file says where that ends.
pub(in crate::shipper) struct ConsoleLogPart {
    pub(in crate::shipper) file: PathBuf,
    pub(in crate::shipper) from: u64,
}

/// What became of one that was to be sent.
enum UploadOutcome {
    Complete,
    /// The store will never take it.
    Refused(String),
    /// The store takes none for this run.
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

    /// Whether the run's is here.
    pub(in crate::shipper) fn has_run(&self, run: u32) -> bool {
        self.open.iter().any(|open| open.run == run)
    }

    pub(in crate::shipper) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns how many wait for a person.
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
                "the store does not take what runs say in words; it waits in the journal, everything else is \
                 shipped. Look at the server's artifact store"
            );
        }
    }

    fn record_success(&mut self) {
        self.backoff.reset();
        self.failing_until = None;
        self.has_warned = false;
    }
}

/// Looks at a run's console in this process's journal, if there is one already.
fn with_console<R>(journal: &Journal, run: u32, look: impl FnOnce(&ConsoleLog) -> R) -> Option<R> {
    let slot = journal.console_logs.get(run)?;
    slot.get()?.as_ref().map(look)
}

impl OpenConsole {
    /// How long it is now; 0 where it is not made yet, or not needed any more.
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

    /// Has one that is held be tried again, if it is time for that.
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

    /// Nobody needs it any more.
    fn remove(&self, origin: &JournalOwner, leaving: bool) {
        let JournalOwner::Live { journal, .. } = origin else {
            let _ = fs::remove_file(&self.file);
            return;
        };
        with_console(journal, self.run, |console| {
            console.remove();
            journal.release_console_bytes(console.reserved_bytes());
        });
        // A line that comes while the process ends must not begin another.
        if !leaving {
            journal.console_logs.forget(self.run);
        }
    }

    /// Waits until nobody writes to the file any more.
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
    /// When a console has to be sent next.
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

    /// Whether nobody can append to it any more.
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

    /// Forgets the consoles that nobody can append to any more and that the store has.
    fn close_consoles(&mut self) {
        // Whether it is over is asked before how long it is.
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
    /// Sends what is new on consoles: of all, or of those that are due. Whether nothing that had to be
    /// sent is left.
    pub(in crate::shipper) async fn deliver_consoles(
        &mut self,
        source: &mut JournalReader,
        all: bool,
    ) -> bool {
        let mut delivered = true;
        let now = Instant::now();
        for index in 0..source.consoles.open.len() {
            if !source.is_live() {
                source.consoles.open[index].wait_until_stable();
            }
            source.consoles.open[index].try_again_if_due(now);
            let open = &source.consoles.open[index];
            if !open.has_pending(&source.owner) || (!all && open.due > now) {
                continue;
            }
            let run = open.run;
            if let Some(front) = source.parked.blocking_run(&source.runs, run) {
                source.consoles.open[index].due = now + UPLOAD_INTERVAL;
                delivered &= source.parked.is_run_blocked(front);
                continue;
            }
            match self.send_console(source, index).await {
                Ok(()) => {}
                // It has its turn when its run has.
                Err(Obstacle::Stuck(_)) => {
                    source.consoles.open[index].due = now + UPLOAD_INTERVAL;
                    delivered = false;
                }
                Err(Obstacle::Halt(halt)) => {
                    source.consoles.record_failure(&halt);
                    // The others have their turn next time.
                    source.consoles.open.rotate_left(index + 1);
                    delivered = false;
                    break;
                }
            }
        }
        source.close_consoles();
        delivered
    }

    /// Sends the run's, before its end is told: whoever sees that it has ended finds it whole. Where
    /// that cannot be, or not soon, the end does not wait.
    pub(in crate::shipper) async fn deliver_last_lines(
        &mut self,
        source: &mut JournalReader,
        run: u32,
    ) {
        let is_of = |open: &OpenConsole| open.run == run;
        let Some(index) = source.consoles.open.iter().position(is_of) else {
            return;
        };
        if source.consoles.is_failing() || !source.consoles.open[index].has_pending(&source.owner) {
            return;
        }
        // A fake has no clock, and a store that does not let it wait.
        let sent = if tokio::runtime::Handle::try_current().is_ok() {
            tokio::time::timeout(FINAL_UPLOAD_TIMEOUT, self.send_console(source, index)).await
        } else {
            Ok(self.send_console(source, index).await)
        };
        if let Ok(Err(Obstacle::Halt(halt))) = sent {
            source.consoles.record_failure(&halt);
        }
    }

    async fn send_console(
        &mut self,
        source: &mut JournalReader,
        index: usize,
    ) -> Result<(), Obstacle> {
        let open = &source.consoles.open[index];
        let (run, path) = (open.run, open.path.clone());
        // Before the bytes are looked at: what comes meanwhile is new.
        let length = open.length(&source.owner);
        let Some(bytes) = open.bytes(&source.owner, length) else {
            return Ok(());
        };
        let sequence = 0;
        let artifact = Artifact {
            sequence,
            path,
            bytes,
            fingerprint: None,
        };
        let sent = match self.ensure_run(source, run).await {
            Ok(stored) => match self.upload_artifact(&stored, &artifact).await {
                Ok(None) => UploadOutcome::Complete,
                Ok(Some(reason)) => UploadOutcome::Refused(reason),
                Err(StoreError::Blocked {
                    reason,
                    everything: false,
                }) => UploadOutcome::Blocked(reason),
                Err(error) => return Err(into_halt(error).into()),
            },
            Err(Obstacle::Stuck(StuckReason::Blocked(reason))) => UploadOutcome::Blocked(reason),
            Err(obstacle) => return Err(obstacle),
        };
        source.consoles.record_success();
        self.has_progress = true;
        match sent {
            UploadOutcome::Complete => source.record_shipped(index, length, false),
            UploadOutcome::Refused(reason) => {
                // Its bytes go on growing where they are; a copy of what there is now is kept.
                let copy = ArtifactBytes::Memory(artifact.read().unwrap_or_default());
                let artifact = Artifact {
                    bytes: copy,
                    ..artifact
                };
                // A console is no value of the journal.
                self.stats().rejected_consoles.add(1);
                self.keep_refused(source, run, vec![Rejection::artifact(artifact, reason)]);
                source.record_shipped(index, FULLY_SHIPPED, false);
            }
            UploadOutcome::Blocked(reason) => {
                self.warn_blocked(source, &reason);
                source.record_shipped(index, FULLY_SHIPPED, true);
            }
        }
        Ok(())
    }
}

/// What a process wrote, without secrets. What is no UTF-8 becomes U+FFFD.
fn mask_secrets(bytes: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    match mask(&text, Edge::End) {
        Some(masked) => masked.text.into_bytes(),
        None => text.into_bytes(),
    }
}
