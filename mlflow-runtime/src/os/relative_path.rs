//! Parts of the path of a file below a directory.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path};

/// Returns the folders of the path, and the name of its file.
///
/// # Errors
/// Fails with [`InvalidInput`](io::ErrorKind::InvalidInput) if the path is empty, absolute, or has a part `.` or `..`.
pub(super) fn split(path: &Path) -> io::Result<(Vec<&OsStr>, &OsStr)> {
    let mut folders = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => folders.push(name),
            Component::Prefix(_)
            | Component::RootDir
            | Component::CurDir
            | Component::ParentDir => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    let name = folders.pop().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((folders, name))
}
