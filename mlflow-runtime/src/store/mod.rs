//! The [`Store`] trait and its implementations: the places where values end up.
//!
//! Invariants that every implementation keeps, checked by the conformance suite:
//!
//! - **Repeating a call is harmless.** The shipper sends a call again whenever it does not know the outcome
//!   of the call. The result is the same as if the call had been sent once. The only exception is
//!   [`Store::create_run`].
//! - **An `Err` names who has to act.** After [`StoreError::Unavailable`], [`StoreError::Busy`] or
//!   [`StoreError::Contested`], the caller repeats the same call later; after [`StoreError::TooLarge`], the
//!   caller sends a smaller one. [`StoreError::Rejected`] means that this call will never be accepted.
//!   [`StoreError::Blocked`] and [`StoreError::Missing`] mean that a person has to change something first.
//! - A store knows nothing of threads, journals or retries, and never sleeps. A call may block its thread for
//!   a moment to wait for others, e.g. for a file's lock, but never for longer than [`MAX_BLOCKING_WAIT`].

mod catalog;
#[cfg(any(feature = "rest", feature = "postgres"))]
mod certificates;
mod client_error;
mod error;
mod local_artifacts;
mod memory;
#[cfg(feature = "object-store")]
mod object_storage;
mod open;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "rest")]
mod rest;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod table_file;
mod upload_progress;
mod uri;
mod validate;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use crate::entities::FileInfo;
use crate::model::tag_keys;

#[cfg(feature = "__bench")]
pub(crate) use rest::bodies as rest_bodies;
#[cfg(fuzzing)]
pub(crate) use rest::fuzz_support;

pub use crate::config::login::Credentials;
pub use crate::config::multipart::MultipartUploads;
pub use crate::model::{
    DatasetId, ExperimentRef, InputDataset, Metric, ModelMetric, ModelStatus, NewModel, Param,
    Registration, RunStatus, StoredModel, Tag,
};
pub(crate) use catalog::{
    ByteSink, Catalog, ClientStore, Continuation, Page, Registry, RemainingIds,
};
pub use client_error::ClientError;
pub use error::{ErrorReason, StoreError};
pub(crate) use local_artifacts::is_local_directory;
pub use memory::{MemoryStore, StoredExperiment, StoredModelData, StoredRunData};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "rest")]
pub use rest::{RestOptions, RestStore};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub(crate) use table_file::TableFile;
pub use upload_progress::UploadProgress;
pub(crate) use upload_progress::{SHOWN_AFTER, Uploads};
pub(crate) use validate::{check_batch, check_path_inside};

/// Tag that identifies a run, so that the run can be found when the answer to its creation was lost.
pub const RUN_KEY_TAG: &str = tag_keys::RUN_KEY;

/// Longest time that a store may block its thread to wait for others, e.g. for a file lock.
pub const MAX_BLOCKING_WAIT: Duration = Duration::from_millis(500);

/// Destination that holds experiments, runs and their values.
///
/// Every method may be called again with the same arguments after any error, except
/// [`create_run`](Store::create_run).
#[async_trait(?Send)]
pub trait Store: Send {
    /// Returns the destination as a person would write it, without credentials.
    fn uri(&self) -> String;

    /// Returns how many entries one [`log_batch`](Store::log_batch) may hold.
    fn limits(&self) -> BatchLimits;

    /// Returns the number of artifacts that may be uploaded at once, by that many calls of
    /// [`put_artifact`](Store::put_artifact) at the same time. Default: 1, for stores that write to a disk.
    fn concurrent_uploads(&self) -> usize {
        1
    }

    /// Returns the range in which the number of requests for values may be that are in flight at once. The delivery
    /// begins with the least number, and finds out how many bring something. Above 1, calls of this trait's methods overlap.
    /// Runs that go in [groups](Self::max_group_entries) go one group at a time. Default: 1, for stores with one connection
    /// and for files.
    fn concurrent_requests(&self) -> RangeInclusive<usize> {
        1..=1
    }

    /// Returns the time for which the store is to be left to other clients now. The shipper calls this method
    /// before every batch and before the other work of each run, and sleeps whenever the time is not zero.
    /// The store counts a returned gap as taken, so the caller must wait for that time. Default: zero.
    fn gap(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns true if a batch that is sent again costs no more than a new one. Default: true.
    fn absorbs_repeats(&self) -> bool {
        true
    }

    /// Returns true if a run that is not found is gone for good, as it is with a file. With a server, the run
    /// may still exist: several servers can share one address. Default: true.
    fn absence_is_final(&self) -> bool {
        true
    }

    /// Returns a notice for the user: that the store created its file, and how to view the file. Each notice
    /// is returned only once. Default: `None`.
    fn news(&self) -> Option<String> {
        None
    }

    /// Returns the URL of the run's page in the MLflow UI, if there is one.
    fn run_url(&self, run: &StoredRun) -> Option<String>;

    /// Returns the id of the experiment. An experiment that is given by a name is created if the name does
    /// not exist yet.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] if the experiment is deleted, is given by an id that does not exist, or has a
    /// name that MLflow does not accept.
    async fn experiment(&self, experiment: &ExperimentRef) -> Result<String, StoreError>;

    /// Returns the name of the experiment that contains the run. Default: `None`, the name is not known.
    async fn experiment_name(&self, _run: &StoredRun) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// Creates a run, tagged with [`RUN_KEY_TAG`] = [`NewRun::key`]. Not repeatable by itself: after an
    /// error, call [`find_run`](Store::find_run) first, and create the run only if it is not found.
    async fn create_run(&self, run: &NewRun<'_>) -> Result<StoredRun, StoreError>;

    /// Finds the run whose [`RUN_KEY_TAG`] is `key`. If a lost answer led to several such runs, the one that
    /// has values or an end is returned, else the oldest. Duplicates that hold nothing beyond their creation
    /// are deleted, as far as the store allows it.
    async fn find_run(
        &self,
        experiment_id: &str,
        key: &str,
    ) -> Result<Option<StoredRun>, StoreError>;

    /// Finds a run that another process creates, as [`find_run`](Store::find_run) does, but deletes nothing.
    /// Also returns `None` while there are several runs with this key and none of them has values or an end:
    /// the creator will choose one of them, and the choice is not visible yet. Default: calls `find_run`, for
    /// stores that cannot hold several runs with one key.
    async fn find_run_of_another(
        &self,
        experiment_id: &str,
        key: &str,
    ) -> Result<Option<StoredRun>, StoreError> {
        self.find_run(experiment_id, key).await
    }

    /// Deletes the duplicates that [`find_run`](Store::find_run) deletes; called once the run has its end.
    /// Returns `false` if the store cannot determine at the moment whether one of the runs is empty: a later
    /// call may succeed. Default: `true`, for stores that cannot hold several runs with one key.
    async fn delete_duplicates(
        &self,
        _experiment_id: &str,
        _key: &str,
    ) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Looks up a run by the id that the store assigned to it.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is no such run, [`StoreError::Blocked`] if the run is deleted.
    async fn get_run(&self, run_id: &str) -> Result<StoredRun, StoreError>;

    /// Logs values. `batch` stays within [`limits`](Store::limits) and holds no param key twice. Points that
    /// the run already has (same key, timestamp, step and value) and params with an equal value are not
    /// doubled.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the store refuses any entry. The other entries of the batch may or may not
    /// be written then. The caller finds the refused entry by halving the batch.
    async fn log_batch(&self, run: &StoredRun, batch: &Batch<'_>) -> Result<(), StoreError>;

    /// Returns the number of entries that one call of [`log_runs`](Store::log_runs) may hold, each tag of a run's start and
    /// its end included. Default: 0, the store takes no groups. A store that takes groups absorbs repeats, and never
    /// holds two runs with one key.
    fn max_group_entries(&self) -> usize {
        0
    }

    /// Creates runs, logs their values and ends them: all of it or, after an error, nothing. Returns the runs in the same
    /// order. A run that exists already continues with what it has, so the call is repeatable. Only
    /// called if [`max_group_entries`](Store::max_group_entries) is not 0. Default: rejects the group.
    ///
    /// # Errors
    /// Those of [`create_run`](Store::create_run), [`log_batch`](Store::log_batch) and [`update_run`](Store::update_run).
    /// The caller finds the run that is to blame by sending smaller groups.
    async fn log_runs(&self, runs: &[GroupedRun<'_>]) -> Result<Vec<StoredRun>, StoreError> {
        Err(StoreError::Rejected {
            reason: format!("{} takes no groups of {} runs", self.uri(), runs.len()).into(),
        })
    }

    /// Logs datasets as inputs of the run. An experiment has one dataset for each name and digest: the first
    /// one counts, with its source, schema and profile. If the run already has the dataset as an input,
    /// nothing changes, not even its tags.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if a text is longer than MLflow stores it. Nothing is written then.
    async fn log_inputs(&self, run: &StoredRun, inputs: &[InputDataset]) -> Result<(), StoreError>;

    /// Sets the status and the end time, in ms since the Unix epoch. `end_time_ms` is `None` for a run that
    /// continues.
    async fn update_run(
        &self,
        run: &StoredRun,
        status: RunStatus,
        end_time_ms: Option<i64>,
    ) -> Result<(), StoreError>;

    /// Returns true if the run has not ended. Somebody other than the run's process may have ended it.
    async fn is_running(&self, run: &StoredRun) -> Result<bool, StoreError>;

    /// Returns the greatest step of each metric of the run, by metric key. Default: an empty map, as nothing
    /// is known.
    async fn last_steps(&self, _run: &StoredRun) -> Result<HashMap<String, i64>, StoreError> {
        Ok(HashMap::new())
    }

    /// Returns the value of one of the run's tags, or `None` if the run does not have the tag.
    async fn tag(&self, run: &StoredRun, key: &str) -> Result<Option<String>, StoreError>;

    /// Returns the store's version and latency, and whether it accepts the configured credentials. Changes
    /// nothing, and creates nothing where nothing exists yet.
    ///
    /// # Errors
    /// Refused credentials are not an error: see [`StoreInfo::authenticated`].
    async fn info(&self) -> Result<StoreInfo, StoreError>;

    /// Sends a cheap request that succeeds whenever the store works. The result distinguishes a store that is
    /// unavailable from one that fails for a single run or artifact. Changes nothing.
    ///
    /// # Errors
    /// The errors of a store that is unavailable, or that refuses everything.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Sends a request like that of [`ping`](Store::ping) to the place that holds the run's artifacts.
    /// Default: calls `ping`.
    async fn ping_artifacts(&self, _run: &StoredRun) -> Result<(), StoreError> {
        self.ping().await
    }

    /// Returns the bytes of an artifact; `None` if the run has none at this path.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the artifact is a folder, or has more than `max_bytes` bytes.
    async fn get_artifact(
        &self,
        run: &StoredRun,
        path: &str,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, StoreError>;

    /// Writes an artifact, and replaces an existing one with the same path. `path` is relative and
    /// `/`-separated.
    async fn put_artifact(
        &self,
        run: &StoredRun,
        path: &str,
        content: ArtifactContent<'_>,
    ) -> Result<(), StoreError>;

    /// Returns the files and folders in a folder of the run's artifacts, sorted by path. A folder that does not exist
    /// has none.
    async fn list_folder(&self, run: &StoredRun, folder: &str)
    -> Result<Vec<FileInfo>, StoreError>;

    /// Deletes the artifact `path`: a file, or a folder whose files were deleted before. If there is none, nothing
    /// changes. Servers before MLflow 3.17 may delete everything in a bucket whose path begins with `path`, so the
    /// caller makes sure that there is nothing else.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] if artifacts cannot be deleted on the way that this store uses, and
    /// [`StoreError::Rejected`] if the server fails to delete this one.
    async fn delete_artifact(&self, run: &StoredRun, path: &str) -> Result<(), StoreError>;

    /// Creates a logged model of the run, or finds the model that has this key. If a lost answer led to several
    /// such models, the oldest is returned, and the others are deleted.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] if the store has no logged models, which MLflow has since 3.0.
    async fn create_model(
        &self,
        run: &StoredRun,
        model: &NewModel<'_>,
    ) -> Result<StoredModel, StoreError>;

    /// Returns the status of a logged model.
    async fn model_status(&self, model: &StoredModel) -> Result<ModelStatus, StoreError>;

    /// Sets the status of a logged model.
    async fn set_model_status(
        &self,
        model: &StoredModel,
        status: ModelStatus,
    ) -> Result<(), StoreError>;

    /// Adds params and tags to a logged model. A param that the model has stays as it is, a tag is replaced.
    async fn describe_model(
        &self,
        model: &StoredModel,
        params: &[Param],
        tags: &[Tag],
    ) -> Result<(), StoreError>;

    /// Writes a file of a logged model, and replaces an existing one with the same path. `path` is relative and
    /// `/`-separated.
    async fn put_model_file(
        &self,
        model: &StoredModel,
        path: &str,
        content: ArtifactContent<'_>,
    ) -> Result<(), StoreError>;

    /// Returns the sizes in bytes of all files of a logged model, by their paths. A size is `None` if the store
    /// does not know it.
    async fn list_model_files(
        &self,
        model: &StoredModel,
    ) -> Result<BTreeMap<String, Option<u64>>, StoreError>;

    /// Registers a logged model as the next version of a registered model, which is created if it is missing, and
    /// moves the aliases to the version. If a version for the key exists, it stays as it is, and takes an alias from
    /// older versions only.
    async fn register_model(
        &self,
        run: &StoredRun,
        model: &StoredModel,
        registration: &Registration<'_>,
    ) -> Result<(), StoreError>;

    /// Logs metrics of the run that are also those of a logged model. Points that the run, or the model, already
    /// has are not doubled.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the store refuses any of the metrics. The others may or may not be written then.
    async fn log_model_metrics(
        &self,
        run: &StoredRun,
        model: &StoredModel,
        metrics: &[ModelMetric],
    ) -> Result<(), StoreError>;

    /// Logs a logged model as an output of the run at a step. If the run already has the model as an output,
    /// nothing changes. An id is not looked up, as in MLflow.
    async fn log_output(
        &self,
        run: &StoredRun,
        model_id: &str,
        step: i64,
    ) -> Result<(), StoreError>;

    /// Logs a logged model as an input of the run. If the run already has the model as an input, nothing changes. An
    /// id is not looked up, as in MLflow.
    async fn log_model_input(&self, run: &StoredRun, model_id: &str) -> Result<(), StoreError>;
}

/// Run to be created.
#[derive(Clone, Debug)]
pub struct NewRun<'a> {
    /// Unique value of [`RUN_KEY_TAG`]: 32 lower-case hex characters. Stores that choose run ids
    /// themselves use it as the run id.
    pub key: &'a str,
    /// Id of the experiment, from [`Store::experiment`].
    pub experiment_id: &'a str,
    /// Name of the run; also written as the tag `mlflow.runName`.
    pub name: &'a str,
    /// Owner, as in MLflow's `user_id`.
    pub user_id: &'a str,
    /// Start, in ms since the Unix epoch.
    pub start_time_ms: i64,
    /// Tags set with the creation, without `mlflow.runName` and [`RUN_KEY_TAG`]; no key twice.
    pub tags: &'a [Tag],
}

/// Run as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// Id that the store assigned to the run.
    pub run_id: String,
    /// Id of the run's experiment.
    pub experiment_id: String,
    /// Destination of the run's artifacts: a URI or a directory.
    pub artifact_uri: String,
}

/// Values of one run, logged by one call of [`Store::log_batch`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch<'a> {
    /// Metric points, in the order they were logged.
    pub metrics: &'a [Metric],
    /// Params; no key twice.
    pub params: &'a [Param],
    /// Tags, in the order they were set; the last value of a key wins.
    pub tags: &'a [Tag],
}

impl<'a> Batch<'a> {
    /// Creates a batch of metric points alone.
    pub(crate) fn of_metrics(metrics: &'a [Metric]) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }

    /// Creates a batch of params alone.
    pub(crate) fn of_params(params: &'a [Param]) -> Self {
        Self {
            params,
            ..Self::default()
        }
    }

    /// Creates a batch of tags alone.
    pub(crate) fn of_tags(tags: &'a [Tag]) -> Self {
        Self {
            tags,
            ..Self::default()
        }
    }
}

/// Run that is created, filled and perhaps ended by one call of [`Store::log_runs`].
#[derive(Clone, Debug)]
pub struct GroupedRun<'a> {
    /// Run to be created.
    pub new: NewRun<'a>,
    /// Values of the run.
    pub batch: Batch<'a>,
    /// Status and time, in ms since the Unix epoch, of the run's end; `None` for a run that goes on.
    pub end: Option<(RunStatus, i64)>,
}

/// Largest number of entries that a [`Batch`] may hold.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Entries of all kinds together.
    pub total: usize,
    /// Metric points.
    pub metrics: usize,
    /// Params.
    pub params: usize,
    /// Tags.
    pub tags: usize,
}

/// Version, latency and access of a store, as [`Store::info`] returns them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreInfo {
    /// MLflow version of a server, or schema revision of a file; `None` if there is none, or if the server
    /// does not report it.
    pub version: Option<String>,
    /// Time that the store took to answer a small request.
    pub latency: Duration,
    /// True if the server accepts the configured credentials, or access without any; `None` for a store
    /// without access control, such as a file.
    pub authenticated: Option<bool>,
    /// Difference of the server's clock to that of this machine, in ms, exact to about a second: positive if
    /// the server's is ahead. `None` for a store without a clock of its own, or if the server does not send
    /// its time.
    pub clock_difference_ms: Option<i64>,
}

/// Content of an artifact.
#[derive(Clone, Debug)]
pub enum ArtifactContent<'a> {
    /// Bytes in memory.
    Bytes(Cow<'a, [u8]>),
    /// File, read while it is sent.
    File(&'a Path),
}
