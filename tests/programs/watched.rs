//! Program with two runs that each turn system metrics on or off, or leave the default:
//! `watched builder|attribute|exit|shutdown OUTER INNER`. OUTER and INNER are `true`, `false` or
//! `default`; with `attribute`, `default` counts as `false`.
//!
//! The program waits for a line on stdin while the runs are open, and prints `gone` when no thread samples
//! any more. With `exit` there is no inner run, and the program exits while the outer run is open. With
//! `shutdown` the program starts the inner run after a shutdown.

#[path = "support/report.rs"]
mod report;

use std::time::Duration;
use std::{env, fs, io, thread};

use mlflow::{ActiveRun, tracked};

#[tracked(run_name = "outer", system_metrics = wish)]
fn outer(wish: bool, others: bool) {
    // Only the attribute uses the argument.
    let _ = wish;
    inner((others, others));
}

#[tracked(run_name = "inner", system_metrics = wish)]
fn inner((wish, same): (bool, bool)) {
    assert_eq!(wish, same);
    line();
}

fn start(name: &str, wish: &str) -> ActiveRun {
    let builder = mlflow::start_run().name(name);
    match wish.parse() {
        Ok(wish) => builder.system_metrics(wish).start(),
        Err(_) => builder.start(),
    }
}

fn line() {
    io::stdin().read_line(&mut String::new()).expect("a line");
}

/// Returns true if a thread samples. The kernel keeps only 15 characters of a thread's name.
fn is_sampling() -> bool {
    let named = |name: String| name.starts_with("mlflow-system-m");
    fs::read_dir("/proc/self/task")
        .expect("Linux")
        .flatten()
        .any(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(named))
}

/// Waits until no thread samples any more, then prints `gone`. Panics after a minute.
fn gone() {
    for _ in 0..6000 {
        if !is_sampling() {
            println!("gone");
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it samples still, after a minute");
}

fn main() {
    report::to_stderr();
    let arguments: Vec<String> = env::args().collect();
    let [_, how, first, second] = &arguments[..] else {
        panic!("three arguments");
    };
    match how.as_str() {
        "attribute" => {
            outer(first == "true", second == "true");
            gone();
        }
        "builder" => {
            let outer = start("outer", first);
            let inner = start("inner", second);
            line();
            // The runs end when their guards are dropped, although these handles still exist.
            let _handles = [outer.clone(), inner.clone()];
            drop((inner, outer));
            gone();
        }
        // The process exits with a run open and while the sampling thread works.
        "exit" => {
            let _outer = start("outer", first);
            line();
            std::process::exit(0);
        }
        _ => {
            let _outer = start("outer", first);
            line();
            let report = mlflow::shutdown(Duration::from_secs(60));
            assert!(report.complete, "{report:?}");
            gone();
            let _inner = start("inner", second);
            line();
        }
    }
}
