//! Delivery of logged models: of their files, one by one, and of the records that complete them.
//!
//! # Invariants
//!
//! 1. A model is created once, by whichever of its artifacts is delivered first.
//! 2. A model is marked as ready only after the store has all of its files. While a file is missing, the record
//!    of the model waits.
//! 3. A model of which a file is rejected for good is marked as failed, and never as ready.
//! 4. A record whose files the store lacks, and the journal no longer holds, is rejected: somebody has deleted the
//!    model, or an earlier process could not deliver a file.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::OnceCell;

use crate::model::logged_model::{ModelPath, ModelRecord};
use crate::model::mlmodel::{MLMODEL_FILE, to_mlmodel};
use crate::model::{ArtifactKind, ModelStatus, Registration, StoredModel};
use crate::shipper::Delivery;
use crate::shipper::batch::{Artifact, RejectedEntry, Rejection};
use crate::shipper::failure_scope::{Halt, into_halt};
use crate::shipper::queue::deferred_artifacts::DeferredArtifact;
use crate::shipper::read::journal_reader::JournalReader;
use crate::store::{ArtifactContent, StoreError, StoredRun};
use crate::warnings::warn_without_dedup;

/// Number of tries after which a record whose files are missing waits in vain, if none of them is on its way.
const TRIES_BEFORE_SETTLED: u32 = 3;
/// Number of models that are kept at most.
const MAX_KEPT_MODELS: usize = 1024;

/// Models of which artifacts were delivered.
#[derive(Default)]
pub(in crate::shipper) struct KnownModels {
    /// Models by key. A cell is filled once, so that two files of a model do not create two, while those of other
    /// models do not wait for it.
    models: RefCell<FxHashMap<String, Arc<OnceCell<StoredModel>>>>,
    /// Keys of models of which a file was rejected before it was sent.
    incomplete: RefCell<FxHashSet<String>>,
    /// Keys of models of which no further file will be delivered.
    settled: RefCell<FxHashSet<String>>,
    /// Models of the orphaned journal that is being shipped, by key.
    orphaned: FxHashMap<String, OrphanedModel>,
}

/// Model in an orphaned journal.
struct OrphanedModel {
    run_number: u32,
    /// Path of one of its files, or of its record.
    path: String,
    has_record: bool,
}

impl KnownModels {
    /// Notes the models to which artifacts of an orphaned journal belong.
    pub(in crate::shipper) fn note_orphaned(&mut self, run_number: u32, artifacts: &[Artifact]) {
        for artifact in artifacts {
            let is_record = match artifact.kind {
                ArtifactKind::Model => true,
                ArtifactKind::ModelFile => false,
                _ => continue,
            };
            if let Some(path) = ModelPath::parse(&artifact.path) {
                let noted = self.orphaned.entry(path.key.to_owned());
                let noted = noted.or_insert_with(|| OrphanedModel {
                    run_number,
                    path: artifact.path.clone(),
                    has_record: false,
                });
                noted.has_record |= is_record;
            }
        }
    }

    /// Notes the models to which rejected artifacts belong that were never sent.
    pub(in crate::shipper) fn note_incomplete(&self, torn: &[Rejection]) {
        for one in torn {
            if let RejectedEntry::Artifact(artifact) = &one.entry
                && artifact.kind == ArtifactKind::ModelFile
                && let Some(path) = ModelPath::parse(&artifact.path)
            {
                self.incomplete.borrow_mut().insert(path.key.to_owned());
            }
        }
    }
}

/// Parts of a stored model that the store has rejected.
#[derive(Default)]
struct PartFaults(Vec<String>);

impl PartFaults {
    /// Keeps the rejection of a part, whose result for the model `what` tells. Returns any other error.
    fn keep(&mut self, result: Result<(), StoreError>, what: &str) -> Result<(), StoreError> {
        match result {
            Err(StoreError::Rejected { reason }) => {
                self.0.push(format!("it is stored, {what}: {reason}"));
                Ok(())
            }
            result => result,
        }
    }

    fn into_result(self) -> Result<(), StoreError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(StoreError::Rejected {
            reason: self.0.join("; ").into(),
        })
    }
}

impl Delivery {
    /// Writes a file of a logged model, and creates the model if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the store rejects the file for good; the model is marked as failed then.
    pub(in crate::shipper) async fn put_model_file(
        &self,
        run: &StoredRun,
        artifact: &Artifact,
    ) -> Result<(), StoreError> {
        let path = parse_path(artifact)?;
        let Some(file) = path.file else {
            return Err(damaged_error(&"its path names no file"));
        };
        let found = self.find_or_create_model(run, &path).await;
        if matches!(found, Err(StoreError::Rejected { .. })) {
            self.models
                .incomplete
                .borrow_mut()
                .insert(path.key.to_owned());
        }
        let model = found?;
        let put = self
            .store
            .put_model_file(&model, file, artifact.content())
            .await;
        if matches!(put, Err(StoreError::Rejected { .. })) {
            let failed = ModelStatus::UploadFailed;
            let marked = self.store.set_model_status(&model, failed).await;
            self.forget_model_after_error(&path, marked)?;
        }
        self.forget_model_after_error(&path, put)
    }

    /// Completes a logged model: writes `MLmodel`, params and tags, connects the model with the run, marks it as
    /// ready, and registers it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while a file of the model is missing.
    pub(in crate::shipper) async fn complete_model(
        &self,
        run: &StoredRun,
        artifact: &Artifact,
    ) -> Result<(), StoreError> {
        let path = parse_path(artifact)?;
        let (step, completed) = match read_record(artifact) {
            Ok(record) => {
                let completed = self.try_complete_model(run, &path, &record).await;
                (record.step, completed)
            }
            Err(error) => (0, Err(error)),
        };
        if matches!(completed, Err(StoreError::Rejected { .. })) {
            let marked = self.mark_failed(run, &path, step).await;
            self.forget_model_after_error(&path, marked)?;
        }
        self.forget_model_after_error(&path, completed)
    }

    /// Marks a model as failed that is not complete, and connects it with the run.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like while the store cannot be reached. Whatever the store refuses is left
    /// as it is.
    async fn mark_failed(
        &self,
        run: &StoredRun,
        path: &ModelPath<'_>,
        step: i64,
    ) -> Result<(), StoreError> {
        let marked = async {
            let model = self.find_or_create_model(run, path).await?;
            if self.store.model_status(&model).await? == ModelStatus::Pending {
                let failed = ModelStatus::UploadFailed;
                self.store.set_model_status(&model, failed).await?;
                self.store.log_output(run, &model.model_id, step).await?;
            }
            Ok(())
        };
        match marked.await {
            Err(
                StoreError::Rejected { .. }
                | StoreError::Missing { .. }
                | StoreError::Blocked { .. },
            ) => Ok(()),
            marked => marked,
        }
    }

    /// Logs a model that somebody else has logged as an output of the run.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the step cannot be read.
    pub(in crate::shipper) async fn log_output(
        &self,
        run: &StoredRun,
        artifact: &Artifact,
    ) -> Result<(), StoreError> {
        let bytes = artifact.read().map_err(|error| damaged_error(&error))?;
        let step = serde_json::from_slice(&bytes).map_err(|error| damaged_error(&error))?;
        self.store.log_output(run, &artifact.path, step).await
    }

    async fn try_complete_model(
        &self,
        run: &StoredRun,
        path: &ModelPath<'_>,
        record: &ModelRecord,
    ) -> Result<(), StoreError> {
        let model = self.find_or_create_model(run, path).await?;
        let is_incomplete = self.models.incomplete.borrow().contains(path.key);
        let mut status = self.store.model_status(&model).await?;
        if is_incomplete && status != ModelStatus::UploadFailed {
            status = ModelStatus::UploadFailed;
            self.store.set_model_status(&model, status).await?;
        }
        if status != ModelStatus::UploadFailed {
            self.require_files(&model, path, record).await?;
            let mlmodel = to_mlmodel(record, &model, &run.run_id);
            let content = ArtifactContent::Bytes(Cow::Owned(mlmodel.into_bytes()));
            self.store
                .put_model_file(&model, MLMODEL_FILE, content)
                .await?;
        }
        let mut faults = PartFaults::default();
        let described = self
            .store
            .describe_model(&model, &record.params, &record.tags);
        faults.keep(described.await, "without all of its params and tags")?;
        let connected = self.store.log_output(run, &model.model_id, record.step);
        faults.keep(connected.await, "but no output of its run")?;
        let metrics: Vec<_> = { record.metrics.iter() }
            .map(|metric| metric.to_metric(|name, late, or| self.late_digests.find(name, late, or)))
            .collect();
        if !metrics.is_empty() {
            let logged = self.store.log_model_metrics(run, &model, &metrics).await;
            faults.keep(logged, "without its metrics")?;
        }
        if status == ModelStatus::Pending {
            let ready = ModelStatus::Ready;
            self.store.set_model_status(&model, ready).await?;
        }
        if status != ModelStatus::UploadFailed
            && let Some(name) = &record.registered_name
        {
            let registration = Registration {
                key: path.key,
                name,
                aliases: &record.aliases,
                tags: &record.version_tags,
            };
            let registered = self.store.register_model(run, &model, &registration).await;
            faults.keep(registered, &format!("but not registered as {name:?}"))?;
        }
        // A creation without an answer may have been carried out after the model was looked for.
        self.store.create_model(run, &path.model()).await?;
        faults.into_result()
    }

    /// Returns an error unless the store has all files of the model.
    async fn require_files(
        &self,
        model: &StoredModel,
        path: &ModelPath<'_>,
        record: &ModelRecord,
    ) -> Result<(), StoreError> {
        let stored = self.store.list_model_files(model).await?;
        let is_missing = |(file, size): &(&String, &u64)| match stored.get(*file) {
            Some(stored) => stored.is_some_and(|stored| stored != **size),
            None => true,
        };
        let missing: Vec<_> = record.files.iter().filter(is_missing).collect();
        let Some((file, _)) = missing.first() else {
            return Ok(());
        };
        let counts = format!(
            "{} of its {} files are missing in the store, first {file:?}",
            missing.len(),
            record.files.len()
        );
        if self.models.settled.borrow().contains(path.key) {
            return Err(StoreError::Rejected {
                reason: format!(
                    "{counts}: somebody has deleted the logged model, or an earlier process could not deliver the file; log \
                     the model again"
                )
                .into(),
            });
        }
        Err(StoreError::Unavailable {
            reason: format!(
                "the model {:?} is completed when the store has all of its files; {counts}",
                path.name
            )
            .into(),
            retry_after: None,
        })
    }

    async fn find_or_create_model(
        &self,
        run: &StoredRun,
        path: &ModelPath<'_>,
    ) -> Result<StoredModel, StoreError> {
        let cell = {
            let mut known = self.models.models.borrow_mut();
            if known.len() >= MAX_KEPT_MODELS && !known.contains_key(path.key) {
                known.clear();
            }
            Arc::clone(known.entry(path.key.to_owned()).or_default())
        };
        let new = path.model();
        let create = || self.store.create_model(run, &new);
        cell.get_or_try_init(create).await.cloned()
    }

    /// Looks the model up again at the next try if this one has failed: somebody may have deleted the model.
    fn forget_model_after_error(
        &self,
        path: &ModelPath<'_>,
        result: Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if result.is_err() {
            self.models.models.borrow_mut().remove(path.key);
        }
        result
    }

    /// Marks the models of an orphaned journal as failed whose process ended before it had logged all of them.
    ///
    /// # Errors
    /// The errors of a store that cannot be reached. The models are kept for the next call then.
    pub(in crate::shipper) async fn fail_unrecorded_models(
        &mut self,
        reader: &mut JournalReader,
    ) -> Result<(), Halt> {
        while let Some((key, model)) = self.models.orphaned.iter().next() {
            let (key, run_number) = (key.clone(), model.run_number);
            let (path, has_record) = (model.path.clone(), model.has_record);
            let is_waiting = reader.deferred.has_run(run_number)
                || reader
                    .parked
                    .blocking_run(&reader.runs, run_number)
                    .is_some();
            if !has_record
                && !is_waiting
                && let Some(path) = ModelPath::parse(&path)
                && let Ok(run) = self.ensure_run(reader, run_number).await
            {
                self.mark_failed(&run, &path, 0).await.map_err(into_halt)?;
                if let Some(end) = self.warning_log.admit("unrecorded model", path.name) {
                    warn_without_dedup(format!(
                        "model {:?} is incomplete, and marked as failed: its process ended before it had logged all of it{end}",
                        path.name
                    ));
                }
            }
            self.models.orphaned.remove(&key);
        }
        Ok(())
    }

    /// Notes which of the waiting records of models wait in vain: they were tried several times, and no file of their
    /// model is on its way.
    pub(in crate::shipper) fn note_settled_models(&self, reader: &JournalReader) {
        let waiting = &reader.deferred.waiting;
        let key_of = |deferred: &DeferredArtifact, kind: ArtifactKind| {
            let artifact = &deferred.artifact;
            let path = ModelPath::parse(&artifact.path).filter(|_| artifact.kind == kind);
            path.map(|path| path.key.to_owned())
        };
        let records = waiting.iter().filter(|one| {
            one.backoff.failures() >= TRIES_BEFORE_SETTLED
                && reader
                    .parked
                    .blocking_run(&reader.runs, one.run_number)
                    .is_none()
        });
        let mut settled: FxHashSet<_> = records
            .filter_map(|one| key_of(one, ArtifactKind::Model))
            .collect();
        if !settled.is_empty() {
            for deferred in waiting {
                if let Some(key) = key_of(deferred, ArtifactKind::ModelFile) {
                    settled.remove(&key);
                }
            }
        }
        *self.models.settled.borrow_mut() = settled;
    }
}

fn read_record(artifact: &Artifact) -> Result<ModelRecord, StoreError> {
    let bytes = artifact.read().map_err(|error| damaged_error(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| damaged_error(&error))
}

fn parse_path(artifact: &Artifact) -> Result<ModelPath<'_>, StoreError> {
    ModelPath::parse(&artifact.path).ok_or_else(|| damaged_error(&"its path is no path of a model"))
}

fn damaged_error(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Rejected {
        reason: format!("its record in the journal's directory cannot be read: {error}").into(),
    }
}
