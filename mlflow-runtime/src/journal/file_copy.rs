//! Copies of files, made on the calling thread.
//!
//! # Invariants
//!
//! 1. A copy does not depend on the original. It shares blocks where the file system copies them when either
//!    file is written to (a reflink). It is never a hard link, as the user may write to the same file again.
//! 2. A copy takes constant memory, and no more of the disk than the original: holes stay holes.
//! 3. While a copy is made, the free space is checked again and again, because other programs write, too.
//!
//! A file of up to [`MAX_CHECKSUMMED_BYTES`] is copied through the process, which computes its checksum on
//! the way. A larger file is copied by the kernel, which is as fast as `cp`; only its length is recorded.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use crate::journal::record::Fingerprint;

/// Length of the largest file whose checksum is computed.
const MAX_CHECKSUMMED_BYTES: u64 = 64 << 20;
/// Number of bytes that are read at a time.
const BUFFER_BYTES: u64 = 128 << 10;
/// Number of bytes that the kernel copies at a time. The free space is checked after each time.
const KERNEL_COPY_BYTES: u64 = 64 << 20;

/// Makes `target`, an empty file, share the blocks of `source`. Returns false if the file system cannot do
/// that.
pub(super) fn reflink(source: &File, target: &File) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::fs::ioctl_ficlone(target, source).is_ok();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (source, target);
        false
    }
}

/// Copies the first `length` bytes of `source` to `target`, an empty file. `look` checks the free space, and
/// fails where the copy would use up the reserve.
pub(super) fn copy_contents(
    source: &File,
    target: &File,
    length: u64,
    look: &dyn Fn() -> io::Result<()>,
) -> io::Result<Fingerprint> {
    let mut buffer = Vec::new();
    let mut crc32c = (length <= MAX_CHECKSUMMED_BYTES).then_some(0);
    let (mut end, mut looked) = (0, 0);
    while let Some(data) = next_data(source, end, length) {
        if data.start > end {
            // The zeros of a hole are not read, so there is no checksum.
            crc32c = None;
        }
        end = data.start;
        while end < data.end {
            let left = data.end - end;
            let copied = match &mut crc32c {
                Some(crc32c) => copy_with_checksum(source, target, end, left, &mut buffer, crc32c)?,
                None => copy_in_kernel(source, target, end, left, &mut buffer)?,
            };
            if copied == 0 {
                // Another thread or program has shortened the original meanwhile.
                return Ok(Fingerprint {
                    length: end,
                    crc32c,
                });
            }
            end += copied;
            if end - looked >= KERNEL_COPY_BYTES {
                looked = end;
                look()?;
            }
        }
    }
    if end < length {
        crc32c = None;
        target.set_len(length)?;
    }
    Ok(Fingerprint { length, crc32c })
}

/// Writes `bytes` to `target`, an empty file.
pub(super) fn write_contents(bytes: &[u8], target: &File) -> io::Result<Fingerprint> {
    target.write_all_at(bytes, 0)?;
    Ok(Fingerprint {
        length: bytes.len() as u64,
        crc32c: Some(crc32c::crc32c(bytes)),
    })
}

/// Returns the checksum of a whole file.
pub(super) fn checksum_file(file: &File) -> io::Result<u32> {
    let mut buffer = vec![0; usize::try_from(BUFFER_BYTES).map_err(io::Error::other)?];
    let (mut crc32c, mut end) = (0, 0);
    loop {
        let read = file.read_at(&mut buffer, end)?;
        if read == 0 {
            return Ok(crc32c);
        }
        crc32c = crc32c::crc32c_append(crc32c, &buffer[..read]);
        end += read as u64;
    }
}

fn copy_with_checksum(
    source: &File,
    target: &File,
    start: u64,
    left: u64,
    buffer: &mut Vec<u8>,
    crc32c: &mut u32,
) -> io::Result<u64> {
    let copied = read_and_write(source, target, start, left, buffer)?;
    *crc32c = crc32c::crc32c_append(*crc32c, &buffer[..copied]);
    Ok(copied as u64)
}

/// Copies some bytes in the kernel, [`KERNEL_COPY_BYTES`] at most.
fn copy_in_kernel(
    source: &File,
    target: &File,
    start: u64,
    left: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<u64> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::Errno;
        let length = usize::try_from(left.min(KERNEL_COPY_BYTES)).map_err(io::Error::other)?;
        let (mut from, mut to) = (start, start);
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), length) {
            Ok(copied) => return Ok(copied as u64),
            // The files are on two file systems, or on one that leaves copying to the program.
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(read_and_write(source, target, start, left, buffer)? as u64)
}

fn read_and_write(
    source: &File,
    target: &File,
    start: u64,
    left: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<usize> {
    let length = usize::try_from(left.min(BUFFER_BYTES)).map_err(io::Error::other)?;
    buffer.resize(length, 0);
    let read = loop {
        match source.read_at(buffer, start) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    target.write_all_at(&buffer[..read], start)?;
    Ok(read)
}

/// Returns the next range of bytes from `start` on that is not a hole; `None` if only a hole is left, or no
/// bytes.
fn next_data(file: &File, start: u64, length: u64) -> Option<Range<u64>> {
    if start >= length {
        return None;
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{SeekFrom, seek};
        use rustix::io::Errno;
        match seek(file, SeekFrom::Data(start)) {
            Ok(data) if data >= length => return None,
            Ok(data) => {
                let hole = seek(file, SeekFrom::Hole(data)).unwrap_or(length);
                return Some(data..hole.min(length));
            }
            Err(Errno::NXIO) => return None,
            // The file system does not report holes.
            Err(_) => {}
        }
    }
    let _ = file;
    Some(start..length)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir()
                .join(format!("mlflow-runtime-copying-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir(&path).expect("the temporary folder can be written");
            Self(path)
        }

        fn file(&self, name: &str) -> File {
            let mut options = File::options();
            let options = options.read(true).write(true).create_new(true);
            options.open(self.0.join(name)).expect("writable")
        }

        /// Copies, and checks that the copy is the original.
        fn copied(&self, source: &File, name: &str) -> (Fingerprint, File) {
            let target = self.file(name);
            let length = source.metadata().expect("open").len();
            let made = copy_contents(source, &target, length, &|| Ok(())).expect("copied");
            assert_eq!(made.length, length);
            assert_eq!(target.metadata().expect("open").len(), length);
            assert_eq!(checksum_file(source).ok(), checksum_file(&target).ok());
            (made, target)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_copy_is_the_original_byte_by_byte_and_its_holes_take_no_room() {
        let folder = Folder::new();
        let dense = folder.file("dense");
        let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        dense.write_all_at(&bytes, 0).expect("written");
        let (made, copy) = folder.copied(&dense, "dense copy");
        assert_eq!(made.crc32c, checksum_file(&copy).ok());
        let (made, _) = folder.copied(&folder.file("empty"), "empty copy");
        assert_eq!(made.crc32c, Some(0));

        let sparse = folder.file("sparse");
        for at in [1 << 20, 9 << 20] {
            sparse.write_all_at(&bytes, at).expect("written");
        }
        sparse.set_len(20 << 20).expect("written");
        let (made, copy) = folder.copied(&sparse, "sparse copy");
        if made.crc32c.is_none() {
            let blocks = copy.metadata().expect("open").blocks();
            assert!(blocks * 512 < 4 << 20, "{blocks} blocks");
        }
    }

    #[test]
    fn a_large_copy_looks_at_the_free_space_on_the_way() {
        let folder = Folder::new();
        let large = folder.file("large");
        large.set_len(MAX_CHECKSUMMED_BYTES * 3).expect("written");
        for at in (0..MAX_CHECKSUMMED_BYTES * 3).step_by(1 << 20) {
            large.write_all_at(&[1; 4096], at).expect("written");
        }
        let (made, _) = folder.copied(&large, "large copy");
        assert_eq!(made.crc32c, None);
        let target = folder.file("second copy");
        let scarce = || Err(io::ErrorKind::StorageFull.into());
        let error = copy_contents(&large, &target, MAX_CHECKSUMMED_BYTES * 3, &scarce)
            .expect_err("no room");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
