//! Directories of journals on disk.
//!
//! ```text
//! <journal>/                      0700: $MLFLOW_JOURNAL_DIR, else the user's state directory
//!   <process>/                    one per process and destination; the name is a UUID
//!     lock                        locked (flock) while the process lives
//!     <number>.segment            0600: a segment of the journal
//!     <number>.spare              a preallocated segment: holds nothing yet, and is not read
//!     <uuid>.artifact             an artifact that is a file, or a large text
//!     <uuid>.console              a console log, or the end of a run's part of a shared one
//!     last.steps                  the last steps that the shipper has found for points without a step
//!   rejected-<uid>/<process>/     what the store has rejected for good, in the same form
//!   damaged-<uid>/                0700: damaged files, in quarantine
//! ```
//!
//! For `rejected-<uid>` see [`RejectedFolder`], for `damaged-<uid>` see
//! [`quarantine`](crate::journal::quarantine).
//!
//! Invariant: only the process that holds a directory's lock ships or deletes what is in the directory.
//!
//! # Trust
//!
//! The contents of a journal are uploaded with this user's credentials. So every file in a journal has to be
//! [this user's](crate::journal::user_files), and so has the directory of its process; others must not be
//! able to write to either. Everything else is left alone. A process creates its directory itself, with a
//! name that nobody can guess. So a `<journal>` that a group shares (`MLFLOW_JOURNAL_DIR`) needs no further
//! protection: each user ships the user's own journals in it. A user who can rename entries of a shared
//! directory can keep a journal from being found; the sticky bit (`chmod +t`) prevents that.
//!
//! A default `<journal>` has a name that anybody can guess: `mlflow-runtime/journal` in the user's state
//! directory, or `mlflow-runtime-<uid>/journal` below the temporary directory. There `mlflow-runtime` and
//! `journal` have to belong to the user or to root, too, and must not be writable by others; else they are
//! not used.
//!
//! The user is the effective user. Root of a container counts as root, even where that is an ordinary user
//! outside. A file server that maps root to nobody (NFS with `root_squash`) gives what root creates to
//! another user, so that it cannot be told from files that others put there. Such a directory is not used,
//! and a warning is logged. A file system on which everything is writable by everybody is not used either.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::journal::record::{Definition, Origin, Record};
use crate::journal::segment::mapped::HEADER_BYTES;
use crate::journal::segment::mmap_safety;
use crate::journal::segment::{Frame, Segment};
use crate::journal::user_files::{self, JournalLocation};
use crate::os::fork::CloseOnForkFile;
use crate::warnings::warn_user;

const LOCK_FILE: &str = "lock";
const SEGMENT_EXTENSION: &str = "segment";
pub(super) const SPARE_EXTENSION: &str = "spare";

/// Locked directory of a journal: this process's own, or that of an orphaned journal.
pub(crate) struct Directory {
    path: PathBuf,
    /// True if files in the directory can be mapped safely.
    is_mappable: bool,
    /// File kept open for its lock.
    _lock: CloseOnForkFile,
}

impl Directory {
    /// Creates and locks a new directory below `root`.
    pub(super) fn create(root: &JournalLocation) -> io::Result<Self> {
        root.create()?;
        // Another process, which looks for orphaned journals, may remove the directory between its creation
        // and its locking.
        for _ in 0..8 {
            let path = root.path().join(new_directory_name());
            user_files::create_directory(&path)?;
            match Self::lock(&path, true) {
                Ok(Some(directory)) if directory.path.join(LOCK_FILE).exists() => {
                    return Ok(directory);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let _ = fs::remove_dir(&path);
                    return Err(error);
                }
            }
        }
        Err(io::Error::other(
            "another process keeps removing new journal directories",
        ))
    }

    /// Locks the directory at `path`. Returns `None` if another process holds the lock, because it owns the
    /// journal or is shipping it.
    fn lock(path: &Path, create: bool) -> io::Result<Option<Self>> {
        let lock = path.join(LOCK_FILE);
        let lock = if create {
            user_files::open_or_create(&lock)?
        } else {
            user_files::open_to_write(&lock)?
        };
        match try_lock_past_lookers(&lock) {
            Ok(()) => Ok(Some(Self {
                is_mappable: mmap_safety::is_mappable(path),
                path: path.to_owned(),
                _lock: CloseOnForkFile::new(lock),
            })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Locks the existing journal at `path`. Returns `None` if another process holds the lock.
    pub(crate) fn lock_existing(path: &Path) -> io::Result<Option<Self>> {
        Self::lock(path, false)
    }

    /// Finds the orphaned journals below `root` whose values go to `destination`. Each is locked only when
    /// the iterator reaches it.
    pub(crate) fn find_orphaned(root: &Path, destination: &str) -> OrphanedJournals {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        if cfg!(test) {
            // No test may depend on the order in which a file system lists entries.
            paths.sort();
        }
        OrphanedJournals {
            paths,
            destination: destination.to_owned(),
        }
    }

    /// Locks a journal, if it is orphaned. Removes an empty directory without a lock file.
    fn claim(path: &Path) -> Option<Self> {
        Self::lock(path, false).unwrap_or_else(|error| {
            // The process of the directory died before it had created the lock file, or after it had removed
            // it. An empty directory with another kind of name is not a journal's.
            if error.kind() == io::ErrorKind::NotFound && has_generated_name(path) {
                let _ = fs::remove_dir(path);
            }
            warn_exposed(path, &error);
            None
        })
    }

    /// Returns true if the values of the journal go to `destination`. A journal that holds nothing belongs to
    /// whichever process asks first, which will remove it. A journal that cannot be read (a newer format)
    /// belongs to nobody.
    fn belongs_to(&self, destination: &str) -> bool {
        let Ok(segments) = self.segments() else {
            return false;
        };
        let mut empty = true;
        for segment in segments {
            match SegmentOwner::read(&segment) {
                SegmentOwner::Origin(origin) => return origin.destination == destination,
                SegmentOwner::Empty => {}
                SegmentOwner::Unreadable => empty = false,
            }
        }
        empty
    }

    /// Returns the segments in the directory, oldest first. Returns either all of them or an error: a segment
    /// that is missing here would be taken for delivered.
    pub(crate) fn segments(&self) -> io::Result<Vec<Segment>> {
        let files = segment_files(&self.path)?.into_iter();
        files.map(Segment::open_orphaned).collect()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory with files that are mapped if `mapped` is true, else written with system calls.
    #[cfg(test)]
    pub(super) fn with_mapping(self, mapped: bool) -> Self {
        Self {
            is_mappable: mapped,
            ..self
        }
    }

    pub(super) fn is_mappable(&self) -> bool {
        self.is_mappable
    }

    /// Syncs the directory and its parent to the device, so that the names of all files are kept.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        match self.path.parent() {
            Some(root) => File::open(root)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Returns the path of a preallocated segment, before it is used.
    pub(crate) fn spare_path(&self, number: u64) -> PathBuf {
        self.segment_path(number).with_extension(SPARE_EXTENSION)
    }

    pub(crate) fn segment_path(&self, number: u64) -> PathBuf {
        segment_path(&self.path, number)
    }

    /// Deletes the directory with all files in it. The lock file goes last: until then no other process
    /// claims the directory.
    pub(crate) fn remove(&self) {
        // Without the lock file no process could claim the directory again, so the lock file stays while
        // another file may be there.
        #[cfg(test)]
        crate::determinism::before_change();
        if user_files::remove_files_except(&self.path, LOCK_FILE).is_err() {
            return;
        }
        #[cfg(test)]
        crate::determinism::before_change();
        let _ = fs::remove_file(self.path.join(LOCK_FILE));
        #[cfg(test)]
        crate::determinism::before_change();
        let _ = fs::remove_dir(&self.path);
    }
}

/// Orphaned journals of one destination. Each is locked when the iterator reaches it, because a thousand
/// journals must not take a thousand descriptors.
pub(crate) struct OrphanedJournals {
    paths: Vec<PathBuf>,
    destination: String,
}

impl OrphanedJournals {
    /// Unlocks a journal, and returns an iterator that will claim it again later.
    pub(crate) fn defer(&self, directory: Directory) -> Self {
        Self {
            paths: vec![directory.path],
            destination: self.destination.clone(),
        }
    }
}

impl Iterator for OrphanedJournals {
    type Item = Directory;

    fn next(&mut self) -> Option<Directory> {
        while let Some(path) = self.paths.pop() {
            let claimed = Directory::claim(&path);
            if let Some(ours) = claimed.filter(|found| found.belongs_to(&self.destination)) {
                return Some(ours);
            }
        }
        None
    }
}

/// Returns the paths of the segments in the directory of a journal, oldest first.
pub(crate) fn segment_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == SEGMENT_EXTENSION)
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns true if a process holds the lock of the journal at `path`: the journal's own process, or one that
/// ships it.
///
/// The lock is tried shared, and released at once. A process that wants the lock for itself meanwhile
/// [does not mistake](try_lock_past_lookers) that for an owner's.
pub(crate) fn is_locked(path: &Path) -> io::Result<bool> {
    let lock = user_files::open_to_read(&path.join(LOCK_FILE))?;
    match lock.try_lock_shared() {
        // By a call, because a child forked at this moment would keep the descriptor, and with it the lock.
        Ok(()) => lock.unlock().map(|()| false),
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Number of times that a lock is tried while only [lookers](is_locked) hold it.
const MAX_LOCK_ATTEMPTS: usize = 1000;

/// Locks the file of a lock unless a journal's owner holds it. A process that only looks if there is an owner
/// holds the lock shared, for microseconds; such a lock is waited out.
fn try_lock_past_lookers(lock: &File) -> Result<(), fs::TryLockError> {
    for _ in 0..MAX_LOCK_ATTEMPTS {
        match lock.try_lock() {
            Err(fs::TryLockError::WouldBlock) => {}
            tried => return tried,
        }
        // An owner's lock excludes shared ones. So does any lock on NFS, where the descriptor would have to
        // be open for reading.
        if lock.try_lock_shared().is_err() {
            break;
        }
        lock.unlock().map_err(fs::TryLockError::Error)?;
        std::thread::yield_now();
    }
    Err(fs::TryLockError::WouldBlock)
}

/// Returns the path of segment `number` of the journal in `directory`.
pub(super) fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:010}.{SEGMENT_EXTENSION}"))
}

/// Folder, beside the journals, of records that stores have rejected for good.
const REJECTED_DIRECTORY: &str = "rejected";

/// Folder of the records of one journal that a store has rejected. It has the form of an orphaned journal,
/// but nobody ships it until it is [put back](RejectedFolder::put_back).
pub(crate) struct RejectedFolder {
    path: PathBuf,
}

impl RejectedFolder {
    /// Creates the folder that belongs to the journal in `directory`, if it is missing.
    pub(crate) fn create_beside(directory: &Path) -> io::Result<Self> {
        let (Some(root), Some(name)) = (directory.parent(), directory.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let name = name.to_string_lossy();
        let place = JournalLocation::below(root.to_owned(), &[&rejected_directory_name(), &name]);
        place.create()?;
        user_files::open_or_create(&place.path().join(LOCK_FILE))?;
        let path = place.path().to_owned();
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory in which these folders lie for all journals below `root`.
    pub(crate) fn directory_below(root: &Path) -> PathBuf {
        root.join(rejected_directory_name())
    }

    /// Moves the records that were rejected for `destination` back among the journals below `root`, where
    /// they are shipped as orphaned journals. Returns the number of folders moved.
    pub(crate) fn put_back(root: &Path, destination: &str) -> usize {
        let all = Directory::find_orphaned(&Self::directory_below(root), destination);
        all.filter(|directory| {
            // Each folder gets a new name, because the process that it belongs to may be alive, with a
            // directory of the old name.
            let name = uuid::Uuid::new_v4().simple().to_string();
            fs::rename(directory.path(), root.join(name)).is_ok()
        })
        .count()
    }
}

/// Returns the name of the folder. It contains the user id because other users may have journals below the
/// same root.
fn rejected_directory_name() -> String {
    format!(
        "{REJECTED_DIRECTORY}-{}",
        rustix::process::geteuid().as_raw()
    )
}

/// Extensions of the files of artifacts and of console logs.
pub(crate) const ARTIFACT_EXTENSION: &str = "artifact";
pub(crate) const CONSOLE_EXTENSION: &str = "console";

/// Returns the path of the file `name` in `directory`. Returns `None` for a name that leads elsewhere or has
/// another extension: such a file is not the journal's to send and to delete.
pub(crate) fn artifact_path(directory: &Path, name: &str, extension: &str) -> Option<PathBuf> {
    let plain = Path::new(name);
    let is_artifact = plain.extension().is_some_and(|end| end == extension);
    (is_artifact && plain.file_name() == Some(OsStr::new(name))).then(|| directory.join(name))
}

/// Owner of a segment, as recorded in it.
enum SegmentOwner {
    Origin(Origin),
    /// Segment without a record, because the process died before the first one.
    Empty,
    Unreadable,
}

impl SegmentOwner {
    fn read(segment: &Segment) -> Self {
        let Ok(bytes) = segment.read() else {
            return Self::Unreadable;
        };
        let body = match bytes.frame(HEADER_BYTES) {
            Frame::Whole { body, .. } if bytes.has_known_format() => body,
            // The process may have been killed in the middle of the first append.
            Frame::End if bytes.skip_damage(HEADER_BYTES).is_none() => return Self::Empty,
            Frame::Whole { .. } | Frame::Torn | Frame::End => return Self::Unreadable,
        };
        match Record::decode(body) {
            Some(Record::Definition(Definition::Origin(origin))) => Self::Origin(origin),
            _ => Self::Unreadable,
        }
    }
}

/// Returns a new name, which no other journal has.
fn new_directory_name() -> String {
    #[cfg(test)]
    if let Some(name) = crate::determinism::random_name() {
        return name;
    }
    uuid::Uuid::new_v4().simple().to_string()
}

/// Returns true if the directory has a name as [`Directory::create`] gives it.
fn has_generated_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.len() == 32 && uuid::Uuid::try_parse(name).is_ok())
}

/// Warns, once per process, of a journal of this user that others can write to, and that is therefore not
/// read.
fn warn_exposed(path: &Path, error: &io::Error) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if user_files::is_exposed(path) && !WARNED.swap(true, Ordering::Relaxed) {
        warn_user(format_args!(
            "a journal is not shipped, because other users can write to it. If nobody has changed it, remove that \
             permission (chmod -R go-w): {error}"
        ));
    }
}
