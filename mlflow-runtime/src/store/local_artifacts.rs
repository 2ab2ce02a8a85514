//! Artifacts in a directory of this host.
//!
//! - A file appears under its name either whole or not at all: its content is written to a temporary file
//!   beside it, which is then renamed. When [`write_artifact`] returns, the content is on the device, as the
//!   caller deletes the journal's copy next.
//! - Nothing is written outside the run's directory.
//! - Content that comes from a file is copied on a thread of the runtime's blocking pool, so the caller must
//!   be inside a tokio runtime. Content in memory is written in place.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

use super::{ArtifactContent, StoreError, uri, validate};

/// Returns the directory that an artifact URI names. The URI is an absolute path or has the scheme `file:`;
/// any other is [`StoreError::Blocked`].
pub(super) fn uri_to_directory(artifact_uri: &str) -> Result<PathBuf, StoreError> {
    let refused = |why: &str| StoreError::Blocked {
        reason: format!(
            "artifacts of this run go to `{}`: {why}",
            mlflow_rules::url_without_credentials(artifact_uri)
        )
        .into(),
        everything: false,
    };
    let path = match uri::scheme(artifact_uri) {
        None => Cow::Borrowed(artifact_uri),
        Some(scheme) if scheme.eq_ignore_ascii_case("file") => {
            let rest = artifact_uri.get(scheme.len() + 1..).unwrap_or_default();
            let path = match rest.strip_prefix("//") {
                Some(with_host) => {
                    let (host, path) =
                        with_host.split_at(with_host.find('/').unwrap_or(with_host.len()));
                    if !matches!(host, "" | "localhost") {
                        return Err(refused("a `file:` URI of another host cannot be written"));
                    }
                    path
                }
                None => rest,
            };
            uri::percent_decode(path).ok_or_else(|| refused("its percent-encoding is not valid"))?
        }
        Some(scheme) => {
            return Err(refused(&format!(
                "this client does not write to `{scheme}:` storage"
            )));
        }
    };
    let path = Path::new(&*path);
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err(refused("it is not an absolute path"))
    }
}

/// Writes one artifact below `root`.
pub(super) async fn write_artifact(
    root: &Path,
    path: &str,
    content: ArtifactContent<'_>,
) -> Result<(), StoreError> {
    validate::check_artifact_path(path)?;
    let target = root.join(path);
    match content {
        ArtifactContent::Bytes(bytes) => replace_atomically(&target, |file| file.write_all(&bytes)),
        ArtifactContent::File(source) => {
            let mut reader = open_source(source)?;
            let copying = tokio::task::spawn_blocking(move || {
                replace_atomically(&target, |file| io::copy(&mut reader, file).map(|_| ()))
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

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// Fills a temporary file beside `target`, syncs it to the device and renames it to `target`.
fn replace_atomically(
    target: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), StoreError> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let failed = |error: io::Error| classify_write_error(target, error);
    let parent = target.parent().unwrap_or(target);
    let made = create_directories(parent).map_err(failed)?;
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let draft = parent.join(format!(".mlflow-runtime-{}-{serial}.tmp", process::id()));
    // Not `create_new`: a terminated process with the same process id may have left its draft.
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&draft)
        .and_then(|mut file| {
            fill(&mut file)?;
            file.sync_all()?;
            fs::rename(&draft, target)?;
            made.iter()
                .try_for_each(|directory| sync_directory(directory))
        });
    written.map_err(|error| {
        // The draft may not exist, so a failed removal is ignored: the first error is the one to report.
        let _ = fs::remove_file(&draft);
        failed(error)
    })
}

/// Creates `path` and its missing parents. Returns the directories that have a new entry, or are about to
/// have one.
fn create_directories(path: &Path) -> io::Result<Vec<&Path>> {
    let mut changed = vec![path];
    for directory in path.ancestors() {
        if directory.exists() {
            break;
        }
        changed.extend(directory.parent());
    }
    fs::create_dir_all(path)?;
    Ok(changed)
}

/// Syncs the entries of a directory to the device, if the file system can do that.
fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
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
