//! Check of a file system for files that can be mapped safely.
//!
//! Invariant: a file is mapped only where a write to its reserved blocks cannot fail. Such a write can fail
//! where the file is on another host, where the file system writes changed blocks to another location (which
//! need not be free), and where a program serves the files. There files are written with system calls, which
//! return an error where a mapping would end the process (SIGBUS).
//!
//! An overlay, as in most containers, does not reveal the file system below, but it passes on the number of
//! inodes of that file system: btrfs reports none. Other file systems below an overlay are mapped while far
//! more space is free than a journal's segments take.

// Linux alone asks the rules. All platforms compile and test the rules.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use std::path::Path;

/// Returns true if files below `path` can be mapped safely.
#[cfg(target_os = "linux")]
pub(in crate::journal) fn is_mappable(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| {
        let block_bytes = u64::try_from(found.f_bsize).unwrap_or(0);
        // The type's width depends on the architecture; the numbers have 32 bits.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let kind = found.f_type as u32;
        is_safe_to_map(
            kind,
            found.f_files,
            found.f_bavail.saturating_mul(block_bytes),
        )
    })
}

/// Returns false. The library reserves blocks on Linux alone, and on Apple's systems `msync` leaves the bytes in
/// the cache of the device, where a loss of power takes them.
#[cfg(not(target_os = "linux"))]
pub(in crate::journal) fn is_mappable(_path: &Path) -> bool {
    false
}

// From the kernel's `magic.h` and the sources of the file systems that are not in it.

/// File systems on another host, or served by a program that may have ended.
const REMOTE_FILE_SYSTEMS: [u32; 12] = [
    0x6969,      // NFS
    0x517b,      // SMB
    0xfe53_4d42, // SMB2
    0xff53_4d42, // CIFS
    0x0102_1997, // 9P
    0x6573_5546, // FUSE
    0x00c3_6400, // Ceph
    0x5346_414f, // AFS
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
    0x1983_0326, // BeeGFS
    0x0116_1970, // GFS2
];

/// File systems that write changed blocks to another location.
const COPY_ON_WRITE_FILE_SYSTEMS: [u32; 5] = [
    0x9123_683e, // btrfs
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0xf2f5_2010, // F2FS
    0x3434,      // NILFS2
];

const OVERLAY: u32 = 0x794c_7630;
/// Free space that an overlay has to have.
const MIN_OVERLAY_FREE_BYTES: u64 = 4 << 30;

fn is_safe_to_map(kind: u32, inodes: u64, free_bytes: u64) -> bool {
    match kind {
        OVERLAY => inodes > 0 && free_bytes >= MIN_OVERLAY_FREE_BYTES,
        _ => !REMOTE_FILE_SYSTEMS.contains(&kind) && !COPY_ON_WRITE_FILE_SYSTEMS.contains(&kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXT4: u32 = 0xef53;

    #[test]
    fn a_file_is_mapped_where_that_cannot_end_the_process() {
        assert!(is_safe_to_map(EXT4, 1000, 0));
        assert!(!is_safe_to_map(0x6969, 1000, u64::MAX), "NFS");
        assert!(!is_safe_to_map(0x9123_683e, 0, u64::MAX), "btrfs");
        assert!(
            is_safe_to_map(OVERLAY, 1000, MIN_OVERLAY_FREE_BYTES),
            "over ext4, say"
        );
        assert!(!is_safe_to_map(OVERLAY, 0, u64::MAX), "over btrfs");
        assert!(
            !is_safe_to_map(OVERLAY, 1000, MIN_OVERLAY_FREE_BYTES - 1),
            "nearly full"
        );
    }
}
