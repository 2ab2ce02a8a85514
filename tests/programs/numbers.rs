//! Program that logs numbered metric points: `numbers RUN COUNT THREADS [abort]`.
//!
//! Each of THREADS threads logs COUNT points under a key of its own. With `abort` the process aborts
//! when the last call has returned, and the run does not end. With COUNT 0 the program only starts
//! and ends a run: tests use it as a sweeper, a program that ships orphaned journals.

#[path = "support/report.rs"]
mod report;

use std::env;
use std::process;
use std::thread;

fn main() {
    report::to_stderr();
    let arguments: Vec<String> = env::args().collect();
    let number = |at: usize| {
        arguments[at]
            .parse()
            .expect("COUNT and THREADS are numbers")
    };
    let (count, threads): (i64, i64) = (number(2), number(3));
    let run = mlflow::start_run()
        .experiment("numbers")
        .name(&arguments[1])
        .start();
    thread::scope(|scope| {
        let log = |thread| {
            let run = run.clone();
            scope.spawn(move || {
                let key = format!("thread/{thread}");
                for step in 0..count {
                    run.log_metric_at(&key, step as f64, step);
                }
            })
        };
        // The end of the scope alone does not wait until the threads have released their segments.
        let threads: Vec<_> = (0..threads).map(log).collect();
        for thread in threads {
            thread.join().expect("a thread that logs");
        }
    });
    println!("logged");
    if arguments.get(4).is_some_and(|argument| argument == "abort") {
        process::abort();
    }
}
