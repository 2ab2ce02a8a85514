//! `journal drop`: deletes a journal, after a question.

use std::io;

use mlflow::Config;
use mlflow::journals::{JournalState, JournalSummary};

use super::cannot_read;
use super::choice::{find_journal, label};
use crate::commands::question;
use crate::failure::Failure;
use crate::output::{Output, format};

/// Deletes a journal.
pub(super) fn run(
    config: &Config,
    output: Output,
    journal: &str,
    is_confirmed: bool,
) -> Result<(), Failure> {
    let journal = find_journal(config, journal)?;
    let summary = journal.summary().map_err(cannot_read)?;
    if journal.state() == JournalState::Live {
        return Err(in_use(&summary));
    }
    let values = format::counted(summary.waiting_values(), "waiting value");
    if !is_confirmed {
        let runs = format::counted(summary.runs.len() as u64, "run");
        let name = label(summary.state, &summary.name);
        question::confirm(
            &format!("Delete the journal {name} with {values} of {runs}?"),
            "give --yes to delete, or use `cargo mlflow journal show` to look",
        )?;
    }
    journal.remove().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => in_use(&summary),
        _ => {
            let path = summary.path.display();
            Failure::Io(format!("cannot delete the journal {path}"), error)
        }
    })?;
    if output.json {
        return output.json(&summary);
    }
    output.remark(format_args!("deleted, with {values}"));
    Ok(())
}

/// Returns the failure of a journal that a process holds.
fn in_use(journal: &JournalSummary) -> Failure {
    Failure::Other(format!(
        "a running process logs to the journal {}, or ships it: it is not deleted",
        journal.name
    ))
}
