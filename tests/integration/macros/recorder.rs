//! Access to the runs recorded by a test. Only this module knows where they are recorded.

pub(crate) use mlflow::store::RunStatus;
pub(crate) use mlflow::testing::{Fake, RecordedRun, fake};

/// Returns the only run of a test.
pub(crate) fn only_run(fake: &Fake) -> RecordedRun {
    let mut runs = fake.runs();
    assert_eq!(runs.len(), 1, "{runs:#?}");
    runs.remove(0)
}

/// Returns the last value of each of the run's metrics.
pub(crate) fn last_metrics(run: &RecordedRun) -> Vec<(&str, f64)> {
    run.metrics
        .iter()
        .filter_map(|(key, points)| Some((key.as_str(), points.last()?.value)))
        .collect()
}

/// Returns the run's params.
pub(crate) fn params(run: &RecordedRun) -> Vec<(&str, &str)> {
    run.params
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

/// Runs a test of this binary again, in a process of its own with these variables, and returns true. In that
/// process, returns false: the test is to do its work there.
pub(crate) fn runs_apart(test: &str, variables: &[(&str, &str)]) -> bool {
    const APART: &str = "MLFLOW_TEST_RUNS_APART";
    if std::env::var_os(APART).is_some() {
        return false;
    }
    let itself = std::env::current_exe().expect("this binary");
    let output = std::process::Command::new(itself)
        .args(["--exact", test, "--nocapture"])
        .env(APART, "1")
        .envs(variables.iter().copied())
        .output()
        .expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}");
    assert!(stdout.contains("1 passed"), "{stdout}");
    true
}

/// Runs a future that needs no reactor to its end.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}
