//! Delivery of checkpoints, and the deletion of those that newer ones replace.
//!
//! # Invariants
//!
//! 1. The folder of a checkpoint belongs to one call that logged a checkpoint. Its manifest is written before its
//!    first file, and says that the checkpoint is complete only after the store has all of its files.
//! 2. A checkpoint is deleted only after as many whole ones of greater steps are in the store as are to be kept.
//! 3. Nothing is deleted but files of the names that this library gives to checkpoints of one file, and folders with
//!    a manifest.
//! 4. A manifest does not say that a folder is complete while its files are being deleted, and is the last file of
//!    the folder to be deleted. A deletion that was interrupted therefore leaves no folder that looks like a
//!    checkpoint, and goes on after the next checkpoint.

use std::cell::RefCell;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Mutex;

use crate::entities::FileInfo;
use crate::model::ArtifactKind;
use crate::model::checkpoint::{
    CHECKPOINTS, CheckpointCall, CheckpointFiles, CheckpointManifest, CheckpointName, MANIFEST_FILE,
};
use crate::shipper::Delivery;
use crate::shipper::batch::Artifact;
use crate::store::{ArtifactContent, StoreError, StoredRun};
use crate::warnings::{WarningLog, warn_without_dedup};

/// Number of entries that each of the maps below keeps at most.
const MAX_KEPT: usize = 4096;
/// Largest size of a manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// Checkpoints that were delivered, or are about to be.
#[derive(Default)]
pub(in crate::shipper) struct KnownCheckpoints {
    /// Folders by the call that logged the checkpoint. The lock is held while a folder is chosen, so that two files
    /// of a checkpoint do not choose two.
    folders: Mutex<FxHashMap<u64, String>>,
    /// Checkpoints whose end was read, by the id of their run.
    ends: RefCell<FxHashMap<String, Vec<(CheckpointCall, u64)>>>,
    /// Folders of whole checkpoints, each with the id of its run.
    whole: RefCell<FxHashSet<(String, String)>>,
    /// Runs in whose store nothing can be deleted.
    undeletable: RefCell<FxHashSet<String>>,
    warning_log: RefCell<WarningLog>,
}

impl KnownCheckpoints {
    /// Notes the checkpoints of a run of which the end is among these artifacts.
    pub(in crate::shipper) fn note_ends(&self, run_id: &str, artifacts: &[Artifact]) {
        for artifact in artifacts {
            if let ArtifactKind::Checkpoint(call) = artifact.kind {
                let mut ends = self.ends.borrow_mut();
                if ends.len() >= MAX_KEPT {
                    ends.clear();
                }
                let of_run = ends.entry(run_id.to_owned()).or_default();
                if of_run.len() >= MAX_KEPT {
                    of_run.clear();
                }
                if !of_run.iter().any(|(known, _)| known.id == call.id) {
                    of_run.push((call, artifact.sequence));
                }
            }
        }
    }

    /// Returns true if a checkpoint need not be sent, because as many newer ones of greater steps are in the journal
    /// or in the store as are to be kept.
    fn is_outdated(&self, run_id: &str, call: &CheckpointCall, sequence: u64) -> bool {
        let ends = self.ends.borrow();
        let is_newer = |(other, at): &&(CheckpointCall, u64)| {
            other.step > call.step && other.logged_ms >= call.logged_ms && *at > sequence
        };
        let newer = ends.get(run_id).into_iter().flatten().filter(is_newer);
        let steps: FxHashSet<i64> = newer.map(|(other, _)| other.step).collect();
        call.keep > 0 && steps.len() >= call.keep
    }
}

/// Checkpoint in the store.
struct StoredCheckpoint {
    path: String,
    name: CheckpointName,
    is_folder: bool,
    is_whole: bool,
}

impl Delivery {
    /// Writes a file of a checkpoint.
    pub(in crate::shipper) async fn put_checkpoint_file(
        &self,
        run: &StoredRun,
        artifact: &Artifact,
        call: CheckpointCall,
    ) -> Result<(), StoreError> {
        let known = &self.checkpoints;
        if known.is_outdated(&run.run_id, &call, artifact.sequence) {
            return Ok(());
        }
        if !call.is_folder {
            return self
                .store
                .put_artifact(run, &artifact.path, artifact.content())
                .await;
        }
        let own = CheckpointName {
            step: call.step,
            version: 0,
        };
        let file = { artifact.path.strip_prefix(&own.folder()) }
            .and_then(|file| file.strip_prefix('/'))
            .ok_or_else(|| rejected("its path is no path of a checkpoint".to_owned()))?;
        let folder = self.find_or_begin_checkpoint(run, call).await?;
        let path = format!("{folder}/{file}");
        let put = self
            .store
            .put_artifact(run, &path, artifact.content())
            .await;
        if put.is_err() {
            // Somebody may have deleted the folder.
            known.folders.lock().await.remove(&call.id);
        }
        put
    }

    /// Marks a checkpoint as complete, and deletes those that are no longer to be kept.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the store lacks a file of the checkpoint.
    pub(in crate::shipper) async fn end_checkpoint(
        &self,
        run: &StoredRun,
        artifact: &Artifact,
        call: CheckpointCall,
    ) -> Result<(), StoreError> {
        let known = &self.checkpoints;
        if known.is_outdated(&run.run_id, &call, artifact.sequence) {
            return Ok(());
        }
        let path = if call.is_folder {
            self.complete_checkpoint(run, artifact, call).await?
        } else {
            artifact.path.clone()
        };
        if call.keep == 0 || known.undeletable.borrow().contains(&run.run_id) {
            return Ok(());
        }
        match self.delete_old_checkpoints(run, call, &path).await {
            Err(
                error @ (StoreError::Rejected { .. }
                | StoreError::Blocked {
                    everything: false, ..
                }),
            ) => {
                if matches!(error, StoreError::Blocked { .. }) {
                    let mut undeletable = known.undeletable.borrow_mut();
                    undeletable.insert(run.run_id.clone());
                }
                let admitted = known
                    .warning_log
                    .borrow_mut()
                    .admit("checkpoints", &run.run_id);
                if let Some(end) = admitted {
                    warn_without_dedup(format!(
                        "old checkpoints of the run {} cannot be deleted, so all of them are kept: {}{end}",
                        run.run_id,
                        error.reason()
                    ));
                }
                Ok(())
            }
            deleted => deleted,
        }
    }

    /// Writes the manifest of a checkpoint of which all files are in the store. Returns the checkpoint's folder.
    async fn complete_checkpoint(
        &self,
        run: &StoredRun,
        artifact: &Artifact,
        call: CheckpointCall,
    ) -> Result<String, StoreError> {
        let unreadable = |error: &dyn std::fmt::Display| {
            rejected(format!(
                "its record in the journal's directory cannot be read: {error}"
            ))
        };
        let bytes = artifact.read().map_err(|error| unreadable(&error))?;
        let files: CheckpointFiles =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(&error))?;
        let folder = self.find_or_begin_checkpoint(run, call).await?;
        let stored = self.list_files(run, &folder).await?;
        let has = |(file, size): &(&String, &u64)| {
            let path = format!("{folder}/{file}");
            let found = stored.iter().find(|found| found.path == path);
            found.is_some_and(|found| found.file_size.is_none_or(|found| found == **size))
        };
        if let Some((file, _)) = files.iter().find(|file| !has(file)) {
            return Err(rejected(format!(
                "the store lacks its file {file:?}, so it is not complete, and no run continues from it"
            )));
        }
        let manifest = CheckpointManifest {
            complete: true,
            files,
            ..CheckpointManifest::begun(&call)
        };
        self.put_manifest(run, &folder, &manifest).await?;
        self.checkpoints.note_whole(run, &folder);
        Ok(folder)
    }

    /// Returns the folder of a checkpoint: the one with a manifest of this call, or a new one. Its name is the first
    /// one of the step that is not taken.
    async fn find_or_begin_checkpoint(
        &self,
        run: &StoredRun,
        call: CheckpointCall,
    ) -> Result<String, StoreError> {
        let mut folders = self.checkpoints.folders.lock().await;
        if let Some(folder) = folders.get(&call.id) {
            return Ok(folder.clone());
        }
        let entries = self.store.list_folder(run, CHECKPOINTS).await?;
        let mut name = CheckpointName {
            step: call.step,
            version: 0,
        };
        let mut found = None;
        for entry in entries.iter().filter(|entry| entry.is_dir) {
            let path = entry.path.trim_end_matches('/');
            let Some(taken) = CheckpointName::parse(path, true) else {
                continue;
            };
            if taken.step == call.step {
                name.version = name.version.max(taken.version.saturating_add(1));
                let manifest = self.read_manifest(run, path).await?;
                if manifest.is_some_and(|manifest| manifest.call == call.hex_id()) {
                    found = Some(path.to_owned());
                }
            }
        }
        let folder = match found {
            Some(folder) => folder,
            None => {
                let folder = name.folder();
                let begun = CheckpointManifest::begun(&call);
                self.put_manifest(run, &folder, &begun).await?;
                folder
            }
        };
        if folders.len() >= MAX_KEPT {
            folders.clear();
        }
        folders.insert(call.id, folder.clone());
        Ok(folder)
    }

    /// Deletes the checkpoints of smaller steps than the newest ones that are to be kept, and those of the same step
    /// in favour of which a newer one was logged. Keeps the checkpoint at `own`, whatever its step is.
    async fn delete_old_checkpoints(
        &self,
        run: &StoredRun,
        call: CheckpointCall,
        own: &str,
    ) -> Result<(), StoreError> {
        let entries = self.store.list_folder(run, CHECKPOINTS).await?;
        let checkpoints = self.identify_checkpoints(run, &entries).await?;
        let whole = checkpoints.iter().filter(|one| one.is_whole);
        let mut steps: Vec<i64> = whole.map(|one| one.name.step).collect();
        steps.sort_unstable_by(|left, right| right.cmp(left));
        steps.dedup();
        let oldest_kept = steps.get(call.keep - 1).copied();
        let is_replaced = |one: &StoredCheckpoint| {
            let is_newer = |other: &StoredCheckpoint| {
                other.is_whole && other.name.step == one.name.step && other.name > one.name
            };
            one.is_folder && checkpoints.iter().any(is_newer)
        };
        let mut deleted_folders = Vec::new();
        for one in &checkpoints {
            let is_old = oldest_kept.is_some_and(|oldest| one.name.step < oldest);
            if one.path == own || !(is_old || is_replaced(one)) {
                continue;
            }
            if one.is_folder {
                self.delete_checkpoint_folder(run, one).await?;
                deleted_folders.push(&one.path);
            } else if !entries.iter().any(|other| {
                // A server may delete everything whose path begins so.
                other.path != one.path && other.path.starts_with(&one.path)
            }) {
                self.store.delete_artifact(run, &one.path).await?;
            }
        }
        if deleted_folders.is_empty() {
            return Ok(());
        }
        // A bucket has no folders without files. In a directory, they have to be deleted, too.
        for entry in self.store.list_folder(run, CHECKPOINTS).await? {
            let path = entry.path.trim_end_matches('/');
            if entry.is_dir && deleted_folders.iter().any(|deleted| *deleted == path) {
                self.store.delete_artifact(run, path).await?;
            }
        }
        Ok(())
    }

    /// Returns those of the entries that are checkpoints of this library.
    async fn identify_checkpoints(
        &self,
        run: &StoredRun,
        entries: &[FileInfo],
    ) -> Result<Vec<StoredCheckpoint>, StoreError> {
        let mut checkpoints = Vec::new();
        for entry in entries {
            let path = entry.path.trim_end_matches('/');
            let Some(name) = CheckpointName::parse(path, entry.is_dir) else {
                continue;
            };
            let is_whole = if !entry.is_dir || self.checkpoints.is_whole(run, path) {
                true
            } else {
                match self.read_manifest(run, path).await? {
                    Some(manifest) => manifest.complete,
                    None => continue,
                }
            };
            if is_whole && entry.is_dir {
                self.checkpoints.note_whole(run, path);
            }
            checkpoints.push(StoredCheckpoint {
                path: path.to_owned(),
                name,
                is_folder: entry.is_dir,
                is_whole,
            });
        }
        Ok(checkpoints)
    }

    /// Deletes the files in the folder of a checkpoint. If the first one cannot be deleted, the checkpoint stays whole.
    async fn delete_checkpoint_folder(
        &self,
        run: &StoredRun,
        checkpoint: &StoredCheckpoint,
    ) -> Result<(), StoreError> {
        let folder = &checkpoint.path;
        self.checkpoints.forget_whole(run, folder);
        { self.checkpoints.folders.lock().await }.retain(|_, known| known != folder);
        let manifest_path = format!("{folder}/{MANIFEST_FILE}");
        let manifest = self.read_manifest(run, folder).await?;
        if let Some(manifest) = manifest.as_ref().filter(|manifest| manifest.complete) {
            let incomplete = CheckpointManifest {
                complete: false,
                ..manifest.clone()
            };
            self.put_manifest(run, folder, &incomplete).await?;
        }
        let mut is_first = true;
        for file in self.list_files(run, folder).await? {
            if file.path == manifest_path {
                continue;
            }
            let deleted = self.store.delete_artifact(run, &file.path).await;
            if let (Err(_), true, Some(manifest)) = (&deleted, is_first, &manifest) {
                self.put_manifest(run, folder, manifest).await?;
            }
            deleted?;
            is_first = false;
        }
        self.store.delete_artifact(run, &manifest_path).await
    }

    /// Returns all files below a folder.
    async fn list_files(&self, run: &StoredRun, folder: &str) -> Result<Vec<FileInfo>, StoreError> {
        let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in self.store.list_folder(run, &folder).await? {
                if entry.is_dir {
                    folders.push(entry.path.trim_end_matches('/').to_owned());
                } else {
                    files.push(entry);
                }
            }
        }
        Ok(files)
    }

    /// Reads the manifest in a folder; `None` if there is none, or if it is none of this library.
    async fn read_manifest(
        &self,
        run: &StoredRun,
        folder: &str,
    ) -> Result<Option<CheckpointManifest>, StoreError> {
        let path = format!("{folder}/{MANIFEST_FILE}");
        let read = self.store.get_artifact(run, &path, MAX_MANIFEST_BYTES);
        Ok(read
            .await?
            .and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    async fn put_manifest(
        &self,
        run: &StoredRun,
        folder: &str,
        manifest: &CheckpointManifest,
    ) -> Result<(), StoreError> {
        let path = format!("{folder}/{MANIFEST_FILE}");
        let content = ArtifactContent::Bytes(manifest.to_json().into());
        self.store.put_artifact(run, &path, content).await
    }
}

impl KnownCheckpoints {
    fn note_whole(&self, run: &StoredRun, folder: &str) {
        let mut whole = self.whole.borrow_mut();
        if whole.len() >= MAX_KEPT {
            whole.clear();
        }
        whole.insert((run.run_id.clone(), folder.to_owned()));
    }

    fn is_whole(&self, run: &StoredRun, folder: &str) -> bool {
        let key = (run.run_id.clone(), folder.to_owned());
        self.whole.borrow().contains(&key)
    }

    fn forget_whole(&self, run: &StoredRun, folder: &str) {
        let key = (run.run_id.clone(), folder.to_owned());
        self.whole.borrow_mut().remove(&key);
    }
}

fn rejected(reason: String) -> StoreError {
    StoreError::Rejected {
        reason: reason.into(),
    }
}
