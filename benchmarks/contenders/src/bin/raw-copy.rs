//! The most that we know a PostgreSQL server to take over one connection, duplicates absorbed: COPY in the binary format
//! into a temporary table without an index, and one INSERT from there into MLflow's own tables, which have to be there.
//!
//! As many points go into one transaction as of mlflow-runtime. All bytes are at hand before the clock starts, and in the
//! order of the index.

use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};
use contenders::{PARAMS, arguments, delivered, keys};
use futures_util::SinkExt as _;
use tokio_postgres::{Client, NoTls};

/// Number of points in a transaction of mlflow-runtime.
const TRANSACTION: usize = 65_536;
/// Number of bytes that are sent at once.
const PART_BYTES: usize = 64 << 10;
const RUN: &str = "raw00000000000000000000000000000";

fn main() {
    let (uri, points) = arguments();
    let uri = uri.replace("postgresql+psycopg2://", "postgresql://");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(copy(&uri, points));
}

async fn copy(uri: &str, points: usize) {
    let (client, connection) = tokio_postgres::connect(uri, NoTls).await.expect("a server");
    tokio::spawn(connection);
    let keys = keys();
    let params: Vec<String> = (0..PARAMS)
        .map(|number| format!("('{RUN}', 'param_{number}', '{number}')"))
        .collect();
    let params = format!(
        "INSERT INTO params (run_uuid, key, value) VALUES {}",
        params.join(", ")
    );
    let transactions: Vec<Transaction> = (0..points)
        .step_by(TRANSACTION)
        .map(|first| Transaction::new(first..(first + TRANSACTION).min(points), &keys))
        .collect();
    let run = format!(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, \
         start_time, source_version, lifecycle_stage, artifact_uri, experiment_id) \
         VALUES ('{RUN}', 'raw', 'UNKNOWN', '', '', 'me', 'RUNNING', 0, '', 'active', '', 0)"
    );
    client.batch_execute(&run).await.expect("a run");
    client
        .batch_execute(
            "CREATE TEMPORARY TABLE points (run_uuid TEXT NOT NULL, key TEXT NOT NULL, value DOUBLE PRECISION NOT NULL, \
             timestamp BIGINT NOT NULL, step BIGINT NOT NULL, is_nan BOOLEAN NOT NULL) ON COMMIT DELETE ROWS",
        )
        .await
        .expect("a temporary table");
    let begun = Instant::now();
    client.batch_execute(&params).await.expect("the params");
    for transaction in transactions {
        transaction.send(&client).await.expect("a transaction");
    }
    delivered(begun);
}

/// What one transaction writes.
struct Transaction {
    parts: Vec<Bytes>,
    /// Statement that writes the last point of each key.
    latest: String,
}

impl Transaction {
    fn new(numbers: std::ops::Range<usize>, keys: &[String]) -> Self {
        let mut parts = Vec::new();
        let mut buffer = BytesMut::with_capacity(PART_BYTES * 2);
        buffer.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        let mut latest = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let first =
                numbers.start + (index + keys.len() - numbers.start % keys.len()) % keys.len();
            let mut last = None;
            for number in (first..numbers.end).step_by(keys.len()) {
                put_row(&mut buffer, key, number, number / keys.len());
                if buffer.len() >= PART_BYTES {
                    parts.push(buffer.split().freeze());
                }
                last = Some(number);
            }
            if let Some(last) = last {
                let step = last / keys.len();
                latest.push(format!(
                    "('{RUN}', '{key}', {last}, {}, {step}, false)",
                    time_of(step)
                ));
            }
        }
        buffer.put_i16(-1);
        parts.push(buffer.freeze());
        let latest = format!(
            "INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES {} \
             ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, \
             step = excluded.step, is_nan = excluded.is_nan",
            latest.join(", ")
        );
        Self { parts, latest }
    }

    async fn send(self, client: &Client) -> Result<(), tokio_postgres::Error> {
        client.batch_execute("BEGIN").await?;
        let sink = client
            .copy_in::<_, Bytes>(
                "COPY points (run_uuid, key, value, timestamp, step, is_nan) FROM STDIN (FORMAT binary)",
            )
            .await?;
        let mut sink = std::pin::pin!(sink);
        for part in self.parts {
            sink.send(part).await?;
        }
        sink.finish().await?;
        client
            .batch_execute(
                "INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan) \
                 SELECT run_uuid, key, value, timestamp, step, is_nan FROM points ON CONFLICT DO NOTHING",
            )
            .await?;
        client.batch_execute(&self.latest).await?;
        client.batch_execute("COMMIT").await
    }
}

fn put_row(buffer: &mut BytesMut, key: &str, number: usize, step: usize) {
    buffer.put_i16(6);
    for text in [RUN, key] {
        buffer.put_i32(text.len() as i32);
        buffer.put_slice(text.as_bytes());
    }
    buffer.put_i32(8);
    buffer.put_f64(number as f64);
    buffer.put_i32(8);
    buffer.put_i64(time_of(step));
    buffer.put_i32(8);
    buffer.put_i64(step as i64);
    buffer.put_i32(1);
    buffer.put_u8(0);
}

/// A thousand steps a millisecond.
fn time_of(step: usize) -> i64 {
    1_700_000_000_000 + step as i64 / 1000
}
