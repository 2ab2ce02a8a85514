//! Fakes for tests of tracked code: no network, no files, no threads.
//!
//! Invariants: a fake records the values that are logged in its scope and nothing else, so tests can run side
//! by side. The scope consists of the calling thread, the tracked calls on that thread, and the other threads
//! and tasks that the fake is carried to. A fake samples no system metrics, even if they are configured: a
//! test should see what the code logs, not what the machine does. Values take the same path as in production:
//! run, journal, shipper, store.
//!
//! The guide "Testing code that is tracked" (`docs/testing` in the repository) has an example of each of the
//! following calls, and of tests against a file and a server:
//!
//! ```
//! # #[mlflow::tracked(experiment = "demo")]
//! # fn train(alpha: f64) -> f64 { mlflow::metric!("loss", 0.5, step = 1); alpha * 2.0 }
//! let fake = mlflow::testing::fake().strict(); // fails the test for a value that goes nowhere
//! train(0.1);
//! fake.assert_param("alpha", "0.1"); // says what was logged in its place
//! assert_eq!(fake.runs()[0].experiment, "demo"); // plain values; their Debug keeps as a snapshot
//! fake.offline(); // the server is away
//! train(0.2);
//! assert_eq!(mlflow::flush(std::time::Duration::ZERO).complete, false);
//! fake.online();
//! assert_eq!(fake.runs().len(), 2);
//! ```

mod difference;
mod recorded;
mod strict;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

pub use crate::entities::{DatasetInput, MetricPoint};
pub use crate::model::DatasetId;
pub use recorded::{RecordedModel, RecordedModelMetric, RecordedRun};

use crate::journal;
use crate::model::RunStatus;
use crate::run::current_run::{Context, HeldContext};
use crate::run::table_row::write_row;
use crate::shipper::FlushScope;
use crate::store::{MemoryStore, StoreError, TableFile};
use crate::tracker::Tracker;
use crate::tracker::fake_scope::{self, FakeGuard, ProcessFakeGuard};
use difference::{Expected, Row, describe_mismatch};

/// Starts a fake for the calling thread. The fake ends when the returned value is dropped.
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
///
/// While the fake is alive, no run that the process starts reaches a store. Runs that were started before,
/// and their children, still log to their store. A run that is started in a task or on a thread that does not
/// have the fake is not recorded, and the fake fails the test because of that run when the fake is dropped.
/// Either carry the fake to the task or thread ([`thread::carry_future`](crate::thread::carry_future),
/// [`thread::carry`](crate::thread::carry)), or use a [`global_fake`]. Runs on the threads of other tests do
/// not count.
///
/// ```should_panic
/// # #[mlflow::tracked]
/// # fn train(alpha: f64) {}
/// let _fake = mlflow::testing::fake();
/// std::thread::spawn(|| train(0.1)).join().unwrap(); // it does not know the fake
/// ```
///
/// # Panics
///
/// When the fake is dropped, if a run was started outside the scopes of all fakes while this fake was alive.
#[must_use = "the fake ends when it is dropped"]
pub fn fake() -> Fake {
    let alive = FakeGuard::begin();
    let store = MemoryStore::adopting();
    let tracker = fake_scope::fake_tracker(&store);
    let guard = Context::with_tracker(Arc::clone(&tracker)).hold();
    Fake {
        store,
        tracker,
        strict: false,
        _scope: FakeScope::Thread(guard),
        alive,
    }
}

/// Starts a fake for the whole process: for tests of a server or of a pool of threads, which do not have the
/// fake of the test.
///
/// Only one global fake exists at a time. While a test on another thread of the program has it, the call
/// waits, and logs a warning after ten seconds. Code in the scope of a [`fake`] is recorded by that fake, not
/// by the global one.
///
/// ```
/// # #[mlflow::tracked(experiment = "demo")]
/// # fn predict(request: u32) {}
/// let fake = mlflow::testing::global_fake();
/// std::thread::spawn(|| predict(7)).join().unwrap(); // as a server's handler does
/// fake.assert_param("request", "7");
/// ```
///
/// # Panics
///
/// If the calling thread has a global fake already: the call would wait for itself.
#[must_use = "the fake ends when it is dropped"]
pub fn global_fake() -> Fake {
    let store = MemoryStore::adopting();
    let tracker = fake_scope::fake_tracker(&store);
    let process = ProcessFakeGuard::begin(&tracker);
    Fake {
        store,
        tracker,
        strict: false,
        _scope: FakeScope::Process(process),
        alive: FakeGuard::begin(),
    }
}

/// Fake store and tracker that record the values logged in their scope; see [`fake`] and [`global_fake`].
///
/// ```
/// use mlflow::{Dataset, Model, RunStatus};
///
/// let fake = mlflow::testing::fake();
/// fake.assert_nothing_logged();
///
/// let run = mlflow::start_run().experiment("digits").name("fit").param("lr", 0.1).tag("stage", "dev").start();
/// run.log_metric_at("loss", 0.5, 1);
/// run.log_text("All is well.", "notes.txt");
/// run.log_input(&Dataset::new("mnist").digest("v7"), "training");
/// run.log_model(&Model::new("net").bytes("net.bin", [7]));
/// drop(run);
/// mlflow::start_run().name("broken").start().finish(RunStatus::Failed);
/// mlflow::start_run().name("stopped").start().finish(RunStatus::Killed);
///
/// fake.assert_experiment_created("digits");
/// fake.assert_param("lr", "0.1");
/// fake.assert_tag("stage", "dev");
/// fake.assert_metric_logged("loss");
/// fake.assert_metric("loss", &[(1, 0.5)]);
/// fake.assert_artifact_logged("notes.txt");
/// fake.assert_input("mnist", "training");
/// fake.assert_model_logged("net");
/// fake.assert_run_finished("fit");
/// fake.assert_run_failed("broken");
/// fake.assert_run_killed("stopped");
/// assert_eq!(fake.experiments(), ["digits", "Default"]);
/// assert_eq!(fake.runs().len(), 3);
/// ```
pub struct Fake {
    store: MemoryStore,
    tracker: Arc<Tracker>,
    strict: bool,
    _scope: FakeScope,
    alive: FakeGuard,
}

/// Scope of a fake.
enum FakeScope {
    /// The thread that started the fake, and the threads and tasks that the fake is carried to.
    Thread(#[allow(dead_code)] HeldContext),
    Process(#[allow(dead_code)] ProcessFakeGuard),
}

impl Fake {
    /// Returns the runs recorded so far, in order of start.
    #[must_use]
    pub fn runs(&self) -> Vec<RecordedRun> {
        self.deliver();
        self.store
            .runs()
            .into_iter()
            .map(RecordedRun::new)
            .collect()
    }

    /// Delivers to the store of the fake what was logged so far.
    fn deliver(&self) {
        let logged = self.tracker.journal().value_count();
        let is_complete = self.tracker.flush_until(Instant::now(), FlushScope::Own);
        if cfg!(feature = "__numbers") && is_complete {
            let numbers = self.tracker.check_numbers(logged);
            numbers.expect("the numbers of mlflow::health add up");
        }
    }

    /// Makes the fake fail the test, when the fake is dropped, for faults that no assertion would find: a
    /// value that was logged in the scope without a current run, a value that was rejected, blocked, dropped
    /// or not delivered, and a run that is still open.
    ///
    /// A value that was logged without a run on a thread that does not have the fake may belong to another
    /// test. Such a value does not fail the test by itself, but the message of a failed assertion mentions
    /// it.
    ///
    /// ```should_panic
    /// let _fake = mlflow::testing::fake().strict();
    /// mlflow::log_metric("loss", 0.5); // no run has been started
    /// ```
    #[must_use = "the fake ends when it is dropped"]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Makes the store answer the next request with `error`. Each further call adds an error for the request
    /// after that. Requests are made when [`runs`](Self::runs), an assertion or [`flush`](crate::flush)
    /// delivers the logged values. Each of the following is one request: the creation of an experiment, the
    /// creation of a run, a batch of values, an artifact, the end of a run.
    ///
    /// ```
    /// use mlflow::StoreError;
    ///
    /// let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().experiment("demo").name("fit").start();
    /// fake.fail_next(StoreError::Unavailable { reason: "maintenance".into(), retry_after: None });
    /// assert_eq!(mlflow::flush(std::time::Duration::ZERO).queued, 1, "the run's start waits");
    /// drop(run);
    /// fake.assert_run_finished("fit"); // nothing was lost
    /// ```
    pub fn fail_next(&self, error: StoreError) {
        self.store.fail_next(error);
    }

    /// Makes the store unavailable until [`online`](Self::online) is called: values wait, and
    /// [`health`](crate::health) reports [`TrackingState::Waiting`](crate::TrackingState::Waiting).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let fake = mlflow::testing::fake();
    /// fake.offline();
    /// drop(mlflow::start_run().name("fit").start());
    /// assert!(!mlflow::flush(Duration::ZERO).complete);
    /// assert_eq!(mlflow::health().state, mlflow::TrackingState::Waiting);
    /// assert!(fake.runs().is_empty());
    /// fake.online();
    /// fake.assert_run_finished("fit");
    /// ```
    pub fn offline(&self) {
        self.store.set_offline(true);
    }

    /// Makes the store available again, after [`offline`](Self::offline). See [`offline`](Self::offline) for an example.
    pub fn online(&self) {
        self.store.set_offline(false);
    }

    /// Returns the names of the experiments so far, in order of creation.
    #[must_use]
    pub fn experiments(&self) -> Vec<String> {
        self.deliver();
        self.store
            .experiments()
            .into_iter()
            .map(|experiment| experiment.name)
            .collect()
    }

    /// Fails unless the experiment was created.
    #[track_caller]
    pub fn assert_experiment_created(&self, name: &str) {
        let created = self.experiments();
        assert!(
            created.iter().any(|experiment| experiment == name),
            "{}{}",
            difference::describe_missing_experiment(name, &created),
            self.alive.hint()
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
        self.assert(&Expected::Param { key, value });
    }

    /// Fails unless some run has this tag with this value.
    #[track_caller]
    pub fn assert_tag(&self, key: &str, value: &str) {
        self.assert(&Expected::Tag { key, value });
    }

    /// Fails unless some run has a point of this metric.
    #[track_caller]
    pub fn assert_metric_logged(&self, key: &str) {
        self.assert(&Expected::SomePoints { key });
    }

    /// Fails unless some run has exactly these points of this metric, as `(step, value)`, in this
    /// order. NaN equals NaN here.
    #[track_caller]
    pub fn assert_metric(&self, key: &str, points: &[(i64, f64)]) {
        self.assert(&Expected::Points { key, points });
    }

    /// Fails unless some run has a dataset of this name as an input, with this context. An empty context is
    /// none.
    #[track_caller]
    pub fn assert_input(&self, name: &str, context: &str) {
        self.assert(&Expected::Input { name, context });
    }

    /// Fails unless some run has an artifact at this path.
    #[track_caller]
    pub fn assert_artifact_logged(&self, path: &str) {
        self.assert(&Expected::Artifact { path });
    }

    /// Fails unless some run has exactly these rows in the table `artifact_file`, in this order. A column that a row
    /// lacks is null.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// mlflow::log_table([("2 + 2", "4")], "eval.json");
    /// # drop(run);
    /// fake.assert_table("eval.json", &[("2 + 2", "4")]);
    /// ```
    #[track_caller]
    pub fn assert_table<T: Serialize>(&self, artifact_file: &str, rows: &[T]) {
        let rows = to_rows(rows);
        let rows = rows.expect("the expected rows can be written as JSON");
        self.assert(&Expected::Table {
            path: artifact_file,
            rows: &rows,
        });
    }

    /// Fails unless some run has logged a model of this name, and the model is ready.
    #[track_caller]
    pub fn assert_model_logged(&self, name: &str) {
        self.assert(&Expected::Model { name });
    }

    /// Fails if any run was started. Values that were logged without a run do not count;
    /// [`strict`](Self::strict) finds those.
    #[track_caller]
    pub fn assert_nothing_logged(&self) {
        let runs = self.runs();
        assert!(
            runs.is_empty(),
            "{}",
            describe_mismatch(&Expected::Nothing, &runs)
        );
    }

    #[track_caller]
    fn assert_status(&self, name: &str, status: RunStatus) {
        let status = status.as_str();
        self.assert(&Expected::Status { name, status });
    }

    #[track_caller]
    fn assert(&self, expected: &Expected<'_>) {
        let runs = self.runs();
        let holds = runs.iter().any(|run| expected.matches(run));
        assert!(
            holds,
            "{}{}",
            describe_mismatch(expected, &runs),
            self.alive.hint()
        );
    }
}

/// Returns the rows as they are read from a table; `None` if one cannot be written as JSON.
fn to_rows<T: Serialize>(rows: &[T]) -> Option<Vec<Row>> {
    let mut lines = Vec::new();
    for row in rows {
        write_row(row, &mut lines).ok()?;
    }
    let lines = String::from_utf8(lines).ok()?;
    let mut table = TableFile::new();
    for line in lines.lines() {
        table.push_line(line).ok()?;
    }
    table.read_rows().ok()
}

/// Runs recorded so far, in the form for snapshots; see [`RecordedRun`].
impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.runs()).finish()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let (mut faults, mut escaped) = (Vec::new(), Vec::new());
        if !std::thread::panicking() {
            if self.strict {
                faults = strict::find_faults(&self.tracker, &self.runs());
            }
            escaped = self.alive.escaped_runs();
        }
        // Without this, the thread would keep its segment of the fake's journal for as long as the thread
        // lives.
        journal::release_thread(self.tracker.journal());
        assert!(
            escaped.is_empty(),
            "{}",
            fake_scope::describe_escaped_runs(&escaped)
        );
        assert!(faults.is_empty(), "{}", strict::format_faults(&faults));
    }
}
