//! `demo --live`: a training that takes its time, for `cargo mlflow watch` to look at.

use std::time::{Duration, Instant};

use mlflow::{Config, RunStatus};
use serde_json::json;

use super::super::interrupt::Interrupt;
use super::model::{accuracy, gradient, loss, two_clouds};
use crate::failure::Failure;
use crate::output::Output;

/// Pause between two steps, which a larger model would need for computing.
const STEP_PAUSE: Duration = Duration::from_millis(20);
/// Steps of an epoch, each on a few of the points.
const STEPS_PER_EPOCH: u32 = 25;
const BATCH_POINTS: usize = 12;
/// Learning rate at the beginning. The rate falls with the number of steps.
const LEARNING_RATE: f64 = 0.5;

/// Trains for some seconds, or until Ctrl-C.
pub(super) fn run(
    config: Config,
    output: Output,
    seconds: u64,
    flush_timeout: Duration,
) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()
        .map_err(|error| Failure::Io("cannot listen for signals".to_owned(), error))?;
    mlflow::configure(
        config
            .system_metrics(true)
            .system_metrics_sampling_interval(Duration::from_secs(2))
            .capture_console(true),
    );
    let run = mlflow::start_run()
        .name("live")
        .param("learning_rate", LEARNING_RATE)
        .param("batch_size", BATCH_POINTS)
        .tag("model", "logistic-regression")
        .start();
    output
        .remark("a run is being trained. Look at it from another terminal:\n  cargo mlflow watch");
    let validation = two_clouds(1, 200);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut weights = [0.0; 3];
    let mut step: u32 = 0;
    while Instant::now() < deadline {
        if interrupt.wait(STEP_PAUSE) {
            run.finish(RunStatus::Killed);
            super::flush(flush_timeout)?;
            return Err(Failure::Other(
                "stopped by a signal; the run is KILLED".to_owned(),
            ));
        }
        let batch = two_clouds(2 + step, BATCH_POINTS);
        let rate = LEARNING_RATE / (1.0 + f64::from(step) / 500.0);
        let slopes = gradient(&weights, &batch);
        for (weight, slope) in weights.iter_mut().zip(slopes) {
            *weight -= rate * slope;
        }
        run.log_metric_at("train/loss", loss(&weights, &batch), step);
        run.log_metric_at("learning_rate", rate, step);
        step += 1;
        if step.is_multiple_of(STEPS_PER_EPOCH) {
            let (loss, accuracy) = (loss(&weights, &validation), accuracy(&weights, &validation));
            run.log_metric_at("val/loss", loss, step);
            run.log_metric_at("val/accuracy", accuracy, step);
            let epoch = step / STEPS_PER_EPOCH;
            output.remark(format_args!(
                "epoch {epoch}: loss {loss:.4}, accuracy {accuracy:.3}"
            ));
        }
    }
    drop(run);
    super::flush(flush_timeout)?;
    if output.json {
        return output.json(&json!({ "experiment": super::EXPERIMENT, "runs": 1, "steps": step }));
    }
    Ok(())
}
