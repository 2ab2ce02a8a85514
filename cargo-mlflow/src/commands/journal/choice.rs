//! Choice of a journal by its path, or by the beginning of its name.

use std::io;
use std::path::Path;

use mlflow::Config;
use mlflow::journals::{self, JournalState, StoredJournal};

use super::cannot_read;
use crate::failure::Failure;

/// Smallest number of characters of a journal's name that choose it.
const MIN_NAME_LENGTH: usize = 2;
/// Number of journals that a message lists.
const MAX_LISTED: usize = 5;

/// Returns the name by which a journal can be chosen.
// Input:  state orphaned, name `3fa8`; state rejected, name `3fa8`
// Output: `3fa8`,                      `rejected/3fa8`
pub(super) fn label(state: JournalState, name: &str) -> String {
    match state {
        JournalState::Rejected | JournalState::Damaged => format!("{state}/{name}"),
        _ => name.to_owned(),
    }
}

/// Finds the journal that `text` names.
pub(super) fn find_journal(config: &Config, text: &str) -> Result<StoredJournal, Failure> {
    let found = journals::find(config).map_err(cannot_read)?;
    let label_of = |journal: &StoredJournal| label(journal.state(), journal.name());
    let exact = { found.iter() }.find(|journal| label_of(journal) == text);
    if let Some(journal) = exact {
        return Ok(journal.clone());
    }
    // A beginning that names a state alone would choose whichever journal is the only one in it.
    let is_meant = |journal: &StoredJournal| {
        let label = label_of(journal);
        let prefix_length = label.len() - journal.name().len();
        label.starts_with(text) && text.len() >= prefix_length + MIN_NAME_LENGTH
    };
    let mut matching: Vec<_> = found.into_iter().filter(is_meant).collect();
    match (matching.pop(), matching.len()) {
        (Some(journal), 0) => Ok(journal),
        (Some(last), _) => {
            matching.push(last);
            let labels = matching.iter().take(MAX_LISTED).map(label_of);
            let labels = labels.collect::<Vec<_>>().join(", ");
            let more = if matching.len() > MAX_LISTED {
                ", …"
            } else {
                ""
            };
            Err(Failure::Ambiguous(format!(
                "{} journals begin with `{text}`: {labels}{more}. Give more of the name",
                matching.len()
            )))
        }
        (None, _) => open_path(text),
    }
}

/// Opens the journal at a path.
fn open_path(text: &str) -> Result<StoredJournal, Failure> {
    let is_path = text.contains('/') || Path::new(text).exists();
    let missing = || {
        Failure::NotFound(format!(
            "no journal `{text}`; `cargo mlflow journal ls` lists them"
        ))
    };
    if !is_path || text.is_empty() {
        return Err(missing());
    }
    StoredJournal::open(text).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => missing(),
        _ => Failure::Io(format!("cannot read the journal {text}"), error),
    })
}
