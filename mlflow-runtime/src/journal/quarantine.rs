//! Quarantine: the folder in which damaged files of journals are kept, for a person to look at.
//!
//! Invariant: a damaged file is moved, not copied, so it is whole in one location or the other.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::journal::user_files::JournalLocation;
use crate::warnings::WarningLimit;

/// Folder below the root of all journals. No process directory has such a name.
const DAMAGED_DIRECTORY: &str = "damaged";

/// Returns the folder for the damaged files of all journals below `root`.
pub(crate) fn damaged_directory(root: &Path) -> PathBuf {
    root.join(damaged_directory_name())
}

/// Returns the name of the folder. It contains the user id because other users may have journals below the
/// same root.
fn damaged_directory_name() -> String {
    format!(
        "{DAMAGED_DIRECTORY}-{}",
        rustix::process::geteuid().as_raw()
    )
}

/// Moves `file` of a process's directory to `damaged-<uid>/<process directory>-<name>.damaged`.
pub(crate) fn quarantine_file(file: &Path) -> io::Result<()> {
    let misplaced = || io::Error::from(io::ErrorKind::InvalidInput);
    let directory = file.parent().ok_or_else(misplaced)?;
    let root = directory.parent().ok_or_else(misplaced)?;
    let name = |part: Option<&OsStr>| part.map(|name| name.to_string_lossy().into_owned());
    let process = name(directory.file_name()).ok_or_else(misplaced)?;
    let number = name(file.file_stem()).ok_or_else(misplaced)?;
    let place = JournalLocation::below(root.to_owned(), &[&damaged_directory_name()]);
    place.create()?;
    match fs::rename(
        file,
        place.path().join(format!("{process}-{number}.damaged")),
    ) {
        // Somebody has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

/// Logs a warning that a damaged file stays in its directory.
pub(crate) fn warn_quarantine_failed(directory: &Path, error: &io::Error) {
    static WARN_LIMIT: WarningLimit = WarningLimit::new();
    if let Some(end) = WARN_LIMIT.admit() {
        tracing::warn!(
            target: "mlflow", %error, directory = %directory.display(),
            "a damaged journal file cannot be moved to the folder `damaged-<uid>` beside the journals; it stays where it is{end}"
        );
    }
}
