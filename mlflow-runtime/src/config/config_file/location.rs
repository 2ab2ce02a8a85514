//! [`Location`]: where the configuration file of a project is.
//!
//! Invariant: of the directories above the working directory, the nearest one with the file decides. A file that another user
//! can write is not passed over in favour of a farther one: the user is told of the file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Name of the file.
const FILE_NAME: &str = "mlflow.toml";

/// Place of a configuration file, and the reason to use that file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// The user has named the file.
    Named(PathBuf),
    /// The file was found in the working directory or above it.
    Found(PathBuf),
    /// The file was found, and is not to be used.
    Untrusted { path: PathBuf, reason: &'static str },
}

impl Location {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Found(path) | Self::Untrusted { path, .. } => path,
        }
    }
}

/// Returns the nearest configuration file in `directory` or above it.
pub(super) fn find_above(directory: &Path) -> Option<Location> {
    let own_id = rustix::process::geteuid().as_raw();
    directory.ancestors().find_map(|directory| {
        let path = directory.join(FILE_NAME);
        let metadata = path.metadata().ok().filter(Metadata::is_file)?;
        Some(match distrust(metadata.uid(), metadata.mode(), own_id) {
            Some(reason) => Location::Untrusted { path, reason },
            None => Location::Found(path),
        })
    })
}

/// Returns the reason not to trust a file, if there is one.
fn distrust(owner_id: u32, mode: u32, own_id: u32) -> Option<&'static str> {
    const ROOT_ID: u32 = 0;
    const WRITABLE_BY_OTHERS: u32 = 0o002;
    if owner_id != own_id && owner_id != ROOT_ID {
        return Some("it belongs to another user");
    }
    let is_writable = mode & WRITABLE_BY_OTHERS != 0;
    is_writable.then_some("every user can write it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_user_is_not_trusted() {
        assert_eq!(distrust(7, 0o100_644, 7), None);
        assert_eq!(distrust(0, 0o100_644, 7), None, "root's");
        assert_eq!(distrust(7, 0o100_664, 7), None, "a group of one's own");
        assert!(distrust(8, 0o100_644, 7).is_some());
        assert!(distrust(8, 0o100_644, 0).is_some(), "to root, neither");
        assert!(distrust(7, 0o100_666, 7).is_some());
    }
}
