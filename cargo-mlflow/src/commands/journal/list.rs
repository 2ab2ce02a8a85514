//! `journal ls`: the journals, with what waits in each and why.

use comfy_table::Cell;
use mlflow::Config;
use mlflow::blocking::Client;
use mlflow::journals::{self, JournalState, JournalSummary};
use serde::Serialize;

use super::cannot_read;
use super::choice::label;
use crate::commands::sync::destination::Route;
use crate::failure::Failure;
use crate::output::table::{fits, number_cell, shorten, table, to_text, wrap};
use crate::output::{Output, format, style};

/// Least number of characters of a name.
const MIN_NAME_CHARS: usize = 8;
const MAX_DESTINATION_CHARS: usize = 48;

/// Journal as it is written for programs.
#[derive(Serialize)]
struct ListedJournal<'j> {
    #[serde(flatten)]
    summary: &'j JournalSummary,
    waiting_values: u64,
    reason: String,
}

/// Lists the journals.
pub(super) fn run(config: &Config, output: Output) -> Result<(), Failure> {
    let configured = Client::with_config(config.clone()).uri();
    let found: Vec<JournalSummary> = { journals::find(config).map_err(cannot_read)?.into_iter() }
        // A process that has delivered everything has an empty journal.
        .filter(|journal| journal.state() != JournalState::Live || !journal.is_empty())
        .map(|journal| journal.summary_or_error())
        .collect();
    let reason = |journal: &JournalSummary| reason(journal, &configured);
    if output.json {
        let listed = found.iter().map(|summary| ListedJournal {
            waiting_values: summary.waiting_values(),
            reason: reason(summary),
            summary,
        });
        return output.json(&listed.collect::<Vec<_>>());
    }
    if found.is_empty() {
        output.remark(format_args!(
            "no journals of yours in {}: nothing waits there",
            config.journal_directory().path.display()
        ));
        return Ok(());
    }
    let labels: Vec<String> = { found.iter() }
        .map(|journal| label(journal.state, &journal.name))
        .collect();
    let reasons: Vec<String> = found.iter().map(reason).collect();
    let rows = |with_reason: bool| {
        let mut header = vec![
            "JOURNAL",
            "STATE",
            "DESTINATION",
            "PROCESS",
            "RUNS",
            "WAITING",
            "SIZE",
            "AGE",
        ];
        header.extend(with_reason.then_some("WHY"));
        let mut rows = table(output, &header);
        for ((journal, label), reason) in found.iter().zip(&labels).zip(&reasons) {
            let mut row = cells(journal, &shortest(label, &labels));
            row.extend(with_reason.then(|| Cell::new(reason)));
            rows.add_row(row);
        }
        rows
    };
    let wide = rows(true);
    if fits(&wide) {
        return output.line(to_text(&wide));
    }
    // The reason says what to type: it stands in full below its journal.
    let narrow = to_text(&rows(false));
    let mut lines = narrow.lines();
    output.line(lines.next().unwrap_or_default())?;
    for (line, reason) in lines.zip(&reasons) {
        output.line(line)?;
        output.line(style::dim(wrap(reason, output.width.into(), 3)))?;
    }
    Ok(())
}

/// Returns the cells of a journal but for the reason.
fn cells(journal: &JournalSummary, label: &str) -> Vec<Cell> {
    vec![
        Cell::new(label),
        Cell::new(journal.state.as_str()),
        Cell::new(shorten(
            journal.destination.as_deref().unwrap_or("-"),
            MAX_DESTINATION_CHARS,
        )),
        Cell::new(process(journal)),
        number_cell(journal.runs.len()),
        number_cell(format::count(journal.waiting_values())),
        number_cell(format::size(journal.disk_bytes)),
        Cell::new(journal.last_ms.map(format::ago).unwrap_or_default()),
    ]
}

/// Returns the shortest beginning of a label that no other one has, with at least [`MIN_NAME_CHARS`]
/// characters of the name.
fn shortest(label: &str, all: &[String]) -> String {
    let folder = label.rfind('/').map_or(0, |slash| slash + 1);
    let is_unique = |text: &str| all.iter().filter(|other| other.starts_with(text)).count() == 1;
    { label.char_indices() }
        .skip_while(|(at, _)| *at < folder + MIN_NAME_CHARS)
        .filter_map(|(at, _)| label.get(..at))
        .find(|text| is_unique(text))
        .unwrap_or(label)
        .to_owned()
}

/// Returns the host and the id of the process that has written a journal.
pub(super) fn process(journal: &JournalSummary) -> String {
    match (&journal.host, journal.process_id) {
        (Some(host), Some(id)) => format!("{host}:{id}"),
        _ => "-".to_owned(),
    }
}

/// Returns the reason why the values of a journal wait, and what helps.
pub(super) fn reason(journal: &JournalSummary, configured: &str) -> String {
    if let Some(error) = &journal.error {
        return format!("it cannot be read: {error}");
    }
    match journal.state {
        JournalState::Live => "a running process delivers it".to_owned(),
        JournalState::Rejected => {
            "refused by the store: `cargo mlflow journal resend` sends it again".to_owned()
        }
        JournalState::Damaged => "damaged: what could be read was delivered".to_owned(),
        JournalState::Exposed => format!(
            "other users can write to it: chmod -R go-w {}",
            journal.path.display()
        ),
        _ => {
            let route = Route::of(journal, configured);
            let command = { journal.destination.as_deref() }
                .map(|destination| format!("`{}` ships it", route.command(destination)));
            match (route.obstacle(journal), command) {
                (Some(obstacle), Some(command)) => format!("{obstacle}: {command}"),
                (Some(text), None) => text,
                (None, command) => {
                    let command = command.unwrap_or_default();
                    format!("its process has ended: {command}")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_name_chooses_one_journal() {
        let all = [
            "0123456789",
            "0123456799",
            "abcdefghij",
            "rejected/0123456789",
        ]
        .map(str::to_owned);
        for (label, short) in [
            ("0123456789", "012345678"),
            ("abcdefghij", "abcdefgh"),
            ("rejected/0123456789", "rejected/01234567"),
        ] {
            assert_eq!(shortest(label, &all), short);
        }
    }
}
