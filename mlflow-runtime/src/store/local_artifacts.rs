//! Artifacts in a directory of this host: writing, listing and reading.
//!
//! - A file appears under its name either [whole or not at all](crate::os::new_file). When [`write_artifact`] returns, the
//!   content is on the device, as the caller deletes the journal's copy next.
//! - Nothing is written, listed or read outside the run's directory, not even through a symbolic link.
//! - Content that comes from a file is copied on a thread of the runtime's blocking pool, so the caller must
//!   be inside a tokio runtime. Content in memory is written in place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{ArtifactContent, ByteSink, ClientError, StoreError, uri, validate};
use crate::entities::FileInfo;
use crate::os::existing_file::{open_below, remove_below};
use crate::os::new_file::{DRAFT_NAME, NewFile};
use crate::percent_encoding::percent_decode;

/// Beginning of the name that MLflow gives to such a file.
const MLFLOW_DRAFT_PREFIX: &str = ".artifact.uploading.";
/// Length of the run ids that MLflow makes, which are hexadecimal.
const RUN_ID_DIGITS: usize = 32;
/// Size of the parts in which a file is read, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// Returns the directory that an artifact URI names. The URI is an absolute path or has the scheme `file:`;
/// any other is [`StoreError::Blocked`].
pub(super) fn uri_to_directory(artifact_uri: &str) -> Result<PathBuf, StoreError> {
    parse_directory(artifact_uri).map_err(|why| StoreError::Blocked {
        reason: format!(
            "artifacts go to `{}`: {why}. Log through a tracking server, by its http:// address as the tracking URI, or \
             to an experiment whose artifacts are in a directory",
            mlflow_rules::url_without_credentials(artifact_uri)
        )
        .into(),
        everything: false,
    })
}

/// Returns true if an artifact URI names a directory.
pub(crate) fn is_local_directory(artifact_uri: &str) -> bool {
    parse_directory(artifact_uri).is_ok()
}

/// Returns the directory that an artifact URI names, as [`uri_to_directory`] does, for a client that reads.
pub(super) fn uri_to_readable_directory(artifact_uri: &str) -> Result<PathBuf, ClientError> {
    parse_directory(artifact_uri).map_err(|why| {
        ClientError::unsupported(format!(
            "the artifacts of this run are at `{}`: {why}. Read them through an MLflow server that serves artifacts, \
             or with a client of that storage",
            mlflow_rules::url_without_credentials(artifact_uri)
        ))
    })
}

/// Returns the directory, or the reason why the URI names none on this host.
fn parse_directory(artifact_uri: &str) -> Result<PathBuf, String> {
    let path = match uri::scheme(artifact_uri) {
        None => Cow::Borrowed(artifact_uri),
        Some(scheme) if scheme.eq_ignore_ascii_case("file") => {
            let rest = artifact_uri.get(scheme.len() + 1..).unwrap_or_default();
            let path = match rest.strip_prefix("//") {
                Some(with_host) => {
                    let (host, path) =
                        with_host.split_at(with_host.find('/').unwrap_or(with_host.len()));
                    if !matches!(host, "" | "localhost") {
                        return Err("it is a `file:` URI of another host".to_owned());
                    }
                    path
                }
                None => rest,
            };
            percent_decode(path).ok_or_else(|| "its percent-encoding is not valid".to_owned())?
        }
        Some(scheme) => return Err(format!("this client does not use `{scheme}:` storage")),
    };
    let path = Path::new(&*path);
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err("it is not an absolute path".to_owned())
    }
}

/// Writes one artifact below `root`.
pub(super) async fn write_artifact(
    root: &Path,
    path: &str,
    content: ArtifactContent<'_>,
) -> Result<(), StoreError> {
    validate::check_artifact_path(path)?;
    match content {
        ArtifactContent::Bytes(bytes) => write_file(root, path, |file| file.write_all(&bytes)),
        ArtifactContent::File(source) => {
            let mut reader = open_source(source)?;
            let (root, path) = (root.to_owned(), path.to_owned());
            let copying = tokio::task::spawn_blocking(move || {
                write_file(&root, &path, |file| io::copy(&mut reader, file).map(|_| ()))
            });
            copying.await.unwrap_or_else(|stopped| {
                Err(StoreError::Unavailable {
                    reason: format!("copying the artifact was interrupted: {stopped}").into(),
                    retry_after: None,
                })
            })
        }
    }
}

/// Returns the files and folders in `folder`, sorted by path. Paths are relative to `root`, and so is
/// `folder`; the empty folder is `root` itself. A folder that does not exist has no entries.
pub(super) fn list(root: &Path, folder: &str) -> Result<Vec<FileInfo>, ClientError> {
    let folder = folder.trim_end_matches('/');
    let Some(directory) = resolve(root, folder)? else {
        return Ok(Vec::new());
    };
    let directory = directory.path();
    let failed = |error| read_error(&directory, error);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        // A name that is not UTF-8 has no path in MLflow.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if is_draft(&name) {
            continue;
        }
        let path = match folder {
            "" => name,
            folder => format!("{folder}/{name}"),
        };
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if is_link && resolve(root, &path)?.is_none() {
            continue;
        }
        match fs::metadata(entry.path()) {
            Ok(metadata) if metadata.is_dir() => found.push(FileInfo::folder(path)),
            Ok(metadata) => found.push(FileInfo::file(path, metadata.len())),
            // Somebody has deleted or replaced the file since.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Returns the sizes of all files below `root`, by their paths.
pub(super) fn list_all(root: &Path) -> Result<BTreeMap<String, Option<u64>>, StoreError> {
    let mut files = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let entries = list(root, &folder).map_err(|error| StoreError::Unavailable {
            reason: error.to_string().into(),
            retry_after: None,
        })?;
        for FileInfo {
            path,
            is_dir,
            file_size,
        } in entries
        {
            if is_dir {
                folders.push(path);
            } else {
                files.insert(path, file_size);
            }
        }
    }
    Ok(files)
}

/// Reads the file `path` below `root`, and hands its bytes to `sink`.
pub(super) fn read(root: &Path, path: &str, sink: &mut ByteSink<'_>) -> Result<(), ClientError> {
    read_open(open_to_read(root, path)?, path, sink)
}

/// Opens the file `path` below `root`.
pub(super) fn open_to_read(root: &Path, path: &str) -> Result<File, ClientError> {
    validate::check_path_inside(path)?;
    let missing = || {
        ClientError::not_found(format!(
            "there is no artifact `{path}` in {}",
            root.display()
        ))
    };
    let file = resolve(root, path)?.ok_or_else(missing)?;
    open_below(&file.root, &file.relative).map_err(|error| {
        if error.kind() == ErrorKind::IsADirectory {
            return ClientError::invalid(format!(
                "the artifact `{path}` is a folder: list it, and read the files in it"
            ));
        }
        // It is a pipe, or somebody has exchanged it for a link.
        if is_no_file(&error) {
            return missing();
        }
        read_error(&file.path(), error)
    })
}

/// Hands the bytes of the open artifact `path` to `sink`.
pub(super) fn read_open(
    mut reader: File,
    path: &str,
    sink: &mut ByteSink<'_>,
) -> Result<(), ClientError> {
    let failed = |error| read_error(Path::new(path), error);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        sink(buffer.get(..length).unwrap_or_default()).map_err(|error| {
            ClientError::local_file(
                format!("cannot write the artifact `{path}`: {error}"),
                error,
            )
        })?;
    }
}

/// Removes the directory with the artifacts of a run, if it exists.
///
/// Nothing is removed outside of the run's own directory, whose name is the id of the run: neither if the URI
/// names another directory, nor through a symbolic link. An id that is none of MLflow's, e.g. `home`, could name
/// the directory of something else.
pub(super) fn remove(artifact_uri: &str, run_id: &str) -> Result<(), ClientError> {
    let refused = |why: &str| {
        ClientError::unsupported(format!(
            "the run {run_id} cannot be deleted for good here, because its artifacts are at `{}`: {why}. `mlflow gc` \
             deletes runs whose artifacts are in any storage",
            mlflow_rules::url_without_credentials(artifact_uri)
        ))
    };
    let directory = parse_directory(artifact_uri).map_err(|why| refused(&why))?;
    let is_id =
        run_id.len() == RUN_ID_DIGITS && run_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_of_run = |path: &&Path| is_id && path.file_name().is_some_and(|name| name == run_id);
    let has_parent_component = { directory.components() }.any(|part| part == Component::ParentDir);
    let Some(own) = directory
        .ancestors()
        .find(is_of_run)
        .filter(|_| !has_parent_component)
    else {
        return Err(refused("no part of this path is the id of the run"));
    };
    let mut inside = directory
        .ancestors()
        .take_while(|path| path.starts_with(own));
    if inside.any(is_link) {
        return Err(refused("this is a symbolic link"));
    }
    match fs::remove_dir_all(&directory) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(ClientError::local_file(
                format!(
                    "cannot delete the artifacts in {}: {error}",
                    directory.display()
                ),
                error,
            ));
        }
    }
    // The folders of the run around its artifacts are empty now, unless somebody keeps other files there.
    let around = directory.ancestors().skip(1);
    let _ = { around.take_while(|path| path.starts_with(own)) }.try_for_each(fs::remove_dir);
    Ok(())
}

/// Place below a directory, without symbolic links.
struct ResolvedPath {
    root: PathBuf,
    /// Path below `root`; empty for `root` itself.
    relative: PathBuf,
}

impl ResolvedPath {
    fn path(&self) -> PathBuf {
        self.root.join(&self.relative)
    }
}

/// Returns the place of `path` below `root`; `None` if nothing is there, or if a link leads out of `root`.
fn resolve(root: &Path, path: &str) -> Result<Option<ResolvedPath>, ClientError> {
    let target = match path {
        "" => root.to_owned(),
        path => {
            validate::check_path_inside(path)?;
            root.join(path)
        }
    };
    let canonical = |path: &Path| match fs::canonicalize(path) {
        Ok(canonical) => Ok(Some(canonical)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(read_error(path, error)),
    };
    let (Some(root), Some(target)) = (canonical(root)?, canonical(&target)?) else {
        return Ok(None);
    };
    let relative = target.strip_prefix(&root).map(Path::to_owned);
    Ok(relative
        .ok()
        .map(|relative| ResolvedPath { root, relative }))
}

/// Deletes the file or folder `path` below `root`. If there is none, nothing changes.
pub(super) fn delete_artifact(root: &Path, path: &str) -> Result<(), StoreError> {
    validate::check_artifact_path(path)?;
    let unavailable = |error: ClientError| StoreError::Unavailable {
        reason: error.to_string().into(),
        retry_after: None,
    };
    // A link that leads out of the run's directory is not followed, and nothing is deleted through one.
    let Some(found) = resolve(root, path).map_err(unavailable)? else {
        return Ok(());
    };
    if found.relative != Path::new(path) {
        return Err(StoreError::Blocked {
            reason: format!(
                "{} is not deleted: it is a symbolic link",
                found.root.join(path).display()
            )
            .into(),
            everything: false,
        });
    }
    // A folder with files is refused: others may have written them meanwhile.
    let target = found.path();
    let deleted = if target.is_dir() {
        remove_empty_folders(&target)
    } else {
        remove_below(&found.root, &found.relative)
    };
    match deleted {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let reason = format!("cannot delete the artifact {}: {error}", target.display()).into();
            Err(match error.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    StoreError::Blocked {
                        reason,
                        everything: false,
                    }
                }
                _ => StoreError::Unavailable {
                    reason,
                    retry_after: None,
                },
            })
        }
        _ => Ok(()),
    }
}

fn is_draft(name: &str) -> bool {
    let (prefix, suffix) = DRAFT_NAME;
    let is_own = name.starts_with(prefix) && name.ends_with(suffix);
    is_own || name.starts_with(MLFLOW_DRAFT_PREFIX)
}

fn read_error(path: &Path, error: io::Error) -> ClientError {
    ClientError::local_file(format!("cannot read {}: {error}", path.display()), error)
}

/// Removes a folder and the folders in it, if there is no file in any of them but drafts that killed processes have left.
fn remove_empty_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty_folders(&entry.path())?;
        } else if entry.file_name().to_str().is_some_and(is_draft) {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

/// Opens a file that is to become an artifact. Rejects a symbolic link, and anything else that is not a
/// regular file.
pub(super) fn open_source(source: &Path) -> Result<File, StoreError> {
    let rejected = |why: &dyn std::fmt::Display| StoreError::Rejected {
        reason: format!("cannot read {}: {why}", source.display()).into(),
    };
    // `NOFOLLOW`: not the target of a link. `NONBLOCK`: no wait for the writer of a FIFO.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(source)
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied => rejected(&error),
            _ if is_link(source) => rejected(&error),
            // For example too many open files: the file exists, and can be read later.
            _ => StoreError::Unavailable {
                reason: format!("cannot open {}: {error}", source.display()).into(),
                retry_after: None,
            },
        })?;
    let metadata = file.metadata().map_err(|error| rejected(&error))?;
    if metadata.is_file() {
        Ok(file)
    } else {
        Err(rejected(&"it is not a regular file"))
    }
}

/// Returns true if a file cannot be opened because there is none, but nothing, a link or a pipe.
fn is_no_file(error: &io::Error) -> bool {
    let is_loop = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    is_loop || matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound)
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// Writes a file below `root`, whose content is on the device when it appears under its name.
fn write_file(
    root: &Path,
    path: &str,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), StoreError> {
    let written = NewFile::create(root, path).and_then(|mut file| {
        fill(file.file())?;
        file.publish_synced()
    });
    written.map_err(|error| classify_write_error(&root.join(path), error))
}

fn classify_write_error(target: &Path, error: io::Error) -> StoreError {
    let reason = format!("cannot write the artifact {}: {error}", target.display());
    let classified = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::Blocked {
            reason: reason.into(),
            everything: false,
        },
        ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::DirectoryNotEmpty
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput => StoreError::Rejected {
            reason: reason.into(),
        },
        _ => StoreError::Unavailable {
            reason: reason.into(),
            retry_after: None,
        },
    };
    classified.with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::process;

    /// Directory that is removed at the end of the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mlflow-{name}-{}", process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, path: &str, content: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn paths(root: &Path, folder: &str) -> Vec<(String, Option<u64>)> {
        let listed = list(root, folder).unwrap();
        listed
            .into_iter()
            .inspect(|file| assert_eq!(file.is_dir, file.file_size.is_none()))
            .map(|file| (file.path, file.file_size))
            .collect()
    }

    fn read_to_vec(root: &Path, path: &str) -> Result<Vec<u8>, ClientError> {
        let mut content = Vec::new();
        read(root, path, &mut |part| {
            content.extend_from_slice(part);
            Ok(())
        })?;
        Ok(content)
    }

    #[test]
    fn artifacts_are_listed_by_folder_without_drafts() {
        let folder = Folder::new("list");
        folder.write("b.txt", "12345");
        folder.write("a/c.txt", "1");
        folder.write("a/d/e.txt", "");
        folder.write(".mlflow-runtime-1-2.tmp", "draft");
        folder.write(".artifact.uploading.x", "draft");
        let root = &folder.0;
        assert_eq!(
            paths(root, ""),
            [("a".to_owned(), None), ("b.txt".to_owned(), Some(5))]
        );
        for spelling in ["a", "a/"] {
            assert_eq!(
                paths(root, spelling),
                [("a/c.txt".to_owned(), Some(1)), ("a/d".to_owned(), None)]
            );
        }
        for nothing in ["missing", "missing/x", "b.txt", "b.txt/x"] {
            assert_eq!(paths(root, nothing), [], "{nothing}");
        }
        assert_eq!(paths(&root.join("no-root"), ""), []);
        for bad in ["..", "/etc", "a/../..", "a//d"] {
            assert!(
                matches!(list(root, bad), Err(ClientError::Invalid { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn artifacts_are_read_in_full_or_the_error_names_the_cause() {
        let folder = Folder::new("read");
        let long = "x".repeat(READ_BYTES * 2 + 1);
        folder.write("a/long.txt", &long);
        folder.write("empty%20#1", "");
        let root = &folder.0;
        assert_eq!(read_to_vec(root, "a/long.txt").unwrap(), long.as_bytes());
        assert_eq!(read_to_vec(root, "empty%20#1").unwrap(), b"");
        for missing in ["nothing", "a/nothing", "empty%20#1/x"] {
            let error = read_to_vec(root, missing).unwrap_err();
            assert!(matches!(error, ClientError::NotFound { .. }), "{error}");
        }
        for invalid in ["a", "", "/etc/passwd", "../x"] {
            let error = read_to_vec(root, invalid).unwrap_err();
            assert!(matches!(error, ClientError::Invalid { .. }), "{error}");
        }
        let full = read(root, "a/long.txt", &mut |_| Err(io::Error::other("full")));
        assert!(
            matches!(full, Err(ClientError::LocalFile { .. })),
            "{full:?}"
        );
    }

    #[test]
    fn links_do_not_lead_out_of_the_artifacts() {
        let folder = Folder::new("links");
        folder.write("outside.txt", "secret");
        folder.write("root/inside.txt", "1");
        let root = folder.0.join("root");
        symlink("inside.txt", root.join("good")).unwrap();
        symlink("../outside.txt", root.join("bad")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("nowhere", root.join("broken")).unwrap();
        assert_eq!(
            paths(&root, ""),
            [
                ("good".to_owned(), Some(1)),
                ("inside.txt".to_owned(), Some(1))
            ]
        );
        assert_eq!(paths(&root, "up"), []);
        assert_eq!(read_to_vec(&root, "good").unwrap(), b"1");
        for outside in ["bad", "up/outside.txt", "broken"] {
            let error = read_to_vec(&root, outside).unwrap_err();
            assert!(matches!(error, ClientError::NotFound { .. }), "{error}");
        }
    }

    #[test]
    fn only_the_own_directory_of_a_run_is_removed() {
        let folder = Folder::new("remove");
        let [one, two, three, four] = ["1", "2", "3", "4"].map(|digit| digit.repeat(RUN_ID_DIGITS));
        let artifacts = |run: &str| format!("0/{run}/artifacts");
        folder.write("outside.txt", "1");
        folder.write("short/artifacts/a.txt", "1");
        folder.write(&format!("0/{one}/other.txt"), "1");
        folder.write(&format!("0/{one}/artifacts/a/b.txt"), "1");
        folder.write(&format!("0/{two}/artifacts/a.txt"), "1");
        let link = |to: &str, path: &str| symlink(to, folder.0.join(path)).unwrap();
        link("../../../outside.txt", &format!("0/{one}/artifacts/link"));
        link("../../..", &format!("0/{one}/artifacts/up"));
        link(&two, &format!("0/{three}"));
        fs::create_dir(folder.0.join("0").join(&four)).unwrap();
        link(&format!("../{two}/artifacts"), &artifacts(&four));
        let uri = |path: &str| folder.0.join(path).to_str().unwrap().to_owned();
        for (path, run) in [
            (artifacts(&two), &one),
            ("0".to_owned(), &one),
            (format!("0/{one}/../{two}/artifacts"), &one),
            (artifacts(&three), &three),
            (artifacts(&four), &four),
            ("short/artifacts".to_owned(), &"short".to_owned()),
        ] {
            let error = remove(&uri(&path), run).unwrap_err();
            assert!(matches!(error, ClientError::Unsupported { .. }), "{error}");
        }
        let error = remove(&format!("s3://bucket/{one}/artifacts"), &one).unwrap_err();
        assert!(error.to_string().contains("`mlflow gc`"), "{error}");
        for _ in 0..2 {
            remove(&uri(&artifacts(&one)), &one).unwrap();
            assert!(!folder.0.join(artifacts(&one)).exists());
        }
        for kept in [
            "outside.txt",
            "short/artifacts/a.txt",
            &format!("0/{one}/other.txt"),
            &format!("0/{two}/artifacts/a.txt"),
        ] {
            assert!(folder.0.join(kept).exists(), "{kept}");
        }
    }

    #[test]
    fn artifacts_elsewhere_are_not_supported() {
        assert_eq!(
            uri_to_readable_directory("file:///a/b%20c").unwrap(),
            PathBuf::from("/a/b c")
        );
        let error = uri_to_readable_directory("s3://user:key@bucket/a").unwrap_err();
        assert!(matches!(error, ClientError::Unsupported { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("bucket") && !text.contains("key"), "{text}");
    }

    #[test]
    fn artifact_uris_resolve_to_directories() {
        for (uri, path) in [
            ("/a/b", "/a/b"),
            ("file:///a/b%20c", "/a/b c"),
            ("file://localhost/a", "/a"),
            ("file:/a/%C3%BC", "/a/ü"),
        ] {
            assert_eq!(uri_to_directory(uri), Ok(PathBuf::from(path)), "{uri}");
        }
        for uri in [
            "s3://bucket/a",
            "file://host/a",
            "relative/a",
            "dbfs:/a",
            "file:///a%2",
            "",
        ] {
            assert!(
                matches!(uri_to_directory(uri), Err(StoreError::Blocked { .. })),
                "{uri}"
            );
        }
    }
}
