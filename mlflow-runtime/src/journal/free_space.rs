//! Reserve of free disk space, which copies of artifacts leave to the program.
//!
//! Invariant: a copy never fills a disk, because the program's own files, above all its checkpoints, have to
//! find space. So 5 % of the disk stay free, 1 GiB at most: on a small disk a file of the program is small,
//! too, and on a large one more than a few gigabytes would be a waste.

use std::fmt;
use std::io;
use std::path::Path;

/// Greatest number of bytes that stay free.
const MAX_RESERVED_BYTES: u64 = 1 << 30;

/// Lack of disk space for a copy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    free_bytes: u64,
    reserved_bytes: u64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            free_bytes,
            reserved_bytes: kept_bytes,
        } = self;
        write!(
            formatter,
            "{free_bytes} bytes of disk space are free, of which {kept_bytes} are reserved for the program's own files"
        )
    }
}

/// Checks that the disk below `directory` has space for another `bytes` beside the reserve.
pub(super) fn check_available(directory: &Path, bytes: u64) -> io::Result<Result<(), Shortage>> {
    let (total_bytes, free_bytes) = query_bytes(directory)?;
    Ok(check_reserve(total_bytes, free_bytes, bytes))
}

/// Returns the size of the disk below `directory`, and the number of free bytes on it. Both are 0 on a file
/// system that does not count.
pub(super) fn query_bytes(directory: &Path) -> io::Result<(u64, u64)> {
    let disk = rustix::fs::statvfs(directory)?;
    let total_bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok((total_bytes, free_bytes))
}

fn check_reserve(total_bytes: u64, free_bytes: u64, bytes: u64) -> Result<(), Shortage> {
    let kept_bytes = (total_bytes / 20).min(MAX_RESERVED_BYTES);
    // Some file systems do not count their blocks.
    if total_bytes == 0 || bytes.saturating_add(kept_bytes) <= free_bytes {
        return Ok(());
    }
    Err(Shortage {
        free_bytes,
        reserved_bytes: kept_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_disk_stays_free() {
        let kept = |total, free, bytes| {
            check_reserve(total, free, bytes)
                .err()
                .map(|s| s.reserved_bytes)
        };
        assert_eq!(kept(1000, 1000, 950), None);
        assert_eq!(kept(1000, 1000, 951), Some(50));
        assert_eq!(kept(1000, 40, 0), Some(50), "others have filled it");
        let large = 1 << 40;
        assert_eq!(kept(large, large, large - (1 << 30)), None);
        assert_eq!(kept(large, large, large - (1 << 30) + 1), Some(1 << 30));
        assert_eq!(kept(1000, 1000, u64::MAX), Some(50));
        assert_eq!(kept(0, 0, 1), None, "a file system that does not count");
    }
}
