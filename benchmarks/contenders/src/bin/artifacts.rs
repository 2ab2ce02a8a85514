//! mlflow-runtime with artifacts: `artifacts URI file PATH`, `artifacts URI folder PATH`, `artifacts URI images COUNT`.
//!
//! Prints how long the logging thread was blocked, how long it took until the store had everything, and by how much the
//! greatest resident memory grew meanwhile. For images: the median of a call, and of writing the same bytes to a file.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(1800);
/// Width and height of an image, in pixels.
const SIDE: u32 = 512;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [uri, kind, what] = &arguments[..] else {
        panic!("artifacts URI file|folder|images PATH|COUNT");
    };
    mlflow::configure(mlflow::Config::new().tracking_uri(uri).quiet(true));
    // Experiment and run are there before the clock starts, as they are for the reference.
    let run = mlflow::start_run().name("artifacts").start();
    assert!(mlflow::flush(PATIENCE).complete);
    let before = peak_kib();
    let begun = Instant::now();
    let mut report = match kind.as_str() {
        "file" => timed(|| mlflow::log_artifact(what)),
        "folder" => timed(|| mlflow::log_artifacts(what)),
        _ => images(what.parse().expect("COUNT is a number")),
    };
    assert!(mlflow::flush(PATIENCE).complete);
    report["delivered_s"] = json!(begun.elapsed().as_secs_f64());
    report["grown_mib"] = json!((peak_kib() - before) as f64 / 1024.0);
    println!("{report}");
    drop(run);
}

fn timed(call: impl FnOnce()) -> Value {
    let begun = Instant::now();
    call();
    json!({ "blocked_s": begun.elapsed().as_secs_f64() })
}

fn images(count: i64) -> Value {
    let (mut calls, mut writes) = (Vec::new(), Vec::new());
    for step in 0..count {
        let pixels = (0..SIDE * SIDE * 3).map(|at| (i64::from(at) * (step + 1) / 64) as u8);
        let pixels: Vec<u8> = pixels.collect();
        let begun = Instant::now();
        fs::write(Path::new("pixels.bin"), &pixels).expect("the folder");
        writes.push(begun.elapsed());
        let image = mlflow::Image::rgb(SIDE, SIDE, pixels);
        let begun = Instant::now();
        mlflow::log_image_at(image, "samples", step);
        calls.push(begun.elapsed());
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    json!({ "call_ms": median(calls), "write_ms": median(writes) })
}

/// Returns the greatest resident memory so far.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).expect("a number")
}
