//! Files and directories that belong to this user.
//!
//! # Invariants
//!
//! 1. A file of a journal is opened only where the file and its directory belong to this user and nobody else
//!    can write to either, because a journal decides what is uploaded with this user's credentials.
//! 2. Only a regular file is opened. A symbolic link in place of the file, or of its directory, is not
//!    followed, and a FIFO does not block the caller.
//! 3. The directory is checked through the descriptor by which the file is opened, so that nobody can
//!    exchange the directory between check and open.
//!
//! The user is the effective user. A file of root is as foreign to another user as any other file, and a
//! user's file is foreign to root: files that a user writes must not decide what root uploads. Root is
//! trusted only above a journal's directory, because root owns the path to it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Dir, Mode, OFlags, unlinkat};
use rustix::process::geteuid;

/// Directory in which journals lie.
#[derive(Clone, Debug)]
pub(crate) struct JournalLocation {
    path: PathBuf,
    /// Part of `path` that others may own. Everything below it has to be private.
    base: PathBuf,
}

impl From<PathBuf> for JournalLocation {
    /// Returns a location that the user has named. The user decides who may write there.
    fn from(path: PathBuf) -> Self {
        let base = path.clone();
        Self { path, base }
    }
}

impl JournalLocation {
    /// Returns a location whose name anybody can guess. The directories `names` below `base` have to belong
    /// to this user or to root, and must not be writable by others.
    pub(crate) fn below(base: PathBuf, names: &[&str]) -> Self {
        let path = names
            .iter()
            .fold(base.clone(), |path, name| path.join(name));
        Self { path, base }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks, without creating anything, that the directories can be created and written. Fails if one below
    /// the base is not private. Returns the directory itself, or the closest one above it that exists.
    pub(super) fn check(&self) -> io::Result<&Path> {
        let mut path = self.base.clone();
        for part in self.path.strip_prefix(&self.base).into_iter().flatten() {
            path.push(part);
            match check_ancestor(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                checked => checked?,
            }
        }
        let existing = self.path.ancestors().find(|path| path.exists());
        let existing = existing.ok_or(io::ErrorKind::NotFound)?;
        if !existing.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        rustix::fs::access(existing, Access::WRITE_OK | Access::EXEC_OK)?;
        Ok(existing)
    }

    /// Creates the directories that are missing. Fails if one below the base is not private.
    pub(super) fn create(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.base)?;
        let mut path = self.base.clone();
        for part in self.path.strip_prefix(&self.base).into_iter().flatten() {
            path.push(part);
            create_directory(&path).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            })?;
            check_ancestor(&path)?;
        }
        Ok(())
    }
}

/// Creates a directory for this user alone.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Opens a file for reading.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    open_with_flags(path, OFlags::RDONLY)
}

/// Opens a file for writing.
pub(crate) fn open_to_write(path: &Path) -> io::Result<File> {
    open_with_flags(path, OFlags::WRONLY)
}

/// Opens a file for writing, and creates it if it is missing.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    open_with_flags(path, OFlags::WRONLY | OFlags::CREATE)
}

/// Opens a file for appending, and creates it if it is missing. Every write goes to the end.
pub(crate) fn open_to_append(path: &Path) -> io::Result<File> {
    open_with_flags(path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
}

/// Creates a file for this user alone.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    open_with_flags(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
}

/// Creates a file for this user alone, for appending. Every write goes to the end.
pub(super) fn create_to_append(path: &Path) -> io::Result<File> {
    open_with_flags(
        path,
        OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL,
    )
}

/// Deletes the files in a directory, except the one with the name `kept`.
pub(super) fn remove_files_except(directory: &Path, kept: &str) -> io::Result<()> {
    // The entries are removed by the directory's descriptor, so that a directory that has replaced it
    // meanwhile is not cleared.
    let directory = open_directory(directory)?;
    for entry in Dir::read_from(&directory)?.flatten() {
        if entry.file_name().to_bytes() != kept.as_bytes() {
            // Subdirectories stay.
            let _ = unlinkat(&directory, entry.file_name(), AtFlags::empty());
        }
    }
    Ok(())
}

/// Reads a whole file.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open_to_read(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the length of a file, or 0 if it cannot be opened.
pub(crate) fn file_length(path: &Path) -> u64 {
    let metadata = open_to_read(path).and_then(|file| file.metadata());
    metadata.map_or(0, |file| file.len())
}

/// Returns true if the directory is this user's but others can write to it, so that no file in it is opened.
pub(crate) fn is_exposed(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| {
        found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o022 != 0
    })
}

fn open_with_flags(path: &Path, access: OFlags) -> io::Result<File> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let descriptor = open_directory(directory)?;
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = File::from(rustix::fs::openat(&descriptor, name, flags, mode)?);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(permission_denied(path, "is not a regular file"));
    }
    check_owner(path, found.uid(), found.mode(), false)?;
    Ok(file)
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = directory.metadata()?;
    check_owner(path, found.uid(), found.mode(), false)?;
    Ok(directory)
}

/// Checks a directory above a journal's. A symbolic link may stand for the directory if the link is trusted,
/// too.
fn check_ancestor(path: &Path) -> io::Result<()> {
    let link = fs::symlink_metadata(path)?;
    // The mode of a symbolic link has no meaning.
    check_owner(path, link.uid(), 0, true)?;
    let found = fs::metadata(path)?;
    if !found.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    check_owner(path, found.uid(), found.mode(), true)
}

fn check_owner(path: &Path, owner: u32, mode: u32, or_root: bool) -> io::Result<()> {
    if owner != geteuid().as_raw() && !(or_root && owner == 0) {
        return Err(permission_denied(
            path,
            &format!("belongs to another user (uid {owner})"),
        ));
    }
    if mode & 0o022 != 0 {
        let mode = mode & 0o7777;
        return Err(permission_denied(
            path,
            &format!("is writable by others (mode {mode:o})"),
        ));
    }
    Ok(())
}

fn permission_denied(path: &Path, fault: &str) -> io::Error {
    let fault = format!("{} {fault}", path.display());
    io::Error::new(io::ErrorKind::PermissionDenied, fault)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path =
                std::env::temp_dir().join(format!("mlflow-runtime-owned-{}", uuid::Uuid::new_v4()));
            create_directory(&path).expect("the temporary folder can be written");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    }

    #[test]
    fn only_what_is_private_is_opened() {
        let folder = Folder::new();
        let file = folder.0.join("file");
        create_file(&file).expect("writable");
        assert!(open_to_read(&file).is_ok());
        for (path, mode) in [
            (&file, 0o620),
            (&file, 0o602),
            (&folder.0, 0o770),
            (&folder.0, 0o703),
        ] {
            let before = fs::metadata(path).expect("it is there").mode();
            set_mode(path, mode);
            let error = open_to_read(&file)
                .expect_err("others can write to it")
                .to_string();
            assert!(error.contains("writable by others"), "{error}");
            set_mode(path, before);
        }
        assert!(open_to_read(&file).is_ok());
        let link = folder.0.join("link");
        symlink(&file, &link).expect("writable");
        assert!(open_to_read(&link).is_err());
        assert!(open_or_create(&link).is_err());
        assert!(open_to_read(&folder.0).is_err(), "a directory");
        let directory = folder.0.join("directory");
        symlink(&folder.0, &directory).expect("writable");
        assert!(open_to_read(&directory.join("file")).is_err());
        let missing = open_to_read(&folder.0.join("missing")).expect_err("there is none");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_a_link_leads_to_is_not_cleared() {
        let folder = Folder::new();
        let directory = folder.0.join("directory");
        create_directory(&directory).expect("writable");
        for name in ["kept", "other"] {
            create_file(&directory.join(name)).expect("writable");
        }
        let link = folder.0.join("link");
        symlink(&directory, &link).expect("writable");
        assert!(remove_files_except(&link, "kept").is_err());
        assert!(directory.join("other").exists());
        remove_files_except(&directory, "kept").expect("it is ours");
        assert!(!directory.join("other").exists() && directory.join("kept").exists());
    }

    #[test]
    fn a_place_below_a_base_is_private_and_a_named_one_is_the_users_decision() {
        let folder = Folder::new();
        set_mode(&folder.0, 0o777);
        let place = JournalLocation::below(folder.0.clone(), &["a", "b"]);
        place.create().expect("writable");
        place.create().expect("it is there");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
        assert_eq!(mode(place.path()), 0o700);
        set_mode(&folder.0.join("a"), 0o777);
        assert!(place.create().is_err());
        let named = JournalLocation::from(place.path().to_owned());
        named.create().expect("it is there");
    }

    #[test]
    fn a_check_says_what_creating_would_and_creates_nothing() {
        let folder = Folder::new();
        let place = JournalLocation::below(folder.0.clone(), &["a", "b"]);
        assert_eq!(place.check().expect("it can be made"), folder.0);
        assert!(!folder.0.join("a").exists());
        place.create().expect("writable");
        assert_eq!(place.check().expect("it is there"), place.path());
        set_mode(&folder.0.join("a"), 0o777);
        assert!(place.check().is_err());
        let file = folder.0.join("file");
        create_file(&file).expect("writable");
        for path in [file.clone(), file.join("a")] {
            assert!(JournalLocation::from(path).check().is_err());
        }
    }
}
