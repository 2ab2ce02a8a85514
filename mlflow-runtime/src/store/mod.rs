//! Where values end up: the [`Store`] trait and its implementations.
//!
//! Invariants every implementation keeps, checked by the conformance suite:
//!
//! - **Repeating a call is harmless.** The shipper re-sends whatever it is not sure of;
//!   the result is the same as if it had been sent once.
//! - **An `Err` names who has to act**: [`StoreError::Unavailable`], [`StoreError::Busy`] and
//!   [`StoreError::Contested`] ask for the same call later, [`StoreError::TooLarge`] for a smaller one,
//!   [`StoreError::Rejected`] says this call will never be accepted, [`StoreError::Blocked`] and
//!   [`StoreError::Missing`] say a person has to change something first.
//! - A store knows nothing of threads, journals or retries, and never sleeps. A call may block its
//!   thread for a moment (a file's lock), never for longer than [`PATIENCE`].

mod local_artifacts;
mod memory;
mod open;
mod rest;
mod sqlite;
mod uri;
mod validate;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

#[cfg(feature = "__bench")]
pub(crate) use rest::bodies as rest_bodies;
#[cfg(fuzzing)]
pub(crate) use rest::fuzz_support;

pub use crate::model::{ExperimentRef, Metric, Param, RunStatus, Tag};
pub use memory::{MemoryStore, StoredExperiment, StoredRunData};
pub use rest::{Credentials, RestOptions, RestStore};
pub use sqlite::SqliteStore;

/// The tag that makes a run recognisable when the answer to its creation was lost.
pub const RUN_KEY_TAG: &str = "mlflow_rs.run_key";

/// The longest a store may block its thread, e.g. while it waits for a file lock.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// A place that holds experiments and runs.
///
/// Every method may be called again with the same arguments after any error.
#[async_trait(?Send)]
pub trait Store: Send {
    /// The destination as a person would write it, without credentials.
    fn uri(&self) -> String;

    /// How much one [`log_batch`](Store::log_batch) may hold.
    fn limits(&self) -> BatchLimits;

    /// How long to leave the store to others now; asked before every batch and between the works of
    /// runs, and slept whenever it is not zero. Default: not at all.
    fn gap(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether a batch that is sent again costs no more than one that is new. Default: yes.
    fn absorbs_repeats(&self) -> bool {
        true
    }

    /// Whether a run that is not found is gone for good: that of a file is. A server may be one of
    /// several behind the same address. Default: yes.
    fn absence_is_final(&self) -> bool {
        true
    }

    /// What a user is to be told of the store, once: that its file was made, and how to look at it. Default:
    /// nothing.
    fn news(&self) -> Option<String> {
        None
    }

    /// The page that shows the run, where there is one.
    fn run_url(&self, run: &StoredRun) -> Option<String>;

    /// Finds the experiment, or creates it when it is given by a name that does not exist yet.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] if the experiment is deleted, or given by an id that does not exist.
    async fn experiment(&self, experiment: &ExperimentRef) -> Result<String, StoreError>;

    /// The name of the experiment that the run is in. Default: it is not known.
    async fn experiment_name(&self, _run: &StoredRun) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// Creates a run, tagged with [`RUN_KEY_TAG`] = [`NewRun::key`]. Not repeatable by itself:
    /// after an error ask [`find_run`](Store::find_run) first.
    async fn create_run(&self, run: &NewRun<'_>) -> Result<StoredRun, StoreError>;

    /// Finds the run whose [`RUN_KEY_TAG`] is `key`. Where a lost answer led to several, the one that
    /// has values or an end is returned, else the oldest. Those of the others that have nothing
    /// beyond their creation are deleted, as far as the store allows it.
    async fn find_run(
        &self,
        experiment_id: &str,
        key: &str,
    ) -> Result<Option<StoredRun>, StoreError>;

    /// The same for a process that has not created the run: deletes nothing. `None` also where there
    /// are several of which none has anything yet: with which of them its creator goes on will
    /// show. Default: as [`find_run`](Store::find_run), for stores in which there cannot be several.
    async fn find_run_of_another(
        &self,
        experiment_id: &str,
        key: &str,
    ) -> Result<Option<StoredRun>, StoreError> {
        self.find_run(experiment_id, key).await
    }

    /// Deletes what [`find_run`](Store::find_run) deletes, once the run has its end. `false` where it
    /// could not be told of one whether it has anything, and may be told another time. Default:
    /// `true`, for stores in which there cannot be several.
    async fn delete_twins(&self, _experiment_id: &str, _key: &str) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Looks a run up by the id the store gave it.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is none, [`StoreError::Blocked`] if it is deleted.
    async fn get_run(&self, run_id: &str) -> Result<StoredRun, StoreError>;

    /// Logs values. `batch` stays within [`limits`](Store::limits) and holds no param key twice.
    /// Points already there (same key, timestamp, step and value) and equal params are not doubled.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if any entry is refused; others of the batch may then be written
    /// or not. The caller finds the bad entry by halving the batch.
    async fn log_batch(&self, run: &StoredRun, batch: &Batch<'_>) -> Result<(), StoreError>;

    /// Sets status and end time. `end_time_ms` is `None` for a run that goes on.
    async fn update_run(
        &self,
        run: &StoredRun,
        status: RunStatus,
        end_time_ms: Option<i64>,
    ) -> Result<(), StoreError>;

    /// Whether the run has not ended: somebody other than its process may have ended it.
    async fn is_running(&self, run: &StoredRun) -> Result<bool, StoreError>;

    /// The greatest step of each metric that the run has. Default: nothing is known.
    async fn last_steps(&self, _run: &StoredRun) -> Result<HashMap<String, i64>, StoreError> {
        Ok(HashMap::new())
    }

    /// What stands in one of the run's tags.
    async fn tag(&self, run: &StoredRun, key: &str) -> Result<Option<String>, StoreError>;

    /// What the store says of itself. Changes nothing, also where there is nothing yet.
    ///
    /// # Errors
    /// None for credentials that it refuses: see [`StoreInfo::authenticated`].
    async fn info(&self) -> Result<StoreInfo, StoreError>;

    /// Asks for something cheap that works whenever the store does: tells a store that is away from
    /// one that fails for a single run or artifact. Changes nothing.
    ///
    /// # Errors
    /// Those of a store that is away, or refuses everything.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Asks the same of the place where the run's artifacts lie. Default: as [`ping`](Store::ping).
    async fn ping_artifacts(&self, _run: &StoredRun) -> Result<(), StoreError> {
        self.ping().await
    }

    /// Writes an artifact, replacing one of the same path. `path` is relative, `/`-separated.
    async fn put_artifact(
        &self,
        run: &StoredRun,
        path: &str,
        content: ArtifactContent<'_>,
    ) -> Result<(), StoreError>;
}

/// A run to be created.
#[derive(Clone, Debug)]
pub struct NewRun<'a> {
    /// Unique value of [`RUN_KEY_TAG`]: 32 lower-case hex characters. Stores that choose run ids
    /// themselves use it as the run id.
    pub key: &'a str,
    /// The experiment's id, from [`Store::experiment`].
    pub experiment_id: &'a str,
    /// Name of the run; also written as the tag `mlflow.runName`.
    pub name: &'a str,
    /// Owner, as in MLflow's `user_id`.
    pub user_id: &'a str,
    /// Start, in ms since the Unix epoch.
    pub start_time_ms: i64,
    /// Tags set with the creation, without `mlflow.runName` and [`RUN_KEY_TAG`]; no key twice.
    pub tags: &'a [Tag],
}

/// A run as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// The store's id.
    pub run_id: String,
    /// The experiment's id.
    pub experiment_id: String,
    /// Where its artifacts go: a URI or a directory.
    pub artifact_uri: String,
}

/// Values of one run that go out in one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch<'a> {
    /// Metric points, in the order they were logged.
    pub metrics: &'a [Metric],
    /// Params; no key twice.
    pub params: &'a [Param],
    /// Tags, in the order they were set; the last value of a key wins.
    pub tags: &'a [Tag],
}

/// How many entries a [`Batch`] may hold.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Entries of any kind together.
    pub total: usize,
    /// Metric points.
    pub metrics: usize,
    /// Params.
    pub params: usize,
    /// Tags.
    pub tags: usize,
}

/// What a store says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreInfo {
    /// A server's version of MLflow, a file's revision of the schema; `None` if it has none, or does not say.
    pub version: Option<String>,
    /// How long it took to answer a small question.
    pub latency: Duration,
    /// Whether it takes our credentials, or none; `None` where it asks for none.
    pub authenticated: Option<bool>,
}

/// What an artifact holds.
#[derive(Clone, Debug)]
pub enum ArtifactContent<'a> {
    /// Bytes in memory.
    Bytes(Cow<'a, [u8]>),
    /// A file, read while it is sent.
    File(&'a Path),
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// It cannot be reached, or cannot work now: the same call is worth repeating later.
    Unavailable {
        /// What was seen, e.g. `connection refused`.
        reason: String,
        /// When the store asked to be tried again.
        retry_after: Option<Duration>,
    },
    /// It is there, and someone else has it at this moment (a file's lock): the same call is worth
    /// repeating soon.
    Busy {
        /// What was seen.
        reason: String,
    },
    /// Another client seems to make the same row at this moment: the same call is worth repeating
    /// soon, but not for ever. One that is answered so again and again is refused: a database that
    /// tells no case apart has `Loss` and `loss` in one row.
    Contested {
        /// What was seen.
        reason: String,
    },
    /// It will never accept this call: set the entry aside and go on.
    Rejected {
        /// The store's words.
        reason: String,
    },
    /// Something in between takes no request of this size: halve the batch. One entry that is too
    /// large may be taken later, when the limit is raised.
    TooLarge {
        /// What was seen.
        reason: String,
    },
    /// It has no such run. Another server behind the same address may have it.
    Missing {
        /// The store's words.
        reason: String,
    },
    /// It accepts nothing for this run or from this client until a person acts (a deleted
    /// experiment, wrong credentials): keep the values.
    Blocked {
        /// What is wrong and what to do.
        reason: String,
        /// Whether everything is refused (credentials), not only this run.
        everything: bool,
    },
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unavailable { reason, .. }
            | Self::Busy { reason }
            | Self::Contested { reason }
            | Self::Rejected { reason }
            | Self::TooLarge { reason }
            | Self::Missing { reason }
            | Self::Blocked { reason, .. } => f.write_str(reason),
        }
    }
}

impl std::error::Error for StoreError {}
