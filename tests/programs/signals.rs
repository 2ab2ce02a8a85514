//! Program that logs until it receives a signal: `signals plain|handled|forks`.
//!
//! With `handled` the program has a signal handler of its own, and finishes its work. The program prints
//! `ready` when a test may send the signal. With `forks` the program instead sends SIGTERM to a forked
//! child, and prints the signal that ended the child.

#[path = "support/report.rs"]
mod report;

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fork::{Fork, fork};
use mlflow::tracked;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use signal_hook::consts::SIGTERM;

/// Longest time that a child may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

#[tracked(experiment = "signals")]
fn train(stop: &AtomicBool) {
    for step in 0..1000 {
        mlflow::metric!("loss", step, step = step);
    }
    println!("ready");
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(1));
    }
    mlflow::metric!("finished", 1.0);
}

#[tracked(experiment = "signals")]
fn forks() {
    match fork().expect("a child") {
        Fork::Child => loop {
            mlflow::metric!("child", 1.0);
            thread::sleep(Duration::from_millis(1));
        },
        Fork::Parent(id) => {
            let child = Pid::from_raw(id).expect("a child");
            kill_process(child, Signal::TERM).expect("it is there");
            let begun = Instant::now();
            let status = loop {
                if let Some((_, status)) = waitpid(Some(child), WaitOptions::NOHANG).expect("ours")
                {
                    break status;
                }
                if begun.elapsed() > PATIENCE {
                    kill_process(child, Signal::KILL).expect("it is there");
                }
                thread::sleep(Duration::from_millis(1));
            };
            println!("the child got {:?}", status.terminating_signal());
        }
    }
}

fn main() {
    report::to_stderr();
    let what = env::args().nth(1).expect("signals plain|handled|forks");
    if what == "forks" {
        mlflow::install_signal_handlers();
        return forks();
    }
    let stop = Arc::new(AtomicBool::new(false));
    if what == "handled" {
        signal_hook::flag::register(SIGTERM, Arc::clone(&stop)).expect("a handler");
    }
    mlflow::install_signal_handlers();
    train(&stop);
    println!("done");
}
