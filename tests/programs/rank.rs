//! Program that is one process of a distributed training, and logs COUNT numbered points: `rank COUNT`.
//!
//! The environment variable `RANK` is the number of the process. Points with an even number go to a key
//! that all ranks share, the others to a key of the rank's own. The value of a point encodes rank and
//! number. The run is the one named by `MLFLOW_RUN_ID`, or else a run of the process's own.

#[path = "support/report.rs"]
mod report;

use std::env;

fn main() {
    report::to_stderr();
    let count: i64 = env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .expect("rank COUNT");
    let rank: i64 = env::var("RANK")
        .ok()
        .and_then(|rank| rank.parse().ok())
        .expect("RANK is a number");
    let run = mlflow::start_run().name(format!("rank-{rank}")).start();
    let own = format!("rank/{rank}");
    for number in 0..count {
        let key = if number % 2 == 0 { "loss" } else { &own };
        run.log_metric_at(key, (rank * 1_000_000 + number) as f64, number);
    }
}
