//! [`MemoryStore`], a store that keeps everything in memory: for tests, and for reading back what was logged.
//!
//! - The futures of the store never pend.
//! - A clone is another handle to the same content, so that a test can read while a shipper writes.
//! - The store refuses what MLflow's server refuses, but keeps ±∞ as they are.

mod catalog;
mod injected_failures;
mod registry;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use super::catalog::{collect_artifact, list_folder, register_model};
use super::{
    ArtifactContent, Batch, BatchLimits, InputDataset, NewRun, Store, StoreError, StoreInfo,
    StoredRun, local_artifacts, validate,
};
use crate::entities::FileInfo;
use crate::model::tag_keys;
use crate::model::{
    ExperimentRef, Metric, ModelMetric, ModelStatus, NewModel, Param, Registration, RunStatus,
    StoredModel, Tag,
};
use crate::sync::lock;
use crate::time::now_ms;
use injected_failures::InjectedFailures;
use registry::MemoryModel;

/// Store that keeps everything in memory. A clone is another handle to the same content.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<MemoryState>>,
    adopts_unknown_runs: bool,
}

/// Experiment, as [`MemoryStore::experiments`] returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredExperiment {
    /// Id that the store assigned to the experiment.
    pub id: String,
    /// Name of the experiment.
    pub name: String,
    /// True if the experiment was deleted.
    pub deleted: bool,
    /// URI below which the artifacts of the runs are.
    pub artifact_location: String,
    /// Time of the creation, in ms since the Unix epoch.
    pub creation_time_ms: i64,
    /// Time of the last change, in ms since the Unix epoch.
    pub last_update_time_ms: i64,
    /// Tags by key.
    pub tags: BTreeMap<String, String>,
}

/// Run with all its values, as [`MemoryStore::runs`] returns it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRunData {
    /// Id of the run: the key that the run was created with.
    pub run_id: String,
    /// Id of the run's experiment.
    pub experiment_id: String,
    /// Name of the run's experiment.
    pub experiment: String,
    /// Name of the run; follows the tag `mlflow.runName`.
    pub name: String,
    /// Owner of the run.
    pub user_id: String,
    /// Status of the run.
    pub status: RunStatus,
    /// Start, in ms since the Unix epoch.
    pub start_time_ms: i64,
    /// End, in ms since the Unix epoch; `None` for a run without an end.
    pub end_time_ms: Option<i64>,
    /// Tags by key, among them `mlflow.runName` and [`RUN_KEY_TAG`](super::RUN_KEY_TAG).
    pub tags: BTreeMap<String, String>,
    /// Params by key.
    pub params: BTreeMap<String, String>,
    /// Metric points in the order of their arrival, each once.
    pub metrics: Vec<Metric>,
    /// Contents of the artifacts, by path.
    pub artifacts: BTreeMap<String, Vec<u8>>,
    /// Datasets that are inputs of the run, in the order of their arrival, each once.
    pub inputs: Vec<InputDataset>,
    /// Ids of the models that are inputs of the run, each once.
    pub model_inputs: Vec<String>,
    /// Ids and steps of the models that are outputs of the run, each once.
    pub model_outputs: Vec<(String, i64)>,
    /// Models that the run has logged, in the order of their creation.
    pub models: Vec<StoredModelData>,
}

/// Logged model with its files, as [`MemoryStore::runs`] returns it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredModelData {
    /// Id of the model.
    pub model_id: String,
    /// Name of the model.
    pub name: String,
    /// Kind of the model.
    pub model_type: Option<String>,
    /// Status of the model.
    pub status: ModelStatus,
    /// Params by key.
    pub params: BTreeMap<String, String>,
    /// Tags by key.
    pub tags: BTreeMap<String, String>,
    /// Metrics in the order of their arrival, each once.
    pub metrics: Vec<ModelMetric>,
    /// Contents of the files, by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Step at which the model is an output of its run; `None` if it is not yet.
    pub step: Option<i64>,
}

#[derive(Debug, Default)]
struct MemoryState {
    experiments: Vec<StoredExperiment>,
    runs: Vec<MemoryRun>,
    /// Index of each run in `runs`, by run id.
    run_indices: HashMap<String, usize>,
    /// Registered models by name.
    models: BTreeMap<String, MemoryModel>,
    injected_failures: InjectedFailures,
}

#[derive(Clone, Debug)]
struct MemoryRun {
    data: StoredRunData,
    /// True if the run was deleted. It can be restored.
    deleted: bool,
    points: HashSet<(Arc<str>, i64, i64, PointValue)>,
}

/// Metric value, compared as MLflow compares values: all NaN are equal, and so are the two zeros.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PointValue {
    Nan,
    Bits(u64),
}

impl PointValue {
    fn of(value: f64) -> Self {
        if value.is_nan() {
            Self::Nan
        } else {
            Self::Bits((value + 0.0).to_bits())
        }
    }
}

impl MemoryState {
    fn run(&mut self, run_id: &str) -> Result<&mut MemoryRun, StoreError> {
        let place = self.run_indices.get(run_id);
        place
            .and_then(|place| self.runs.get_mut(*place))
            .ok_or_else(|| StoreError::Missing {
                reason: format!("there is no run {run_id}").into(),
            })
    }

    /// Returns a run that may be written to: the run exists, and its experiment is not deleted.
    fn active_run(&mut self, run_id: &str) -> Result<&mut MemoryRun, StoreError> {
        let run = self.run(run_id)?;
        if run.deleted {
            return Err(StoreError::Blocked {
                reason: format!("the run {run_id} is deleted: restore it to log to it again")
                    .into(),
                everything: false,
            });
        }
        let experiment_id = run.data.experiment_id.clone();
        self.active_experiment(&experiment_id)?;
        self.run(run_id)
    }

    /// Returns the dataset that the experiment has under this name and digest.
    fn find_dataset(&self, experiment_id: &str, name: &str, digest: &str) -> Option<&InputDataset> {
        let runs = self.runs.iter();
        runs.filter(|run| run.data.experiment_id == experiment_id)
            .flat_map(|run| &run.data.inputs)
            .find(|input| input.name == name && input.digest == digest)
    }

    /// Returns a logged model.
    fn logged_model(&mut self, model: &StoredModel) -> Result<&mut StoredModelData, StoreError> {
        let mut models = self.runs.iter_mut().flat_map(|run| &mut run.data.models);
        models
            .find(|known| known.model_id == model.model_id)
            .ok_or_else(|| StoreError::Missing {
                reason: format!("there is no logged model {}", model.model_id).into(),
            })
    }

    /// Adds an experiment and returns its id.
    fn add_experiment(&mut self, name: &str) -> String {
        let id = (self.experiments.len() + 1).to_string();
        let now = now_ms();
        self.experiments.push(StoredExperiment {
            artifact_location: format!("memory:/{id}"),
            id: id.clone(),
            name: name.to_owned(),
            deleted: false,
            creation_time_ms: now,
            last_update_time_ms: now,
            tags: BTreeMap::new(),
        });
        id
    }

    /// Deletes or restores the runs of an experiment.
    fn set_runs_deleted(&mut self, experiment_id: &str, deleted: bool) {
        let runs = self.runs.iter_mut();
        for run in runs.filter(|run| run.data.experiment_id == experiment_id) {
            run.deleted = deleted;
        }
    }

    fn active_experiment(&self, id: &str) -> Result<&StoredExperiment, StoreError> {
        let found = self
            .experiments
            .iter()
            .find(|experiment| experiment.id == id);
        let reason = match found {
            Some(experiment) if !experiment.deleted => return Ok(experiment),
            Some(experiment) => format!(
                "the experiment `{}` is deleted: restore it, or use another",
                experiment.name
            ),
            None => format!("there is no experiment with the id {id}"),
        };
        Err(StoreError::Blocked {
            reason: reason.into(),
            everything: false,
        })
    }
}

impl MemoryStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty store that finds every run which is requested by its id: an unknown run is created in
    /// the experiment `Default`. Made for tests of code that resumes runs which exist elsewhere.
    #[must_use]
    pub fn adopting() -> Self {
        Self {
            adopts_unknown_runs: true,
            ..Self::default()
        }
    }

    /// Returns an independent store with the same contents, without the injected failures.
    #[cfg(test)]
    pub(crate) fn deep_copy(&self) -> Self {
        let state = self.lock_state();
        let copy = MemoryState {
            experiments: state.experiments.clone(),
            runs: state.runs.clone(),
            run_indices: state.run_indices.clone(),
            models: state.models.clone(),
            injected_failures: InjectedFailures::default(),
        };
        Self {
            state: Arc::new(Mutex::new(copy)),
            adopts_unknown_runs: self.adopts_unknown_runs,
        }
    }

    /// Returns all experiments, in the order of their creation.
    #[must_use]
    pub fn experiments(&self) -> Vec<StoredExperiment> {
        self.lock_state().experiments.clone()
    }

    /// Returns all runs with their values, in the order of their creation.
    #[must_use]
    pub fn runs(&self) -> Vec<StoredRunData> {
        self.lock_state()
            .runs
            .iter()
            .map(|run| run.data.clone())
            .collect()
    }

    /// Returns the numbers of the versions of a registered model, in the order of their creation.
    #[must_use]
    pub fn model_versions(&self, name: &str) -> Vec<u64> {
        let state = self.lock_state();
        let model = state.models.get(name);
        model.map_or_else(Vec::new, MemoryModel::version_numbers)
    }

    /// Makes the next request fail with `error`. Each further call makes one more of the following requests
    /// fail.
    pub fn fail_next(&self, error: StoreError) {
        self.lock_state()
            .injected_failures
            .failures
            .push_back(error);
    }

    /// Sets the store offline, or online again. While the store is offline, all requests fail like those to a
    /// server that cannot be reached.
    pub fn set_offline(&self, offline: bool) {
        self.lock_state().injected_failures.offline = offline;
    }

    /// Returns the largest number of entries in one batch so far.
    #[cfg(test)]
    pub(crate) fn largest_batch(&self) -> usize {
        self.lock_state().injected_failures.largest_batch
    }

    /// Deletes an experiment, as a person would in the MLflow UI. The runs of a deleted experiment accept no
    /// more values.
    pub fn delete_experiment(&self, id: &str) {
        if let Some(experiment) = self
            .lock_state()
            .experiments
            .iter_mut()
            .find(|experiment| experiment.id == id)
        {
            experiment.deleted = true;
        }
    }

    /// Locks the state for a request, or returns the failure that was injected for the request.
    fn begin_request(&self) -> Result<MutexGuard<'_, MemoryState>, StoreError> {
        let mut state = self.lock_state();
        state.injected_failures.take_next_failure()?;
        Ok(state)
    }

    fn lock_state(&self) -> MutexGuard<'_, MemoryState> {
        lock(&self.state)
    }
}

fn to_stored_run(data: &StoredRunData) -> StoredRun {
    StoredRun {
        run_id: data.run_id.clone(),
        experiment_id: data.experiment_id.clone(),
        artifact_uri: format!("memory:/{}/{}/artifacts", data.experiment_id, data.run_id),
    }
}

#[async_trait(?Send)]
impl Store for MemoryStore {
    fn uri(&self) -> String {
        "memory:".to_owned()
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            total: 10_000,
            metrics: 10_000,
            params: 10_000,
            tags: 10_000,
        }
    }

    fn run_url(&self, _run: &StoredRun) -> Option<String> {
        None
    }

    async fn experiment(&self, experiment: &ExperimentRef) -> Result<String, StoreError> {
        let mut state = self.begin_request()?;
        let name = match experiment {
            ExperimentRef::Id(id) => {
                return state.active_experiment(id).map(|found| found.id.clone());
            }
            ExperimentRef::Name(name) => name,
        };
        validate::check_experiment(name)?;
        let known = state
            .experiments
            .iter()
            .find(|known| known.name == *name)
            .map(|known| known.id.clone());
        if let Some(id) = known {
            return state.active_experiment(&id).map(|found| found.id.clone());
        }
        Ok(state.add_experiment(name))
    }

    async fn create_run(&self, run: &NewRun<'_>) -> Result<StoredRun, StoreError> {
        let mut state = self.begin_request()?;
        if let Ok(existing) = state.run(run.key) {
            return Ok(to_stored_run(&existing.data));
        }
        let experiment = state.active_experiment(run.experiment_id)?.name.clone();
        let mut tags: BTreeMap<_, _> = run
            .tags
            .iter()
            .map(|tag| (tag.key.clone(), tag.value.clone()))
            .collect();
        tags.insert(tag_keys::RUN_NAME.to_owned(), run.name.to_owned());
        tags.insert(tag_keys::RUN_KEY.to_owned(), run.key.to_owned());
        let data = StoredRunData {
            run_id: run.key.to_owned(),
            experiment_id: run.experiment_id.to_owned(),
            experiment,
            name: run.name.to_owned(),
            user_id: run.user_id.to_owned(),
            status: RunStatus::Running,
            start_time_ms: run.start_time_ms,
            end_time_ms: None,
            tags,
            params: BTreeMap::new(),
            metrics: Vec::new(),
            artifacts: BTreeMap::new(),
            inputs: Vec::new(),
            model_inputs: Vec::new(),
            model_outputs: Vec::new(),
            models: Vec::new(),
        };
        let created = to_stored_run(&data);
        let place = state.runs.len();
        state.run_indices.insert(created.run_id.clone(), place);
        state.runs.push(MemoryRun {
            data,
            deleted: false,
            points: HashSet::new(),
        });
        Ok(created)
    }

    async fn find_run(
        &self,
        experiment_id: &str,
        key: &str,
    ) -> Result<Option<StoredRun>, StoreError> {
        let mut state = self.begin_request()?;
        let found = state
            .run(key)
            .ok()
            .filter(|run| run.data.experiment_id == experiment_id);
        Ok(found.map(|run| to_stored_run(&run.data)))
    }

    async fn get_run(&self, run_id: &str) -> Result<StoredRun, StoreError> {
        let known = self.begin_request()?.run(run_id).is_ok();
        if known || !self.adopts_unknown_runs {
            return self
                .lock_state()
                .active_run(run_id)
                .map(|run| to_stored_run(&run.data));
        }
        let experiment = ExperimentRef::Name("Default".to_owned());
        let adopted = NewRun {
            key: run_id,
            experiment_id: &self.experiment(&experiment).await?,
            name: "",
            user_id: "",
            start_time_ms: now_ms(),
            tags: &[],
        };
        self.create_run(&adopted).await
    }

    async fn log_batch(&self, run: &StoredRun, batch: &Batch<'_>) -> Result<(), StoreError> {
        validate::check_batch(batch)?;
        let mut state = self.begin_request()?;
        #[cfg(test)]
        state.injected_failures.record_batch(batch);
        let MemoryRun { data, points, .. } = state.active_run(&run.run_id)?;
        for param in batch.params {
            if let Some(old) = data
                .params
                .get(&param.key)
                .filter(|old| **old != param.value)
            {
                return Err(validate::param_conflict_error(
                    &param.key,
                    old,
                    &param.value,
                ));
            }
        }
        for param in batch.params {
            data.params.insert(param.key.clone(), param.value.clone());
        }
        for metric in batch.metrics {
            let point = (
                metric.key.clone(),
                metric.timestamp_ms,
                metric.step,
                PointValue::of(metric.value),
            );
            if points.insert(point) {
                data.metrics.push(metric.clone());
            }
        }
        for tag in batch.tags {
            data.tags.insert(tag.key.clone(), tag.value.clone());
            if tag.key == tag_keys::RUN_NAME {
                data.name.clone_from(&tag.value);
            }
        }
        Ok(())
    }

    async fn log_inputs(&self, run: &StoredRun, inputs: &[InputDataset]) -> Result<(), StoreError> {
        validate::check_inputs(inputs)?;
        let mut state = self.begin_request()?;
        let experiment_id = state.active_run(&run.run_id)?.data.experiment_id.clone();
        for input in inputs {
            let known = state.find_dataset(&experiment_id, &input.name, &input.digest);
            let logged = match known.cloned() {
                Some(known) => InputDataset {
                    tags: input.tags.clone(),
                    ..known
                },
                None => input.clone(),
            };
            let has =
                |other: &InputDataset| (&other.name, &other.digest) == (&input.name, &input.digest);
            let inputs = &mut state.active_run(&run.run_id)?.data.inputs;
            if !inputs.iter().any(has) {
                inputs.push(logged);
            }
        }
        Ok(())
    }

    async fn update_run(
        &self,
        run: &StoredRun,
        status: RunStatus,
        end_time_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        let mut state = self.begin_request()?;
        let data = &mut state.active_run(&run.run_id)?.data;
        data.status = status;
        data.end_time_ms = end_time_ms;
        Ok(())
    }

    async fn is_running(&self, run: &StoredRun) -> Result<bool, StoreError> {
        let mut state = self.begin_request()?;
        Ok(state.active_run(&run.run_id)?.data.status == RunStatus::Running)
    }

    async fn last_steps(&self, run: &StoredRun) -> Result<HashMap<String, i64>, StoreError> {
        let mut state = self.begin_request()?;
        let mut steps = HashMap::new();
        for Metric { key, step, .. } in &state.active_run(&run.run_id)?.data.metrics {
            let last = steps.entry(key.to_string()).or_insert(*step);
            *last = (*last).max(*step);
        }
        Ok(steps)
    }

    async fn tag(&self, run: &StoredRun, key: &str) -> Result<Option<String>, StoreError> {
        let mut state = self.begin_request()?;
        Ok(state.active_run(&run.run_id)?.data.tags.get(key).cloned())
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.begin_request().map(|_| StoreInfo {
            version: None,
            latency: Duration::ZERO,
            authenticated: None,
            clock_difference_ms: None,
        })
    }

    /// Returns an error only while the store is offline. An injected failure is kept for the next real
    /// request.
    async fn ping(&self) -> Result<(), StoreError> {
        self.lock_state().injected_failures.check_online()
    }

    async fn get_artifact(
        &self,
        run: &StoredRun,
        path: &str,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        collect_artifact(self, &run.run_id, path, max_bytes).await
    }

    async fn put_artifact(
        &self,
        run: &StoredRun,
        path: &str,
        content: ArtifactContent<'_>,
    ) -> Result<(), StoreError> {
        validate::check_artifact_path(path)?;
        let bytes = read_content(content)?;
        let mut state = self.begin_request()?;
        state
            .active_run(&run.run_id)?
            .data
            .artifacts
            .insert(path.to_owned(), bytes);
        Ok(())
    }

    async fn list_folder(
        &self,
        run: &StoredRun,
        folder: &str,
    ) -> Result<Vec<FileInfo>, StoreError> {
        list_folder(self, run, folder).await
    }

    async fn delete_artifact(&self, run: &StoredRun, path: &str) -> Result<(), StoreError> {
        validate::check_artifact_path(path)?;
        let mut state = self.begin_request()?;
        let artifacts = &mut state.active_run(&run.run_id)?.data.artifacts;
        let folder = format!("{path}/");
        artifacts.retain(|known, _| known != path && !known.starts_with(&folder));
        Ok(())
    }

    async fn create_model(
        &self,
        run: &StoredRun,
        model: &NewModel<'_>,
    ) -> Result<StoredModel, StoreError> {
        validate::check_logged_model(model.name)?;
        let mut state = self.begin_request()?;
        let data = &mut state.active_run(&run.run_id)?.data;
        let model_id = format!("m-{}", model.key);
        let stored = StoredModel {
            artifact_uri: format!("memory:/{}/models/{model_id}/artifacts", data.experiment_id),
            experiment_id: data.experiment_id.clone(),
            model_id: model_id.clone(),
        };
        if !data.models.iter().any(|known| known.model_id == model_id) {
            let key = (tag_keys::MODEL_KEY.to_owned(), model.key.to_owned());
            data.models.push(StoredModelData {
                model_id,
                name: model.name.to_owned(),
                model_type: model.model_type.map(str::to_owned),
                status: ModelStatus::Pending,
                params: BTreeMap::new(),
                tags: BTreeMap::from([key]),
                metrics: Vec::new(),
                files: BTreeMap::new(),
                step: None,
            });
        }
        Ok(stored)
    }

    async fn model_status(&self, model: &StoredModel) -> Result<ModelStatus, StoreError> {
        Ok(self.begin_request()?.logged_model(model)?.status)
    }

    async fn set_model_status(
        &self,
        model: &StoredModel,
        status: ModelStatus,
    ) -> Result<(), StoreError> {
        self.begin_request()?.logged_model(model)?.status = status;
        Ok(())
    }

    async fn describe_model(
        &self,
        model: &StoredModel,
        params: &[Param],
        tags: &[Tag],
    ) -> Result<(), StoreError> {
        let mut state = self.begin_request()?;
        let known = state.logged_model(model)?;
        for Param { key, value } in params {
            let param = known.params.entry(key.clone());
            param.or_insert_with(|| value.clone());
        }
        for Tag { key, value } in tags {
            known.tags.insert(key.clone(), value.clone());
        }
        Ok(())
    }

    async fn put_model_file(
        &self,
        model: &StoredModel,
        path: &str,
        content: ArtifactContent<'_>,
    ) -> Result<(), StoreError> {
        validate::check_artifact_path(path)?;
        let bytes = read_content(content)?;
        let mut state = self.begin_request()?;
        state
            .logged_model(model)?
            .files
            .insert(path.to_owned(), bytes);
        Ok(())
    }

    async fn list_model_files(
        &self,
        model: &StoredModel,
    ) -> Result<BTreeMap<String, Option<u64>>, StoreError> {
        let mut state = self.begin_request()?;
        let files = state.logged_model(model)?.files.iter();
        Ok(files
            .map(|(path, bytes)| (path.clone(), Some(bytes.len() as u64)))
            .collect())
    }

    async fn register_model(
        &self,
        run: &StoredRun,
        model: &StoredModel,
        registration: &Registration<'_>,
    ) -> Result<(), StoreError> {
        register_model(self, run, model, registration).await?;
        Ok(())
    }

    async fn log_model_metrics(
        &self,
        run: &StoredRun,
        model: &StoredModel,
        metrics: &[ModelMetric],
    ) -> Result<(), StoreError> {
        let points: Vec<Metric> = metrics.iter().map(|metric| metric.point.clone()).collect();
        self.log_batch(run, &Batch::of_metrics(&points)).await?;
        let mut state = self.lock_state();
        let known = &mut state.logged_model(model)?.metrics;
        for metric in metrics {
            let id = |metric: &ModelMetric| {
                let Metric {
                    key,
                    timestamp_ms,
                    step,
                    value: _,
                } = &metric.point;
                (key.clone(), *timestamp_ms, *step)
            };
            if !known.iter().any(|known| id(known) == id(metric)) {
                known.push(metric.clone());
            }
        }
        Ok(())
    }

    async fn log_output(
        &self,
        run: &StoredRun,
        model_id: &str,
        step: i64,
    ) -> Result<(), StoreError> {
        let mut state = self.begin_request()?;
        let data = &mut state.active_run(&run.run_id)?.data;
        if data.model_outputs.iter().any(|(id, _)| id == model_id) {
            return Ok(());
        }
        data.model_outputs.push((model_id.to_owned(), step));
        if let Some(own) = data.models.iter_mut().find(|own| own.model_id == model_id) {
            own.step = Some(step);
        }
        Ok(())
    }

    async fn log_model_input(&self, run: &StoredRun, model_id: &str) -> Result<(), StoreError> {
        let mut state = self.begin_request()?;
        let inputs = &mut state.active_run(&run.run_id)?.data.model_inputs;
        if !inputs.iter().any(|id| id == model_id) {
            inputs.push(model_id.to_owned());
        }
        Ok(())
    }
}

fn read_content(content: ArtifactContent<'_>) -> Result<Vec<u8>, StoreError> {
    match content {
        ArtifactContent::Bytes(bytes) => Ok(bytes.into_owned()),
        ArtifactContent::File(path) => {
            let mut bytes = Vec::new();
            let read = local_artifacts::open_source(path)?.read_to_end(&mut bytes);
            read.map_err(|error| StoreError::Rejected {
                reason: format!("cannot read {}: {error}", path.display()).into(),
            })?;
            Ok(bytes)
        }
    }
}
