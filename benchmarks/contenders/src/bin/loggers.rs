//! Cost of a call that logs one number with its step: `loggers NAME CALLS PAUSE [kill | count]`.
//!
//! `NAME` is one of [`LOGGERS`]. The calls are timed a thousand at a time, with a pause of `PAUSE` microseconds after each
//! thousand, and the program prints the nanoseconds of a call as the median of all thousands. With `kill`, the program kills itself as soon as the last call has returned. With `count`, it
//! prints how many of the values are still there.

use std::env;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use commitlog::message::MessageSet;
use commitlog::{CommitLog, LogOptions, ReadLimit};
use mlflow::journals::EntryValue;
use rustix::process::{Signal, getpid, kill_process};
use ticklog::FileSink;
use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus, disable_fd_backend};

#[path = "../../../../mlflow-runtime/benches/reference/mod.rs"]
mod reference;

/// Number of calls that are timed together.
const BATCH: i64 = 1000;

/// Contenders, with the functions that log in the current directory.
const LOGGERS: [(&str, fn(&Work)); 5] = [
    ("mapped-append", mapped_append),
    ("mlflow-runtime", mlflow_runtime),
    ("ticklog", ticklog),
    ("walrus", walrus),
    ("commitlog", commitlog),
];

/// File of ticklog, topic of walrus, and directory of commitlog.
const PLACE: &str = "points";

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [name, calls, pause, mode @ ..] = &arguments[..] else {
        panic!("loggers NAME CALLS PAUSE [kill | count]");
    };
    let work = Work {
        calls: calls.parse().expect("a number of calls"),
        pause: Duration::from_micros(pause.parse().expect("a number of microseconds")),
        is_killed: mode == ["kill"],
    };
    if mode == ["count"] {
        println!("{}", count(name));
        return;
    }
    let (_, run) = { LOGGERS.iter() }
        .find(|(known, _)| known == name)
        .expect("a known logger");
    run(&work);
}

/// What a logger has to do.
struct Work {
    calls: i64,
    pause: Duration,
    is_killed: bool,
}

impl Work {
    /// Times the calls, kills the process if it is to be killed, and prints the median.
    fn time(&self, mut call: impl FnMut(i64)) {
        let mut batches = Vec::new();
        for batch in 0..self.calls / BATCH {
            let started = Instant::now();
            for step in batch * BATCH..(batch + 1) * BATCH {
                call(black_box(step));
            }
            batches.push(started.elapsed());
            if !self.pause.is_zero() {
                thread::sleep(self.pause);
            }
        }
        if self.is_killed {
            let _ = kill_process(getpid(), Signal::KILL);
        }
        batches.sort_unstable();
        let median = batches.get(batches.len() / 2).copied().unwrap_or_default();
        println!("{}", median.as_nanos() as f64 / BATCH as f64);
    }
}

fn mapped_append(work: &Work) {
    let mut mapped = reference::MappedAppend::below(Path::new("."));
    work.time(|step| mapped.append(step));
}

fn mlflow_runtime(work: &Work) {
    // No server listens, so the values stay in the journal, and no other work competes for the processor.
    mlflow::configure(
        mlflow::Config::new()
            .tracking_uri("http://127.0.0.1:9")
            .exit_timeout(Duration::ZERO)
            .quiet(true),
    );
    let _run = mlflow::start_run!().start();
    work.time(|step| mlflow::metric!("loss", 0.5, step = step));
}

fn ticklog(work: &Work) {
    let guard = ticklog::configure! {
        sink: FileSink::new(PLACE).expect("a file"),
        backpressure: ticklog::Backpressure::Block,
    };
    let _guard = guard.expect("a configuration");
    work.time(|step| ticklog::info!("loss {} {}", step, 0.5));
}

/// Returns the 40 bytes of a record: as many as mlflow-runtime's journal has for a point.
fn record(step: i64) -> [u8; 40] {
    let mut record = [1; 40];
    record[24..32].copy_from_slice(&step.to_le_bytes());
    record
}

fn open_walrus() -> Walrus {
    disable_fd_backend();
    Walrus::with_consistency_and_schedule(ReadConsistency::StrictlyAtOnce, FsyncSchedule::NoFsync)
        .expect("a log")
}

fn walrus(work: &Work) {
    let log = open_walrus();
    work.time(|step| {
        log.append_for_topic(PLACE, &record(step)).expect("room");
    });
}

fn open_commitlog() -> CommitLog {
    let mut options = LogOptions::new(PLACE);
    options.index_max_items(20_000_000);
    CommitLog::new(options).expect("a log")
}

fn commitlog(work: &Work) {
    let mut log = open_commitlog();
    work.time(|step| {
        log.append_msg(record(step)).expect("room");
    });
}

/// Returns the number of values that a logger has kept in the current directory.
fn count(name: &str) -> usize {
    match name {
        "ticklog" => fs::read_to_string(PLACE).map_or(0, |text| text.lines().count()),
        "walrus" => {
            let log = open_walrus();
            std::iter::from_fn(|| log.read_next(PLACE, true).ok().flatten()).count()
        }
        "commitlog" => {
            let log = open_commitlog();
            let (mut next, mut found) = (0, 0);
            while let Ok(messages) = log.read(next, ReadLimit::max_bytes(1 << 20))
                && let Some(last) = messages.iter().last().map(|message| message.offset())
            {
                found += messages.len();
                next = last + 1;
            }
            found
        }
        "mlflow-runtime" => mlflow::journals::find(&mlflow::Config::new())
            .expect("a directory of journals")
            .iter()
            .filter_map(|journal| journal.entries().ok())
            .flatten()
            .filter(|entry| matches!(entry.value, EntryValue::Point(_)))
            .count(),
        _ => 0,
    }
}
