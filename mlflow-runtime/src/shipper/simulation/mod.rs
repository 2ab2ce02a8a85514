//! A deterministic simulation of shippers, their journals on disk and a failing server. It runs in one
//! thread, under one seed, in a simulated time that passes only while everything waits.
//!
//! Invariants: a seed gives the same world every time, request by request. A world in which a property does
//! not hold is printed with its seed and with the fewest steps that suffice for the failure.
//!
//! The journal and its reader, the shipper's loop, and the locks of orphaned journals are the real code.
//! Simulated are the server ([`faulty_store`]), the clock, and the end of a process ([`process`]). A world is
//! one server and the processes that ship to it, driven by a [`schedule`]. Environment variables set how much
//! is tried: [`SEED_COUNT_VARIABLE`], [`FIRST_SEED_VARIABLE`], [`KEEP_GOING_VARIABLE`].

mod faulty_store;
mod process;
mod properties;
mod schedule;
mod shrinking;
mod world;

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crate::determinism::FORK_LOCK;
use crate::sync::{ignore_poison, lock};
use schedule::{Event, Schedule};

/// Variable with the number of seeds to try.
const SEED_COUNT_VARIABLE: &str = "MLFLOW_TEST_SEEDS";
/// Variable with the first seed. If only one seed is tried, everything that happens is printed.
const FIRST_SEED_VARIABLE: &str = "MLFLOW_TEST_SEED";
/// Variable that, if set, makes the test try all seeds even after a failure.
const KEEP_GOING_VARIABLE: &str = "MLFLOW_TEST_KEEP_ON";
/// Number of seeds if no variable sets it: few enough to keep the unit tests quick.
const DEFAULT_SEED_COUNT: u64 = 300;
/// Interval of the seeds that are tried twice. The second run has to proceed exactly like the first.
const REPEAT_INTERVAL: u64 = 20;

fn read_number_variable(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// What the worlds of all seeds have gone through.
#[derive(Default)]
struct Coverage {
    /// Number of groups of runs that were stored.
    groups: AtomicUsize,
    /// Number of requests for values that were carried out while others of the same run were in flight.
    beside_own_run: AtomicUsize,
    /// The same, while others of another run were in flight.
    beside_other_runs: AtomicUsize,
    /// Number of files with points that were left out of the metrics.
    points_files: AtomicUsize,
}

/// Tries one seed, and adds to `coverage`. Returns the text that describes its failure, if it fails.
fn try_seed(seed: u64, is_logged: bool, coverage: &Coverage) -> Option<String> {
    let schedule = Schedule::new(seed);
    let outcome = world::run_world(&schedule, is_logged);
    let Coverage {
        groups,
        beside_own_run,
        beside_other_runs,
        points_files,
    } = coverage;
    groups.fetch_add(outcome.groups, Ordering::Relaxed);
    beside_own_run.fetch_add(outcome.beside_own_run, Ordering::Relaxed);
    beside_other_runs.fetch_add(outcome.beside_other_runs, Ordering::Relaxed);
    points_files.fetch_add(outcome.points_files, Ordering::Relaxed);
    for line in &outcome.log {
        println!("{line}");
    }
    if let Some(failure) = &outcome.failure {
        let (schedule, failure) = shrinking::shrink(&schedule, failure);
        let (property, text) = (failure.property, failure.text);
        return Some(format!("{property}: {text}\n{schedule}"));
    }
    if seed.is_multiple_of(REPEAT_INTERVAL) {
        let again = world::run_world(&schedule, false);
        if again.trace != outcome.trace {
            return Some(format!("it does not go the same way again\n{schedule}"));
        }
    }
    None
}

#[test]
fn nothing_is_lost_and_nothing_is_held_up_whatever_fails() {
    let _no_forks = ignore_poison(FORK_LOCK.read());
    let seeds = read_number_variable(SEED_COUNT_VARIABLE).unwrap_or(DEFAULT_SEED_COUNT);
    let first = read_number_variable(FIRST_SEED_VARIABLE).unwrap_or(1);
    let next = AtomicU64::new(first);
    let has_failed = AtomicBool::new(false);
    let failures = Mutex::new(Vec::new());
    let coverage = Coverage::default();
    let keeps_on = env::var(KEEP_GOING_VARIABLE).is_ok();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_over = has_failed.load(Ordering::Relaxed) && !keeps_on;
                    if seed >= first + seeds || is_over {
                        return;
                    }
                    if let Some(failure) = try_seed(seed, seeds == 1, &coverage) {
                        has_failed.store(true, Ordering::Relaxed);
                        lock(&failures).push(failure);
                    }
                }
            });
        }
    });
    let failures = lock(&failures);
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    let Coverage {
        groups,
        beside_own_run,
        beside_other_runs,
        points_files,
    } = coverage;
    let groups = groups.into_inner();
    let (own, others) = (beside_own_run.into_inner(), beside_other_runs.into_inner());
    let files = points_files.into_inner();
    println!(
        "{groups} groups of runs, {own} requests beside others of their run and {others} beside those of another, \
         {files} files of points"
    );
    assert!(
        groups > 0 || seeds < DEFAULT_SEED_COUNT,
        "no runs went together"
    );
    assert!(
        own.min(others) > 0 || seeds < DEFAULT_SEED_COUNT,
        "no requests were in flight at once"
    );
    assert!(
        files > 0 || seeds < DEFAULT_SEED_COUNT || !cfg!(feature = "thinning"),
        "no points were left out"
    );
}
