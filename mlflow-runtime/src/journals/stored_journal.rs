//! [`StoredJournal`]: a journal on disk, found by its path.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::entries::{Entries, EntrySource};
use crate::journal::directory::{self, Directory, RejectedFolder};
use crate::journal::quarantine;
use crate::journal::user_files;

/// Journal on disk: a directory, or a single damaged file.
///
/// ```
/// use std::time::Duration;
/// use mlflow::journals::{JournalState, StoredJournal};
///
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("mlflow-doc-journal-{}", std::process::id()));
/// // No server listens there, so everything waits.
/// let config = mlflow::Config::new().tracking_uri("http://127.0.0.1:9").journal_dir(&directory);
/// # let config = config.quiet(true).exit_timeout(Duration::ZERO);
/// mlflow::configure(config.clone());
/// let run = mlflow::start_run().name("fit").start();
/// run.log_metric_at("loss", 0.5, 1);
///
/// let path = mlflow::health().journal.expect("the journal is on disk");
/// let journal = StoredJournal::open(&path)?;
/// assert_eq!((journal.path(), journal.state()), (&*path, JournalState::Live));
/// assert_eq!(journal.state().as_str(), "live");
/// assert!(path.ends_with(journal.name()));
/// assert!(!journal.is_empty());
/// assert!(journal.disk_bytes() > 0);
///
/// let mut entries = journal.entries()?;
/// assert_eq!(entries.by_ref().count(), 2); // the start of the run, and the point
/// assert!(entries.damage().is_empty());
/// assert_eq!(entries.damage().skipped_bytes(), 0);
/// assert_eq!(entries.unknown_records(), 0);
/// assert_eq!(entries.origin().expect("entries were read").destination, "http://127.0.0.1:9");
///
/// let summary = journal.summary()?;
/// assert_eq!(journal.summary_or_error().runs, summary.runs);
/// assert_eq!((summary.waiting_values(), summary.console_bytes()), (2, 0));
/// assert_eq!(summary.runs[0].name.as_deref(), Some("fit"));
/// assert_eq!(summary.runs[0].waiting_values(), 2);
/// assert_eq!(mlflow::journals::list(&config)?[0].name, summary.name);
///
/// let checked = journal.verify()?;
/// assert_eq!((checked.waiting_values, checked.settled_values), (2, 0));
/// assert!(checked.damage.is_empty());
///
/// // The journal of a process that runs is never deleted.
/// assert_eq!(journal.remove().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
/// # drop(run);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredJournal {
    path: PathBuf,
    name: String,
    state: JournalState,
}

/// State of a journal. See [`StoredJournal`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum JournalState {
    /// A process holds the journal: the one that logs to it, or one that is shipping it now.
    Live,
    /// The journal's process has ended. The next process with the same destination, or
    /// [`recover`](crate::recover), ships the journal.
    Orphaned,
    /// The journal holds what the store has refused for good.
    /// [`resend_rejected`](crate::resend_rejected) sends it again.
    Rejected,
    /// Damaged file that was kept for a person to look at. What could be read in it was delivered.
    Damaged,
    /// Other users can write to the journal, so it is neither read nor shipped.
    Exposed,
}

impl JournalState {
    /// Returns the name of the state, e.g. `orphaned`. See [`StoredJournal`] for an example.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Orphaned => "orphaned",
            Self::Rejected => "rejected",
            Self::Damaged => "damaged",
            Self::Exposed => "exposed",
        }
    }
}

impl std::fmt::Display for JournalState {
    /// Writes the name of the state, e.g. `orphaned`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl StoredJournal {
    /// Opens the journal at `path`: the directory of a process, such as
    /// [`Health::journal`](crate::Health::journal) names, a folder below `rejected-<uid>`, or a file in
    /// `damaged-<uid>`.
    ///
    /// # Errors
    /// Returns an error if there is no journal at `path`, or another user's.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let is_in = |folder: fn(&Path) -> PathBuf| {
            let folder = folder(path.parent()?.parent()?);
            Some(path.parent()? == folder)
        };
        if is_in(quarantine::damaged_directory) == Some(true) {
            return Self::open_damaged(path);
        }
        if is_in(RejectedFolder::directory_below) == Some(true) {
            return Self::open_directory(path, Some(JournalState::Rejected));
        }
        Self::open_directory(path, None)
    }

    /// Opens the directory of a journal, whose state is looked up unless it is known.
    fn open_directory(path: PathBuf, known: Option<JournalState>) -> io::Result<Self> {
        let looked_up = directory::is_locked(&path).map(|is_locked| match known {
            Some(state) => state,
            None if is_locked => JournalState::Live,
            None => JournalState::Orphaned,
        });
        let state = match looked_up {
            Err(_) if user_files::is_exposed(&path) => JournalState::Exposed,
            state => state?,
        };
        Ok(Self::new(path, state))
    }

    fn open_damaged(path: PathBuf) -> io::Result<Self> {
        user_files::open_to_read(&path)?;
        Ok(Self::new(path, JournalState::Damaged))
    }

    fn new(path: PathBuf, state: JournalState) -> Self {
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        Self { path, name, state }
    }

    /// Finds the journals below `root`, sorted by path. Journals of other users are left out.
    pub(super) fn find_below(root: &Path) -> io::Result<Vec<Self>> {
        let (rejected, damaged) = (
            RejectedFolder::directory_below(root),
            quarantine::damaged_directory(root),
        );
        let mut found = Vec::new();
        for path in paths_in(root)? {
            if path == rejected {
                let folders = paths_in(&path).unwrap_or_default().into_iter();
                found.extend(folders.filter_map(|folder| {
                    Self::open_directory(folder, Some(JournalState::Rejected)).ok()
                }));
            } else if path == damaged {
                let files = paths_in(&path).unwrap_or_default().into_iter();
                found.extend(files.filter_map(|file| Self::open_damaged(file).ok()));
            } else {
                found.extend(Self::open_directory(path, None).ok());
            }
        }
        Ok(found)
    }

    /// Returns the path of the directory, or of the damaged file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the name of the directory, or of the damaged file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the state in which the journal was found.
    #[must_use]
    pub fn state(&self) -> JournalState {
        self.state
    }

    /// Returns true if the journal holds no record, as that of a process that has delivered everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.source().files().is_ok_and(|files| files.is_empty())
    }

    /// Reads the journal from its beginning.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use mlflow::journals::{EntryValue, StoredJournal};
    ///
    /// # let directory = std::env::temp_dir().join(format!("mlflow-doc-entries-{}", std::process::id()));
    /// # let config = mlflow::Config::new().quiet(true).exit_timeout(std::time::Duration::ZERO);
    /// # let config = config.tracking_uri("http://127.0.0.1:9").journal_dir(&directory);
    /// # mlflow::configure(config.clone());
    /// let run = mlflow::start_run().start();
    /// run.log_metric_at("loss", 0.5, 1);
    /// let journal = StoredJournal::open(mlflow::health().journal.expect("the journal is on disk"))?;
    /// let mut entries = journal.entries()?;
    /// let is_point = |value: &EntryValue| matches!(value, EntryValue::Point(point) if point.value == 0.5);
    /// assert!(entries.any(|entry| is_point(&entry.value)));
    /// assert_eq!(entries.next(), None);
    ///
    /// run.log_metric_at("loss", 0.25, 2); // the iterator goes on
    /// assert!(entries.next().is_some());
    /// # drop(run);
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the journal's directory cannot be listed. A single file that cannot be read is
    /// reported by [`Entries::damage`] instead.
    pub fn entries(&self) -> io::Result<Entries> {
        Entries::new(self.source())
    }

    fn source(&self) -> EntrySource {
        match self.state {
            JournalState::Damaged => EntrySource::File(self.path.clone()),
            JournalState::Exposed => EntrySource::Nothing,
            JournalState::Live | JournalState::Orphaned | JournalState::Rejected => {
                EntrySource::Directory {
                    path: self.path.clone(),
                    is_live: self.state == JournalState::Live,
                }
            }
        }
    }

    /// Deletes the journal with everything in it. What it holds is lost.
    ///
    /// # Errors
    /// Returns an error of the kind [`WouldBlock`](io::ErrorKind::WouldBlock), and deletes nothing, if a
    /// process holds the journal: its own, or one that ships it. Returns other errors of the file system.
    pub fn remove(self) -> io::Result<()> {
        match self.state {
            JournalState::Damaged => {
                user_files::open_to_read(&self.path)?;
                return fs::remove_file(&self.path);
            }
            JournalState::Exposed => {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "other users can write to the journal",
                ));
            }
            JournalState::Live | JournalState::Orphaned | JournalState::Rejected => {}
        }
        let Some(locked) = Directory::lock_existing(&self.path)? else {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "a process holds the journal",
            ));
        };
        locked.remove();
        if self.path.exists() {
            return Err(io::Error::other("some of its files could not be deleted"));
        }
        Ok(())
    }

    /// Returns the number of bytes that the files of the journal take.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        if self.state == JournalState::Damaged {
            return user_files::file_length(&self.path);
        }
        let files = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let lengths = files.filter_map(|file| file.metadata().ok());
        lengths.map(|file| file.len()).sum()
    }
}

/// Returns the paths in a directory, sorted.
fn paths_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}
