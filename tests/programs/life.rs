//! Program that logs a few values of each kind to a run and ends the run: `life RUN POINTS`. The kinds
//! are params, tags, metric points and artifacts.
//!
//! Prints `complete true` if the flush was complete, else `complete false`, and after it the number of
//! values that were rejected, dropped or damaged.

#[path = "support/report.rs"]
mod report;

use std::env;
use std::time::Duration;

fn main() {
    report::to_stderr();
    let mut arguments = env::args().skip(1);
    let name = arguments.next().expect("life RUN POINTS");
    let points = arguments.next().and_then(|points| points.parse().ok());
    let points: i64 = points.expect("POINTS is a number");
    {
        let run = mlflow::start_run().name(&name).start();
        for number in 0..5 {
            run.log_param(&format!("p{number}"), number);
            run.set_tag(&format!("t{number}"), number);
        }
        for step in 0..points {
            run.log_metric_at("loss", step as f64 / 2.0, step);
        }
        run.log_text("small\n", "notes/small.txt");
        // Too large for the journal itself: the text is stored in a file beside the journal.
        run.log_text(&"0123456789abcdef".repeat(4096), "notes/large.txt");
    }
    let complete = mlflow::flush(Duration::from_secs(20)).complete;
    let health = mlflow::health();
    let lost = health.rejected + health.dropped.total() + health.damaged;
    println!("complete {complete} lost {lost}");
}
