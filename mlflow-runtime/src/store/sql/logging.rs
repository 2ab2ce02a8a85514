//! [`Store`] of every [`Database`]: what the shipper writes.
//!
//! What MLflow's server refuses is refused here, too (see the module `validate`). The artifacts are in a directory.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;

use super::database::Database;
use super::owned_values::OwnedNewRun;
use super::{log_inputs, models, runs};
use crate::entities::FileInfo;
use crate::model::{
    ExperimentRef, InputDataset, Metric, ModelMetric, ModelStatus, NewModel, Param, Registration,
    RunStatus, StoredModel, Tag,
};
use crate::store::catalog::{collect_artifact, list_folder, register_model};
use crate::store::{
    ArtifactContent, Batch, BatchLimits, GroupedRun, NewRun, Store, StoreError, StoreInfo,
    StoredRun, local_artifacts, validate,
};

#[async_trait(?Send)]
impl<D: Database> Store for D {
    fn uri(&self) -> String {
        Database::uri(self)
    }

    fn gap(&self) -> Duration {
        Database::gap(self)
    }

    fn limits(&self) -> BatchLimits {
        Database::limits(self)
    }

    fn news(&self) -> Option<String> {
        Database::news(self)
    }

    fn run_url(&self, _run: &StoredRun) -> Option<String> {
        None
    }

    async fn experiment(&self, experiment: &ExperimentRef) -> Result<String, StoreError> {
        match experiment.clone() {
            ExperimentRef::Id(id) => {
                self.look_up(move |db| runs::experiment_by_id(db, &id))
                    .await
            }
            ExperimentRef::Name(name) => {
                validate::check_experiment(&name)?;
                let wanted = name.clone();
                let found = self.look_up(move |db| runs::find_experiment(db, &wanted));
                if let Some(id) = found.await? {
                    return Ok(id);
                }
                let root = self.artifact_root().to_owned();
                self.write(move |db| runs::find_or_create_experiment(db, &name, &root))
                    .await
            }
        }
    }

    async fn experiment_name(&self, run: &StoredRun) -> Result<Option<String>, StoreError> {
        let id = run.experiment_id.clone();
        self.look_up(move |db| runs::experiment_name(db, &id)).await
    }

    async fn create_run(&self, run: &NewRun<'_>) -> Result<StoredRun, StoreError> {
        let run = OwnedNewRun::from(run);
        self.write(move |db| runs::create_run(db, &run.as_run()))
            .await
    }

    async fn find_run(
        &self,
        experiment_id: &str,
        key: &str,
    ) -> Result<Option<StoredRun>, StoreError> {
        let [experiment_id, key] = [experiment_id, key].map(str::to_owned);
        self.look_up(move |db| runs::find_run(db, &experiment_id, &key))
            .await
    }

    async fn get_run(&self, run_id: &str) -> Result<StoredRun, StoreError> {
        let run_id = run_id.to_owned();
        self.look_up(move |db| runs::require_active_run(db, &run_id))
            .await
    }

    async fn log_batch(&self, run: &StoredRun, batch: &Batch<'_>) -> Result<(), StoreError> {
        validate::check_batch(batch)?;
        Database::log_batch(self, &run.run_id, batch).await
    }

    fn max_group_entries(&self) -> usize {
        Database::max_group_entries(self)
    }

    async fn log_runs(&self, runs: &[GroupedRun<'_>]) -> Result<Vec<StoredRun>, StoreError> {
        for run in runs {
            validate::check_batch(&run.batch)?;
        }
        Database::log_runs(self, runs).await
    }

    async fn log_inputs(&self, run: &StoredRun, inputs: &[InputDataset]) -> Result<(), StoreError> {
        validate::check_inputs(inputs)?;
        let (run_id, inputs) = (run.run_id.clone(), inputs.to_vec());
        self.write(move |db| log_inputs::write_inputs(db, &run_id, &inputs))
            .await
    }

    async fn update_run(
        &self,
        run: &StoredRun,
        status: RunStatus,
        end_time_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        let run_id = run.run_id.clone();
        self.write(move |db| runs::update_run(db, &run_id, status, end_time_ms))
            .await
    }

    async fn is_running(&self, run: &StoredRun) -> Result<bool, StoreError> {
        let run_id = run.run_id.clone();
        self.look_up(move |db| runs::is_running(db, &run_id)).await
    }

    async fn last_steps(&self, run: &StoredRun) -> Result<HashMap<String, i64>, StoreError> {
        let run_id = run.run_id.clone();
        self.look_up(move |db| runs::last_steps(db, &run_id)).await
    }

    async fn tag(&self, run: &StoredRun, key: &str) -> Result<Option<String>, StoreError> {
        let (run_id, key) = (run.run_id.clone(), key.to_owned());
        self.look_up(move |db| runs::tag_value(db, &run_id, &key))
            .await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        Database::info(self).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.look_up(runs::schema_revision).await.map(drop)
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
        let root = local_artifacts::uri_to_directory(&run.artifact_uri)?;
        local_artifacts::write_artifact(&root, path, content).await
    }

    async fn list_folder(
        &self,
        run: &StoredRun,
        folder: &str,
    ) -> Result<Vec<FileInfo>, StoreError> {
        list_folder(self, run, folder).await
    }

    async fn delete_artifact(&self, run: &StoredRun, path: &str) -> Result<(), StoreError> {
        let root = local_artifacts::uri_to_directory(&run.artifact_uri)?;
        local_artifacts::delete_artifact(&root, path)
    }

    async fn create_model(
        &self,
        run: &StoredRun,
        model: &NewModel<'_>,
    ) -> Result<StoredModel, StoreError> {
        let NewModel {
            key,
            name,
            model_type,
        } = *model;
        validate::check_logged_model(name)?;
        let (run, [key, name]) = (run.clone(), [key, name].map(str::to_owned));
        let model_type = model_type.map(str::to_owned);
        self.write(move |db| {
            let model = NewModel {
                key: &key,
                name: &name,
                model_type: model_type.as_deref(),
            };
            models::find_or_create(db, &run, &model)
        })
        .await
    }

    async fn model_status(&self, model: &StoredModel) -> Result<ModelStatus, StoreError> {
        let model = model.clone();
        self.look_up(move |db| models::status(db, &model)).await
    }

    async fn set_model_status(
        &self,
        model: &StoredModel,
        status: ModelStatus,
    ) -> Result<(), StoreError> {
        let model = model.clone();
        self.write(move |db| models::set_status(db, &model, status))
            .await
    }

    async fn describe_model(
        &self,
        model: &StoredModel,
        params: &[Param],
        tags: &[Tag],
    ) -> Result<(), StoreError> {
        let (model, params, tags) = (model.clone(), params.to_vec(), tags.to_vec());
        self.write(move |db| models::describe(db, &model, &params, &tags))
            .await
    }

    async fn put_model_file(
        &self,
        model: &StoredModel,
        path: &str,
        content: ArtifactContent<'_>,
    ) -> Result<(), StoreError> {
        let root = local_artifacts::uri_to_directory(&model.artifact_uri)?;
        local_artifacts::write_artifact(&root, path, content).await
    }

    async fn list_model_files(
        &self,
        model: &StoredModel,
    ) -> Result<BTreeMap<String, Option<u64>>, StoreError> {
        let root = local_artifacts::uri_to_directory(&model.artifact_uri)?;
        local_artifacts::list_all(&root)
    }

    async fn register_model(
        &self,
        run: &StoredRun,
        model: &StoredModel,
        registration: &Registration<'_>,
    ) -> Result<(), StoreError> {
        let version = register_model(self, run, model, registration).await?;
        let (model, name) = (model.clone(), registration.name.to_owned());
        self.write(move |db| models::note_version(db, &model, &name, version))
            .await
    }

    async fn log_model_metrics(
        &self,
        run: &StoredRun,
        model: &StoredModel,
        metrics: &[ModelMetric],
    ) -> Result<(), StoreError> {
        let points: Vec<Metric> = metrics.iter().map(|metric| metric.point.clone()).collect();
        Store::log_batch(self, run, &Batch::of_metrics(&points)).await?;
        let (run, model, metrics) = (run.clone(), model.clone(), metrics.to_vec());
        self.write(move |db| models::log_metrics(db, &run, &model, &metrics))
            .await
    }

    async fn log_output(
        &self,
        run: &StoredRun,
        model_id: &str,
        step: i64,
    ) -> Result<(), StoreError> {
        let (run, model_id) = (run.clone(), model_id.to_owned());
        self.write(move |db| models::log_output(db, &run, &model_id, step))
            .await
    }

    async fn log_model_input(&self, run: &StoredRun, model_id: &str) -> Result<(), StoreError> {
        let (run, model_id) = (run.clone(), model_id.to_owned());
        self.write(move |db| models::log_input(db, &run, &model_id))
            .await
    }
}
