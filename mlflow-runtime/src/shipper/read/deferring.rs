//! The deferring of artifacts: an artifact that waits is copied to a lane of its own, with its bytes in a file.
//!
//! Invariant: the segments that name a waiting artifact, or its file, are pinned until the artifact is settled.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::directory::ARTIFACT_EXTENSION;
use crate::journal::record::Fingerprint;
use crate::journal::segment::Segment;
use crate::journal::user_files;
use crate::shipper::batch::{Artifact, ArtifactBytes};
use crate::shipper::journal_owner::JournalOwner;
use crate::shipper::queue::deferred_artifacts::DeferredArtifact;
use crate::shipper::queue::lane::Lane;
use crate::shipper::read::journal_reader::JournalReader;

impl JournalReader {
    /// Drops a waiting artifact of this run and path, because the artifact at `sequence` replaces it. Returns
    /// true if there was such an artifact and it was another, older one.
    pub(in crate::shipper) fn supersede_deferred(
        &mut self,
        run_id: &str,
        artifact: &Artifact,
    ) -> bool {
        let is = |deferred: &DeferredArtifact| {
            deferred.run.run_id == run_id
                && deferred.artifact.path == artifact.path
                && match artifact.kind.namespace() {
                    Some(namespace) => deferred.artifact.kind.namespace() == Some(namespace),
                    None => deferred.artifact.sequence == artifact.sequence,
                }
        };
        let at = self.deferred.waiting.iter().position(is);
        let Some(older) = at.and_then(|at| self.deferred.waiting.remove(at)) else {
            return false;
        };
        let is_newer = older.artifact.sequence != artifact.sequence;
        self.release_segments(&older.segments);
        if let ArtifactBytes::File(file) = older.artifact.bytes {
            self.delete_when_unpinned(file, older.segments);
        }
        is_newer
    }

    /// Makes an artifact wait by itself. `cursors` are the indexes of the cursors that have read it.
    /// `is_shared`: the segments of these cursors name the artifact's file, too, and are pinned as well.
    pub(in crate::shipper) fn defer(
        &mut self,
        mut deferred: DeferredArtifact,
        cursors: &[usize],
        is_shared: bool,
    ) {
        self.move_to_file(&mut deferred.artifact);
        let mut log = std::mem::take(&mut self.deferred.log);
        let artifact = &deferred.artifact;
        let copied = self.copy_to(&mut log, Lane::Artifacts, deferred.run_number, |log| {
            #[cfg(test)]
            if deferred.values > 1 && crate::determinism::has_rare_fault() {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            artifact.copy_to(log)
        });
        self.deferred.log = log;
        deferred.segments = match copied {
            Ok(copied) => copied
                .segments
                .into_iter()
                .map(|(segment, _)| segment)
                .collect(),
            // Without a copy of the entry, the segments that it was read from are pinned.
            Err(_) => self.segments_of(cursors),
        };
        if is_shared {
            deferred.segments.extend(self.segments_of(cursors));
        }
        for cursor in &mut self.cursors {
            let names = |segment: &Arc<Segment>| Arc::ptr_eq(segment, &cursor.segment);
            if deferred.segments.iter().any(names) {
                cursor.waiting_artifacts += 1;
                if cursor.lane == Some(Lane::Artifacts) {
                    cursor.skip_to_end();
                }
            }
        }
        self.deferred.waiting.push_back(deferred);
    }

    /// Moves bytes that were attached to a journal entry to a file, so that a waiting artifact takes no
    /// memory. If that is impossible, the bytes stay in memory.
    pub(in crate::shipper) fn move_to_file(&self, artifact: &mut Artifact) {
        if let ArtifactBytes::Memory(bytes) = &artifact.bytes
            && let Some((file, fingerprint)) = self.spool(bytes)
        {
            artifact.bytes = ArtifactBytes::File(file);
            artifact.fingerprint = fingerprint;
        }
    }

    /// Writes `bytes` to a file beside the segments. Returns `None` if the journal is in memory, or the file
    /// cannot be written.
    pub(in crate::shipper) fn spool(&self, bytes: &[u8]) -> Option<(PathBuf, Option<Fingerprint>)> {
        let directory = self.spool_directory()?;
        match &self.owner {
            JournalOwner::Live { journal, .. } => {
                let copy = journal.write_artifact(bytes)?.ok()?;
                Some((directory.join(copy.name), Some(copy.fingerprint)))
            }
            JournalOwner::Orphan { .. } => {
                let path = directory.join(artifact_name());
                let written =
                    user_files::create_file(&path).and_then(|mut file| file.write_all(bytes));
                if written.is_err() {
                    let _ = std::fs::remove_file(&path);
                }
                written.ok().map(|()| (path, None))
            }
        }
    }

    /// Gives a file beside the segments a second name. Returns `None` if the file system cannot do that.
    pub(in crate::shipper) fn hard_link(&self, file: &Path) -> Option<PathBuf> {
        #[cfg(test)]
        if crate::determinism::has_rare_fault() {
            return None;
        }
        let own = file.with_file_name(artifact_name());
        std::fs::hard_link(file, &own).ok()?;
        if let JournalOwner::Live { journal, .. } = &self.owner {
            journal.add_artifact_bytes(user_files::file_length(&own));
        }
        Some(own)
    }

    /// Lowers the count of waiting artifacts that pin each of these segments.
    pub(in crate::shipper) fn release_segments(&mut self, segments: &[Arc<Segment>]) {
        for cursor in &mut self.cursors {
            if segments.iter().any(|one| Arc::ptr_eq(one, &cursor.segment)) {
                cursor.waiting_artifacts = cursor.waiting_artifacts.saturating_sub(1);
            }
        }
    }
}

pub(in crate::shipper) fn artifact_name() -> String {
    format!("{}.{ARTIFACT_EXTENSION}", uuid::Uuid::new_v4().simple())
}
