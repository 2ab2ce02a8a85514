//! [`Catalog`] and [`Registry`](crate::store::Registry) of every [`Database`]: what a client reads and changes without a server.
//!
//! - The answers are those of MLflow's own SQL store on the same database.
//! - A page is read in one transaction, so that its records fit together. A change is one short transaction.
//! - The first page of a search finds the ids of all matching records. Later pages only read the records of
//!   the remaining ids. Therefore a search is a snapshot: others who write meanwhile cause neither gaps nor
//!   duplicates.
//! - The database may be newer than this library: columns that only newer ones have are looked up before they are
//!   used.

mod aliases;
mod comparison;
mod experiments;
mod metric_history;
mod model_versions;
mod paging;
mod registered_models;
mod registry;
mod run_changes;
mod run_search;
mod runs;
mod workspace;

use std::path::PathBuf;

use async_trait::async_trait;

use super::database::Database;
use crate::entities::{Experiment, FileInfo, MetricHistory, NewExperiment, Run, RunUpdate};
use crate::model::ExperimentRef;
use crate::search::{SearchExperiments, SearchRuns};
use crate::store::{ByteSink, Catalog, ClientError, Continuation, Page, local_artifacts, validate};

/// Returns the directory of a logged model.
async fn model_directory(db: &impl Database, model_id: &str) -> Result<PathBuf, ClientError> {
    let id = model_id.to_owned();
    let uri = db.read(move |db| model_versions::location_of_logged_model(db, &id));
    local_artifacts::uri_to_readable_directory(&uri.await?)
}

/// Returns the directory with the artifacts of a run.
async fn artifact_directory(db: &impl Database, run_id: &str) -> Result<PathBuf, ClientError> {
    let run_id = run_id.to_owned();
    let uri = db.read(move |db| runs::artifact_uri(db, &run_id));
    local_artifacts::uri_to_readable_directory(&uri.await?)
}

#[async_trait(?Send)]
impl<D: Database> Catalog for D {
    async fn create_experiment(&self, new: &NewExperiment) -> Result<String, ClientError> {
        let checked = experiments::check_new(new)?;
        let new = new.clone();
        let root = self.artifact_root().to_owned();
        self.create(move |db| experiments::create(db, &new, checked.as_deref(), &root))
            .await
    }

    async fn get_experiment(&self, experiment: &ExperimentRef) -> Result<Experiment, ClientError> {
        let experiment = experiment.clone();
        self.read(move |db| experiments::get(db, &experiment)).await
    }

    async fn search_experiments(
        &self,
        search: &SearchExperiments,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<Experiment>, ClientError> {
        let search = search.clone();
        self.read(move |db| {
            paging::read_page(
                from,
                page_size,
                || experiments::find_ids(db, &search),
                |ids| experiments::read(db, ids),
            )
        })
        .await
    }

    async fn rename_experiment(&self, id: &str, name: &str) -> Result<(), ClientError> {
        validate::check_new_experiment(name)?;
        let [id, name] = [id, name].map(str::to_owned);
        self.change(move |db| experiments::rename(db, &id, &name))
            .await
    }

    async fn delete_experiment(&self, id: &str) -> Result<(), ClientError> {
        let id = id.to_owned();
        self.change(move |db| experiments::delete(db, &id)).await
    }

    async fn restore_experiment(&self, id: &str) -> Result<(), ClientError> {
        let id = id.to_owned();
        self.change(move |db| experiments::restore(db, &id)).await
    }

    async fn set_experiment_tag(
        &self,
        id: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        experiments::check_tag(key, value)?;
        let [id, key, value] = [id, key, value].map(str::to_owned);
        self.change(move |db| experiments::set_tag(db, &id, &key, &value))
            .await
    }

    async fn delete_experiment_tag(&self, id: &str, key: &str) -> Result<(), ClientError> {
        let [id, key] = [id, key].map(str::to_owned);
        self.change(move |db| experiments::delete_tag(db, &id, &key))
            .await
    }

    async fn get_run_record(&self, run_id: &str) -> Result<Run, ClientError> {
        let run_id = run_id.to_owned();
        self.read(move |db| runs::get(db, &run_id)).await
    }

    async fn search_runs(
        &self,
        search: &SearchRuns,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<Run>, ClientError> {
        let search = search.clone();
        self.read(move |db| {
            paging::read_page(
                from,
                page_size,
                || run_search::find_ids(db, &search),
                |ids| runs::read(db, ids, &search.columns),
            )
        })
        .await
    }

    async fn change_run(&self, run_id: &str, update: &RunUpdate) -> Result<(), ClientError> {
        let run_id = run_id.to_owned();
        let update = update.clone();
        self.change(move |db| run_changes::update(db, &run_id, &update))
            .await
    }

    async fn delete_run(&self, run_id: &str) -> Result<(), ClientError> {
        let run_id = run_id.to_owned();
        self.change(move |db| run_changes::delete(db, &run_id))
            .await
    }

    async fn delete_run_permanently(&self, run_id: &str) -> Result<(), ClientError> {
        let id = run_id.to_owned();
        let artifact_uri = self.read(move |db| {
            run_changes::require_deleted(db, &id)?;
            runs::artifact_uri(db, &id)
        });
        let artifact_uri = artifact_uri.await?;
        // A run whose artifacts are gone can be deleted later. Artifacts whose run is gone would stay for ever.
        local_artifacts::remove(&artifact_uri, run_id)?;
        let run_id = run_id.to_owned();
        self.change(move |db| run_changes::delete_permanently(db, &run_id))
            .await
    }

    async fn restore_run(&self, run_id: &str) -> Result<(), ClientError> {
        let run_id = run_id.to_owned();
        self.change(move |db| run_changes::restore(db, &run_id))
            .await
    }

    async fn set_run_tag(&self, run_id: &str, key: &str, value: &str) -> Result<(), ClientError> {
        validate::check_key("tag", key)?;
        let [run_id, key, value] = [run_id, key, value].map(str::to_owned);
        self.change(move |db| run_changes::set_tag(db, &run_id, &key, &value))
            .await
    }

    async fn delete_run_tag(&self, run_id: &str, key: &str) -> Result<(), ClientError> {
        let [run_id, key] = [run_id, key].map(str::to_owned);
        self.change(move |db| run_changes::delete_tag(db, &run_id, &key))
            .await
    }

    async fn metric_histories(
        &self,
        run_id: &str,
        keys: &[String],
    ) -> Result<Vec<MetricHistory>, ClientError> {
        let run_id = run_id.to_owned();
        let keys = keys.to_vec();
        self.read(move |db| metric_history::read(db, &run_id, &keys))
            .await
    }

    async fn list_artifacts(
        &self,
        run_id: &str,
        folder: &str,
    ) -> Result<Vec<FileInfo>, ClientError> {
        local_artifacts::list(&artifact_directory(self, run_id).await?, folder)
    }

    async fn list_logged_model_files(
        &self,
        model_id: &str,
        folder: &str,
    ) -> Result<Vec<FileInfo>, ClientError> {
        local_artifacts::list(&model_directory(self, model_id).await?, folder)
    }

    async fn read_logged_model_file(
        &self,
        model_id: &str,
        path: &str,
        sink: &mut ByteSink<'_>,
    ) -> Result<(), ClientError> {
        local_artifacts::read(&model_directory(self, model_id).await?, path, sink)
    }

    async fn read_artifact(
        &self,
        run_id: &str,
        path: &str,
        sink: &mut ByteSink<'_>,
    ) -> Result<(), ClientError> {
        local_artifacts::read(&artifact_directory(self, run_id).await?, path, sink)
    }
}
