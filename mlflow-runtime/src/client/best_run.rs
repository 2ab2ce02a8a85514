//! The best run of an experiment, by one metric.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Client, Target, blocking};
use crate::entities::Run;
use crate::search::{SearchRuns, metric};
use crate::shipper::FlushScope;
use crate::store::ClientError;
use crate::time::saturating_deadline;
use crate::tracker::Tracker;
use crate::tracker::health::{FlushReport, all_trackers};

/// Longest time for which [`best_run`] waits until the values of this process are delivered.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);

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

impl Client {
    /// Returns the trackers of this process that deliver to the store of this client. Values for other stores have no part in
    /// its answers, and a wait for a store that is unavailable would leave no time for this one.
    fn trackers(&self) -> Vec<Arc<Tracker>> {
        match &self.0 {
            Target::Fake(tracker, _) => vec![Arc::clone(tracker)],
            Target::Store(worker) => {
                let destination = worker.settings().destination.to_string();
                let delivers_here = |tracker: &Arc<Tracker>| {
                    tracker.settings().destination.to_string() == destination
                };
                all_trackers().into_iter().filter(delivers_here).collect()
            }
        }
    }
}

/// Waits until what the trackers have received is delivered, but no longer than [`DELIVERY_TIMEOUT`]. Logs a warning, once for
/// each metric, if values are undelivered then.
fn deliver_before_search(trackers: &[Arc<Tracker>], experiment: &str, key: &str) {
    let deadline = saturating_deadline(Instant::now(), DELIVERY_TIMEOUT);
    for tracker in trackers {
        let is_complete = tracker.flush_until(deadline, FlushScope::Own);
        let report = FlushReport::from_trackers(&[Arc::clone(tracker)], is_complete);
        let queued = if is_complete { 0 } else { report.queued };
        let undelivered = queued + tracker.stats.blocked.get();
        if undelivered > 0 {
            let line = format!(
                "best_run of {key:?} in the experiment {experiment:?}: {undelivered} values of this process are not \
                 delivered (best_run waits for them for {} seconds at most), so the answer may lack runs or values. \
                 mlflow::health() counts what waits; call mlflow::flush with more time before best_run",
                DELIVERY_TIMEOUT.as_secs()
            );
            tracker.warn_user_once("best run", key, &line);
        }
    }
}

/// Returns the run of an experiment with the best latest value of a metric, from the store that the process is
/// configured for. Blocks; in async code call [`Client::best_run`].
///
/// The call first waits, for at most 5 seconds, until what this process has logged to that store is delivered, so that it may
/// directly follow a sweep. If values are undelivered then, because the store is slow or unavailable or takes them only after
/// a person has acted, the answer may lack runs or values, and a warning says so. [`flush`](crate::flush) before the call
/// waits for longer. Values of other processes count as far as they are delivered. The methods of [`Client`] and
/// [`blocking::Client`] wait for nothing.
///
/// ```
/// use mlflow::{Goal, tracked};
///
/// #[tracked(experiment = "wine", run_name = "alpha={alpha}")]
/// fn rmse(alpha: f64) -> f64 {
///     (alpha - 0.5).abs()
/// }
///
/// # let fake = mlflow::testing::fake();
/// for alpha in [0.1, 0.4, 0.8] {
///     rmse(alpha);
/// }
/// let best = mlflow::best_run("wine", "rmse", Goal::Minimize)?.expect("a run has logged it");
/// assert_eq!((best.name.as_str(), best.param("alpha")), ("alpha=0.4", Some("0.4")));
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
    let (experiment, key) = (experiment.into(), key.into());
    let client = Client::new();
    deliver_before_search(&client.trackers(), &experiment, &key);
    blocking::Client::from(client).best_run(experiment, key, goal)
}
