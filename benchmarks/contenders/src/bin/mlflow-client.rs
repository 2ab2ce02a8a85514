//! The crate `mlflow-client`.

use contenders::{Calls, PARAMS, arguments, keys};

fn main() {
    let (uri, points) = arguments();
    let client = mlflow_client::Mlflow::new(&uri).expect("a client");
    let experiment = client
        .create_experiment_if_not_exists("mlflow-client", Default::default())
        .expect("an experiment");
    let mut run = experiment.start_run("mlflow-client").expect("a run");
    let keys = keys();
    let mut calls = Calls::with_capacity(points + PARAMS);
    for number in 0..PARAMS {
        let (key, value) = (format!("param_{number}"), number.to_string());
        let _ = calls.time(|| run.log_param(&key, &value));
    }
    for number in 0..points {
        let (key, step) = (&keys[number % keys.len()], number / keys.len());
        let _ = calls.time(|| run.log_metric(key, number as f64, Some(step as i64)));
    }
    calls.logged();
    let _ = run.finish();
}
