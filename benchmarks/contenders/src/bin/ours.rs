//! mlflow-runtime.

use contenders::{Calls, PARAMS, arguments, keys};

fn main() {
    let (uri, points) = arguments();
    mlflow::configure(mlflow::Config::new().tracking_uri(uri).quiet(true));
    if points == 0 {
        // Ships what a killed one left.
        let _run = mlflow::start_run().name("recovery").start();
        return;
    }
    let keys = keys();
    let mut calls = Calls::with_capacity(points + PARAMS);
    let run = mlflow::start_run().name("ours").start();
    for number in 0..PARAMS {
        let key = format!("param_{number}");
        calls.time(|| mlflow::log_param(&key, number));
    }
    for number in 0..points {
        let (key, step) = (&keys[number % keys.len()], number / keys.len());
        calls.time(|| mlflow::log_metric_at(key, number as f64, step as i64));
    }
    calls.logged();
    drop(run);
}
