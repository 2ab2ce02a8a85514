//! Logs until a signal comes: `signals WHAT`, with `plain`, or `handled`, where the program has a
//! handler of its own and finishes its work. Says `ready` when it may be sent one.

#[path = "report.rs"]
mod report;

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mlflow::tracked;
use signal_hook::consts::SIGTERM;

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

fn main() {
    report::to_stderr();
    let what = env::args().nth(1).expect("signals plain|handled");
    let stop = Arc::new(AtomicBool::new(false));
    if what == "handled" {
        signal_hook::flag::register(SIGTERM, Arc::clone(&stop)).expect("a handler");
    }
    mlflow::install_signal_handlers();
    train(&stop);
    println!("done");
}
