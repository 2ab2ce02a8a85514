//! What a run says in words, on its way into the journal.
//!
//! Invariant: a process appends only to what it has begun itself. So each has a name of its own for
//! it, except the one that has created the run: nobody else can have written there.

use std::sync::Arc;

use super::Run;
use super::reach::Reach;
use crate::clock;
use crate::console::Capture;
use crate::journal::console::{Console, Unwritten};
use crate::journal::directory::CONSOLE_EXTENSION;
use crate::journal::record::{Content, Event, Role, RunIdentity};

/// Where it goes among the run's artifacts.
const PATH: &str = "logs/console.log";

impl Run {
    #[cfg_attr(not(feature = "layer"), allow(dead_code))]
    /// Appends a line, which ends in a line feed, to what the run says in words.
    pub(crate) fn log_line(&self, line: &str) {
        if let Some(run) = self.reach() {
            run.line(line);
        }
    }
}

impl Reach<'_> {
    fn line(self, line: &str) {
        let journal = self.tracker.journal();
        let number = self.reference().number;
        let slot = journal.consoles.slot(number);
        let Some(console) = slot.get_or_init(|| self.open_console()) else {
            // It was said why. There may be room for the next line.
            journal.consoles.forget(number);
            return;
        };
        if console.is_full() || !journal.take_room(line.len() as u64) {
            return;
        }
        let Err(unwritten) = console.append(line) else {
            journal.bell.ring_if_asleep();
            return;
        };
        match unwritten {
            Unwritten::StillFull => {}
            Unwritten::Full => self.tracker.warn_once(
                "artifact",
                PATH,
                format_args!(
                    "more lines are left out: it has as many bytes as MLFLOW_CONSOLE_MAX_BYTES allows"
                ),
            ),
            Unwritten::Io(error) => self.tracker.warn_rejected(
                "artifact",
                PATH,
                format_args!("a line could not be written beside the journal: {error}"),
            ),
        }
    }

    /// First the event, then the file: one that is named and not there is nothing, one that is there
    /// and not named would be lost.
    fn open_console(self) -> Option<Console> {
        let name = format!("{}.{CONSOLE_EXTENSION}", uuid::Uuid::new_v4().simple());
        if !self.name_console(&name, None) {
            return None;
        }
        let max_bytes = self.tracker.settings().console.max_bytes;
        let Some(directory) = self.tracker.journal().spool_directory() else {
            return Some(Console::in_memory(max_bytes));
        };
        let in_file = Console::in_file(directory.join(name), max_bytes);
        Some(in_file.unwrap_or_else(|error| {
            self.tracker.warn_once(
                "artifact",
                PATH,
                format_args!(
                    "it could not be made beside the journal ({error}) and takes the way through memory"
                ),
            );
            Console::in_memory(max_bytes)
        }))
    }

    /// What the process writes to stdout and stderr from now on is the run's.
    pub(super) fn begin_capture(self, capture: &Capture) {
        let slot = self
            .tracker
            .journal()
            .consoles
            .slot(self.reference().number);
        slot.get_or_init(|| {
            let common = capture.common();
            let from = common.begin();
            let is_named = self.name_console(capture.file_name(), Some(from));
            let max_bytes = self.tracker.settings().console.max_bytes;
            // One that is not named needs its part no more.
            let console = Console::captured(Arc::clone(common), from, max_bytes);
            if !is_named {
                console.remove();
            }
            is_named.then_some(console)
        });
    }

    fn name_console(self, file: &str, from: Option<u64>) -> bool {
        let event = Event::Artifact {
            path: path(self.reference().identity, self.is_inherited()).into(),
            content: Content::Growing {
                file: file.into(),
                from,
            },
        };
        self.event(event, &[])
    }
}

/// `logs/console.log`, in the process that has created the run.
fn path(identity: &RunIdentity, is_inherited: bool) -> String {
    let rank = match identity.role {
        Role::Owner if identity.resumed.is_none() && !is_inherited => return PATH.to_owned(),
        Role::Leader => "rank-0-".to_owned(),
        Role::Member { rank } => format!("rank-{rank}-"),
        Role::Owner | Role::Child | Role::Guest => String::new(),
    };
    let (now, process) = (clock::compact(clock::now_ms()), std::process::id());
    format!("logs/console-{rank}{now}-{process}.log")
}
