//! Program that logs a file and a text as artifacts, then metric points: `checkpoint FILE POINTS`.
//! Prints the numbers of values dropped and rejected, and the bytes of artifacts that wait.

#[path = "support/report.rs"]
mod report;

use std::env;

fn main() {
    report::to_stderr();
    let arguments: Vec<String> = env::args().collect();
    let points: i64 = arguments[2].parse().expect("POINTS is a number");
    let run = mlflow::start_run()
        .experiment("checkpoints")
        .name("checkpoint")
        .start();
    run.log_artifact(&arguments[1]);
    run.log_text(&"large ".repeat(10_000), "notes.txt");
    for step in 0..points {
        run.log_metric_at("loss", step as f64, step);
    }
    let health = mlflow::health();
    println!("dropped {}", health.dropped.total());
    println!("rejected {}", health.rejected);
    println!("artifacts {}", health.artifact_bytes);
}
