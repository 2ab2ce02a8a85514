//! [`SqliteStore`], which writes MLflow's own SQLite file without a server.
//!
//! - The file is shared with MLflow, which may read, write or migrate it at any moment. Therefore every write
//!   is one short `BEGIN IMMEDIATE` transaction, and nothing about the schema is remembered between calls except by
//!   SQLite, which re-prepares statements by itself.
//! - The journal mode of the file is never changed: the file may be on a network file system, where WAL
//!   fails.
//! - A call waits at most [`MAX_BLOCKING_WAIT`](super::MAX_BLOCKING_WAIT) in all for a lock that someone else has.
//!   Then the call returns, and the caller has to repeat it.
//! - A call that reads for a client creates nothing: neither a missing file, nor tables in an empty one.
//!
//! The SQL is that of the module `sql`. This module opens the file, creates its tables, runs the transactions, and
//! says who has to act when SQLite fails.

mod connection;
mod error;
mod open;
mod schema;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::TransactionBehavior;

use super::sql::{self, Database, Purpose, SqlConnection, SqlError, WorkError};
use super::{Batch, BatchLimits, GroupedRun, StoreError, StoreInfo, StoredRun};
use connection::SqliteConnection;
use error::SqliteError;
use open::OpenDatabase;

/// Largest number of entries in a batch: as many as the shipper reads at a time. Writing them takes a third
/// of a second, in which nobody else has the file's lock.
const MAX_BATCH_ENTRIES: usize = 65_536;
/// Largest number of entries in a group of runs. Those of small runs take about half a second, as each run has a dozen
/// rows of its own.
const MAX_GROUP_ENTRIES: usize = 32_768;
/// Time of work after which others certainly get the lock. A client that waits for the lock gives up after
/// five seconds, as MLflow does.
const MAX_WORK_WITHOUT_GAP: Duration = Duration::from_secs(2);
/// Length of a gap: the longest time that SQLite sleeps between two attempts to get a lock, and a little
/// more.
const GAP_DURATION: Duration = Duration::from_millis(110);

/// Cache of pages while a batch is written, in KiB, all of which is used only if a batch needs it: a batch of
/// ten thousand keys changes as many pages of an index. Pages that do not fit are written before the commit,
/// and from then on nobody else can even read the file.
const BATCH_CACHE_KIB: i64 = 65_536;

/// Store in an MLflow SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    artifact_root: PathBuf,
    database: RefCell<Option<OpenDatabase>>,
    /// Time that this store has worked on the file since the last gap.
    work_since_gap: Cell<Duration>,
    /// Duration of the last piece of work on the file.
    last_work: Cell<Duration>,
}

impl SqliteStore {
    /// Creates a store in the file `path`. The file itself is created when it is first needed. Artifacts of
    /// experiments that this store creates go below `artifact_root`. Relative paths are resolved against the
    /// working directory at the time of this call.
    #[must_use]
    pub fn new(path: impl AsRef<Path>, artifact_root: impl AsRef<Path>) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            path: absolute(path.as_ref()),
            artifact_root: absolute(artifact_root.as_ref()),
            database: RefCell::new(None),
            work_since_gap: Cell::default(),
            last_work: Cell::default(),
        }
    }

    /// Runs `work` on the file in one transaction, which is rolled back if the work returns an error. Opens the file
    /// first if necessary.
    fn work<T, E: WorkError>(
        &self,
        purpose: Purpose,
        cache_kib: Option<i64>,
        work: impl FnOnce(&dyn SqlConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut slot = self.database.borrow_mut();
        // If the open file was moved away or replaced, people will look at another file at this path: the
        // open one is dropped.
        if slot
            .as_ref()
            .is_some_and(|open| !open.is_still_at(&self.path))
        {
            *slot = None;
        }
        let open = match &mut *slot {
            Some(open) => open,
            none => none.insert(OpenDatabase::new(
                &self.path,
                &self.artifact_root,
                purpose.creates_database(),
            )?),
        };
        let begun = Instant::now();
        let done = self.transact_on(open, purpose, cache_kib, work);
        self.last_work.set(begun.elapsed());
        self.work_since_gap
            .set(self.work_since_gap.get() + self.last_work.get());
        if done
            .as_ref()
            .is_err_and(|error| !error.leaves_connection_usable())
        {
            *slot = None;
        }
        done
    }

    fn transact_on<T, E: WorkError>(
        &self,
        open: &mut OpenDatabase,
        purpose: Purpose,
        cache_kib: Option<i64>,
        work: impl FnOnce(&dyn SqlConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let failure =
            |error: rusqlite::Error| E::from(SqliteError::from(error).into_sql_error(&self.path));
        if let Some(kib) = cache_kib {
            let set = open.connection.pragma_update(None, "cache_size", -kib);
            set.map_err(failure)?;
        }
        let behavior = if purpose.writes() {
            TransactionBehavior::Immediate
        } else {
            TransactionBehavior::Deferred
        };
        let begun = open.connection.transaction_with_behavior(behavior);
        let transaction = begun.map_err(failure)?;
        let result = work(&SqliteConnection {
            connection: &transaction,
            path: &self.path,
        })?;
        transaction.commit().map_err(failure)?;
        Ok(result)
    }
}

impl Database for SqliteStore {
    fn uri(&self) -> String {
        format!("sqlite:///{}", self.path.display())
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            total: MAX_BATCH_ENTRIES,
            metrics: MAX_BATCH_ENTRIES,
            params: MAX_BATCH_ENTRIES,
            tags: MAX_BATCH_ENTRIES,
        }
    }

    /// Returns a gap after each two seconds of work. Without gaps, a backlog would keep MLflow from ever
    /// getting the file's lock.
    fn gap(&self) -> Duration {
        // Another piece of work like the last one has to fit into the limit.
        if self.work_since_gap.get() + self.last_work.get() < MAX_WORK_WITHOUT_GAP {
            return Duration::ZERO;
        }
        self.work_since_gap.take();
        GAP_DURATION
    }

    fn news(&self) -> Option<String> {
        let mut open = self.database.borrow_mut();
        let is_new = std::mem::take(&mut open.as_mut()?.is_new);
        let (path, uri) = (self.path.display(), Database::uri(self));
        is_new.then(|| format!("created the MLflow database {path} for the runs; view them with: mlflow ui --backend-store-uri {uri}"))
    }

    fn artifact_root(&self) -> &Path {
        &self.artifact_root
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let started = Instant::now();
        let version = if self.path.exists() {
            Some(self.look_up(sql::schema_revision).await?)
        } else {
            None
        };
        Ok(StoreInfo {
            version,
            latency: started.elapsed(),
            authenticated: None,
            clock_difference_ms: None,
        })
    }

    /// Runs the work at once, on the caller's thread.
    async fn transact<T, E>(
        &self,
        purpose: Purpose,
        work: impl FnOnce(&dyn SqlConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WorkError,
    {
        self.work(purpose, None, work)
    }

    async fn log_batch(&self, run_id: &str, batch: &Batch<'_>) -> Result<(), StoreError> {
        let written: Result<(), SqlError> =
            self.work(Purpose::Create, Some(BATCH_CACHE_KIB), |db| {
                sql::write_batch(db, run_id, batch)
            });
        Ok(written?)
    }

    fn max_group_entries(&self) -> usize {
        MAX_GROUP_ENTRIES
    }

    async fn log_runs(&self, runs: &[GroupedRun<'_>]) -> Result<Vec<StoredRun>, StoreError> {
        let written: Result<Vec<StoredRun>, SqlError> =
            self.work(Purpose::Create, Some(BATCH_CACHE_KIB), |db| {
                sql::write_runs(db, runs)
            });
        Ok(written?)
    }
}
