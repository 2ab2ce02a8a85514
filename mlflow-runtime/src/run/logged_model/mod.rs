//! [`Model`]: the description of a trained model and its files, as a builder.
//!
//! Invariant: no file is touched before the model is logged.

mod connection;
mod flavor;
mod metric;
mod record;
mod registration;
mod signature;

use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

pub use flavor::Flavor;
pub use signature::{Signature, TensorType};

use crate::capture::Text;
use crate::model::limits;
use crate::run::log_as::{LogAsInput, describe_dataset};
use crate::run::metric_value::{MetricValue, Step};
use metric::GivenMetric;

/// Trained model with its files, to be logged with [`log_model`](crate::log_model()).
///
/// MLflow 3 keeps a model beside the runs: with a status, params and tags of its own, with the run that has trained
/// it, and with a file `MLmodel` by which Python loads it. The files are copied when the model is logged, so the
/// program may delete them at once. A model is shown as ready when the store has all of its files.
///
/// ```
/// use mlflow::{Flavor, Model};
///
/// # let folder = std::env::temp_dir().join(format!("mlflow-doc-model-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("model.onnx");
/// # std::fs::write(&path, [0x08, 8, 0x3a, 0]).unwrap();
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let classifier = Model::new("classifier")
///     .file(&path) // …/model.onnx
///     .flavor(Flavor::Onnx)
///     .model_type("classifier")
///     .param("layers", 4)
///     .tag("team", "vision")
///     .step(100);
/// mlflow::log_model(&classifier);
/// # drop(run);
/// # std::fs::remove_dir_all(folder).unwrap();
/// # fake.assert_model_logged("classifier");
/// # let model = &fake.runs()[0].models[0];
/// # assert_eq!((model.model_type.as_deref(), &*model.tags["team"]), (Some("classifier"), "vision"));
/// ```
///
/// Logged models need MLflow 3. A model that is logged to an older server, or to a SQLite file that MLflow 3 has not
/// opened yet, waits in the journal, with one line that says so.
#[derive(Clone)]
#[must_use = "a model is recorded by `mlflow::log_model`, or if a tracked function returns it"]
pub struct Model {
    name: String,
    sources: Vec<ModelSource>,
    flavor: Option<Flavor>,
    signature: Option<Signature>,
    /// JSON of the input example, or the reason why there is none.
    input_example: Option<Result<String, String>>,
    params: Vec<(String, String)>,
    tags: Vec<(String, String)>,
    metrics: Vec<GivenMetric>,
    model_type: Option<String>,
    step: i64,
    registered_name: Option<String>,
    aliases: Vec<String>,
    version_tags: Vec<(String, String)>,
}

/// Origin of files of a model.
#[derive(Clone)]
enum ModelSource {
    File(PathBuf),
    Folder(PathBuf),
    /// Bytes, shared by the clones of a model.
    Bytes {
        path: String,
        bytes: Arc<Vec<u8>>,
    },
}

impl Model {
    /// Creates a model without files. A name of MLflow contains none of the characters `/ : . % " '`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            sources: Vec::new(),
            flavor: None,
            signature: None,
            input_example: None,
            params: Vec::new(),
            tags: Vec::new(),
            metrics: Vec::new(),
            model_type: None,
            step: 0,
            registered_name: None,
            aliases: Vec::new(),
            version_tags: Vec::new(),
        }
    }

    /// Returns the given name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Adds a file, under its own name. See [`Model`] for an example.
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.sources
            .push(ModelSource::File(path.as_ref().to_owned()));
        self
    }

    /// Adds all files of a folder, without the folder's own name. A link to a folder is not followed.
    ///
    /// ```
    /// # use mlflow::Model;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// mlflow::log_model(&Model::new("net").folder("benches"));
    /// # drop(run);
    /// # assert!(fake.runs()[0].models[0].files.contains_key("log.rs"));
    /// ```
    pub fn folder(mut self, path: impl AsRef<Path>) -> Self {
        self.sources
            .push(ModelSource::Folder(path.as_ref().to_owned()));
        self
    }

    /// Adds bytes as a file with this path inside of the model.
    ///
    /// ```
    /// # use mlflow::Model;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// let weights = [0.25_f32, 0.5].map(f32::to_le_bytes).concat();
    /// mlflow::log_model(&Model::new("perceptron").bytes("weights.bin", weights));
    /// # drop(run);
    /// # assert_eq!(fake.runs()[0].models[0].files["weights.bin"].len(), 8);
    /// ```
    pub fn bytes(mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let (path, bytes) = (path.into(), Arc::new(bytes.into()));
        self.sources.push(ModelSource::Bytes { path, bytes });
        self
    }

    /// Sets the form of the files. Files that are not what the flavor needs are logged as plain files, under the
    /// flavor `files`, with a warning.
    pub fn flavor(mut self, flavor: Flavor) -> Self {
        self.flavor = Some(flavor);
        self
    }

    /// Sets the inputs and outputs. See [`Signature`] for an example.
    pub fn signature(mut self, signature: Signature) -> Self {
        self.signature = Some(signature);
        self
    }

    /// Sets an example of an input, which is stored as `input_example.json`.
    ///
    /// ```
    /// # use mlflow::Model;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// let wine = Model::new("wine").bytes("trees.json", "[]").input_example(&[[12.5, 0.3]]);
    /// mlflow::log_model(&wine);
    /// # drop(run);
    /// # assert_eq!(fake.runs()[0].models[0].files["input_example.json"], b"[[12.5,0.3]]");
    /// ```
    pub fn input_example<T: Serialize + ?Sized>(mut self, example: &T) -> Self {
        // The `Serialize` of a type may panic, which must not reach the caller.
        let written = catch_unwind(AssertUnwindSafe(|| serde_json::to_string(example)));
        self.input_example = Some(match written {
            Ok(Ok(json)) => Ok(json),
            Ok(Err(error)) => Err(format!("it cannot be written as JSON: {error}")),
            Err(_) => Err("its `Serialize` panicked".to_owned()),
        });
        self
    }

    /// Adds a param of the model, beside the params of its run. Of two with the same key, the first one stays.
    pub fn param(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.params
            .push((key.into(), bounded_text(limits::PARAM_VALUE_CHARS, &value)));
        self
    }

    /// Adds a tag of the model.
    pub fn tag(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.tags
            .push((key.into(), bounded_text(limits::TAG_VALUE_CHARS, &value)));
        self
    }

    /// Adds a metric of the model, which is logged on the run, too, at the model's [`step`](Self::step).
    ///
    /// ```
    /// # use mlflow::Model;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// mlflow::log_model(&Model::new("net").bytes("weights.bin", [0]).step(100).metric("accuracy", 0.97));
    /// # drop(run);
    /// # assert_eq!(fake.runs()[0].models[0].metrics[0].value, 0.97);
    /// # fake.assert_metric("accuracy", &[(100, 0.97)]);
    /// ```
    ///
    /// The metric is on the run at once, and on the model when the store has the model. A metric stays on the run
    /// if its model is rejected.
    pub fn metric(mut self, key: impl Into<String>, value: impl MetricValue) -> Self {
        self.metrics.push(GivenMetric {
            key: key.into(),
            value: value.as_metric(),
            dataset: None,
        });
        self
    }

    /// Adds a metric that was measured on a dataset, as [`metric`](Self::metric) does. The dataset becomes an
    /// input of the run, without a context. To give one, pass the dataset to [`log_input`](crate::log_input())
    /// before.
    ///
    /// ```
    /// # use mlflow::{Dataset, Model};
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// let test_set = Dataset::new("digits-test").digest("v7");
    /// let net = Model::new("net").bytes("weights.bin", [0]).metric_on(&test_set, "accuracy", 0.93);
    /// mlflow::log_model(&net);
    /// # drop(run);
    /// # let metric = &fake.runs()[0].models[0].metrics[0];
    /// # assert_eq!(metric.dataset.as_ref().map(|dataset| (&*dataset.name, &*dataset.digest)), Some(("digits-test", "v7")));
    /// # assert_eq!(fake.runs()[0].inputs[0].name, "digits-test");
    /// ```
    pub fn metric_on(
        mut self,
        dataset: &(impl LogAsInput + ?Sized),
        key: impl Into<String>,
        value: impl MetricValue,
    ) -> Self {
        self.metrics.push(GivenMetric {
            key: key.into(),
            value: value.as_metric(),
            dataset: describe_dataset(dataset),
        });
        self
    }

    /// Sets the kind of the model, a word that the MLflow UI shows, e.g. `classifier`.
    pub fn model_type(mut self, kind: impl Into<String>) -> Self {
        self.model_type = Some(kind.into());
        self
    }

    /// Sets the step of the training at which the model was made. Default: 0.
    pub fn step(mut self, step: impl Step) -> Self {
        self.step = step.as_step();
        self
    }

    /// Registers the model, once it is ready, as the next version of the registered model `name`, which is created
    /// if it is missing.
    ///
    /// ```
    /// # use mlflow::Model;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// mlflow::log_model(&Model::new("net").bytes("weights.bin", [0]).register_as("digits"));
    /// # drop(run);
    /// # fake.assert_model_logged("net");
    /// # let client = mlflow::blocking::Client::new();
    /// # assert_eq!(client.model_version("digits", 1).unwrap().version, 1);
    /// ```
    pub fn register_as(mut self, name: impl Into<String>) -> Self {
        self.registered_name = Some(name.into());
        self
    }

    /// Moves an alias to the registered version, e.g. `champion`, once the model is ready. An alias that a later
    /// version has got in the meantime stays there. Versions are numbered in the order in which the store gets them,
    /// so a model that waited in a journal may be a later version than one that was logged after it.
    ///
    /// ```
    /// # use mlflow::Model;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// let net = Model::new("net").bytes("weights.bin", [0]);
    /// mlflow::log_model(&net.register_as("digits").alias("champion").version_tag("stage", "dev"));
    /// # drop(run);
    /// # fake.assert_model_logged("net");
    /// # let client = mlflow::blocking::Client::new();
    /// # let version = client.model_version_by_alias("digits", "champion").unwrap();
    /// # assert_eq!((version.version, &*version.tags["stage"]), (1, "dev"));
    /// ```
    ///
    /// MLflow reserves `latest`, and `v1` and its like. An alias that MLflow refuses is left out, with a warning.
    pub fn alias(mut self, alias: impl Into<String>) -> Self {
        self.aliases.push(alias.into());
        self
    }

    /// Adds a tag of the registered version, beside the tags of the model. See [`alias`](Self::alias) for an
    /// example.
    pub fn version_tag(mut self, key: impl Into<String>, value: impl Display) -> Self {
        let value = bounded_text(limits::REGISTRY_TAG_VALUE_CHARS, &value);
        self.version_tags.push((key.into(), value));
        self
    }
}

/// Shows the name and the files of a model. Their bytes, and the values that may hold secrets, are left out.
impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            sources,
            flavor,
            step,
            ..
        } = self;
        f.debug_struct("Model")
            .field("name", name)
            .field("files", sources)
            .field("flavor", flavor)
            .field("step", step)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Folder(path) => fmt::Debug::fmt(path, f),
            Self::Bytes { path, bytes } => write!(f, "{path:?} ({} bytes)", bytes.len()),
        }
    }
}

/// Returns a value as text, whose formatting may panic without reaching the caller. A text that is too long has one
/// character more than `limit`, so that it is cut with a warning when the model is logged.
fn bounded_text(limit: usize, value: &impl Display) -> String {
    Text::from_value(limit + 1, value).text
}
