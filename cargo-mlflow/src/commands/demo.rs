//! `demo`: a small experiment, logged as a training would.

use std::time::Duration;

use mlflow::{Config, RunStatus};
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;

/// Name of the experiment.
const EXPERIMENT: &str = "demo";
const EPOCHS: u32 = 60;
/// Longest wait until everything is stored.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Logs a sweep of six runs below one parent.
pub(crate) fn run(
    config: Config,
    output: Output,
    tracking_uri: Option<&str>,
) -> Result<(), Failure> {
    if std::env::var_os("MLFLOW_RUN_ID").is_some() {
        return Err(Failure::Usage(
            "MLFLOW_RUN_ID is set, so the demo would be logged to that run: unset it".to_owned(),
        ));
    }
    mlflow::configure(config.enabled(true).experiment(EXPERIMENT));
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
    let report = mlflow::flush(FLUSH_TIMEOUT);
    if !report.complete {
        return Err(Failure::Unavailable(format!(
            "the store did not take everything within {} seconds. What is left waits in a journal: `cargo mlflow doctor` \
             looks for the cause, and `cargo mlflow sync` ships the rest",
            FLUSH_TIMEOUT.as_secs()
        )));
    }
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

/// Point of one of two classes.
struct Point {
    x: f64,
    y: f64,
    label: f64,
}

/// Returns points of two classes, which overlap. The same seed gives the same points.
fn two_clouds(seed: u32, count: usize) -> Vec<Point> {
    // The generator `xorshift32` of Marsaglia (2003), with numbers from -1 to 1.
    let mut state = seed.wrapping_mul(2_654_435_769);
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    let class = |index: usize| f64::from(u8::from(!index.is_multiple_of(2)));
    (0..count)
        .map(|index| {
            let label = class(index);
            let center = label * 2.0 - 1.0;
            // The sum of three numbers is nearly distributed as a bell.
            let mut noise = || (random() + random() + random()) * 1.2;
            Point {
                x: center + noise(),
                y: 0.5 * center + noise(),
                label,
            }
        })
        .collect()
}

fn predict(weights: &[f64; 3], point: &Point) -> f64 {
    let [x, y, bias] = weights;
    1.0 / (1.0 + (-(x * point.x + y * point.y + bias)).exp())
}

/// Returns the gradient of the loss.
fn gradient(weights: &[f64; 3], points: &[Point]) -> [f64; 3] {
    let error = |point: &Point| predict(weights, point) - point.label;
    [
        mean(points.iter().map(|point| error(point) * point.x)),
        mean(points.iter().map(|point| error(point) * point.y)),
        mean(points.iter().map(error)),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred points")]
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// Returns the mean cross-entropy.
fn loss(weights: &[f64; 3], points: &[Point]) -> f64 {
    mean(points.iter().map(|point| {
        let probability = predict(weights, point).clamp(1e-12, 1.0 - 1e-12);
        -(point.label * probability.ln() + (1.0 - point.label) * (1.0 - probability).ln())
    }))
}

/// Returns the share of the points that are classified rightly.
fn accuracy(weights: &[f64; 3], points: &[Point]) -> f64 {
    mean(points.iter().map(|point| {
        let is_right = (predict(weights, point) > 0.5) == (point.label > 0.5);
        f64::from(u8::from(is_right))
    }))
}
