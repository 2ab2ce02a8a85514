//! Several writers of one run: they do not block each other for ever, and the latest value of each metric is right.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

use mlflow::store::{Batch, Metric, Store, StoreError, StoredRun};

use super::{Database, start_run};
use crate::support::block_on;

const WRITERS: i64 = 6;
const KEYS: i64 = 200;
const BATCHES: i64 = 10;

/// Points of one batch of a writer: all keys, in an order of its own, and steps that other writers have, too.
fn batch(writer: i64, number: i64) -> Vec<Metric> {
    (0..KEYS)
        .map(|index| {
            let turned = if writer % 2 == 0 {
                index
            } else {
                KEYS - 1 - index
            };
            // Every writer has the latest step of some keys.
            let step = (number * 7 + writer * 13 + turned * 5) % 97;
            Metric {
                key: format!("key/{turned}").into(),
                value: (writer * 1_000 + number) as f64,
                timestamp_ms: 1_000 + (writer + number) % 3,
                step,
            }
        })
        .collect()
}

#[test]
fn the_latest_values_are_right_whoever_writes_last() {
    let Some(database) = Database::create() else {
        return;
    };
    let run = block_on(start_run(&database.store()));
    let together = Barrier::new(usize::try_from(WRITERS).expect("a few"));
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (run, database, together) = (&run, &database, &together);
            scope.spawn(move || {
                together.wait();
                block_on(write(writer, run, database));
            });
        }
    });
    let mut latest: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
    let mut count = 0;
    for writer in 0..WRITERS {
        for number in 0..BATCHES {
            for point in batch(writer, number) {
                count += 1;
                let place = (point.step, point.timestamp_ms, point.value as i64);
                let known = latest.entry(point.key.to_string()).or_insert(place);
                *known = place.max(*known);
            }
        }
    }
    let wanted: Vec<String> = latest
        .iter()
        .map(|(key, (step, timestamp, value))| format!("{key}|{step}|{timestamp}|{value}"))
        .collect();
    let of_run = format!("where run_uuid = '{}'", run.run_id);
    let found = database.ask(&format!(
        "select key, step, timestamp, value from latest_metrics {of_run} order by key collate \"C\""
    ));
    assert_eq!(found.lines().collect::<Vec<_>>(), wanted);
    let points = format!("select count(*) from metrics {of_run}");
    assert_eq!(database.ask(&points), count.to_string());
}

async fn write(writer: i64, run: &StoredRun, database: &Database<'_>) {
    let store = database.store();
    for number in 0..BATCHES {
        let metrics = batch(writer, number);
        let batch = Batch {
            metrics: &metrics,
            ..Batch::default()
        };
        // Everything is sent twice, as after a lost answer.
        let mut left = 2;
        while left > 0 {
            match store.log_batch(run, &batch).await {
                Ok(()) => left -= 1,
                Err(StoreError::Busy { .. } | StoreError::Contested { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}
