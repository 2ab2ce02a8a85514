//! [`PostgresStore`], which writes MLflow's own PostgreSQL database without a server.
//!
//! - The database is shared with MLflow and with other programs, which may read, write or migrate it at any moment.
//!   Every write is one short transaction, which leaves the isolation level and the durability of commits as the server has
//!   them, and which may be repeated: whether a commit arrived is not known if its answer is lost.
//! - Rows are written in the order of their keys, so that two writers of one run wait for each other rather than
//!   forever.
//! - Tables are created in an empty database alone, and never changed: migrations are MLflow's.
//! - A call never blocks the thread of its caller: the connection lives on a thread of its own.
//! - A password is in no error and in no line.
//!
//! The SQL is that of the module `sql`. This module has the connection ([`session`], [`connection`]), how it is made
//! ([`login`], [`tls`], [`password_file`]), and what PostgreSQL does differently ([`copy`], [`values`], [`error`],
//! [`schema`]).

mod connection;
mod copy;
mod error;
mod login;
mod password_file;
mod readiness;
mod schema;
mod session;
mod socket;
mod thread;
mod tls;
mod values;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::sql::{
    Database, OwnedBatch, OwnedGroupedRun, Purpose, SqlConnection, SqlError, WorkError,
    write_batch, write_runs,
};
use super::{Batch, BatchLimits, GroupedRun, StoreError, StoreInfo, StoredRun};
use crate::config::destination::{Destination, PostgresUri};
use session::{Session, SessionSettings};
use thread::SessionThread;

/// Largest number of entries in a batch: as many as the shipper reads at a time.
const MAX_BATCH_ENTRIES: usize = 65_536;

/// Largest number of entries in a group of runs: the transaction is open for about a second.
const MAX_GROUP_ENTRIES: usize = 8192;

/// Longest time to wait for an answer, unless the caller chooses another.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// Store in MLflow's database on a PostgreSQL server.
#[derive(Debug)]
pub struct PostgresStore {
    thread: SessionThread,
}

impl PostgresStore {
    /// Creates a store in the database that `uri` names, e.g. `postgresql://user:password@host/mlflow`. Nothing is
    /// contacted before the first call. Artifacts of experiments that this store creates go below `artifact_root`.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] if the URI cannot be used.
    pub fn new(uri: &str, artifact_root: impl AsRef<Path>) -> Result<Self, StoreError> {
        match Destination::parse_or_unusable(uri) {
            Destination::Postgres { uri } => {
                Ok(Self::open(*uri, artifact_root.as_ref(), DEFAULT_TIMEOUT))
            }
            Destination::Unusable(unusable) => Err(error::blocked(format!(
                "the URI {:?} cannot be used: {unusable}",
                unusable.given
            ))),
            other => Err(error::blocked(format!(
                "{other} is not a PostgreSQL database"
            ))),
        }
    }

    /// Creates a store; `limit` is the longest time to wait for an answer of the server.
    pub(super) fn open(uri: PostgresUri, artifact_root: &Path, limit: Duration) -> Self {
        let artifact_root =
            std::path::absolute(artifact_root).unwrap_or_else(|_| artifact_root.to_owned());
        Self {
            thread: SessionThread::new(SessionSettings {
                uri,
                artifact_root,
                limit,
                is_new: Arc::default(),
            }),
        }
    }
}

impl Database for PostgresStore {
    fn uri(&self) -> String {
        self.thread.settings().uri.to_string()
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            total: MAX_BATCH_ENTRIES,
            metrics: MAX_BATCH_ENTRIES,
            params: MAX_BATCH_ENTRIES,
            tags: MAX_BATCH_ENTRIES,
        }
    }

    fn news(&self) -> Option<String> {
        let is_new = self.thread.settings().is_new.swap(false, Ordering::Relaxed);
        let uri = self.uri();
        is_new.then(|| {
            format!(
                "created MLflow's tables in {uri} for the runs; view them with mlflow ui, and the tracking URI as its \
                 --backend-store-uri"
            )
        })
    }

    fn artifact_root(&self) -> &Path {
        &self.thread.settings().artifact_root
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.thread.run(Session::info).await?
    }

    async fn transact<T, E>(
        &self,
        purpose: Purpose,
        work: impl FnOnce(&dyn SqlConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WorkError,
    {
        let done = self
            .thread
            .run(move |session, runtime| session.transact(runtime, purpose, work))
            .await;
        done.unwrap_or_else(|error| {
            Err(SqlError::Failed {
                error,
                connection_usable: false,
            }
            .into())
        })
    }

    async fn log_batch(&self, run_id: &str, batch: &Batch<'_>) -> Result<(), StoreError> {
        let (run_id, batch) = (run_id.to_owned(), OwnedBatch::from(batch));
        self.write(move |db| write_batch(db, &run_id, &batch.as_batch()))
            .await
    }

    fn max_group_entries(&self) -> usize {
        MAX_GROUP_ENTRIES
    }

    async fn log_runs(&self, runs: &[GroupedRun<'_>]) -> Result<Vec<StoredRun>, StoreError> {
        let runs: Vec<OwnedGroupedRun> = runs.iter().map(OwnedGroupedRun::from).collect();
        self.write(move |db| {
            let runs: Vec<GroupedRun<'_>> = runs.iter().map(OwnedGroupedRun::as_run).collect();
            write_runs(db, &runs)
        })
        .await
    }
}
