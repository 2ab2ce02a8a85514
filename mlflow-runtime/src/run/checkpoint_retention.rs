//! [`CheckpointRetention`]: the number of steps whose checkpoints a run keeps.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of steps whose checkpoints a run keeps; 0 if it keeps all.
#[derive(Debug, Default)]
pub(super) struct CheckpointRetention(AtomicUsize);

impl CheckpointRetention {
    pub(super) fn set(&self, steps: usize) {
        self.0.store(steps, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
