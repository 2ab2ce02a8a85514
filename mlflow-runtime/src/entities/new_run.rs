//! [`NewRun`] and [`RunValues`]: a run to be created, and values to be logged to a run, by a
//! [`Client`](crate::Client).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use super::MetricPoint;
use crate::model::{Metric, Param, Tag};

/// Run to be created by [`Client::create_run`](crate::Client::create_run).
///
/// Such a run is a record in the store: it belongs to no process, and ends only when
/// [`Client::update_run`](crate::Client::update_run) gives it an end. A run of the program itself is started by
/// [`start_run`](crate::start_run()).
///
/// ```
/// use mlflow::RunStatus;
/// use mlflow::entities::{NewRun, RunUpdate, RunValues};
///
/// # let fake = mlflow::testing::fake();
/// let client = mlflow::blocking::Client::new();
/// let experiment = client.create_experiment("from the lab")?;
/// let start = 1_700_000_000_000;
/// let new = NewRun::new(&experiment)
///     .name("1997-07-04")
///     .user_id("ada")
///     .start_time_ms(start)
///     .tag("device", "spectrometer")
///     .key("0f1a6c3be2d94f5d8f3c1f7a1c2b3d4e");
/// let run = client.create_run(new.clone())?;
/// assert_eq!(client.create_run(new)?.run_id, run.run_id); // because of the key, the same run
/// let mut values = RunValues::new().param("slit", "2 mm");
/// for step in 0..3 {
///     values = values.metric("counts", 100.0, step, start + 1000 * step);
/// }
/// client.log_batch(&run.run_id, values)?;
/// client.update_run(&run.run_id, RunUpdate::new().status(RunStatus::Finished).end_time_ms(start + 3000))?;
///
/// assert_eq!(client.metric_history(&run.run_id, "counts")?.steps(), [0, 1, 2]);
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    pub(crate) experiment_id: String,
    pub(crate) name: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) start_time_ms: Option<i64>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) key: Option<String>,
}

impl NewRun {
    /// Creates the description of a run in the experiment with this id. The run starts now, unless
    /// [`start_time_ms`](Self::start_time_ms) gives another time.
    #[must_use]
    pub fn new(experiment_id: impl Into<String>) -> Self {
        Self {
            experiment_id: experiment_id.into(),
            name: None,
            user_id: None,
            start_time_ms: None,
            tags: BTreeMap::new(),
            key: None,
        }
    }

    /// Sets the name of the run. Default: `run-`, the time of the start, and six characters of the run's key.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the owner of the run. Default: the tag `mlflow.user`, else `unknown`, as in Python.
    #[must_use]
    pub fn user_id(mut self, user_id: impl Into<String>) -> Self {
        self.user_id = Some(user_id.into());
        self
    }

    /// Sets the start of the run, in ms since the Unix epoch.
    #[must_use]
    pub fn start_time_ms(mut self, start_time_ms: i64) -> Self {
        self.start_time_ms = Some(start_time_ms);
        self
    }

    /// Adds a tag. A second value of the same key replaces the first.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.tags.insert(key.into(), value.to_string());
        self
    }

    /// Sets the key under which the run is created once: 32 lower-case hex characters. If the experiment has a
    /// run with this key already, [`Client::create_run`](crate::Client::create_run) returns that run and
    /// changes nothing. Default: a random key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// Values of one run, logged by [`Client::log_batch`](crate::Client::log_batch). Any number of values is
/// accepted.
///
/// ```
/// use mlflow::entities::RunValues;
///
/// let values = RunValues::new()
///     .param("alpha", 0.5)
///     .tag("stage", "dev")
///     .metric("rmse", 0.7, 0, 1_700_000_000_000)
///     // A whole column of values, with its steps and times.
///     .metric_columns("loss", &[0, 1], &[0.9, 0.8], &[1_700_000_000_000, 1_700_000_001_000]);
/// assert_eq!(values.len(), 5);
/// assert!(RunValues::new().is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunValues {
    pub(crate) metrics: Vec<Metric>,
    pub(crate) params: Vec<Param>,
    pub(crate) tags: Vec<Tag>,
    /// Metrics whose columns have different lengths, with these lengths.
    pub(crate) uneven: Vec<(String, [usize; 3])>,
}

impl RunValues {
    /// Creates a batch without values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a param. A run keeps the first value of a param for ever.
    #[must_use]
    pub fn param(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.params.push(Param {
            key: key.into(),
            value: value.to_string(),
        });
        self
    }

    /// Adds a tag. The last value of a key wins.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.tags.push(Tag {
            key: key.into(),
            value: value.to_string(),
        });
        self
    }

    /// Adds a point of a metric. The time is in ms since the Unix epoch.
    #[must_use]
    pub fn metric(
        mut self,
        key: impl Into<Arc<str>>,
        value: f64,
        step: i64,
        timestamp_ms: i64,
    ) -> Self {
        self.push_metric(key, value, step, timestamp_ms);
        self
    }

    /// Adds a point of a metric, as [`metric`](Self::metric) does. An `Arc<str>` as the key costs no copy of
    /// the text.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// let key: Arc<str> = "loss".into();
    /// let mut values = mlflow::entities::RunValues::new();
    /// for step in 0..1000 {
    ///     values.push_metric(Arc::clone(&key), 1.0 / (step + 1) as f64, step, 1_700_000_000_000 + step);
    /// }
    /// assert_eq!(values.len(), 1000);
    /// ```
    pub fn push_metric(
        &mut self,
        key: impl Into<Arc<str>>,
        value: f64,
        step: i64,
        timestamp_ms: i64,
    ) {
        self.metrics.push(Metric {
            key: key.into(),
            value,
            timestamp_ms,
            step,
        });
    }

    /// Adds points of a metric as columns. The columns have to be equally long:
    /// [`Client::log_batch`](crate::Client::log_batch) refuses others.
    #[must_use]
    pub fn metric_columns(
        mut self,
        key: impl Into<Arc<str>>,
        steps: &[i64],
        values: &[f64],
        timestamps_ms: &[i64],
    ) -> Self {
        let key = key.into();
        let lengths = [steps.len(), values.len(), timestamps_ms.len()];
        if lengths.iter().any(|length| *length != steps.len()) {
            self.uneven.push((key.to_string(), lengths));
            return self;
        }
        let points = steps.iter().zip(values).zip(timestamps_ms);
        self.metrics
            .extend(points.map(|((&step, &value), &timestamp_ms)| Metric {
                key: Arc::clone(&key),
                value,
                timestamp_ms,
                step,
            }));
        self
    }

    /// Adds the points of a metric, for example those that
    /// [`Client::metric_history`](crate::Client::metric_history) has returned.
    ///
    /// ```
    /// use mlflow::entities::{NewRun, RunValues};
    ///
    /// # let fake = mlflow::testing::fake();
    /// let client = mlflow::blocking::Client::new();
    /// let experiment = client.create_experiment("wine")?;
    /// let from = client.create_run(NewRun::new(&experiment))?.run_id;
    /// let to = client.create_run(NewRun::new(&experiment))?.run_id;
    /// client.log_batch(&from, RunValues::new().metric("loss", 0.5, 7, 1_700_000_000_000))?;
    ///
    /// let history = client.metric_history(&from, "loss")?;
    /// client.log_batch(&to, RunValues::new().metric_points("loss", history.iter()))?;
    /// assert_eq!(client.metric_history(&to, "loss")?, history);
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    #[must_use]
    pub fn metric_points(
        mut self,
        key: impl Into<Arc<str>>,
        points: impl IntoIterator<Item = MetricPoint>,
    ) -> Self {
        let key = key.into();
        let metrics = points.into_iter().map(|point| Metric {
            key: Arc::clone(&key),
            value: point.value,
            timestamp_ms: point.timestamp_ms,
            step: point.step,
        });
        self.metrics.extend(metrics);
        self
    }

    /// Returns the number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.metrics.len() + self.params.len() + self.tags.len()
    }

    /// Returns true if there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
