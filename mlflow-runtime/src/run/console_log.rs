//! Console log of a run, on its way into the journal.
//!
//! Invariant: a process appends only to a console log that it began itself. Each process therefore stores its
//! console log under a name of its own. Only the process that created the run uses `logs/console.log`,
//! because no other process can have written there before.

use std::sync::Arc;
use std::time::Duration;

use super::Run;
use super::handle::LiveRun;
use crate::journal::console_log::{AppendError, ConsoleLog};
use crate::journal::directory::CONSOLE_EXTENSION;
use crate::journal::record::{ArtifactLocation, Event, SharedFilePart};
use crate::model::{ArtifactKind, Role, RunIdentity};
use crate::stdio_capture::Capture;
use crate::time;

/// Path of the console log among the run's artifacts.
const CONSOLE_LOG_PATH: &str = "logs/console.log";

impl Run {
    /// Appends a line, which ends in a line feed, to the run's console log.
    #[cfg_attr(not(feature = "tracing"), allow(dead_code))]
    pub(crate) fn log_line(&self, line: &str) {
        if let Some(run) = self.live() {
            run.append_line(line);
        }
    }
}

/// Error, if any, that forced a console log into memory because its file could not be created.
type CreateError = Option<std::io::Error>;

impl LiveRun<'_> {
    fn append_line(self, line: &str) {
        let journal = self.tracker.journal();
        let number = self.journal_ref().number;
        let slot = journal.console_logs.slot(number);
        let mut trouble = None;
        let console = slot.get_or_init(|| {
            let (console, why) = self.open_console()?;
            trouble = why;
            Some(console)
        });
        // Warn outside of the initializer: a subscriber that receives the warning may log a line itself.
        self.warn_create_error(trouble);
        let Some(console) = console else {
            // The reason was logged. The next line may find space again.
            journal.console_logs.remove_failed(number, &slot);
            return;
        };
        if console.is_full() || !journal.reserve_console_bytes(line.len() as u64) {
            return;
        }
        let Err(unwritten) = console.append(line) else {
            journal.wakeup.notify_if_asleep();
            return;
        };
        match unwritten {
            AppendError::OverLimit => {}
            AppendError::LimitReached => self.tracker.warn_once(
                "artifact",
                CONSOLE_LOG_PATH,
                format_args!(
                    "later lines are left out: it has reached the size that MLFLOW_CONSOLE_MAX_BYTES allows"
                ),
            ),
            AppendError::Io(error) => self.tracker.warn_rejected(
                "artifact",
                CONSOLE_LOG_PATH,
                format_args!("a line could not be written beside the journal: {error}"),
            ),
        }
    }

    /// Creates the console log. Returns `None` if the journal has no space for its event. The event is
    /// written before the file is created: a file that is named and missing does no harm, but a file that is
    /// not named would be lost.
    fn open_console(self) -> Option<(ConsoleLog, CreateError)> {
        let name = new_spool_name();
        if !self.log_console_event(&name, None) {
            return None;
        }
        let max_bytes = self.tracker.settings().console.max_bytes;
        let Some(directory) = self.tracker.journal().spool_directory() else {
            return Some((ConsoleLog::in_memory(max_bytes), None));
        };
        Some(match ConsoleLog::in_file(directory.join(name), max_bytes) {
            Ok(console) => (console, None),
            Err(error) => (ConsoleLog::in_memory(max_bytes), Some(error)),
        })
    }

    fn warn_create_error(self, trouble: CreateError) {
        if let Some(error) = trouble {
            self.tracker.warn_once(
                "artifact",
                CONSOLE_LOG_PATH,
                format_args!(
                    "it could not be made beside the journal ({error}) and is kept in the journal itself instead"
                ),
            );
        }
    }

    /// Makes everything that the process writes to stdout and stderr from now on part of the run's console
    /// log.
    pub(super) fn begin_capture(self, capture: &Capture) {
        let journal = self.tracker.journal();
        let slot = journal.console_logs.slot(self.journal_ref().number);
        let mut trouble = None;
        let console = slot.get_or_init(|| {
            let name = new_spool_name();
            // Create the marker file first: a part without a marker counts as not needed any more.
            let marker = capture.directory().join(&name);
            let (number, from) = match capture
                .shared_file()
                .begin_part(marker, capture.pending_bytes())
            {
                Ok(begun) => begun,
                Err(error) => {
                    trouble = Some(error);
                    return None;
                }
            };
            let max_bytes = self.tracker.settings().console.max_bytes;
            let console =
                ConsoleLog::in_shared_file(Arc::clone(capture.shared_file()), number, max_bytes);
            let part = SharedFilePart {
                file: capture.file_name().into(),
                from,
            };
            let is_named = self.log_console_event(&name, Some(part));
            if !is_named {
                console.remove();
            }
            is_named.then_some(console)
        });
        if console.is_none() {
            // The first logged line will create a console log of its own.
            journal
                .console_logs
                .remove_failed(self.journal_ref().number, &slot);
        }
        if let Some(error) = trouble {
            self.tracker.warn_once(
                "artifact",
                CONSOLE_LOG_PATH,
                format_args!("stdout and stderr are not captured for it: {error}"),
            );
        }
    }

    /// Ends the run's part of the captured output, because the run has ended.
    pub(super) fn end_capture(self) {
        let number = self.journal_ref().number;
        if let Some(capture) = self.tracker.capture()
            && let Some(slot) = self.tracker.journal().console_logs.get(number)
            && let Some(Some(console)) = slot.get()
        {
            console.end();
            if !capture.is_on() {
                capture.shared_file().finish_ended_parts(Duration::ZERO);
            }
        }
    }

    fn log_console_event(self, file: &str, part: Option<SharedFilePart<'_>>) -> bool {
        let event = Event::Artifact {
            path: console_log_path(self.journal_ref().identity, self.is_inherited()).into(),
            kind: ArtifactKind::File,
            content: ArtifactLocation::Growing {
                file: file.into(),
                part,
            },
            fingerprint: None,
        };
        self.write_event(event, &[])
    }
}

fn new_spool_name() -> String {
    format!("{}.{CONSOLE_EXTENSION}", uuid::Uuid::new_v4().simple())
}

/// Returns `logs/console.log` in the process that has created the run, and a unique path in every other one.
fn console_log_path(identity: &RunIdentity, is_inherited: bool) -> String {
    let rank = match identity.role {
        Role::Owner if identity.resumed.is_none() && !is_inherited => {
            return CONSOLE_LOG_PATH.to_owned();
        }
        Role::Leader => "rank-0-".to_owned(),
        Role::Member { rank } => format!("rank-{rank}-"),
        Role::Owner | Role::Child | Role::Guest => String::new(),
    };
    let now = time::format_compact_utc(time::now_ms());
    // Several containers may start in the same second, each with the same process id.
    let unique = uuid::Uuid::new_v4().as_fields().0;
    format!("logs/console-{rank}{now}-{unique:08x}.log")
}
