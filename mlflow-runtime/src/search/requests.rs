//! Descriptions of the searches of a [`Client`](crate::Client).

use super::{Filter, OrderBy};
use crate::model::ExperimentRef;

/// Stages of the experiments or runs that a search returns.
///
/// ```
/// use mlflow::search::{SearchExperiments, ViewType};
///
/// # let fake = mlflow::testing::fake();
/// let client = mlflow::blocking::Client::new();
/// let id = client.create_experiment("wine")?;
/// client.delete_experiment(&id)?;
/// let mut deleted = client.search_experiments(SearchExperiments::new().view(ViewType::DeletedOnly));
/// assert_eq!(deleted.next().transpose()?.map(|experiment| experiment.name).as_deref(), Some("wine"));
/// assert_eq!(ViewType::DeletedOnly.as_str(), "DELETED_ONLY");
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViewType {
    /// Records that are not deleted.
    #[default]
    ActiveOnly,
    /// Deleted records.
    DeletedOnly,
    /// Active and deleted records.
    All,
}

impl ViewType {
    /// Returns MLflow's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ActiveOnly => "ACTIVE_ONLY",
            Self::DeletedOnly => "DELETED_ONLY",
            Self::All => "ALL",
        }
    }

    /// Returns true if the search returns deleted records, or those that are not.
    pub(crate) fn includes(self, deleted: bool) -> bool {
        match self {
            Self::ActiveOnly => !deleted,
            Self::DeletedOnly => deleted,
            Self::All => true,
        }
    }
}

/// Writes the methods that all searches have.
macro_rules! search_methods {
    () => {
        /// Creates a search for everything.
        #[must_use]
        pub fn new() -> Self {
            Self::default()
        }

        /// Adds a filter, which has to hold in addition to earlier ones.
        #[must_use]
        pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
            self.filter = self.filter & filter.into();
            self
        }

        /// Adds an order. Records that are equal by it are ordered by the next one.
        #[must_use]
        pub fn order_by(mut self, order: impl Into<OrderBy>) -> Self {
            self.order_by.push(order.into());
            self
        }

        /// Sets the greatest number of records that are returned. Default: no limit.
        #[must_use]
        pub fn limit(mut self, limit: usize) -> Self {
            self.limit = Some(limit);
            self
        }
    };
}

/// Search for runs.
///
/// Without another order, the run that started last comes first.
///
/// ```
/// use mlflow::search::{SearchRuns, ViewType, metric, param};
///
/// # let fake = mlflow::testing::fake();
/// # for (lr, rmse) in [(0.1, 0.7), (0.01, 0.6)] {
/// #     let run = mlflow::start_run().experiment("wine").param("lr", lr).start();
/// #     run.log_metric("rmse", rmse);
/// # }
/// # mlflow::flush(std::time::Duration::from_secs(10));
/// let client = mlflow::blocking::Client::new();
/// let search = SearchRuns::new()
///     .experiment("wine")
///     .filter(param("lr").lt(0.5))
///     .order_by(metric("rmse").asc())
///     .limit(10);
/// let runs = client.search_runs(search).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(runs[0].metric("rmse"), Some(0.6));
///
/// // The same experiment by its id, deleted runs included, and only what is needed of each run.
/// let id = client.experiment("wine")?.experiment_id;
/// let search = SearchRuns::new()
///     .experiment_id(id)
///     .view(ViewType::All)
///     .metrics(["rmse"])
///     .params(["lr"])
///     .tags(["mlflow.runName"]);
/// let runs = client.search_runs(search).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!((runs.len(), runs[0].tags.len()), (2, 1));
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchRuns {
    pub(crate) experiments: Vec<ExperimentRef>,
    pub(crate) filter: Filter,
    pub(crate) order_by: Vec<OrderBy>,
    pub(crate) limit: Option<usize>,
    pub(crate) view: ViewType,
    pub(crate) columns: Columns,
}

/// Metrics, params and tags with which runs are returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) metrics: ColumnChoice,
    pub(crate) params: ColumnChoice,
    pub(crate) tags: ColumnChoice,
}

/// Keys that are returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ColumnChoice {
    #[default]
    All,
    Only(Vec<String>),
}

impl ColumnChoice {
    /// Returns true if the key is returned.
    pub(crate) fn includes(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(keys) => keys.iter().any(|known| known == key),
        }
    }
}

impl SearchRuns {
    search_methods!();

    /// Adds an experiment to search in, by its name. Default: all experiments that are not deleted.
    #[must_use]
    pub fn experiment(self, name: impl Into<String>) -> Self {
        self.in_experiment(ExperimentRef::Name(name.into()))
    }

    /// Adds an experiment to search in, by its id.
    #[must_use]
    pub fn experiment_id(self, id: impl Into<String>) -> Self {
        self.in_experiment(ExperimentRef::Id(id.into()))
    }

    /// Adds an experiment to search in.
    pub(crate) fn in_experiment(mut self, experiment: ExperimentRef) -> Self {
        self.experiments.push(experiment);
        self
    }

    /// Sets which stages are returned. Default: [`ViewType::ActiveOnly`].
    #[must_use]
    pub fn view(mut self, view: ViewType) -> Self {
        self.view = view;
        self
    }

    /// Returns the runs with these metrics alone, which is faster for runs with many. Default: all metrics.
    #[must_use]
    pub fn metrics<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.columns.metrics = ColumnChoice::Only(keys.into_iter().map(Into::into).collect());
        self
    }

    /// Returns the runs with these params alone. Default: all params.
    #[must_use]
    pub fn params<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.columns.params = ColumnChoice::Only(keys.into_iter().map(Into::into).collect());
        self
    }

    /// Returns the runs with these tags alone. Default: all tags.
    #[must_use]
    pub fn tags<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.columns.tags = ColumnChoice::Only(keys.into_iter().map(Into::into).collect());
        self
    }
}

/// Search for experiments. Without another order, the experiment that was created last comes first.
///
/// ```
/// use mlflow::search::{SearchExperiments, ViewType, attribute};
///
/// # let fake = mlflow::testing::fake();
/// let client = mlflow::blocking::Client::new();
/// for name in ["wine/red", "wine/white", "digits"] {
///     client.create_experiment(name)?;
/// }
/// let search = SearchExperiments::new()
///     .filter(attribute::name().like("wine/%"))
///     .order_by(attribute::name().desc())
///     .view(ViewType::ActiveOnly)
///     .limit(10);
/// let found = client.search_experiments(search).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!((found.len(), &*found[0].name), (2, "wine/white"));
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchExperiments {
    pub(crate) filter: Filter,
    pub(crate) order_by: Vec<OrderBy>,
    pub(crate) limit: Option<usize>,
    pub(crate) view: ViewType,
}

impl SearchExperiments {
    search_methods!();

    /// Sets which stages are returned. Default: [`ViewType::ActiveOnly`].
    #[must_use]
    pub fn view(mut self, view: ViewType) -> Self {
        self.view = view;
        self
    }
}

/// Search for registered models. Without another order, they are ordered by name.
///
/// ```
/// use mlflow::search::{SearchRegisteredModels, attribute};
///
/// # let fake = mlflow::testing::fake();
/// let client = mlflow::blocking::Client::new();
/// for name in ["digits", "digits-small", "wine"] {
///     client.create_registered_model(name)?;
/// }
/// let search = SearchRegisteredModels::new()
///     .filter(attribute::name().like("digits%"))
///     .order_by(attribute::name().desc())
///     .limit(10);
/// let found = client.search_registered_models(search).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!((found.len(), &*found[0].name), (2, "digits-small"));
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchRegisteredModels {
    pub(crate) filter: Filter,
    pub(crate) order_by: Vec<OrderBy>,
    pub(crate) limit: Option<usize>,
}

impl SearchRegisteredModels {
    search_methods!();
}

/// Search for model versions. Without another order, the version that was changed last comes first.
///
/// ```
/// use mlflow::entities::NewModelVersion;
/// use mlflow::search::{SearchModelVersions, attribute};
///
/// # let fake = mlflow::testing::fake();
/// let client = mlflow::blocking::Client::new();
/// client.create_registered_model("digits")?;
/// for _ in 0..3 {
///     client.create_model_version(NewModelVersion::new("digits", "s3://models/digits"))?;
/// }
/// let search = SearchModelVersions::new()
///     .filter(attribute::name().eq("digits"))
///     .order_by(attribute::version_number().desc())
///     .limit(1);
/// let newest = client.search_model_versions(search).next().transpose()?;
/// assert_eq!(newest.map(|version| version.version), Some(3));
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchModelVersions {
    pub(crate) filter: Filter,
    pub(crate) order_by: Vec<OrderBy>,
    pub(crate) limit: Option<usize>,
}

impl SearchModelVersions {
    search_methods!();
}
