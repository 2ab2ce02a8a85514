//! Artifacts on their way: copied beside the journal, or inside it where they are small.
//!
//! Invariant: when a call returns, the bytes no longer depend on the user's file; a copy that could
//! not be made leaves nothing behind.

use std::fs;
use std::path::Path;

use super::reach::Reach;
use crate::journal::record::{Content, Event};

/// Text artifacts up to this size travel inside the journal, larger ones as a file beside it.
const INLINE_BYTES: usize = 16 << 10;
/// Artifacts up to this size go into the journal's memory where they cannot lie beside it: more
/// could take the memory that the training needs.
const MEMORY_ARTIFACT_BYTES: u64 = 8 << 20;

impl Reach<'_> {
    pub(super) fn artifact(self, bytes: &[u8], artifact_file: &str) {
        let spooled = match self.tracker.journal().spool_directory() {
            Some(directory) if bytes.len() > INLINE_BYTES => {
                self.spool(artifact_file, &directory, |file| fs::write(file, bytes))
            }
            _ => None,
        };
        if spooled.is_none() && !self.fits_memory(artifact_file, bytes.len() as u64) {
            return;
        }
        let attachment = if spooled.is_some() { &[][..] } else { bytes };
        let content = spooled.map_or(Content::Attached, |name| Content::Spooled(name.into()));
        self.event(
            Event::Artifact {
                path: artifact_file.into(),
                content,
            },
            attachment,
        );
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
        let spooled = self
            .tracker
            .journal()
            .spool_directory()
            .and_then(|directory| {
                self.spool(&path, &directory, |file| {
                    fs::copy(local_path, file).map(drop)
                })
            });
        if let Some(name) = spooled {
            self.event(
                Event::Artifact {
                    path: path.into(),
                    content: Content::Spooled(name.into()),
                },
                &[],
            );
            return;
        }
        let size = fs::metadata(local_path).map_or(0, |metadata| metadata.len());
        if !self.fits_memory(&path, size) {
            return;
        }
        match fs::read(local_path) {
            Ok(bytes) => {
                self.event(
                    Event::Artifact {
                        path: path.into(),
                        content: Content::Attached,
                    },
                    &bytes,
                );
            }
            Err(error) => self.tracker.warn_rejected(
                "artifact",
                &path,
                format_args!("it cannot be read: {error}"),
            ),
        }
    }

    /// Whether an artifact that cannot lie beside the journal may take the way through memory.
    fn fits_memory(self, path: &str, bytes: u64) -> bool {
        let fits = bytes <= MEMORY_ARTIFACT_BYTES;
        if !fits {
            self.tracker.warn_rejected(
                "artifact",
                path,
                format_args!("its {bytes} bytes find no room beside the journal; free space there, or set MLFLOW_JOURNAL_DIR"),
            );
        }
        fits
    }

    /// Writes a file beside the journal and returns its name; `None`, with nothing left behind, on failure.
    fn spool(
        self,
        path: &str,
        directory: &Path,
        write: impl FnOnce(&Path) -> std::io::Result<()>,
    ) -> Option<String> {
        let name = format!("{}.artifact", uuid::Uuid::new_v4().simple());
        let file = directory.join(&name);
        match write(&file) {
            Ok(()) => Some(name),
            Err(error) => {
                let _ = fs::remove_file(&file);
                self.tracker.warn_once(
                    "artifact",
                    path,
                    format_args!("it could not be copied beside the journal ({error}) and takes the way through memory"),
                );
                None
            }
        }
    }
}
