//! First tutorial of MLflow, in Rust: ElasticNet on the wine-quality data, over a small grid of parameters.
//!
//! ```sh
//! cargo run --example wine_quality
//! mlflow ui        # in the same folder, then open http://127.0.0.1:5000
//! ```
//!
//! The sweep is a parent run, and each fit is a child run, with the data that it used as its inputs. Set
//! `MLFLOW_TRACKING_URI=http://…` to log to a tracking server instead.

use std::error::Error;
use std::fmt::Write as _;

use linfa::prelude::*;
use linfa_elasticnet::ElasticNet;
use mlflow::{Dataset, LogAsInput, tracked};
use ndarray::{Array1, Array2, Axis};
use serde::Serialize;

type Data = linfa::Dataset<f64, f64, ndarray::Ix1>;

/// Wines to train on, or to test with: the measurements, and the scores that tasters gave.
struct Wines(Data);

impl LogAsInput for Wines {
    fn to_dataset(&self) -> Dataset {
        let measurements: Vec<f64> = self.0.records().iter().copied().collect();
        let scores: Vec<f64> = self.0.targets().to_vec();
        Dataset::from_slice("wine-quality-red", &measurements)
            .shape(&[self.0.nsamples(), self.0.nfeatures()])
            .targets(&scores)
    }
}

/// Maximum number of passes of coordinate descent.
const MAX_ITERATIONS: u32 = 25;

#[derive(Clone, Copy, Serialize)]
struct Scores {
    rmse: f64,
    mae: f64,
    r2: f64,
}

struct Trial {
    alpha: f64,
    l1_ratio: f64,
    scores: Scores,
}

/// ElasticNet on the red-wine part of the wine-quality data: predicts the score that tasters gave
/// from eleven physical and chemical measurements.
#[tracked(
    experiment = "wine-quality",
    run_name = "elastic-net alpha={alpha} l1_ratio={l1_ratio}",
    tags(model = "elastic-net")
)]
fn fit(
    training: &Wines,
    test: &Wines,
    alpha: f64,
    l1_ratio: f64,
) -> Result<Scores, Box<dyn Error>> {
    let (training, test) = (&training.0, &test.0);
    let params = || {
        ElasticNet::params()
            .penalty(alpha)
            .l1_ratio(l1_ratio)
            .tolerance(1e-6)
    };

    // The duality gap shows the accuracy of the solution after each pass: the gap approaches zero.
    let mut model = params().max_iterations(1).fit(training)?;
    for iteration in 1..=MAX_ITERATIONS {
        model = params().max_iterations(iteration).fit(training)?;
        mlflow::metric!("duality_gap", model.duality_gap(), step = iteration);
        if model.n_steps() < iteration {
            break;
        }
    }

    mlflow::log_text(&coefficients(training, &model), "coefficients.csv");
    mlflow::log_param("n_train", training.nsamples());

    let predicted = model.predict(test);
    Ok(Scores {
        rmse: predicted.mean_squared_error(test)?.sqrt(),
        mae: predicted.mean_absolute_error(test)?,
        r2: predicted.r2(test)?,
    })
}

/// Fits every point of the grid, and sorts the trials by RMSE on the test data, the best first.
#[tracked(
    experiment = "wine-quality",
    run_name = "sweep-{timestamp}",
    skip(training, test),
    skip_return
)]
fn sweep(
    training: &Wines,
    test: &Wines,
    alphas: &[f64],
    l1_ratios: &[f64],
) -> Result<Vec<Trial>, Box<dyn Error>> {
    let mut trials = Vec::new();
    for &alpha in alphas {
        for &l1_ratio in l1_ratios {
            let scores = fit(training, test, alpha, l1_ratio)?;
            trials.push(Trial {
                alpha,
                l1_ratio,
                scores,
            });
        }
    }
    trials.sort_by(|a, b| a.scores.rmse.total_cmp(&b.scores.rmse));
    if let Some(best) = trials.first() {
        mlflow::log_metric("best_rmse", best.scores.rmse);
        mlflow::set_tag(
            "best",
            format!("alpha={} l1_ratio={}", best.alpha, best.l1_ratio),
        );
    }
    Ok(trials)
}

/// Returns the fitted model as a CSV table, which the MLflow UI shows.
fn coefficients(data: &Data, model: &ElasticNet<f64>) -> String {
    let mut table = String::from("feature,coefficient\n");
    let _ = writeln!(table, "(intercept),{}", model.intercept());
    for (name, coefficient) in data.feature_names().iter().zip(model.hyperplane()) {
        let _ = writeln!(table, "{name},{coefficient}");
    }
    table
}

/// Loads the wine data: three quarters to train, and one quarter to test. The features are scaled to mean 0
/// and standard deviation 1 over the training part.
fn wine() -> Result<(Wines, Wines), Box<dyn Error>> {
    let wine = linfa_datasets::winequality();
    let names = wine.feature_names().to_vec();
    let targets: Array1<f64> = wine.targets().mapv(|quality| quality as f64);
    let (train, test) = linfa::Dataset::new(wine.records().clone(), targets).split_with_ratio(0.75);
    let mean = train
        .records()
        .mean_axis(Axis(0))
        .ok_or("the data is empty")?;
    let deviation = train.records().std_axis(Axis(0), 0.0);
    let scaled = |data: Data| {
        let records: Array2<f64> = (data.records() - &mean) / &deviation;
        Wines(data.with_records(records).with_feature_names(names.clone()))
    };
    Ok((scaled(train), scaled(test)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (training, test) = wine()?;
    let trials = sweep(&training, &test, &[0.01, 0.1, 0.5], &[0.1, 0.5, 0.9])?;

    println!("alpha  l1_ratio   rmse    mae     r2");
    for Trial {
        alpha,
        l1_ratio,
        scores,
    } in &trials
    {
        let Scores { rmse, mae, r2 } = scores;
        println!("{alpha:<5}  {l1_ratio:<8}  {rmse:.4}  {mae:.4}  {r2:.4}");
    }
    match std::env::var("MLFLOW_TRACKING_URI") {
        Ok(uri) if uri.starts_with("http") => println!("\nLook at them: {uri}"),
        _ => println!(
            "\nLook at them: run `mlflow ui` in this folder and open http://127.0.0.1:5000,\n\
             or run this again with MLFLOW_TRACKING_URI=http://… to send them to a tracking server."
        ),
    }
    Ok(())
}
