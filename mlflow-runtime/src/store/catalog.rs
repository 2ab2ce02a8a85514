//! [`Catalog`] and [`Registry`]: the calls by which a client reads a store and changes it, beside the logging
//! of runs.
//!
//! Invariants that every implementation keeps, checked by the suite `client_conformance`:
//!
//! - The answers are those of MLflow's own Python client on the same data.
//! - A call that reads changes nothing, and creates nothing where nothing exists yet.
//! - A search returns each matching record once, also while other processes write.
//! - No call retries or sleeps: the client does that.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;

use super::{ClientError, Store, StoreError, StoredRun};
use crate::entities::{
    Experiment, FileInfo, MetricHistory, ModelVersion, NewExperiment, NewModelVersion,
    NewRegisteredModel, RegisteredModel, Run, RunUpdate,
};
use crate::model::{ExperimentRef, Registration, StoredModel, Tag, tag_keys};
use crate::search::{
    self, Comparison, FieldKind, Operand, Operator, SearchExperiments, SearchModelVersions,
    SearchRegisteredModels, SearchRuns,
};

/// Store that a client can use in full.
pub(crate) trait ClientStore: Store + Catalog + Registry {}

impl<S: Store + Catalog + Registry> ClientStore for S {}

/// Part of a search's results.
#[derive(Debug)]
pub(crate) struct Page<T> {
    /// Records, in the order of the search. May be empty although there are further pages.
    pub(crate) items: Vec<T>,
    /// Place at which the next page begins; `None` if this page is the last.
    pub(crate) next: Option<Continuation>,
}

/// Place in the results of a search. Only the store that made it can go on from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Continuation {
    /// Token of a server, and the ids of the experiments that are searched.
    Token {
        token: String,
        experiment_ids: Vec<String>,
    },
    /// Ids or names of the matching records that were not returned yet.
    Remaining(RemainingIds),
}

/// Ids of all records that a search has found, of which the first ones were returned. A clone costs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemainingIds {
    ids: Arc<[String]>,
    /// Number of ids that were returned.
    returned: usize,
}

impl RemainingIds {
    /// Creates the place at the beginning of a search that has found these ids.
    pub(crate) fn new(ids: Vec<String>) -> Self {
        Self {
            ids: ids.into(),
            returned: 0,
        }
    }

    /// Returns the ids of the next page, at least one if any is left, and the place behind them.
    pub(crate) fn next_page(&self, page_size: usize) -> (&[String], Option<Continuation>) {
        let left = self.ids.get(self.returned..).unwrap_or_default();
        let page = left.get(..page_size.max(1)).unwrap_or(left);
        let returned = self.returned + page.len();
        let next = (returned < self.ids.len()).then(|| {
            Continuation::Remaining(Self {
                ids: Arc::clone(&self.ids),
                returned,
            })
        });
        (page, next)
    }
}

/// Receiver of an artifact's bytes, called with one part after the other. An error of it ends the download,
/// as an error of a file of this machine.
pub(crate) type ByteSink<'s> = dyn FnMut(&[u8]) -> io::Result<()> + 's;

/// Experiments, runs, metrics and artifacts of a store.
///
/// Searches take the place at which they go on (`None` at the beginning), and the number of records that the
/// caller wants in the page: a page may hold fewer or more. [`SearchRuns::limit`] and the other limits are the
/// caller's business.
#[async_trait(?Send)]
pub(crate) trait Catalog {
    /// Creates an experiment, and returns its id.
    ///
    /// # Errors
    /// [`ClientError::AlreadyExists`] if there is an experiment with this name, even a deleted one.
    async fn create_experiment(&self, new: &NewExperiment) -> Result<String, ClientError>;

    /// Returns an experiment, which may be deleted.
    async fn get_experiment(&self, experiment: &ExperimentRef) -> Result<Experiment, ClientError>;

    /// Returns a page of the experiments that match.
    async fn search_experiments(
        &self,
        search: &SearchExperiments,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<Experiment>, ClientError>;

    /// Renames an experiment, which must not be deleted.
    async fn rename_experiment(&self, id: &str, name: &str) -> Result<(), ClientError>;

    /// Deletes an experiment with its runs. Both can be restored.
    async fn delete_experiment(&self, id: &str) -> Result<(), ClientError>;

    /// Restores an experiment, with all its deleted runs.
    async fn restore_experiment(&self, id: &str) -> Result<(), ClientError>;

    /// Sets a tag of an experiment, and replaces its former value.
    async fn set_experiment_tag(&self, id: &str, key: &str, value: &str)
    -> Result<(), ClientError>;

    /// Deletes a tag of an experiment.
    async fn delete_experiment_tag(&self, id: &str, key: &str) -> Result<(), ClientError>;

    /// Returns a run, which may be deleted.
    async fn get_run_record(&self, run_id: &str) -> Result<Run, ClientError>;

    /// Returns a page of the runs that match.
    async fn search_runs(
        &self,
        search: &SearchRuns,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<Run>, ClientError>;

    /// Changes name, status and end of a run.
    async fn change_run(&self, run_id: &str, update: &RunUpdate) -> Result<(), ClientError>;

    /// Deletes a run. Repeatable. The run can be restored.
    async fn delete_run(&self, run_id: &str) -> Result<(), ClientError>;

    /// Deletes a deleted run for good, with its artifacts.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`] if the store cannot do that, or cannot delete the artifacts.
    async fn delete_run_permanently(&self, run_id: &str) -> Result<(), ClientError>;

    /// Restores a run. Repeatable.
    async fn restore_run(&self, run_id: &str) -> Result<(), ClientError>;

    /// Sets a tag of a run, and replaces its former value. The tag `mlflow.runName` renames the run.
    async fn set_run_tag(&self, run_id: &str, key: &str, value: &str) -> Result<(), ClientError>;

    /// Deletes a tag of a run.
    async fn delete_run_tag(&self, run_id: &str, key: &str) -> Result<(), ClientError>;

    /// Returns all points of each metric in `keys`, in the same order. The history of a metric that the run
    /// does not have is empty.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run.
    async fn metric_histories(
        &self,
        run_id: &str,
        keys: &[String],
    ) -> Result<Vec<MetricHistory>, ClientError>;

    /// Returns the files and folders of a folder among the artifacts of a run, sorted by path. The empty path
    /// is the root. A folder that does not exist has no entries.
    async fn list_artifacts(
        &self,
        run_id: &str,
        folder: &str,
    ) -> Result<Vec<FileInfo>, ClientError>;

    /// Returns the files and folders of a folder of a logged model, sorted by path. The empty path is the root.
    async fn list_logged_model_files(
        &self,
        model_id: &str,
        folder: &str,
    ) -> Result<Vec<FileInfo>, ClientError>;

    /// Reads a file of a logged model, and hands its bytes to `sink`.
    async fn read_logged_model_file(
        &self,
        model_id: &str,
        path: &str,
        sink: &mut ByteSink<'_>,
    ) -> Result<(), ClientError>;

    /// Reads an artifact, and hands its bytes to `sink`.
    async fn read_artifact(
        &self,
        run_id: &str,
        path: &str,
        sink: &mut ByteSink<'_>,
    ) -> Result<(), ClientError>;
}

/// Model registry of a store.
#[async_trait(?Send)]
pub(crate) trait Registry {
    /// Creates a registered model without versions.
    async fn create_registered_model(
        &self,
        new: &NewRegisteredModel,
    ) -> Result<RegisteredModel, ClientError>;

    /// Returns a registered model.
    async fn get_registered_model(&self, name: &str) -> Result<RegisteredModel, ClientError>;

    /// Returns a page of the registered models that match. Prompts, which MLflow keeps among them, are left
    /// out.
    async fn search_registered_models(
        &self,
        search: &SearchRegisteredModels,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<RegisteredModel>, ClientError>;

    /// Renames a registered model.
    async fn rename_registered_model(&self, name: &str, new_name: &str) -> Result<(), ClientError>;

    /// Sets the description of a registered model.
    async fn describe_registered_model(
        &self,
        name: &str,
        description: &str,
    ) -> Result<(), ClientError>;

    /// Deletes a registered model with its versions, for good.
    async fn delete_registered_model(&self, name: &str) -> Result<(), ClientError>;

    /// Sets a tag of a registered model, and replaces its former value.
    async fn set_registered_model_tag(
        &self,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError>;

    /// Deletes a tag of a registered model. Repeatable.
    async fn delete_registered_model_tag(&self, name: &str, key: &str) -> Result<(), ClientError>;

    /// Sets an alias of a model version, and takes it from the version that had it.
    async fn set_alias(&self, name: &str, alias: &str, version: u64) -> Result<(), ClientError>;

    /// Deletes an alias. Repeatable.
    async fn delete_alias(&self, name: &str, alias: &str) -> Result<(), ClientError>;

    /// Returns the model version that an alias names.
    async fn get_model_version_by_alias(
        &self,
        name: &str,
        alias: &str,
    ) -> Result<ModelVersion, ClientError>;

    /// Creates the next version of a registered model.
    async fn create_model_version(
        &self,
        new: &NewModelVersion,
    ) -> Result<ModelVersion, ClientError>;

    /// Returns a model version.
    async fn get_model_version(
        &self,
        name: &str,
        version: u64,
    ) -> Result<ModelVersion, ClientError>;

    /// Returns a page of the model versions that match.
    async fn search_model_versions(
        &self,
        search: &SearchModelVersions,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<ModelVersion>, ClientError>;

    /// Sets the description of a model version.
    async fn describe_model_version(
        &self,
        name: &str,
        version: u64,
        description: &str,
    ) -> Result<(), ClientError>;

    /// Deletes a model version for good. Its number is not used again.
    async fn delete_model_version(&self, name: &str, version: u64) -> Result<(), ClientError>;

    /// Sets a tag of a model version, and replaces its former value.
    async fn set_model_version_tag(
        &self,
        name: &str,
        version: u64,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError>;

    /// Deletes a tag of a model version. Repeatable.
    async fn delete_model_version_tag(
        &self,
        name: &str,
        version: u64,
        key: &str,
    ) -> Result<(), ClientError>;
}

/// Returns true if the search is not for prompts, which MLflow keeps among the models. As in MLflow, the first
/// comparison of the tag that marks prompts decides, and if it asks for no prompts, all comparisons of this tag
/// are left out: models do not have the tag.
pub(super) fn leave_out_prompts(comparisons: &mut Vec<Comparison>) -> bool {
    let is_mark = |comparison: &Comparison| {
        comparison.field.kind == FieldKind::Tag && comparison.field.key == tag_keys::IS_PROMPT
    };
    let wants_prompts = comparisons
        .iter()
        .find(|comparison| is_mark(comparison))
        .is_some_and(|mark| match (mark.operator, &mark.operand) {
            (Operator::Equal, Operand::Text(text)) => text.eq_ignore_ascii_case("true"),
            (Operator::NotEqual, Operand::Text(text)) => text.eq_ignore_ascii_case("false"),
            _ => false,
        });
    if !wants_prompts {
        comparisons.retain(|comparison| !is_mark(comparison));
    }
    !wants_prompts
}

/// Reads an artifact into memory; see [`Store::get_artifact`].
pub(super) async fn collect_artifact(
    store: &impl Catalog,
    run_id: &str,
    path: &str,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let (mut bytes, mut is_too_large) = (Vec::new(), false);
    let mut sink = |part: &[u8]| {
        if (bytes.len() + part.len()) as u64 > max_bytes {
            is_too_large = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        bytes.extend_from_slice(part);
        Ok(())
    };
    match store.read_artifact(run_id, path, &mut sink).await {
        Ok(()) => Ok(Some(bytes)),
        Err(ClientError::NotFound { .. }) => Ok(None),
        Err(ClientError::LocalFile { reason }) if is_too_large => {
            Err(StoreError::Rejected { reason })
        }
        Err(error) => Err(into_store_error(error)),
    }
}

/// Lists a folder of artifacts; see [`Store::list_folder`].
pub(super) async fn list_folder(
    store: &impl Catalog,
    run: &StoredRun,
    folder: &str,
) -> Result<Vec<FileInfo>, StoreError> {
    let listed = store.list_artifacts(&run.run_id, folder).await;
    listed.map_err(into_store_error)
}

/// Returns the refusal of an artifact whose path is a folder, or has a file as a folder; `None` if nothing is known of such a
/// conflict.
pub(super) async fn find_path_conflict(
    store: &impl Catalog,
    run_id: &str,
    path: &str,
) -> Option<StoreError> {
    let folders = path.match_indices('/').map(|(end, _)| end);
    let mut parent = "";
    for end in folders.chain([path.len()]) {
        let part = path.get(..end)?;
        let listed = store.list_artifacts(run_id, parent).await.ok()?;
        let found = listed.iter().find(|file| file.path == part)?;
        let reason = match (end == path.len(), found.is_dir) {
            (true, true) => "the run has a folder of that name".to_owned(),
            (false, false) => format!("the run has a file {part:?}, which cannot be a folder, too"),
            (true, false) | (false, true) => {
                parent = part;
                continue;
            }
        };
        return Some(StoreError::Rejected {
            reason: format!("{reason}; choose another path").into(),
        });
    }
    None
}

/// Registers a logged model, and returns the number of the version; see [`Store::register_model`].
pub(super) async fn register_model(
    store: &impl Registry,
    run: &StoredRun,
    model: &StoredModel,
    registration: &Registration<'_>,
) -> Result<u64, StoreError> {
    let registered = try_register_model(store, run, model, registration).await;
    registered.map_err(into_store_error)
}

async fn try_register_model(
    store: &impl Registry,
    run: &StoredRun,
    model: &StoredModel,
    registration: &Registration<'_>,
) -> Result<u64, ClientError> {
    let Registration {
        name, aliases, key, ..
    } = *registration;
    let version = match find_version(store, name, key).await? {
        Some(version) => version,
        None => create_version(store, run, model, registration).await?,
    };
    if !aliases.is_empty() {
        let current = store.get_registered_model(name).await?.aliases;
        for alias in aliases {
            // A later version may have got the alias since an earlier try.
            if current.get(alias).is_none_or(|named| *named < version) {
                store.set_alias(name, alias, version).await?;
            }
        }
    }
    Ok(version)
}

/// Returns the number of the version that was created for the logged model with this key.
async fn find_version(
    store: &impl Registry,
    name: &str,
    key: &str,
) -> Result<Option<u64>, ClientError> {
    let search = SearchModelVersions::new()
        .filter(search::attribute::name().eq(name))
        .filter(search::tag(tag_keys::MODEL_KEY).eq(key));
    let mut from = None;
    loop {
        let page = store.search_model_versions(&search, from, 1).await?;
        if let Some(found) = page.items.first() {
            return Ok(Some(found.version));
        }
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(None),
        }
    }
}

async fn create_version(
    store: &impl Registry,
    run: &StoredRun,
    model: &StoredModel,
    registration: &Registration<'_>,
) -> Result<u64, ClientError> {
    let Registration {
        key, name, tags, ..
    } = *registration;
    match store
        .create_registered_model(&NewRegisteredModel::new(name))
        .await
    {
        Ok(_) | Err(ClientError::AlreadyExists { .. }) => {}
        Err(error) => return Err(error),
    }
    let version = NewModelVersion::new(name, format!("models:/{}", model.model_id))
        .run_id(&*run.run_id)
        .model_id(&*model.model_id);
    let version = { tags.iter() }.fold(version, |version, Tag { key, value }| {
        version.tag(key, value)
    });
    let version = version.tag(tag_keys::MODEL_KEY, key);
    Ok(store.create_model_version(&version).await?.version)
}

/// Converts an error of a client's call into that of a store's call.
fn into_store_error(error: ClientError) -> StoreError {
    match error {
        // A file that cannot be read now, e.g. on a network file system, may be read later.
        ClientError::Unavailable { reason } | ClientError::LocalFile { reason } => {
            StoreError::Unavailable {
                reason,
                retry_after: None,
            }
        }
        ClientError::Invalid { reason } => StoreError::Rejected { reason },
        error => StoreError::Blocked {
            reason: error.to_string().into(),
            everything: false,
        },
    }
}
