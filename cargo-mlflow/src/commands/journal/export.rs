//! `journal export`: all entries of a journal as JSON, one in a line.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use mlflow::Config;
use mlflow::journals::Entries;

use super::cannot_read;
use super::choice::find_journal;
use super::entry::EntryRecord;
use crate::failure::Failure;
use crate::output::{Output, format};

/// Exports a journal. Fails if a part of the journal cannot be read; the rest is exported.
pub(super) fn run(
    config: &Config,
    output: Output,
    journal: &str,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let mut entries = find_journal(config, journal)?
        .entries()
        .map_err(cannot_read)?;
    let count = match file {
        Some(path) => {
            let failed = |error| Failure::Io(format!("cannot write {}", path.display()), error);
            let mut file = BufWriter::new(File::create(path).map_err(failed)?);
            let count = write(&mut entries, &mut file)?;
            file.flush().map_err(failed)?;
            count
        }
        None => write(&mut entries, &mut BufWriter::new(io::stdout().lock()))?,
    };
    let exported = format::counted(count, "value");
    let damage = entries.damage();
    if damage.is_empty() {
        output.remark(format_args!("{exported} exported"));
        return Ok(());
    }
    Err(Failure::Other(format!(
        "{exported} exported; the rest is damaged: `cargo mlflow journal verify` says where"
    )))
}

/// Writes the entries and returns their number.
fn write(entries: &mut Entries, output: &mut impl Write) -> Result<u64, Failure> {
    let mut count = 0;
    for entry in entries {
        serde_json::to_writer(&mut *output, &EntryRecord::new(&entry))?;
        writeln!(output)?;
        count += 1;
    }
    output.flush()?;
    Ok(count)
}
