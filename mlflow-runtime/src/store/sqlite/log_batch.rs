//! Writing of a batch: in one transaction, all or nothing.
//!
//! Readers see the latest point of a metric as a row in `latest_metrics`: the greatest of all points of the
//! metric by (step, timestamp, value). This row is computed in memory for each key, and written once per
//! batch.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::error::SqliteError;
use super::{Batch, runs, validate};
use crate::model::tag_keys;
use crate::model::{Metric, Param, Tag};

/// Cache of pages while a batch is written, in KiB, all of which is used only if a batch needs it: a batch of
/// ten thousand keys changes as many pages of an index. Pages that do not fit are written before the commit,
/// and from then on nobody else can even read the file.
const CACHE_KIB: i64 = 65_536;

/// Writes the batch to the run, in one transaction.
pub(super) fn write_batch(
    db: &mut Connection,
    run_id: &str,
    batch: &Batch<'_>,
) -> Result<(), SqliteError> {
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    runs::require_active_run(&transaction, run_id)?;
    insert_params(&transaction, run_id, batch.params)?;
    write_metrics(&transaction, run_id, batch.metrics)?;
    upsert_tags(&transaction, run_id, batch.tags)?;
    transaction.commit()?;
    Ok(())
}

fn insert_params(
    transaction: &Transaction<'_>,
    run_id: &str,
    params: &[Param],
) -> Result<(), SqliteError> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO params (run_uuid, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    let mut select =
        transaction.prepare_cached("SELECT value FROM params WHERE run_uuid = ?1 AND key = ?2")?;
    for param in params {
        if insert.execute((run_id, &param.key, &param.value))? == 1 {
            continue;
        }
        let old: Option<String> = select
            .query_row((run_id, &param.key), |row| row.get(0))
            .optional()?;
        if let Some(old) = old.filter(|old| *old != param.value) {
            return Err(SqliteError::Refused(validate::param_conflict_error(
                &param.key,
                &old,
                &param.value,
            )));
        }
    }
    Ok(())
}

/// Metric point as the columns hold it.
#[derive(Clone, Copy)]
pub(super) struct MetricRow {
    pub(super) step: i64,
    pub(super) timestamp: i64,
    pub(super) value: f64,
    pub(super) is_nan: bool,
}

impl MetricRow {
    pub(super) fn from_metric(metric: &Metric) -> Self {
        let is_nan = metric.value.is_nan();
        // No column can hold a NaN, and MLflow stores an infinity as the largest finite value.
        let value = if is_nan {
            0.0
        } else {
            metric.value.clamp(f64::MIN, f64::MAX)
        };
        Self {
            step: metric.step,
            timestamp: metric.timestamp_ms,
            value,
            is_nan,
        }
    }

    fn is_later_than(&self, other: &Self) -> bool {
        (self.step, self.timestamp, self.value) > (other.step, other.timestamp, other.value)
    }
}

fn write_metrics(
    transaction: &Transaction<'_>,
    run_id: &str,
    metrics: &[Metric],
) -> Result<(), SqliteError> {
    let latest = insert_points(transaction, run_id, metrics)?;
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (key, run_uuid) DO UPDATE SET
             value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan
         WHERE (excluded.step, excluded.timestamp, excluded.value)
             > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)",
    )?;
    for (key, point) in latest {
        upsert.execute((
            run_id,
            key,
            point.value,
            point.timestamp,
            point.step,
            point.is_nan,
        ))?;
    }
    Ok(())
}

/// Inserts the points that the run does not have yet, and returns the latest point of each key in the batch.
///
/// The points are inserted in the order of their keys, as the index of the table begins with the key. In
/// order of arrival, the points of a thousand keys would go to a thousand places in the index, and each point
/// would return to one of them.
fn insert_points<'a>(
    transaction: &Transaction<'_>,
    run_id: &str,
    metrics: &'a [Metric],
) -> Result<Vec<(&'a str, MetricRow)>, SqliteError> {
    let mut sorted: Vec<&Metric> = metrics.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut insert = transaction.prepare_cached(
        "INSERT OR IGNORE INTO metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    // Bindings outlive an execution: the run is bound only once, and each key only once.
    insert.raw_bind_parameter(1, run_id)?;
    let mut latest = Vec::new();
    for of_key in sorted.chunk_by(|a, b| a.key == b.key) {
        let key = &*of_key[0].key;
        insert.raw_bind_parameter(2, key)?;
        let mut last = MetricRow::from_metric(of_key[0]);
        for metric in of_key {
            let point = MetricRow::from_metric(metric);
            insert.raw_bind_parameter(3, point.value)?;
            insert.raw_bind_parameter(4, point.timestamp)?;
            insert.raw_bind_parameter(5, point.step)?;
            insert.raw_bind_parameter(6, point.is_nan)?;
            insert.raw_execute()?;
            if point.is_later_than(&last) {
                last = point;
            }
        }
        latest.push((key, last));
    }
    Ok(latest)
}

fn upsert_tags(
    transaction: &Transaction<'_>,
    run_id: &str,
    tags: &[Tag],
) -> Result<(), SqliteError> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO tags (run_uuid, key, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value",
    )?;
    for tag in tags {
        upsert.execute((run_id, &tag.key, &tag.value))?;
        if tag.key == tag_keys::RUN_NAME {
            transaction
                .prepare_cached("UPDATE runs SET name = ?2 WHERE run_uuid = ?1")?
                .execute((run_id, &tag.value))?;
        }
    }
    Ok(())
}
