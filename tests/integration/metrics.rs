//! Metrics with a time of their own, and those of a whole value.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mlflow::testing::fake;
use serde::ser::{Error as _, SerializeStruct as _};
use serde::{Serialize, Serializer};

use crate::support::warnings;

#[derive(Serialize)]
struct Part {
    loss: f32,
    is_best: bool,
}

#[derive(Serialize)]
struct Stats {
    #[serde(rename = "train/loss")]
    train_loss: f64,
    valid: Part,
    per_class: BTreeMap<&'static str, u32>,
    rates: Vec<f64>,
    note: &'static str,
    none: Option<f64>,
    api_key: u64,
}

fn stats() -> Stats {
    Stats {
        train_loss: f64::NAN,
        valid: Part {
            loss: 0.5,
            is_best: true,
        },
        per_class: BTreeMap::from([("cat", 3), ("dog @ home", 4)]),
        rates: vec![0.1, 0.01],
        note: "warm up",
        none: None,
        api_key: 12_345_678,
    }
}

#[test]
fn the_numbers_of_a_struct_are_metrics_at_one_step_and_time() {
    let fake = fake();
    let run = mlflow::start_run().start();
    run.log_metrics_of(&stats(), 7);
    mlflow::log_metrics_of(&BTreeMap::from([("later", 1)]), 8_u64);
    drop(run);
    let metrics = &fake.runs()[0].metrics;
    let keys: Vec<_> = metrics.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "later",
            "per_class.cat",
            "per_class.dog _ home",
            "rates.0",
            "rates.1",
            "train/loss",
            "valid.is_best",
            "valid.loss"
        ]
    );
    assert!(metrics["train/loss"][0].value.is_nan());
    assert_eq!(metrics["valid.is_best"][0].value.to_bits(), 1f64.to_bits());
    let times: Vec<_> = { metrics.iter() }
        .filter(|(key, _)| *key != "later")
        .map(|(_, points)| (points[0].step, points[0].timestamp_ms, points.len()))
        .collect();
    assert!(times.iter().all(|time| *time == times[0]), "{times:?}");
    assert_eq!((times[0].0, times[0].2), (7, 1));
}

/// Struct whose second field cannot be serialized.
struct Broken;

impl Serialize for Broken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Broken", 3)?;
        fields.serialize_field("first", &1)?;
        Err(S::Error::custom("no number here"))
    }
}

struct Panics;

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Panics", 1)?;
        fields.serialize_field("before", &2)?;
        panic!("as it was to");
    }
}

#[test]
fn a_value_that_cannot_be_read_to_its_end_stops_nothing_and_is_told() {
    let (runs, warnings) = warnings::capture(|| {
        let fake = fake();
        let run = mlflow::start_run().start();
        run.log_metrics_of(&Broken, 1);
        run.log_metrics_of(&Panics, 1);
        run.log_metrics_of(&0.5, 1);
        run.log_metrics_of("a text", 1);
        run.log_metrics_of(&BTreeMap::from([("note", "a text")]), 1);
        run.log_metrics_of(&(0..1500).collect::<Vec<_>>(), 1);
        let many: BTreeMap<_, _> = (0..900).map(|at| (format!("k{at:03}"), at)).collect();
        run.log_metrics_of(&many, 1);
        run.log_metric("after", 3);
        drop(run);
        fake.runs()
    });
    let metrics = &runs[0].metrics;
    // A part of such a value might be taken for the whole.
    for key in ["first", "before"] {
        assert!(!metrics.contains_key(key), "{key}");
    }
    assert_eq!(metrics["after"].len(), 1);
    assert_eq!(metrics["k899"].len(), 1);
    for told in [
        "its `Serialize` returned an error",
        "its `Serialize` panicked",
        "log_metrics_of takes a struct or a map",
        "at most 1000 numbers of one value are logged",
    ] {
        let count = warnings.iter().filter(|line| line.contains(told)).count();
        assert!(count >= 1, "{told}: {warnings:?}");
    }
}

#[test]
fn a_point_has_the_time_that_it_is_given() {
    let (runs, warnings) = warnings::capture(|| {
        let fake = fake();
        let run = mlflow::start_run().start();
        for (step, time) in [
            (0, UNIX_EPOCH + Duration::from_millis(1_764_000_000_250)),
            (1, UNIX_EPOCH),
            (2, UNIX_EPOCH - Duration::from_secs(1)),
        ] {
            run.log_metric_at_time("t", 1.5, step, time);
        }
        run.log_metric_at_time("t", 1.5, 3, UNIX_EPOCH - Duration::from_secs(5));
        mlflow::log_metric_at_time("now", 1, 0, SystemTime::now());
        drop(run);
        fake.runs()
    });
    let mut points: Vec<_> = { runs[0].metrics["t"].iter() }
        .map(|point| (point.step, point.timestamp_ms))
        .collect();
    points.sort_unstable();
    assert_eq!(points, [(0, 1_764_000_000_250), (1, 0), (2, 0), (3, 0)]);
    let told: Vec<_> = { warnings.iter() }
        .filter(|line| line.contains("before 1970"))
        .collect();
    assert_eq!(told.len(), 1, "{warnings:?}");
}

#[test]
fn without_a_run_nothing_is_logged() {
    let fake = fake();
    mlflow::log_metrics_of(&stats(), 1);
    mlflow::log_metric_at_time("t", 1, 1, UNIX_EPOCH);
    assert!(fake.runs().is_empty());
}
