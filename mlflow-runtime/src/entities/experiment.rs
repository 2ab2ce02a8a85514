//! [`Experiment`], and [`NewExperiment`] for its creation.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;

/// Experiment, as the store knows it. See [`Client::create_experiment`](crate::Client::create_experiment) for an
/// example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Experiment {
    /// Id that the store assigned to the experiment.
    pub experiment_id: String,
    /// Name of the experiment.
    pub name: String,
    /// URI or directory below which the runs' artifacts are.
    pub artifact_location: String,
    /// Stage: in use, or deleted.
    pub lifecycle_stage: LifecycleStage,
    /// Time of the creation, in ms since the Unix epoch; `None` in experiments of old MLflow releases.
    pub creation_time_ms: Option<i64>,
    /// Time of the last change, in ms since the Unix epoch; `None` in experiments of old MLflow releases.
    pub last_update_time_ms: Option<i64>,
    /// Tags by key.
    pub tags: BTreeMap<String, String>,
}

impl Experiment {
    /// Returns true if the experiment is deleted. See [`Client::create_experiment`](crate::Client::create_experiment)
    /// for an example.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.lifecycle_stage == LifecycleStage::Deleted
    }
}

/// Stage of an experiment or a run: what is deleted is only hidden, and can be restored.
///
/// ```
/// use mlflow::entities::LifecycleStage;
///
/// # let fake = mlflow::testing::fake();
/// let client = mlflow::blocking::Client::new();
/// let id = client.create_experiment("wine")?;
/// assert_eq!(client.experiment_by_id(&id)?.lifecycle_stage, LifecycleStage::Active);
/// client.delete_experiment(&id)?;
/// assert_eq!(client.experiment_by_id(&id)?.lifecycle_stage.as_str(), "deleted");
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LifecycleStage {
    /// The record is in use.
    Active,
    /// The record is deleted: it is hidden, and takes no values.
    Deleted,
}

impl LifecycleStage {
    /// Reads MLflow's name of a stage. Everything that is not deleted is active.
    pub(crate) fn from_name(name: &str) -> Self {
        if name == "deleted" {
            Self::Deleted
        } else {
            Self::Active
        }
    }

    /// Returns MLflow's name of the stage.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deleted => "deleted",
        }
    }
}

/// Experiment to be created by [`Client::create_experiment`](crate::Client::create_experiment). A plain name
/// converts into one.
///
/// ```
/// use mlflow::entities::NewExperiment;
///
/// # let fake = mlflow::testing::fake();
/// let client = mlflow::blocking::Client::new();
/// let new = NewExperiment::new("wine").artifact_location("s3://lake/wine").tag("team", "cellar");
/// let id = client.create_experiment(new)?;
/// let experiment = client.experiment("wine")?;
/// assert_eq!(experiment.experiment_id, id);
/// assert_eq!(experiment.artifact_location, "s3://lake/wine");
/// assert_eq!(experiment.tags["team"], "cellar");
/// # Ok::<(), mlflow::ClientError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewExperiment {
    pub(crate) name: String,
    pub(crate) artifact_location: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

impl NewExperiment {
    /// Creates the description of an experiment without tags, whose artifacts go where the store puts them.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            artifact_location: None,
            tags: BTreeMap::new(),
        }
    }

    /// Sets the URI or directory below which the artifacts of the runs go.
    #[must_use]
    pub fn artifact_location(mut self, location: impl Into<String>) -> Self {
        self.artifact_location = Some(location.into());
        self
    }

    /// Adds a tag. A second value of the same key replaces the first.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.tags.insert(key.into(), value.to_string());
        self
    }
}

impl From<&str> for NewExperiment {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for NewExperiment {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}
