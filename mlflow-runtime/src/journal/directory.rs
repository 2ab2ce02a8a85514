//! Where journals lie on disk.
//!
//! ```text
//! <journal>/                      0700: $MLFLOW_JOURNAL_DIR, else the user's state directory
//!   <process>/                    one per process and destination; the name is a uuid
//!     lock                        locked (flock) while the process lives
//!     <number>.segment            0600
//!     <number>.spare              a segment to be: holds nothing yet, and is not read
//!     <uuid>.artifact             bytes of artifacts that are not text
//!     last.steps                  the steps that were found for returned numbers
//!     <uuid>.console              what a run says in words, as it says it
//!   rejected-<uid>/<process>/     what the store has refused for good, in the same form
//!   damaged-<uid>/                0700: files that could not be read whole, see [`quarantine`](crate::journal::quarantine)
//! ```
//!
//! Invariant: whoever holds a directory's lock is the only one who ships or deletes what is in it.
//!
//! # Trust
//!
//! What lies in a journal is uploaded with this user's credentials, so every file in it is [this
//! user's](crate::journal::user_files), and so is the directory of its process; others can write to neither. What is
//! not so is left alone. As a process makes its directory itself, with a name that nobody can guess, a
//! `<journal>` that a group shares (`MLFLOW_JOURNAL_DIR`) needs no more than that: each user ships
//! the journals of its own in it. Whoever can rename entries of a shared directory can keep a journal
//! from being found; the sticky bit (`chmod +t`) prevents that.
//!
//! A `<journal>` that nobody has named has a name that anybody can guess: `mlflow-runtime/journal` in the
//! user's state directory, `mlflow-runtime-<uid>/journal` below the temporary one. There `mlflow-runtime` and
//! `journal` have to be the user's or root's, too, and writable by nobody else; else they are not used.
//!
//! The user is the effective one. Root of a container is root, also where that is an ordinary user
//! outside. A file server that takes root for nobody (NFS with `root_squash`) gives what root makes to
//! another user, so that it cannot be told from what others put there: it is not used, and a warning
//! says so. Nor is a file system on which everything is writable by everybody.

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

const LOCK_FILE: &str = "lock";
const SEGMENT_EXTENSION: &str = "segment";
pub(super) const SPARE_EXTENSION: &str = "spare";

/// A locked journal directory: this process's own, or one that a dead process left.
pub(crate) struct Directory {
    path: PathBuf,
    /// Whether files in it can be mapped without danger.
    is_mappable: bool,
    /// Held for its lock.
    _lock: CloseOnForkFile,
}

impl Directory {
    /// Makes and locks a new directory below `root`.
    pub(super) fn create(root: &JournalLocation) -> io::Result<Self> {
        root.create()?;
        // A sweep may take a directory away between its creation and its locking.
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

    /// Locks `path`; `None` if its owner lives.
    fn lock(path: &Path, create: bool) -> io::Result<Option<Self>> {
        let lock = path.join(LOCK_FILE);
        let lock = if create {
            user_files::open_or_create(&lock)?
        } else {
            user_files::open_to_write(&lock)?
        };
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self {
                is_mappable: mmap_safety::is_mappable(path),
                path: path.to_owned(),
                _lock: CloseOnForkFile::new(lock),
            })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// What dead processes left below `root` for `destination`.
    pub(crate) fn find_orphaned(root: &Path, destination: &str) -> OrphanedJournals {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        if cfg!(test) {
            // The order in which a file system lists them is no test's to know.
            paths.sort();
        }
        OrphanedJournals {
            paths,
            destination: destination.to_owned(),
        }
    }

    /// Locks what a dead process left.
    fn claim(path: &Path) -> Option<Self> {
        Self::lock(path, false).unwrap_or_else(|error| {
            // Its process died before it made the lock, or after it removed it. Somebody else's
            // empty directory has another name.
            if error.kind() == io::ErrorKind::NotFound && has_generated_name(path) {
                let _ = fs::remove_dir(path);
            }
            warn_exposed(path, &error);
            None
        })
    }

    /// Whether its values go to `destination`. One that holds nothing belongs to whoever asks, who
    /// will remove it; one that cannot be read (a newer format) belongs to nobody.
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

    /// The segments in it, oldest first; all of them, or an error: what is not seen here would be
    /// taken for delivered.
    pub(crate) fn segments(&self) -> io::Result<Vec<Segment>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == SEGMENT_EXTENSION)
            {
                files.push(path);
            }
        }
        files.sort();
        files.into_iter().map(Segment::open_orphaned).collect()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory with files that are mapped, or written to.
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

    /// Has the device keep which files there are.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        match self.path.parent() {
            Some(root) => File::open(root)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Where a spare segment lies until it is taken.
    pub(crate) fn spare_path(&self, number: u64) -> PathBuf {
        self.segment_path(number).with_extension(SPARE_EXTENSION)
    }

    pub(crate) fn segment_path(&self, number: u64) -> PathBuf {
        segment_path(&self.path, number)
    }

    /// Deletes it with all it holds. The lock file goes last: until then nobody else comes in.
    pub(crate) fn remove(&self) {
        // Without its lock nobody could come in again: it stays while anything else may be there.
        #[cfg(test)]
        crate::seeded::before_change();
        if user_files::remove_files_except(&self.path, LOCK_FILE).is_err() {
            return;
        }
        #[cfg(test)]
        crate::seeded::before_change();
        let _ = fs::remove_file(self.path.join(LOCK_FILE));
        #[cfg(test)]
        crate::seeded::before_change();
        let _ = fs::remove_dir(&self.path);
    }
}

/// Journals of dead processes. Each is locked when its turn comes: a thousand of them must not take
/// a thousand descriptors.
pub(crate) struct OrphanedJournals {
    paths: Vec<PathBuf>,
    destination: String,
}

impl OrphanedJournals {
    /// Lets one of them go, to be claimed later.
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

/// Where segment `number` of the journal in `directory` lies.
pub(super) fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:010}.{SEGMENT_EXTENSION}"))
}

/// The folder beside the journals for what stores have refused for good.
const REJECTED_DIRECTORY: &str = "rejected";

/// What a store has refused of one journal: a directory like that of a dead process, which nobody
/// ships until it is [put back](RejectedFolder::put_back).
pub(crate) struct RejectedFolder {
    path: PathBuf,
}

impl RejectedFolder {
    /// Makes the one of the journal in `directory`, if it is not there.
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

    /// Returns where those of all journals below `root` lie.
    pub(crate) fn directory_below(root: &Path) -> PathBuf {
        root.join(rejected_directory_name())
    }

    /// Puts what was refused for `destination` back among the journals below `root`, to be shipped as
    /// what a dead process left. Returns how many directories.
    pub(crate) fn put_back(root: &Path, destination: &str) -> usize {
        let all = Directory::find_orphaned(&Self::directory_below(root), destination);
        all.filter(|directory| {
            // A name of its own: the process that it is of may be alive.
            let name = uuid::Uuid::new_v4().simple().to_string();
            fs::rename(directory.path(), root.join(name)).is_ok()
        })
        .count()
    }
}

/// The name of the folder: others may have journals below the same root.
fn rejected_directory_name() -> String {
    format!(
        "{REJECTED_DIRECTORY}-{}",
        rustix::process::geteuid().as_raw()
    )
}

/// What the files of artifacts end in, and those of consoles.
pub(crate) const ARTIFACT_EXTENSION: &str = "artifact";
pub(crate) const CONSOLE_EXTENSION: &str = "console";

/// Where the artifact of this name lies. `None` for a name that leads elsewhere: what lies there is
/// not ours to send and to delete.
pub(crate) fn artifact_path(directory: &Path, name: &str, extension: &str) -> Option<PathBuf> {
    let plain = Path::new(name);
    let is_artifact = plain.extension().is_some_and(|end| end == extension);
    (is_artifact && plain.file_name() == Some(OsStr::new(name))).then(|| directory.join(name))
}

/// What a segment says about whom it belongs to.
enum SegmentOwner {
    Origin(Origin),
    /// Its process died before the first record.
    Empty,
    Unreadable,
}

impl SegmentOwner {
    fn read(segment: &Segment) -> Self {
        let Ok(bytes) = segment.read() else {
            return Self::Unreadable;
        };
        let body = match bytes.frame(HEADER_BYTES) {
            Frame::NotAResult { body, .. } if bytes.has_known_format() => body,
            // Its process may have been killed in the middle of the first append.
            Frame::End if bytes.skip_damage(HEADER_BYTES).is_none() => return Self::Empty,
            Frame::NotAResult { .. } | Frame::Torn | Frame::End => return Self::Unreadable,
        };
        match Record::decode(body) {
            Some(Record::Definition(Definition::Origin(origin))) => Self::Origin(origin),
            _ => Self::Unreadable,
        }
    }
}

/// Returns a name that no other journal has.
fn new_directory_name() -> String {
    #[cfg(test)]
    if let Some(name) = crate::seeded::random_name() {
        return name;
    }
    uuid::Uuid::new_v4().simple().to_string()
}

/// As [`Directory::create`] gives it.
fn has_generated_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.len() == 32 && uuid::Uuid::try_parse(name).is_ok())
}

/// Warns, once, of a journal of this user that others can write to: it is not read.
fn warn_exposed(path: &Path, error: &io::Error) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if user_files::is_exposed(path) && !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            target: "mlflow", %error,
            "a journal is not shipped, as others could have changed it. Take that away (chmod -R go-w), if \
             nobody has"
        );
    }
}
