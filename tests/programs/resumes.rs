//! Program that continues its last run: `resumes EPOCHS [abort | wait]`. Logs one point and one checkpoint for each epoch,
//! behind those of the run that it continues. Prints `resumed at EPOCH with CHECKPOINT`, or `new`. With `abort`, the
//! process dies at the end without a word; with `wait`, it delivers everything, prints `logged`, and stays.

use std::time::Duration;
use std::{env, fs, process, thread};

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let epochs: i64 = arguments[1].parse().expect("EPOCHS is a number");
    let resume = mlflow::start_run()
        .experiment("resumed")
        .name("fit")
        .resume_last();
    let first = match resume.last() {
        Some(last) => last.metrics["loss"].step + 1,
        None => 0,
    };
    match resume.download_checkpoint("restored") {
        Ok(Some(path)) => {
            let content = fs::read_to_string(path.join("weights.txt")).expect("a checkpoint");
            println!("resumed at {first} with {content}");
        }
        Ok(None) => println!("new"),
        Err(error) => println!("no checkpoint: {error}"),
    }
    let run = resume.start();
    for epoch in first..first + epochs {
        run.log_metric_at("loss", 1.0 / (epoch + 1) as f64, epoch);
        run.log_text(
            &format!("weights of {epoch}"),
            &format!("checkpoints/epoch-{epoch}/weights.txt"),
        );
    }
    match arguments.get(2).map(String::as_str) {
        Some("abort") => process::abort(),
        Some("wait") => {
            mlflow::flush(Duration::from_secs(60));
            println!("logged");
            // The test ends the process.
            loop {
                thread::park();
            }
        }
        _ => {}
    }
}
