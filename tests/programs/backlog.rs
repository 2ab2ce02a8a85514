//! Program that logs while its store is unavailable, and prints the memory and time which that takes:
//! `backlog VALUES THREADS ATTEMPTS`.
//!
//! THREADS threads, four of them at a time, log VALUES values together. Each thread logs under a key of
//! its own, with the step as value. Then the program waits until ATTEMPTS requests to the store have
//! failed, because failing requests take memory, too.

#[path = "support/report.rs"]
mod report;

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

const AT_ONCE: u64 = 4;

/// Prints the kernel's counts of this process's memory, in KiB.
fn memory(when: &str) {
    const COUNTED: [&str; 5] = ["VmRSS", "VmHWM", "RssAnon", "RssFile", "RssShmem"];
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let counts = status.lines().filter_map(|line| {
        let (name, count) = line.split_once(':')?;
        let count = count.split_whitespace().next()?;
        COUNTED.contains(&name).then(|| format!(" {name}={count}"))
    });
    println!("memory {when}:{}", counts.collect::<String>());
}

fn main() {
    report::to_stderr();
    let arguments: Vec<u64> = env::args()
        .skip(1)
        .map(|argument| argument.parse().expect("numbers"))
        .collect();
    let [values, threads, attempts] = arguments[..] else {
        panic!("backlog VALUES THREADS ATTEMPTS");
    };
    let share = values / threads;
    // Number of a thread in the middle, which prints the memory while it logs.
    let looks = (threads - 1) / 2 / AT_ONCE * AT_ONCE;
    memory("start");
    let started = Instant::now();
    let run = mlflow::start_run()
        .experiment("backlog")
        .name("backlog")
        .start();
    for first in (0..threads).step_by(AT_ONCE as usize) {
        let alive: Vec<_> = (first..threads.min(first + AT_ONCE))
            .map(|thread| {
                let run = run.clone();
                thread::spawn(move || {
                    let key = format!("thread/{thread}");
                    for step in 0..share {
                        if thread == looks && step == share / 2 {
                            memory("during");
                        }
                        run.log_metric_at(&key, step as f64, step.cast_signed());
                    }
                })
            })
            .collect();
        for thread in alive {
            thread.join().expect("it does not panic");
        }
    }
    let took = started.elapsed();
    memory("logged");
    while mlflow::health().retried < attempts {
        thread::sleep(Duration::from_millis(10));
    }
    memory("end");
    let health = mlflow::health();
    println!(
        "logged in {:.3} s, {:.1} million a second; dropped {}, journal {} bytes",
        took.as_secs_f64(),
        (share * threads) as f64 / took.as_secs_f64() / 1e6,
        health.dropped.total(),
        health.journal_bytes
    );
    drop(run);
    println!("leaving");
}
