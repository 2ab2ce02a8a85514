//! Failures that a test asks for.
//!
//! Invariant: they come in the order in which they were asked for, one a request.

use std::collections::VecDeque;

use super::StoreError;

/// What it does in place of what it is asked.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) offline: bool,
    pub(super) failures: VecDeque<StoreError>,
}

impl Script {
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

    pub(super) fn next(&mut self) -> Result<(), StoreError> {
        self.check_online()?;
        self.failures.pop_front().map_or(Ok(()), Err)
    }
}
