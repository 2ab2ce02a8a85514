//! What runs say in words, brought to the store again and again while it grows.
//!
//! # Invariants
//!
//! 1. The store has the beginning of a run's console, never a piece from its middle, and all of it
//!    when the run has ended. While it grows it is sent every ten seconds, the longer ones more
//!    rarely: on the whole no more than [`PACE`] bytes a second go out for one.
//! 2. A segment that names a console stays until nobody can append to it and the store has all of it.
//! 3. Consoles hold nothing up: where the store does not take them, everything else goes on.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mlflow_redact::{Edge, mask};

use super::backoff::Backoff;
use super::delivery::{Cause, Delivery, Halt, halt};
use super::source::{Origin, Source};
use super::work::{ArtifactBytes, Refused};
use crate::journal::console::{Console, ConsoleBytes, read_part};
use crate::store::StoreError;

/// How often a growing console is sent.
const INTERVAL: Duration = Duration::from_secs(10);
/// How many bytes a second are sent of one, on the whole.
const PACE: u64 = 100 << 10;
/// Failures in a row before a warning.
const WARN_AFTER: u32 = 3;

/// Longer than any console can be: of one that the store does not take, nothing waits.
const NOTHING_WAITS: u64 = u64::MAX;

/// The consoles of one journal.
#[derive(Default)]
pub(super) struct Consoles {
    open: Vec<Open>,
    backoff: Backoff,
    /// When to try again, where the store does not take them.
    failing_until: Option<Instant>,
    warned: bool,
}

/// One that may still grow, or is not yet in the store.
struct Open {
    run: u32,
    path: String,
    part: Part,
    /// How much of it the store has.
    shipped: u64,
    due: Instant,
    /// The store takes nothing for its run now: it stays where it is.
    is_held: bool,
}

/// Where it lies in a dead process's journal; in this one's it is asked for.
pub(super) struct Part {
    pub(super) file: PathBuf,
    /// Where it begins in a file that runs have in common.
    pub(super) from: Option<u64>,
    /// The place of its beginning in the order of all events.
    pub(super) sequence: u64,
    /// Where it ends in such a file, once the run has ended.
    to: Option<u64>,
}

impl Part {
    pub(super) fn new(file: PathBuf, from: Option<u64>, sequence: u64) -> Self {
        let to = None;
        Self {
            file,
            from,
            sequence,
            to,
        }
    }

    /// How much of what there is belongs to it.
    fn bounded(&self, length: u64) -> u64 {
        match (self.from, self.to) {
            (Some(from), Some(to)) => length.min(to.saturating_sub(from)),
            _ => length,
        }
    }
}

/// What became of one that was to be sent.
enum Sent {
    All,
    /// The store will never take it.
    Refused(Refused),
    /// The store takes none for this run.
    Held(String),
}

impl Consoles {
    pub(super) fn begin(&mut self, run: u32, path: String, part: Part) {
        self.open.push(Open {
            run,
            path,
            part,
            shipped: 0,
            due: Instant::now(),
            is_held: false,
        });
    }

    /// Whether the run's is here.
    pub(super) fn has(&self, run: u32) -> bool {
        self.open.iter().any(|open| open.run == run)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing_until
            .is_some_and(|until| until > Instant::now())
    }

    fn failed(&mut self, halt: &Halt) {
        self.failing_until = Instant::now().checked_add(self.backoff.next(halt.cause));
        if self.backoff.failures() >= WARN_AFTER && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                target: "mlflow", reason = halt.reason,
                "the store does not take what runs say in words; it waits in the journal, everything else is \
                 shipped. Look at the server's artifact store"
            );
        }
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        self.failing_until = None;
        self.warned = false;
    }
}

impl Source {
    /// How long the console is now; 0 where it is not made yet, or gone.
    fn console_length(&self, open: &Open) -> u64 {
        let part = &open.part;
        let length = match &self.origin {
            Origin::Live { journal, .. } => match journal.consoles.get(open.run) {
                Some(slot) => slot
                    .get()
                    .and_then(Option::as_ref)
                    .map_or(0, Console::length),
                None => 0,
            },
            Origin::Dead { .. } => {
                let length = part.file.metadata().map_or(0, |file| file.len());
                length.saturating_sub(part.from.unwrap_or(0))
            }
        };
        part.bounded(length)
    }

    fn console_bytes(&self, open: &Open, length: u64) -> Option<ArtifactBytes> {
        let bytes = match &self.origin {
            Origin::Live { journal, .. } => {
                let slot = journal.consoles.get(open.run)?;
                let console = slot.get()?.as_ref()?;
                console.bytes(length).ok()?
            }
            Origin::Dead { .. } => match open.part.from {
                None => ConsoleBytes::File(open.part.file.clone()),
                Some(from) => {
                    let file = File::open(&open.part.file).ok()?;
                    ConsoleBytes::Raw(read_part(&file, from, length).ok()?)
                }
            },
        };
        Some(match bytes {
            ConsoleBytes::File(file) => ArtifactBytes::File(file),
            ConsoleBytes::Memory(bytes) => ArtifactBytes::Memory(bytes),
            ConsoleBytes::Raw(bytes) => ArtifactBytes::Memory(masked(bytes)),
        })
    }

    /// The run has ended. What is written from now on to a file that it shares is not its own: it is that
    /// of the next one that has begun, or nobody's.
    fn end_part(&mut self, index: usize, end_sequence: u64) {
        let Some(open) = self.consoles.open.get(index) else {
            return;
        };
        let Part {
            from: Some(from),
            to: None,
            ..
        } = open.part
        else {
            return;
        };
        let now = from + self.console_length(open);
        let all = self.consoles.open.iter();
        let later = all.filter(|other| {
            other.part.sequence > end_sequence && other.part.file == open.part.file
        });
        let next = later.filter_map(|other| other.part.from).min();
        if let Some(open) = self.consoles.open.get_mut(index) {
            open.part.to = Some(next.map_or(now, |next| next.min(now)));
        }
    }

    fn note_shipped(&mut self, index: usize, length: u64, is_held: bool) {
        let Some(open) = self.consoles.open.get_mut(index) else {
            return;
        };
        open.is_held = is_held;
        open.shipped = length;
        let pause = INTERVAL.max(Duration::from_secs(length / PACE));
        open.due = Instant::now().checked_add(pause).unwrap_or(open.due);
        if let Origin::Live { journal, .. } = &self.origin
            && let Some(slot) = journal.consoles.get(open.run)
            && let Some(Some(console)) = slot.get()
        {
            console.set_shipped(length);
        }
    }

    /// When a console has to be sent next.
    pub(super) fn console_due(&self) -> Option<Instant> {
        let waiting = self.consoles.open.iter().filter(|open| self.waits(open));
        let due = waiting.map(|open| open.due).min()?;
        Some(
            self.consoles
                .failing_until
                .map_or(due, |until| until.max(due)),
        )
    }

    fn waits(&self, open: &Open) -> bool {
        self.console_length(open) > open.shipped
    }

    /// Forgets the consoles that nobody can append to any more and that the store has.
    fn close_consoles(&mut self) {
        let over: Vec<u32> = match &self.origin {
            // Whether it is over is asked before how long it is.
            Origin::Live { .. } => self.runs.over(),
            Origin::Dead { .. } => self.consoles.open.iter().map(|open| open.run).collect(),
        };
        let mut closed = false;
        for index in (0..self.consoles.open.len()).rev() {
            let open = &self.consoles.open[index];
            if open.is_held || !over.contains(&open.run) || self.waits(open) {
                continue;
            }
            let Open { run, part, .. } = self.consoles.open.swap_remove(index);
            closed = true;
            if let (Origin::Dead { .. }, None) = (&self.origin, part.from) {
                let _ = fs::remove_file(part.file);
            }
            if let Origin::Live { journal, .. } = &self.origin {
                if let Some(Some(console)) = journal
                    .consoles
                    .get(run)
                    .as_ref()
                    .and_then(|slot| slot.get())
                {
                    console.remove();
                    journal.give_room(console.taken());
                }
                journal.consoles.forget(run);
            }
        }
        if closed {
            self.settle();
        }
    }
}

impl Delivery {
    /// Sends what is new on consoles: of all, or of those that are due. Whether nothing that had to be
    /// sent is left.
    pub(super) async fn deliver_consoles(&mut self, source: &mut Source, all: bool) -> bool {
        let mut delivered = true;
        let now = Instant::now();
        for index in 0..source.consoles.open.len() {
            let open = &source.consoles.open[index];
            if !source.waits(open) || (!all && open.due > now) {
                continue;
            }
            match self.send_console(source, index).await {
                Ok(()) => {}
                // Another process has to create the run first.
                Err(halt) if halt.cause == Cause::Elsewhere => delivered = false,
                Err(halt) => {
                    source.consoles.failed(&halt);
                    return false;
                }
            }
        }
        source.close_consoles();
        delivered
    }

    /// Sends the run's, before its end is told: whoever sees that it has ended finds it whole. Where
    /// that cannot be, the end does not wait.
    pub(super) async fn deliver_last_lines(
        &mut self,
        source: &mut Source,
        run: u32,
        end_sequence: u64,
    ) {
        let is_of = |open: &Open| open.run == run;
        let Some(index) = source.consoles.open.iter().position(is_of) else {
            return;
        };
        source.end_part(index, end_sequence);
        if !source.consoles.is_failing()
            && source.waits(&source.consoles.open[index])
            && let Err(halt) = self.send_console(source, index).await
        {
            source.consoles.failed(&halt);
        }
    }

    async fn send_console(&mut self, source: &mut Source, index: usize) -> Result<(), Halt> {
        let open = &source.consoles.open[index];
        let (run, path) = (open.run, open.path.clone());
        // Before the bytes are looked at: what comes meanwhile is new.
        let length = source.console_length(open);
        let Some(bytes) = source.console_bytes(open, length) else {
            return Ok(());
        };
        let sent = match self.ready(source, run).await? {
            Ok(stored) => match self.put(&stored, &path, &bytes).await {
                Ok(None) => Sent::All,
                Ok(Some(refused)) => Sent::Refused(refused),
                Err(StoreError::Blocked {
                    reason,
                    everything: false,
                }) => Sent::Held(reason),
                Err(error) => return Err(halt(error)),
            },
            Err(reason) => Sent::Held(reason),
        };
        source.consoles.succeeded();
        self.progress = true;
        match sent {
            Sent::All => source.note_shipped(index, length, false),
            Sent::Refused(refused) => {
                self.refuse(&[refused]);
                source.note_shipped(index, NOTHING_WAITS, false);
            }
            Sent::Held(reason) => {
                self.stats().held.add(1);
                self.warn_held(&reason);
                source.note_shipped(index, NOTHING_WAITS, true);
            }
        }
        Ok(())
    }
}

/// What a process wrote, without secrets. What is no UTF-8 becomes U+FFFD.
fn masked(bytes: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    match mask(&text, Edge::End) {
        Some(masked) => masked.text.into_bytes(),
        None => text.into_bytes(),
    }
}
