//! One process of a training on many: `rank COUNT`, its number in `RANK`, logs numbered points. The
//! even ones go to a key that all ranks share, the odd ones to a key of its own; a value tells rank
//! and number. The run is the one of `MLFLOW_RUN_ID`, else its own.

#[path = "report.rs"]
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
