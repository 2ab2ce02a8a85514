//! Delivery of logged models: of their files, one by one, and of the records that complete them.
//!
//! # Invariants
//!
//! 1. A model is created once, by whichever of its artifacts is delivered first.
//! 2. A model is marked as ready only after the store has all of its files. While a file is missing, the record
//!    of the model waits.
//! 3. A model of which a file is rejected for good is marked as failed, and never as ready.

use std::borrow::Cow;
use std::cell::RefCell;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Mutex;

use crate::model::logged_model::{ModelPath, ModelRecord};
use crate::model::mlmodel::{MLMODEL_FILE, to_mlmodel};
use crate::model::{ArtifactKind, ModelStatus, Registration, StoredModel};
use crate::shipper::Delivery;
use crate::shipper::batch::{Artifact, RejectedEntry, Rejection};
use crate::store::{ArtifactContent, StoreError, StoredRun};

/// Number of models that are kept at most.
const MAX_KEPT_MODELS: usize = 1024;

/// Models of which artifacts were delivered.
#[derive(Default)]
pub(in crate::shipper) struct KnownModels {
    /// Models by key. The lock is held while a model is created, so that two of its files do not create two.
    models: Mutex<FxHashMap<String, StoredModel>>,
    /// Keys of models of which a file was rejected before it was sent.
    incomplete: RefCell<FxHashSet<String>>,
}

impl KnownModels {
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
            self.forget_model_after_error(&path, marked).await?;
        }
        self.forget_model_after_error(&path, put).await
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
        let bytes = artifact.read().map_err(|error| damaged_error(&error))?;
        let record: ModelRecord =
            serde_json::from_slice(&bytes).map_err(|error| damaged_error(&error))?;
        let completed = self.try_complete_model(run, &path, &record).await;
        self.forget_model_after_error(&path, completed).await
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
            self.require_files(&model, path.name, record).await?;
            let mlmodel = to_mlmodel(record, &model, &run.run_id);
            let content = ArtifactContent::Bytes(Cow::Owned(mlmodel.into_bytes()));
            self.store
                .put_model_file(&model, MLMODEL_FILE, content)
                .await?;
        }
        self.store
            .describe_model(&model, &record.params, &record.tags)
            .await?;
        self.store
            .log_output(run, &model.model_id, record.step)
            .await?;
        let mut faults = PartFaults::default();
        let metrics: Vec<_> = { record.metrics.iter() }
            .map(|metric| metric.to_metric(|name, file, or| self.file_digests.find(name, file, or)))
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
        name: &str,
        record: &ModelRecord,
    ) -> Result<(), StoreError> {
        let stored = self.store.list_model_files(model).await?;
        let is_missing = |(file, size): &(&String, &u64)| match stored.get(*file) {
            Some(stored) => stored.is_some_and(|stored| stored != **size),
            None => true,
        };
        let missing: Vec<_> = record.files.iter().filter(is_missing).collect();
        match missing.first() {
            None => Ok(()),
            Some((file, _)) => Err(StoreError::Unavailable {
                reason: format!(
                    "the model {name:?} is completed when the store has all of its files; {} of {} are missing, first {file:?}",
                    missing.len(),
                    record.files.len()
                )
                .into(),
                retry_after: None,
            }),
        }
    }

    async fn find_or_create_model(
        &self,
        run: &StoredRun,
        path: &ModelPath<'_>,
    ) -> Result<StoredModel, StoreError> {
        let mut known = self.models.models.lock().await;
        if let Some(model) = known.get(path.key) {
            return Ok(model.clone());
        }
        let model = self.store.create_model(run, &path.model()).await?;
        if known.len() >= MAX_KEPT_MODELS {
            known.clear();
        }
        known.insert(path.key.to_owned(), model.clone());
        Ok(model)
    }

    /// Looks the model up again at the next try if this one has failed: somebody may have deleted the model.
    async fn forget_model_after_error(
        &self,
        path: &ModelPath<'_>,
        result: Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if result.is_err() {
            self.models.models.lock().await.remove(path.key);
        }
        result
    }
}

fn parse_path(artifact: &Artifact) -> Result<ModelPath<'_>, StoreError> {
    ModelPath::parse(&artifact.path).ok_or_else(|| damaged_error(&"its path is no path of a model"))
}

fn damaged_error(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Rejected {
        reason: format!("its record in the journal's directory cannot be read: {error}").into(),
    }
}
