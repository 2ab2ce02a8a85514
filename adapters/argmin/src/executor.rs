//! The one call that wires an executor.

use argmin::core::observers::ObserverMode;
use argmin::core::{Executor, Solver, State};

use crate::MlflowObserver;

/// Executors that can be tracked.
pub trait TrackWithMlflow: Sized {
    /// Logs every iteration to the current run of the calling thread. Without a run, the solver works as it would, and nothing
    /// is logged. Other observers of the executor stay. For another run or fewer iterations, add a [`MlflowObserver`] by hand.
    ///
    /// ```
    /// use argmin::core::{Error, Executor};
    /// # use argmin::core::CostFunction;
    /// use argmin::solver::neldermead::NelderMead;
    /// use mlflow_argmin::TrackWithMlflow as _;
    ///
    /// # struct Parabola;
    /// # impl CostFunction for Parabola {
    /// #     type Param = f64;
    /// #     type Output = f64;
    /// #     fn cost(&self, param: &f64) -> Result<f64, Error> {
    /// #         Ok(param * param)
    /// #     }
    /// # }
    /// let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().start();
    /// let solver = NelderMead::new(vec![1.0, 3.0]);
    /// Executor::new(Parabola, solver)
    ///     .configure(|state| state.max_iters(20))
    ///     .track_with_mlflow()
    ///     .run()?;
    /// drop(run);
    /// fake.assert_param("solver", "Nelder-Mead method");
    /// fake.assert_metric_logged("best_cost");
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    fn track_with_mlflow(self) -> Self;
}

impl<O, S: Solver<O, I>, I: State> TrackWithMlflow for Executor<O, S, I> {
    fn track_with_mlflow(self) -> Self {
        self.add_observer(MlflowObserver::current(), ObserverMode::Always)
    }
}
