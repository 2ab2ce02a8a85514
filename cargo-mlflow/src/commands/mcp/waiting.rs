//! Remarks on values that the store does not have yet, because they wait in a journal of this machine.

use mlflow::journals::{self, JournalState, JournalSummary, RunSummary};

use super::tool_context::ToolContext;
use crate::output::format::{counted, size};

/// Greatest size of a journal that is read for a remark: a tenth of a second.
const MAX_JOURNAL_BYTES: u64 = 64 << 20;

/// Returns a sentence about the values of a run that wait, by the run's local id; `None` if there are none.
pub(super) fn remark_on(context: &ToolContext, key: Option<&str>) -> Option<String> {
    let key = key?;
    let (found, unread) = find(context);
    for (state, summary) in &found {
        let waiting = { summary.runs.iter() }
            .filter(|run| run.key == key)
            .map(RunSummary::waiting_values)
            .sum();
        if waiting > 0 {
            return Some(describe(waiting, "this run", *state, summary));
        }
    }
    unread
}

/// Returns a sentence about a run with this name that waits, and that the store does not know yet.
pub(super) fn remark_on_missing(context: &ToolContext, text: &str) -> Option<String> {
    let (found, unread) = find(context);
    for (state, summary) in &found {
        let mut runs = summary.runs.iter().filter(|run| run.waiting_values() > 0);
        let run = if text == "last" {
            runs.next_back()
        } else {
            runs.find(|run| run.name.as_deref() == Some(text))
        };
        if let Some(run) = run {
            let name = run.name.as_deref().unwrap_or("without a name");
            let what = format!("the run `{name}`");
            return Some(describe(run.waiting_values(), &what, *state, summary));
        }
    }
    unread
}

/// Returns the sentence about values that wait. Of a run that the store has refused for now, a journal holds some
/// values twice for a moment, so their number is the greatest possible one.
fn describe(values: u64, what: &str, state: JournalState, summary: &JournalSummary) -> String {
    let values = counted(values, "value");
    match (state, summary.process_id) {
        (JournalState::Live, Some(process)) => format!(
            "Up to {values} of {what} are on the way to the store, in the journal of the process {process}, which \
             runs on this machine"
        ),
        (JournalState::Live, None) => {
            format!("Up to {values} of {what} are on the way to the store from this machine")
        }
        _ => format!(
            "Up to {values} of {what} wait in the journal of a process that has ended on this machine: `cargo mlflow sync` \
             ships them"
        ),
    }
}

/// Returns the journals for the store in which values wait, and a remark on journals that are too large to be read
/// for it.
fn find(context: &ToolContext) -> (Vec<(JournalState, JournalSummary)>, Option<String>) {
    let destination = context.client.uri();
    let mut found = Vec::new();
    let mut unread = None;
    for journal in journals::find(&context.config).unwrap_or_default() {
        let state = journal.state();
        if !matches!(state, JournalState::Live | JournalState::Orphaned) || journal.is_empty() {
            continue;
        }
        if journal.disk_bytes() > MAX_JOURNAL_BYTES {
            unread = Some(format!(
                "A journal of {} on this machine may hold values that the store does not have yet: `cargo mlflow \
                 journal ls` lists them",
                size(journal.disk_bytes())
            ));
            continue;
        }
        if let Ok(summary) = journal.summary()
            && summary.destination.as_deref() == Some(&*destination)
        {
            found.push((state, summary));
        }
    }
    (found, unread)
}
