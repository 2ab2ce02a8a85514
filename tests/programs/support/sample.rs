//! Runs of every kind, logged through the public interface. The file is a module, not a program: the program
//! `sampled` logs the runs to a store, and the test `client_conformance` logs them to a fake.
//!
//! Invariants: the names of the runs are unique, and no two runs start or end at the same time.

use std::time::{Duration, UNIX_EPOCH};

use mlflow::{ActiveRun, RunBuilder, RunStatus, start_run};

const TEXTS: [&str; 8] = [
    "plain",
    "PLAIN",
    "it's",
    "say \"hi\"",
    "back\\slash 100%",
    "under_score",
    "ünï 日本 🦀",
    "x",
];
const RATES: [&str; 7] = ["0.1", "1e-3", "-5", "10", "9", "abc", "nan"];

/// Time within which the clock that stamps runs moves on: it has the steps of the kernel's timer.
const CLOCK_STEP: Duration = Duration::from_millis(11);

/// Waits until the clock has moved on, so that what follows has another time than what was before.
fn wait_for_clock() {
    let now = || UNIX_EPOCH.elapsed().expect("a clock after 1970");
    let begun = now();
    while now() < begun + CLOCK_STEP {
        std::thread::yield_now();
    }
}

fn start(builder: RunBuilder) -> ActiveRun {
    let run = builder.start();
    wait_for_clock();
    run
}

fn finish(run: ActiveRun, status: RunStatus) {
    run.finish(status);
    wait_for_clock();
}

/// Logs all runs.
pub(crate) fn log() {
    for index in 0..14_usize {
        let experiment = ["first", "second / ü"][index % 2];
        let mut builder = start_run()
            .experiment(experiment)
            .name(format!("sample-{index:02}"));
        if index % 7 != 6 {
            builder = builder.param("lr", RATES[index % RATES.len()]);
        }
        if index % 5 != 4 {
            builder = builder.tag("note", TEXTS[index % TEXTS.len()]);
        }
        let run = start(builder.param("odd key/a-b.c", TEXTS[(index + 3) % TEXTS.len()]));
        for step in -2..3_i32 {
            if index % 4 != 3 {
                run.log_metric_at(
                    "loss",
                    f64::from(step) / 4.0 + [0.5, 0.0, 0.5, 0.0][index % 4],
                    step,
                );
            }
            run.log_metric_at(
                "val/loss",
                if index % 3 == 2 { f64::NAN } else { 0.1 + 0.2 },
                step,
            );
        }
        if index == 0 {
            run.log_metric_at("late", 1.0, 7);
            run.log_metric_at("late", 2.0, 3);
            run.log_text("text", "folder/a.txt");
            run.log_text("", "empty.txt");
            run.log_text("ü", "folder/deep/ünï.txt");
            for child in 0..3 {
                let builder = start_run().nested(true).name(format!("child-{child}"));
                finish(start(builder.tag("note", "plain")), RunStatus::Finished);
            }
        }
        let statuses = [RunStatus::Finished, RunStatus::Failed, RunStatus::Killed];
        finish(run, statuses[index % 3]);
    }
}
