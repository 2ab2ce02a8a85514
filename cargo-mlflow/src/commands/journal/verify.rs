//! `journal verify`: a check of every record and every copy of an artifact.

use comfy_table::Cell;
use mlflow::Config;
use mlflow::journals::{self, JournalState, StoredJournal, Verification};
use serde::Serialize;

use super::cannot_read;
use super::choice::{find_journal, label};
use super::show::show_damage;
use crate::failure::Failure;
use crate::output::table::{number_cell, table, to_text};
use crate::output::{Output, format};

/// Checked journal, as it is written for programs.
#[derive(Serialize)]
struct CheckedJournal {
    #[serde(skip)]
    journal: StoredJournal,
    path: std::path::PathBuf,
    state: JournalState,
    #[serde(flatten)]
    verification: Verification,
}

/// Checks one journal, or all but those files that were found damaged before. Fails if something is damaged.
pub(super) fn run(config: &Config, output: Output, journal: Option<&str>) -> Result<(), Failure> {
    let chosen = match journal {
        Some(text) => vec![find_journal(config, text)?],
        None => { journals::find(config).map_err(cannot_read)?.into_iter() }
            .filter(|journal| journal.state() != JournalState::Damaged)
            .collect(),
    };
    let mut checked = Vec::new();
    for journal in chosen {
        let verification = journal.verify().map_err(cannot_read)?;
        checked.push(CheckedJournal {
            path: journal.path().to_owned(),
            state: journal.state(),
            journal,
            verification,
        });
    }
    if output.json {
        output.json(&checked)?;
    } else if checked.is_empty() {
        output.remark("no journals");
    } else {
        show(output, &checked)?;
    }
    let is_damaged = |checked: &&CheckedJournal| !checked.verification.damage.is_empty();
    let damaged: Vec<_> = checked.iter().filter(is_damaged).collect();
    if damaged.is_empty() {
        return Ok(());
    }
    let saved: u64 = { damaged.iter() }
        .map(|checked| checked.verification.waiting_values)
        .sum();
    let are_shipped = { damaged.iter() }.all(|checked| checked.state != JournalState::Damaged);
    let then = if are_shipped {
        "`cargo mlflow sync` ships them, and keeps the damaged files"
    } else {
        "they were delivered before the file was put aside"
    };
    Err(Failure::Other(format!(
        "{} of {} damaged; {} in them can be read: {then}",
        format::counted(damaged.len() as u64, "journal"),
        format::count(checked.len() as u64),
        format::counted(saved, "waiting value"),
    )))
}

fn show(output: Output, checked: &[CheckedJournal]) -> Result<(), Failure> {
    let mut rows = table(
        output,
        &["JOURNAL", "STATE", "WAITING", "SETTLED", "RESULT"],
    );
    for CheckedJournal {
        journal,
        verification,
        ..
    } in checked
    {
        let result = if journal.state() == JournalState::Exposed {
            "not read: others can write to it".to_owned()
        } else if !verification.damage.is_empty() {
            "damaged".to_owned()
        } else if verification.unknown_records > 0 {
            let records = format::counted(verification.unknown_records, "record");
            format!("{records} of a newer version")
        } else {
            "whole".to_owned()
        };
        rows.add_row(vec![
            Cell::new(label(journal.state(), journal.name())),
            Cell::new(journal.state().as_str()),
            number_cell(format::count(verification.waiting_values)),
            number_cell(format::count(verification.settled_values)),
            Cell::new(result),
        ]);
    }
    output.line(to_text(&rows))?;
    for checked in checked {
        show_damage(output, &checked.verification.damage)?;
    }
    Ok(())
}
