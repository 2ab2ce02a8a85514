//! The domain model, below the journal and the stores: values, runs, keys, and MLflow's limits.

pub(crate) mod artifact_kind;
pub(crate) mod checkpoint;
pub(crate) mod dataset;
pub(crate) mod experiment_name;
pub(crate) mod key_names;
pub(crate) mod limits;
pub(crate) mod logged_model;
pub(crate) mod metric_key;
pub(crate) mod metric_rank;
pub(crate) mod mlmodel;
pub(crate) mod model_metric;
pub(crate) mod point_rate;
pub(crate) mod python_json;
pub(crate) mod run_identity;
pub(crate) mod tag_keys;
pub(crate) mod values;
mod yaml;

pub(crate) use artifact_kind::{ArtifactKind, ImageForm, PathNamespace, TableChunk};
#[cfg(feature = "image")]
pub(crate) use artifact_kind::{ImageLayout, ImagePlace};
pub use dataset::InputDataset;
pub use logged_model::{ModelStatus, NewModel, Registration, StoredModel};
pub(crate) use metric_rank::MetricRank;
pub use model_metric::{DatasetId, ModelMetric};
pub(crate) use point_rate::PointRate;
pub(crate) use run_identity::{Role, RunIdentity};
pub use values::{ExperimentRef, Metric, Param, ParseRunStatusError, RunStatus, Tag};
pub(crate) use yaml::to_yaml;
