//! Traffic to a store that has faults: threads log numbered values at a fixed rate through the public API,
//! and measure each call. Afterwards the store must have every value once.
//!
//! Invariant: each value equals its step, so the contents of the store alone show which values are lost
//! or doubled.

use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mlflow::{Config, RunStatus};
use rusqlite::Connection;

use crate::report;

/// Number of values that a thread logs in one burst.
const BURST: i64 = 10;
/// Interval between the starts of two bursts.
const EVERY: Duration = Duration::from_millis(80);
const THREADS: usize = 2;
/// Longest time until the last values are delivered, after the faults have ended.
const DRAIN: Duration = Duration::from_secs(600);

/// Run to which the threads log.
pub(crate) struct Traffic {
    run: mlflow::ActiveRun,
    name: String,
    started: Instant,
}

/// Result of the traffic.
pub(crate) struct Logged {
    name: String,
    /// Number of calls, by thread.
    counts: Vec<i64>,
    /// Durations of all calls, in nanoseconds, sorted.
    nanos: Vec<u32>,
}

impl Traffic {
    /// Configures the process to log to `uri`, and starts the run.
    pub(crate) fn start(uri: &str, journal: &Path, name: &str) -> Self {
        static REPORTS: Once = Once::new();
        REPORTS.call_once(report::to_stderr);
        mlflow::configure(
            Config::new()
                .tracking_uri(uri)
                .experiment(name)
                .journal_dir(journal)
                .request_timeout(Duration::from_secs(2))
                .quiet(true),
        );
        let rate = THREADS as f64 * BURST as f64 / EVERY.as_secs_f64();
        println!(
            "traffic: {THREADS} threads, {rate} values/s together, in bursts of {BURST} every {EVERY:?}"
        );
        Self {
            run: mlflow::start_run().name(name).start(),
            name: name.to_owned(),
            started: Instant::now(),
        }
    }

    /// Logs on the threads while `meanwhile` runs on this thread. Then ends the run, and waits until
    /// everything is delivered.
    pub(crate) fn log_while(self, meanwhile: impl FnOnce()) -> Logged {
        let going = AtomicBool::new(true);
        let logged: Vec<Vec<u32>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (run, going) = (mlflow::Run::clone(&self.run), &going);
                    scope.spawn(move || log(&run, thread, going))
                })
                .collect();
            meanwhile();
            going.store(false, Ordering::Relaxed);
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let seconds = self.started.elapsed().as_secs_f64();
        let counts: Vec<i64> = logged
            .iter()
            .map(|nanos| i64::try_from(nanos.len()).unwrap())
            .collect();
        let waiting = mlflow::health();
        println!(
            "logged: {} calls in {seconds:.1} s; then {} values waited",
            counts.iter().sum::<i64>(),
            waiting.queued
        );
        self.run.end(RunStatus::Finished);
        let drained = Instant::now();
        let report = mlflow::flush(DRAIN);
        println!("drained in {:.1} s", drained.elapsed().as_secs_f64());
        assert!(report.complete, "{report:?}");
        let mut nanos: Vec<u32> = logged.into_iter().flatten().collect();
        nanos.sort_unstable();
        Logged {
            name: self.name,
            counts,
            nanos,
        }
    }
}

fn log(run: &mlflow::Run, thread: usize, going: &AtomicBool) -> Vec<u32> {
    let key = format!("thread/{thread}");
    let mut nanos = Vec::with_capacity(1 << 20);
    let mut next = Instant::now();
    let mut step = 0;
    while going.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            let value = step as f64;
            let before = Instant::now();
            run.log_metric_at(&key, value, step);
            nanos.push(u32::try_from(before.elapsed().as_nanos()).unwrap_or(u32::MAX));
            step += 1;
        }
        next += EVERY;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    nanos
}

impl Logged {
    /// Prints the figures. Panics unless the store has every value once.
    pub(crate) fn check(&self, database: &Connection) {
        let health = mlflow::health();
        println!(
            "health: delivered {}, retried {}, rejected {}, blocked {}, dropped {}, queued {}",
            health.delivered,
            health.retried,
            health.rejected,
            health.blocked,
            health.dropped.total(),
            health.queued
        );
        self.print_percentiles();
        let one = |query: &str, parameter: &str| -> i64 {
            database
                .query_row(query, [parameter], |row| row.get(0))
                .unwrap()
        };
        let runs = one(
            "select count(*) from runs join experiments using (experiment_id) where experiments.name = ?",
            &self.name,
        );
        let (mut lost, mut doubled, mut wrong) = (0, 0, 0);
        for (thread, count) in self.counts.iter().enumerate() {
            let key = format!("thread/{thread}");
            let points = one("select count(*) from metrics where key = ?", &key);
            let steps = one(
                "select count(distinct step) from metrics where key = ?",
                &key,
            );
            lost += count - steps;
            doubled += points - steps;
            wrong += one(
                "select count(*) from metrics where key = ? and (value <> step or step < 0)",
                &key,
            );
        }
        let status: String = database
            .query_row("select group_concat(status) from runs", [], |row| {
                row.get(0)
            })
            .unwrap();
        println!(
            "in the store: {runs} run, {status}; {lost} lost, {doubled} doubled, {wrong} wrong"
        );
        assert_eq!((runs, status.as_str()), (1, "FINISHED"));
        assert_eq!((lost, doubled, wrong), (0, 0, 0));
    }

    fn print_percentiles(&self) {
        let at = |share: f64| {
            let index = (self.nanos.len() as f64 * share) as usize;
            self.nanos[index.min(self.nanos.len() - 1)]
        };
        println!(
            "one log call, ns: p50 {}, p99 {}, p99.9 {}, max {}; of this the clock itself: p50 {}",
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
            clock_nanos()
        );
    }
}

/// Returns the median time of two readings of the clock with nothing between them, in nanoseconds.
fn clock_nanos() -> u32 {
    let mut nanos: Vec<u32> = (0..10_001)
        .map(|_| u32::try_from(Instant::now().elapsed().as_nanos()).unwrap_or(u32::MAX))
        .collect();
    nanos.sort_unstable();
    nanos[nanos.len() / 2]
}
