//! [`MlflowObserver`]: what argmin hands to its observers, as metrics, params and tags of a run.
//!
//! Invariants:
//!
//! 1. A call never waits for the store and never fails: argmin would end the optimization with the error.
//! 2. The observer takes its run along, so the executor may run on any thread.
//! 3. A step is the number of iterations that are done. The state of a step is logged once.

use std::collections::HashMap;

use argmin::core::observers::Observe;
use argmin::core::{Error, KV, KvValue, State, TerminationStatus};
use mlflow::Run;

use crate::BestParamObserver;

/// Observer of argmin that logs to a run of MLflow.
///
/// [`TrackWithMlflow`](crate::TrackWithMlflow) adds one for the current run. Make one by hand for another run, for fewer
/// iterations, or for the best param:
///
/// ```
/// use argmin::core::observers::ObserverMode;
/// use argmin::core::{Error, Executor};
/// # use argmin::core::CostFunction;
/// use argmin::solver::neldermead::NelderMead;
/// use mlflow_argmin::MlflowObserver;
///
/// # struct Parabola;
/// # impl CostFunction for Parabola {
/// #     type Param = f64;
/// #     type Output = f64;
/// #     fn cost(&self, param: &f64) -> Result<f64, Error> {
/// #         Ok(param * param)
/// #     }
/// # }
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().start();
/// let observer = MlflowObserver::of(run.clone()).with_best_param();
/// let solver = NelderMead::new(vec![1.0, 3.0]);
/// Executor::new(Parabola, solver)
///     .configure(|state| state.max_iters(20))
///     .add_observer(observer, ObserverMode::Every(10)) // and the last iteration
///     .run()?;
/// # drop(run);
/// # let steps: Vec<_> = fake.runs()[0].metrics["best_cost"].iter().map(|point| point.step).collect();
/// # assert_eq!(steps, [0, 1, 11, 20]);
/// # fake.assert_artifact_logged("best_param.json");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "an observer logs when it is added to an executor by `add_observer`"]
pub struct MlflowObserver {
    /// Run to log to; `None` logs nothing.
    run: Option<Run>,
    prefix: String,
    /// Handles of the metrics, by their names without the prefix.
    metrics: HashMap<String, mlflow::Metric>,
    last_step: Option<u64>,
}

impl MlflowObserver {
    /// Creates an observer for the current run of the calling thread. Without one, nothing is logged.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().start();
    /// let observer = mlflow_argmin::MlflowObserver::current(); // logs to `run`
    /// # let _ = observer;
    /// ```
    pub fn current() -> Self {
        Self::with_run(Run::current())
    }

    /// Creates an observer for a run. See [`MlflowObserver`] for an example.
    pub fn of(run: Run) -> Self {
        Self::with_run(Some(run))
    }

    fn with_run(run: Option<Run>) -> Self {
        Self {
            run,
            prefix: String::new(),
            metrics: HashMap::new(),
            last_step: None,
        }
    }

    /// Puts a name and `/` in front of all keys, for a run of several optimizations: `global/cost`, `local/cost`.
    ///
    /// ```
    /// use mlflow_argmin::MlflowObserver;
    ///
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// let global = MlflowObserver::current().prefix("global");
    /// let local = MlflowObserver::current().prefix("local");
    /// # let _ = (global, local);
    /// ```
    pub fn prefix(mut self, name: &str) -> Self {
        self.prefix = match name.trim_end_matches('/') {
            "" => String::new(),
            name => format!("{name}/"),
        };
        self.metrics.clear();
        self
    }

    /// Logs the best param, too, as the artifact `best_param.json` when the solver has ended. The param has to be `Serialize`,
    /// as a `Vec<f64>` is. See [`MlflowObserver`] for an example.
    ///
    /// Numbers that are not finite become `null` in the file. If the process is killed before the solver has ended, there is
    /// no file.
    pub fn with_best_param(self) -> BestParamObserver {
        BestParamObserver(self)
    }

    /// Returns the run with the key behind the prefix; `None` without a run.
    pub(crate) fn run_and_key(&self, key: &str) -> Option<(&Run, String)> {
        Some((self.run.as_ref()?, format!("{}{key}", self.prefix)))
    }

    fn log_param(&self, key: &str, value: &KvValue) {
        if let Some((run, key)) = self.run_and_key(key) {
            run.log_param(&key, value);
        }
    }

    fn set_tag(&self, key: &str, value: &str) {
        if let Some((run, key)) = self.run_and_key(key) {
            run.set_tag(&key, value);
        }
    }

    fn log_metric(&mut self, key: &str, value: f64, step: u64) {
        if let Some(metric) = self.metrics.get(key) {
            return metric.log(value, step);
        }
        if let Some((run, full_key)) = self.run_and_key(key) {
            let metric = run.metric(&full_key);
            metric.log(value, step);
            self.metrics.insert(key.to_owned(), metric);
        }
    }

    /// Logs what every state has. An infinite cost is one that argmin does not know.
    fn log_state<I: State>(&mut self, state: &I, step: u64) {
        self.last_step = Some(step);
        let costs = [
            ("cost", state.get_cost()),
            ("best_cost", state.get_best_cost()),
        ];
        for (key, cost) in costs {
            let cost = number(cost).filter(|cost| !cost.is_infinite());
            if let Some(cost) = cost {
                self.log_metric(key, cost, step);
            }
        }
        for (key, count) in state.get_func_counts() {
            self.log_metric(key, *count as f64, step);
        }
    }
}

impl<I: State> Observe<I> for MlflowObserver {
    fn observe_init(&mut self, name: &str, state: &I, kv: &KV) -> Result<(), Error> {
        self.log_param("solver", &name.into());
        // Without a limit, argmin has the greatest number.
        if state.get_max_iters() < u64::MAX {
            self.log_param("max_iters", &state.get_max_iters().into());
        }
        let target_cost = state.get_target_cost().into();
        if target_cost.get_float().is_some_and(f64::is_finite) {
            self.log_param("target_cost", &target_cost);
        }
        for (key, value) in &kv.kv {
            self.log_param(key, value);
        }
        self.set_tag("argmin.termination_status", "NotTerminated");
        self.log_state(state, state.get_iter());
        Ok(())
    }

    fn observe_iter(&mut self, state: &I, kv: &KV) -> Result<(), Error> {
        // argmin counts the iteration after its observers.
        let step = state.get_iter().saturating_add(1);
        self.log_state(state, step);
        for (key, value) in &kv.kv {
            if let Some(value) = value.get_float() {
                self.log_metric(key, value, step);
            }
        }
        Ok(())
    }

    fn observe_final(&mut self, state: &I) -> Result<(), Error> {
        let step = state.get_iter();
        if self.last_step != Some(step) {
            self.log_state(state, step);
        }
        if let TerminationStatus::Terminated(reason) = state.get_termination_status() {
            self.set_tag("argmin.termination_status", "Terminated");
            self.set_tag("argmin.termination_reason", reason.text());
        }
        Ok(())
    }
}

/// Returns a float of argmin as a double.
fn number(value: impl Into<KvValue>) -> Option<f64> {
    value.into().get_float()
}
