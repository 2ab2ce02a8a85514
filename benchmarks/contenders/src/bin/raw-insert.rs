//! The most that a SQLite file takes: one statement, prepared once, in one transaction, with all
//! values at hand. Into MLflow's own tables, which have to be there.

use std::time::Instant;

use contenders::{PARAMS, arguments, delivered, keys};
use rusqlite::{Connection, params};

fn main() {
    let (uri, points) = arguments();
    let path = uri.strip_prefix("sqlite:///").expect("a SQLite file");
    let mut connection = Connection::open(path).expect("a database");
    // As much as ours may take.
    connection
        .pragma_update(None, "cache_size", -65_536)
        .expect("a cache");
    let run = "raw00000000000000000000000000000";
    let keys = keys();
    let params: Vec<_> = (0..PARAMS)
        .map(|number| (format!("param_{number}"), number.to_string()))
        .collect();
    let begun = Instant::now();
    let transaction = connection.transaction().expect("a transaction");
    transaction
        .execute(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, \
             start_time, source_version, lifecycle_stage, artifact_uri, experiment_id) \
             VALUES (?1, 'raw', 'UNKNOWN', '', '', 'me', 'RUNNING', 0, '', 'active', '', 0)",
            [run],
        )
        .expect("a run");
    {
        let mut insert = transaction
            .prepare("INSERT INTO params (run_uuid, key, value) VALUES (?1, ?2, ?3)")
            .expect("MLflow's tables");
        for (key, value) in &params {
            insert.execute(params![run, key, value]).expect("a param");
        }
        let mut insert = transaction
            .prepare(
                "INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan) \
                 VALUES (?1, ?2, ?3, ?4, ?5, 0)",
            )
            .expect("MLflow's tables");
        // In the order in which they are logged; only what differs from the row before is bound again.
        insert.raw_bind_parameter(1, run).expect("bound");
        for number in 0..points {
            let (key, step) = (&keys[number % keys.len()], number / keys.len());
            insert.raw_bind_parameter(2, key).expect("bound");
            insert.raw_bind_parameter(3, number as f64).expect("bound");
            insert.raw_bind_parameter(4, time_of(step)).expect("bound");
            insert.raw_bind_parameter(5, step as i64).expect("bound");
            insert.raw_execute().expect("a point");
        }
        let mut insert = transaction
            .prepare(
                "INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan) \
                 VALUES (?1, ?2, ?3, ?4, ?5, 0)",
            )
            .expect("MLflow's tables");
        for number in points.saturating_sub(keys.len())..points {
            let (key, step) = (&keys[number % keys.len()], number / keys.len());
            insert
                .execute(params![run, key, number as f64, time_of(step), step as i64])
                .expect("a key's last point");
        }
    }
    transaction.commit().expect("a commit");
    delivered(begun);
}

/// A thousand steps a millisecond.
fn time_of(step: usize) -> i64 {
    1_700_000_000_000 + step as i64 / 1000
}
