//! Program that forks in the middle of a run, while another thread logs: `forks exit|orphan`.
//!
//! With `exit` both processes end as usual. With `orphan` the parent aborts right after the fork, and
//! the child lives until its stdin is closed.

#[path = "support/report.rs"]
mod report;

use std::env;
use std::io::{self, Read as _};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fork::{Fork, fork, waitpid};
use mlflow::tracked;

const STEPS: i64 = 1000;

#[tracked(experiment = "forks")]
fn train(how: &str) {
    mlflow::metric!("before", 1.0);
    match fork().expect("a child") {
        Fork::Child => child(how),
        Fork::Parent(_) if how == "orphan" => process::abort(),
        Fork::Parent(id) => {
            for step in 0..STEPS {
                mlflow::metric!("parent", step, step = step);
            }
            waitpid(id).expect("the child ends");
        }
    }
}

#[tracked]
fn of_the_child() -> f64 {
    0.5
}

fn child(how: &str) -> ! {
    for step in 0..STEPS {
        mlflow::metric!("child", step, step = step);
    }
    mlflow::set_tag("forked", "yes");
    of_the_child();
    if how == "orphan" {
        println!("alive");
        let _ = io::stdin().read_to_end(&mut Vec::new());
    }
    process::exit(0);
}

fn main() {
    report::to_stderr();
    let how = env::args().nth(1).expect("forks exit|orphan");
    // A second thread takes the locks of tracking as often as it can, so that the fork may find them taken.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                if number < 50 {
                    let run = mlflow::start_run().experiment("noise").start();
                    run.metric(&format!("key/{number}")).log(1.0, 0);
                }
                let _ = mlflow::health();
            }
        });
        train(&how);
        stop.store(true, Ordering::Relaxed);
    });
}
