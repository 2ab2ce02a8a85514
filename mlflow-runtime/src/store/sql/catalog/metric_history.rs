//! Reading of all points of a run's metrics, in MLflow's order: by time, then step, then stored value.
//!
//! PostgreSQL chooses itself how the points of one metric of one run are found. SQLite has no statistics, and its files
//! differ. The index of newer files begins with run and key. In all files, the primary key begins with the metric's
//! key, so it holds the points of all runs with such a metric, in the right order. Another index holds the points of
//! all metrics of a run. The fastest way is chosen by the number of runs and metrics, which `latest_metrics` knows.

use rustc_hash::FxHashMap;

use super::runs::missing_error;
use crate::entities::{MetricHistory, MetricPoint};
use crate::store::sql::dialect::json_list;
use crate::store::sql::error::CatalogError;
use crate::store::sql::query::{query_one, query_optional};
use crate::store::sql::{Dialect, SqlConnection, SqlError, SqlRow, rows};

/// Index that only newer files have.
const RUN_AND_KEY_INDEX: &str = "index_metrics_run_uuid_key_step";
/// Cost of a point that is found by the index of the runs, relative to a point of the primary key, which needs
/// neither the table nor sorting.
const RUN_INDEX_COST: i64 = 3;

/// Returns the history of each metric in `keys`.
pub(super) fn read(
    db: &dyn SqlConnection,
    run_id: &str,
    keys: &[String],
) -> Result<Vec<MetricHistory>, CatalogError> {
    let run = query_optional(
        db,
        "SELECT 1 FROM runs WHERE run_uuid = ?1",
        &[run_id.into()],
        |_| Ok(()),
    )?;
    if run.is_none() {
        return Err(missing_error(run_id));
    }
    match choose_path(db, run_id, keys)? {
        AccessPath::PrimaryKey => keys
            .iter()
            .map(|key| read_in_order(db, run_id, key))
            .collect(),
        AccessPath::RunAndKey => read_and_sort(
            db,
            run_id,
            keys,
            &format!("metrics INDEXED BY {RUN_AND_KEY_INDEX}"),
            "key",
        ),
        AccessPath::Run => read_and_sort(db, run_id, keys, "metrics", "+key"),
        AccessPath::Planned => read_and_sort(db, run_id, keys, "metrics", "key"),
    }
}

/// Way to the points of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AccessPath {
    /// All points with the key, in order.
    PrimaryKey,
    /// The points of the run with the key.
    RunAndKey,
    /// All points of the run.
    Run,
    /// The way that the planner of the database chooses by its statistics, which SQLite has none of.
    Planned,
}

fn choose_path(
    db: &dyn SqlConnection,
    run_id: &str,
    keys: &[String],
) -> Result<AccessPath, CatalogError> {
    if db.dialect() != Dialect::Sqlite {
        return Ok(AccessPath::Planned);
    }
    // The number of metrics of the run, and the number of times that one of the keys is a metric of any run.
    // Counting stops where the decision is certain.
    let metrics: i64 = query_one(
        db,
        "SELECT count(*) FROM latest_metrics WHERE run_uuid = ?1",
        &[run_id.into()],
        |row| rows::integer(row, 0),
    )?;
    let run_cost = metrics.saturating_mul(RUN_INDEX_COST);
    let others: i64 = query_one(
        db,
        "SELECT count(*) FROM (
             SELECT 1 FROM json_each(?1) AS k CROSS JOIN latest_metrics AS m ON m.key = k.value LIMIT ?2)",
        &[json_list(keys).into(), run_cost.saturating_add(1).into()],
        |row| rows::integer(row, 0),
    )?;
    let index = query_optional(
        db,
        "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?1",
        &[RUN_AND_KEY_INDEX.into()],
        |_| Ok(()),
    )?;
    let wanted = i64::try_from(keys.len()).unwrap_or(i64::MAX);
    let indexed_cost = wanted.saturating_mul(RUN_INDEX_COST);
    Ok(match index {
        Some(()) if others > indexed_cost => AccessPath::RunAndKey,
        None if others > run_cost => AccessPath::Run,
        _ => AccessPath::PrimaryKey,
    })
}

/// Point as the columns `timestamp`, `step`, `value` and `is_nan` hold it.
#[derive(Clone, Copy)]
struct StoredPoint {
    timestamp_ms: i64,
    step: i64,
    value: f64,
    is_nan: bool,
}

impl StoredPoint {
    /// Reads the columns from `first` on.
    fn from_row(row: &dyn SqlRow, first: usize) -> Result<Self, SqlError> {
        Ok(Self {
            timestamp_ms: rows::integer(row, first)?,
            step: rows::integer(row, first + 1)?,
            value: rows::real(row, first + 2)?,
            is_nan: rows::flag(row, first + 3)?,
        })
    }

    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        (self.timestamp_ms, self.step)
            .cmp(&(other.timestamp_ms, other.step))
            .then(self.value.total_cmp(&other.value))
    }
}

impl From<StoredPoint> for MetricPoint {
    fn from(stored: StoredPoint) -> Self {
        Self {
            step: stored.step,
            value: if stored.is_nan {
                f64::NAN
            } else {
                stored.value
            },
            timestamp_ms: stored.timestamp_ms,
        }
    }
}

/// Reads the points of one metric by the primary key, which needs no sorting.
fn read_in_order(
    db: &dyn SqlConnection,
    run_id: &str,
    key: &str,
) -> Result<MetricHistory, CatalogError> {
    let mut history = MetricHistory::new(key);
    db.query(
        "SELECT timestamp, step, value, is_nan FROM metrics WHERE key = ?1 AND +run_uuid = ?2
         ORDER BY timestamp, step, value",
        &[key.into(), run_id.into()],
        &mut |row| {
            history.push(StoredPoint::from_row(row, 0)?.into());
            Ok(())
        },
    )?;
    Ok(history)
}

/// Reads the points of the metrics in any order, and sorts them.
fn read_and_sort(
    db: &dyn SqlConnection,
    run_id: &str,
    keys: &[String],
    table: &str,
    key_column: &str,
) -> Result<Vec<MetricHistory>, CatalogError> {
    let mut points: FxHashMap<&str, Vec<StoredPoint>> =
        keys.iter().map(|key| (key.as_str(), Vec::new())).collect();
    let wanted = db.dialect().text_elements("?2");
    db.query(
        &format!(
            "SELECT key, timestamp, step, value, is_nan FROM {table}
             WHERE run_uuid = ?1 AND {key_column} IN ({wanted})"
        ),
        &[run_id.into(), json_list(keys).into()],
        &mut |row| {
            if let Some(points) = points.get_mut(&*rows::text(row, 0)?) {
                points.push(StoredPoint::from_row(row, 1)?);
            }
            Ok(())
        },
    )?;
    for points in points.values_mut() {
        if !points.is_sorted_by(|a, b| a.compare(b).is_le()) {
            points.sort_by(StoredPoint::compare);
        }
    }
    let histories = keys.iter().map(|key| {
        let mut history = MetricHistory::new(key);
        for &point in points.get(key.as_str()).into_iter().flatten() {
            history.push(point.into());
        }
        history
    });
    Ok(histories.collect())
}
