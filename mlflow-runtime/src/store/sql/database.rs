//! [`Database`]: what a database does by itself, so that the mapping makes a store of it.

use std::path::Path;
use std::time::Duration;

use super::connection::SqlConnection;
use super::error::{CatalogError, SqlError, WorkError};
use crate::store::{Batch, BatchLimits, ClientError, GroupedRun, StoreError, StoreInfo, StoredRun};

/// Database in MLflow's schema.
///
/// A connection may live on a thread of its own. Therefore a piece of work owns everything that it needs, and so does
/// its result. Only [`log_batch`](Database::log_batch) and [`log_runs`](Database::log_runs) are given borrowed values,
/// which are many: a database whose connection lives on the caller's thread copies nothing.
pub(in crate::store) trait Database: Send {
    /// Returns the URI, without credentials; see [`Store::uri`](crate::store::Store::uri).
    fn uri(&self) -> String;

    /// Returns the limits of a batch; see [`Store::limits`](crate::store::Store::limits).
    fn limits(&self) -> BatchLimits;

    /// Returns the time for others; see [`Store::gap`](crate::store::Store::gap).
    fn gap(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns a notice for the user; see [`Store::news`](crate::store::Store::news).
    fn news(&self) -> Option<String> {
        None
    }

    /// Returns the directory below which the artifacts of new experiments go.
    fn artifact_root(&self) -> &Path;

    /// Returns version and latency; see [`Store::info`](crate::store::Store::info).
    async fn info(&self) -> Result<StoreInfo, StoreError>;

    /// Runs a piece of work in one transaction, which is rolled back if the work returns an error.
    async fn transact<T, E>(
        &self,
        purpose: Purpose,
        work: impl FnOnce(&dyn SqlConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WorkError;

    /// Writes a batch that was checked: calls [`write_batch`](super::write_batch) in one transaction of the purpose
    /// [`Create`](Purpose::Create).
    async fn log_batch(&self, run_id: &str, batch: &Batch<'_>) -> Result<(), StoreError>;

    /// Returns the number of entries in a group; see
    /// [`Store::max_group_entries`](crate::store::Store::max_group_entries).
    fn max_group_entries(&self) -> usize;

    /// Writes runs whose batches were checked: calls [`write_runs`](super::write_runs) in one transaction of the purpose
    /// [`Create`](Purpose::Create).
    async fn log_runs(&self, runs: &[GroupedRun<'_>]) -> Result<Vec<StoredRun>, StoreError>;

    /// Reads for the shipper.
    async fn look_up<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn SqlConnection) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, StoreError> {
        Ok(self.transact(Purpose::LookUp, work).await?)
    }

    /// Writes for the shipper.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn SqlConnection) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, StoreError> {
        Ok(self.transact(Purpose::Create, work).await?)
    }

    /// Reads for a client.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn SqlConnection) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, ClientError> {
        Ok(self.transact(Purpose::Read, work).await?)
    }

    /// Changes what exists, for a client.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn SqlConnection) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, ClientError> {
        Ok(self.transact(Purpose::Change, work).await?)
    }

    /// Adds something that needs nothing in the database, for a client.
    async fn create<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn SqlConnection) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, ClientError> {
        Ok(self.transact(Purpose::Create, work).await?)
    }
}

/// Purpose of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Purpose {
    /// Reading of what exists.
    Read,
    /// Reading before something is written: a database that is missing is created.
    LookUp,
    /// Changing of what exists.
    Change,
    /// Adding of something new: a database that is missing is created.
    Create,
}

impl Purpose {
    /// Returns true if the work changes something.
    pub(in crate::store) fn writes(self) -> bool {
        matches!(self, Self::Change | Self::Create)
    }

    /// Returns true if a database that is missing is to be created, and false if the work fails then.
    pub(in crate::store) fn creates_database(self) -> bool {
        matches!(self, Self::LookUp | Self::Create)
    }
}
