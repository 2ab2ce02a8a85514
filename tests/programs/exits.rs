//! Program that logs to a run and ends in one of many ways: `exits HOW`.

#[path = "support/report.rs"]
mod report;

use std::env;
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use mlflow::tracked;
use rayon::prelude::*;

const POINTS: i64 = 1000;

#[tracked(experiment = "exits", run_name = "{how}")]
fn train(how: &str) -> Result<(), String> {
    for step in 0..POINTS {
        mlflow::metric!("loss", step, step = step);
    }
    match how {
        "exit inside" => process::exit(3),
        "panic" => panic!("on purpose"),
        "error" => Err("on purpose".to_owned()),
        _ => Ok(()),
    }
}

#[tracked(experiment = "exits", run_name = "{how}")]
async fn train_async(how: &str) -> Result<(), String> {
    for step in 0..POINTS {
        mlflow::metric!("loss", step, step = step);
        if step % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    if how == "flush in a runtime" {
        assert!(mlflow::flush(Duration::from_secs(60)).complete);
    }
    Ok(())
}

fn on_a_runtime(how: &str) -> Result<(), String> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| error.to_string())?
        .block_on(train_async(how))
}

/// Thread-local value that logs a metric when it is destroyed with its thread.
struct Late(mlflow::Run);

impl Drop for Late {
    fn drop(&mut self) {
        self.0.log_metric("late", 1.0);
    }
}

thread_local! {
    static LATE: std::cell::OnceCell<Late> = const { std::cell::OnceCell::new() };
}

fn main() -> ExitCode {
    report::to_stderr();
    let how = env::args().nth(1).expect("exits HOW");
    let outcome = match how.as_str() {
        "runtime" | "flush in a runtime" => on_a_runtime(&how),
        "exit on a thread" => {
            thread::spawn(move || {
                let _ = train(&how);
                process::exit(3)
            });
            loop {
                thread::park();
            }
        }
        // The threads of rayon's global pool live on after they have logged.
        "rayon" => {
            let run = mlflow::start_run().experiment("exits").name(&how).start();
            let shared = (*run).clone();
            (0..POINTS).into_par_iter().for_each(|step| {
                shared.log_metric_at("loss", 0.5, step);
            });
            drop(run);
            Ok(())
        }
        "thread-local" => {
            let run = mlflow::start_run().experiment("exits").name(&how).start();
            LATE.with(|late| {
                late.get_or_init(|| Late((*run).clone()))
                    .0
                    .log_metric("loss", 1.0);
            });
            Ok(())
        }
        "shutdown" => {
            let outcome = train(&how);
            assert!(mlflow::shutdown(Duration::from_secs(60)).complete);
            // Logging still works after a shutdown.
            outcome.and_then(|()| train(&how))
        }
        _ => train(&how),
    };
    if outcome.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    }
}
