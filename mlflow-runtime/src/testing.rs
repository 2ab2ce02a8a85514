//! A fake for tests: no network, no files, no threads.
//!
//! Invariants: a fake records what is logged in its scope (the calling thread, the tracked calls
//! in it, and what they carry to other threads and tasks) and nothing else, so tests run side by
//! side. It samples no system metrics, whoever asks for them: a test is to see what the code logs,
//! not what the machine does. Values take the way they take in production: run, journal, shipper, store.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::config::Config;
use crate::context::{Context, HeldContext};
use crate::journal;
use crate::shipper::Goal;
use crate::store::{MemoryStore, RUN_KEY_TAG, RunStatus, StoredRunData};
use crate::tracker::Tracker;

static ACTIVE: AtomicUsize = AtomicUsize::new(0);

/// Whether any fake exists.
pub(crate) fn any_active() -> bool {
    ACTIVE.load(Ordering::Relaxed) > 0
}

/// Starts a fake for the calling thread. It ends when the value is dropped.
///
/// ```
/// use mlflow::tracked;
///
/// #[tracked(experiment = "demo")]
/// fn train(alpha: f64) -> f64 {
///     mlflow::metric!("loss", 0.5, step = 1);
///     alpha * 2.0
/// }
///
/// let fake = mlflow::testing::fake();
/// train(0.1);
/// fake.assert_experiment_created("demo");
/// fake.assert_param("alpha", "0.1");
/// fake.assert_metric("loss", &[(1, 0.5)]);
/// assert_eq!(fake.runs()[0].status, mlflow::RunStatus::Finished);
/// ```
#[must_use = "the fake ends when it is dropped"]
pub fn fake() -> Fake {
    ACTIVE.fetch_add(1, Ordering::Relaxed);
    let store = MemoryStore::adopting();
    let settings = Config::new()
        .enabled(true)
        .quiet(true)
        .tracking_uri("sqlite:///fake.db")
        .experiment("Default")
        .resolve_from(&|_| None, None);
    let tracker = Arc::new(Tracker::inline(settings, Box::new(store.clone())));
    let guard = Context::with_tracker(Arc::clone(&tracker)).hold();
    Fake {
        store,
        tracker,
        _guard: guard,
    }
}

/// Records what is logged in its scope; see [`fake`].
pub struct Fake {
    store: MemoryStore,
    tracker: Arc<Tracker>,
    _guard: HeldContext,
}

/// A run as a [`Fake`] saw it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecordedRun {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its experiment's name.
    pub experiment: String,
    /// Its status; `Running` while it has not ended.
    pub status: RunStatus,
    /// The id of the run it is a child of.
    pub parent: Option<String>,
    /// Params.
    pub params: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Points by key, in the order they were logged.
    pub metrics: BTreeMap<String, Vec<MetricPoint>>,
    /// Artifacts by path.
    pub artifacts: BTreeMap<String, Vec<u8>>,
}

/// One point of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricPoint {
    /// Step.
    pub step: i64,
    /// Value.
    pub value: f64,
    /// When it was logged, in ms since the Unix epoch.
    pub timestamp_ms: i64,
}

impl Fake {
    /// The runs so far, in order of start.
    #[must_use]
    pub fn runs(&self) -> Vec<RecordedRun> {
        self.tracker.flush_until(Instant::now(), Goal::Own);
        self.store.runs().into_iter().map(recorded).collect()
    }

    /// The names of the experiments so far, in order of creation.
    #[must_use]
    pub fn experiments(&self) -> Vec<String> {
        self.tracker.flush_until(Instant::now(), Goal::Own);
        self.store
            .experiments()
            .into_iter()
            .map(|experiment| experiment.name)
            .collect()
    }

    /// Fails unless the experiment was created.
    #[track_caller]
    pub fn assert_experiment_created(&self, name: &str) {
        let experiments = self.experiments();
        assert!(
            experiments.iter().any(|experiment| experiment == name),
            "experiment {name:?} was not created; created were {experiments:?}"
        );
    }

    /// Fails unless a run of this name ended as FINISHED.
    #[track_caller]
    pub fn assert_run_finished(&self, name: &str) {
        self.assert_status(name, RunStatus::Finished);
    }

    /// Fails unless a run of this name ended as FAILED.
    #[track_caller]
    pub fn assert_run_failed(&self, name: &str) {
        self.assert_status(name, RunStatus::Failed);
    }

    /// Fails unless a run of this name ended as KILLED.
    #[track_caller]
    pub fn assert_run_killed(&self, name: &str) {
        self.assert_status(name, RunStatus::Killed);
    }

    /// Fails unless some run has this param with this value.
    #[track_caller]
    pub fn assert_param(&self, key: &str, value: &str) {
        self.assert_some_run(&format!("param {key} = {value:?}"), |run| {
            run.params.get(key).is_some_and(|found| found == value)
        });
    }

    /// Fails unless some run has this tag with this value.
    #[track_caller]
    pub fn assert_tag(&self, key: &str, value: &str) {
        self.assert_some_run(&format!("tag {key} = {value:?}"), |run| {
            run.tags.get(key).is_some_and(|found| found == value)
        });
    }

    /// Fails unless some run has a point of this metric.
    #[track_caller]
    pub fn assert_metric_logged(&self, key: &str) {
        self.assert_some_run(&format!("metric {key}"), |run| {
            run.metrics.contains_key(key)
        });
    }

    /// Fails unless some run has exactly these points of this metric, as `(step, value)`, in this
    /// order. NaN equals NaN here.
    #[track_caller]
    pub fn assert_metric(&self, key: &str, points: &[(i64, f64)]) {
        self.assert_some_run(&format!("metric {key} = {points:?}"), |run| {
            run.metrics.get(key).is_some_and(|found| {
                found.len() == points.len()
                    && found.iter().zip(points).all(|(point, (step, value))| {
                        point.step == *step
                            && (point.value == *value || (point.value.is_nan() && value.is_nan()))
                    })
            })
        });
    }

    /// Fails if any run was started.
    #[track_caller]
    pub fn assert_nothing_logged(&self) {
        let runs = self.runs();
        assert!(
            runs.is_empty(),
            "nothing should have been logged, but there is\n{}",
            describe(&runs)
        );
    }

    #[track_caller]
    fn assert_status(&self, name: &str, status: RunStatus) {
        self.assert_some_run(
            &format!("run {name:?} with status {}", status.as_str()),
            |run| run.name == name && run.status == status,
        );
    }

    #[track_caller]
    fn assert_some_run(&self, expected: &str, holds: impl Fn(&RecordedRun) -> bool) {
        let runs = self.runs();
        assert!(
            runs.iter().any(holds),
            "expected {expected}, but logged was\n{}",
            describe(&runs)
        );
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // Else the thread would keep its segment for as long as it lives.
        journal::release_thread(self.tracker.journal());
        ACTIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

fn recorded(run: StoredRunData) -> RecordedRun {
    let mut metrics: BTreeMap<String, Vec<MetricPoint>> = BTreeMap::new();
    for point in run.metrics {
        metrics
            .entry(point.key.to_string())
            .or_default()
            .push(MetricPoint {
                step: point.step,
                value: point.value,
                timestamp_ms: point.timestamp_ms,
            });
    }
    let mut tags = run.tags;
    tags.remove(RUN_KEY_TAG);
    RecordedRun {
        id: run.run_id,
        name: run.name,
        experiment: run.experiment,
        status: run.status,
        parent: tags.get("mlflow.parentRunId").cloned(),
        params: run.params,
        tags,
        metrics,
        artifacts: run.artifacts,
    }
}

/// What was logged, a line each.
fn describe(runs: &[RecordedRun]) -> String {
    if runs.is_empty() {
        return "  nothing".to_owned();
    }
    let mut text = String::new();
    for run in runs {
        let _ = writeln!(
            text,
            "  run {:?} in {:?}, {}",
            run.name,
            run.experiment,
            run.status.as_str()
        );
        for (key, value) in &run.params {
            let _ = writeln!(text, "    param {key} = {value:?}");
        }
        for (key, points) in &run.metrics {
            let points: Vec<_> = points
                .iter()
                .map(|point| (point.step, point.value))
                .collect();
            let _ = writeln!(text, "    metric {key} = {points:?}");
        }
        for (key, value) in &run.tags {
            let _ = writeln!(text, "    tag {key} = {value:?}");
        }
        for (path, bytes) in &run.artifacts {
            let _ = writeln!(text, "    artifact {path}, {} bytes", bytes.len());
        }
    }
    text
}
