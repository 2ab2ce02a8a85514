//! The best run of an experiment, by one metric.

use super::{Client, blocking};
use crate::entities::Run;
use crate::search::{SearchRuns, metric};
use crate::store::ClientError;

/// Direction in which a metric is better. See [`best_run()`](crate::best_run) for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The smallest value is the best, e.g. of a loss.
    Minimize,
    /// The greatest value is the best, e.g. of an accuracy.
    Maximize,
}

impl Client {
    /// Returns the run of an experiment with the best latest value of a metric; `None` if no run has logged
    /// a finite number for the metric. Of two equal runs, the one that started last is the best.
    ///
    /// NaN and infinities are never the best: they are the values of a computation that has failed. MLflow's
    /// databases hold the greatest float in the place of an infinity, which is left out, too. See
    /// [`best_run()`](crate::best_run) for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such experiment.
    pub async fn best_run(
        &self,
        experiment: impl Into<String>,
        key: impl Into<String>,
        goal: Goal,
    ) -> Result<Option<Run>, ClientError> {
        let key = key.into();
        let order = match goal {
            Goal::Minimize => metric(&*key).asc(),
            Goal::Maximize => metric(&*key).desc(),
        };
        let is_finite = metric(&*key).gt(f64::MIN) & metric(&*key).lt(f64::MAX);
        let search = SearchRuns::new()
            .experiment(experiment)
            .filter(is_finite)
            .order_by(order)
            .limit(1);
        let best = self.search_runs(search).try_next().await?;
        // Some servers compare NaN as the number 0.
        Ok(best.filter(|run| run.metric(&key).is_some_and(|value| !value.is_nan())))
    }
}

/// Returns the run of an experiment with the best latest value of a metric, from the store that the process is
/// configured for. Blocks; in async code call [`Client::best_run`].
///
/// ```
/// use mlflow::Goal;
///
/// # let fake = mlflow::testing::fake();
/// # for (name, rmse) in [("a", 0.7), ("b", 0.6)] {
/// #     let run = mlflow::start_run().experiment("wine").name(name).start();
/// #     run.log_metric("rmse", rmse);
/// # }
/// let best = mlflow::best_run("wine", "rmse", Goal::Minimize)?.expect("a run has logged it");
/// assert_eq!((best.name.as_str(), best.metric("rmse")), ("b", Some(0.6)));
/// # Ok::<(), mlflow::ClientError>(())
/// ```
///
/// # Errors
///
/// [`ClientError::NotFound`] if there is no such experiment, and the [errors](Client#errors) of every call.
pub fn best_run(
    experiment: impl Into<String>,
    key: impl Into<String>,
    goal: Goal,
) -> Result<Option<Run>, ClientError> {
    blocking::Client::new().best_run(experiment, key, goal)
}
