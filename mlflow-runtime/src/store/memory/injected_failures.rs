//! Failures that a test asks for, and what it may see of the requests.
//!
//! Invariant: failures come in the order in which they were asked for, one a request.

use std::collections::VecDeque;

#[cfg(test)]
use super::Batch;
use super::StoreError;

/// What it does in place of what it is asked.
#[derive(Debug, Default)]
pub(super) struct InjectedFailures {
    pub(super) offline: bool,
    pub(super) failures: VecDeque<StoreError>,
    /// The most entries that one batch has held.
    #[cfg(test)]
    pub(super) largest_batch: usize,
}

impl InjectedFailures {
    /// Fails while the store is told to be offline.
    pub(super) fn check_online(&self) -> Result<(), StoreError> {
        if self.offline {
            return Err(StoreError::Unavailable {
                reason: "it was told to be offline".to_owned(),
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
