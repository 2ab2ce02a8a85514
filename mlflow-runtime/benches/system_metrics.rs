//! Cost of system metrics: processor time of the sampling thread, as a share of one core.
//!
//! ```sh
//! cargo bench --features system-metrics --bench system_metrics
//! ```
//!
//! The benchmark samples at the shortest interval, and reads the time of the thread, including that spent on
//! the journal, from the kernel. At the default interval, the share is smaller in proportion. The server does
//! not answer.

use std::time::{Duration, Instant};
use std::{env, fs, thread};

use mlflow::Config;

const INTERVAL: Duration = Duration::from_millis(200);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

fn main() {
    // `--test` only checks that the benchmark works.
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
    // Work that is done once comes first: libraries are loaded, and the first reading is taken.
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

/// Returns the processor time of the sampling thread so far. The kernel keeps only 15 characters of the
/// thread's name.
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
