//! Writing of a batch: in one transaction, all or nothing.
//!
//! Readers see the latest point of a metric as a row in `latest_metrics`: the greatest of all points of the
//! metric by (step, timestamp, value). This row is computed in memory for each key, and written once per
//! batch.
//!
//! Rows are written in the order of their keys, with which the primary keys begin. In order of arrival, the points
//! of a thousand keys would go to a thousand places in the index, and each point would return to one of them. Also,
//! two writers of one run wait for each other rather than for ever.

use std::collections::HashMap;

use super::connection::{SqlConnection, SqlValue};
use super::dialect::json_list;
use super::error::SqlError;
use super::metric_row::MetricRow;
use super::query::query_all;
use super::{rows, runs};
use crate::model::{Metric, Param, Tag, tag_keys};
use crate::store::{Batch, validate};

/// Writes a batch, which was checked, to the run.
pub(in crate::store) fn write_batch(
    db: &dyn SqlConnection,
    run_id: &str,
    batch: &Batch<'_>,
) -> Result<(), SqlError> {
    runs::require_active_run(db, run_id)?;
    insert_params(db, run_id, batch.params)?;
    write_metrics(db, run_id, batch.metrics)?;
    upsert_tags(db, run_id, batch.tags)
}

fn insert_params(db: &dyn SqlConnection, run_id: &str, params: &[Param]) -> Result<(), SqlError> {
    let mut sorted: Vec<&Param> = params.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let values: Vec<SqlValue<'_>> = { sorted.iter() }
        .flat_map(|param| [run_id.into(), (&param.key).into(), (&param.value).into()])
        .collect();
    let inserted = db.execute_many(
        "INSERT INTO params (run_uuid, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        &values,
        3,
    )?;
    if inserted == params.len() as u64 {
        return Ok(());
    }
    let keys: Vec<&str> = params.iter().map(|param| param.key.as_str()).collect();
    let wanted = db.dialect().text_elements("?2");
    let stored = query_all(
        db,
        &format!("SELECT key, value FROM params WHERE run_uuid = ?1 AND key IN ({wanted})"),
        &[run_id.into(), json_list(&keys).into()],
        |row| Ok((rows::string(row, 0)?, rows::string(row, 1)?)),
    )?;
    let stored: HashMap<String, String> = stored.into_iter().collect();
    for Param { key, value } in params {
        if let Some(old) = stored.get(key).filter(|old| *old != value) {
            return Err(SqlError::Refused(validate::param_conflict_error(
                key, old, value,
            )));
        }
    }
    Ok(())
}

/// Inserts the points that the run does not have yet, and updates the latest point of each key in the batch.
fn write_metrics(db: &dyn SqlConnection, run_id: &str, metrics: &[Metric]) -> Result<(), SqlError> {
    let mut sorted: Vec<&Metric> = metrics.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    db.insert_points(run_id, &sorted)?;
    let latest: Vec<SqlValue<'_>> = sorted
        .chunk_by(|a, b| a.key == b.key)
        .flat_map(|of_key| {
            let point = latest_point(of_key);
            [
                run_id.into(),
                (&*of_key[0].key).into(),
                point.value.into(),
                point.timestamp.into(),
                point.step.into(),
                point.is_nan.into(),
            ]
        })
        .collect();
    db.execute_many(
        "INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (key, run_uuid) DO UPDATE SET
             value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan
         WHERE (excluded.step, excluded.timestamp, excluded.value)
             > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)",
        &latest,
        6,
    )?;
    Ok(())
}

/// Returns the latest point of one key, of which there is at least one.
fn latest_point(of_key: &[&Metric]) -> MetricRow {
    let mut last = MetricRow::from_metric(of_key[0]);
    for metric in of_key {
        let point = MetricRow::from_metric(metric);
        if point.is_later_than(&last) {
            last = point;
        }
    }
    last
}

fn upsert_tags(db: &dyn SqlConnection, run_id: &str, tags: &[Tag]) -> Result<(), SqlError> {
    let mut sorted: Vec<&Tag> = tags.iter().collect();
    // Tags of one key stay in the order in which they were set.
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let values: Vec<SqlValue<'_>> = { sorted.iter() }
        .flat_map(|tag| [run_id.into(), (&tag.key).into(), (&tag.value).into()])
        .collect();
    db.execute_many(
        "INSERT INTO tags (run_uuid, key, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value",
        &values,
        3,
    )?;
    let name = { tags.iter() }.rfind(|tag| tag.key == tag_keys::RUN_NAME);
    if let Some(name) = name {
        db.execute(
            "UPDATE runs SET name = ?2 WHERE run_uuid = ?1",
            &[run_id.into(), (&name.value).into()],
        )?;
    }
    Ok(())
}
