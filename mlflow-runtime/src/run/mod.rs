//! A run: what values are logged to.
//!
//! Invariants: starting a run and logging to it never wait and never fail; a run ends once, the
//! first end counts. Everything here only writes to the journal.

mod artifact;
mod builder;
pub(crate) mod callsite;
mod console_log;
pub(crate) mod context;
pub(crate) mod current;
mod guard;
mod handle;
mod identity;
pub(crate) mod instrumented;
pub(crate) mod metric_value;
mod open_runs;
pub(crate) mod start;

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

pub use builder::{RunBuilder, start_run, start_run_at};
pub use guard::ActiveRun;
pub(crate) use open_runs::{kill_open_runs, signal_flag};

use serde::Serialize;

use crate::capture::{self, Text, TextEnd, Values};
use crate::journal::record::Event;
use crate::journal::{self, MetricKey};
use crate::model::RunIdentity;
use crate::model::limits;
use crate::model::metric_key::Key;
use crate::model::{Param, RunStatus, Tag};
use crate::run::context::Context;
use crate::run::metric_value::{MetricValue, Step};
use crate::shipper::run_link::RunLink;
use crate::system_metrics::SampledRun;
use crate::time;
use crate::tracker::Tracker;

/// A run. Cheap to clone; clones are the same run and may log from any thread.
///
/// Nothing here returns an error: what goes wrong is in the log (`tracing`, target `mlflow`) and in
/// [`health`](crate::health).
///
/// ```
/// let fake = mlflow::testing::fake();
/// let active = mlflow::start_run().name("by hand").start();
/// let run = mlflow::Run::current().unwrap();
/// run.log_metric_at("loss", 0.25, 1);
/// active.finish(mlflow::RunStatus::Finished);
/// assert_eq!(fake.runs()[0].metrics["loss"][0].value, 0.25);
/// ```
#[derive(Clone)]
pub struct Run(Option<Arc<Inner>>);

struct Inner {
    number: u32,
    identity: RunIdentity,
    name: String,
    ended: AtomicBool,
    tracker: Arc<Tracker>,
    link: Arc<RunLink>,
}

impl Run {
    /// The calling thread's or task's current run.
    #[must_use]
    pub fn current() -> Option<Self> {
        Context::current().run().cloned()
    }

    /// The run of a process that does not track: takes everything, keeps nothing.
    fn disabled() -> Self {
        Self(None)
    }

    /// The local id: 32 hexadecimal characters, known at once, unique. The same in all ranks of a
    /// [rendezvous](crate::distributed#a-rendezvous). Empty where tracking is disabled.
    #[must_use]
    pub fn key(&self) -> &str {
        self.0.as_ref().map_or("", |inner| &inner.identity.key)
    }

    /// The store's id, as soon as the run has been created there.
    #[must_use]
    pub fn run_id(&self) -> Option<String> {
        self.0.as_ref()?.link.run_id()
    }

    /// The page that shows the run, as soon as it has been created on a tracking server.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        self.0.as_ref()?.link.url()
    }

    /// The run's name; empty for a resumed or joined run and where tracking is disabled.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("", |inner| &inner.name)
    }

    /// Logs a metric at step 0, with the time of the call.
    pub fn log_metric(&self, key: &str, value: impl MetricValue) {
        self.log_metric_at(key, value, 0);
    }

    /// Logs a metric at a step, with the time of the call (ms). NaN and infinities are values too.
    ///
    /// A key that MLflow refuses is kept under another one, with one warning: each character but letters,
    /// digits, `_`, `-`, `.`, `/`, `:` and space becomes `_` (`val/AR@100` is `val/AR_100`), and so does what
    /// makes it no plain path; beyond 250 characters it is cut. Where another key has that name, a hash of the
    /// key stands at its end. The same holds for the keys of params and tags.
    ///
    /// MLflow identifies a point by key, time, step and value: the same value logged twice at the
    /// same step within a clock tick is one point.
    #[inline]
    pub fn log_metric_at(&self, key: &str, value: impl MetricValue, step: impl Step) {
        self.log_point(MetricKey::Dynamic(key), value.as_metric(), step.as_step());
    }

    /// Logs several metrics at one step.
    pub fn log_metrics<K: AsRef<str>, V: MetricValue>(
        &self,
        metrics: impl IntoIterator<Item = (K, V)>,
        step: impl Step,
    ) {
        let step = step.as_step();
        for (key, value) in metrics {
            self.log_metric_at(key.as_ref(), value, step);
        }
    }

    /// Logs a parameter. MLflow keeps the first value of a param: another one later is refused,
    /// with a warning. Values are cut at 6,000 characters; credentials in them are masked.
    pub fn log_param(&self, key: &str, value: impl Display) {
        if self.0.is_some() {
            self.param_text(key, Text::from_value(limits::PARAM_VALUE_CHARS, &value));
        }
    }

    fn param_text(&self, key: &str, value: Text) {
        if let Some(run) = self.live() {
            let value =
                run.tracker
                    .sanitizer
                    .text_or_warn("param", key, limits::PARAM_VALUE_CHARS, value);
            let key = key.to_owned();
            run.write_event(Event::Param(Cow::Owned(Param { key, value })), &[]);
        }
    }

    /// Logs the fields of a struct or map as params, nested ones joined with dots; fields with a
    /// secret's name are logged as `[redacted]`. A sequence of plain values is one param, `[64, 32]`. Of
    /// one value 10,000 fields are logged; what is left out is one warning.
    pub fn log_params<T: Serialize + ?Sized>(&self, params: &T) {
        if self.0.is_none() {
            return;
        }
        match capture::flatten_config(params) {
            Values::Fields(fields) => {
                if let Some(tracker) = self.tracker() {
                    let keys = fields.iter().map(|(key, _)| &**key);
                    tracker.sanitizer.param_names.reserve(keys);
                }
                for (key, value) in fields {
                    self.param_text(&key, value);
                }
            }
            Values::Text(text) => {
                if let Some(run) = self.live() {
                    let kind = std::any::type_name::<T>();
                    let what = match text.end {
                        TextEnd::Failed | TextEnd::Panicked => "its `Serialize` failed",
                        TextEnd::Locked => {
                            "a lock is not waited for; lock it, and give what it protects"
                        }
                        TextEnd::Complete
                        | TextEnd::Truncated
                        | TextEnd::TooMany
                        | TextEnd::TooDeep => {
                            "it has no fields; log_params takes a struct or a map"
                        }
                    };
                    run.tracker
                        .warn_rejected("params", kind, format_args!("{what}"));
                }
            }
        }
    }

    /// Sets a tag; the last value wins. Values are cut at 8,000 characters; credentials in them are
    /// masked.
    pub fn set_tag(&self, key: &str, value: impl Display) {
        if self.0.is_some() {
            self.tag_text(key, Text::from_value(limits::TAG_VALUE_CHARS, &value));
        }
    }

    pub(crate) fn tag_text(&self, key: &str, value: Text) {
        if let Some(run) = self.live() {
            let value =
                run.tracker
                    .sanitizer
                    .text_or_warn("tag", key, limits::TAG_VALUE_CHARS, value);
            let key = key.to_owned();
            run.write_event(Event::Tag(Cow::Owned(Tag { key, value })), &[]);
        }
    }

    /// Sets several tags.
    pub fn set_tags<K: AsRef<str>, V: Display>(&self, tags: impl IntoIterator<Item = (K, V)>) {
        for (key, value) in tags {
            self.set_tag(key.as_ref(), value);
        }
    }

    /// Stores `text` as the artifact `artifact_file`, a relative path such as `notes/summary.md`.
    /// A text of more than 16 KiB is written to a file beside the journal before this returns.
    ///
    /// A path with `%` or `#`, which MLflow's servers do not keep, gets another name, with one warning: both become `_`,
    /// and the name ends with a hash of the path.
    pub fn log_text(&self, text: &str, artifact_file: &str) {
        if let Some(run) = self.live() {
            run.log_artifact_bytes(text.as_bytes(), artifact_file);
        }
    }

    /// Stores a copy of the file under its own name, or of all files of a folder below its name, as in Python; a
    /// link to a folder is not followed. The copy is made before this returns, so the file
    /// may change or go afterwards. It costs what `cp --reflink=auto` does: nothing to speak of where the
    /// file system can share blocks (btrfs, XFS), else the time to copy the bytes.
    ///
    /// The copy lies beside the journal until the store has it. It may be of any size that the disk has
    /// room for: it takes nothing of `MLFLOW_JOURNAL_MAX_BYTES`. Of the disk 5 %, at most 1 GiB, stay free
    /// for the program's own files; a copy that does not fit is left out with one warning and counted in
    /// [`Health::rejected`](crate::Health::rejected). [`Health::artifact_bytes`](crate::Health::artifact_bytes)
    /// has the bytes that wait.
    pub fn log_artifact(&self, local_path: impl AsRef<Path>) {
        self.log_artifact_in(local_path, "");
    }

    /// The same, in the directory `artifact_path` of the run's artifacts.
    pub fn log_artifact_in(&self, local_path: impl AsRef<Path>, artifact_path: &str) {
        if let Some(run) = self.live() {
            run.log_artifact_path(local_path.as_ref(), artifact_path);
        }
    }

    /// A handle that logs one metric of this run with the least work.
    #[must_use]
    pub fn metric(&self, key: &str) -> Metric {
        Metric {
            run: self.clone(),
            key: Key::interned(key),
        }
    }

    /// Runs `f` with this run as the current one: for threads, rayon, callbacks.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let active = mlflow::start_run().start();
    /// let run = active.clone();
    /// std::thread::spawn(move || run.scope(|| mlflow::log_metric("from a thread", 1.0))).join().unwrap();
    /// drop(active);
    /// # fake.assert_metric_logged("from a thread");
    /// ```
    pub fn scope<R>(&self, f: impl FnOnce() -> R) -> R {
        let _guard = self.0.as_ref().map(|_| self.as_current().enter());
        f()
    }

    /// The context in which this is the current run; that of the calling thread where the process
    /// does not track.
    pub(crate) fn as_current(&self) -> Context {
        let current = Context::current();
        match &self.0 {
            Some(_) => current.with_run(self.clone()),
            None => current,
        }
    }

    /// Ends the run now. A run ends once: a later end, also that of a guard, changes nothing. Nor
    /// does one in a process that was forked from the one that started the run, or that has
    /// [joined](crate::distributed) it.
    pub fn end(&self, status: RunStatus) {
        if let Some(inner) = &self.0
            && let Some(run) = inner.live()
            && !run.is_inherited()
            && !inner.ended.swap(true, Ordering::Relaxed)
        {
            let end_time_ms = time::now_ms();
            run.end_capture();
            // The thread that ends runs on a signal may not have come to this one yet.
            let status = if open_runs::is_signalled() {
                RunStatus::Killed
            } else {
                status
            };
            run.write_event(
                Event::End {
                    status,
                    end_time_ms,
                },
                &[],
            );
        }
    }

    #[inline]
    pub(crate) fn log_point(&self, key: MetricKey<'_>, value: f64, step: i64) {
        if let Some(run) = self.live() {
            let journal = run.tracker.journal();
            let now = time::coarse_now_ms();
            journal::with_writer(journal, |writer| {
                writer.append_metric(journal, &run.journal_ref(), key, now, step, value);
            });
        }
    }

    /// Logs a number of the returned value at the last step that the run has under the key.
    pub(crate) fn log_returned_metric(&self, key: &str, value: f64) {
        if let Some(run) = self.live() {
            let journal = run.tracker.journal();
            // Of two points at one step MLflow shows the later one: it is after all that were logged before.
            let now_ms = time::now_ms() + 1;
            journal::with_writer(journal, |writer| {
                let key = MetricKey::Dynamic(key);
                writer.append_metric_at_last_step(journal, &run.journal_ref(), key, now_ms, value);
            });
        }
    }

    /// A field of an event, to be a metric or its step, is neither.
    #[cfg(feature = "tracing")]
    pub(crate) fn warn_not_a_number(&self, field: &str, is_step: bool) {
        let Some(tracker) = self.live().map(|run| run.tracker) else {
            return;
        };
        if is_step {
            tracker.warn_once(
                "field",
                field,
                format_args!("it is no integer; the event's metrics are at step 0"),
            );
        } else {
            tracker.warn_rejected(
                "field",
                field,
                format_args!(
                    "it is no number, and no metric; give the number itself, without `%` and `?`"
                ),
            );
        }
    }

    /// Logs several metrics at one step and one time.
    pub(crate) fn log_group(&self, group: &[(String, f64)], step: i64, time_ms: i64) {
        if let Some(run) = self.live() {
            let (journal, run) = (run.tracker.journal(), run.journal_ref());
            journal::with_writer(journal, |writer| {
                for (key, value) in group {
                    let key = MetricKey::Dynamic(key);
                    writer.append_metric(journal, &run, key, time_ms, step, *value);
                }
            });
        }
    }

    /// Returns the key of an error tag. A rank that has joined another's run has error tags of its own.
    pub(crate) fn error_tag(&self, what: &str) -> String {
        match self
            .identity()
            .and_then(|identity| identity.role.member_rank())
        {
            Some(rank) => format!("error.rank-{rank}.{what}"),
            None => format!("error.{what}"),
        }
    }

    /// A way back to the run that does not keep it.
    pub(crate) fn downgrade(&self) -> WeakRun {
        WeakRun(self.0.as_ref().map(Arc::downgrade).unwrap_or_default())
    }

    pub(crate) fn tracker(&self) -> Option<&Arc<Tracker>> {
        self.live().map(|run| run.tracker)
    }

    /// Returns false for a run that takes everything and keeps nothing.
    fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    fn identity(&self) -> Option<&RunIdentity> {
        self.0.as_ref().map(|inner| &inner.identity)
    }
}

impl PartialEq for Run {
    /// Returns true if both are handles of one run. All handles of a process that does not track are equal.
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Run {}

impl Hash for Run {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("key", &self.key())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// See [`Run::downgrade`].
pub(crate) struct WeakRun(Weak<Inner>);

impl WeakRun {
    /// The run, if it has not ended and somebody can still log to it.
    pub(crate) fn upgrade_if_open(&self) -> Option<Run> {
        let inner = self.0.upgrade()?;
        let is_open = !inner.ended.load(Ordering::Relaxed);
        is_open.then(|| Run(Some(inner)))
    }
}

/// Weak: a run that nobody can log to any more need not be sampled.
impl SampledRun for WeakRun {
    fn is_open(&self) -> bool {
        self.upgrade_if_open().is_some()
    }

    fn log_group(&self, points: &[(String, f64)], step: i64, timestamp_ms: i64) -> bool {
        let run = self.upgrade_if_open();
        if let Some(run) = &run {
            run.log_group(points, step, timestamp_ms);
        }
        run.is_some()
    }
}

/// One metric of one run; see [`Run::metric`].
///
/// ```
/// # let fake = mlflow::testing::fake();
/// # let active = mlflow::start_run().start();
/// let loss = active.metric("loss");
/// for step in 0..3 {
///     loss.log(1.0 / (step + 1) as f64, step);
/// }
/// # drop(active);
/// # assert_eq!(fake.runs()[0].metrics["loss"].len(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct Metric {
    run: Run,
    key: Arc<Key>,
}

impl Metric {
    /// Logs a value at a step, with the time of the call.
    #[inline]
    pub fn log(&self, value: impl MetricValue, step: impl Step) {
        let key = MetricKey::Interned(&self.key);
        self.run.log_point(key, value.as_metric(), step.as_step());
    }
}
