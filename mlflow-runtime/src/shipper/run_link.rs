//! What the handles of a run and the shipper know of each other.

use std::sync::{Arc, Mutex, OnceLock};

use rustc_hash::FxHashMap;

use crate::model::ExperimentRef;
use crate::store::StoredRun;

/// What a run's handles learn from the shipper, and what the shipper is to look at for them.
#[derive(Default)]
pub(crate) struct RunLink {
    stored: OnceLock<(StoredRun, Option<String>)>,
    /// The experiments that somebody has named for the run.
    named_experiments: Vec<ExperimentRef>,
}

/// Links of runs that the shipper has not met yet.
pub(crate) type RunLinks = Mutex<FxHashMap<u32, Arc<RunLink>>>;

impl RunLink {
    /// Makes the link of a run for which these experiments were named.
    pub(crate) fn new(named_experiments: Vec<ExperimentRef>) -> Self {
        Self {
            stored: OnceLock::new(),
            named_experiments,
        }
    }

    pub(crate) fn set(&self, stored: StoredRun, url: Option<String>) {
        let _ = self.stored.set((stored, url));
    }

    pub(crate) fn named_experiments(&self) -> &[ExperimentRef] {
        &self.named_experiments
    }

    pub(crate) fn run_id(&self) -> Option<String> {
        self.stored.get().map(|(stored, _)| stored.run_id.clone())
    }

    pub(crate) fn url(&self) -> Option<String> {
        self.stored.get().and_then(|(_, url)| url.clone())
    }
}
