//! MLflow tracking for solvers of [argmin](https://argmin-rs.org).
//!
//! One call wires an [`Executor`](argmin::core::Executor) to the current run:
//!
//! ```
//! use argmin::core::{Error, Executor, IterState, Solver};
//! use mlflow_argmin::TrackWithMlflow as _;
//!
//! type State = IterState<Vec<f64>, Vec<f64>, (), (), (), f64>;
//!
//! #[mlflow::tracked(experiment = "rosenbrock", skip(problem, solver))]
//! fn minimize<P, S: Solver<P, State>>(problem: P, solver: S, max_iters: u64) -> Result<(), Error> {
//!     Executor::new(problem, solver)
//!         .configure(|state| state.param(vec![-1.2, 1.0]).max_iters(max_iters).counting(true))
//!         .track_with_mlflow()
//!         .run()?;
//!     Ok(())
//! }
//! ```
//!
//! The run has:
//!
//! | kind | key | value |
//! |---|---|---|
//! | metric | `cost`, `best_cost` | cost of the param after the iteration, and the least one so far |
//! | metric | `cost_count`, `gradient_count`, … | argmin's counts of evaluations so far, if the state has `counting(true)` |
//! | metric | `gamma`, `t`, `time`, … | each number of the values that a solver reports after an iteration; texts are left out |
//! | param | `solver` | name of the solver |
//! | param | `max_iters`, `target_cost` | limits of the executor, if they are set |
//! | param | `initial_temperature`, … | each value that a solver reports at its start |
//! | tag | `argmin.termination_status` | `NotTerminated` until the solver has ended, then `Terminated` |
//! | tag | `argmin.termination_reason` | argmin's text of the reason, such as `Solver converged` |
//! | artifact | `best_param.json` | best param, with [`MlflowObserver::with_best_param`] |
//!
//! The step of a metric is the number of iterations that are done: step 0 is the start, which is argmin's iteration 0 before it
//! has run. A cost that argmin does not know is infinite, and is not logged. By default, argmin does not count evaluations.
//!
//! The version of this crate has the minor number of the argmin for which it is made: `mlflow-argmin` 0.11 is for argmin 0.11.

mod best_param;
mod executor;
mod observer;

pub use best_param::BestParamObserver;
pub use executor::TrackWithMlflow;
pub use observer::MlflowObserver;
