//! Metric points in the binary format of COPY, and the statements around the copying.
//!
//! The points are copied into a temporary table, which has no index, and from there inserted into `metrics`, except for
//! those that the run already has. A COPY into `metrics` itself would fail at the first of them.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::store::sql::{MetricRow, RunPoint};

/// Statement that creates the temporary table, which is empty at the begin of each transaction.
pub(super) const CREATE_TABLE: &str = "
CREATE TEMPORARY TABLE IF NOT EXISTS mlflow_runtime_points (
    run_uuid TEXT NOT NULL, key TEXT NOT NULL, value DOUBLE PRECISION NOT NULL, timestamp BIGINT NOT NULL, step BIGINT NOT NULL,
    is_nan BOOLEAN NOT NULL
) ON COMMIT DELETE ROWS";

/// Statement that empties the temporary table in the middle of a transaction.
pub(super) const EMPTY_TABLE: &str = "DELETE FROM pg_temp.mlflow_runtime_points";

/// Statement that receives the points.
pub(super) const COPY: &str = "COPY pg_temp.mlflow_runtime_points (run_uuid, key, value, timestamp, step, is_nan) FROM STDIN (FORMAT binary)";

/// Statement that inserts the points in their order, which is that of the keys: the index of `metrics` begins with the
/// key.
pub(super) const INSERT: &str = "
INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan)
SELECT run_uuid, key, value, timestamp, step, is_nan FROM pg_temp.mlflow_runtime_points
ON CONFLICT DO NOTHING";

/// Number of bytes that are sent at once.
const PART_BYTES: usize = 64 << 10;
/// Number of columns of a row.
const COLUMNS: i16 = 6;
/// Begin of the format: its signature, no flags, and no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// End of the format.
const TRAILER: i16 = -1;

/// Points as a stream of parts, each of which is sent at once.
pub(super) struct CopiedPoints<'a> {
    points: std::slice::Iter<'a, RunPoint<'a>>,
    buffer: BytesMut,
    has_ended: bool,
}

impl<'a> CopiedPoints<'a> {
    pub(super) fn new(points: &'a [RunPoint<'a>]) -> Self {
        let mut buffer = BytesMut::with_capacity(PART_BYTES * 2);
        buffer.put_slice(HEADER);
        Self {
            points: points.iter(),
            buffer,
            has_ended: false,
        }
    }
}

impl Iterator for CopiedPoints<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.has_ended {
            return None;
        }
        while self.buffer.len() < PART_BYTES {
            let Some(point) = self.points.next() else {
                self.buffer.put_i16(TRAILER);
                self.has_ended = true;
                break;
            };
            push_row(&mut self.buffer, point);
        }
        Some(self.buffer.split().freeze())
    }
}

fn push_row(buffer: &mut BytesMut, RunPoint { run_id, metric }: &RunPoint<'_>) {
    let MetricRow {
        step,
        timestamp,
        value,
        is_nan,
    } = MetricRow::from_metric(metric);
    buffer.put_i16(COLUMNS);
    for text in [run_id, &*metric.key] {
        // An id has 32 characters, and a key at most 250.
        buffer.put_i32(i32::try_from(text.len()).unwrap_or(i32::MAX));
        buffer.put_slice(text.as_bytes());
    }
    buffer.put_i32(8);
    buffer.put_f64(value);
    buffer.put_i32(8);
    buffer.put_i64(timestamp);
    buffer.put_i32(8);
    buffer.put_i64(step);
    buffer.put_i32(1);
    buffer.put_u8(u8::from(is_nan));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Metric;

    #[test]
    fn points_become_parts_of_the_format() {
        let point = |value| Metric {
            key: "k".into(),
            value,
            timestamp_ms: 2,
            step: -1,
        };
        let (one, nan) = (point(1.5), point(f64::NAN));
        let of_run = |metric| RunPoint {
            run_id: "r",
            metric,
        };
        let parts: Vec<Bytes> = CopiedPoints::new(&[of_run(&one), of_run(&nan)]).collect();
        assert_eq!(parts.len(), 1);
        let row = |value: f64, is_nan: u8| {
            let mut row = b"\0\x06\0\0\0\x01r\0\0\0\x01k\0\0\0\x08".to_vec();
            row.extend(value.to_be_bytes());
            row.extend(b"\0\0\0\x08\0\0\0\0\0\0\0\x02\0\0\0\x08");
            row.extend([0xff; 8]);
            row.extend([0, 0, 0, 1, is_nan]);
            row
        };
        let mut expected = HEADER.to_vec();
        expected.extend(row(1.5, 0));
        expected.extend(row(0.0, 1));
        expected.extend([0xff, 0xff]);
        assert_eq!(parts[0], expected);

        let many = vec![of_run(&one); 10_000];
        let parts: Vec<Bytes> = CopiedPoints::new(&many).collect();
        assert!(parts.len() > 5);
        let length: usize = parts.iter().map(Bytes::len).sum();
        assert_eq!(length, HEADER.len() + many.len() * row(1.5, 0).len() + 2);
    }
}
