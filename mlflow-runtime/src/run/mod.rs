//! Runs: the handles through which values are logged.
//!
//! Invariants: starting a run and logging to a run never wait for the store and never return an error. A run
//! ends once: the first end counts. The code in this module only writes to the journal; the shipper delivers.
//!
//! A [`Run`] is a shared handle. `builder` collects the options of a run, and `start` makes a run of them.
//! `guard` and `context` make a run the current one of a thread or task, and `current` logs to the current
//! run. Every access to the journal passes through `handle`, which finds the tracker of the calling process.

mod artifact;
mod builder;
pub(crate) mod callsite;
mod checkpoint;
mod checkpoint_retention;
mod chunk_series;
mod console_log;
pub(crate) mod current_run;
mod dataset;
mod default_name;
mod guard;
mod handle;
mod identity;
#[cfg(feature = "image")]
mod image;
pub(crate) mod instrumented;
pub(crate) mod log_as;
mod logged_model;
pub(crate) mod logging;
pub(crate) mod metric_value;
mod open_runs;
mod program;
pub(crate) mod start;
mod table;
#[cfg(feature = "image")]
mod table_images;
pub(crate) mod table_row;

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

pub use builder::{RunBuilder, start_run, start_run_at};
pub use dataset::{ColumnType, Dataset, Element};
pub use guard::ActiveRun;
#[cfg(feature = "image")]
pub use image::Image;
pub use log_as::{LogAsInput, LogAsModel};
pub use logged_model::{Flavor, Model, Signature, TensorType};
pub(crate) use open_runs::{is_open_here, kill_open_runs, signal_flag};

use serde::Serialize;

use crate::capture::{self, Numbers, Text, TextEnd, Values};
use crate::journal::record::Event;
use crate::journal::{self, MetricKey, MetricPoint};
use crate::model::RunIdentity;
use crate::model::limits;
use crate::model::metric_key::Key;
use crate::model::{ArtifactKind, ExperimentRef, Param, RunStatus, Tag};
use crate::run::current_run::Context;
use crate::run::metric_value::{MetricValue, Step};
use crate::shipper::run_link::RunLink;
use crate::system_metrics::SampledRun;
use crate::time;
use crate::tracker::Tracker;

/// Handle of a run, which logs to the run from any thread. A clone is cheap, and is a handle of the same run.
///
/// No method returns an error. Problems are reported in the log (`tracing`, target `mlflow`) and in
/// [`health`](crate::health). If tracking is disabled, a run accepts every call and records nothing.
///
/// The values of one thread reach the run in the order in which they were logged. For the order between
/// threads, see [the documentation of the crate](crate#order).
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
    callsite: Option<&'static callsite::Callsite>,
    name: String,
    ended: AtomicBool,
    tracker: Arc<Tracker>,
    link: Arc<RunLink>,
    chunk_series: chunk_series::ChunkSeries,
    checkpoint_retention: checkpoint_retention::CheckpointRetention,
}

impl Run {
    /// Returns the current run of the calling thread or task; `None` if there is none. See [`Run`] for an
    /// example.
    #[must_use]
    pub fn current() -> Option<Self> {
        Context::current().run().cloned()
    }

    /// Returns a run that accepts every call and records nothing: the run of a process that does not track,
    /// or a run whose start could not be written.
    fn disabled() -> Self {
        Self(None)
    }

    /// Returns the local id of the run: 32 hexadecimal characters, unique, and known as soon as the run has
    /// started. All ranks of a [rendezvous](crate::distributed#a-rendezvous) have the same local id for a run
    /// that they share. Empty if tracking is disabled.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().start();
    /// assert_eq!(run.key().len(), 32);
    /// ```
    #[must_use]
    pub fn key(&self) -> &str {
        self.0.as_ref().map_or("", |inner| &inner.identity.key)
    }

    /// Returns the id that the store has given the run; `None` until the run has been created there, which
    /// happens in the background.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().start();
    /// assert_eq!(run.run_id(), None);
    /// mlflow::flush(Duration::from_secs(10));
    /// assert!(run.run_id().is_some());
    /// if let Some(url) = run.url() {
    ///     eprintln!("the run is shown at {url}");
    /// }
    /// ```
    #[must_use]
    pub fn run_id(&self) -> Option<String> {
        self.0.as_ref()?.link.run_id()
    }

    /// Returns the URL of the run's page in the MLflow UI; `None` until the run has been created, and always
    /// if the store is not a tracking server. See [`run_id`](Self::run_id) for an example.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        self.0.as_ref()?.link.url()
    }

    /// Returns the run's name. Empty if tracking is disabled, and for a resumed or joined run unless a name
    /// was given at its start. See [`RunBuilder::name`] for an example.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("", |inner| &inner.name)
    }

    /// Logs a metric at step 0, with the time of the call. See [`log_metric_at`](Self::log_metric_at) for
    /// keys and times, and [`log_metric()`](crate::log_metric) for an example.
    pub fn log_metric(&self, key: &str, value: impl MetricValue) {
        self.log_metric_at(key, value, 0);
    }

    /// Logs a metric at a step, with the time of the call in milliseconds. NaN and infinities are valid
    /// values. See [`Run`] for an example.
    ///
    /// A value whose key MLflow refuses is stored under another name, with one warning. Each character but
    /// letters, digits, `_`, `-`, `.`, `/`, `:` and space becomes `_`, so `val/AR@100` is stored as
    /// `val/AR_100`. The parts that prevent a key from being a plain path, such as `..`, are replaced by `_`,
    /// too. A key of more than 250 characters is cut. If another key already has the resulting name, a hash
    /// of the key is appended to the name. The keys of params and tags are treated in the same way.
    ///
    /// MLflow identifies a point by key, time, step and value. The same value, logged twice at the same step
    /// within one clock tick (1 to 10 ms), is therefore a single point.
    #[inline]
    pub fn log_metric_at(&self, key: &str, value: impl MetricValue, step: impl Step) {
        self.log_point(key, value.as_metric(), step.as_step());
    }

    /// Logs several metrics at one step and one time, in the given order. See [`log_metrics()`](crate::log_metrics) for an
    /// example.
    pub fn log_metrics<K: AsRef<str>, V: MetricValue>(
        &self,
        metrics: impl IntoIterator<Item = (K, V)>,
        step: impl Step,
    ) {
        let (step, now_ms) = (step.as_step(), time::coarse_now_ms());
        for (key, value) in metrics {
            self.log_group(&[(key.as_ref(), value.as_metric())], step, now_ms);
        }
    }

    /// Logs a metric at a step and a time, for values that were measured earlier or elsewhere. MLflow stores milliseconds, and
    /// no time before 1970: such a point gets the time 0, with one warning. See
    /// [`log_metric_at_time()`](crate::log_metric_at_time) for an example, and [`log_metric_at`](Self::log_metric_at) for keys.
    pub fn log_metric_at_time(
        &self,
        key: &str,
        value: impl MetricValue,
        step: impl Step,
        time: impl Into<SystemTime>,
    ) {
        let Some(run) = self.live() else { return };
        let time_ms = time::unix_ms(time.into()).unwrap_or_else(|| {
            let what = "it was measured before 1970 by its time, which MLflow refuses; it is logged with the time 0";
            run.tracker.warn_left_out("metric", key, format_args!("{what}"));
            0
        });
        self.log_group(&[(key, value.as_metric())], step.as_step(), time_ms);
    }

    /// Logs the numbers of a struct or map as metrics, at one step and one time. A number or `bool` has the name of its field, and
    /// one of an inner struct, map or sequence that name behind the outer one: `train.loss`, `losses.0`. Give a field a name such
    /// as `train/loss` with `#[serde(rename = "train/loss")]` if MLflow's page is to group it with others.
    ///
    /// Texts, `None` and fields with a secret's name are no metrics and are left out. What cannot be read is left out with one
    /// warning: all numbers but the first 1,000, a sequence or map with more, and a value whose `Serialize` fails. See
    /// [`log_metrics_of()`](crate::log_metrics_of) for an example.
    pub fn log_metrics_of<T: Serialize + ?Sized>(&self, stats: &T, step: impl Step) {
        let Some(run) = self.live() else { return };
        let Numbers {
            values, missing, ..
        } = capture::numbers_of(stats);
        let type_name = std::any::type_name::<T>();
        if missing.is_empty() && values.iter().all(|(path, _)| path.is_empty()) {
            let what = "it has no field with a number; log_metrics_of takes a struct or a map, and log_metric a number";
            run.tracker
                .warn_rejected("metrics", type_name, format_args!("{what}"));
            return;
        }
        for (path, end) in &missing {
            let key = if path.is_empty() { type_name } else { path };
            run.tracker.sanitizer.warn_missing_metric(key, *end);
        }
        self.log_group(&values, step.as_step(), time::coarse_now_ms());
    }

    /// Logs a param. MLflow keeps the first value of a param: another value that is logged later is rejected,
    /// with a warning. A value of more than 6,000 characters is cut, with a warning, and
    /// [credentials](macro@crate::tracked#secrets) in a value are masked. See
    /// [`log_param()`](crate::log_param) for an example, and [`log_metric_at`](Self::log_metric_at) for keys
    /// that MLflow refuses.
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

    /// Logs the fields of a struct or map as params. The names of nested fields are joined with dots, as in
    /// `optimizer.lr`. A field with a [secret's name](macro@crate::tracked#secrets) is logged as
    /// `[redacted]`. A sequence of plain values is one param, such as `[64, 32]`. At most 10,000 fields of
    /// one value are logged; one warning reports that others are left out. A value without fields is
    /// rejected, with a warning. See [`log_params()`](crate::log_params) for an example.
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
                            "it is a lock, and locks are not waited for; lock it, and pass the value that it protects"
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

    /// Sets a tag. If a tag is set several times, the last value counts. A value of more than 8,000
    /// characters is cut, with a warning, and [credentials](macro@crate::tracked#secrets) in a value are
    /// masked. See [`set_tag()`](crate::set_tag) for an example, and [`log_metric_at`](Self::log_metric_at)
    /// for keys that MLflow refuses.
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

    /// Sets several tags, in the given order. See [`set_tags()`](crate::set_tags) for an example.
    pub fn set_tags<K: AsRef<str>, V: Display>(&self, tags: impl IntoIterator<Item = (K, V)>) {
        for (key, value) in tags {
            self.set_tag(key.as_ref(), value);
        }
    }

    /// Stores `text` as the artifact `artifact_file`, a relative path such as `notes/summary.md`. A text of
    /// more than 16 KiB is written to a file beside the journal before this method returns. See
    /// [`log_text()`](crate::log_text) for an example.
    ///
    /// MLflow's servers do not keep `%` and `#` in paths. If `artifact_file` contains one of them, each `%`
    /// and `#` becomes `_`, a hash of the path is appended to the file's stem, and a warning names the new
    /// path.
    pub fn log_text(&self, text: &str, artifact_file: &str) {
        if let Some(run) = self.live() {
            run.log_artifact_bytes(ArtifactKind::File, text.as_bytes(), artifact_file);
        }
    }

    /// Stores a value as JSON, indented by two spaces, or as YAML if `artifact_file` ends in `.yaml` or `.yml`.
    /// JSON keeps the order of the fields; YAML has them in alphabetical order, as MLflow's Python client writes
    /// it. A value that cannot be written as JSON, such as a map whose keys are lists, is rejected with a warning.
    /// NaN and infinities become `null`. See [`log_dict()`](crate::log_dict) for an example.
    pub fn log_dict<T: Serialize + ?Sized>(&self, value: &T, artifact_file: &str) {
        if let Some(run) = self.live() {
            run.log_dict(value, artifact_file);
        }
    }

    /// Appends rows to the table `artifact_file`, which the MLflow UI shows as a table and Python's
    /// `mlflow.load_table` reads. See [`log_table()`](crate::log_table) for an example.
    ///
    /// A row is any `Serialize` value: a struct or a map has a column for each field, a tuple or a list the columns
    /// `0`, `1` and so on, and a plain value the column `0`. Rows of one table may have different columns; a
    /// column that a row lacks is `null` there. NaN and infinities become `null`, as in MLflow. A row that cannot
    /// be written as JSON is left out, with a warning.
    ///
    /// With the feature `image`, a field of a row may be an `Image`. The UI shows a column of images if the first row has
    /// one; an image inside a list or struct is stored, and shown as its path. It is stored as Python's `log_table` stores it:
    /// as PNG, and as a WebP of 256 pixels, both in the folder `table_images` of the run. The cell of an image that cannot
    /// be copied is `null`, with a warning. A row that was made by `serde_json::json!` before the call has only the size of its
    /// images as text, with a warning.
    ///
    /// Further calls with the same path append, also after a restart of the process, and also to a table that
    /// Python has logged. Each row arrives once, also if an answer is lost or the process is killed. The rows of one thread
    /// stand in the order in which the thread has logged them. At each append the whole table is sent, in the
    /// background, so a table is meant for thousands of rows and not for millions; its file has at most 256 MiB. Ranks that [join](crate::distributed) a run and forked processes
    /// append to tables of their own, such as `eval-rank-3.json`. Two other processes that append to one table of one
    /// run at the same time can overwrite each other's rows, as with Python's client.
    ///
    /// MLflow finds a table by a name that ends in `.json` and has none of the characters `"',:[]{}?`. Any other
    /// name is changed, with a warning.
    pub fn log_table<T: Serialize>(&self, rows: impl IntoIterator<Item = T>, artifact_file: &str) {
        if let Some(run) = self.live() {
            run.log_table(rows, artifact_file);
        }
    }

    /// Stores an image as the artifact `artifact_file`, a PNG. The calling thread copies the pixels, or the file of an
    /// [`Image::from_file`]; they are encoded in the background. An image without pixels, or whose bytes do not fit its
    /// size, and a file that is no image are rejected with a warning. See [`log_image()`](crate::log_image) for an example.
    #[cfg(feature = "image")]
    #[cfg_attr(docsrs, doc(cfg(feature = "image")))]
    pub fn log_image<'i>(&self, image: impl Into<Image<'i>>, artifact_file: &str) {
        if let Some(run) = self.live() {
            run.log_image(&image.into(), artifact_file);
        }
    }

    /// Stores an image of the series `key` at a step. The MLflow UI shows the series of a run in a grid, with a
    /// slider for the steps. See [`log_image_at()`](crate::log_image_at) for an example, and
    /// [`log_image`](Self::log_image) for what happens to the pixels.
    ///
    /// A key has ASCII letters, digits, `_`, `-`, `.`, `/` and spaces, 128 characters at most.
    /// Other characters become `_`, a hash of the key is appended, and a warning names the new key.
    #[cfg(feature = "image")]
    #[cfg_attr(docsrs, doc(cfg(feature = "image")))]
    pub fn log_image_at<'i>(&self, image: impl Into<Image<'i>>, key: &str, step: impl Step) {
        if let Some(run) = self.live() {
            run.log_image_at(&image.into(), key, step.as_step());
        }
    }

    /// Stores a figure as the artifact `artifact_file`: the text of an SVG image, as charts are drawn by
    /// `plotters` and other crates, or an HTML page, which the MLflow UI shows with its scripts. The name has to
    /// end in `.svg`, `.html` or `.htm`; an ending that does not match the text is appended, with a warning. See
    /// [`log_figure()`](crate::log_figure) for an example.
    pub fn log_figure(&self, figure: &str, artifact_file: &str) {
        if let Some(run) = self.live() {
            run.log_figure(figure, artifact_file);
        }
    }

    /// Stores a copy of a file under the file's own name. If `local_path` is a folder, stores all files in
    /// the folder below the folder's own name, as MLflow's Python client does; links to other folders are not
    /// followed. See [`log_artifact()`](crate::log_artifact) for an example.
    ///
    /// The copy is complete before this method returns, so the original may be changed or deleted afterwards.
    /// Making the copy costs as much as `cp --reflink=auto`: almost nothing if the file system can share
    /// blocks (btrfs, XFS), else the time to copy the bytes.
    ///
    /// The copy stays beside the journal until the store has accepted it. Copies do not count towards
    /// `MLFLOW_JOURNAL_MAX_BYTES`, so a copy may have any size for which the disk has space. Copies leave 5 %
    /// of the disk, at most 1 GiB, free for the program's own files. If a copy does not fit, a file of up to
    /// 8 MiB is kept in the journal instead, with a warning. A larger file is left out, with one warning, and
    /// is counted in [`Health::rejected`](crate::Health::rejected).
    /// [`Health::artifact_bytes`](crate::Health::artifact_bytes) is the number of bytes in copies that wait.
    pub fn log_artifact(&self, local_path: impl AsRef<Path>) {
        self.log_artifact_in(local_path, "");
    }

    /// Stores a copy as [`log_artifact`](Self::log_artifact) does, in the directory `artifact_path` of the
    /// run's artifacts. An empty `artifact_path` is the root.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// run.log_artifact_in("Cargo.toml", "build");
    /// # drop(run);
    /// # assert!(fake.runs()[0].artifacts.contains_key("build/Cargo.toml"));
    /// ```
    pub fn log_artifact_in(&self, local_path: impl AsRef<Path>, artifact_path: &str) {
        if let Some(run) = self.live() {
            run.log_artifact_path(local_path.as_ref(), artifact_path);
        }
    }

    /// Stores copies of all files in a folder, without the folder's own name, as MLflow's Python client does.
    /// [`log_artifact`](Self::log_artifact) keeps the name. See there for what a copy costs, and
    /// [`log_artifacts()`](crate::log_artifacts) for an example.
    ///
    /// A file that is removed while the folder is read is left out, with a warning. Links to other folders are not
    /// followed.
    pub fn log_artifacts(&self, local_dir: impl AsRef<Path>) {
        self.log_artifacts_in(local_dir, "");
    }

    /// Stores copies as [`log_artifacts`](Self::log_artifacts) does, in the directory `artifact_path` of the run's
    /// artifacts.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// run.log_artifacts_in("benches", "source");
    /// # drop(run);
    /// # assert!(fake.runs()[0].artifacts.contains_key("source/log.rs"));
    /// ```
    pub fn log_artifacts_in(&self, local_dir: impl AsRef<Path>, artifact_path: &str) {
        if let Some(run) = self.live() {
            run.log_artifacts(local_dir.as_ref(), artifact_path);
        }
    }

    /// Logs a dataset as an input of the run. `context` is the purpose for which the run uses the dataset, e.g.
    /// `training`; an empty one is left out. Nothing is read or downloaded by the calling thread, except a
    /// file of up to 1 MiB. See [`log_input()`](crate::log_input()) for an example.
    ///
    /// A run has a dataset of one name and digest once as its input. If the dataset is logged again, the first
    /// context and tags stay.
    pub fn log_input(&self, dataset: &(impl LogAsInput + ?Sized), context: &str) {
        if let Some(run) = self.live()
            && let Some(dataset) = log_as::describe_dataset(dataset)
        {
            run.log_dataset(&dataset, context);
        }
    }

    /// Stores a copy of a file or folder as the checkpoint of a step: `checkpoints/step-100.bin` for a file
    /// `weights.bin`, `checkpoints/step-100/…` for a folder. [`Resume::download_checkpoint`](crate::Resume) fetches the
    /// newest whole one, e.g. after the process was killed. See [`log_checkpoint()`](crate::log_checkpoint) for an
    /// example, [`log_artifact`](Self::log_artifact) for what a copy costs, and
    /// [`keep_checkpoints`](Self::keep_checkpoints) for the deletion of old ones.
    ///
    /// A file is one checkpoint or none. Of a folder, all files are copied before the first of them is logged: if one
    /// cannot be copied, or the process is killed meanwhile, no part of the checkpoint is logged. The files of a folder
    /// are then uploaded one by one. The file `mlflow_checkpoint.json` in the folder says if all of them have arrived:
    /// `"complete": true`, with their names and sizes.
    ///
    /// If a step is logged again, a file replaces the one of the same extension. A folder is stored beside the earlier
    /// one, as `checkpoints/step-100-v1`, so that a whole checkpoint of the step exists at any time. Several files of
    /// one step belong into a folder. In a run that [ranks](crate::distributed) share, one rank logs the checkpoint of a
    /// step: two ranks would write to one folder.
    pub fn log_checkpoint(&self, local_path: impl AsRef<Path>, step: impl Step) {
        if let Some(run) = self.live() {
            run.log_checkpoint(local_path.as_ref(), step.as_step());
        }
    }

    /// Keeps the checkpoints of the newest `count` steps, and deletes older ones, among those that are logged from now
    /// on and those that earlier processes have logged to the run after they called this method. The newest are those
    /// of the greatest steps. By default, all are kept. See [`keep_checkpoints()`](crate::keep_checkpoints) for an
    /// example.
    ///
    /// Checkpoints are deleted in the background, after a newer one has arrived in full, so the store has at any time
    /// as many whole ones as are to be kept. If the process ends before that, they are deleted after the next
    /// checkpoint of the run, e.g. of the process that continues it; so a continued run calls this method, too.
    /// The tag `mlflow.rust.checkpoints` of the run lists the checkpoints that may be deleted, and nothing else is
    /// deleted: neither a file that was logged by another function nor one that was added to a checkpoint's folder. In
    /// a run that [ranks](crate::distributed) share, only checkpoints of rank 0 are deleted.
    ///
    /// Where artifacts cannot be deleted, all checkpoints are kept, and one line says so, for example where the server
    /// signs uploads to its bucket, and this library is built without the feature `object-store`. Some servers delete
    /// every path that begins with the given one. On a server, a file without an extension is therefore kept while
    /// another checkpoint's name begins with its name, and the folder of a deleted checkpoint may stay, without files.
    pub fn keep_checkpoints(&self, count: usize) {
        if let Some(run) = self.live() {
            run.keep_checkpoints(count);
        }
    }

    /// Logs a model as an output of the run. The calling thread copies the files of the model beside the journal,
    /// and waits for nothing else. See [`Model`] for an example.
    ///
    /// A model is logged with all of its files, or not at all: if a file is missing or cannot be read, one line
    /// says so. Each call logs a model of its own, also under the same name.
    pub fn log_model(&self, model: &(impl LogAsModel + ?Sized)) {
        if let Some(run) = self.live()
            && let Some(model) = log_as::describe_model(model)
        {
            run.log_model(&model);
        }
    }

    /// Logs a model that exists already as an output of the run at a step, as Python's `log_outputs` does. A run has a
    /// model once as its output, at the first step. See [`log_output()`](crate::log_output()) for an example.
    pub fn log_output(&self, model_id: &str, step: impl Step) {
        if let Some(run) = self.live() {
            run.log_output(model_id, step.as_step());
        }
    }

    /// Logs a model that exists already as an input of the run, as `log_inputs` of Python's client does. See
    /// [`log_model_input()`](crate::log_model_input()) for an example.
    pub fn log_model_input(&self, model_id: &str) {
        if let Some(run) = self.live() {
            run.log_model_input(model_id);
        }
    }

    /// Returns a handle that logs one metric of this run. A point that is logged through the handle
    /// costs less than a call of [`log_metric_at`](Self::log_metric_at), because the key is looked up only
    /// once. See [`Metric`] for an example.
    #[must_use]
    pub fn metric(&self, key: &str) -> Metric {
        Metric {
            run: self.clone(),
            key: Key::interned(key),
        }
    }

    /// Runs `f` with this run as the current run of the calling thread, and returns the result of `f`. Meant
    /// for threads, rayon jobs and callbacks. For futures, see [`instrument`](Self::instrument).
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

    /// Returns the context in which this run is the current one. For a run that records nothing, returns the
    /// context of the calling thread.
    pub(crate) fn as_current(&self) -> Context {
        let current = Context::current();
        match &self.0 {
            Some(_) => current.with_run(self.clone()),
            None => current,
        }
    }

    /// Ends the run now, with `status`. A run ends once: a later end, also that of an [`ActiveRun`], changes
    /// nothing. With a guard at hand, [`ActiveRun::finish`] is simpler.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let active = mlflow::start_run().name("fit").start();
    /// let run = active.clone(); // a handle, e.g. for another thread
    /// run.end(mlflow::RunStatus::Killed);
    /// drop(active); // the run has ended already
    /// fake.assert_run_killed("fit");
    /// ```
    ///
    /// A process that was forked from the one that started the run cannot end the run: the call does nothing
    /// there. In a process that has [joined](crate::distributed) the run, the call does not end the run
    /// either, and only the failure of that rank is recorded. While a termination signal is ending the open
    /// runs, the status is [`Killed`](RunStatus::Killed), whatever is given.
    pub fn end(&self, status: RunStatus) {
        if let Some(inner) = &self.0
            && let Some(run) = inner.live()
            && !run.is_inherited()
            && !inner.ended.swap(true, Ordering::Relaxed)
        {
            let end_time_ms = time::now_ms();
            run.end_capture();
            // The thread that ends the open runs after a signal may not have reached this run yet.
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

    /// Logs a metric under a key that is known before its values.
    pub(crate) fn log_known_point(&self, key: &Key, value: f64, step: i64) {
        self.log_now(key, value, step);
    }

    /// Logs a metric under a key that is only known by its text.
    pub(crate) fn log_point(&self, key: &str, value: f64, step: i64) {
        self.log_now(key, value, step);
    }

    /// Logs a metric with the time of the call. Inlined into one function for each kind of key, whose arguments are passed in
    /// registers.
    #[inline(always)]
    pub(crate) fn log_now(&self, key: impl MetricKey, value: f64, step: i64) {
        let Some(inner) = self.0.as_deref() else {
            return;
        };
        // The clock comes first, as it leaves few registers alone.
        let timestamp_ms = time::coarse_now_ms();
        if let Some(run) = inner.live() {
            let point = MetricPoint {
                run: run.journal_ref(),
                key,
                timestamp_ms,
                step,
                value,
            };
            journal::append_metric(run.tracker.journal(), point);
        }
    }

    /// Logs a number of the returned value at the last step that the run has logged under the key.
    pub(crate) fn log_returned_metric(&self, key: &str, value: f64) {
        if let Some(run) = self.live() {
            let journal = run.tracker.journal();
            // MLflow shows the later of two points at one step, so this point gets a time after all earlier
            // points.
            let now_ms = time::now_ms() + 1;
            journal::with_writer(journal, |writer| {
                writer.append_metric_at_last_step(journal, run.journal_ref(), key, now_ms, value);
            });
        }
    }

    /// Warns that a field of a `tracing` event is no number and thus no metric or, with `is_step`, that the
    /// field is no integer and thus no step.
    #[cfg(feature = "tracing")]
    pub(crate) fn warn_not_a_number(&self, field: &str, is_step: bool) {
        let Some(tracker) = self.live().map(|run| run.tracker) else {
            return;
        };
        if is_step {
            tracker.warn_once(
                "field",
                field,
                format_args!("it is not an integer; the metrics of the event are logged at step 0"),
            );
        } else {
            tracker.warn_rejected(
                "field",
                field,
                format_args!(
                    "it is not a number, so no metric is logged; pass the number itself, without `%` or `?`"
                ),
            );
        }
    }

    /// Logs several metrics at one step and one time.
    pub(crate) fn log_group(&self, group: &[(impl AsRef<str>, f64)], step: i64, time_ms: i64) {
        if let Some(run) = self.live() {
            let (journal, run) = (run.tracker.journal(), run.journal_ref());
            journal::with_writer(journal, |writer| {
                for (key, value) in group {
                    let point = MetricPoint {
                        run,
                        key: key.as_ref(),
                        timestamp_ms: time_ms,
                        step,
                        value: *value,
                    };
                    writer.append_metric(journal, point);
                }
            });
        }
    }

    /// Returns the key of an error tag, such as `error.message`. A rank that has joined the run of another
    /// one has error tags of its own, such as `error.rank-3.message`.
    pub(crate) fn error_tag(&self, what: &str) -> String {
        match self.member_rank() {
            Some(rank) => format!("error.rank-{rank}.{what}"),
            None => format!("error.{what}"),
        }
    }

    /// Returns the rank of this process in a run that several ranks share; `None` in a run of its own.
    pub(crate) fn member_rank(&self) -> Option<u32> {
        self.identity()
            .and_then(|identity| identity.role.member_rank())
    }

    /// Returns a weak handle, which does not keep the run alive.
    pub(crate) fn downgrade(&self) -> WeakRun {
        WeakRun(self.0.as_ref().map(Arc::downgrade).unwrap_or_default())
    }

    pub(crate) fn tracker(&self) -> Option<&Arc<Tracker>> {
        self.live().map(|run| run.tracker)
    }

    /// Returns false for a run that accepts every call and records nothing.
    fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the experiment of the run; `None` if tracking is disabled.
    fn experiment(&self) -> Option<ExperimentRef> {
        self.identity().map(|identity| identity.experiment.clone())
    }

    fn identity(&self) -> Option<&RunIdentity> {
        self.0.as_ref().map(|inner| &inner.identity)
    }
}

// A panic leaves nothing half done that a handle could show. Code of the user, which may panic, is called before a value is
// written or after it: the methods of `MetricValue`, `Display` and `Serialize`, iterators, and subscribers of `tracing`. A
// thread's writer is thus never left in the middle of a record, and the data behind every lock is valid at each step (`sync`).
impl UnwindSafe for Run {}
impl RefUnwindSafe for Run {}

impl PartialEq for Run {
    /// Returns true if the two handles belong to the same run. All handles that record nothing are equal.
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

/// Weak handle of a run; see [`Run::downgrade`].
pub(crate) struct WeakRun(Weak<Inner>);

impl WeakRun {
    /// Returns the run, if it has not ended and some code still has a handle to log to it.
    pub(crate) fn upgrade_if_open(&self) -> Option<Run> {
        let inner = self.0.upgrade()?;
        let is_open = !inner.ended.load(Ordering::Relaxed);
        is_open.then(|| Run(Some(inner)))
    }
}

/// Sampling holds only a weak handle: a run to which no code can log any more need not be sampled.
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

/// Handle of one metric of one run, made by [`Run::metric`].
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
    /// Logs a value at a step, with the time of the call in milliseconds. See [`Metric`] for an example.
    #[inline]
    pub fn log(&self, value: impl MetricValue, step: impl Step) {
        let (value, step) = (value.as_metric(), step.as_step());
        self.run.log_known_point(&self.key, value, step);
    }
}
