//! Program that logs every kind of value: `steady POINTS [offered]`.
//!
//! The program logs half of the points, prints `logged`, waits for a line on stdin and logs the rest.
//! With `offered` the program logs no point before the library has tried to send a first value to the
//! store. At the end the program prints its result, then `complete true` if the flush was complete or
//! `complete false` if not, and the number of dropped values.

#[path = "support/report.rs"]
mod report;

use std::time::Duration;
use std::{env, io, thread};

use mlflow::tracked;

/// Number of params and of tags: more than one request may hold.
const PAIRS: i64 = 150;

#[tracked(run_name = "steady", skip_return)]
fn steady(points: i64) -> i64 {
    for number in 0..PAIRS {
        mlflow::log_param(&format!("p{number}"), number);
        mlflow::set_tag(&format!("t{number}"), number);
    }
    mlflow::log_text("small\n", "notes/small.txt");
    // Too large for the journal itself: the text is stored in a file beside the journal.
    mlflow::log_text(&"0123456789abcdef".repeat(4096), "notes/large.txt");
    if env::args().nth(2).as_deref() == Some("offered") {
        while mlflow::health().oldest.is_none() {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let half = points / 2;
    log(0..half);
    println!("logged");
    let _ = io::stdin().read_line(&mut String::new());
    log(half..points);
    points
}

fn log(steps: std::ops::Range<i64>) {
    for step in steps {
        mlflow::metric!("loss", step as f64 / 2.0, step = step);
    }
}

fn main() {
    report::to_stderr();
    let argument = env::args().nth(1).expect("steady POINTS");
    let result = steady(argument.parse().expect("POINTS is a number"));
    println!("result {result}");
    let complete = mlflow::flush(Duration::from_secs(300)).complete;
    println!(
        "complete {complete} dropped {}",
        mlflow::health().dropped.total()
    );
}
