//! `demo`: a small experiment, logged as a training would.

mod live;
mod model;

use std::time::Duration;

use mlflow::blocking::Client;
use mlflow::{ClientError, Config, RunStatus};
use serde_json::json;

use crate::arguments::{Demo, Global};
use crate::failure::Failure;
use crate::output::Output;
use model::{accuracy, gradient, loss, two_clouds};

/// Name of the experiment.
const EXPERIMENT: &str = "demo";
const EPOCHS: u32 = 60;
/// Longest wait until everything is stored, unless the arguments name another.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait at the exit, before which the store was waited for already.
const EXIT_TIMEOUT: Duration = Duration::from_millis(100);

/// Logs a sweep of six runs below one parent or, with `--live`, one run that takes its time.
pub(crate) fn run(
    config: Config,
    output: Output,
    options: &Demo,
    global: &Global,
) -> Result<(), Failure> {
    if std::env::var_os("MLFLOW_RUN_ID").is_some() {
        return Err(Failure::Usage(
            "MLFLOW_RUN_ID is set, so the demo would be logged to that run: unset it".to_owned(),
        ));
    }
    check_file(&config)?;
    let config = config
        .enabled(true)
        .experiment(EXPERIMENT)
        .exit_timeout(EXIT_TIMEOUT);
    let flush_timeout = global.timeout.unwrap_or(FLUSH_TIMEOUT);
    if options.live {
        return live::run(config, output, options.seconds, flush_timeout);
    }
    mlflow::configure(config);
    let sweep = mlflow::start_run().name("sweep").start();
    sweep.set_tag(
        "mlflow.note.content",
        "Logistic regression on two overlapping clouds of points, made by `cargo mlflow demo`.",
    );
    let learning_rates = [0.01, 0.03, 0.1, 0.3, 1.0, 300.0];
    for (seed, learning_rate) in (1..).zip(learning_rates) {
        train(seed, learning_rate);
    }
    drop(sweep);
    flush(flush_timeout)?;
    if output.json {
        return output.json(&json!({ "experiment": EXPERIMENT, "runs": 1 + learning_rates.len() }));
    }
    let uri = global.tracking_uri.as_ref();
    let uri = uri.map_or_else(String::new, |uri| format!(" --tracking-uri {uri}"));
    output.remark(format_args!(
        "seven runs of the experiment `demo` are stored. Look at them with:\n  cargo mlflow runs -e demo{uri}\n  \
         cargo mlflow compare best:val/loss last -e demo{uri}\n  cargo mlflow plot val/loss -e demo{uri}"
    ));
    Ok(())
}

/// Fails if the store is a SQLite file that cannot be used: it is damaged, or none of MLflow's. A server may only be
/// unavailable for a while, which a run survives.
fn check_file(config: &Config) -> Result<(), Failure> {
    let client = Client::with_config(config.clone());
    if !client.uri().starts_with("sqlite:") {
        return Ok(());
    }
    match client.experiment(EXPERIMENT) {
        Ok(_) | Err(ClientError::NotFound { .. } | ClientError::Unavailable { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until everything is stored.
fn flush(timeout: Duration) -> Result<(), Failure> {
    if mlflow::flush(timeout).complete {
        return Ok(());
    }
    Err(Failure::Unavailable(format!(
        "the store did not take everything within {} s. What is left waits in a journal: `cargo mlflow doctor` looks \
         for the cause, and `cargo mlflow sync` ships the rest",
        timeout.as_secs_f64()
    )))
}

/// Trains a model and logs what a training logs.
fn train(seed: u32, learning_rate: f64) {
    let run = mlflow::start_run()
        .name(format!("lr-{learning_rate}"))
        .param("learning_rate", learning_rate)
        .param("epochs", EPOCHS)
        .param("seed", seed)
        .tag("model", "logistic-regression")
        .start();
    let points = two_clouds(seed, 400);
    let (training, validation) = points.split_at(300);
    let mut weights = [0.0; 3];
    for epoch in 0..EPOCHS {
        let gradient = gradient(&weights, training);
        for (weight, slope) in weights.iter_mut().zip(gradient) {
            *weight -= learning_rate * slope;
        }
        if weights.iter().any(|weight| weight.abs() > 100.0) {
            run.log_metric_at("train/loss", f64::NAN, epoch);
            run.set_tag("error.message", "the weights have diverged");
            run.finish(RunStatus::Failed);
            return;
        }
        let (train_loss, val_loss) = (loss(&weights, training), loss(&weights, validation));
        run.log_metric_at("train/loss", train_loss, epoch);
        run.log_metric_at("val/loss", val_loss, epoch);
        run.log_metric_at("val/accuracy", accuracy(&weights, validation), epoch);
    }
    run.log_text(&format!("{weights:?}\n"), "model/weights.txt");
}
