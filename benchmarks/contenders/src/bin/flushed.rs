//! mlflow-runtime, from the first call until the store has everything.

use std::time::{Duration, Instant};

use contenders::{PARAMS, arguments, delivered, keys};

fn main() {
    let (uri, points) = arguments();
    mlflow::configure(mlflow::Config::new().tracking_uri(uri).quiet(true));
    // Experiment and run are there before the clock starts, as they are for the reference.
    let run = mlflow::start_run().name("flushed").start();
    assert!(mlflow::flush(Duration::from_secs(600)).complete);
    let keys = keys();
    let begun = Instant::now();
    for number in 0..PARAMS {
        mlflow::log_param(&format!("param_{number}"), number);
    }
    for number in 0..points {
        let (key, step) = (&keys[number % keys.len()], number / keys.len());
        mlflow::log_metric_at(key, number as f64, step as i64);
    }
    assert!(mlflow::flush(Duration::from_secs(600)).complete);
    delivered(begun);
    drop(run);
}
