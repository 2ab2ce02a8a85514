//! What system metrics cost: processor time of the sampling thread, as a share of one core.
//!
//! ```sh
//! cargo bench --features system-metrics --bench system_metrics
//! ```
//!
//! Samples as often as it can be done and takes the thread's time from the kernel, the journal
//! included; the share at the default interval is that much smaller. The server does not answer.

use std::time::{Duration, Instant};
use std::{env, fs, thread};

use mlflow::Config;

const INTERVAL: Duration = Duration::from_millis(200);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

fn main() {
    // `--test`: only whether it works.
    let quick = env::args().any(|argument| argument == "--test");
    let samples = if quick { 2 } else { 50 };
    let folder = env::temp_dir().join(format!("mlflow-runtime-bench-{}", std::process::id()));
    mlflow::configure(
        Config::new()
            .tracking_uri("http://127.0.0.1:9")
            .journal_dir(&folder)
            .exit_timeout(Duration::ZERO)
            .quiet(true)
            .system_metrics(true)
            .system_metrics_sampling_interval(INTERVAL),
    );
    let run = mlflow::start_run().name("bench").start();
    // What is done once: libraries are loaded, the first reading is taken.
    thread::sleep(3 * INTERVAL);
    let (before, started) = (thread_time(), Instant::now());
    thread::sleep(samples * INTERVAL);
    let (used, elapsed) = (thread_time() - before, started.elapsed());
    let share = used.as_secs_f64() / elapsed.as_secs_f64();
    let sample = share * INTERVAL.as_secs_f64();
    println!("one sample    {:>8.0} µs of processor time", sample * 1e6);
    for interval in [INTERVAL, DEFAULT_INTERVAL] {
        println!(
            "every {:>4} s  {:>8.4} % of one core",
            interval.as_secs_f64(),
            sample / interval.as_secs_f64() * 100.0
        );
    }
    drop(run);
    let _ = fs::remove_dir_all(folder);
}

/// Processor time of the sampling thread so far; the kernel holds 15 characters of its name.
fn thread_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let named = |name: String| name.starts_with("mlflow-system-m");
    let time = tasks.flatten().map(|task| task.path()).find_map(|task| {
        let is_ours = fs::read_to_string(task.join("comm")).is_ok_and(named);
        let statistics = fs::read_to_string(task.join("schedstat")).ok()?;
        is_ours.then(|| statistics.split(' ').next()?.parse().ok())?
    });
    Duration::from_nanos(time.expect("the sampling thread"))
}
