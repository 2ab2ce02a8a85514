//! Artifacts on their way: copied beside the journal, or inside it where they are small.
//!
//! Invariant: when a call returns, the bytes no longer depend on the user's file; a copy that could
//! not be made leaves nothing behind.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::Path;

use super::reach::Reach;
use crate::journal::allocation::check_limit;
use crate::journal::directory::ARTIFACT_EXTENSION;
use crate::journal::record::{Content, Event};

/// Text artifacts up to this size travel inside the journal, larger ones as a file beside it.
const INLINE_BYTES: usize = 16 << 10;
/// Artifacts up to this size go into the journal's memory where they cannot lie beside it: more
/// could take the memory that the training needs.
const MEMORY_ARTIFACT_BYTES: u64 = 8 << 20;

/// What became of a copy beside the journal.
enum Copy {
    /// It has this name.
    Made(String),
    /// There is none: it is small, or cannot be made.
    NotMade,
    /// The journal is full.
    NoRoom,
}

impl Reach<'_> {
    pub(super) fn artifact(self, bytes: &[u8], artifact_file: &str) {
        let copy = if bytes.len() > INLINE_BYTES {
            self.copy(artifact_file, bytes.len() as u64, |file| {
                fs::write(file, bytes)
            })
        } else {
            Copy::NotMade
        };
        self.log(artifact_file, copy, bytes.len() as u64, || {
            Ok(Cow::Borrowed(bytes))
        });
    }

    pub(super) fn artifact_file(self, local_path: &Path, artifact_path: &str) {
        let Some(name) = local_path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|_| local_path.is_file())
        else {
            self.tracker.warn_rejected(
                "artifact",
                &local_path.display().to_string(),
                format_args!("there is no such file with a UTF-8 name; give the path of a file"),
            );
            return;
        };
        let path = match artifact_path.trim_matches('/') {
            "" => name.to_owned(),
            directory => format!("{directory}/{name}"),
        };
        let size = fs::metadata(local_path).map_or(0, |metadata| metadata.len());
        let copy = self.copy(&path, size, |file| fs::copy(local_path, file).map(drop));
        self.log(&path, copy, size, || fs::read(local_path).map(Cow::Owned));
    }

    /// Writes the event down. Without a copy, the bytes go with it.
    fn log<'b>(
        self,
        path: &str,
        copy: Copy,
        size: u64,
        bytes: impl FnOnce() -> io::Result<Cow<'b, [u8]>>,
    ) {
        let (content, bytes) = match copy {
            Copy::NoRoom => return,
            Copy::Made(name) => (Content::Spooled(name.into()), Ok(Cow::default())),
            Copy::NotMade if size > MEMORY_ARTIFACT_BYTES => {
                self.tracker.warn_rejected(
                    "artifact",
                    path,
                    format_args!("its {size} bytes find no room beside the journal; free space there, or set MLFLOW_JOURNAL_DIR"),
                );
                return;
            }
            Copy::NotMade => (Content::Attached, bytes()),
        };
        match bytes {
            Ok(bytes) => {
                let path = path.into();
                self.event(Event::Artifact { path, content }, &bytes);
            }
            Err(error) => self.tracker.warn_rejected(
                "artifact",
                path,
                format_args!("it cannot be read: {error}"),
            ),
        }
    }

    /// Has `write` make a file of `size` bytes beside the journal.
    fn copy(self, path: &str, size: u64, write: impl FnOnce(&Path) -> io::Result<()>) -> Copy {
        let journal = self.tracker.journal();
        let Some(directory) = journal.spool_directory() else {
            return Copy::NotMade;
        };
        if !journal.take_room(size) {
            return Copy::NoRoom;
        }
        let name = format!("{}.{ARTIFACT_EXTENSION}", uuid::Uuid::new_v4().simple());
        let file = directory.join(&name);
        match check_limit(size).and_then(|()| write(&file)) {
            Ok(()) => Copy::Made(name),
            Err(error) => {
                let _ = fs::remove_file(&file);
                journal.give_room(size);
                self.tracker.warn_once(
                    "artifact",
                    path,
                    format_args!("it could not be copied beside the journal ({error}) and takes the way through memory"),
                );
                Copy::NotMade
            }
        }
    }
}
