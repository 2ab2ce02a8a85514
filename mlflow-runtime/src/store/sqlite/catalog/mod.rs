//! [`Catalog`] and [`Registry`] of the SQLite file: what a client reads and changes without a server.
//!
//! - The answers are those of MLflow's own SQL store on the same file.
//! - A page is read in one transaction, so that its records fit together. A change is one short
//!   `BEGIN IMMEDIATE` transaction.
//! - The first page of a search finds the ids of all matching records. Later pages only read the records of
//!   the remaining ids. Therefore a search is a snapshot: others who write meanwhile cause neither gaps nor
//!   duplicates.
//! - No value is ever a part of a statement's text: values are bound.
//! - The file may be newer than the files that this library creates: columns are named, and columns that only
//!   newer files have are looked up before they are used.

mod aliases;
mod comparison;
mod experiments;
mod metric_history;
mod model_versions;
mod paging;
mod registered_models;
mod rows;
mod run_changes;
mod run_search;
mod runs;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use async_trait::async_trait;
use rusqlite::{Connection, TransactionBehavior};

use super::error::SqliteError;
use super::open::MissingFile;
use super::{SqliteStore, StoreError, columns, local_artifacts, validate};
use crate::entities::{
    Experiment, FileInfo, MetricHistory, ModelVersion, NewExperiment, NewModelVersion,
    NewRegisteredModel, RegisteredModel, Run, RunUpdate,
};
use crate::model::ExperimentRef;
use crate::search::{
    SearchError, SearchExperiments, SearchModelVersions, SearchRegisteredModels, SearchRuns,
};
use crate::store::{ByteSink, Catalog, ClientError, Continuation, Page, Registry};

/// Reason why a call brought no result.
#[derive(Debug)]
enum CatalogError {
    /// Answer in the caller's terms, after which the connection is as good as before.
    Declined(ClientError),
    /// Failure of SQLite or of the file.
    Failed(SqliteError),
}

impl From<ClientError> for CatalogError {
    fn from(error: ClientError) -> Self {
        Self::Declined(error)
    }
}

impl From<StoreError> for CatalogError {
    fn from(error: StoreError) -> Self {
        Self::Declined(error.into())
    }
}

impl From<SearchError> for CatalogError {
    fn from(error: SearchError) -> Self {
        Self::Declined(error.into())
    }
}

impl From<SqliteError> for CatalogError {
    fn from(error: SqliteError) -> Self {
        Self::Failed(error)
    }
}

impl From<rusqlite::Error> for CatalogError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl SqliteStore {
    /// Reads from the file, in one transaction.
    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, CatalogError>,
    ) -> Result<T, ClientError> {
        self.transact(MissingFile::Refuse, TransactionBehavior::Deferred, work)
    }

    /// Changes what is in the file, all or nothing.
    fn change<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, CatalogError>,
    ) -> Result<T, ClientError> {
        self.transact(MissingFile::Refuse, TransactionBehavior::Immediate, work)
    }

    /// Adds something that needs nothing in the file. A missing file is created.
    fn create<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, CatalogError>,
    ) -> Result<T, ClientError> {
        self.transact(MissingFile::Create, TransactionBehavior::Immediate, work)
    }

    fn transact<T>(
        &self,
        missing: MissingFile,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Connection) -> Result<T, CatalogError>,
    ) -> Result<T, ClientError> {
        self.with_file(missing, |db| {
            let transaction = db.transaction_with_behavior(behavior)?;
            match work(&transaction) {
                Ok(result) => {
                    transaction.commit()?;
                    Ok(Ok(result))
                }
                Err(CatalogError::Declined(error)) => Ok(Err(error)),
                Err(CatalogError::Failed(failure)) => Err(failure),
            }
        })?
    }

    /// Returns the directory with the artifacts of a run.
    /// Returns the directory of a logged model.
    fn model_directory(&self, model_id: &str) -> Result<PathBuf, ClientError> {
        let uri = self.read(|db| model_versions::location_of_logged_model(db, model_id))?;
        local_artifacts::uri_to_readable_directory(&uri)
    }

    fn artifact_directory(&self, run_id: &str) -> Result<PathBuf, ClientError> {
        let uri = self.read(|db| runs::artifact_uri(db, run_id))?;
        local_artifacts::uri_to_readable_directory(&uri)
    }
}

/// Returns the condition that restricts a table to the workspace in which a client without workspaces works.
/// Files of older MLflow releases have no workspaces.
fn workspace_condition(db: &Connection, table: &str) -> rusqlite::Result<&'static str> {
    Ok(if columns::has_column(db, table, "workspace")? {
        "workspace = 'default'"
    } else {
        "TRUE"
    })
}

#[async_trait(?Send)]
impl Catalog for SqliteStore {
    async fn create_experiment(&self, new: &NewExperiment) -> Result<String, ClientError> {
        let checked = experiments::check_new(new)?;
        self.create(|db| experiments::create(db, new, checked.as_deref(), &self.artifact_root))
    }

    async fn get_experiment(&self, experiment: &ExperimentRef) -> Result<Experiment, ClientError> {
        self.read(|db| experiments::get(db, experiment))
    }

    async fn search_experiments(
        &self,
        search: &SearchExperiments,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<Experiment>, ClientError> {
        self.read(|db| {
            paging::read_page(
                from,
                page_size,
                || experiments::find_ids(db, search),
                |ids| experiments::read(db, ids),
            )
        })
    }

    async fn rename_experiment(&self, id: &str, name: &str) -> Result<(), ClientError> {
        validate::check_new_experiment(name)?;
        self.change(|db| experiments::rename(db, id, name))
    }

    async fn delete_experiment(&self, id: &str) -> Result<(), ClientError> {
        self.change(|db| experiments::delete(db, id))
    }

    async fn restore_experiment(&self, id: &str) -> Result<(), ClientError> {
        self.change(|db| experiments::restore(db, id))
    }

    async fn set_experiment_tag(
        &self,
        id: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        experiments::check_tag(key, value)?;
        self.change(|db| experiments::set_tag(db, id, key, value))
    }

    async fn delete_experiment_tag(&self, id: &str, key: &str) -> Result<(), ClientError> {
        self.change(|db| experiments::delete_tag(db, id, key))
    }

    async fn get_run_record(&self, run_id: &str) -> Result<Run, ClientError> {
        self.read(|db| runs::get(db, run_id))
    }

    async fn search_runs(
        &self,
        search: &SearchRuns,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<Run>, ClientError> {
        self.read(|db| {
            paging::read_page(
                from,
                page_size,
                || run_search::find_ids(db, search),
                |ids| runs::read(db, ids, &search.columns),
            )
        })
    }

    async fn change_run(&self, run_id: &str, update: &RunUpdate) -> Result<(), ClientError> {
        self.change(|db| run_changes::update(db, run_id, update))
    }

    async fn delete_run(&self, run_id: &str) -> Result<(), ClientError> {
        self.change(|db| run_changes::delete(db, run_id))
    }

    async fn delete_run_permanently(&self, run_id: &str) -> Result<(), ClientError> {
        let artifact_uri = self.read(|db| {
            run_changes::require_deleted(db, run_id)?;
            runs::artifact_uri(db, run_id)
        })?;
        // A run whose artifacts are gone can be deleted later. Artifacts whose run is gone would stay for ever.
        local_artifacts::remove(&artifact_uri, run_id)?;
        self.change(|db| run_changes::delete_permanently(db, run_id))
    }

    async fn restore_run(&self, run_id: &str) -> Result<(), ClientError> {
        self.change(|db| run_changes::restore(db, run_id))
    }

    async fn set_run_tag(&self, run_id: &str, key: &str, value: &str) -> Result<(), ClientError> {
        validate::check_key("tag", key)?;
        self.change(|db| run_changes::set_tag(db, run_id, key, value))
    }

    async fn delete_run_tag(&self, run_id: &str, key: &str) -> Result<(), ClientError> {
        self.change(|db| run_changes::delete_tag(db, run_id, key))
    }

    async fn metric_histories(
        &self,
        run_id: &str,
        keys: &[String],
    ) -> Result<Vec<MetricHistory>, ClientError> {
        self.read(|db| metric_history::read(db, run_id, keys))
    }

    async fn list_artifacts(
        &self,
        run_id: &str,
        folder: &str,
    ) -> Result<Vec<FileInfo>, ClientError> {
        local_artifacts::list(&self.artifact_directory(run_id)?, folder)
    }

    async fn list_logged_model_files(
        &self,
        model_id: &str,
        folder: &str,
    ) -> Result<Vec<FileInfo>, ClientError> {
        local_artifacts::list(&self.model_directory(model_id)?, folder)
    }

    async fn read_logged_model_file(
        &self,
        model_id: &str,
        path: &str,
        sink: &mut ByteSink<'_>,
    ) -> Result<(), ClientError> {
        local_artifacts::read(&self.model_directory(model_id)?, path, sink)
    }

    async fn read_artifact(
        &self,
        run_id: &str,
        path: &str,
        sink: &mut ByteSink<'_>,
    ) -> Result<(), ClientError> {
        local_artifacts::read(&self.artifact_directory(run_id)?, path, sink)
    }
}

#[async_trait(?Send)]
impl Registry for SqliteStore {
    async fn create_registered_model(
        &self,
        new: &NewRegisteredModel,
    ) -> Result<RegisteredModel, ClientError> {
        validate::check_model_name(&new.name)?;
        registered_models::check_tags(&new.tags)?;
        self.create(|db| registered_models::create(db, new))
    }

    async fn get_registered_model(&self, name: &str) -> Result<RegisteredModel, ClientError> {
        validate::check_model_name(name)?;
        self.read(|db| registered_models::get(db, name))
    }

    async fn search_registered_models(
        &self,
        search: &SearchRegisteredModels,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<RegisteredModel>, ClientError> {
        self.read(|db| {
            paging::read_page(
                from,
                page_size,
                || registered_models::find_names(db, search),
                |names| registered_models::read(db, names),
            )
        })
    }

    async fn rename_registered_model(&self, name: &str, new_name: &str) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        validate::check_model_name(new_name)?;
        self.change(|db| registered_models::rename(db, name, new_name))
    }

    async fn describe_registered_model(
        &self,
        name: &str,
        description: &str,
    ) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        self.change(|db| registered_models::describe(db, name, description))
    }

    async fn delete_registered_model(&self, name: &str) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        self.change(|db| registered_models::delete(db, name))
    }

    async fn set_registered_model_tag(
        &self,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        registered_models::check_tag(key, value)?;
        self.change(|db| registered_models::set_tag(db, name, key, value))
    }

    async fn delete_registered_model_tag(&self, name: &str, key: &str) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        validate::check_key("tag", key)?;
        self.change(|db| registered_models::delete_tag(db, name, key))
    }

    async fn set_alias(&self, name: &str, alias: &str, version: u64) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        validate::check_new_alias(alias)?;
        self.change(|db| aliases::set(db, name, alias, version))
    }

    async fn delete_alias(&self, name: &str, alias: &str) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        validate::check_alias(alias)?;
        self.change(|db| aliases::delete(db, name, alias))
    }

    async fn get_model_version_by_alias(
        &self,
        name: &str,
        alias: &str,
    ) -> Result<ModelVersion, ClientError> {
        validate::check_model_name(name)?;
        validate::check_alias(alias)?;
        self.read(|db| aliases::resolve(db, name, alias))
    }

    async fn create_model_version(
        &self,
        new: &NewModelVersion,
    ) -> Result<ModelVersion, ClientError> {
        validate::check_model_name(&new.name)?;
        registered_models::check_tags(&new.tags)?;
        self.change(|db| model_versions::create(db, new))
    }

    async fn get_model_version(
        &self,
        name: &str,
        version: u64,
    ) -> Result<ModelVersion, ClientError> {
        validate::check_model_name(name)?;
        self.read(|db| model_versions::get(db, name, version))
    }

    async fn search_model_versions(
        &self,
        search: &SearchModelVersions,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<ModelVersion>, ClientError> {
        self.read(|db| {
            paging::read_page(
                from,
                page_size,
                || model_versions::find_ids(db, search),
                |ids| model_versions::read(db, ids),
            )
        })
    }

    async fn describe_model_version(
        &self,
        name: &str,
        version: u64,
        description: &str,
    ) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        self.change(|db| model_versions::describe(db, name, version, description))
    }

    async fn delete_model_version(&self, name: &str, version: u64) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        self.change(|db| model_versions::delete(db, name, version))
    }

    async fn set_model_version_tag(
        &self,
        name: &str,
        version: u64,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        registered_models::check_tag(key, value)?;
        self.change(|db| model_versions::set_tag(db, name, version, key, value))
    }

    async fn delete_model_version_tag(
        &self,
        name: &str,
        version: u64,
        key: &str,
    ) -> Result<(), ClientError> {
        validate::check_model_name(name)?;
        validate::check_key("tag", key)?;
        self.change(|db| model_versions::delete_tag(db, name, version, key))
    }
}
