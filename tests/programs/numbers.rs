//! Logs numbered metric points: `numbers RUN COUNT [THREADS]`, each thread under a key of its own.

#[path = "report.rs"]
mod report;

use std::env;
use std::thread;

fn main() {
    report::to_stderr();
    let mut arguments = env::args().skip(1);
    let name = arguments.next().expect("the first argument is the run's name");
    let mut number = |default: i64| {
        arguments.next().map_or(default, |text| text.parse().expect("the other arguments are numbers"))
    };
    let (count, threads) = (number(1), number(1));
    let run = mlflow::start_run().experiment("numbers").name(name).start();
    thread::scope(|scope| {
        for thread in 0..threads {
            let run = run.clone();
            scope.spawn(move || {
                let key = format!("thread/{thread}");
                for step in 0..count {
                    run.log_metric_at(&key, step as f64, step);
                }
            });
        }
    });
    println!("logged");
}
