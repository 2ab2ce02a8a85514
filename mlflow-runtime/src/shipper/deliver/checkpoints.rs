//! Delivery of checkpoints, and the deletion of those that newer ones replace.
//!
//! # Invariants
//!
//! 1. The folder of a checkpoint belongs to one call that logged a checkpoint. Its manifest is written before its
//!    first file, and says that the checkpoint is complete only after the store has all of its files.
//! 2. A checkpoint is deleted only after as many whole ones of greater steps are in the store as are to be kept, and
//!    only by a call that was made after its own. A journal that is delivered late therefore deletes nothing newer.
//! 3. Nothing is deleted but what the tag of the run lists, which are checkpoints of calls that keep the newest ones,
//!    and of a folder only the files that its manifest lists.
//! 4. A manifest does not say that a folder is complete while its files are being deleted, and is the last file of
//!    the checkpoint to be deleted. A deletion that was interrupted therefore leaves no folder that looks like a whole
//!    checkpoint, and goes on after the next checkpoint.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::entities::FileInfo;
use crate::model::checkpoint::{
    CHECKPOINTS, CheckpointCall, CheckpointFiles, CheckpointManifest, CheckpointName, MANIFEST_FILE,
};
use crate::model::{Tag, tag_keys};
use crate::shipper::Delivery;
use crate::shipper::batch::Artifact;
use crate::store::{ArtifactContent, Batch, StoreError, StoredRun, is_local_directory};
use crate::warnings::{WarningLog, warn_without_dedup};

/// Number of entries that each of the maps below keeps at most.
const MAX_KEPT: usize = 4096;
/// Number of checkpoints that the tag of a run lists at most: MLflow keeps 5,000 characters of a tag.
const MAX_LISTED: usize = 48;
/// Time for which nothing is deleted in a run after its store has refused that.
const UNDELETABLE_FOR: Duration = Duration::from_secs(3600);
/// Largest size of a manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// Checkpoints that were delivered, or are about to be.
#[derive(Default)]
pub(in crate::shipper) struct KnownCheckpoints {
    /// Folders by the call that logged the checkpoint. The lock is held while a folder is chosen, so that two files
    /// of a checkpoint do not choose two.
    folders: Mutex<FxHashMap<u64, String>>,
    /// Folders of whole checkpoints, each with the id of its run.
    whole: RefCell<FxHashSet<(String, String)>>,
    /// Runs in whose store nothing could be deleted, with the time of that.
    undeletable: RefCell<FxHashMap<String, Instant>>,
    warning_log: RefCell<WarningLog>,
}

/// Whole checkpoint of a call that keeps the newest ones, as the tag of its run lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ListedCheckpoint {
    path: String,
    step: i64,
    /// Time of the call, in ms since the Unix epoch.
    logged_ms: i64,
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
        let path = if call.is_folder {
            self.complete_checkpoint(run, artifact, call).await?
        } else {
            artifact.path.clone()
        };
        if call.keep == 0 {
            return Ok(());
        }
        let own = ListedCheckpoint {
            path,
            step: call.step,
            logged_ms: call.logged_ms,
        };
        let listed = self.list_checkpoint(run, &own).await?;
        let refused = known.undeletable.borrow().get(&run.run_id).copied();
        if refused.is_some_and(|since| since.elapsed() < UNDELETABLE_FOR) {
            return Ok(());
        }
        match self
            .delete_old_checkpoints(run, &own, listed, call.keep)
            .await
        {
            Err(
                error @ (StoreError::Rejected { .. }
                | StoreError::Blocked {
                    everything: false, ..
                }),
            ) => {
                if matches!(error, StoreError::Blocked { .. }) {
                    let mut undeletable = known.undeletable.borrow_mut();
                    undeletable.insert(run.run_id.clone(), Instant::now());
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

    /// Enters a whole checkpoint into the list of its run. Returns the list.
    async fn list_checkpoint(
        &self,
        run: &StoredRun,
        own: &ListedCheckpoint,
    ) -> Result<Vec<ListedCheckpoint>, StoreError> {
        let tag = self.read_tag(run, tag_keys::CHECKPOINTS).await?;
        let known = tag.and_then(|tag| serde_json::from_str::<Vec<_>>(&tag).ok());
        let mut listed: Vec<ListedCheckpoint> = known.unwrap_or_default();
        if !listed.contains(own) {
            listed.retain(|one| one.path != own.path);
            listed.push(own.clone());
            // The tag has room for these; others are never deleted.
            let excess = listed.len().saturating_sub(MAX_LISTED);
            listed.drain(..excess);
            self.write_checkpoint_list(run, &listed).await?;
        }
        Ok(listed)
    }

    async fn write_checkpoint_list(
        &self,
        run: &StoredRun,
        listed: &[ListedCheckpoint],
    ) -> Result<(), StoreError> {
        let tags = [Tag {
            key: tag_keys::CHECKPOINTS.to_owned(),
            // Writing texts and numbers into memory does not fail.
            value: serde_json::to_string(listed).unwrap_or_default(),
        }];
        self.store.log_batch(run, &Batch::of_tags(&tags)).await
    }

    /// Deletes listed checkpoints that were logged before `own`: those of smaller steps than the newest `keep` whole
    /// ones, and folders of a step of which a newer one is whole.
    async fn delete_old_checkpoints(
        &self,
        run: &StoredRun,
        own: &ListedCheckpoint,
        listed: Vec<ListedCheckpoint>,
        keep: usize,
    ) -> Result<(), StoreError> {
        let entries = self.store.list_folder(run, CHECKPOINTS).await?;
        let find =
            |path: &str| { entries.iter() }.find(|entry| entry.path.trim_end_matches('/') == path);
        let mut whole = Vec::new();
        for (place, one) in listed.iter().enumerate() {
            if let Some(entry) = find(&one.path)
                && (!entry.is_dir || self.is_complete(run, &one.path).await?)
            {
                whole.push((place, one, entry.is_dir));
            }
        }
        let mut steps: Vec<i64> = whole.iter().map(|(_, one, _)| one.step).collect();
        steps.sort_unstable_by(|left, right| right.cmp(left));
        steps.dedup();
        let oldest_kept = steps.get(keep - 1).copied();
        // Of two that were logged in the same millisecond, the later one in the list is newer.
        let is_replaced = |place: usize, one: &ListedCheckpoint| {
            { whole.iter() }.any(|(at, other, is_folder)| {
                let is_newer = (other.logged_ms, *at) > (one.logged_ms, place);
                *is_folder && other.step == one.step && is_newer
            })
        };
        // A server may delete everything whose path begins with the given one.
        let deletes_by_prefix = !is_local_directory(&run.artifact_uri);
        let mut left = listed.clone();
        for (place, one) in listed.iter().enumerate() {
            let Some(entry) = find(&one.path) else {
                left.retain(|other| other != one);
                continue;
            };
            let is_old = oldest_kept.is_some_and(|oldest| one.step < oldest)
                || entry.is_dir && is_replaced(place, one);
            let is_prefix = deletes_by_prefix && { entries.iter() }
                .any(|other| other.path != entry.path && other.path.starts_with(&one.path));
            if !is_old || one.logged_ms > own.logged_ms || one.path == own.path {
                continue;
            }
            if entry.is_dir {
                self.delete_checkpoint_folder(run, &one.path, is_prefix)
                    .await?;
            } else if is_prefix {
                continue;
            } else {
                self.store.delete_artifact(run, &one.path).await?;
            }
            left.retain(|other| other != one);
        }
        if left == listed {
            return Ok(());
        }
        self.write_checkpoint_list(run, &left).await
    }

    /// Returns true if the folder of a checkpoint has all of its files.
    async fn is_complete(&self, run: &StoredRun, folder: &str) -> Result<bool, StoreError> {
        if self.checkpoints.is_whole(run, folder) {
            return Ok(true);
        }
        let manifest = self.read_manifest(run, folder).await?;
        let is_complete = manifest.is_some_and(|manifest| manifest.complete);
        if is_complete {
            self.checkpoints.note_whole(run, folder);
        }
        Ok(is_complete)
    }

    /// Deletes the files of a checkpoint in its folder, and the folder if nothing else is in it and its path is no prefix
    /// of another path that the store might delete, too. If the first file cannot be deleted, the checkpoint stays whole.
    async fn delete_checkpoint_folder(
        &self,
        run: &StoredRun,
        folder: &str,
        is_prefix: bool,
    ) -> Result<(), StoreError> {
        self.checkpoints.forget_whole(run, folder);
        { self.checkpoints.folders.lock().await }.retain(|_, known| known != folder);
        let Some(manifest) = self.read_manifest(run, folder).await? else {
            // It is no longer the folder of a checkpoint.
            return Ok(());
        };
        if manifest.complete {
            let incomplete = CheckpointManifest {
                complete: false,
                ..manifest.clone()
            };
            self.put_manifest(run, folder, &incomplete).await?;
        }
        let manifest_path = format!("{folder}/{MANIFEST_FILE}");
        let stored = self.list_files(run, folder).await?;
        let of_checkpoint = |path: &str| {
            { path.strip_prefix(folder) }
                .and_then(|path| path.strip_prefix('/'))
                .is_some_and(|path| manifest.files.contains_key(path))
        };
        // A server may delete everything whose path begins with the given one, so longer names go first.
        let mut names: Vec<&str> = stored.iter().map(|file| &*file.path).collect();
        names.sort_unstable_by_key(|name| Reverse(name.len()));
        let (mut is_first, mut is_one_left) = (true, false);
        for name in names.iter().filter(|name| of_checkpoint(name)) {
            let is_left = |other: &&&str| {
                **other == manifest_path || !of_checkpoint(other) || other.len() < name.len()
            };
            let is_prefix = |other: &&str| other != name && other.starts_with(name);
            if names.iter().filter(is_left).any(is_prefix) {
                is_one_left = true;
                continue;
            }
            let deleted = self.store.delete_artifact(run, name).await;
            if deleted.is_err() && is_first {
                // Without an answer, the file may be gone.
                let left = self.list_files(run, folder).await?;
                if left.iter().any(|other| other.path == **name) {
                    self.put_manifest(run, folder, &manifest).await?;
                }
            }
            deleted?;
            is_first = false;
        }
        if is_one_left {
            // The manifest, which stays, says that the folder is no whole checkpoint.
            return Ok(());
        }
        self.store.delete_artifact(run, &manifest_path).await?;
        // A bucket has no folders without files. In a directory, they have to be deleted, too.
        let is_empty = self.list_files(run, folder).await?.is_empty();
        let entries = self.store.list_folder(run, CHECKPOINTS).await?;
        let is_listed = { entries.iter() }
            .any(|entry| entry.is_dir && entry.path.trim_end_matches('/') == folder);
        if is_empty && is_listed && !is_prefix {
            self.store.delete_artifact(run, folder).await?;
        }
        Ok(())
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
