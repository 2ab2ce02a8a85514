//! Runs and batches that own their values, for a connection that lives on another thread.

use crate::model::Tag;
#[cfg(feature = "postgres")]
use crate::model::{Metric, Param, RunStatus};
use crate::store::NewRun;
#[cfg(feature = "postgres")]
use crate::store::{Batch, GroupedRun};

/// Run to be created that owns its texts.
pub(in crate::store) struct OwnedNewRun {
    key: String,
    experiment_id: String,
    name: String,
    user_id: String,
    start_time_ms: i64,
    tags: Vec<Tag>,
}

impl From<&NewRun<'_>> for OwnedNewRun {
    fn from(run: &NewRun<'_>) -> Self {
        let NewRun {
            key,
            experiment_id,
            name,
            user_id,
            start_time_ms,
            tags,
        } = *run;
        Self {
            key: key.to_owned(),
            experiment_id: experiment_id.to_owned(),
            name: name.to_owned(),
            user_id: user_id.to_owned(),
            start_time_ms,
            tags: tags.to_vec(),
        }
    }
}

impl OwnedNewRun {
    pub(in crate::store) fn as_run(&self) -> NewRun<'_> {
        NewRun {
            key: &self.key,
            experiment_id: &self.experiment_id,
            name: &self.name,
            user_id: &self.user_id,
            start_time_ms: self.start_time_ms,
            tags: &self.tags,
        }
    }
}

/// Batch that owns its values.
#[cfg(feature = "postgres")]
pub(in crate::store) struct OwnedBatch {
    metrics: Vec<Metric>,
    params: Vec<Param>,
    tags: Vec<Tag>,
}

#[cfg(feature = "postgres")]
impl From<&Batch<'_>> for OwnedBatch {
    fn from(batch: &Batch<'_>) -> Self {
        let Batch {
            metrics,
            params,
            tags,
        } = *batch;
        Self {
            metrics: metrics.to_vec(),
            params: params.to_vec(),
            tags: tags.to_vec(),
        }
    }
}

#[cfg(feature = "postgres")]
impl OwnedBatch {
    pub(in crate::store) fn as_batch(&self) -> Batch<'_> {
        Batch {
            metrics: &self.metrics,
            params: &self.params,
            tags: &self.tags,
        }
    }
}

/// Run of a group that owns its values.
#[cfg(feature = "postgres")]
pub(in crate::store) struct OwnedGroupedRun {
    new: OwnedNewRun,
    batch: OwnedBatch,
    end: Option<(RunStatus, i64)>,
}

#[cfg(feature = "postgres")]
impl From<&GroupedRun<'_>> for OwnedGroupedRun {
    fn from(run: &GroupedRun<'_>) -> Self {
        let GroupedRun { new, batch, end } = run;
        Self {
            new: new.into(),
            batch: batch.into(),
            end: *end,
        }
    }
}

#[cfg(feature = "postgres")]
impl OwnedGroupedRun {
    pub(in crate::store) fn as_run(&self) -> GroupedRun<'_> {
        GroupedRun {
            new: self.new.as_run(),
            batch: self.batch.as_batch(),
            end: self.end,
        }
    }
}
