//! Program that prints on stdout and stderr in runs: `printed HOW`.
//!
//! | HOW | |
//! |---|---|
//! | `runs` | two runs, one after the other; the first has a child run |
//! | `waits` | a run that waits for a line on stdin |
//! | `leaks` | the same, after the run has printed secrets |
//! | `halves` | a run that prints a secret in two halves, waits for a line on stdin before and after a flush in between |
//! | `aborts`, `panics` | a run in which the process aborts or panics |
//! | `BYTES` | a run that prints that many bytes, waits for a line on stdin and ends |
//! | `second` | two runs, the second of which aborts the process |
//! | `many BYTES` | ten runs that print that many bytes each |
//! | `forks` | a child that prints until its output has no reader, then makes the file `met` |

use std::fs;
use std::io::{self, Write as _};
use std::process::{self, Command};

use fork::{Fork, fork};
use mlflow::tracked;
use tracing_subscriber::prelude::*;

#[tracked(run_name = "first")]
fn first() {
    println!("first on stdout");
    eprintln!("first on stderr");
    tracing::info!("a line of the layer");
    println!("token {}", ["gh", "p_", &"Fake1".repeat(8)].concat());
    let echo = Command::new("sh")
        .args(["-c", "echo from a subprocess"])
        .status();
    assert!(echo.is_ok_and(|status| status.success()));
    nested();
    println!("bytes as they are:");
    io::stdout().write_all(b"\xff\0\n").expect("stdout");
}

#[tracked(run_name = "nested")]
fn nested() {
    println!("nested");
    tracing::info!("a line of the child");
}

#[tracked(run_name = "second")]
fn second() {
    println!("second");
}

#[tracked(run_name = "one")]
fn one(how: &str) {
    println!("begins");
    match how {
        "waits" => line(),
        "leaks" => {
            println!("password=hunter2 rows=3");
            eprintln!("a key of ours: ACME-0123ABCD");
            println!("printed");
            line();
            print!("api_key=hunter3");
            io::stdout().flush().expect("stdout");
        }
        "halves" => {
            let token = ["gh", "p_", &"Fake1".repeat(8)].concat();
            print!("more\nkey {}", &token[..12]);
            io::stdout().flush().expect("stdout");
            line();
            assert!(mlflow::flush(std::time::Duration::from_secs(60)).complete);
            fs::write("flushed", "").expect("a file");
            line();
            println!("{} end", &token[12..]);
        }
        "aborts" => {
            print!("the last words");
            io::stdout().flush().expect("stdout");
            process::abort();
        }
        "panics" => panic!("as it was to"),
        _ => {
            let bytes: usize = how.parse().expect("a number");
            for number in 0..bytes / 10 {
                println!("{number:9}");
            }
            eprintln!("printed");
            line();
            println!("ends");
        }
    }
}

fn line() {
    io::stdin().read_line(&mut String::new()).expect("a line");
}

/// Prints a line in a run, ends the run, and delivers it. In the run `second`, aborts before the run ends.
fn start(name: &str) {
    let run = mlflow::start_run().name(name).start();
    println!("of the {name}");
    if name == "second" {
        process::abort();
    }
    drop(run);
    assert!(mlflow::flush(std::time::Duration::from_secs(60)).complete);
}

fn main() {
    let warnings = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_filter(tracing::level_filters::LevelFilter::WARN);
    tracing_subscriber::registry()
        .with(warnings)
        .with(mlflow::layer())
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [how] if how == "runs" => {
            first();
            // Output between the runs belongs to the first run, which this flush delivers nevertheless.
            assert!(mlflow::flush(std::time::Duration::from_secs(60)).complete);
            second();
        }
        [how] if how == "second" => {
            start("first");
            start("second");
        }
        [how] if how == "forks" => {
            let _run = mlflow::start_run().start();
            println!("begins");
            if let Fork::Child = fork().expect("a child") {
                while writeln!(io::stdout(), "{}", "x".repeat(1000)).is_ok() {}
                fs::write("met", "").expect("a file");
            }
        }
        [many, bytes] if many == "many" => {
            let bytes: usize = bytes.parse().expect("a number");
            for number in 0..10 {
                let name = format!("run-{number}");
                let _run = mlflow::start_run().name(&name).start();
                println!("{}", "x".repeat(bytes));
                println!("{name}");
            }
        }
        [how] => one(how),
        _ => panic!("printed HOW"),
    }
}
