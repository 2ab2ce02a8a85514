//! Program that logs more than its journal may hold. Prints three numbers: values dropped because the
//! journal was full, values dropped for any reason, and bytes of the journal.

#[path = "support/report.rs"]
mod report;

use std::time::Duration;

const POINTS: i64 = 20_000;

fn main() {
    report::to_stderr();
    let run = mlflow::start_run().experiment("full").name("full").start();
    for step in 0..POINTS {
        run.log_metric_at("loss", step as f64, step);
    }
    run.log_text(&"x".repeat(1 << 20), "large.txt");
    run.log_param("kept", "a param");
    run.set_tag("kept", "a tag");
    let report = mlflow::flush(Duration::from_millis(300));
    assert!(!report.complete, "nobody listens");
    let health = mlflow::health();
    assert!(
        health
            .oldest
            .is_some_and(|age| age >= Duration::from_millis(300))
    );
    println!("{}", health.dropped.journal_full);
    println!("{}", health.dropped.total());
    println!("{}", health.journal_bytes);
}
