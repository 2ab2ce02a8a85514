//! The most that a SQLite file takes: one statement, prepared once, in one transaction, with all
//! values at hand. Into MLflow's own tables, which have to be there.

use std::time::Instant;

use contenders::{PARAMS, arguments, delivered, keys};
use rusqlite::{Connection, params};

fn main() {
    let (uri, points) = arguments();
    let path = uri.strip_prefix("sqlite:///").expect("a SQLite file");
    let mut connection = Connection::open(path).expect("a database");
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
        for number in 0..points {
            let (key, step) = (&keys[number % keys.len()], number / keys.len());
            let (step, time) = (step as i64, 1_700_000_000_000 + step as i64 / 1000);
            insert
                .execute(params![run, key, number as f64, time, step])
                .expect("a point");
        }
        let mut insert = transaction
            .prepare(
                "INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan) \
                 SELECT run_uuid, key, value, timestamp, step, is_nan FROM metrics \
                 WHERE run_uuid = ?1 AND key = ?2 ORDER BY step DESC LIMIT 1",
            )
            .expect("MLflow's tables");
        for key in &keys {
            insert
                .execute(params![run, key])
                .expect("a key's last point");
        }
    }
    transaction.commit().expect("a commit");
    delivered(begun);
}
