//! `demo`: a small experiment, logged as a training would.

mod live;
mod model;

use std::time::Duration;

use mlflow::{Config, RunStatus};
use serde_json::json;

use crate::arguments::Demo;
use crate::failure::Failure;
use crate::output::Output;
use model::{accuracy, gradient, loss, two_clouds};

/// Name of the experiment.
const EXPERIMENT: &str = "demo";
const EPOCHS: u32 = 60;
/// Longest wait until everything is stored.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Logs a sweep of six runs below one parent or, with `--live`, one run that takes its time.
pub(crate) fn run(
    config: Config,
    output: Output,
    options: &Demo,
    tracking_uri: Option<&str>,
) -> Result<(), Failure> {
    if std::env::var_os("MLFLOW_RUN_ID").is_some() {
        return Err(Failure::Usage(
            "MLFLOW_RUN_ID is set, so the demo would be logged to that run: unset it".to_owned(),
        ));
    }
    let config = config.enabled(true).experiment(EXPERIMENT);
    if options.live {
        return live::run(config, output, options.seconds);
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
    flush()?;
    if output.json {
        return output.json(&json!({ "experiment": EXPERIMENT, "runs": 1 + learning_rates.len() }));
    }
    let uri = tracking_uri.map_or_else(String::new, |uri| format!(" --tracking-uri {uri}"));
    output.remark(format_args!(
        "seven runs of the experiment `demo` are stored. Look at them with:\n  cargo mlflow runs -e demo{uri}\n  \
         cargo mlflow compare best:val/loss last -e demo{uri}\n  cargo mlflow plot val/loss -e demo{uri}"
    ));
    Ok(())
}

/// Waits until everything is stored.
fn flush() -> Result<(), Failure> {
    if mlflow::flush(FLUSH_TIMEOUT).complete {
        return Ok(());
    }
    Err(Failure::Unavailable(format!(
        "the store did not take everything within {} seconds. What is left waits in a journal: `cargo mlflow doctor` \
         looks for the cause, and `cargo mlflow sync` ships the rest",
        FLUSH_TIMEOUT.as_secs()
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
