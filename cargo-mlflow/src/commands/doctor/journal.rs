//! The directory in which values wait, and how much waits there.

use std::path::PathBuf;

use mlflow::journals::{self, JournalState};
use mlflow::{Config, JournalDirectory};
use serde::Serialize;

use super::report::{Finding, Section};
use crate::output::format::{self, counted};

/// Free space below which a person is warned.
const MIN_FREE_BYTES: u64 = 1 << 30;

/// Directory of journals.
#[derive(Debug, Serialize)]
pub(super) struct Journals {
    path: PathBuf,
    exists: bool,
    /// True if programs can keep their values there.
    usable: bool,
    /// Directory that programs use instead.
    fallback: Option<PathBuf>,
    free_bytes: Option<u64>,
    /// True if files are mapped into memory there, which is the fast way.
    mapped: Option<bool>,
    waiting: Waiting,
}

/// Number of journals by their state, and the disk space that they take.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Waiting {
    /// Journals of processes that run.
    live: u64,
    /// Journals of processes that have ended.
    orphaned: u64,
    /// Journals with values that the store has refused for good.
    rejected: u64,
    /// Damaged files.
    damaged: u64,
    /// Journals that other users can write to, and that are therefore not shipped.
    exposed: u64,
    /// Bytes in all of them. A file of a journal may be longer than what is written in it.
    bytes: u64,
}

/// Checks the directory, and counts what waits there.
pub(super) fn examine(config: &Config) -> Section<Journals> {
    let directory = config.journal_directory();
    let waiting = count_waiting(config);
    let mut findings = vec![judge_directory(&directory)];
    if let Some(free) = directory.free_bytes.filter(|free| *free < MIN_FREE_BYTES) {
        findings.push(Finding::warning(
            format!(
                "only {} are free on the disk of the journal",
                format::size(free)
            ),
            "free space, or set MLFLOW_JOURNAL_DIR to a larger disk",
        ));
    }
    findings.extend(judge_waiting(&waiting));
    Section {
        facts: Journals {
            usable: directory.problem.is_none(),
            path: directory.path,
            exists: directory.exists,
            fallback: directory.fallback,
            free_bytes: directory.free_bytes,
            mapped: directory.is_mapped,
            waiting,
        },
        findings,
    }
}

fn judge_directory(directory: &JournalDirectory) -> Finding {
    let path = directory.path.display();
    if let Some(problem) = &directory.problem {
        let instead = match &directory.fallback {
            Some(fallback) => format!("values lie in {} instead", fallback.display()),
            None => "values are kept in memory and are lost if a program is killed".to_owned(),
        };
        return Finding::error(
            format!("{path} cannot be used ({problem}); {instead}"),
            "set MLFLOW_JOURNAL_DIR to a directory of your own",
        );
    }
    let state = if directory.exists {
        "can be written"
    } else {
        "does not exist yet: the first run creates it"
    };
    let free = { directory.free_bytes }
        .map(|free| format!(", {} free", format::size(free)))
        .unwrap_or_default();
    let slow = match directory.is_mapped {
        Some(false) => {
            "; a log call takes 1 µs there, as the file system does not suit memory mapping"
        }
        _ => "",
    };
    Finding::ok(format!("{path} {state}{free}{slow}"))
}

fn judge_waiting(waiting: &Waiting) -> Vec<Finding> {
    let Waiting {
        live,
        orphaned,
        rejected,
        damaged,
        exposed,
        bytes,
    } = waiting;
    let mut findings = Vec::new();
    if *live > 0 {
        findings.push(Finding::ok(format!(
            "{} of running programs",
            counted(*live, "journal")
        )));
    }
    if *orphaned > 0 {
        findings.push(Finding::warning(
            format!(
                "{} of programs that have ended: values wait there ({} in all)",
                counted(*orphaned, "journal"),
                format::size(*bytes)
            ),
            "`cargo mlflow sync` ships them, and `cargo mlflow journal ls` lists them",
        ));
    }
    if *rejected > 0 {
        findings.push(Finding::warning(
            format!(
                "{} with values that the store has refused for good",
                counted(*rejected, "journal")
            ),
            "fix the cause, which the log of the program names, and send them again by `cargo mlflow journal resend`",
        ));
    }
    if *damaged > 0 {
        findings.push(Finding::warning(
            format!("{} of journals damaged", counted(*damaged, "file")),
            "check the disk; `cargo mlflow journal verify` says what can be read, and `cargo mlflow journal drop` deletes a file",
        ));
    }
    if *exposed > 0 {
        findings.push(Finding::warning(
            format!(
                "{} that other users can write to, and that are therefore not shipped",
                counted(*exposed, "journal")
            ),
            "remove that permission, if nobody has changed them: chmod -R go-w",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("no values wait"));
    }
    findings
}

/// Counts the journals. A directory that does not exist yet holds none.
fn count_waiting(config: &Config) -> Waiting {
    let mut waiting = Waiting::default();
    for journal in journals::find(config).unwrap_or_default() {
        let count = match journal.state() {
            JournalState::Live => &mut waiting.live,
            JournalState::Orphaned => &mut waiting.orphaned,
            JournalState::Rejected => &mut waiting.rejected,
            JournalState::Damaged => &mut waiting.damaged,
            _ => &mut waiting.exposed,
        };
        *count += 1;
        waiting.bytes += journal.disk_bytes();
    }
    waiting
}
