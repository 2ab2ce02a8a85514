//! [`JournalDirectory`]: the state of the directory in which journals lie, for a person who looks for a fault.
//!
//! Invariant: nothing is created, changed or locked.

use std::path::PathBuf;

use crate::journal::free_space;
use crate::journal::segment::mmap_safety;
use crate::journal::user_files::JournalLocation;

/// Directory in which values wait until they are delivered. See
/// [`Config::journal_directory`](crate::Config::journal_directory) for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalDirectory {
    /// Path of the directory.
    pub path: PathBuf,
    /// True if the directory exists. One that is missing is created with the first run.
    pub exists: bool,
    /// Reason why the directory cannot be used; `None` if it can.
    pub problem: Option<String>,
    /// Directory that is used in place of one that cannot be: `None` if none is needed, or if none can be used
    /// and values are kept in memory.
    pub fallback: Option<PathBuf>,
    /// Free bytes on the disk, for this user; `None` if the file system does not report them.
    pub free_bytes: Option<u64>,
    /// True if files are mapped into memory, where logging a metric makes no system call. False on network file
    /// systems, and on those that write a changed block elsewhere, such as btrfs. `None` if the directory cannot
    /// be used.
    pub is_mapped: Option<bool>,
}

impl JournalDirectory {
    /// Checks a location, and the one that is used in its place if it cannot be used.
    pub(crate) fn check(location: &JournalLocation, fallback: &JournalLocation) -> Self {
        let path = location.path().to_owned();
        match location.check() {
            Ok(existing) => {
                let disk = free_space::query_bytes(existing).ok();
                Self {
                    exists: existing == path,
                    problem: None,
                    fallback: None,
                    free_bytes: disk.filter(|(total, _)| *total > 0).map(|(_, free)| free),
                    is_mapped: Some(mmap_safety::is_mappable(existing)),
                    path,
                }
            }
            Err(error) => Self {
                exists: path.exists(),
                problem: Some(error.to_string()),
                fallback: Some(fallback.path().to_owned())
                    .filter(|other| *other != path && fallback.check().is_ok()),
                free_bytes: None,
                is_mapped: None,
                path,
            },
        }
    }
}
