//! System metrics in the default store.

#[cfg(feature = "system-metrics")]
mod sampled;

use std::fs;

use mlflow::testing::fake;

use crate::support::program::{Folder, one};

const SWEEP: &str = env!("CARGO_BIN_EXE_sweep");

const ON: (&str, &str) = ("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true");

#[test]
fn a_run_that_is_shorter_than_the_interval_has_none() {
    let folder = Folder::new();
    let ended = folder.run(SWEEP, &[], &[ON]);
    assert_eq!(ended.stdout, "1\n");
    let system = "select count(*) from metrics where key like 'system/%'";
    assert_eq!(one::<i64>(&folder.database(), system), 0);
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn values_of_variables_that_cannot_be_used_are_one_warning_each() {
    let bad = [
        ("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "perhaps"),
        ("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0"),
        ("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "some"),
        ("MLFLOW_SYSTEM_METRICS_NODE_ID", "rank=0"),
    ];
    let ended = Folder::new().run(SWEEP, &[], &bad);
    assert_eq!(ended.stdout, "1\n");
    assert_eq!(ended.warnings().len(), bad.len(), "{}", ended.stderr);
    for (variable, value) in bad {
        let told = |line: &&str| line.contains(variable) && line.contains(value);
        assert!(ended.warnings().iter().any(told), "{}", ended.stderr);
    }
}

#[test]
fn a_fake_has_none() {
    let fake = fake();
    drop(mlflow::start_run().system_metrics(true).start());
    assert!(fake.runs()[0].metrics.is_empty());
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        assert!(!name.starts_with("mlflow-system"), "{name}");
    }
}

#[test]
#[cfg(not(feature = "system-metrics"))]
fn a_feature_that_is_missing_is_named_once() {
    let ended = Folder::new().run(SWEEP, &[], &[ON]);
    assert_eq!(ended.warnings().len(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("`system-metrics`"),
        "{}",
        ended.stderr
    );
}
