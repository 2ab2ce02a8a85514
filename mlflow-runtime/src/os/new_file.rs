//! Files that appear below a directory when all of their bytes are there.
//!
//! # Invariants
//!
//! 1. Nothing is created outside of the directory. No folder on the way below it is followed if it is a symbolic link, even
//!    if somebody exchanges folders meanwhile: each is opened by the descriptor of the one above it.
//! 2. A file appears under its name as a whole, in place of the file that had the name, or not at all. One that is dropped
//!    before is removed. Only a killed process leaves its draft behind, under a name that no other file gets.
//! 3. Users that belong to neither the owner nor the group can write to nothing that is created, whatever the umask is.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::{Errno, retry_on_intr};
use uuid::Uuid;

use super::relative_path;

/// Beginning and end of the name of a draft.
pub(crate) const DRAFT_NAME: (&str, &str) = (".mlflow-runtime-", ".tmp");

/// Errors of file systems that cannot sync a folder.
const UNSUPPORTED: [Errno; 4] = [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS];

/// File below a directory that is being written.
pub(crate) struct NewFile {
    folder: OwnedFd,
    /// Folders that have got a new entry, from the outermost one on, without the file's own.
    changed_folders: Vec<OwnedFd>,
    draft: String,
    name: Box<OsStr>,
    file: File,
    is_published: bool,
}

impl NewFile {
    /// Creates the draft of the file `path` below `root`, and the folders that are missing. `path` is relative.
    ///
    /// # Errors
    /// Fails with [`PermissionDenied`](io::ErrorKind::PermissionDenied) if a folder below `root` is a symbolic link, and with
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if `path` leads out of `root`.
    pub(crate) fn create(root: &Path, path: &str) -> io::Result<Self> {
        let mut changed_folders = Vec::new();
        let mut folder = open_root(root, &mut changed_folders)?;
        let (parents, name) = relative_path::split(Path::new(path))?;
        for parent in parents {
            folder = open_folder(folder, parent, OFlags::NOFOLLOW, &mut changed_folders)?;
        }
        let (prefix, suffix) = DRAFT_NAME;
        let draft = format!("{prefix}{}{suffix}", Uuid::new_v4().simple());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o664);
        let file = openat(&folder, &draft, flags, mode).map_err(|error| match error {
            // A request that was sent twice has made the draft: the next attempt has another name.
            Errno::EXIST => io::ErrorKind::Interrupted.into(),
            error => io::Error::from(error),
        })?;
        let file = File::from(file);
        Ok(Self {
            folder,
            changed_folders,
            draft,
            name: name.into(),
            file,
            is_published: false,
        })
    }

    /// Returns the file, to be written.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name. It may be lost if the power fails.
    pub(crate) fn publish(mut self) -> io::Result<()> {
        renameat(&self.folder, &self.draft, &self.folder, &*self.name)?;
        self.is_published = true;
        Ok(())
    }

    /// Gives the file its name when its bytes are on the device, and returns when the name is, too.
    pub(crate) fn publish_synced(mut self) -> io::Result<()> {
        match self.file.sync_all() {
            // Not every file system can sync a file.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) => {}
            synced => synced?,
        }
        renameat(&self.folder, &self.draft, &self.folder, &*self.name)?;
        self.is_published = true;
        for folder in self.changed_folders.iter().chain([&self.folder]) {
            match retry_on_intr(|| fsync(folder)) {
                // Not every file system can sync a folder.
                Ok(()) => {}
                Err(error) if UNSUPPORTED.contains(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = unlinkat(&self.folder, &self.draft, AtFlags::empty());
        }
    }
}

/// Opens the directory, and creates it with its missing parents. These may be reached through symbolic links.
fn open_root(root: &Path, changed_folders: &mut Vec<OwnedFd>) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let existing = root.ancestors().find(|path| path.exists());
    let start = existing.unwrap_or(Path::new("."));
    let mut folder = openat(CWD, start, flags, Mode::empty())?;
    let missing = root.strip_prefix(start).unwrap_or(root);
    for part in missing.components() {
        folder = open_folder(folder, part.as_os_str(), OFlags::empty(), changed_folders)?;
    }
    Ok(folder)
}

/// Opens a folder in `parent`, and creates it if it is missing.
fn open_folder(
    parent: OwnedFd,
    name: &OsStr,
    flags: OFlags,
    changed_folders: &mut Vec<OwnedFd>,
) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | flags;
    let open = || retry_on_intr(|| openat(&parent, name, flags, Mode::empty()));
    let mut is_new = false;
    let opened = match open() {
        // Network file systems may refuse to make a folder that exists with another error, so it is opened first.
        Err(Errno::NOENT) => {
            is_new = match mkdirat(&parent, name, Mode::from_raw_mode(0o775)) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            open()
        }
        opened => opened,
    };
    let folder = opened.map_err(|error| {
        let found = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
        let is_link = found.is_ok_and(|found| {
            rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Symlink
        });
        if is_link {
            let name = String::from_utf8_lossy(name.as_bytes());
            let reason = format!(
                "the folder {name:?} in it is a symbolic link, through which nothing is written"
            );
            io::Error::new(io::ErrorKind::PermissionDenied, reason)
        } else {
            error.into()
        }
    })?;
    if is_new {
        changed_folders.push(parent);
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// Folder that is removed at the end of the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("mlflow-new-file-{}", Uuid::new_v4()));
            fs::create_dir(&path).expect("writable");
            Self(path)
        }

        fn names(&self, folder: &str) -> Vec<String> {
            let entries = fs::read_dir(self.0.join(folder)).expect("a folder");
            let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
            entries
                .map(|entry| name(entry).into_string().expect("UTF-8"))
                .collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn write(root: &Path, path: &str, text: &str) -> io::Result<()> {
        let mut file = NewFile::create(root, path)?;
        file.file().write_all(text.as_bytes())?;
        file.publish_synced()
    }

    #[test]
    fn a_file_appears_whole_and_replaces_the_former_one() {
        let folder = Folder::new();
        let root = folder.0.join("made/by/it");
        for text in ["one", "two"] {
            write(&root, "a/b/c.txt", text).expect("written");
            assert_eq!(
                fs::read_to_string(root.join("a/b/c.txt")).expect("there"),
                text
            );
            assert_eq!(folder.names("made/by/it/a/b"), ["c.txt"]);
        }
        let mut unfinished = NewFile::create(&root, "a/b/c.txt").expect("a draft");
        unfinished.file().write_all(b"thr").expect("writable");
        drop(unfinished);
        assert_eq!(folder.names("made/by/it/a/b"), ["c.txt"]);
        assert_eq!(
            fs::read_to_string(root.join("a/b/c.txt")).expect("there"),
            "two"
        );
    }

    #[test]
    fn nothing_is_written_through_a_symbolic_link_below_the_root() {
        let folder = Folder::new();
        let (root, outside) = (folder.0.join("root"), folder.0.join("outside"));
        fs::create_dir_all(root.join("a")).expect("writable");
        fs::create_dir(&outside).expect("writable");
        symlink(&outside, root.join("link")).expect("a link");
        symlink("../../outside", root.join("a/link")).expect("a link");
        symlink("nowhere", root.join("broken")).expect("a link");
        for path in ["link/x", "link/y/x", "a/link/x", "broken/x"] {
            let error = write(&root, path, "x").expect_err(path);
            assert_eq!(
                error.kind(),
                io::ErrorKind::PermissionDenied,
                "{path}: {error}"
            );
        }
        assert!(folder.names("outside").is_empty());
        // A link in place of the file is replaced, and its target stays.
        let target = outside.join("keys");
        fs::write(&target, "kept").expect("writable");
        symlink(&target, root.join("file")).expect("a link");
        write(&root, "file", "new").expect("written");
        assert_eq!(fs::read_to_string(&target).expect("there"), "kept");
        assert_eq!(fs::read_to_string(root.join("file")).expect("there"), "new");
        // The root itself may be reached through one.
        write(&root.join("link"), "z", "z").expect("written");
        assert_eq!(fs::read_to_string(outside.join("z")).expect("there"), "z");
    }

    #[test]
    fn no_path_leads_out_of_the_root() {
        let folder = Folder::new();
        let root = folder.0.join("root");
        for path in ["", "/", "/x", "../x", "a/../../x", "..", "./x"] {
            let error = write(&root, path, "x").expect_err(path);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        assert_eq!(folder.names("root"), [""; 0]);
    }

    #[test]
    fn a_file_in_place_of_a_folder_is_an_error() {
        let folder = Folder::new();
        write(&folder.0, "a", "x").expect("written");
        let error = write(&folder.0, "a/b", "x").expect_err("a file");
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        write(&folder.0, "c/d", "x").expect("written");
        let error = write(&folder.0, "c", "x").expect_err("a folder");
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }
}
