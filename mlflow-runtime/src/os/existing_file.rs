//! Files below a directory that exist: opening and removing without symbolic links.
//!
//! # Invariants
//!
//! 1. Nothing outside of the directory is opened or removed. Each folder on the way is opened by the descriptor of the one
//!    above it, and none that is a symbolic link, so that it makes no difference if somebody exchanges folders meanwhile.
//! 2. Opening never waits: a pipe that nobody writes to is opened as it is, and refused, because it is no file.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::retry_on_intr;

use super::relative_path;

/// Opens the regular file `path` below `root` to read it.
///
/// # Errors
/// Fails with [`InvalidInput`](io::ErrorKind::InvalidInput) if `path` is no relative path of a file or what is there is no regular
/// file, with [`IsADirectory`](io::ErrorKind::IsADirectory) if it is a folder, and as the operating system says if a part of `path` is a
/// symbolic link.
pub(crate) fn open_below(root: &Path, path: &Path) -> io::Result<File> {
    let (folder, name) = open_parent(root, path)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = retry_on_intr(|| openat(&folder, name, flags, Mode::empty()))?;
    let file = File::from(opened);
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok(file)
    } else if metadata.is_dir() {
        Err(io::ErrorKind::IsADirectory.into())
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Removes the file `path` below `root`. A symbolic link in its place is removed, and its target stays.
///
/// # Errors
/// Those of [`open_below`], except that the kind of the file does not matter unless it is a folder.
pub(crate) fn remove_below(root: &Path, path: &Path) -> io::Result<()> {
    let (folder, name) = open_parent(root, path)?;
    Ok(unlinkat(&folder, name, AtFlags::empty())?)
}

/// Opens the folder of `path` below `root`, and returns it with the name of the file.
fn open_parent<'p>(root: &Path, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
    let (parents, name) = relative_path::split(path)?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = openat(CWD, root, flags, Mode::empty())?;
    for parent in parents {
        let flags = flags | OFlags::NOFOLLOW;
        folder = retry_on_intr(|| openat(&folder, parent, flags, Mode::empty()))?;
    }
    Ok((folder, name))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_file_below_the_root_is_opened_or_removed() {
        let folder = std::env::temp_dir().join(format!("mlflow-existing-{}", uuid::Uuid::new_v4()));
        let (root, outside) = (folder.join("root"), folder.join("outside"));
        fs::create_dir_all(root.join("a")).expect("writable");
        fs::create_dir(&outside).expect("writable");
        for file in [root.join("a/file"), outside.join("file")] {
            fs::write(file, "text").expect("writable");
        }
        symlink(&outside, root.join("link")).expect("a link");
        symlink("a/file", root.join("inner")).expect("a link");
        let made = Command::new("mkfifo").arg(root.join("pipe")).status();
        assert!(made.expect("mkfifo").success());
        let mut text = String::new();
        let mut file = open_below(&root, Path::new("a/file")).expect("a file");
        file.read_to_string(&mut text).expect("readable");
        assert_eq!(text, "text");
        for path in [
            "link/file",
            "inner",
            "pipe",
            "a",
            "none",
            "",
            "/a/file",
            "../outside/file",
            "a/../a/file",
        ] {
            assert!(open_below(&root, Path::new(path)).is_err(), "{path}");
        }
        for path in ["link/file", "a", "none", "", "../outside/file"] {
            assert!(remove_below(&root, Path::new(path)).is_err(), "{path}");
        }
        remove_below(&root, Path::new("inner")).expect("removed");
        remove_below(&root, Path::new("a/file")).expect("removed");
        assert!(!root.join("a/file").exists() && outside.join("file").exists());
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
