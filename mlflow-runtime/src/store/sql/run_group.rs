//! Writing of several runs in one transaction, each with its start, its values and its end.
//!
//! Each table is written once for all runs, in the order of its keys: a small run alone costs as many statements as a
//! thousand.

use super::connection::{SqlConnection, SqlValue};
use super::error::SqlError;
use super::log_batch::{self, RunBatch};
use super::runs;
use crate::store::{GroupedRun, NewRun, StoredRun};

/// Writes runs whose batches were checked, and returns them in the same order. A run that exists already continues with
/// what it has.
pub(in crate::store) fn write_runs(
    db: &dyn SqlConnection,
    runs: &[GroupedRun<'_>],
) -> Result<Vec<StoredRun>, SqlError> {
    let keys: Vec<&str> = runs.iter().map(|run| run.new.key).collect();
    let mut stored = runs::active_runs(db, &keys)?;
    let new: Vec<&NewRun<'_>> = { runs.iter().map(|run| &run.new) }
        .filter(|new| !stored.contains_key(new.key))
        .collect();
    let inserted = runs::insert_runs(db, &new)?;
    stored.extend({ inserted.into_iter() }.map(|run| (run.run_id.clone(), run)));
    let batches: Vec<RunBatch<'_>> = runs.iter().map(|run| (run.new.key, run.batch)).collect();
    log_batch::write_batches(db, &batches)?;
    let mut ends: Vec<(&str, &str, i64)> = { runs.iter() }
        .filter_map(|run| {
            let (status, end_time_ms) = run.end?;
            Some((run.new.key, status.as_str(), end_time_ms))
        })
        .collect();
    ends.sort_unstable();
    let ends: Vec<SqlValue<'_>> = { ends.into_iter() }
        .flat_map(|(key, status, end_time_ms)| [key.into(), status.into(), end_time_ms.into()])
        .collect();
    db.execute_many(runs::UPDATE_RUN, &ends, 3)?;
    let in_order = keys.into_iter().filter_map(|key| stored.remove(key));
    Ok(in_order.collect())
}
