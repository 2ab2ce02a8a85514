//! Creation of segment files.
//!
//! Invariants: the blocks of a mapped file are reserved, so that a write to the mapping cannot fail for lack
//! of space (a SIGBUS). Where reserved blocks do not prevent that, a file is written with system calls
//! instead (see [`mmap_safety`](super::mmap_safety)). A file whose creation fails is removed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::segment::Segment;
use crate::journal::segment::append::{Appender, WrittenAppender};
use crate::journal::segment::mapped::{MappedAppender, Region};
use crate::journal::user_files;

/// Creates a segment of `len` bytes at `path`. Its file is mapped, or written with system calls where it
/// cannot or must not be mapped.
pub(crate) fn create_segment(
    path: PathBuf,
    len: usize,
    is_mappable: bool,
) -> io::Result<(Segment, Appender)> {
    let made = if !is_mappable {
        new_file(&path, len as u64).and_then(|file| WrittenAppender::new(file, len))
    } else {
        match map_new_file(&path, len) {
            Ok((region, appender)) => {
                region.prefault();
                let segment = Segment::new(Some(path), Some(region), len);
                return Ok((segment, Appender::Mapped(appender)));
            }
            Err(error) if cannot_map(&error) => {
                let _ = fs::remove_file(&path);
                new_file(&path, len as u64).and_then(|file| WrittenAppender::new(file, len))
            }
            Err(error) => Err(error),
        }
    };
    match made {
        Ok(appender) => Ok((
            Segment::new(Some(path), None, len),
            Appender::Written(appender),
        )),
        Err(error) => {
            let _ = fs::remove_file(&path);
            Err(error)
        }
    }
}

fn map_new_file(path: &Path, len: usize) -> io::Result<(Arc<Region>, MappedAppender)> {
    let file = allocate_file(path, len as u64)?;
    Region::create_in_file(&file, len)
}

/// Returns true if the error means that the file system cannot map or reserve, or that address space is
/// missing; false for a lack of disk space.
fn cannot_map(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::OPNOTSUPP
                | Errno::NOSYS
                | Errno::INVAL
                | Errno::NODEV
                | Errno::NOMEM
                | Errno::AGAIN
        )
    ) || error.kind() == io::ErrorKind::Unsupported
}

/// Creates an empty file of this user alone that is to take up to `bytes`.
pub(in crate::journal) fn new_file(path: &Path, bytes: u64) -> io::Result<File> {
    check_file_size_limit(bytes)?;
    user_files::create_file(path)
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Sets the first `bytes` of a file to zero, which also brings its pages into memory. A write does that for
/// stretches of pages, where a fault does it for one page, and takes a third of the time.
fn write_zeros(file: &File, bytes: u64) -> io::Result<()> {
    let mut at = 0;
    while at < bytes {
        let len = ZEROS
            .len()
            .min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
        file.write_all_at(&ZEROS[..len], at)?;
        at += len as u64;
    }
    Ok(())
}

/// Creates a file of `bytes` zeros whose blocks are reserved.
pub(crate) fn allocate_file(path: &Path, bytes: u64) -> io::Result<File> {
    let file = new_file(path, bytes)?;
    #[cfg(target_os = "linux")]
    let reserved = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
        .map_err(io::Error::from);
    #[cfg(not(target_os = "linux"))]
    let reserved: io::Result<()> = Err(io::ErrorKind::Unsupported.into());
    if let Err(error) = reserved.and_then(|()| write_zeros(&file, bytes)) {
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(file)
}

/// Checks that this process may have files of `bytes`. Writing beyond its limit (`ulimit -f`) would end the
/// process.
pub(crate) fn check_file_size_limit(bytes: u64) -> io::Result<()> {
    use rustix::process::{Resource, getrlimit};
    match getrlimit(Resource::Fsize).current {
        Some(limit) if bytes > limit => Err(io::ErrorKind::FileTooLarge.into()),
        _ => Ok(()),
    }
}
