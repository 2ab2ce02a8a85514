//! Reading of a store, its administration, and logging to any of its runs.
//!
//! Invariants: a call needs no particular async runtime, and blocks none, because it runs on a thread of the
//! client's own. A call returns every failure as an error that says what to do, and logs nothing.
//!
//! [`Client`] turns each call into a job for its [`worker`]. A client that was created in the scope of a
//! [fake](crate::testing) runs the job on the calling thread instead, after the fake has delivered what was
//! logged so far.

mod best_run;
pub mod blocking;
mod download;
mod legal_values;
mod logging;
mod model_uri;
mod results;
mod resume;
mod server_info;
mod worker;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

pub use best_run::{Goal, best_run};
pub use download::{DownloadArtifacts, DownloadProgress};
pub use legal_values::LegalValues;
pub use results::{SearchRecord, SearchResults};
pub use resume::Resume;
pub use server_info::ServerInfo;

use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::entities::{
    Experiment, FileInfo, MetricHistory, ModelVersion, NewExperiment, NewModelVersion,
    NewRegisteredModel, RegisteredModel, Run, RunUpdate,
};
use crate::model::{ExperimentRef, tag_keys};
use crate::run::current_run::Context;
use crate::search::{
    SearchExperiments, SearchModelVersions, SearchRegisteredModels, SearchRuns, tag,
};
use crate::shipper::FlushScope;
use crate::store::{ClientError, Continuation, MemoryStore, Page, TableFile};
use crate::tracker::{Tracker, fake_scope, global};
use model_uri::ModelUri;
use worker::{Connection, Worker};

/// Number of runs in a page. A run with a hundred metrics, params and tags takes some 30 kB.
const RUNS_PER_PAGE: usize = 250;
/// Number of other records in a page.
const RECORDS_PER_PAGE: usize = 1000;

/// A client that reads the store to which runs go, administrates it, and logs to any of its runs. For code that
/// is not async there is [`blocking::Client`], which has the same methods.
///
/// The client sees what has been delivered. Values that this process has logged a moment ago may still be on
/// their way: [`flush`](crate::flush) waits for them.
///
/// ```
/// use mlflow::search::{SearchRuns, metric};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mlflow::ClientError> {
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().experiment("wine").param("alpha", 0.5).start();
/// # run.log_metric("rmse", 0.7);
/// # drop(run);
/// let client = mlflow::Client::new();
/// let search = SearchRuns::new().experiment("wine").order_by(metric("rmse").asc());
/// let mut runs = client.search_runs(search);
/// while let Some(run) = runs.try_next().await? {
///     println!("{} {:?} {:?}", run.name, run.param("alpha"), run.metric("rmse"));
///     # assert_eq!(run.metric("rmse"), Some(0.7));
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Every call may return [`ClientError::Unavailable`] if the store does not answer, and
/// [`ClientError::Blocked`] if the store refuses this client. Calls that may be repeated are repeated for
/// 3 seconds while a server is away, and for 20 seconds while a SQLite file is locked. Further errors stand
/// with each method.
#[derive(Clone, Debug)]
pub struct Client(Target);

#[derive(Clone)]
enum Target {
    Store(Arc<Worker>),
    /// Fake in whose scope the client was created, and its store.
    Fake(Arc<Tracker>, MemoryStore),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(worker) => worker.fmt(f),
            Self::Fake(..) => f.write_str("a fake"),
        }
    }
}

/// Makes a call that is repeated while the store is not available.
macro_rules! repeat {
    ($client:expr, |$store:ident| $call:expr) => {
        $client
            .call(move |connection| async move { connection.repeat(|$store| $call).await })
            .await
    };
}

/// Makes a call once, as the repetition of a call that succeeded without an answer would fail, or do its work
/// twice.
macro_rules! once {
    ($client:expr, |$store:ident| $call:expr) => {
        $client
            .call(move |connection| async move {
                let $store = connection.store();
                $call.await
            })
            .await
    };
}

impl Client {
    /// Creates a client of the store that the process is configured for, or of the fake in whose scope the
    /// client is created. See [`Client`] for an example.
    #[must_use]
    pub fn new() -> Self {
        let fake = Context::current().fake();
        match fake.or_else(fake_scope::substitute_for_global) {
            Some(tracker) => Self::for_tracker(&tracker),
            None => Self::for_settings(global::resolved_settings()),
        }
    }

    /// Creates a client with other settings than those of the process. A setting that `config` leaves out
    /// comes from the environment, then from the default.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let config = mlflow::Config::new().tracking_uri("http://127.0.0.1:9");
    /// let info = mlflow::Client::with_config(config).server_info().await;
    /// assert!(!info.reachable);
    /// println!("{} {}", info.uri, info.error.unwrap()); // … Connection refused
    /// # }
    /// ```
    #[must_use]
    pub fn with_config(config: Config) -> Self {
        Self::for_settings(config.resolve())
    }

    fn for_settings(settings: crate::config::Settings) -> Self {
        Self(Target::Store(Arc::new(Worker::new(settings))))
    }

    /// Returns a client of the same store whose requests take at most `timeout`.
    fn with_request_timeout(&self, timeout: Duration) -> Self {
        match &self.0 {
            Target::Store(worker) => {
                let mut settings = worker.settings().clone();
                settings.request_timeout = settings.request_timeout.min(timeout);
                Self::for_settings(settings)
            }
            Target::Fake(..) => self.clone(),
        }
    }

    /// Creates a client of the store to which the tracker delivers.
    fn for_tracker(tracker: &Arc<Tracker>) -> Self {
        match tracker.fake_store() {
            Some(store) => Self(Target::Fake(Arc::clone(tracker), store.clone())),
            None => Self::for_settings(tracker.settings().clone()),
        }
    }

    /// Runs a job on the client's thread, or on the calling thread for a fake.
    async fn call<T, C, F>(&self, call: C) -> Result<T, ClientError>
    where
        T: Send + 'static,
        C: FnOnce(Connection) -> F + Send + 'static,
        F: Future<Output = Result<T, ClientError>> + 'static,
    {
        match &self.0 {
            Target::Store(worker) => worker.call(call).await,
            Target::Fake(tracker, store) => call_fake(tracker, store, call),
        }
    }

    /// Creates an experiment, and returns its id. A plain name will do.
    ///
    /// ```
    /// use mlflow::ClientError;
    ///
    /// # let fake = mlflow::testing::fake();
    /// let client = mlflow::blocking::Client::new();
    /// let id = client.create_experiment("wine")?;
    /// client.set_experiment_tag(&id, "team", "cellar")?;
    /// assert_eq!(client.experiment_by_id(&id)?.tags["team"], "cellar");
    /// client.delete_experiment_tag(&id, "team")?;
    /// assert!(client.experiment_by_id(&id)?.tags.is_empty());
    ///
    /// client.rename_experiment(&id, "red wine")?;
    /// assert_eq!(client.experiment("red wine")?.experiment_id, id);
    /// assert!(matches!(client.experiment("wine"), Err(ClientError::NotFound { .. })));
    ///
    /// client.delete_experiment(&id)?;
    /// assert!(client.experiment_by_id(&id)?.is_deleted());
    /// client.restore_experiment(&id)?;
    /// assert!(!client.experiment_by_id(&id)?.is_deleted());
    /// # Ok::<(), ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::AlreadyExists`] if there is an experiment with this name, even a deleted one.
    /// [`ClientError::Invalid`] if MLflow does not accept the name.
    pub async fn create_experiment(
        &self,
        new: impl Into<NewExperiment>,
    ) -> Result<String, ClientError> {
        let new = new.into();
        once!(self, |store| store.create_experiment(&new))
    }

    /// Returns the experiment with this name, which may be deleted. See [`create_experiment`](Self::create_experiment)
    /// for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none.
    pub async fn experiment(&self, name: impl Into<String>) -> Result<Experiment, ClientError> {
        let experiment = ExperimentRef::Name(name.into());
        repeat!(self, |store| store.get_experiment(&experiment))
    }

    /// Returns the experiment with this id, which may be deleted. See [`create_experiment`](Self::create_experiment)
    /// for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none.
    pub async fn experiment_by_id(&self, id: impl Into<String>) -> Result<Experiment, ClientError> {
        let experiment = ExperimentRef::Id(id.into());
        repeat!(self, |store| store.get_experiment(&experiment))
    }

    /// Searches for experiments. See [`SearchExperiments`] for an example.
    pub fn search_experiments(&self, search: SearchExperiments) -> SearchResults<Experiment> {
        let (client, limit) = (self.clone(), search.limit);
        let fetch = move |from: Option<Continuation>, size| -> PageFuture<Experiment> {
            let (client, search) = (client.clone(), search.clone());
            Box::pin(async move {
                repeat!(client, |store| store.search_experiments(
                    &search,
                    from.clone(),
                    size
                ))
            })
        };
        SearchResults::new(Arc::new(fetch), RECORDS_PER_PAGE, limit)
    }

    /// Renames an experiment. See [`create_experiment`](Self::create_experiment) for an example.
    ///
    /// # Errors
    /// [`ClientError::AlreadyExists`] if there is an experiment with the new name,
    /// [`ClientError::NotFound`] if there is none with this id, and [`ClientError::Invalid`] if it is deleted.
    pub async fn rename_experiment(
        &self,
        id: impl Into<String>,
        name: impl Into<String>,
    ) -> Result<(), ClientError> {
        let (id, name) = (id.into(), name.into());
        once!(self, |store| store.rename_experiment(&id, &name))
    }

    /// Deletes an experiment with its runs. Both are only hidden, and can be restored. See
    /// [`create_experiment`](Self::create_experiment) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such experiment, or if it is deleted already.
    pub async fn delete_experiment(&self, id: impl Into<String>) -> Result<(), ClientError> {
        let id = id.into();
        once!(self, |store| store.delete_experiment(&id))
    }

    /// Restores a deleted experiment, with all its deleted runs. See [`create_experiment`](Self::create_experiment) for
    /// an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such experiment, or if it is not deleted.
    pub async fn restore_experiment(&self, id: impl Into<String>) -> Result<(), ClientError> {
        let id = id.into();
        once!(self, |store| store.restore_experiment(&id))
    }

    /// Sets a tag of an experiment, and replaces its former value. See [`create_experiment`](Self::create_experiment)
    /// for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such experiment, and [`ClientError::Invalid`] if it is
    /// deleted, or if MLflow does not accept the key or the value.
    pub async fn set_experiment_tag(
        &self,
        id: impl Into<String>,
        key: impl Into<String>,
        value: impl fmt::Display,
    ) -> Result<(), ClientError> {
        let (id, key, value) = (id.into(), key.into(), value.to_string());
        repeat!(self, |store| store.set_experiment_tag(&id, &key, &value))
    }

    /// Deletes a tag of an experiment. See [`create_experiment`](Self::create_experiment) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such experiment or tag. [`ClientError::Unsupported`] by
    /// servers before MLflow 3.5.
    pub async fn delete_experiment_tag(
        &self,
        id: impl Into<String>,
        key: impl Into<String>,
    ) -> Result<(), ClientError> {
        let (id, key) = (id.into(), key.into());
        once!(self, |store| store.delete_experiment_tag(&id, &key))
    }

    /// Returns a run with its latest metrics, params and tags. The run may be deleted. See [`Run`] for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run.
    pub async fn run(&self, run_id: impl Into<String>) -> Result<Run, ClientError> {
        let run_id = run_id.into();
        repeat!(self, |store| store.get_run_record(&run_id))
    }

    /// Searches for runs.
    ///
    /// On a SQLite file, the results are those of the moment at which the first record is requested. A server
    /// returns pages by their offset: of runs that are created or deleted meanwhile, some may be missing. See
    /// [`SearchRuns`] for an example.
    pub fn search_runs(&self, search: SearchRuns) -> SearchResults<Run> {
        let (client, limit) = (self.clone(), search.limit);
        let fetch = move |from: Option<Continuation>, size| -> PageFuture<Run> {
            let (client, search) = (client.clone(), search.clone());
            Box::pin(async move {
                repeat!(client, |store| store.search_runs(
                    &search,
                    from.clone(),
                    size
                ))
            })
        };
        SearchResults::new(Arc::new(fetch), RUNS_PER_PAGE, limit)
    }

    /// Returns the parent of a run; `None` if the run has no parent.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let sweep = mlflow::start_run().name("sweep").start();
    /// let trial = mlflow::start_run().name("trial").nested(true).start();
    /// mlflow::flush(std::time::Duration::from_secs(10));
    /// let (sweep_id, trial_id) = (sweep.run_id().unwrap(), trial.run_id().unwrap());
    ///
    /// let client = mlflow::blocking::Client::new();
    /// assert_eq!(client.parent_run(&trial_id)?.map(|run| run.name).as_deref(), Some("sweep"));
    /// assert_eq!(client.parent_run(&sweep_id)?, None);
    /// let children = client.child_runs(&sweep_id).collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(children[0].run_id, trial_id);
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run, or if its parent is gone.
    pub async fn parent_run(&self, run_id: impl Into<String>) -> Result<Option<Run>, ClientError> {
        let run = self.run(run_id).await?;
        match run.parent_run_id() {
            Some(parent) => self.run(parent).await.map(Some),
            None => Ok(None),
        }
    }

    /// Searches for the child runs of a run, in all experiments. The run that started last comes first. See
    /// [`parent_run`](Self::parent_run) for an example.
    pub fn child_runs(&self, run_id: impl Into<String>) -> SearchResults<Run> {
        let is_child = tag(tag_keys::PARENT_RUN_ID).eq(run_id);
        self.search_runs(SearchRuns::new().filter(is_child))
    }

    /// Changes name, status and end of a run. See [`RunUpdate`] for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run, and [`ClientError::Invalid`] if it is deleted.
    pub async fn update_run(
        &self,
        run_id: impl Into<String>,
        update: RunUpdate,
    ) -> Result<(), ClientError> {
        let run_id = run_id.into();
        repeat!(self, |store| store.change_run(&run_id, &update))
    }

    /// Deletes a run, which is only hidden and can be restored. A run that is deleted already stays so.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let client = mlflow::blocking::Client::new();
    /// let experiment = client.create_experiment("wine")?;
    /// let run = client.create_run(mlflow::entities::NewRun::new(&experiment))?;
    /// client.delete_run(&run.run_id)?;
    /// assert!(client.run(&run.run_id)?.is_deleted());
    /// client.restore_run(&run.run_id)?;
    /// assert!(!client.run(&run.run_id)?.is_deleted());
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run.
    pub async fn delete_run(&self, run_id: impl Into<String>) -> Result<(), ClientError> {
        let run_id = run_id.into();
        repeat!(self, |store| store.delete_run(&run_id))
    }

    /// Deletes a deleted run for good, with its artifacts, as `mlflow gc` does. The artifacts are deleted first,
    /// and only below the run's own directory, whose name is the id of the run.
    ///
    /// ```
    /// use mlflow::ClientError;
    ///
    /// # let directory = std::env::temp_dir().join(format!("mlflow-doc-delete-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory).unwrap();
    /// let file = format!("sqlite:///{}", directory.join("mlflow.db").display());
    /// let client = mlflow::blocking::Client::with_config(mlflow::Config::new().tracking_uri(file));
    /// let experiment = client.create_experiment("wine")?;
    /// let run = client.create_run(mlflow::entities::NewRun::new(&experiment))?;
    /// client.delete_run(&run.run_id)?;
    /// client.delete_run_permanently(&run.run_id)?;
    /// assert!(matches!(client.run(&run.run_id), Err(ClientError::NotFound { .. })));
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run, and [`ClientError::Invalid`] if it is not deleted.
    /// [`ClientError::Unsupported`] if the store is no SQLite file, as a server offers no such call, or if the
    /// artifacts are in another storage; then nothing is deleted. [`ClientError::LocalFile`] if an artifact
    /// cannot be deleted.
    pub async fn delete_run_permanently(
        &self,
        run_id: impl Into<String>,
    ) -> Result<(), ClientError> {
        let run_id = run_id.into();
        repeat!(self, |store| store.delete_run_permanently(&run_id))
    }

    /// Restores a deleted run. A run that is not deleted stays as it is. See [`delete_run`](Self::delete_run) for an
    /// example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run.
    pub async fn restore_run(&self, run_id: impl Into<String>) -> Result<(), ClientError> {
        let run_id = run_id.into();
        repeat!(self, |store| store.restore_run(&run_id))
    }

    /// Sets a tag of a run, and replaces its former value.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let client = mlflow::blocking::Client::new();
    /// let experiment = client.create_experiment("wine")?;
    /// let run = client.create_run(mlflow::entities::NewRun::new(&experiment))?;
    /// client.set_tag(&run.run_id, "reviewed", true)?;
    /// assert_eq!(client.run(&run.run_id)?.tag("reviewed"), Some("true"));
    /// client.delete_tag(&run.run_id, "reviewed")?;
    /// assert_eq!(client.run(&run.run_id)?.tag("reviewed"), None);
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run, and [`ClientError::Invalid`] if it is deleted, or if
    /// MLflow does not accept the key.
    pub async fn set_tag(
        &self,
        run_id: impl Into<String>,
        key: impl Into<String>,
        value: impl fmt::Display,
    ) -> Result<(), ClientError> {
        let (run_id, key, value) = (run_id.into(), key.into(), value.to_string());
        repeat!(self, |store| store.set_run_tag(&run_id, &key, &value))
    }

    /// Deletes a tag of a run. See [`set_tag`](Self::set_tag) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run or tag.
    pub async fn delete_tag(
        &self,
        run_id: impl Into<String>,
        key: impl Into<String>,
    ) -> Result<(), ClientError> {
        let (run_id, key) = (run_id.into(), key.into());
        once!(self, |store| store.delete_run_tag(&run_id, &key))
    }

    /// Returns all points of a metric. The history of a metric that the run does not have is empty. See
    /// [`MetricHistory`] for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run.
    pub async fn metric_history(
        &self,
        run_id: impl Into<String>,
        key: impl Into<String>,
    ) -> Result<MetricHistory, ClientError> {
        let (run_id, keys) = (run_id.into(), vec![key.into()]);
        let mut histories = repeat!(self, |store| store.metric_histories(&run_id, &keys))?;
        histories.pop().ok_or_else(|| {
            ClientError::invalid("the store returned no history, not even an empty one")
        })
    }

    /// Returns all points of several metrics, in the order of `keys`. Faster than one call for each.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().start();
    /// run.log_metrics([("loss", 0.9), ("accuracy", 0.5)], 0);
    /// run.log_metrics([("loss", 0.4), ("accuracy", 0.8)], 1);
    /// mlflow::flush(std::time::Duration::from_secs(10));
    ///
    /// let client = mlflow::blocking::Client::new();
    /// let histories = client.metric_histories(run.run_id().unwrap(), ["accuracy", "loss"])?;
    /// assert_eq!(histories[0].values(), [0.5, 0.8]);
    /// assert_eq!(histories[1].values(), [0.9, 0.4]);
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run.
    pub async fn metric_histories<K: Into<String>>(
        &self,
        run_id: impl Into<String>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<MetricHistory>, ClientError> {
        let run_id = run_id.into();
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        repeat!(self, |store| store.metric_histories(&run_id, &keys))
    }

    /// Returns the files and folders in a folder among the artifacts of a run, sorted by path. The empty path
    /// is the root. A folder that does not exist has no entries.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().start();
    /// run.log_text("All is well.", "notes/summary.md");
    /// mlflow::flush(std::time::Duration::from_secs(10));
    /// let id = run.run_id().unwrap();
    ///
    /// let client = mlflow::blocking::Client::new();
    /// let folder = &client.list_artifacts(&id, "")?[0];
    /// assert!(folder.is_dir);
    /// let file = &client.list_artifacts(&id, &*folder.path)?[0];
    /// assert_eq!((&*file.path, file.file_size), ("notes/summary.md", Some(12)));
    /// assert_eq!(client.read_artifact(&id, &*file.path)?, b"All is well.");
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run.
    pub async fn list_artifacts(
        &self,
        run_id: impl Into<String>,
        folder: impl Into<String>,
    ) -> Result<Vec<FileInfo>, ClientError> {
        let (run_id, folder) = (run_id.into(), folder.into());
        repeat!(self, |store| store.list_artifacts(&run_id, &folder))
    }

    /// Returns the bytes of an artifact. For large ones use [`download_artifacts`](Self::download_artifacts),
    /// which needs no memory for them. See [`list_artifacts`](Self::list_artifacts) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run or artifact, and [`ClientError::Invalid`] if the path
    /// is a folder.
    pub async fn read_artifact(
        &self,
        run_id: impl Into<String>,
        path: impl Into<String>,
    ) -> Result<Vec<u8>, ClientError> {
        let (run_id, path) = (run_id.into(), path.into());
        self.call(move |connection| async move {
            let mut content = Vec::new();
            let mut append = |bytes: &[u8]| {
                content.extend_from_slice(bytes);
                Ok(())
            };
            let store = connection.store();
            store.read_artifact(&run_id, &path, &mut append).await?;
            Ok(content)
        })
        .await
    }

    /// Returns the rows of a table that [`log_table`](crate::log_table), or Python's `mlflow.log_table`, has
    /// written. Each row is read from a map of its columns; a column that a row lacks is null.
    ///
    /// ```
    /// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    /// struct Answer { question: String, score: Option<f64> }
    ///
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// # let run_id = run.key().to_owned();
    /// # mlflow::log_table([Answer { question: "2 + 2".into(), score: Some(1.0) }], "eval.json");
    /// # drop(run);
    /// # mlflow::flush(std::time::Duration::from_secs(10));
    /// let client = mlflow::blocking::Client::new();
    /// let answers: Vec<Answer> = client.load_table(run_id, "eval.json")?;
    /// assert_eq!(answers[0].score, Some(1.0));
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run or table, and [`ClientError::Invalid`] if the file is no
    /// table, or a row does not fit `T`.
    pub async fn load_table<T: DeserializeOwned>(
        &self,
        run_id: impl Into<String>,
        artifact_file: impl Into<String>,
    ) -> Result<Vec<T>, ClientError> {
        let artifact_file = artifact_file.into();
        let bytes = self.read_artifact(run_id, &*artifact_file).await?;
        let rows = TableFile::parse(&bytes).and_then(|table| table.read_rows());
        rows.map_err(|fault| {
            ClientError::invalid(format!(
                "the table `{artifact_file}` cannot be read: {fault}"
            ))
        })
    }

    /// Returns the files and folders in a folder of a model, sorted by path. The model is given by its URI:
    /// `models:/name@alias`, `models:/name/version`, or `models:/m-…` for a logged model. The empty path is the root.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let net = mlflow::Model::new("net").bytes("weights/net.bin", [7]);
    /// let run = mlflow::start_run().start();
    /// run.log_model(&net.register_as("digits").alias("champion"));
    /// mlflow::flush(std::time::Duration::from_secs(10));
    ///
    /// let client = mlflow::blocking::Client::new();
    /// let files = client.list_model_files("models:/digits@champion", "weights")?;
    /// assert_eq!((&*files[0].path, files[0].file_size), ("weights/net.bin", Some(1)));
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such model, and [`ClientError::Invalid`] if the URI is none.
    pub async fn list_model_files(
        &self,
        uri: impl Into<String>,
        folder: impl Into<String>,
    ) -> Result<Vec<FileInfo>, ClientError> {
        let (uri, folder) = (uri.into(), folder.into());
        self.call(move |connection| async move {
            let model = ModelUri::parse(&uri)?;
            if !model.path.is_empty() {
                return Err(ClientError::invalid(format!(
                    "`{uri}` names `{}` inside of the model: give that path beside the URI of the model",
                    model.path
                )));
            }
            let place = model.locate(&connection).await?;
            download::list_folder(&connection, &place, folder.trim_matches('/')).await
        })
        .await
    }

    /// Copies artifacts of a run, or the files of a model, to a directory of this machine. Returns the path of the downloaded file or
    /// folder there. See [`DownloadArtifacts`] for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run or artifact, and [`ClientError::LocalFile`] if the
    /// directory cannot be written.
    pub async fn download_artifacts(
        &self,
        download: DownloadArtifacts,
    ) -> Result<PathBuf, ClientError> {
        self.call(move |connection| download.run(connection)).await
    }

    /// Creates a registered model without versions. A plain name will do.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let client = mlflow::blocking::Client::new();
    /// let model = client.create_registered_model("digits")?;
    /// client.describe_registered_model("digits", "Reads **hand-written** digits.")?;
    /// client.set_registered_model_tag("digits", "team", "vision")?;
    /// let changed = client.registered_model(model.name)?;
    /// assert_eq!(changed.description, "Reads **hand-written** digits.");
    /// assert_eq!(changed.tags["team"], "vision");
    ///
    /// client.delete_registered_model_tag("digits", "team")?;
    /// client.rename_registered_model("digits", "mnist")?;
    /// assert!(client.registered_model("mnist")?.tags.is_empty());
    /// client.delete_registered_model("mnist")?;
    /// assert!(client.registered_model("mnist").is_err());
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::AlreadyExists`] if there is a model with this name.
    pub async fn create_registered_model(
        &self,
        new: impl Into<NewRegisteredModel>,
    ) -> Result<RegisteredModel, ClientError> {
        let new = new.into();
        once!(self, |store| store.create_registered_model(&new))
    }

    /// Returns a registered model. See [`create_registered_model`](Self::create_registered_model) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none with this name, or if the name is that of a prompt.
    pub async fn registered_model(
        &self,
        name: impl Into<String>,
    ) -> Result<RegisteredModel, ClientError> {
        let name = name.into();
        let model: RegisteredModel = repeat!(self, |store| store.get_registered_model(&name))?;
        check_no_prompt(&model.name, &model.tags)?;
        Ok(model)
    }

    /// Searches for registered models. See [`SearchRegisteredModels`] for an example.
    pub fn search_registered_models(
        &self,
        search: SearchRegisteredModels,
    ) -> SearchResults<RegisteredModel> {
        let (client, limit) = (self.clone(), search.limit);
        let fetch = move |from: Option<Continuation>, size| -> PageFuture<RegisteredModel> {
            let (client, search) = (client.clone(), search.clone());
            Box::pin(async move {
                repeat!(client, |store| store.search_registered_models(
                    &search,
                    from.clone(),
                    size
                ))
            })
        };
        SearchResults::new(Arc::new(fetch), RECORDS_PER_PAGE, limit)
    }

    /// Renames a registered model. See [`create_registered_model`](Self::create_registered_model) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none with this name, and [`ClientError::AlreadyExists`] if there
    /// is one with the new name.
    pub async fn rename_registered_model(
        &self,
        name: impl Into<String>,
        new_name: impl Into<String>,
    ) -> Result<(), ClientError> {
        let (name, new_name) = (name.into(), new_name.into());
        once!(self, |store| store
            .rename_registered_model(&name, &new_name))
    }

    /// Sets the description of a registered model, in Markdown. See
    /// [`create_registered_model`](Self::create_registered_model) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none with this name.
    pub async fn describe_registered_model(
        &self,
        name: impl Into<String>,
        description: impl Into<String>,
    ) -> Result<(), ClientError> {
        let (name, description) = (name.into(), description.into());
        repeat!(self, |store| store
            .describe_registered_model(&name, &description))
    }

    /// Deletes a registered model with all its versions, for good. The files of the versions stay. See
    /// [`create_registered_model`](Self::create_registered_model) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none with this name.
    pub async fn delete_registered_model(
        &self,
        name: impl Into<String>,
    ) -> Result<(), ClientError> {
        let name = name.into();
        once!(self, |store| store.delete_registered_model(&name))
    }

    /// Sets a tag of a registered model, and replaces its former value. See
    /// [`create_registered_model`](Self::create_registered_model) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such model.
    pub async fn set_registered_model_tag(
        &self,
        name: impl Into<String>,
        key: impl Into<String>,
        value: impl fmt::Display,
    ) -> Result<(), ClientError> {
        let (name, key, value) = (name.into(), key.into(), value.to_string());
        repeat!(self, |store| store
            .set_registered_model_tag(&name, &key, &value))
    }

    /// Deletes a tag of a registered model. A tag that does not exist is no error. See
    /// [`create_registered_model`](Self::create_registered_model) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such model.
    pub async fn delete_registered_model_tag(
        &self,
        name: impl Into<String>,
        key: impl Into<String>,
    ) -> Result<(), ClientError> {
        let (name, key) = (name.into(), key.into());
        repeat!(self, |store| store.delete_registered_model_tag(&name, &key))
    }

    /// Sets an alias of a model version, and takes it from the version that had it.
    ///
    /// ```
    /// use mlflow::entities::NewModelVersion;
    ///
    /// # let fake = mlflow::testing::fake();
    /// let client = mlflow::blocking::Client::new();
    /// client.create_registered_model("digits")?;
    /// for _ in 0..2 {
    ///     client.create_model_version(NewModelVersion::new("digits", "s3://models/digits"))?;
    /// }
    /// client.set_registered_model_alias("digits", "champion", 1)?;
    /// client.set_registered_model_alias("digits", "champion", 2)?; // version 1 loses it
    /// assert_eq!(client.model_version_by_alias("digits", "champion")?.version, 2);
    /// assert_eq!(client.registered_model("digits")?.aliases["champion"], 2);
    /// client.delete_registered_model_alias("digits", "champion")?;
    /// assert!(client.registered_model("digits")?.aliases.is_empty());
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such version, and [`ClientError::Invalid`] for the names that
    /// MLflow reserves: `latest`, and `v` with a number.
    pub async fn set_registered_model_alias(
        &self,
        name: impl Into<String>,
        alias: impl Into<String>,
        version: u64,
    ) -> Result<(), ClientError> {
        let (name, alias) = (name.into(), alias.into());
        repeat!(self, |store| store.set_alias(&name, &alias, version))
    }

    /// Deletes an alias. An alias that does not exist is no error. See
    /// [`set_registered_model_alias`](Self::set_registered_model_alias) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such model.
    pub async fn delete_registered_model_alias(
        &self,
        name: impl Into<String>,
        alias: impl Into<String>,
    ) -> Result<(), ClientError> {
        let (name, alias) = (name.into(), alias.into());
        repeat!(self, |store| store.delete_alias(&name, &alias))
    }

    /// Returns the model version that an alias names. See
    /// [`set_registered_model_alias`](Self::set_registered_model_alias) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such model or alias.
    pub async fn model_version_by_alias(
        &self,
        name: impl Into<String>,
        alias: impl Into<String>,
    ) -> Result<ModelVersion, ClientError> {
        let (name, alias) = (name.into(), alias.into());
        let found: ModelVersion = repeat!(self, |store| store
            .get_model_version_by_alias(&name, &alias))?;
        check_no_prompt(&found.name, &found.tags)?;
        Ok(found)
    }

    /// Creates the next version of a registered model. Every call creates another version.
    ///
    /// ```
    /// use mlflow::entities::NewModelVersion;
    ///
    /// # let fake = mlflow::testing::fake();
    /// let client = mlflow::blocking::Client::new();
    /// client.create_registered_model("digits")?;
    /// let first = client.create_model_version(NewModelVersion::new("digits", "s3://models/digits"))?;
    /// assert_eq!(first.version, 1);
    /// client.describe_model_version("digits", 1, "Trained on the *cleaned* images.")?;
    /// client.set_model_version_tag("digits", 1, "stage", "dev")?;
    /// let changed = client.model_version("digits", 1)?;
    /// assert_eq!(changed.description, "Trained on the *cleaned* images.");
    /// assert_eq!(changed.tags["stage"], "dev");
    ///
    /// client.delete_model_version_tag("digits", 1, "stage")?;
    /// assert!(client.model_version("digits", 1)?.tags.is_empty());
    /// client.delete_model_version("digits", 1)?;
    /// assert!(client.model_version("digits", 1).is_err());
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such model, and [`ClientError::Invalid`] if the server does
    /// not accept the source.
    pub async fn create_model_version(
        &self,
        new: NewModelVersion,
    ) -> Result<ModelVersion, ClientError> {
        once!(self, |store| store.create_model_version(&new))
    }

    /// Returns a model version. See [`create_model_version`](Self::create_model_version) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such version.
    pub async fn model_version(
        &self,
        name: impl Into<String>,
        version: u64,
    ) -> Result<ModelVersion, ClientError> {
        let name = name.into();
        let found: ModelVersion = repeat!(self, |store| store.get_model_version(&name, version))?;
        check_no_prompt(&found.name, &found.tags)?;
        Ok(found)
    }

    /// Searches for model versions. See [`SearchModelVersions`] for an example.
    pub fn search_model_versions(
        &self,
        search: SearchModelVersions,
    ) -> SearchResults<ModelVersion> {
        let (client, limit) = (self.clone(), search.limit);
        let fetch = move |from: Option<Continuation>, size| -> PageFuture<ModelVersion> {
            let (client, search) = (client.clone(), search.clone());
            Box::pin(async move {
                repeat!(client, |store| store.search_model_versions(
                    &search,
                    from.clone(),
                    size
                ))
            })
        };
        SearchResults::new(Arc::new(fetch), RECORDS_PER_PAGE, limit)
    }

    /// Sets the description of a model version, in Markdown. See [`create_model_version`](Self::create_model_version)
    /// for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such version.
    pub async fn describe_model_version(
        &self,
        name: impl Into<String>,
        version: u64,
        description: impl Into<String>,
    ) -> Result<(), ClientError> {
        let (name, description) = (name.into(), description.into());
        repeat!(self, |store| store.describe_model_version(
            &name,
            version,
            &description
        ))
    }

    /// Deletes a model version for good. Its number is not used again, and its files stay. See
    /// [`create_model_version`](Self::create_model_version) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such version.
    pub async fn delete_model_version(
        &self,
        name: impl Into<String>,
        version: u64,
    ) -> Result<(), ClientError> {
        let name = name.into();
        once!(self, |store| store.delete_model_version(&name, version))
    }

    /// Sets a tag of a model version, and replaces its former value. See
    /// [`create_model_version`](Self::create_model_version) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such version.
    pub async fn set_model_version_tag(
        &self,
        name: impl Into<String>,
        version: u64,
        key: impl Into<String>,
        value: impl fmt::Display,
    ) -> Result<(), ClientError> {
        let (name, key, value) = (name.into(), key.into(), value.to_string());
        repeat!(self, |store| store
            .set_model_version_tag(&name, version, &key, &value))
    }

    /// Deletes a tag of a model version. A tag that does not exist is no error. See
    /// [`create_model_version`](Self::create_model_version) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such version.
    pub async fn delete_model_version_tag(
        &self,
        name: impl Into<String>,
        version: u64,
        key: impl Into<String>,
    ) -> Result<(), ClientError> {
        let (name, key) = (name.into(), key.into());
        repeat!(self, |store| store
            .delete_model_version_tag(&name, version, &key))
    }
}

/// Refuses a prompt: MLflow keeps prompts among the registered models, and its clients return them by other
/// calls only.
fn check_no_prompt(name: &str, tags: &BTreeMap<String, String>) -> Result<(), ClientError> {
    if tags.contains_key(tag_keys::IS_PROMPT) {
        return Err(ClientError::not_found(format!(
            "there is no registered model with the name `{name}`: it is the name of a prompt"
        )));
    }
    Ok(())
}

impl crate::run::Run {
    /// Returns a client of the store to which the run goes; `None` if tracking is disabled.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().param("alpha", 0.5).start();
    /// mlflow::flush(std::time::Duration::from_secs(10));
    /// if let (Some(client), Some(id)) = (run.client(), run.run_id()) {
    ///     let client = mlflow::blocking::Client::from(client);
    ///     assert_eq!(client.run(id)?.param("alpha"), Some("0.5"));
    /// }
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    #[must_use]
    pub fn client(&self) -> Option<Client> {
        self.tracker().map(Client::for_tracker)
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

type PageFuture<T> = Pin<Box<dyn Future<Output = Result<Page<T>, ClientError>> + Send>>;

/// Runs a job on the store of a fake, on the calling thread.
fn call_fake<T, C, F>(
    tracker: &Arc<Tracker>,
    store: &MemoryStore,
    call: C,
) -> Result<T, ClientError>
where
    C: FnOnce(Connection) -> F,
    F: Future<Output = Result<T, ClientError>>,
{
    // A fake delivers at once, so that the client of a test sees what the test has logged.
    tracker.flush_until(Instant::now(), FlushScope::Own);
    let job = pin!(call(Connection::without_retry(Rc::new(store.clone()))));
    match job.poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(ClientError::invalid(
            "the store of a fake answers at once, and did not",
        )),
    }
}
