//! Client for code that is not async.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use serde::de::DeserializeOwned;

use super::{DownloadArtifacts, Goal, SearchRecord, SearchResults, ServerInfo};
use crate::config::Config;
use crate::entities::{
    Experiment, FileInfo, MetricHistory, ModelVersion, NewExperiment, NewModelVersion,
    NewRegisteredModel, NewRun, RegisteredModel, Run, RunUpdate, RunValues,
};
use crate::search::{SearchExperiments, SearchModelVersions, SearchRegisteredModels, SearchRuns};
use crate::store::ClientError;

/// A [`Client`](super::Client) for code that is not async: its calls wait for the answer, and its searches
/// return iterators. A call blocks the calling thread, also inside an async runtime.
///
/// ```
/// use mlflow::search::SearchRuns;
///
/// # let fake = mlflow::testing::fake();
/// # drop(mlflow::start_run().name("fit").start());
/// let client = mlflow::blocking::Client::new();
/// let mut names = Vec::new();
/// for run in client.search_runs(SearchRuns::new().limit(10)) {
///     names.push(run?.name);
/// }
/// assert_eq!(names, ["fit"]);
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Client(super::Client);

/// Writes the blocking versions of async methods.
macro_rules! calls {
    ($(fn $name:ident$(<$($generic:ident: $bound:path),+>)?($($argument:ident: $type:ty),*) -> $result:ty;)+) => {
        impl Client {
            $(
                #[doc = concat!("See [`Client::", stringify!($name), "`](super::Client::", stringify!($name), "), also for an example.")]
                ///
                /// # Errors
                /// The same as those of the async method.
                pub fn $name$(<$($generic: $bound),+>)?(&self, $($argument: $type),*) -> Result<$result, ClientError> {
                    block_on(self.0.$name($($argument),*))
                }
            )+
        }
    };
}

/// Writes the blocking versions of searches.
macro_rules! searches {
    ($(fn $name:ident($argument:ident: $type:ty) -> $record:ty;)+) => {
        impl Client {
            $(
                #[doc = concat!("See [`Client::", stringify!($name), "`](super::Client::", stringify!($name), "), also for an example.")]
                pub fn $name(&self, $argument: $type) -> SearchIter<$record> {
                    SearchIter(self.0.$name($argument))
                }
            )+
        }
    };
}

calls! {
    fn create_experiment(new: impl Into<NewExperiment>) -> String;
    fn experiment(name: impl Into<String>) -> Experiment;
    fn experiment_by_id(id: impl Into<String>) -> Experiment;
    fn rename_experiment(id: impl Into<String>, name: impl Into<String>) -> ();
    fn delete_experiment(id: impl Into<String>) -> ();
    fn restore_experiment(id: impl Into<String>) -> ();
    fn set_experiment_tag(id: impl Into<String>, key: impl Into<String>, value: impl fmt::Display) -> ();
    fn delete_experiment_tag(id: impl Into<String>, key: impl Into<String>) -> ();
    fn run(run_id: impl Into<String>) -> Run;
    fn parent_run(run_id: impl Into<String>) -> Option<Run>;
    fn best_run(experiment: impl Into<String>, key: impl Into<String>, goal: Goal) -> Option<Run>;
    fn create_run(new: NewRun) -> Run;
    fn log_batch(run_id: impl Into<String>, values: RunValues) -> ();
    fn log_artifact(run_id: impl Into<String>, file: impl Into<PathBuf>, path: impl Into<String>) -> ();
    fn log_artifact_bytes(run_id: impl Into<String>, content: impl Into<Vec<u8>>, path: impl Into<String>) -> ();
    fn update_run(run_id: impl Into<String>, update: RunUpdate) -> ();
    fn delete_run(run_id: impl Into<String>) -> ();
    fn delete_run_permanently(run_id: impl Into<String>) -> ();
    fn restore_run(run_id: impl Into<String>) -> ();
    fn set_tag(run_id: impl Into<String>, key: impl Into<String>, value: impl fmt::Display) -> ();
    fn delete_tag(run_id: impl Into<String>, key: impl Into<String>) -> ();
    fn metric_history(run_id: impl Into<String>, key: impl Into<String>) -> MetricHistory;
    fn metric_histories<K: Into<String>>(run_id: impl Into<String>, keys: impl IntoIterator<Item = K>) -> Vec<MetricHistory>;
    fn list_artifacts(run_id: impl Into<String>, folder: impl Into<String>) -> Vec<FileInfo>;
    fn read_artifact(run_id: impl Into<String>, path: impl Into<String>) -> Vec<u8>;
    fn load_table<T: DeserializeOwned>(run_id: impl Into<String>, artifact_file: impl Into<String>) -> Vec<T>;
    fn list_model_files(uri: impl Into<String>, folder: impl Into<String>) -> Vec<FileInfo>;
    fn download_artifacts(download: DownloadArtifacts) -> PathBuf;
    fn create_registered_model(new: impl Into<NewRegisteredModel>) -> RegisteredModel;
    fn registered_model(name: impl Into<String>) -> RegisteredModel;
    fn rename_registered_model(name: impl Into<String>, new_name: impl Into<String>) -> ();
    fn describe_registered_model(name: impl Into<String>, description: impl Into<String>) -> ();
    fn delete_registered_model(name: impl Into<String>) -> ();
    fn set_registered_model_tag(name: impl Into<String>, key: impl Into<String>, value: impl fmt::Display) -> ();
    fn delete_registered_model_tag(name: impl Into<String>, key: impl Into<String>) -> ();
    fn set_registered_model_alias(name: impl Into<String>, alias: impl Into<String>, version: u64) -> ();
    fn delete_registered_model_alias(name: impl Into<String>, alias: impl Into<String>) -> ();
    fn model_version_by_alias(name: impl Into<String>, alias: impl Into<String>) -> ModelVersion;
    fn create_model_version(new: NewModelVersion) -> ModelVersion;
    fn model_version(name: impl Into<String>, version: u64) -> ModelVersion;
    fn describe_model_version(name: impl Into<String>, version: u64, description: impl Into<String>) -> ();
    fn delete_model_version(name: impl Into<String>, version: u64) -> ();
    fn set_model_version_tag(name: impl Into<String>, version: u64, key: impl Into<String>, value: impl fmt::Display) -> ();
    fn delete_model_version_tag(name: impl Into<String>, version: u64, key: impl Into<String>) -> ();
}

searches! {
    fn search_experiments(search: SearchExperiments) -> Experiment;
    fn search_runs(search: SearchRuns) -> Run;
    fn child_runs(run_id: impl Into<String>) -> Run;
    fn search_registered_models(search: SearchRegisteredModels) -> RegisteredModel;
    fn search_model_versions(search: SearchModelVersions) -> ModelVersion;
}

impl Client {
    /// See [`Client::new`](super::Client::new), also for an example.
    #[must_use]
    pub fn new() -> Self {
        Self(super::Client::new())
    }

    /// See [`Client::with_config`](super::Client::with_config), also for an example.
    #[must_use]
    pub fn with_config(config: Config) -> Self {
        Self(super::Client::with_config(config))
    }

    /// See [`Client::server_info`](super::Client::server_info), also for an example.
    #[must_use]
    pub fn server_info(&self) -> ServerInfo {
        block_on(self.0.server_info())
    }

    /// See [`Client::uri`](super::Client::uri), and [`Client::server_info`](super::Client::server_info) for an example.
    #[must_use]
    pub fn uri(&self) -> String {
        self.0.uri()
    }
}

impl From<super::Client> for Client {
    fn from(client: super::Client) -> Self {
        Self(client)
    }
}

/// Records that a search finds, one page after the other. Nothing is requested before the first record is. An
/// error ends the iteration. See [`Client`] for an example.
#[derive(Debug)]
#[must_use = "nothing is requested before the first record is"]
pub struct SearchIter<T>(SearchResults<T>);

impl<T: SearchRecord> Iterator for SearchIter<T> {
    type Item = Result<T, ClientError>;

    fn next(&mut self) -> Option<Result<T, ClientError>> {
        block_on(self.0.try_next()).transpose()
    }
}

/// Waits for a future on the calling thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
