//! `journal show`: the runs of one journal, and its first entries.

use comfy_table::Cell;
use mlflow::Config;
use mlflow::blocking::Client;
use mlflow::journals::{Damage, JournalSummary, RunSummary};
use serde::Serialize;

use super::cannot_read;
use super::choice::{find_journal, label};
use super::entry::{EntryRecord, describe};
use super::list::{process, reason};
use crate::commands::runs::ID_CHARS;
use crate::failure::Failure;
use crate::output::style;
use crate::output::table::{number_cell, shorten, table, to_text};
use crate::output::{Output, format};

/// Greatest number of characters of a name in the table of runs.
const MAX_NAME_CHARS: usize = 36;
/// Greatest number of characters of an entry.
const MAX_ENTRY_CHARS: usize = 240;

/// Journal as it is written for programs.
#[derive(Serialize)]
struct ShownJournal<'j> {
    #[serde(flatten)]
    summary: &'j JournalSummary,
    waiting_values: u64,
    reason: String,
    entries: Vec<EntryRecord<'j>>,
}

/// Shows a journal.
pub(super) fn run(
    config: &Config,
    output: Output,
    journal: &str,
    entries: usize,
) -> Result<(), Failure> {
    let journal = find_journal(config, journal)?;
    let summary = journal.summary().map_err(cannot_read)?;
    let first: Vec<_> = { journal.entries().map_err(cannot_read)? }
        .take(entries)
        .collect();
    let reason = reason(&summary, &Client::with_config(config.clone()).uri());
    if output.json {
        output.json(&ShownJournal {
            waiting_values: summary.waiting_values(),
            reason,
            entries: first.iter().map(EntryRecord::new).collect(),
            summary: &summary,
        })?;
    } else {
        show_summary(output, &summary, &reason)?;
        if !first.is_empty() {
            output.line(style::heading("\nFirst entries"))?;
        }
        for entry in &first {
            let key: String = entry.run.key.chars().take(ID_CHARS).collect();
            let settled = if entry.is_settled { "  (settled)" } else { "" };
            let text = shorten(&describe(entry), MAX_ENTRY_CHARS);
            output.line(format_args!("  {key}  {text}{settled}"))?;
        }
    }
    if summary.runs.is_empty() && !summary.damage.is_empty() {
        return Err(Failure::Other(format!(
            "nothing in the journal {} can be read",
            label(summary.state, &summary.name)
        )));
    }
    Ok(())
}

fn show_summary(output: Output, summary: &JournalSummary, reason: &str) -> Result<(), Failure> {
    let times = match (summary.first_ms, summary.last_ms) {
        (Some(first), Some(last)) => {
            format!("{} to {}", format::time(first), format::time(last))
        }
        _ => "-".to_owned(),
    };
    let waiting = format!(
        "{} of {}",
        format::counted(summary.waiting_values(), "value"),
        format::counted(summary.runs.len() as u64, "run")
    );
    let path = summary.path.display().to_string();
    for (name, text) in [
        ("Journal", label(summary.state, &summary.name).as_str()),
        ("Path", &path),
        ("State", summary.state.as_str()),
        ("Why", reason),
        ("Destination", summary.destination.as_deref().unwrap_or("-")),
        ("Process", &process(summary)),
        ("Logged", &times),
        ("Waiting", &waiting),
        ("Size", &format::size(summary.disk_bytes)),
    ] {
        output.line(format_args!(
            "{}  {text}",
            style::heading(format!("{name:12}"))
        ))?;
    }
    if summary.unknown_records > 0 {
        output.line(format_args!(
            "{} of kinds that only a newer version can deliver",
            format::counted(summary.unknown_records, "record")
        ))?;
    }
    show_damage(output, &summary.damage)?;
    if summary.runs.is_empty() {
        return Ok(());
    }
    let mut rows = table(
        output,
        &[
            "RUN",
            "NAME",
            "EXPERIMENT",
            "ENDED",
            "POINTS",
            "PARAMS",
            "TAGS",
            "ARTIFACTS",
            "LOG",
        ],
    );
    for run in &summary.runs {
        rows.add_row(row(run));
    }
    output.line(format_args!("\n{}", to_text(&rows)))
}

fn row(run: &RunSummary) -> Vec<Cell> {
    let experiment = match (&run.experiment_name, &run.experiment_id) {
        (Some(name), _) => shorten(name, MAX_NAME_CHARS),
        (None, Some(id)) => format!("id {id}"),
        (None, None) => "-".to_owned(),
    };
    let ended = run.status.map_or("no", mlflow::RunStatus::as_str);
    vec![
        Cell::new(run.key.chars().take(ID_CHARS).collect::<String>()),
        Cell::new(shorten(run.name.as_deref().unwrap_or("-"), MAX_NAME_CHARS)),
        Cell::new(experiment),
        Cell::new(ended),
        number_cell(format::count(run.points)),
        number_cell(format::count(run.params + run.start_params)),
        number_cell(format::count(run.tags + run.start_tags)),
        number_cell(format::count(run.artifacts)),
        number_cell(format::size(run.console_bytes)),
    ]
}

/// Writes a line for each damaged file.
pub(super) fn show_damage(output: Output, damage: &Damage) -> Result<(), Failure> {
    for file in &damage.files {
        let mut faults = Vec::new();
        if let Some(reason) = &file.reason {
            faults.push(reason.clone());
        }
        if file.stretches > 0 {
            faults.push(format!(
                "{} with {} cannot be read",
                format::counted(file.stretches, "place"),
                format::counted(file.skipped_bytes, "byte")
            ));
        }
        if file.nameless_values > 0 {
            faults.push(format!(
                "{} lost the name of the metric or run",
                format::counted(file.nameless_values, "value")
            ));
        }
        let from = match file.first_offset {
            Some(offset) => format!(" (from byte {offset})"),
            None => String::new(),
        };
        output.line(format_args!(
            "  {}{from}: {}",
            file.path.display(),
            faults.join("; ")
        ))?;
    }
    Ok(())
}
