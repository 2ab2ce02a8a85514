//! Digest of a file's content: the first eight characters of its SHA-256, as `sha256sum FILE | cut -c1-8`
//! prints them.
//!
//! Invariant: a file is streamed into the digest, so that its length costs time and no memory.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use mlflow_rules::to_hex;
use ring::digest::{Context, SHA256};

/// Number of characters of a digest, as MLflow's Python client has them.
const DIGEST_CHARS: usize = 8;
/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Returns the warning that a dataset has another digest than that of its file.
pub(crate) fn fallback_warning(dataset: &str, path: &Path, error: &io::Error) -> String {
    format!(
        "dataset {dataset:?}: the digest of the file {} cannot be computed ({error}); the digest of its name and source is used instead",
        path.display()
    )
}

/// Returns the warning that a dataset has another digest than that of its rows.
pub(crate) fn rows_fallback_warning(dataset: &str, reason: &str) -> String {
    format!(
        "dataset {dataset:?}: the digest of its rows cannot be computed ({reason}); the digest of its name and source is used instead"
    )
}

/// Returns the digest of a text.
pub(crate) fn digest_of_text(text: &str) -> String {
    let mut context = Context::new(&SHA256);
    context.update(text.as_bytes());
    finish(context)
}

/// File that is open to compute the digest of its content.
pub(crate) struct DigestSource {
    file: File,
    stamp: FileStamp,
}

/// Length and time of a file, by which a later change is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    /// Length in bytes.
    pub(crate) length: u64,
    /// Time of the last change, in ns since the Unix epoch.
    pub(crate) modified_ns: i64,
}

impl DigestSource {
    /// Opens a regular file. Anything else is an error, and never waited for.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        let stamp = read_stamp(&file)?;
        Ok(Self { file, stamp })
    }

    /// Returns the length and time of the file when it was opened.
    pub(crate) fn stamp(&self) -> FileStamp {
        self.stamp
    }

    /// Reads the file and returns the digest of its content.
    pub(crate) fn digest(mut self) -> io::Result<String> {
        let mut context = Context::new(&SHA256);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => context.update(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if read_stamp(&self.file)? != self.stamp {
            return Err(io::Error::other("it was changed while it was read"));
        }
        Ok(finish(context))
    }
}

fn read_stamp(file: &File) -> io::Result<FileStamp> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let modified_ns = metadata
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(metadata.mtime_nsec());
    Ok(FileStamp {
        length: metadata.len(),
        modified_ns,
    })
}

fn finish(context: Context) -> String {
    let mut digest = to_hex(context.finish().as_ref());
    digest.truncate(DIGEST_CHARS);
    digest
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder =
            std::env::temp_dir().join(format!("mlflow-file-digest-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn the_digest_is_the_beginning_of_sha256() {
        let folder = folder("sha256");
        let path = folder.join("data.csv");
        fs::write(&path, vec![b'a'; 3 * BUFFER_BYTES + 1]).unwrap();
        let file = DigestSource::open(&path).unwrap();
        assert_eq!(file.stamp().length, 786_433);
        assert_eq!(file.digest().unwrap(), "2cfe79a4");
        assert_eq!(digest_of_text("abc"), "ba7816bf");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_no_file_is_an_error_and_not_waited_for() {
        let folder = folder("fifo");
        let fifo = folder.join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        for path in [
            &*folder,
            &*fifo,
            Path::new("/dev/null"),
            &folder.join("missing"),
        ] {
            assert!(DigestSource::open(path).is_err(), "{path:?}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_has_no_digest() {
        let folder = folder("grows");
        let path = folder.join("data.csv");
        fs::write(&path, "a").unwrap();
        let file = DigestSource::open(&path).unwrap();
        fs::write(&path, "ab").unwrap();
        assert!(file.digest().is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
