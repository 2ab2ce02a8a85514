//! Journals on disk: what waits for delivery, in processes that live and in those that have ended.
//!
//! A process keeps every value in a *journal*, a directory below `MLFLOW_JOURNAL_DIR`, until the store has the
//! value. This module lists the journals and reads them. To ship them, see [`recover`](crate::recover) and
//! [`Recovery`](crate::Recovery). On the command line, `cargo mlflow journal` shows the same, and
//! `cargo mlflow sync` ships.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! # let directory = std::env::temp_dir().join(format!("mlflow-doc-journals-{}", std::process::id()));
//! # let config = mlflow::Config::new().quiet(true).exit_timeout(std::time::Duration::ZERO);
//! # let config = config.tracking_uri("http://127.0.0.1:9").journal_dir(&directory);
//! # mlflow::configure(config.clone());
//! # let run = mlflow::start_run().name("fit").start();
//! # assert_eq!(mlflow::journals::list(&config)?[0].runs[0].name.as_deref(), Some("fit"));
//! for journal in mlflow::journals::list(&config)? {
//!     let destination = journal.destination.as_deref().unwrap_or("nowhere yet");
//!     println!("{}: {} values for {destination}", journal.state, journal.waiting_values());
//!     for run in &journal.runs {
//!         println!("  {} {}", run.key, run.name.as_deref().unwrap_or("?"));
//!     }
//! }
//! # drop(run);
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! 1. Reading changes nothing: files are opened for reading, and nothing is deleted. To see if a journal's
//!    process lives, its lock is tried shared and released at once, which disturbs neither the process nor one
//!    that ships the journal.
//! 2. The journal of a running process can be read at any time. Of a record that is being written, either all
//!    or nothing is seen.
//! 3. Only journals of this user are read, and only where others cannot have changed them.
//! 4. One file of a journal is in memory at a time: usually 4 MiB.
//! 5. Only [`StoredJournal::remove`] deletes something, and never the journal of a running process.

mod console;
mod damage;
mod entries;
mod stored_journal;
mod summary;
#[cfg(test)]
mod tests;
mod verification;

use std::io;

pub use console::StoredConsole;
pub use damage::{Damage, FileDamage};
pub use entries::{
    Entries, Entry, EntryArtifactKind, EntryValue, JournalOrigin, JournalRun, LoggedPoint,
    StartedRun,
};
pub use stored_journal::{JournalState, StoredJournal};
pub use summary::{JournalSummary, RunSummary};
pub use verification::Verification;

use crate::config::Config;
use crate::config::destination::Destination;

/// Finds the journals of this user, wherever processes with this configuration may have left them: in the
/// configured directory, and in the one that is used where the configured one cannot be written. Journals of
/// every destination are found, also those of running processes, what stores have refused for good, and
/// damaged files.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("mlflow-doc-find-{}", std::process::id()));
/// # let config = mlflow::Config::new().quiet(true).exit_timeout(std::time::Duration::ZERO);
/// # let config = config.tracking_uri("http://127.0.0.1:9").journal_dir(&directory);
/// # mlflow::configure(config.clone());
/// let run = mlflow::start_run().name("fit").start();
/// let own = mlflow::health().journal;
/// let found = mlflow::journals::find(&config)?;
/// assert!(found.iter().any(|journal| Some(journal.path()) == own.as_deref()));
/// # drop(run);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Returns an error if the configured directory exists and cannot be read.
pub fn find(config: &Config) -> io::Result<Vec<StoredJournal>> {
    let settings = config.clone().resolve_silently();
    let mut found = Vec::new();
    for (index, root) in settings.journal_roots(None).iter().enumerate() {
        match StoredJournal::find_below(root) {
            Ok(journals) => found.extend(journals),
            Err(error) if index == 0 && error.kind() != io::ErrorKind::NotFound => {
                let text = format!("the journal directory {}: {error}", root.display());
                return Err(io::Error::new(error.kind(), text));
            }
            // The other directories exist only if they were needed once.
            Err(_) => {}
        }
    }
    Ok(found)
}

/// Returns the name that journals have for the destination of this tracking URI: without credentials, and with
/// the absolute path of a SQLite file.
///
/// ```
/// let name = mlflow::journals::destination_name("http://user:secret@host:5000/");
/// assert_eq!(name, "http://host:5000");
/// ```
#[must_use]
pub fn destination_name(tracking_uri: &str) -> String {
    Destination::parse_or_unusable(tracking_uri).to_string()
}

/// Lists the journals that [`find`] finds, with what waits in each. Reads all of their records, some ten
/// million a second. A journal that cannot be read is among them, with its [error](JournalSummary::error). See
/// [`StoredJournal`] for an example.
///
/// # Errors
/// Returns an error if the configured directory exists and cannot be read.
pub fn list(config: &Config) -> io::Result<Vec<JournalSummary>> {
    let journals = find(config)?;
    Ok(journals
        .iter()
        .map(StoredJournal::summary_or_error)
        .collect())
}
