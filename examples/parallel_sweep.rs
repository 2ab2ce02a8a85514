//! Sweep on all cores: a command line by clap, trials by rayon, and the best run by a query.
//!
//! ```sh
//! cargo run --example parallel_sweep -- --trials 30 --seed 7
//! mlflow ui        # in the same folder, then open http://127.0.0.1:5000
//! ```
//!
//! The command line is the params of the parent run. Each trial is a child run of its own on whichever thread rayon gives it,
//! and a trial that fails is a failed run that stops no other.

use std::error::Error;
use std::time::Duration;

use clap::Parser;
use linfa::prelude::*;
use linfa_elasticnet::ElasticNet;
use mlflow::blocking::Client;
use mlflow::{Goal, Run, tracked};
use ndarray::{Array1, Array2, Axis};
use rayon::prelude::*;
use serde::Serialize;

type Data = linfa::Dataset<f64, f64, ndarray::Ix1>;

/// Random search for the best ElasticNet on the red-wine data.
#[derive(Parser, Serialize)]
struct Arguments {
    /// Number of trials.
    #[arg(long, default_value_t = 20)]
    trials: u64,
    /// Seed of the random choices.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Folds of the cross-validation, at least 2.
    #[arg(long, default_value_t = 4)]
    folds: usize,
}

/// Point of the search.
#[derive(Clone, Copy, Serialize)]
struct Candidate {
    /// Strength of the penalty.
    alpha: f64,
    /// Share of the L1 penalty.
    l1_ratio: f64,
}

impl Candidate {
    /// Returns the candidate with a number, always the same for a seed.
    fn random(seed: u64, number: u64) -> Self {
        let mut state = seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(number);
        let mut unit = || {
            // SplitMix64, by Guy Steele, Doug Lea and Christine Flood (2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        };
        // The strength on a logarithmic scale, as its magnitude matters.
        Self {
            alpha: 10_f64.powf(-4.0 + 4.5 * unit()),
            l1_ratio: unit(),
        }
    }
}

/// Scores of one fold. Each is a metric, with the number of the fold as its step.
#[derive(Serialize)]
struct Scores {
    rmse: f64,
    r2: f64,
}

/// Cross-validates one candidate, whose fields are the params of the run. Returns the mean error, the metric `rmse_mean`.
#[tracked(
    experiment = "parallel-sweep",
    run_name = "alpha={candidate.alpha:.4}",
    skip(folds),
    metric = "rmse_mean"
)]
fn validate(
    folds: &[(Data, Data)],
    candidate: Candidate,
) -> Result<f64, Box<dyn Error + Send + Sync>> {
    let mut sum = 0.0;
    for (fold, (training, test)) in folds.iter().enumerate() {
        let model = ElasticNet::params()
            .penalty(candidate.alpha)
            .l1_ratio(candidate.l1_ratio)
            .fit(training)?;
        let predicted = model.predict(test);
        let scores = Scores {
            rmse: predicted.mean_squared_error(test)?.sqrt(),
            r2: predicted.r2(test)?,
        };
        mlflow::log_metrics_of(&scores, fold);
        sum += scores.rmse;
    }
    Ok(sum / folds.len() as f64)
}

/// Validates all candidates, as many at once as there are cores. Returns the number of trials that failed.
#[tracked(
    experiment = "parallel-sweep",
    run_name = "sweep",
    metric = "failed_trials"
)]
fn sweep(arguments: &Arguments) -> Result<usize, Box<dyn Error + Send + Sync>> {
    let folds = folds(arguments.folds)?;
    // Rayon's threads know no run, so they get this one.
    let run = Run::current();
    let failed = (0..arguments.trials)
        .into_par_iter()
        .map(|number| Candidate::random(arguments.seed, number))
        .filter(|candidate| {
            let trial = || validate(&folds, *candidate).is_err();
            run.as_ref().map_or_else(trial, |run| run.scope(trial))
        })
        .count();
    Ok(failed)
}

/// Returns the wine data, scaled to mean 0 and deviation 1, as pairs of a training part and a test part.
fn folds(count: usize) -> Result<Vec<(Data, Data)>, Box<dyn Error + Send + Sync>> {
    let wine = linfa_datasets::winequality();
    let mean = wine
        .records()
        .mean_axis(Axis(0))
        .ok_or("the data is empty")?;
    let deviation = wine.records().std_axis(Axis(0), 0.0);
    let records: Array2<f64> = (wine.records() - &mean) / &deviation;
    let scores: Array1<f64> = wine.targets().mapv(|quality| quality as f64);
    Ok(linfa::Dataset::new(records, scores).fold(count.max(2)))
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments = Arguments::parse();
    let failed = sweep(&arguments)?;
    println!("{} trials, {failed} of them failed", arguments.trials);

    // The query waits for what this process has logged, but no longer than 5 seconds; a slow server gets more time here.
    mlflow::flush(Duration::from_secs(60));
    if let Some(best) = mlflow::best_run("parallel-sweep", "rmse_mean", Goal::Minimize)? {
        // In the list of runs, the sweep names its best trial.
        if let Some(sweep) = best.parent_run_id() {
            Client::new().set_tag(sweep, "best", &best.name)?;
        }
        println!(
            "best: {}, alpha {}, l1_ratio {}, mean error {:.4}",
            best.name,
            best.param("candidate.alpha").unwrap_or("?"),
            best.param("candidate.l1_ratio").unwrap_or("?"),
            best.metric("rmse_mean").unwrap_or(f64::NAN),
        );
    }
    Ok(())
}
