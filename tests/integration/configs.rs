//! Params that `log_params` makes from a configuration.

use std::collections::BTreeMap;

use mlflow::testing::{RecordedRun, fake};
use serde::Serialize;

use crate::support::warnings::capture;

/// Returns the run to which the configuration was logged, and the warnings.
fn logged<T: Serialize>(config: &T) -> (RecordedRun, Vec<String>) {
    capture(|| {
        let fake = fake();
        let run = mlflow::start_run().start();
        mlflow::log_params(config);
        drop(run);
        fake.runs().remove(0)
    })
}

/// Regression: a map with 16 entries was logged, but one with 17 was reported as "no fields".
#[test]
fn a_map_of_any_size_is_logged() {
    for entries in [16, 17, 1000] {
        let map: BTreeMap<String, usize> = (0..entries).map(|i| (format!("k{i}"), i)).collect();
        let (run, warnings) = logged(&map);
        assert_eq!(run.params.len(), entries);
        assert_eq!(run.params["k15"], "15");
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn maps_inside_of_it_are_logged_too_and_long_sequences_are_one_param() {
    #[derive(Serialize)]
    struct Config {
        layers: Vec<u32>,
        embedding: Vec<f32>,
        classes: BTreeMap<u32, &'static str>,
    }
    let (run, _) = logged(&Config {
        layers: (0..20).collect(),
        embedding: vec![0.5; 5000],
        classes: (0..30).map(|i| (i, "cat")).collect(),
    });
    assert_eq!(run.params.len(), 32);
    assert!(run.params["layers"].starts_with("[0, 1, 2,"));
    assert!(run.params["layers"].ends_with("18, 19]"));
    assert_eq!(run.params["embedding"], "[5000 items]");
    assert_eq!(run.params["classes.29"], "cat");
}

#[test]
fn beyond_ten_thousand_fields_one_warning_says_what_is_left_out() {
    let map: BTreeMap<u32, u32> = (0..10_005).map(|i| (i, i)).collect();
    let (run, warnings) = logged(&map);
    assert_eq!(run.params.len(), 10_001);
    assert_eq!(run.params["9999"], "9999");
    assert_eq!(run.params["10000"], "…");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("10000 by log_params"), "{warnings:?}");
}
