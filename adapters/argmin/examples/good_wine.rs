//! Two solvers of argmin that learn which red wines are good, as runs of MLflow.
//!
//! ```sh
//! cargo run --example good_wine
//! mlflow ui        # in the same folder, then open http://127.0.0.1:5000
//! ```
//!
//! The loss of a logistic regression is minimized by L-BFGS and by steepest descent, a run each. Their curves of `cost` by
//! iteration, and their numbers of evaluations, can be compared on the page of the experiment.

use argmin::core::observers::ObserverMode;
use argmin::core::{CostFunction, Error, Executor, Gradient, IterState, Solver};
use argmin::solver::gradientdescent::SteepestDescent;
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use mlflow_argmin::MlflowObserver;

type Weights = Vec<f64>;
type State = IterState<Weights, Weights, (), (), (), f64>;

/// Wine with its measurements, scaled to mean 0 and deviation 1, a 1 for the bias, and the judgement of tasters.
#[derive(Clone)]
struct Wine {
    measurements: Vec<f64>,
    is_good: bool,
}

/// Mean logistic loss over the wines, with a penalty for large weights.
#[derive(Clone)]
struct Loss {
    wines: Vec<Wine>,
    penalty: f64,
}

/// Returns the probability that a wine is good.
fn probability(weights: &[f64], wine: &Wine) -> f64 {
    let products = weights.iter().zip(&wine.measurements);
    1.0 / (1.0 + (-products.map(|(weight, value)| weight * value).sum::<f64>()).exp())
}

impl CostFunction for Loss {
    type Param = Weights;
    type Output = f64;

    fn cost(&self, weights: &Weights) -> Result<f64, Error> {
        let loss = |wine: &Wine| {
            let probability = probability(weights, wine);
            -if wine.is_good {
                probability
            } else {
                1.0 - probability
            }
            .ln()
        };
        let mean = self.wines.iter().map(loss).sum::<f64>() / self.wines.len() as f64;
        let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
        Ok(mean + self.penalty * squares)
    }
}

impl Gradient for Loss {
    type Param = Weights;
    type Gradient = Weights;

    fn gradient(&self, weights: &Weights) -> Result<Weights, Error> {
        let mut gradient: Weights = { weights.iter() }
            .map(|weight| 2.0 * self.penalty * weight)
            .collect();
        for wine in &self.wines {
            let error = probability(weights, wine) - f64::from(u8::from(wine.is_good));
            for (sum, value) in gradient.iter_mut().zip(&wine.measurements) {
                *sum += error * value / self.wines.len() as f64;
            }
        }
        Ok(gradient)
    }
}

/// Learns from eleven measurements if tasters judge a red wine as good: 6 or better of 10.
#[mlflow::tracked(
    experiment = "argmin-wine",
    run_name = "{name}",
    skip(name, solver, training, test),
    metric = "valid/accuracy"
)]
fn fit<S: Solver<Loss, State>>(
    name: &str,
    solver: S,
    penalty: f64,
    training: &[Wine],
    test: &[Wine],
) -> Result<f64, Error> {
    let loss = Loss {
        wines: training.to_vec(),
        penalty,
    };
    let start = vec![0.0; training[0].measurements.len()];
    let result = Executor::new(loss, solver)
        .configure(|state| state.param(start).max_iters(60).counting(true))
        .add_observer(
            MlflowObserver::current().with_best_param(),
            ObserverMode::Always,
        )
        .run()?;
    let weights = result.state.best_param.unwrap_or_default();
    let correct = test
        .iter()
        .filter(|wine| (probability(&weights, wine) > 0.5) == wine.is_good);
    Ok(correct.count() as f64 / test.len() as f64)
}

/// Returns the red wines of the wine-quality data.
fn wines() -> Vec<Wine> {
    let data = linfa_datasets::winequality();
    let records = data.records();
    let mean = records
        .mean_axis(ndarray::Axis(0))
        .expect("there are wines");
    let deviation = records.std_axis(ndarray::Axis(0), 0.0);
    let wine = |(row, score): (ndarray::ArrayView1<'_, f64>, &usize)| Wine {
        measurements: ((&row - &mean) / &deviation)
            .into_iter()
            .chain([1.0])
            .collect(),
        is_good: *score >= 6,
    };
    let rows = records.rows().into_iter().zip(data.targets());
    rows.map(wine).collect()
}

fn main() -> Result<(), Error> {
    let wines = wines();
    let (training, test) = wines.split_at(wines.len() * 3 / 4);
    let line_search = MoreThuenteLineSearch::new();
    let lbfgs = LBFGS::new(line_search.clone(), 7);
    fit("l-bfgs", lbfgs, 0.001, training, test)?;
    let descent = SteepestDescent::new(line_search);
    fit("steepest-descent", descent, 0.001, training, test)?;
    Ok(())
}
