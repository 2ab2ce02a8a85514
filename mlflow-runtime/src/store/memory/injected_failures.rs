//! Failures that a test injects into the memory store, and statistics of the requests for tests.
//!
//! Invariant: injected failures are returned in the order of their injection, one for each request.

use std::collections::VecDeque;

#[cfg(test)]
use super::Batch;
use super::StoreError;

/// Failures that the store returns in place of results.
#[derive(Debug, Default)]
pub(super) struct InjectedFailures {
    pub(super) offline: bool,
    pub(super) failures: VecDeque<StoreError>,
    /// Largest number of entries in one batch so far.
    #[cfg(test)]
    pub(super) largest_batch: usize,
}

impl InjectedFailures {
    /// Returns an error while the store is set offline.
    pub(super) fn check_online(&self) -> Result<(), StoreError> {
        if self.offline {
            return Err(StoreError::Unavailable {
                reason: "the memory store is set offline (`set_offline`)".into(),
                retry_after: None,
            });
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn record_batch(&mut self, batch: &Batch<'_>) {
        let entries = batch.metrics.len() + batch.params.len() + batch.tags.len();
        self.largest_batch = self.largest_batch.max(entries);
    }

    pub(super) fn take_next_failure(&mut self) -> Result<(), StoreError> {
        self.check_online()?;
        self.failures.pop_front().map_or(Ok(()), Err)
    }
}
