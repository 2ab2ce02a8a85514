//! Logs every kind of value, `steady POINTS [offered]`: one half, then, told by a line on stdin,
//! the other; with `offered` no point before the store was offered a value. Prints its result and
//! what became of the values.

#[path = "report.rs"]
mod report;

use std::time::Duration;
use std::{env, io, thread};

use mlflow::tracked;

/// As many params and tags: more than one request may hold.
const PAIRS: i64 = 150;

#[tracked(run_name = "steady", skip_return)]
fn steady(points: i64) -> i64 {
    for number in 0..PAIRS {
        mlflow::log_param(&format!("p{number}"), number);
        mlflow::set_tag(&format!("t{number}"), number);
    }
    mlflow::log_text("small\n", "notes/small.txt");
    // Too large for the journal itself: it lies beside it.
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
