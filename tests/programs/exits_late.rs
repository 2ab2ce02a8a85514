//! Program that logs after the library has ended: `exits_late return|exit|thread`.
//!
//! An `atexit` handler that is registered before the first run is called after the library's handler.
//! With `return` the tracked function returns; otherwise it exits the process. With `thread` another
//! thread logs meanwhile, too.

// `atexit` has no safe form.
#![allow(unsafe_code)]

#[path = "support/report.rs"]
mod report;

use std::env;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use mlflow::{Run, tracked};

const POINTS: i64 = 1000;

static RUN: OnceLock<Run> = OnceLock::new();
/// Number of points that the other thread has logged.
static BESIDE: AtomicI64 = AtomicI64::new(0);

extern "C" fn late() {
    let Some(run) = RUN.get() else { return };
    for step in 0..POINTS {
        run.log_metric_at("late", 0.5, step);
    }
    run.metric("late/handle").log(0.5, 0);
    mlflow::log_metric("late/current", 0.5);
    mlflow::set_tag("late/current", "yes");
    run.set_tag("late", "yes");
    run.log_text("late", "late.txt");
    mlflow::start_run()
        .experiment("exits")
        .name("late")
        .start()
        .log_metric("alone", 0.5);
    let until = BESIDE.load(Ordering::Relaxed) + 1;
    while env::args().nth(1).as_deref() == Some("thread") && BESIDE.load(Ordering::Relaxed) < until
    {
        thread::yield_now();
    }
    // A further point may already be logged but not counted.
    println!("{}", BESIDE.load(Ordering::Relaxed));
}

#[tracked(experiment = "exits", run_name = "{how}")]
fn train(how: &str) {
    let run = Run::current().expect("a run");
    let _ = RUN.set(run.clone());
    mlflow::metric!("loss", 0.5);
    if how == "thread" {
        thread::spawn(move || {
            for step in 0.. {
                run.log_metric_at("beside", 0.5, step);
                BESIDE.store(step + 1, Ordering::Relaxed);
                thread::yield_now();
            }
        });
    }
    if how != "return" {
        process::exit(0);
    }
}

fn main() {
    // SAFETY: the handler is a function that does not unwind.
    assert_eq!(unsafe { libc::atexit(late) }, 0);
    report::to_stderr();
    train(&env::args().nth(1).expect("exits_late return|exit|thread"));
}
