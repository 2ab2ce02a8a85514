//! Where damaged files of a journal are kept, for a person to look at.
//!
//! Invariant: a damaged file is moved, not copied, so it is whole in one place or the other.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::journal::owned::Place;
use crate::warnings::Limit;

/// The folder below the root of all journals. No process directory has such a name.
const FOLDER: &str = "damaged";

/// Returns where the files of all journals below `root` are kept.
pub(crate) fn folder(root: &Path) -> PathBuf {
    root.join(name_of_folder())
}

/// The name of the folder: others may have journals below the same root.
fn name_of_folder() -> String {
    format!("{FOLDER}-{}", rustix::process::geteuid().as_raw())
}

/// Moves `file` of a process's directory to `damaged-<uid>/<process directory>-<name>.damaged`.
pub(crate) fn keep(file: &Path) -> io::Result<()> {
    let misplaced = || io::Error::from(io::ErrorKind::InvalidInput);
    let directory = file.parent().ok_or_else(misplaced)?;
    let root = directory.parent().ok_or_else(misplaced)?;
    let name = |part: Option<&OsStr>| part.map(|name| name.to_string_lossy().into_owned());
    let process = name(directory.file_name()).ok_or_else(misplaced)?;
    let number = name(file.file_stem()).ok_or_else(misplaced)?;
    let place = Place::below(root.to_owned(), &[&name_of_folder()]);
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

/// Says that damaged files stay where they are.
pub(crate) fn warn(directory: &Path, error: &io::Error) {
    static STUCK: Limit = Limit::new();
    if let Some(end) = STUCK.admit() {
        tracing::warn!(
            target: "mlflow", %error, directory = %directory.display(),
            "a damaged journal file cannot be moved to the folder `damaged`; it stays where it is{end}"
        );
    }
}
