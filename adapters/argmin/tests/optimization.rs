//! Optimizations that are tracked: what the run holds, and that the solver is undisturbed.

use std::thread;

use argmin::core::observers::ObserverMode;
use argmin::core::{
    CostFunction, Error, Executor, IterState, KV, Problem, Solver, State as _, TerminationReason,
    TerminationStatus,
};
use argmin::kv;
use argmin::solver::neldermead::NelderMead;
use argmin::solver::particleswarm::ParticleSwarm;
use mlflow::testing::{Fake, fake};
use mlflow_argmin::{MlflowObserver, TrackWithMlflow as _};

type State = IterState<f64, (), (), (), (), f64>;

/// Square of the param.
struct Square;

impl CostFunction for Square {
    type Param = f64;
    type Output = f64;

    fn cost(&self, param: &f64) -> Result<f64, Error> {
        Ok(param * param)
    }
}

/// Solver that halves its param, and behaves as it is told.
#[derive(Clone, Default)]
struct Halving {
    /// Iteration in which the solver fails.
    fails_at: Option<u64>,
    /// Iteration in which the cost is NaN.
    is_nan_at: Option<u64>,
    /// Iteration after which the solver has converged.
    converges_after: Option<u64>,
    /// Is the cost never computed?
    knows_no_cost: bool,
}

impl Solver<Square, State> for Halving {
    fn name(&self) -> &str {
        "Halving"
    }

    fn init(
        &mut self,
        problem: &mut Problem<Square>,
        state: State,
    ) -> Result<(State, Option<KV>), Error> {
        let kv = kv!("factor" => 0.5; "mode" => "strict"; "is_lazy" => false;);
        if self.knows_no_cost {
            return Ok((state, Some(kv)));
        }
        let cost = problem.cost(state.get_param().unwrap_or(&0.0))?;
        Ok((state.cost(cost), Some(kv)))
    }

    fn next_iter(
        &mut self,
        problem: &mut Problem<Square>,
        state: State,
    ) -> Result<(State, Option<KV>), Error> {
        let iteration = state.get_iter();
        if self.fails_at == Some(iteration) {
            return Err(std::io::Error::other("the solver has failed").into());
        }
        let param = state.get_param().unwrap_or(&0.0) / 2.0;
        let kv = kv!("t" => param; "accepted" => true; "action" => "halved"; "depth" => iteration;);
        if self.knows_no_cost {
            return Ok((state.param(param), Some(kv)));
        }
        let cost = match self.is_nan_at {
            Some(at) if at == iteration => f64::NAN,
            _ => problem.cost(&param)?,
        };
        Ok((state.param(param).cost(cost), Some(kv)))
    }

    fn terminate(&mut self, state: &State) -> TerminationStatus {
        match self.converges_after {
            Some(last) if state.get_iter() >= last => {
                TerminationStatus::Terminated(TerminationReason::SolverConverged)
            }
            _ => TerminationStatus::NotTerminated,
        }
    }
}

fn executor(solver: Halving) -> Executor<Square, Halving, State> {
    Executor::new(Square, solver).configure(|state| state.param(4.0).max_iters(3).counting(true))
}

/// Runs an executor with the observer for the current run, as a run of its own.
fn run_tracked(fake: &Fake, executor: Executor<Square, Halving, State>) {
    let run = mlflow::start_run().start();
    let result = executor.track_with_mlflow().run();
    drop(run);
    assert!(result.is_ok(), "{:?}", result.err());
    assert_eq!(fake.runs().len(), 1);
}

#[test]
fn a_run_has_curves_params_and_the_reason_of_the_end() {
    let fake = fake();
    run_tracked(&fake, executor(Halving::default()));
    fake.assert_metric("cost", &[(0, 16.0), (1, 4.0), (2, 1.0), (3, 0.25)]);
    fake.assert_metric("best_cost", &[(0, 16.0), (1, 4.0), (2, 1.0), (3, 0.25)]);
    fake.assert_metric("t", &[(1, 2.0), (2, 1.0), (3, 0.5)]);
    fake.assert_metric("accepted", &[(1, 1.0), (2, 1.0), (3, 1.0)]);
    fake.assert_metric("depth", &[(1, 0.0), (2, 1.0), (3, 2.0)]);
    fake.assert_metric("cost_count", &[(1, 2.0), (2, 3.0), (3, 4.0)]);
    for (key, value) in [
        ("solver", "Halving"),
        ("factor", "0.5"),
        ("mode", "strict"),
        ("is_lazy", "false"),
        ("max_iters", "3"),
    ] {
        fake.assert_param(key, value);
    }
    let run = &fake.runs()[0];
    assert_eq!(run.params.len(), 5, "{:?}", run.params);
    assert_eq!(
        run.metrics.len(),
        6,
        "texts are no metrics: {:?}",
        run.metrics.keys()
    );
    fake.assert_tag("argmin.termination_status", "Terminated");
    fake.assert_tag(
        "argmin.termination_reason",
        "Maximum number of iterations reached",
    );
}

#[test]
fn limits_that_are_set_are_params() {
    let fake = fake();
    let solver = Halving {
        converges_after: Some(2),
        ..Halving::default()
    };
    let executor =
        Executor::new(Square, solver).configure(|state: State| state.param(4.0).target_cost(-1.0));
    run_tracked(&fake, executor);
    fake.assert_param("target_cost", "-1");
    assert!(!fake.runs()[0].params.contains_key("max_iters"));
    fake.assert_tag("argmin.termination_reason", "Solver converged");
}

#[test]
fn the_last_iteration_is_logged_whatever_the_mode_and_only_once() {
    for (mode, steps) in [
        (ObserverMode::Always, vec![0, 1, 2, 3]),
        (ObserverMode::Every(2), vec![0, 1, 3]),
        (ObserverMode::Every(3), vec![0, 1, 3]),
        (ObserverMode::Never, vec![0, 3]),
    ] {
        let fake = fake();
        let run = mlflow::start_run().start();
        let observer = MlflowObserver::current();
        let result = executor(Halving::default())
            .add_observer(observer, mode)
            .run();
        drop(run);
        assert!(result.is_ok());
        let runs = fake.runs();
        let points = runs[0].metrics["cost"].iter();
        let logged: Vec<_> = points.map(|point| point.step).collect();
        assert_eq!(logged, steps, "{mode:?}");
    }
}

#[test]
fn the_error_of_a_solver_is_its_own_and_the_run_says_that_it_has_not_ended() {
    let fake = fake();
    let run = mlflow::start_run().start();
    let solver = Halving {
        fails_at: Some(1),
        ..Halving::default()
    };
    let error = executor(solver).track_with_mlflow().run().err();
    drop(run);
    assert_eq!(
        error.map(|error| error.to_string()).as_deref(),
        Some("the solver has failed")
    );
    fake.assert_metric("cost", &[(0, 16.0), (1, 4.0)]);
    fake.assert_tag("argmin.termination_status", "NotTerminated");
    assert!(
        !fake.runs()[0]
            .tags
            .contains_key("argmin.termination_reason")
    );
}

#[test]
fn a_cost_that_is_not_known_is_left_out_and_one_that_is_no_number_is_logged() {
    let fake_of_unknown = fake();
    let solver = Halving {
        knows_no_cost: true,
        ..Halving::default()
    };
    run_tracked(&fake_of_unknown, executor(solver));
    let metrics = &fake_of_unknown.runs()[0].metrics;
    assert!(!metrics.contains_key("cost") && !metrics.contains_key("best_cost"));
    assert_eq!(metrics["t"].len(), 3);
    drop(fake_of_unknown);

    let fake = fake();
    let solver = Halving {
        is_nan_at: Some(1),
        ..Halving::default()
    };
    run_tracked(&fake, executor(solver));
    let runs = fake.runs();
    let points = runs[0].metrics["cost"].iter();
    let costs: Vec<_> = points.map(|point| point.value).collect();
    assert!(costs[2].is_nan(), "{costs:?}");
    assert_eq!(costs.len(), 4);
}

#[test]
fn without_a_run_the_solver_works_and_nothing_is_logged() {
    let fake = fake();
    let result = executor(Halving::default()).track_with_mlflow().run();
    assert!(result.is_ok_and(|result| result.state.get_best_cost() == 0.25));
    assert!(fake.runs().is_empty());
}

#[test]
fn an_observer_takes_its_run_along_to_another_thread() {
    let fake = fake();
    let run = mlflow::start_run().start();
    let observer = MlflowObserver::of(run.clone());
    let worker = thread::spawn(move || {
        let executor = executor(Halving::default()).add_observer(observer, ObserverMode::Always);
        executor.run().is_ok()
    });
    assert!(worker.join().is_ok_and(|is_ok| is_ok));
    drop(run);
    fake.assert_metric("cost", &[(0, 16.0), (1, 4.0), (2, 1.0), (3, 0.25)]);
}

#[test]
fn optimizations_of_one_run_are_told_apart_by_their_prefixes() {
    let fake = fake();
    let run = mlflow::start_run().start();
    for name in ["global", "local/"] {
        let observer = MlflowObserver::current().prefix(name).with_best_param();
        let result = executor(Halving::default())
            .add_observer(observer, ObserverMode::Always)
            .run();
        assert!(result.is_ok());
    }
    drop(run);
    let run = &fake.runs()[0];
    for name in ["global", "local"] {
        assert_eq!(run.metrics[&format!("{name}/cost")].len(), 4);
        assert_eq!(run.params[&format!("{name}/solver")], "Halving");
        assert_eq!(
            run.tags[&format!("{name}/argmin.termination_status")],
            "Terminated"
        );
        assert_eq!(run.artifacts[&format!("{name}/best_param.json")], b"0.5");
    }
    assert!(!run.metrics.contains_key("cost"));
}

#[test]
fn the_best_param_is_an_artifact_and_one_that_cannot_be_written_harms_nothing() {
    /// Param that cannot be serialized.
    #[derive(Clone)]
    struct Sealed(f64);

    impl serde::Serialize for Sealed {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it is sealed"))
        }
    }

    impl CostFunction for Square2 {
        type Param = Sealed;
        type Output = f64;

        fn cost(&self, param: &Sealed) -> Result<f64, Error> {
            Ok(param.0)
        }
    }

    struct Square2;
    struct Standing;

    impl Solver<Square2, IterState<Sealed, (), (), (), (), f64>> for Standing {
        fn name(&self) -> &str {
            "Standing"
        }

        fn next_iter(
            &mut self,
            problem: &mut Problem<Square2>,
            state: IterState<Sealed, (), (), (), (), f64>,
        ) -> Result<(IterState<Sealed, (), (), (), (), f64>, Option<KV>), Error> {
            let cost = problem.cost(&Sealed(1.0))?;
            Ok((state.cost(cost), None))
        }
    }

    let fake = fake();
    let run = mlflow::start_run().start();
    let result = Executor::new(Square2, Standing)
        .configure(|state| state.param(Sealed(1.0)).max_iters(2))
        .add_observer(
            MlflowObserver::current().with_best_param(),
            ObserverMode::Always,
        )
        .run();
    drop(run);
    assert!(result.is_ok());
    fake.assert_metric("cost", &[(1, 1.0), (2, 1.0)]);
    fake.assert_tag("argmin.termination_status", "Terminated");
    assert!(fake.runs()[0].artifacts.is_empty());
}

#[test]
fn f32_and_populations_are_tracked_as_well() {
    struct Bowl;

    impl CostFunction for Bowl {
        type Param = Vec<f32>;
        type Output = f32;

        fn cost(&self, param: &Vec<f32>) -> Result<f32, Error> {
            Ok(param.iter().map(|value| value * value).sum())
        }
    }

    let fake = fake();
    let run = mlflow::start_run().start();
    let swarm = ParticleSwarm::new((vec![-1.0_f32, -1.0], vec![1.0, 1.0]), 5);
    let result = Executor::new(Bowl, swarm)
        .configure(|state| state.max_iters(4))
        .add_observer(
            MlflowObserver::current().with_best_param(),
            ObserverMode::Always,
        )
        .run();
    drop(run);
    let best = result.map(|result| f64::from(result.state.get_best_cost()));
    let run = &fake.runs()[0];
    let last = run.metrics["best_cost"]
        .last()
        .map(|point| (point.step, point.value));
    assert_eq!(last, best.ok().map(|cost| (4, cost)));
    fake.assert_artifact_logged("best_param.json");

    let simplex = vec![vec![1.0_f32, 0.0], vec![0.0, 1.0], vec![1.0, 1.0]];
    let run = mlflow::start_run().start();
    let result = Executor::new(Bowl, NelderMead::new(simplex))
        .configure(|state| state.max_iters(4))
        .track_with_mlflow()
        .run();
    drop(run);
    assert!(result.is_ok());
    assert_eq!(fake.runs()[1].metrics["cost"].len(), 5);
}
