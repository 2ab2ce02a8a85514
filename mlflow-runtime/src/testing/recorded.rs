//! Plain values that a fake has recorded.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;

use crate::entities::{DatasetInput, MetricPoint};
use crate::environment;
use crate::model::mlmodel::MLMODEL_FILE;
use crate::model::tag_keys;
use crate::model::{DatasetId, ModelMetric, RunStatus};
use crate::run::callsite::Callsite;
use crate::store::{StoredModelData, StoredRunData, TableFile};

/// Run as a [`Fake`](super::Fake) has recorded it.
///
/// The `Debug` output leaves out everything that differs from one machine, or one day, to the next: the ids,
/// the times, the tags of the environment and the build, and the time in a generated name. The output can
/// therefore be used as a snapshot:
///
/// ```
/// # #[mlflow::tracked]
/// # fn train(alpha: f64) { mlflow::metric!("loss", 0.5, step = 1); }
/// let fake = mlflow::testing::fake();
/// train(0.1);
/// // insta::assert_debug_snapshot!(fake.runs());
/// assert_eq!(
///     format!("{:?}", fake.runs()),
///     r#"[RecordedRun { name: "train-[timestamp]", experiment: "Default", status: Finished, params: {"alpha": "0.1"}, metrics: {"loss": [(1, 0.5)]} }]"#
/// );
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedRun {
    /// Id of the run.
    pub id: String,
    /// Name of the run.
    pub name: String,
    /// Name of the experiment.
    pub experiment: String,
    /// Status; `Running` while the run has not ended.
    pub status: RunStatus,
    /// Id of the parent run; `None` for a run without a parent.
    pub parent: Option<String>,
    /// Params by key.
    pub params: BTreeMap<String, String>,
    /// Tags by key, including those of the environment and the build; see [`own_tags`](Self::own_tags).
    pub tags: BTreeMap<String, String>,
    /// Points of each metric by key, in the order in which they were logged.
    pub metrics: BTreeMap<String, Vec<MetricPoint>>,
    /// Contents of the artifacts by path.
    pub artifacts: BTreeMap<String, Vec<u8>>,
    /// Datasets that were logged as inputs, in the order in which they were logged.
    pub inputs: Vec<DatasetInput>,
    /// Ids of the logged models that are inputs, in the order in which they were logged.
    pub model_inputs: Vec<String>,
    /// Ids and steps of the logged models that are outputs, in the order in which they were logged. Those of
    /// [`models`](Self::models) are among them.
    pub model_outputs: Vec<(String, i64)>,
    /// Models that were logged as outputs, in the order in which they were logged.
    pub models: Vec<RecordedModel>,
}

/// Model that a run has logged.
///
/// ```
/// use mlflow::{Flavor, Model};
///
/// let fake = mlflow::testing::fake();
/// let net = Model::new("net").bytes("net.mpk", [0x81]).flavor(Flavor::custom("burn_record")).param("layers", 4);
/// let run = mlflow::start_run().start();
/// run.log_model(&net.step(100));
/// drop(run);
///
/// let model = &fake.runs()[0].models[0];
/// assert_eq!((&*model.name, model.status, model.step), ("net", "READY", 100));
/// assert_eq!(model.flavor.as_deref(), Some("burn_record"));
/// assert_eq!(model.files["net.mpk"], [0x81]);
/// assert_eq!(model.params["layers"], "4");
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedModel {
    /// Name of the model.
    pub name: String,
    /// Kind of the model.
    pub model_type: Option<String>,
    /// Contents of the files by path, among them `MLmodel`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Params by key.
    pub params: BTreeMap<String, String>,
    /// Tags by key.
    pub tags: BTreeMap<String, String>,
    /// Metrics in the order in which they were logged.
    pub metrics: Vec<RecordedModelMetric>,
    /// Name of the flavor; `None` for a model without one.
    pub flavor: Option<String>,
    /// Status, as MLflow names it: `READY` once all files are there, `UPLOAD_FAILED` if one was rejected.
    pub status: &'static str,
    /// Step at which the model was logged.
    pub step: i64,
}

/// Metric of a model that a run has logged.
///
/// ```
/// use mlflow::{Dataset, Model};
///
/// let fake = mlflow::testing::fake();
/// let test_set = Dataset::new("digits-test").digest("v7");
/// let net = Model::new("net").bytes("net.bin", [7]).metric_on(&test_set, "accuracy", 0.93);
/// let run = mlflow::start_run().start();
/// run.log_model(&net);
/// drop(run);
///
/// let metric = &fake.runs()[0].models[0].metrics[0];
/// assert_eq!((&*metric.key, metric.value, metric.step), ("accuracy", 0.93, 0));
/// let dataset = metric.dataset.as_ref().expect("it was measured on one");
/// assert_eq!((&*dataset.name, &*dataset.digest), ("digits-test", "v7"));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecordedModelMetric {
    /// Name of the metric.
    pub key: String,
    /// Value of the metric.
    pub value: f64,
    /// Step of the model.
    pub step: i64,
    /// Dataset on which the model was measured.
    pub dataset: Option<DatasetId>,
}

impl From<ModelMetric> for RecordedModelMetric {
    fn from(metric: ModelMetric) -> Self {
        let ModelMetric { point, dataset } = metric;
        Self {
            key: point.key.to_string(),
            value: point.value,
            step: point.step,
            dataset,
        }
    }
}

impl From<StoredModelData> for RecordedModel {
    fn from(model: StoredModelData) -> Self {
        let StoredModelData {
            model_id: _,
            name,
            model_type,
            status,
            params,
            mut tags,
            metrics,
            files,
            step,
        } = model;
        tags.remove(tag_keys::MODEL_KEY);
        let status = status.as_str();
        Self {
            name,
            model_type,
            params,
            tags,
            metrics: metrics.into_iter().map(Into::into).collect(),
            flavor: files.get(MLMODEL_FILE).and_then(|file| flavor_of(file)),
            files,
            status: status.strip_prefix("LOGGED_MODEL_").unwrap_or(status),
            step: step.unwrap_or_default(),
        }
    }
}

/// Returns the name of the flavor in a file `MLmodel`, other than the one for Python functions.
fn flavor_of(mlmodel: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(mlmodel);
    let flavors = text.lines().skip_while(|line| *line != "flavors:").skip(1);
    let mut names = flavors
        .take_while(|line| line.starts_with(' '))
        .filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'))
        .filter(|name| !name.starts_with(' ') && *name != "python_function");
    names.next().map(|name| name.trim_matches('"').to_owned())
}

impl fmt::Debug for RecordedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            model_type,
            files,
            params,
            tags,
            metrics,
            flavor,
            status,
            step,
        } = self;
        let mut debug = f.debug_struct("RecordedModel");
        debug.field("name", name).field("status", status);
        if let Some(kind) = model_type {
            debug.field("model_type", kind);
        }
        if let Some(flavor) = flavor {
            debug.field("flavor", flavor);
        }
        let paths: Vec<_> = files.keys().collect();
        debug.field("files", &paths).field("step", step);
        if !params.is_empty() {
            debug.field("params", params);
        }
        if !tags.is_empty() {
            debug.field("tags", tags);
        }
        if !metrics.is_empty() {
            debug.field("metrics", metrics);
        }
        debug.finish()
    }
}

impl RecordedRun {
    pub(super) fn new(run: StoredRunData) -> Self {
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
        tags.remove(tag_keys::RUN_KEY);
        tags.retain(|key, _| !key.starts_with(tag_keys::TABLE_APPEND));
        Self {
            id: run.run_id,
            name: run.name,
            experiment: run.experiment,
            status: run.status,
            parent: tags.get(tag_keys::PARENT_RUN_ID).cloned(),
            params: run.params,
            tags,
            metrics,
            artifacts: run.artifacts,
            inputs: run.inputs.into_iter().map(Into::into).collect(),
            model_inputs: run.model_inputs,
            model_outputs: run.model_outputs,
            models: run.models.into_iter().map(Into::into).collect(),
        }
    }

    /// Returns the rows of the table `artifact_file`, each read from a map of its columns; `None` if the run has no such
    /// table, or a row does not fit `T`.
    ///
    /// ```
    /// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    /// struct Row { id: u32 }
    ///
    /// let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().start();
    /// mlflow::log_table([Row { id: 1 }, Row { id: 2 }], "t.json");
    /// drop(run);
    /// assert_eq!(fake.runs()[0].table("t.json"), Some(vec![Row { id: 1 }, Row { id: 2 }]));
    /// ```
    #[must_use]
    pub fn table<T: DeserializeOwned>(&self, artifact_file: &str) -> Option<Vec<T>> {
        let bytes = self.artifacts.get(artifact_file)?;
        TableFile::parse(bytes).ok()?.read_rows().ok()
    }

    /// Returns the tags that come from the code or from the outcome of the run, without those of the
    /// environment and the build.
    ///
    /// ```
    /// let fake = mlflow::testing::fake();
    /// drop(mlflow::start_run().tag("stage", "dev").start());
    /// let runs = fake.runs();
    /// assert!(runs[0].tags.len() > 1); // among them the process and the host
    /// assert_eq!(runs[0].own_tags().collect::<Vec<_>>(), [("stage", "dev")]);
    /// ```
    pub fn own_tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let tags = self.tags.iter();
        tags.map(|(key, value)| (key.as_str(), value.as_str()))
            .filter(|(key, _)| !is_automatic(key))
    }

    /// Returns the name, with `[timestamp]` in place of the time in a generated name and of the suffix that
    /// separates names of the same second.
    // Input:  `train-20261126-134101-1f0c3b`, `a-20261126-134101`
    // Output: `train-[timestamp]`, `a-[timestamp]`
    fn stable_name(&self) -> String {
        let name = match self.name.rsplit_once('-') {
            Some((start, end))
                if end.len() == 6
                    && end.bytes().all(|byte| byte.is_ascii_hexdigit())
                    && is_timestamp(start.get(start.len().saturating_sub(15)..)) =>
            {
                start
            }
            _ => &self.name,
        };
        let start = name.len().saturating_sub(15);
        match name.split_at_checked(start) {
            Some((name, time)) if is_timestamp(Some(time)) => format!("{name}[timestamp]"),
            _ => self.name.clone(),
        }
    }
}

/// Returns true if `text` is a time in the format of generated names: `20261126-134101`.
fn is_timestamp(text: Option<&str>) -> bool {
    let is_of_time = |(at, byte): (usize, u8)| match at {
        8 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    text.is_some_and(|text| text.len() == 15 && text.bytes().enumerate().all(is_of_time))
}

/// Returns true if runs have the tag without the code setting it: the run's name and parent, its tables and
/// images, the environment, the build.
pub(super) fn is_automatic(key: &str) -> bool {
    const SET_WITH_VALUES: [&str; 4] = [
        tag_keys::RUN_NAME,
        tag_keys::PARENT_RUN_ID,
        tag_keys::LOGGED_ARTIFACTS,
        tag_keys::LOGGED_IMAGES,
    ];
    SET_WITH_VALUES.contains(&key)
        || environment::for_process().has_tag(key)
        || Callsite::is_automatic_tag(key)
}

impl fmt::Debug for RecordedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id: _,
            name: _,
            experiment,
            status,
            parent,
            params,
            tags: _,
            metrics,
            artifacts,
            inputs,
            model_inputs: _,
            model_outputs: _,
            models,
        } = self;
        let mut debug = f.debug_struct("RecordedRun");
        debug
            .field("name", &self.stable_name())
            .field("experiment", experiment)
            .field("status", status);
        if parent.is_some() {
            debug.field("nested", &true);
        }
        if !params.is_empty() {
            debug.field("params", params);
        }
        let tags: BTreeMap<&str, &str> = self.own_tags().collect();
        if !tags.is_empty() {
            debug.field("tags", &tags);
        }
        if !metrics.is_empty() {
            let points = |points: &Vec<MetricPoint>| -> Vec<(i64, f64)> {
                points
                    .iter()
                    .map(|point| (point.step, point.value))
                    .collect()
            };
            let metrics: BTreeMap<&String, _> = metrics
                .iter()
                .map(|(key, found)| (key, points(found)))
                .collect();
            debug.field("metrics", &metrics);
        }
        if !artifacts.is_empty() {
            let artifacts: BTreeMap<&String, _> = artifacts
                .iter()
                .map(|(path, bytes)| (path, ArtifactPreview(bytes)))
                .collect();
            debug.field("artifacts", &artifacts);
        }
        if !inputs.is_empty() {
            let inputs: Vec<_> = inputs.iter().map(InputPreview).collect();
            debug.field("inputs", &inputs);
        }
        if !models.is_empty() {
            debug.field("models", models);
        }
        debug.finish()
    }
}

/// Dataset in the `Debug` output: its name and context. Its digest and source may contain a path of this
/// machine.
struct InputPreview<'a>(&'a DatasetInput);

impl fmt::Debug for InputPreview<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DatasetInput { name, context, .. } = self.0;
        match context {
            Some(context) => write!(f, "{name:?} for {context:?}"),
            None => write!(f, "{name:?}"),
        }
    }
}

/// Artifact in the `Debug` output: a text of up to 256 bytes as it is, anything else by its length.
struct ArtifactPreview<'a>(&'a [u8]);

impl fmt::Debug for ArtifactPreview<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) if text.len() <= 256 => fmt::Debug::fmt(text, f),
            _ => write!(f, "{} bytes", self.0.len()),
        }
    }
}
