//! The crate `trs-mlflow`: asynchronous, no queue; a step's ten points in one call.

use contenders::{Calls, PARAMS, arguments, keys};
use trs_mlflow::experiment::KeyValue;
use trs_mlflow::run::{CreateRun, Metric, RunData, RunStatus, UpdateRun};

fn main() {
    let (uri, points) = arguments();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let client = trs_mlflow::Client::new(format!("{uri}/api"));
    let experiment = runtime
        .block_on(client.get_or_create_experiment("trs-mlflow", vec![]))
        .expect("an experiment");
    let create = CreateRun::new()
        .run_name("trs-mlflow")
        .experiment_id(&experiment.experiment_id)
        .build();
    let run = runtime.block_on(client.create_run(create)).expect("a run");
    let keys = keys();
    let mut calls = Calls::with_capacity(points + PARAMS);
    for number in 0..PARAMS {
        let param = KeyValue::new()
            .key(format!("param_{number}"))
            .value(number.to_string())
            .build();
        let meta = RunData {
            params: vec![param],
            metrics: vec![],
            tags: vec![],
        };
        let _ = calls.time(|| runtime.block_on(client.add_run_meta(&run.info.run_id, meta)));
    }
    for step in 0..points / keys.len() {
        let point = |(number, key): (usize, &String)| {
            Metric::new()
                .key(key)
                .value((step * keys.len() + number) as f64)
                .step(step as u64)
                .build()
        };
        let meta = RunData {
            params: vec![],
            metrics: keys.iter().enumerate().map(point).collect(),
            tags: vec![],
        };
        let _ = calls.time(|| runtime.block_on(client.add_run_meta(&run.info.run_id, meta)));
    }
    calls.logged();
    let update = UpdateRun::new()
        .run_id(&run.info.run_id)
        .experiment_id(&experiment.experiment_id)
        .status(RunStatus::Finished)
        .build();
    let _ = runtime.block_on(client.update_run(update));
}
