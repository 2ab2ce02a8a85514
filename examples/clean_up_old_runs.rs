//! Deletes runs that failed long ago and that nobody has tagged as worth keeping. Deleted runs are only hidden, so the
//! example also restores one.
//!
//! ```sh
//! cargo run --example clean_up_old_runs
//! ```
//!
//! The same from the command line: `cargo mlflow cleanup --days 30 --filter "status = 'FAILED' AND tags.keep IS NULL"`.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mlflow::blocking::Client;
use mlflow::search::{SearchRuns, ViewType, attribute, tag};
use mlflow::{RunStatus, start_run};

const EXPERIMENT: &str = "clean-up";
/// Age at which a failed run is deleted. The runs of the example have just ended; in practice this is a month.
const MAX_AGE: Duration = Duration::ZERO;

fn main() -> Result<(), Box<dyn Error>> {
    log_runs();
    let client = Client::new();
    let oldest = SystemTime::now().duration_since(UNIX_EPOCH)? - MAX_AGE;
    let oldest_ms = i64::try_from(oldest.as_millis())?;

    let is_old_failure = attribute::status().eq(RunStatus::Failed.as_str())
        & attribute::end_time().le(oldest_ms)
        & tag("keep").is_null();
    let search = SearchRuns::new()
        .experiment(EXPERIMENT)
        .filter(is_old_failure);
    // All runs are found before the first is deleted.
    let old: Vec<_> = client.search_runs(search).collect::<Result<_, _>>()?;
    for run in &old {
        println!("deleting {}", run.name);
        client.delete_run(&run.run_id)?;
    }

    let deleted = SearchRuns::new()
        .experiment(EXPERIMENT)
        .view(ViewType::DeletedOnly);
    println!("deleted runs: {}", client.search_runs(deleted).count());
    if let Some(run) = old.first() {
        client.restore_run(&run.run_id)?;
        client.set_tag(&run.run_id, "keep", true)?;
        println!("restored {}", run.name);
    }
    Ok(())
}

/// Logs two failed runs, one that is to be kept, and one that succeeded.
fn log_runs() {
    for (name, keep, status) in [
        ("out-of-memory", false, RunStatus::Failed),
        ("diverged", false, RunStatus::Failed),
        ("instructive", true, RunStatus::Failed),
        ("good", false, RunStatus::Finished),
    ] {
        let mut run = start_run().experiment(EXPERIMENT).name(name);
        if keep {
            run = run.tag("keep", true);
        }
        run.start().finish(status);
    }
    mlflow::flush(Duration::from_secs(30));
}
