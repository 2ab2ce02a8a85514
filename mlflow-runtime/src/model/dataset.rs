//! [`InputDataset`], a dataset as an input of a run.

use crate::model::Tag;

/// Dataset that a run used, as a store writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputDataset {
    /// Name of the dataset.
    pub name: String,
    /// Digest of the dataset's content. An experiment has one dataset for each name and digest.
    pub digest: String,
    /// Kind of the source, e.g. `local` or `http`.
    pub source_type: String,
    /// Description of the source, as JSON.
    pub source: String,
    /// Schema as JSON.
    pub schema: Option<String>,
    /// Profile as JSON, e.g. the number of rows.
    pub profile: Option<String>,
    /// Tags of this use of the dataset, such as `mlflow.data.context`.
    pub tags: Vec<Tag>,
}
