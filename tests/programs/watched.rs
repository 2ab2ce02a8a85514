//! Two runs at once that say, or do not say, whether they want system metrics:
//! `watched builder|attribute|exit|shutdown true|false|default true|false|default`. A line on its input
//! is what they wait for. Says `gone` when no thread samples any more.

#[path = "report.rs"]
mod report;

use std::time::Duration;
use std::{env, fs, io, thread};

use mlflow::{ActiveRun, tracked};

#[tracked(run_name = "outer", system_metrics = wish)]
fn outer(wish: bool, others: bool) {
    // Only the attribute looks at it.
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

/// Whether a thread samples; the kernel holds 15 characters of its name.
fn is_sampling() -> bool {
    let named = |name: String| name.starts_with("mlflow-system-m");
    fs::read_dir("/proc/self/task")
        .expect("Linux")
        .flatten()
        .any(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(named))
}

/// Waits until no thread samples any more.
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
            // A run has ended for its handles, too.
            let _handles = [outer.clone(), inner.clone()];
            drop((inner, outer));
            gone();
        }
        // Ends as programs end: with a run open, and the thread at work.
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
