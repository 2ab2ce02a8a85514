//! Spooled artifacts: copies that wait beside the segments, each in a file of its own.
//!
//! # Invariants
//!
//! 1. Copies do not count towards the journal's bound. They are bounded by the [free
//!    space](crate::journal::free_space) of the disk, so metrics find space however many copies wait.
//! 2. A copy is synced before the event that names it. The system may write the event to the device earlier;
//!    then the [`Fingerprint`] in the event reveals a copy that is not whole.
//! 3. No thread that logs waits for the device.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::journal::directory::ARTIFACT_EXTENSION;
use crate::journal::file_copy;
use crate::journal::free_space::{self, Shortage};
use crate::journal::record::Fingerprint;
use crate::journal::segment::allocate::check_file_size_limit;
use crate::journal::user_files;
use crate::sync::lock;

/// Greatest number of bytes that are read of a file without a length.
const MAX_UNSIZED_BYTES: u64 = 64 << 20;

/// Copies of one journal.
#[derive(Default)]
pub(super) struct Spool {
    /// Size, in bytes, of all copies that wait.
    bytes: AtomicU64,
    /// Copies that were not synced yet.
    unsynced: Mutex<Vec<PathBuf>>,
}

/// Copy that waits beside the segments.
pub(crate) struct SpooledArtifact {
    pub(crate) name: String,
    pub(crate) fingerprint: Fingerprint,
}

/// Reason why there is no copy.
pub(crate) enum CopyError {
    LowDiskSpace(Shortage),
    Io(io::Error),
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Spool {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Copies a file into `directory`.
    pub(super) fn copy(
        &self,
        directory: &Path,
        source: &File,
    ) -> Result<SpooledArtifact, CopyError> {
        let found = source.metadata()?;
        check_file_size_limit(found.len())?;
        if found.len() == 0 {
            // Files in `/proc` and `/sys` have a length of zero and contents all the same.
            let mut bytes = Vec::new();
            source.take(MAX_UNSIZED_BYTES).read_to_end(&mut bytes)?;
            return self.write(directory, &bytes);
        }
        self.create_copy(directory, |target| {
            if file_copy::reflink(source, target) {
                let length = target.metadata()?.len();
                return Ok(Fingerprint {
                    length,
                    crc32c: None,
                });
            }
            // Holes take no space.
            let bytes = found.len().min(found.blocks().saturating_mul(512));
            free_space::check_available(directory, bytes)?.map_err(CopyError::LowDiskSpace)?;
            let look = || match free_space::check_available(directory, 0)? {
                Ok(()) => Ok(()),
                Err(_) => Err(io::ErrorKind::StorageFull.into()),
            };
            match file_copy::copy_contents(source, target, found.len(), &look) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    // The space of the incomplete copy is free again.
                    target.set_len(0)?;
                    free_space::check_available(directory, bytes)?
                        .map_err(CopyError::LowDiskSpace)?;
                    Err(error.into())
                }
                copied => Ok(copied?),
            }
        })
    }

    /// Writes `bytes` to a file in `directory`.
    pub(super) fn write(
        &self,
        directory: &Path,
        bytes: &[u8],
    ) -> Result<SpooledArtifact, CopyError> {
        let length = bytes.len() as u64;
        check_file_size_limit(length)?;
        free_space::check_available(directory, length)?.map_err(CopyError::LowDiskSpace)?;
        self.create_copy(directory, |target| {
            Ok(file_copy::write_contents(bytes, target)?)
        })
    }

    fn create_copy(
        &self,
        directory: &Path,
        fill: impl FnOnce(&File) -> Result<Fingerprint, CopyError>,
    ) -> Result<SpooledArtifact, CopyError> {
        let name = format!("{}.{ARTIFACT_EXTENSION}", uuid::Uuid::new_v4().simple());
        let path = directory.join(&name);
        let filled = user_files::create_file(&path)
            .map_err(CopyError::Io)
            .and_then(|target| fill(&target));
        let fingerprint = filled.inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })?;
        self.bytes.fetch_add(fingerprint.length, Ordering::Relaxed);
        // Before the event is appended: a sync that includes the event includes the copy, too.
        lock(&self.unsynced).push(path);
        Ok(SpooledArtifact { name, fingerprint })
    }

    /// Returns the number of copies that were not synced yet.
    #[cfg(test)]
    pub(super) fn unsynced_count(&self) -> usize {
        lock(&self.unsynced).len()
    }

    /// Adds the size of a copy that was given a second name.
    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Subtracts the size of a copy that was removed.
    pub(super) fn subtract_bytes(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Syncs the copies made so far to the device.
    pub(super) fn sync(&self) -> io::Result<()> {
        let unsynced = std::mem::take(&mut *lock(&self.unsynced));
        let mut synced = Ok(());
        for path in unsynced {
            synced = synced.and(
                match user_files::open_to_read(&path).and_then(|file| file.sync_data()) {
                    // A copy that was delivered and deleted meanwhile needs no sync.
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        lock(&self.unsynced).push(path);
                        Err(error)
                    }
                    _ => Ok(()),
                },
            );
        }
        synced
    }
}

/// Returns a description of what is wrong with the copy at `path`: it does not match the fingerprint, or is
/// not this user's. `None` if nothing is wrong.
pub(crate) fn find_copy_fault(path: &Path, expected: Option<Fingerprint>) -> Option<String> {
    let looked = user_files::open_to_read(path).and_then(|file| {
        let Some(Fingerprint { length, crc32c }) = expected else {
            return Ok(None);
        };
        let found = file.metadata()?.len();
        if found != length {
            return Ok(Some(format!(
                "its copy in the journal's directory should have {length} bytes and has {found}; it was changed \
                 by a power failure or another program"
            )));
        }
        let is_other = match crc32c {
            Some(crc32c) => file_copy::checksum_file(&file)? != crc32c,
            None => false,
        };
        Ok(is_other.then(|| {
            format!(
                "its copy in the journal's directory has {length} bytes, as it should, but not those that were logged \
                 (checksum); they were lost, by a power failure or another program"
            )
        }))
    });
    looked.unwrap_or_else(|error| {
        let length = match expected {
            Some(Fingerprint { length, .. }) => format!(" of {length} bytes"),
            None => String::new(),
        };
        Some(format!(
            "its copy{length} in the journal's directory cannot be read: {error}"
        ))
    })
}
