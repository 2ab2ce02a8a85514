//! [`Run`], as the store knows it, and [`RunUpdate`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{LifecycleStage, MetricPoint};
use crate::model::{InputDataset, RunStatus, tag_keys};

/// Run, as the store knows it. The handle of a run that this process logs to is [`mlflow::Run`](crate::Run).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let active = mlflow::start_run().param("lr", 0.1).tag("stage", "dev").start();
/// active.log_metric("rmse", 0.7);
/// mlflow::flush(std::time::Duration::from_secs(10));
/// let id = active.run_id().expect("the store has created the run");
///
/// let client = mlflow::blocking::Client::new();
/// let run = client.run(&id)?;
/// assert_eq!((run.metric("rmse"), run.param("lr"), run.tag("stage")), (Some(0.7), Some("0.1"), Some("dev")));
/// assert_eq!((run.parent_run_id(), run.is_deleted()), (None, false));
/// assert_eq!(run.duration(), None);
/// drop(active); // ends the run
/// assert!(client.run(&id)?.duration().is_some());
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Run {
    /// Id that the store assigned to the run.
    pub run_id: String,
    /// Name of the run; empty in runs of very old MLflow releases.
    pub name: String,
    /// Id of the experiment.
    pub experiment_id: String,
    /// Owner of the run; empty if unknown.
    pub user_id: String,
    /// Status of the run.
    pub status: RunStatus,
    /// Start, in ms since the Unix epoch; `None` if it was never recorded.
    pub start_time_ms: Option<i64>,
    /// End, in ms since the Unix epoch; `None` for a run that has not ended.
    pub end_time_ms: Option<i64>,
    /// URI or directory of the artifacts.
    pub artifact_uri: String,
    /// Stage: in use, or deleted.
    pub lifecycle_stage: LifecycleStage,
    /// Latest point of each metric, by key: the one with the greatest step, then time, then value.
    pub metrics: BTreeMap<String, MetricPoint>,
    /// Params by key.
    pub params: BTreeMap<String, String>,
    /// Tags by key.
    pub tags: BTreeMap<String, String>,
    /// Datasets that were logged as inputs of the run, by name and digest.
    pub datasets: Vec<DatasetInput>,
}

impl Run {
    /// Returns the latest value of a metric.
    #[must_use]
    pub fn metric(&self, key: &str) -> Option<f64> {
        self.metrics.get(key).map(|point| point.value)
    }

    /// Returns the value of a param.
    #[must_use]
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params.get(key).map(String::as_str)
    }

    /// Returns the value of a tag.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(String::as_str)
    }

    /// Returns the id of the parent run; `None` for a run without a parent.
    #[must_use]
    pub fn parent_run_id(&self) -> Option<&str> {
        self.tag(tag_keys::PARENT_RUN_ID)
    }

    /// Returns the time from the start to the end; `None` for a run that has not ended.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let ms = self.end_time_ms?.checked_sub(self.start_time_ms?)?;
        u64::try_from(ms).ok().map(Duration::from_millis)
    }

    /// Returns true if the run is deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.lifecycle_stage == LifecycleStage::Deleted
    }
}

/// Dataset that was logged as an input of a run.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let active = mlflow::start_run().start();
/// active.log_input(&mlflow::Dataset::from_url("s3://lake/wine.parquet").digest("v7"), "training");
/// mlflow::flush(std::time::Duration::from_secs(10));
///
/// let run = mlflow::blocking::Client::new().run(active.run_id().unwrap())?;
/// let dataset = &run.datasets[0];
/// assert_eq!((&*dataset.name, &*dataset.digest), ("wine.parquet", "v7"));
/// assert_eq!(dataset.context.as_deref(), Some("training"));
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct DatasetInput {
    /// Name of the dataset.
    pub name: String,
    /// Digest of the dataset's content.
    pub digest: String,
    /// Kind of the source, e.g. `local` or `http`.
    pub source_type: String,
    /// Description of the source, in most cases as JSON.
    pub source: String,
    /// Schema as JSON; `None` if it is not recorded.
    pub schema: Option<String>,
    /// Profile as JSON, e.g. the number of rows; `None` if it is not recorded.
    pub profile: Option<String>,
    /// Purpose for which the run used the dataset, e.g. `training`; `None` if it is not recorded.
    pub context: Option<String>,
}

impl From<InputDataset> for DatasetInput {
    fn from(dataset: InputDataset) -> Self {
        let InputDataset {
            name,
            digest,
            source_type,
            source,
            schema,
            profile,
            tags,
        } = dataset;
        let mut tags = tags.into_iter();
        let context = tags.find(|tag| tag.key == tag_keys::DATASET_CONTEXT);
        Self {
            name,
            digest,
            source_type,
            source,
            schema,
            profile,
            context: context.map(|tag| tag.value),
        }
    }
}

/// Changes of a run, made by [`Client::update_run`](crate::Client::update_run).
///
/// ```
/// use mlflow::entities::RunUpdate;
/// use mlflow::RunStatus;
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// # let id = run.key().to_owned();
/// # drop(run);
/// # mlflow::flush(std::time::Duration::from_secs(10));
/// let client = mlflow::blocking::Client::new();
/// let update = RunUpdate::new().name("best").status(RunStatus::Killed).end_time_ms(1_700_000_000_000);
/// client.update_run(&id, update)?;
/// let run = client.run(&id)?;
/// assert_eq!((&*run.name, run.status), ("best", RunStatus::Killed));
/// assert_eq!(run.end_time_ms, Some(1_700_000_000_000));
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunUpdate {
    pub(crate) name: Option<String>,
    pub(crate) status: Option<RunStatus>,
    pub(crate) end_time_ms: Option<i64>,
}

impl RunUpdate {
    /// Creates an update that changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name of the run.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the status of the run. A status that ends a run also sets its end time to now, unless
    /// [`end_time_ms`](Self::end_time_ms) gives another.
    #[must_use]
    pub fn status(mut self, status: RunStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Sets the end of the run, in ms since the Unix epoch.
    #[must_use]
    pub fn end_time_ms(mut self, end_time_ms: i64) -> Self {
        self.end_time_ms = Some(end_time_ms);
        self
    }
}
