//! Records that a [`Client`](crate::Client) reads from a store: experiments, runs, metrics, artifacts and
//! registered models, with MLflow's names.
//!
//! Invariants: a record is a plain value, which no later change in the store alters. Times are in ms since the
//! Unix epoch. Every record implements [`serde::Serialize`], with its fields' names as keys.
//!
//! The structs are `#[non_exhaustive]`: MLflow adds fields from release to release.

mod artifact;
mod experiment;
mod metric_history;
mod new_run;
mod registry;
mod run;

pub use artifact::FileInfo;
pub use experiment::{Experiment, LifecycleStage, NewExperiment};
pub use metric_history::{MetricHistory, MetricPoint};
pub use new_run::{NewRun, RunValues};
pub use registry::{
    ModelVersion, ModelVersionStatus, NewModelVersion, NewRegisteredModel, RegisteredModel,
};
pub use run::{DatasetInput, Run, RunUpdate};

pub use crate::model::tag_keys::is_automatic_tag;
