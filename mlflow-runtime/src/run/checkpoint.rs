//! Checkpoints on their way into the journal.
//!
//! Invariants: a checkpoint is logged with all of its files or not at all. Its end is written after its files, so a
//! process that is killed meanwhile leaves a checkpoint that is never taken for a whole one.

use std::fs;
use std::path::Path;

use super::artifact::Prepared;
use super::handle::LiveRun;
use crate::model::ArtifactKind;
use crate::model::checkpoint::{CheckpointCall, CheckpointFiles, CheckpointName, MANIFEST_FILE};
use crate::time;
use crate::warnings::warn_user;

impl LiveRun<'_> {
    /// Sets the number of steps whose checkpoints are kept, for all that are logged from now on.
    pub(super) fn keep_checkpoints(&self, count: usize) {
        if count == 0 {
            warn_user(format_args!(
                "keep_checkpoints(0) would delete every checkpoint, so it is ignored; keep at least 1"
            ));
            return;
        }
        self.checkpoint_retention().set(count);
    }

    /// Logs a file or folder as the checkpoint of a step. Every file of a folder is copied before the first event is
    /// written, so that a process which is killed while it copies leaves no part of a checkpoint.
    pub(super) fn log_checkpoint(&self, local_path: &Path, step: i64) {
        let call = CheckpointCall {
            id: uuid::Uuid::new_v4().as_u64_pair().0,
            step,
            logged_ms: time::now_ms(),
            // Of the ranks that share a run, only rank 0 deletes.
            keep: match self.member_rank() {
                Some(rank) if rank > 0 => 0,
                _ => self.checkpoint_retention().get(),
            },
            is_folder: false,
        };
        match fs::metadata(local_path) {
            Ok(metadata) if metadata.is_dir() => self.log_checkpoint_folder(
                local_path,
                CheckpointCall {
                    is_folder: true,
                    ..call
                },
            ),
            Ok(metadata) if metadata.is_file() => self.log_checkpoint_file(local_path, call),
            found => self.reject_path(local_path, found),
        }
    }

    fn log_checkpoint_file(&self, local_path: &Path, call: CheckpointCall) {
        let path = CheckpointName::file(call.step, extension(local_path));
        if call.keep == 0 {
            return self.log_file(ArtifactKind::File, local_path, &path);
        }
        let kind = ArtifactKind::CheckpointFile(call);
        let Some(path) = self.path_for(kind, &path) else {
            return;
        };
        match Prepared::from_file(self.tracker.journal(), local_path) {
            Ok((copy, _)) => {
                self.log_prepared(kind, &path, copy);
                self.end_checkpoint(call, &path, &CheckpointFiles::new());
            }
            Err(fault) => self.reject(local_path, &fault),
        }
    }

    fn log_checkpoint_folder(&self, local_path: &Path, call: CheckpointCall) {
        let name = CheckpointName {
            step: call.step,
            version: 0,
        };
        let folder = name.folder();
        let manifest = format!("{folder}/{MANIFEST_FILE}");
        let (mut files, mut unstored) = (Vec::new(), 0);
        let left_out = self.visit_folder(local_path, &folder, &mut |file, path| {
            // The manifest of a checkpoint that was downloaded, and is logged again.
            if path == manifest {
                return;
            }
            let Some(path) = self.path_for(ArtifactKind::CheckpointFile(call), path) else {
                unstored += 1;
                return;
            };
            match Prepared::from_file(self.tracker.journal(), file) {
                Ok((copy, size)) => files.push((path.into_owned(), copy, size)),
                Err(fault) => {
                    self.reject(file, &fault);
                    unstored += 1;
                }
            }
        });
        let missing = left_out + unstored;
        if missing > 0 {
            for (_, copy, _) in files {
                copy.discard(self.tracker.journal());
            }
            let entries = if missing == 1 { "file" } else { "files" };
            return self.reject(
                local_path,
                &format!(
                    "the checkpoint is left out, because {missing} {entries} of it cannot be stored"
                ),
            );
        }
        if files.is_empty() {
            return self.reject(
                local_path,
                "the folder has no files, so it is no checkpoint",
            );
        }
        let mut sizes = CheckpointFiles::new();
        for (path, copy, size) in files {
            let inside = { path.strip_prefix(&folder) }.and_then(|path| path.strip_prefix('/'));
            sizes.insert(inside.unwrap_or(&path).to_owned(), size);
            self.log_prepared(ArtifactKind::CheckpointFile(call), &path, copy);
        }
        self.end_checkpoint(call, &folder, &sizes);
    }

    fn end_checkpoint(&self, call: CheckpointCall, path: &str, files: &CheckpointFiles) {
        // Writing texts and numbers into memory does not fail.
        let bytes = serde_json::to_vec(files).unwrap_or_default();
        self.log_artifact_bytes(ArtifactKind::Checkpoint(call), &bytes, path);
    }
}

/// Returns the extension of a file, of two parts for an archive.
// Input:  `weights.bin`, `weights.tar.gz`
// Output: `bin`, `tar.gz`
fn extension(path: &Path) -> Option<&str> {
    const ARCHIVE: &str = ".tar";
    let name = path.file_name()?.to_str()?;
    let last = path.extension()?.to_str()?;
    let stem = name.strip_suffix(last)?.strip_suffix('.')?;
    let stem = stem.strip_suffix(ARCHIVE).filter(|stem| !stem.is_empty());
    Some(stem.map_or(last, |stem| &name[stem.len() + 1..]))
}
