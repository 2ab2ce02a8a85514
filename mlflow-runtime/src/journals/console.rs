//! [`StoredConsole`]: the console log of a run, in a file beside the journal.

use std::io;
use std::path::{Path, PathBuf};

use mlflow_rules::Edge;

use crate::journal::console_log::{mask_output, read_part_end, read_range};
use crate::journal::directory::{CONSOLE_EXTENSION, artifact_path};
use crate::journal::record::SharedFilePart;
use crate::journal::user_files;

/// Number of bytes before the wanted text that are read along, so that a secret which begins there is recognized.
const CONTEXT_BYTES: u64 = 64 << 10;

/// Console log of a run: text that grows while the run is open, delivered or not.
///
/// ```
/// use mlflow::journals::{EntryValue, StoredConsole};
///
/// /// Returns the last lines of the console logs of a journal.
/// fn last_lines(journal: &mlflow::journals::StoredJournal) -> std::io::Result<Vec<String>> {
///     let is_console = |entry: mlflow::journals::Entry| match entry.value {
///         EntryValue::Console(console) => Some(console),
///         _ => None,
///     };
///     let consoles = journal.entries()?.filter_map(is_console);
///     let with_text = consoles.filter(|console: &StoredConsole| !console.is_empty());
///     let show = |console: StoredConsole| {
///         let (path, bytes) = (console.artifact_path(), console.len());
///         Ok(format!("{path}, {bytes} bytes:\n{}", console.tail(4096)?))
///     };
///     with_text.map(show).collect()
/// }
/// # fn main() -> std::io::Result<()> {
/// # #[cfg(feature = "tracing")]
/// # {
/// # use tracing_subscriber::prelude::*;
/// # let directory = std::env::temp_dir().join(format!("mlflow-doc-console-{}", std::process::id()));
/// # let config = mlflow::Config::new().quiet(true).exit_timeout(std::time::Duration::ZERO);
/// # mlflow::configure(config.tracking_uri("http://127.0.0.1:9").journal_dir(&directory));
/// # let run = mlflow::start_run().start();
/// # tracing::subscriber::with_default(tracing_subscriber::registry().with(mlflow::layer()), || tracing::info!("loaded"));
/// # let journal = mlflow::journals::StoredJournal::open(mlflow::health().journal.unwrap())?;
/// # let shown = last_lines(&journal)?;
/// # assert!(shown.len() == 1 && shown[0].starts_with("logs/console.log, ") && shown[0].ends_with("loaded\n"), "{shown:?}");
/// # drop(run);
/// # std::fs::remove_dir_all(&directory)?;
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredConsole {
    artifact_path: String,
    location: Option<ConsoleLocation>,
}

/// Place of the text on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ConsoleLocation {
    /// File of this log alone.
    File(PathBuf),
    /// Part of a file that several runs share, from the offset `from` on. The marker file holds the end of the part.
    Part {
        shared: PathBuf,
        from: u64,
        marker: PathBuf,
    },
}

impl StoredConsole {
    pub(super) fn new(
        artifact_path: String,
        directory: &Path,
        file: &str,
        part: Option<&SharedFilePart<'_>>,
    ) -> Self {
        let path = |name: &str| self::artifact_path(directory, name, CONSOLE_EXTENSION);
        let location = path(file).and_then(|file| match part {
            None => Some(ConsoleLocation::File(file)),
            Some(part) => Some(ConsoleLocation::Part {
                shared: path(&part.file)?,
                from: part.from,
                marker: file,
            }),
        });
        Self {
            artifact_path,
            location,
        }
    }

    /// Returns the path of the log among the artifacts of its run.
    #[must_use]
    pub fn artifact_path(&self) -> &str {
        &self.artifact_path
    }

    /// Returns the present length in bytes; 0 once the log was delivered and its file deleted.
    #[must_use]
    pub fn len(&self) -> u64 {
        let (_, from, end) = self.extent();
        end.saturating_sub(from)
    }

    /// Returns true if there is no text, or no text any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the last lines, at most `max_bytes` of them. Secrets are masked, as in the store. The first line may be
    /// incomplete if it alone is longer. The text is empty once the log was delivered and its file deleted.
    ///
    /// # Errors
    /// Returns the errors of the file system.
    pub fn tail(&self, max_bytes: u64) -> io::Result<String> {
        let (Some(path), from, end) = self.extent() else {
            return Ok(String::new());
        };
        let wanted = end.saturating_sub(max_bytes).max(from);
        let first = wanted.saturating_sub(CONTEXT_BYTES).max(from);
        let bytes = match user_files::open_to_read(path) {
            Ok(file) => read_range(&file, first, end.saturating_sub(first))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
            Err(error) => return Err(error),
        };
        // The process may be in the middle of a word.
        let text = mask_output(&bytes, Edge::Cut);
        if wanted == from {
            return Ok(text);
        }
        Ok(last_lines(&text, usize::try_from(max_bytes).unwrap_or(usize::MAX)).to_owned())
    }

    /// Returns the file, and the offsets at which the text begins and ends.
    fn extent(&self) -> (Option<&Path>, u64, u64) {
        match &self.location {
            None => (None, 0, 0),
            Some(ConsoleLocation::File(file)) => (Some(file), 0, user_files::file_length(file)),
            Some(ConsoleLocation::Part {
                shared,
                from,
                marker,
            }) => match read_part_end(marker) {
                // Without a marker, the part was delivered.
                None => (None, 0, 0),
                Some(end) => (
                    Some(shared),
                    *from,
                    end.min(user_files::file_length(shared)),
                ),
            },
        }
    }
}

/// Returns the whole lines at the end of a text that take at most `max` bytes, or the end of the last line if that line
/// is longer.
fn last_lines(text: &str, max: usize) -> &str {
    let mut start = text.len().saturating_sub(max);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let (before, tail) = text.split_at(start);
    if before.is_empty() || before.ends_with('\n') {
        return tail;
    }
    match tail.find('\n') {
        Some(end) if end + 1 < tail.len() => tail.get(end + 1..).unwrap_or_default(),
        _ => tail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wanted part begins in the middle of the credential.
    #[test]
    fn a_secret_is_masked_although_the_tail_begins_in_it() {
        use std::io::Write as _;

        let folder = std::env::temp_dir().join(format!("mlflow-tail-{}", uuid::Uuid::new_v4()));
        user_files::create_directory(&folder).expect("a folder");
        let path = folder.join("log");
        let mut file = user_files::create_file(&path).expect("a file");
        let secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyzAB";
        write!(file, "{}{secret} is the token", "x ".repeat(50_000)).expect("space");
        let console = StoredConsole {
            artifact_path: "logs/console.log".to_owned(),
            location: Some(ConsoleLocation::File(path)),
        };
        assert_eq!(console.len(), 100_000 + secret.len() as u64 + 13);
        for max_bytes in [20, 30, 40, 1000] {
            let tail = console.tail(max_bytes).expect("the file");
            assert!(tail.ends_with(" is the token"), "{tail}");
            assert!(!tail.contains("wxyz"), "{tail}");
            assert!(tail.len() as u64 <= max_bytes, "{tail}");
        }
        std::fs::remove_dir_all(&folder).expect("the folder");
        assert_eq!(console.tail(10).expect("no file"), "");
        assert!(console.is_empty());
    }

    #[test]
    fn the_last_lines_are_whole() {
        for (text, max, tail) in [
            ("", 10, ""),
            ("one\ntwo\n", 100, "one\ntwo\n"),
            ("one\ntwo\n", 4, "two\n"),
            ("one\ntwo\n", 6, "two\n"),
            ("one\ntwo\n", 2, "o\n"),
            ("äöü\nß\n", 4, "ß\n"),
        ] {
            assert_eq!(last_lines(text, max), tail, "{text:?} {max}");
        }
    }
}
