//! A short life with a bit of everything, `life RUN POINTS`: params, tags, points, artifacts, a run
//! that ends. Prints whether all of it was settled, and how many values were lost and counted.

#[path = "report.rs"]
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
        // Too large for the journal itself: it lies beside it.
        run.log_text(&"0123456789abcdef".repeat(4096), "notes/large.txt");
    }
    let complete = mlflow::flush(Duration::from_secs(20)).complete;
    let health = mlflow::health();
    let lost = health.rejected + health.dropped.total() + health.damaged;
    println!("complete {complete} lost {lost}");
}
