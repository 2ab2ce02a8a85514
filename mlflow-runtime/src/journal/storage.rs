//! Storage of a journal's segments: files in the process's own directory, or memory.
//!
//! Invariants: a file is tried first. No lock is held while the disk works, because the end of the process
//! needs the directory, too. A directory that somebody has removed is created anew.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::journal::directory::Directory;
use crate::journal::segment::Segment;
use crate::journal::segment::allocate;
use crate::journal::segment::append::Appender;
use crate::journal::segment::preallocate::{PreallocatedSegment, PreallocatedSegments};
use crate::journal::user_files::JournalLocation;
use crate::journal::{LARGE_SEGMENT_BYTES, MEDIUM_SEGMENT_BYTES};
use crate::sync::lock;

pub(super) enum Storage {
    Disk(DiskStorage),
    Memory,
}

/// Root of the directories of journals, and this process's directory, while there is one.
pub(super) struct DiskStorage {
    root: JournalLocation,
    directory: Mutex<Option<Arc<Directory>>>,
}

impl DiskStorage {
    /// Creates a directory below `root`. Fails if `root` cannot be written.
    pub(super) fn below(root: JournalLocation) -> io::Result<Self> {
        let directory = Directory::create(&root)?;
        Ok(Self {
            root,
            directory: Mutex::new(Some(Arc::new(directory))),
        })
    }

    /// Creates a directory below `root` whose files are mapped if `mapped` is true, else written with system
    /// calls.
    #[cfg(test)]
    pub(super) fn with_mapping(root: JournalLocation, mapped: bool) -> io::Result<Self> {
        let directory = Directory::create(&root)?.with_mapping(mapped);
        Ok(Self {
            root,
            directory: Mutex::new(Some(Arc::new(directory))),
        })
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Returns the process's directory, if there is one.
    pub(super) fn current_directory(&self) -> Option<Arc<Directory>> {
        lock(&self.directory).clone()
    }

    fn directory_or_create(&self) -> io::Result<Arc<Directory>> {
        if let Some(directory) = self.current_directory() {
            return Ok(directory);
        }
        let made = Arc::new(Directory::create(&self.root)?);
        let kept = Arc::clone(lock(&self.directory).get_or_insert_with(|| Arc::clone(&made)));
        if !Arc::ptr_eq(&kept, &made) {
            // Another thread has created a directory first.
            made.remove();
        }
        Ok(kept)
    }

    /// Takes the directory away from the process, which then has none.
    pub(super) fn take_directory(&self) -> Option<Arc<Directory>> {
        lock(&self.directory).take()
    }

    /// Opens a new segment of `len` bytes, a spare one if that is possible. Requests the next spare one if
    /// `requests_next` is true and the thread will need it. `number` returns numbers that no other segment has.
    pub(super) fn open_segment(
        &self,
        len: usize,
        spares: &Arc<PreallocatedSegments>,
        requests_next: bool,
        number: impl Fn() -> u64,
    ) -> io::Result<(Segment, Appender)> {
        let directory = self.directory_or_create()?;
        match open_segment_in(&directory, len, spares, requests_next, &number) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget_directory(&directory);
                open_segment_in(
                    &*self.directory_or_create()?,
                    len,
                    spares,
                    requests_next,
                    &number,
                )
            }
            opened => opened,
        }
    }

    /// Creates an empty file for a segment of copied entries.
    pub(super) fn create_copy_file(
        &self,
        len: usize,
        number: impl Fn() -> u64,
    ) -> io::Result<(PathBuf, File)> {
        let directory = self.directory_or_create()?;
        let path = directory.segment_path(number());
        match allocate::new_file(&path, len as u64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget_directory(&directory);
                let path = self.directory_or_create()?.segment_path(number());
                Ok((path.clone(), allocate::new_file(&path, len as u64)?))
            }
            made => made.map(|file| (path, file)),
        }
    }

    /// Forgets the directory, which somebody has removed.
    fn forget_directory(&self, directory: &Arc<Directory>) {
        let mut slot = lock(&self.directory);
        if slot
            .as_ref()
            .is_some_and(|ours| Arc::ptr_eq(ours, directory))
        {
            *slot = None;
        }
    }
}

fn open_segment_in(
    directory: &Directory,
    len: usize,
    spares: &Arc<PreallocatedSegments>,
    requests_next: bool,
    number: &impl Fn() -> u64,
) -> io::Result<(Segment, Appender)> {
    let path = directory.segment_path(number());
    let (is_medium, is_large) = (
        len as u64 == MEDIUM_SEGMENT_BYTES,
        len as u64 == LARGE_SEGMENT_BYTES,
    );
    if (is_medium || is_large) && directory.is_mappable() {
        let spare = { is_large.then(|| spares.take(directory.path())) }.flatten();
        let spare = spare.filter(|spare| fs::rename(&spare.path, &path).is_ok());
        // The thread will need a large segment next.
        if requests_next {
            spares.request_segment(|| directory.spare_path(number()));
        }
        if let Some(PreallocatedSegment {
            region, appender, ..
        }) = spare
        {
            let segment = Segment::new(Some(path), Some(region), len);
            return Ok((segment, Appender::Mapped(appender)));
        }
    }
    allocate::create_segment(path, len, directory.is_mappable())
}
