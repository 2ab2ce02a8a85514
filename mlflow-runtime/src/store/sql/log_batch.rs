//! Writing of batches: in one transaction, all or nothing.
//!
//! Readers see the latest point of a metric as a row in `latest_metrics`: the greatest of all points of the
//! metric by (step, timestamp, value). This row is computed in memory for each key, and written once per
//! batch.
//!
//! Rows of all runs are written in the order of their keys, with which the primary keys begin. In order of arrival, the points
//! of a thousand keys would go to a thousand places in the index, and each point would return to one of them. Also,
//! two writers of one run wait for each other rather than for ever.

use std::collections::HashMap;

use super::connection::{RunPoint, SqlConnection, SqlValue};
use super::dialect::json_list;
use super::error::SqlError;
use super::metric_row::MetricRow;
use super::query::query_all;
use super::{rows, runs};
use crate::model::{Param, Tag, tag_keys};
use crate::store::{Batch, validate};

/// Batch of a run.
pub(super) type RunBatch<'a> = (&'a str, Batch<'a>);

/// Writes a batch, which was checked, to the run.
pub(in crate::store) fn write_batch(
    db: &dyn SqlConnection,
    run_id: &str,
    batch: &Batch<'_>,
) -> Result<(), SqlError> {
    runs::require_active_run(db, run_id)?;
    write_batches(db, &[(run_id, *batch)])
}

/// Writes batches, which were checked, to runs that exist.
pub(super) fn write_batches(
    db: &dyn SqlConnection,
    batches: &[RunBatch<'_>],
) -> Result<(), SqlError> {
    insert_params(db, batches)?;
    write_metrics(db, batches)?;
    upsert_tags(db, batches)
}

fn insert_params(db: &dyn SqlConnection, batches: &[RunBatch<'_>]) -> Result<(), SqlError> {
    let mut params: Vec<(&str, &Param)> = { batches.iter() }
        .flat_map(|(run_id, batch)| batch.params.iter().map(move |param| (*run_id, param)))
        .collect();
    params.sort_by(|(run, a), (other, b)| a.key.cmp(&b.key).then(run.cmp(other)));
    let values: Vec<SqlValue<'_>> = { params.iter() }
        .flat_map(|(run_id, param)| [(*run_id).into(), (&param.key).into(), (&param.value).into()])
        .collect();
    let inserted = db.execute_many(
        "INSERT INTO params (run_uuid, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        &values,
        3,
    )?;
    if inserted == params.len() as u64 {
        return Ok(());
    }
    for (run_id, batch) in batches {
        check_params(db, run_id, batch.params)?;
    }
    Ok(())
}

/// Returns an error if the run has another value of one of the params.
fn check_params(db: &dyn SqlConnection, run_id: &str, params: &[Param]) -> Result<(), SqlError> {
    if params.is_empty() {
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

/// Inserts the points that the runs do not have yet, and updates the latest point of each key in the batches.
fn write_metrics(db: &dyn SqlConnection, batches: &[RunBatch<'_>]) -> Result<(), SqlError> {
    let mut points: Vec<RunPoint<'_>> = { batches.iter() }
        .flat_map(|(run_id, batch)| {
            let points = batch.metrics.iter();
            points.map(move |metric| RunPoint { run_id, metric })
        })
        .collect();
    points.sort_by(|a, b| {
        let keys = a.metric.key.cmp(&b.metric.key);
        keys.then_with(|| a.run_id.cmp(b.run_id))
    });
    db.insert_points(&points)?;
    let is_of_one_key =
        |a: &RunPoint<'_>, b: &RunPoint<'_>| a.metric.key == b.metric.key && a.run_id == b.run_id;
    let latest: Vec<SqlValue<'_>> = points
        .chunk_by(is_of_one_key)
        .flat_map(|of_key| {
            let point = latest_point(of_key);
            [
                of_key[0].run_id.into(),
                (&*of_key[0].metric.key).into(),
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

/// Returns the latest of the points of one key and run, of which there is at least one.
fn latest_point(of_key: &[RunPoint<'_>]) -> MetricRow {
    let mut last = MetricRow::from_metric(of_key[0].metric);
    for point in of_key {
        let point = MetricRow::from_metric(point.metric);
        if point.is_later_than(&last) {
            last = point;
        }
    }
    last
}

fn upsert_tags(db: &dyn SqlConnection, batches: &[RunBatch<'_>]) -> Result<(), SqlError> {
    let mut tags: Vec<(&str, &Tag)> = { batches.iter() }
        .flat_map(|(run_id, batch)| batch.tags.iter().map(move |tag| (*run_id, tag)))
        .collect();
    // Tags of one key and run stay in the order in which they were set.
    tags.sort_by(|(run, a), (other, b)| a.key.cmp(&b.key).then(run.cmp(other)));
    let values: Vec<SqlValue<'_>> = { tags.iter() }
        .flat_map(|(run_id, tag)| [(*run_id).into(), (&tag.key).into(), (&tag.value).into()])
        .collect();
    db.execute_many(
        "INSERT INTO tags (run_uuid, key, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value",
        &values,
        3,
    )?;
    let mut names: Vec<(&str, &str)> = { batches.iter() }
        .filter_map(|(run_id, batch)| {
            let name = { batch.tags.iter() }.rfind(|tag| tag.key == tag_keys::RUN_NAME)?;
            Some((*run_id, name.value.as_str()))
        })
        .collect();
    names.sort_unstable();
    let names: Vec<SqlValue<'_>> = { names.into_iter() }
        .flat_map(|(run_id, name)| [run_id.into(), name.into()])
        .collect();
    db.execute_many("UPDATE runs SET name = ?2 WHERE run_uuid = ?1", &names, 2)?;
    Ok(())
}
