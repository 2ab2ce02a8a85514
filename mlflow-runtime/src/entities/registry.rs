//! Records of the model registry: [`RegisteredModel`] and [`ModelVersion`], and the descriptions of new ones.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;

/// Model in the model registry: a name with numbered versions. See [`NewRegisteredModel`] for an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RegisteredModel {
    /// Name of the model, unique in the registry.
    pub name: String,
    /// Time of the creation, in ms since the Unix epoch.
    pub creation_time_ms: Option<i64>,
    /// Time of the last change, in ms since the Unix epoch.
    pub last_updated_time_ms: Option<i64>,
    /// Description in Markdown; empty if there is none.
    pub description: String,
    /// Tags by key.
    pub tags: BTreeMap<String, String>,
    /// Version that each alias names, by alias.
    pub aliases: BTreeMap<String, u64>,
}

/// Version of a [`RegisteredModel`]. See [`NewModelVersion`] for an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ModelVersion {
    /// Name of the registered model.
    pub name: String,
    /// Number of the version; the first is 1.
    pub version: u64,
    /// Time of the creation, in ms since the Unix epoch.
    pub creation_time_ms: Option<i64>,
    /// Time of the last change, in ms since the Unix epoch.
    pub last_updated_time_ms: Option<i64>,
    /// Description in Markdown; empty if there is none.
    pub description: String,
    /// User who created the version; empty if unknown.
    pub user_id: String,
    /// URI of the model's files.
    pub source: String,
    /// Id of the run that created the model; `None` if no run is known.
    pub run_id: Option<String>,
    /// State of the registration.
    pub status: ModelVersionStatus,
    /// Explanation of the status; empty if there is none.
    pub status_message: String,
    /// Link to the run that created the model; empty if there is none.
    pub run_link: String,
    /// Tags by key.
    pub tags: BTreeMap<String, String>,
    /// Aliases that name this version, in alphabetical order. A search on a server leaves them empty, as MLflow
    /// does.
    pub aliases: Vec<String>,
}

/// State of the registration of a [`ModelVersion`]. See [`NewModelVersion`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ModelVersionStatus {
    /// The version is being registered.
    PendingRegistration,
    /// The registration failed.
    FailedRegistration,
    /// The version can be used.
    Ready,
}

impl ModelVersionStatus {
    /// Reads MLflow's name of a status. An unknown name counts as pending.
    pub(crate) fn from_name(name: &str) -> Self {
        match name {
            "READY" => Self::Ready,
            "FAILED_REGISTRATION" => Self::FailedRegistration,
            _ => Self::PendingRegistration,
        }
    }
}

/// Registered model to be created by
/// [`Client::create_registered_model`](crate::Client::create_registered_model). A plain name converts into one.
///
/// ```
/// use mlflow::entities::NewRegisteredModel;
///
/// # let fake = mlflow::testing::fake();
/// let client = mlflow::blocking::Client::new();
/// let new = NewRegisteredModel::new("digits").description("Reads digits.").tag("team", "vision");
/// client.create_registered_model(new)?;
/// let model = client.registered_model("digits")?;
/// assert_eq!((&*model.description, &*model.tags["team"]), ("Reads digits.", "vision"));
/// assert!(model.aliases.is_empty());
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRegisteredModel {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

impl NewRegisteredModel {
    /// Creates the description of a model without tags.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: None,
            tags: BTreeMap::new(),
        }
    }

    /// Sets the description, in Markdown.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Adds a tag. A second value of the same key replaces the first.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.tags.insert(key.into(), value.to_string());
        self
    }
}

impl From<&str> for NewRegisteredModel {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// Model version to be created by [`Client::create_model_version`](crate::Client::create_model_version).
///
/// ```
/// use mlflow::entities::{ModelVersionStatus, NewModelVersion};
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// # mlflow::log_model(&mlflow::Model::new("net").bytes("net.bin", [7]));
/// # mlflow::flush(std::time::Duration::from_secs(10));
/// # let (run_id, model_id) = (run.run_id().unwrap(), fake.runs()[0].model_outputs[0].0.clone());
/// let client = mlflow::blocking::Client::new();
/// client.create_registered_model("digits")?;
/// let new = NewModelVersion::new("digits", format!("models:/{model_id}"))
///     .run_id(&run_id)
///     .model_id(&model_id)
///     .run_link("https://mlflow.example.org/#/experiments/1/runs/0f1a6c3b")
///     .description("Trained on the *cleaned* images.")
///     .tag("stage", "dev");
/// let version = client.create_model_version(new)?;
/// assert_eq!((version.version, version.status), (1, ModelVersionStatus::Ready));
/// assert_eq!(version.run_id, Some(run_id));
/// assert_eq!(version.tags["stage"], "dev");
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewModelVersion {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) run_id: Option<String>,
    pub(crate) model_id: Option<String>,
    pub(crate) run_link: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

impl NewModelVersion {
    /// Creates the description of a version of the registered model `name`, whose files are at `source`: the
    /// URI of a run's artifact, or of any other place that the server can read.
    #[must_use]
    pub fn new(name: impl Into<String>, source: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            source: source.into(),
            run_id: None,
            model_id: None,
            run_link: None,
            description: None,
            tags: BTreeMap::new(),
        }
    }

    /// Sets the run that created the model.
    #[must_use]
    pub fn run_id(mut self, run_id: impl Into<String>) -> Self {
        self.run_id = Some(run_id.into());
        self
    }

    /// Sets the logged model that the version is. A server needs it for a source `models:/<id>`.
    #[must_use]
    pub fn model_id(mut self, model_id: impl Into<String>) -> Self {
        self.model_id = Some(model_id.into());
        self
    }

    /// Sets a link to the run that created the model, for a run on another server.
    #[must_use]
    pub fn run_link(mut self, link: impl Into<String>) -> Self {
        self.run_link = Some(link.into());
        self
    }

    /// Sets the description, in Markdown.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Adds a tag. A second value of the same key replaces the first.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.tags.insert(key.into(), value.to_string());
        self
    }
}
