//! Copy of MLflow's tables on a PostgreSQL server, as an SQLite database in memory.
//!
//! The tables are read by `psql`, so no code under test takes part. The comparisons read the copy as they read the
//! SQLite file of another store.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};
use serde_json::Value;

use crate::support::postgres::Postgres;

/// Tables of MLflow, with the columns that the comparisons read.
const TABLES: [(&str, &str); 6] = [
    ("experiments", "experiment_id, name"),
    (
        "runs",
        "run_uuid, name, status, lifecycle_stage, artifact_uri, experiment_id",
    ),
    ("params", "run_uuid, key, value"),
    ("tags", "run_uuid, key, value"),
    ("metrics", "run_uuid, key, value, timestamp, step, is_nan"),
    (
        "latest_metrics",
        "run_uuid, key, value, timestamp, step, is_nan",
    ),
];

/// Copies MLflow's tables.
pub(crate) fn copy(server: &Postgres) -> Connection {
    let mut copy = Connection::open_in_memory().unwrap();
    let transaction = copy.transaction().unwrap();
    for (table, columns) in TABLES {
        transaction
            .execute(&format!("create table {table} ({columns})"), [])
            .unwrap();
        let places = vec!["?"; columns.split(',').count()].join(", ");
        let mut insert = transaction
            .prepare(&format!("insert into {table} values ({places})"))
            .unwrap();
        server.for_each_row(columns, table, |row| {
            let row: Vec<Value> = serde_json::from_str(row).unwrap();
            insert
                .execute(params_from_iter(row.into_iter().map(to_sql)))
                .unwrap();
        });
    }
    // The comparisons look tags up by their run.
    transaction
        .execute("create index tags_of_runs on tags (run_uuid, key)", [])
        .unwrap();
    transaction.commit().unwrap();
    copy
}

fn to_sql(value: Value) -> SqlValue {
    match value {
        Value::Null => SqlValue::Null,
        Value::Bool(flag) => SqlValue::Integer(flag.into()),
        Value::Number(number) => match number.as_i64() {
            Some(number) => SqlValue::Integer(number),
            None => SqlValue::Real(number.as_f64().unwrap()),
        },
        Value::String(text) => SqlValue::Text(text),
        other => panic!("{other} in a column"),
    }
}
