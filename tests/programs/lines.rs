//! Program that logs lines through `tracing` in a run: `lines THREADS LINES HOW`.
//!
//! Each of THREADS threads logs LINES lines. Then the program prints `logged` and waits for a line on
//! stdin, after which each thread logs as many lines again. HOW is one of:
//!
//! - `run`: nothing else happens.
//! - `forks`: after the first lines, a forked child logs a line, too.
//! - `exits`: the process exits inside the run.

use std::{env, io, process, thread};

use fork::{Fork, fork, waitpid};
use mlflow::tracked;
use tracing::level_filters::LevelFilter;
use tracing::{debug, info, info_span, trace};
use tracing_subscriber::prelude::*;

#[tracked(run_name = "lines")]
fn talk(threads: usize, lines: usize, how: &str) {
    trace!("begins");
    mlflow::metric!("loss", 0.5);
    say(threads, 0..lines);
    if how == "forks" {
        match fork().expect("a child") {
            Fork::Child => {
                info!("the child says something");
                process::exit(0);
            }
            Fork::Parent(id) => {
                waitpid(id).expect("the child ends");
            }
        }
    }
    println!("logged");
    let _ = io::stdin().read_line(&mut String::new());
    say(threads, lines..2 * lines);
    if how == "exits" {
        process::exit(0);
    }
    mlflow::metric!("loss", 0.25, step = 1);
    debug!("ends");
}

fn say(threads: usize, lines: std::ops::Range<usize>) {
    let run = mlflow::Run::current();
    thread::scope(|scope| {
        for thread in 0..threads {
            let (run, lines) = (run.clone(), lines.clone());
            scope.spawn(move || {
                let all = || {
                    let _span = info_span!("thread").entered();
                    lines.for_each(|line| info!(thread, line, "says"));
                };
                match run {
                    Some(run) => run.scope(all),
                    None => all(),
                }
            });
        }
    });
}

fn main() {
    let warnings = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_filter(LevelFilter::WARN);
    // Every level goes to the console log, so that events of the HTTP client are included.
    let layer = mlflow::layer().console(LevelFilter::TRACE);
    tracing_subscriber::registry()
        .with(warnings)
        .with(layer)
        .init();
    let arguments: Vec<String> = env::args().collect();
    let [_, threads, lines, how] = &arguments[..] else {
        panic!("lines THREADS LINES HOW");
    };
    talk(
        threads.parse().expect("a number"),
        lines.parse().expect("a number"),
        how,
    );
    println!("dropped {}", mlflow::health().dropped.total());
}
