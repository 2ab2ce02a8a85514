//! mlflow-runtime, very many small runs: `small-runs URI RUNS`.

use std::time::{Duration, Instant};

use contenders::{arguments, delivered};
use mlflow::{metric, tracked};

/// A run with two params and three points.
#[tracked(skip_return)]
fn trial(number: usize, rate: f64) {
    for step in 0..3 {
        metric!("loss", number as f64 + rate, step = step);
    }
}

fn main() {
    let (uri, runs) = arguments();
    mlflow::configure(mlflow::Config::new().tracking_uri(uri).quiet(true));
    // Database and experiment are there before the clock starts, as they are for the reference.
    drop(mlflow::start_run().name("first").start());
    assert!(mlflow::flush(Duration::from_secs(600)).complete);
    let begun = Instant::now();
    for number in 0..runs {
        trial(number, 0.5);
    }
    assert!(mlflow::flush(Duration::from_secs(600)).complete);
    delivered(begun);
}
