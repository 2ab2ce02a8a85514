//! Writing of several runs in one transaction, each with its start, its values and its end.

use super::connection::SqlConnection;
use super::error::SqlError;
use super::{log_batch, runs};
use crate::store::{GroupedRun, StoredRun};

/// Writes runs whose batches were checked, and returns them in the same order. A run that exists already continues with
/// what it has.
pub(in crate::store) fn write_runs(
    db: &dyn SqlConnection,
    runs: &[GroupedRun<'_>],
) -> Result<Vec<StoredRun>, SqlError> {
    let write = |run: &GroupedRun<'_>| {
        let stored = runs::create_run(db, &run.new)?;
        log_batch::write_batch(db, &stored.run_id, &run.batch)?;
        if let Some((status, end_time_ms)) = run.end {
            runs::update_run(db, &stored.run_id, status, Some(end_time_ms))?;
        }
        Ok(stored)
    };
    runs.iter().map(write).collect()
}
