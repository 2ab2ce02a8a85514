//! Program that is one of several processes which train together: `ranks HOW…`. Each HOW is done in turn.
//!
//! | HOW | |
//! |---|---|
//! | `log` | does nothing more than every rank does |
//! | `wait` | prints `logged` and waits for a line on stdin |
//! | `fail`, `panic` | returns an error, panics |
//! | `nest` | starts a child run |
//! | `differ` | logs a param with the rank as its value |
//! | `twice` | trains a second time, after rank 0 alone has called another tracked function |
//! | `alone` | calls another tracked function before the training; given to one rank only |
//! | `model` | calls another tracked function, which returns a model |
//! | `configure` | configures the process again, with nothing set, and trains again |

#[path = "support/report.rs"]
mod report;

use std::env;
use std::io;
use std::panic;

use mlflow::{Model, tracked};

const STEPS: u32 = 100;

#[tracked(run_name = "shared", params(steps = STEPS), skip(how))]
fn train(how: &[String]) -> Result<(), String> {
    let rank = mlflow::distributed::rank().unwrap_or(0);
    for step in 0..STEPS {
        mlflow::log_metric_at(&format!("by/{rank}"), f64::from(step), i64::from(step));
    }
    mlflow::metric!("loss", rank);
    mlflow::log_metric("system/own", 1.0);
    for how in how {
        match how.as_str() {
            "wait" => {
                println!("logged");
                io::stdin()
                    .read_line(&mut String::new())
                    .expect("a line on stdin");
                mlflow::metric!("after", rank, step = rank);
            }
            "fail" => return Err(format!("rank {rank} has no data")),
            "panic" => panic!("rank {rank} has no memory"),
            "nest" => fold(rank),
            "differ" => mlflow::log_param("seed", rank),
            _ => {}
        }
    }
    Ok(())
}

#[tracked(run_name = "fold-{rank}")]
fn fold(rank: u32) {
    mlflow::metric!("score", rank);
}

#[tracked(run_name = "evaluated")]
fn evaluate() {}

#[tracked(run_name = "learned")]
fn learn() -> Model {
    Model::new("weights").bytes("weights.bin", [1, 2, 3])
}

fn main() {
    report::to_stderr();
    let how: Vec<String> = env::args().skip(1).collect();
    let is = |word: &str| how.iter().any(|how| how == word);
    if is("alone") {
        evaluate();
    }
    // An error or a panic fails the run only: the program ends with success.
    let _ = panic::catch_unwind(|| train(&how));
    if is("configure") {
        mlflow::configure(mlflow::Config::new());
        let _ = train(&how);
    }
    if is("model") {
        let _ = learn();
    }
    if is("twice") {
        if mlflow::distributed::rank() == Some(0) {
            evaluate();
        }
        let _ = train(&how);
    }
}
