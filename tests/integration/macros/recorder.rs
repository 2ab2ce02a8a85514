//! The one place that knows where a test's runs are recorded.

pub(crate) use mlflow::store::RunStatus;
pub(crate) use mlflow::testing::{Fake, RecordedRun, fake};

/// The only run of a test.
pub(crate) fn only_run(fake: &Fake) -> RecordedRun {
    let mut runs = fake.runs();
    assert_eq!(runs.len(), 1, "{runs:#?}");
    runs.remove(0)
}

/// `metrics` of a run, the last value of each.
pub(crate) fn last_metrics(run: &RecordedRun) -> Vec<(&str, f64)> {
    run.metrics
        .iter()
        .filter_map(|(key, points)| Some((key.as_str(), points.last()?.value)))
        .collect()
}

/// `params` of a run.
pub(crate) fn params(run: &RecordedRun) -> Vec<(&str, &str)> {
    run.params
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

/// Drives a future that needs no reactor.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}
