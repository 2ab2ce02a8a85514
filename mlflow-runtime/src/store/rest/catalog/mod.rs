//! [`Catalog`] and [`Registry`] of a tracking server.
//!
//! - Each call is answered as MLflow's own Python client answers it with the same server, from release 2.10 on.
//! - A request is sent again only if its connection broke and a second attempt cannot have another result than
//!   the first. These calls are **not repeatable**, so that after an error the caller has to look if the call
//!   was carried out: to create a model version (each request creates a further one), to create an experiment
//!   or a registered model (the second attempt finds the name used), to delete or restore an experiment, to
//!   delete a tag of an experiment or a run, to rename or delete a registered model, and to delete a model
//!   version (the second attempt finds nothing).
//! - Pages are offsets: see [`search`].
//! - An error contains no credentials, and no signed URL.

mod api;
mod artifacts;
mod download;
mod experiments;
mod metric_history;
mod records;
mod registry;
mod runs;
mod search;

use async_trait::async_trait;

use super::RestStore;
use crate::entities::{
    Experiment, FileInfo, MetricHistory, ModelVersion, NewExperiment, NewModelVersion,
    NewRegisteredModel, RegisteredModel, Run, RunUpdate,
};
use crate::model::ExperimentRef;
use crate::search::{SearchExperiments, SearchModelVersions, SearchRegisteredModels, SearchRuns};
use crate::store::{ByteSink, Catalog, ClientError, Continuation, Page, Registry};

use api::Api;
use artifacts::Owner;

impl RestStore {
    fn api(&self) -> Api<'_> {
        Api { http: &self.http }
    }

    /// Drops the ids of experiments that were found to be active, as one of them is changed.
    fn forget_experiments(&self) {
        self.experiments.borrow_mut().clear();
    }
}

#[async_trait(?Send)]
impl Catalog for RestStore {
    async fn create_experiment(&self, new: &NewExperiment) -> Result<String, ClientError> {
        experiments::create(self.api(), new).await
    }

    async fn get_experiment(&self, experiment: &ExperimentRef) -> Result<Experiment, ClientError> {
        experiments::get(self.api(), experiment).await
    }

    async fn search_experiments(
        &self,
        search: &SearchExperiments,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<Experiment>, ClientError> {
        experiments::search(self.api(), search, from, page_size).await
    }

    async fn rename_experiment(&self, id: &str, name: &str) -> Result<(), ClientError> {
        self.forget_experiments();
        experiments::rename(self.api(), id, name).await
    }

    async fn delete_experiment(&self, id: &str) -> Result<(), ClientError> {
        self.forget_experiments();
        experiments::delete(self.api(), id).await
    }

    async fn restore_experiment(&self, id: &str) -> Result<(), ClientError> {
        self.forget_experiments();
        experiments::restore(self.api(), id).await
    }

    async fn set_experiment_tag(
        &self,
        id: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        experiments::set_tag(self.api(), id, key, value).await
    }

    async fn delete_experiment_tag(&self, id: &str, key: &str) -> Result<(), ClientError> {
        experiments::delete_tag(self.api(), id, key).await
    }

    async fn get_run_record(&self, run_id: &str) -> Result<Run, ClientError> {
        runs::get(self.api(), run_id).await
    }

    async fn search_runs(
        &self,
        search: &SearchRuns,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<Run>, ClientError> {
        runs::search(self.api(), search, from, page_size).await
    }

    async fn change_run(&self, run_id: &str, update: &RunUpdate) -> Result<(), ClientError> {
        runs::change(self.api(), run_id, update).await
    }

    async fn delete_run(&self, run_id: &str) -> Result<(), ClientError> {
        runs::delete(self.api(), run_id).await
    }

    async fn delete_run_permanently(&self, _run_id: &str) -> Result<(), ClientError> {
        Err(ClientError::unsupported(
            "a tracking server offers no call that deletes a run for good: run `mlflow gc` on the machine of the server",
        ))
    }

    async fn restore_run(&self, run_id: &str) -> Result<(), ClientError> {
        runs::restore(self.api(), run_id).await
    }

    async fn set_run_tag(&self, run_id: &str, key: &str, value: &str) -> Result<(), ClientError> {
        runs::set_tag(self.api(), run_id, key, value).await
    }

    async fn delete_run_tag(&self, run_id: &str, key: &str) -> Result<(), ClientError> {
        runs::delete_tag(self.api(), run_id, key).await
    }

    async fn metric_histories(
        &self,
        run_id: &str,
        keys: &[String],
    ) -> Result<Vec<MetricHistory>, ClientError> {
        metric_history::get_all(self.api(), run_id, keys).await
    }

    async fn list_artifacts(
        &self,
        run_id: &str,
        folder: &str,
    ) -> Result<Vec<FileInfo>, ClientError> {
        artifacts::list(self.api(), Owner::Run(run_id), folder).await
    }

    async fn list_logged_model_files(
        &self,
        model_id: &str,
        folder: &str,
    ) -> Result<Vec<FileInfo>, ClientError> {
        let of = Owner::LoggedModel(model_id);
        artifacts::list(self.api(), of, folder).await
    }

    async fn read_logged_model_file(
        &self,
        model_id: &str,
        path: &str,
        sink: &mut ByteSink<'_>,
    ) -> Result<(), ClientError> {
        let of = Owner::LoggedModel(model_id);
        artifacts::read(self.api(), of, path, sink).await
    }

    async fn read_artifact(
        &self,
        run_id: &str,
        path: &str,
        sink: &mut ByteSink<'_>,
    ) -> Result<(), ClientError> {
        artifacts::read(self.api(), Owner::Run(run_id), path, sink).await
    }
}

#[async_trait(?Send)]
impl Registry for RestStore {
    async fn create_registered_model(
        &self,
        new: &NewRegisteredModel,
    ) -> Result<RegisteredModel, ClientError> {
        registry::create_model(self.api(), new).await
    }

    async fn get_registered_model(&self, name: &str) -> Result<RegisteredModel, ClientError> {
        registry::get_model(self.api(), name).await
    }

    async fn search_registered_models(
        &self,
        search: &SearchRegisteredModels,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<RegisteredModel>, ClientError> {
        registry::search_models(self.api(), search, from, page_size).await
    }

    async fn rename_registered_model(&self, name: &str, new_name: &str) -> Result<(), ClientError> {
        registry::rename_model(self.api(), name, new_name).await
    }

    async fn describe_registered_model(
        &self,
        name: &str,
        description: &str,
    ) -> Result<(), ClientError> {
        registry::describe_model(self.api(), name, description).await
    }

    async fn delete_registered_model(&self, name: &str) -> Result<(), ClientError> {
        registry::delete_model(self.api(), name).await
    }

    async fn set_registered_model_tag(
        &self,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        registry::set_model_tag(self.api(), name, key, value).await
    }

    async fn delete_registered_model_tag(&self, name: &str, key: &str) -> Result<(), ClientError> {
        registry::delete_model_tag(self.api(), name, key).await
    }

    async fn set_alias(&self, name: &str, alias: &str, version: u64) -> Result<(), ClientError> {
        registry::set_alias(self.api(), name, alias, version).await
    }

    async fn delete_alias(&self, name: &str, alias: &str) -> Result<(), ClientError> {
        registry::delete_alias(self.api(), name, alias).await
    }

    async fn get_model_version_by_alias(
        &self,
        name: &str,
        alias: &str,
    ) -> Result<ModelVersion, ClientError> {
        registry::get_version_by_alias(self.api(), name, alias).await
    }

    async fn create_model_version(
        &self,
        new: &NewModelVersion,
    ) -> Result<ModelVersion, ClientError> {
        registry::create_version(self.api(), new).await
    }

    async fn get_model_version(
        &self,
        name: &str,
        version: u64,
    ) -> Result<ModelVersion, ClientError> {
        registry::get_version(self.api(), name, version).await
    }

    async fn search_model_versions(
        &self,
        search: &SearchModelVersions,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<ModelVersion>, ClientError> {
        registry::search_versions(self.api(), search, from, page_size).await
    }

    async fn describe_model_version(
        &self,
        name: &str,
        version: u64,
        description: &str,
    ) -> Result<(), ClientError> {
        registry::describe_version(self.api(), name, version, description).await
    }

    async fn delete_model_version(&self, name: &str, version: u64) -> Result<(), ClientError> {
        registry::delete_version(self.api(), name, version).await
    }

    async fn set_model_version_tag(
        &self,
        name: &str,
        version: u64,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        registry::set_version_tag(self.api(), name, version, key, value).await
    }

    async fn delete_model_version_tag(
        &self,
        name: &str,
        version: u64,
        key: &str,
    ) -> Result<(), ClientError> {
        registry::delete_version_tag(self.api(), name, version, key).await
    }
}
