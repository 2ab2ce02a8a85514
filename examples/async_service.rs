//! Several tracked tasks that run at the same time: two succeed, one fails, one panics, one is cancelled.
//!
//! ```sh
//! cargo run --example async_service
//! mlflow ui        # in the same folder, then open http://127.0.0.1:5000
//! ```
//!
//! If `MLFLOW_TRACKING_URI=http://…` is set, open the MLflow UI of that server instead.
//!
//! The run of each task is a child of the run of `serve`. A run ends with the status that fits the outcome of
//! its task, and a task logs only to its own run, although all tasks share the same two threads.

use std::fmt;
use std::time::Duration;

use mlflow::tracked;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

#[derive(Debug)]
enum ScoreError {
    EmptyBatch(u32),
    TimedOut,
}

impl fmt::Display for ScoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyBatch(batch) => write!(f, "batch {batch} is empty"),
            Self::TimedOut => f.write_str("the score was not ready within 100 ms"),
        }
    }
}

impl std::error::Error for ScoreError {}

/// Scores one batch of requests.
#[tracked(
    experiment = "async-service",
    run_name = "score-{batch}",
    metric = "mean_score"
)]
async fn score(batch: u32, size: u32) -> Result<f64, ScoreError> {
    if size == 0 {
        return Err(ScoreError::EmptyBatch(batch));
    }
    let mut sum = 0.0;
    for item in 0..size {
        sleep(Duration::from_millis(2)).await;
        let score = f64::from(batch) + f64::from(item) / f64::from(size);
        mlflow::metric!("score", score, step = item);
        sum += score;
    }
    Ok(sum / f64::from(size))
}

/// Looks up a value behind the end of a table, and panics.
#[tracked(experiment = "async-service", run_name = "lookup")]
async fn lookup(index: usize) -> Result<f64, ScoreError> {
    sleep(Duration::from_millis(2)).await;
    let table = [1.0, 2.0, 3.0];
    Ok(table[index])
}

/// Waits for 20 seconds, and is cancelled long before that.
#[tracked(experiment = "async-service", run_name = "slow")]
async fn slow() -> Result<f64, ScoreError> {
    for tick in 0..1000 {
        mlflow::metric!("waited", tick, step = tick);
        sleep(Duration::from_millis(20)).await;
    }
    Ok(0.0)
}

/// Serves a few batches at once and returns how many tasks succeeded.
#[tracked(
    experiment = "async-service",
    run_name = "serve-{timestamp}",
    metric = "succeeded"
)]
async fn serve() -> usize {
    let mut tasks = JoinSet::new();
    // The run of a tracked future is a child of the run in which the future is made, wherever the future is
    // polled.
    for (batch, size) in [(1, 20), (2, 10), (3, 0)] {
        tasks.spawn(score(batch, size));
    }
    tasks.spawn(lookup(7));
    let slow = timeout(Duration::from_millis(100), slow());
    tasks.spawn(async move { slow.await.unwrap_or(Err(ScoreError::TimedOut)) });

    let mut succeeded = 0;
    while let Some(outcome) = tasks.join_next().await {
        match outcome {
            Ok(Ok(_)) => succeeded += 1,
            Ok(Err(error)) => println!("a task failed: {error}"),
            Err(error) => println!("a task panicked: {error}"),
        }
    }
    succeeded
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let succeeded = serve().await;
    println!(
        "{succeeded} of 5 tasks succeeded; the page of `serve` in the MLflow UI shows the outcome of each; a line on stderr says where \
         to find that page"
    );
}
