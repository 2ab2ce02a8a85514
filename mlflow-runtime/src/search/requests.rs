//! Descriptions of the searches of a [`Client`](crate::Client).

use super::{Filter, OrderBy};
use crate::model::ExperimentRef;

/// Stages of the experiments or runs that a search returns.
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
/// use mlflow::search::{SearchRuns, metric, param};
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
/// for run in client.search_runs(search) {
///     let run = run?;
///     println!("{} {:?}", run.name, run.metric("rmse"));
/// }
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchModelVersions {
    pub(crate) filter: Filter,
    pub(crate) order_by: Vec<OrderBy>,
    pub(crate) limit: Option<usize>,
}

impl SearchModelVersions {
    search_methods!();
}
