//! Program that ends each of two runs while a thread that logged to the run lives on: `pool [abort]`.

#[path = "support/report.rs"]
mod report;

use std::sync::mpsc;
use std::thread;

fn main() {
    report::to_stderr();
    let (give, take) = mpsc::channel::<mlflow::Run>();
    let (done, wait) = mpsc::channel();
    thread::spawn(move || {
        for run in take {
            run.log_metric_at("from the pool", 1.0, 1);
            let _ = done.send(());
        }
    });
    for name in ["first", "second"] {
        let run = mlflow::start_run().experiment("pool").name(name).start();
        let _ = give.send(run.clone());
        let _ = wait.recv();
        drop(run);
        // After the flush the run is delivered, and its segments are removed where they can be.
        mlflow::flush(std::time::Duration::from_secs(60));
    }
    if std::env::args().nth(1).as_deref() == Some("abort") {
        std::process::abort();
    }
    std::process::exit(0);
}
