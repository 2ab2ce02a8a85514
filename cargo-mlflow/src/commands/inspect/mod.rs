//! `inspect`: what a run logs, record by record, or its present state as one record.
//!
//! Invariant: each point is printed once, although it may be read from a journal first and from the store later.

mod records;
mod summary;

use std::thread;
use std::time::{Duration, Instant};

use mlflow::Config;
use mlflow::blocking::Client;

use crate::arguments::Inspect;
use crate::failure::Failure;
use crate::live::{Live, LiveChoice, LiveRun, Reading};
use crate::output::table::shorten;
use crate::output::waiting::Waiting;
use crate::output::{Output, printable};
use crate::selection::list_metrics;
use records::Records;
use summary::Summary;

/// Longest wait for the first answer of the store.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two looks at the journal.
const POLL_PAUSE: Duration = Duration::from_millis(50);
/// Greatest number of characters of a name in an error.
const MAX_NAME_CHARS: usize = 60;
/// Least time between two summaries.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(1);

/// Prints what a run logs, or its state.
pub(crate) fn run(
    config: &Config,
    is_store_named: bool,
    output: Output,
    options: &Inspect,
) -> Result<(), Failure> {
    let runs = [options.run.clone()];
    let choice = LiveChoice {
        runs: &runs,
        newest: 1,
        experiments: &options.experiment,
        reading: if options.summary {
            Reading::Points
        } else {
            Reading::NewPoints
        },
        takes_any_destination: !is_store_named,
    };
    let waiting = Waiting::watch(output, Client::with_config(config.clone()).uri());
    let mut live = choice.find(config)?;
    drop(waiting);
    let short_name = |run: &LiveRun| shorten(&run.name, MAX_NAME_CHARS);
    let named: Vec<String> = live.runs().iter().map(short_name).collect();
    if named.len() > 1 {
        let names = named.join(", ");
        return Err(Failure::Ambiguous(format!(
            "the journal {} holds several runs; name one of them: {names}",
            options.run
        )));
    }
    live.set_wants_console(options.summary);
    live.load(Instant::now() + LOAD_TIMEOUT)?;
    let is_in_journal = live.runs().iter().any(LiveRun::is_in_journal);
    if live.is_loading() && !is_in_journal {
        return Err(Failure::Unavailable(format!(
            "the store has not answered within {} seconds",
            LOAD_TIMEOUT.as_secs()
        )));
    }
    warn_of_store(&live, output);
    if options.summary {
        follow(&mut live, options, SUMMARY_INTERVAL, |live| {
            let error = live.store_error().map(ToString::to_string);
            for run in live.runs() {
                Summary::new(run, error.clone(), options).write(output, options.follow)?;
            }
            Ok(())
        })?;
    } else {
        let mut records = Records::new(options);
        follow(&mut live, options, Duration::ZERO, |live| {
            records.write(live, output)
        })?;
    }
    let Some(run) = live.runs().first() else {
        return Ok(());
    };
    if options.exit_status && !run.state().is_success() {
        return Err(Failure::NotFinished(format!(
            "the run {} is {}",
            shorten(&run.name, MAX_NAME_CHARS),
            run.state().as_str()
        )));
    }
    check_metrics(run, options, output)
}

/// Fails if the run has none of the chosen metrics. A line tells of single metrics that it does not have.
fn check_metrics(run: &LiveRun, options: &Inspect, output: Output) -> Result<(), Failure> {
    let is_missing = |key: &&String| !run.series.contains_key(key.as_str());
    let missing: Vec<String> = { options.metrics.iter() }
        .filter(is_missing)
        .map(|key| format!("`{key}`"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "the run {} does not have the metric {}: {}",
        shorten(&run.name, MAX_NAME_CHARS),
        missing.join(" or "),
        list_metrics("the run has", run.series.keys().map(|key| &**key))
    );
    if missing.len() < options.metrics.len() {
        output.remark(text);
        return Ok(());
    }
    Err(Failure::NotFound(text))
}

/// Calls `write` now and, with `--follow`, after each change until the run has ended.
fn follow(
    live: &mut Live,
    options: &Inspect,
    interval: Duration,
    mut write: impl FnMut(&mut Live) -> Result<(), Failure>,
) -> Result<(), Failure> {
    write(live)?;
    if !options.follow {
        return Ok(());
    }
    let mut last_change = Instant::now();
    let mut last_write = Instant::now();
    let mut has_changed = false;
    loop {
        let is_over = live.is_over();
        if live.poll() {
            has_changed = true;
            last_change = Instant::now();
        }
        if has_changed && (is_over || last_write.elapsed() >= interval) {
            write(live)?;
            has_changed = false;
            last_write = Instant::now();
        }
        if is_over {
            return Ok(());
        }
        if { options.idle_timeout }.is_some_and(|limit| last_change.elapsed() >= limit) {
            return Err(Failure::Idle(format!(
                "nothing new has come for {} s: the run may be stalled, or waits for something",
                last_change.elapsed().as_secs()
            )));
        }
        thread::sleep(POLL_PAUSE);
    }
}

/// Tells that only a journal is read, as the store does not answer.
fn warn_of_store(live: &Live, output: Output) {
    if !live.has_store() {
        output.remark(
            "only what waits in the journal is shown, as its store is not the configured one: see --tracking-uri",
        );
    }
    if let Some(error) = live.store_error() {
        output.remark(format_args!(
            "only what the journal holds is shown, as the store does not answer: {}",
            printable(&error.to_string())
        ));
    }
}
