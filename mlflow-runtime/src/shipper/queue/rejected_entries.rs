//! Entries that the store has rejected for good, kept in a folder of their own.
//!
//! Invariants: rejected entries are kept, up to about [`MAX_KEPT_BYTES`] per journal, artifacts not counted.
//! The folder has the format of a journal, so that [`resend_rejected`](crate::resend_rejected) only has to
//! move it back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::journal::directory::RejectedFolder;
use crate::journal::entry_log::{self, EntryLog};
use crate::journal::record::{Event, Origin};
use crate::journal::user_files;
use crate::model::RunIdentity;
use crate::shipper::batch::{Artifact, ArtifactBytes, RejectedEntry, Rejection};

/// Approximate limit for the bytes of rejected entries that are kept: a program may log a changed param again
/// and again.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// Rejected entries of one journal.
#[derive(Default)]
pub(in crate::shipper) struct RejectedEntries {
    log: EntryLog,
    bytes: usize,
}

/// Result of keeping rejected entries.
#[derive(Default)]
pub(in crate::shipper) struct KeepResult {
    /// Number of entries kept.
    pub(in crate::shipper) entries: usize,
    /// Bytes of artifact files that have left the journal's directory.
    pub(in crate::shipper) file_bytes: u64,
    /// Error because of which not all entries are kept.
    pub(in crate::shipper) fault: Option<io::Error>,
}

impl RejectedEntries {
    /// Keeps entries of a run in a folder beside the journal in `directory`.
    pub(in crate::shipper) fn keep(
        &mut self,
        directory: &Path,
        origin: &Origin,
        run: u32,
        identity: &RunIdentity,
        refused: Vec<Rejection>,
    ) -> KeepResult {
        let files: Vec<PathBuf> = refused.iter().filter_map(Rejection::file).collect();
        let mut kept = KeepResult::default();
        kept.fault = self
            .try_keep(directory, origin, run, identity, refused, &mut kept)
            .err();
        // A file that could not be moved is deleted: nobody would look for it, and the disk may be full.
        for file in files {
            let bytes = user_files::file_length(&file);
            if fs::remove_file(&file).is_ok() {
                kept.file_bytes += bytes;
            }
        }
        kept
    }

    fn try_keep(
        &mut self,
        directory: &Path,
        origin: &Origin,
        run: u32,
        identity: &RunIdentity,
        refused: Vec<Rejection>,
        kept: &mut KeepResult,
    ) -> io::Result<()> {
        let folder = RejectedFolder::create_beside(directory)?;
        if !self.log.is_below(folder.path()) {
            self.log = EntryLog::default();
        }
        let mut open = |len| entry_log::create_segment_in(folder.path(), len);
        let mut log = self.log.writer(&mut open, origin, run, identity);
        let mut is_full = false;
        for Rejection { entry, .. } in refused {
            let entry = move_artifact_file(folder.path(), entry, kept)?;
            if self.bytes > MAX_KEPT_BYTES && !matches!(entry, RejectedEntry::Artifact(_)) {
                // An artifact behind this entry is kept nevertheless.
                is_full = true;
                continue;
            }
            self.bytes += 64;
            match &entry {
                RejectedEntry::Metric(metric) => log.append_metric(metric)?,
                RejectedEntry::Param(param, sequence) => {
                    self.bytes += param.key.len() + param.value.len();
                    log.append_event(
                        &Event::Param(std::borrow::Cow::Borrowed(param)),
                        *sequence,
                        &[],
                    )?;
                }
                RejectedEntry::Tag(tag, sequence) => {
                    self.bytes += tag.key.len() + tag.value.len();
                    log.append_event(&Event::Tag(std::borrow::Cow::Borrowed(tag)), *sequence, &[])?;
                }
                RejectedEntry::Artifact(artifact) => {
                    if let Err(error) = artifact.copy_to(&mut log) {
                        let moved = artifact.file();
                        let _ = moved.map(fs::remove_file);
                        return Err(error);
                    }
                }
            }
        }
        kept.entries = log.finish()?.records;
        if is_full {
            return Err(io::Error::other(
                "the limit for the bytes of rejected values is reached",
            ));
        }
        Ok(())
    }
}

/// Moves the file of an artifact to `folder`.
fn move_artifact_file(
    folder: &Path,
    entry: RejectedEntry,
    kept: &mut KeepResult,
) -> io::Result<RejectedEntry> {
    let RejectedEntry::Artifact(Artifact {
        bytes: ArtifactBytes::File(file),
        sequence,
        kind,
        path,
        fingerprint,
    }) = entry
    else {
        return Ok(entry);
    };
    let moved = folder.join(file.file_name().unwrap_or_default());
    let bytes = user_files::file_length(&file);
    match fs::rename(&file, &moved) {
        // If the file does not exist any more, the entry is kept without it.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => kept.file_bytes += bytes,
    }
    Ok(RejectedEntry::Artifact(Artifact {
        sequence,
        kind,
        path,
        fingerprint,
        bytes: ArtifactBytes::File(moved),
    }))
}
