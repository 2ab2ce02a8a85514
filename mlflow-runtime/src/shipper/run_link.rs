//! The link between the handles of a run and the shipper: passes the run's id and URL to the handles.

use std::sync::{Arc, Mutex, OnceLock};

use rustc_hash::FxHashMap;

use crate::model::ExperimentRef;
use crate::store::StoredRun;

/// Shared state of a run's handles and the shipper. The shipper sets the stored run once it is created or
/// found.
#[derive(Default)]
pub(crate) struct RunLink {
    stored: OnceLock<(StoredRun, Option<String>)>,
    /// Experiments that were configured for the run. The shipper warns if the run is in another one.
    named_experiments: Vec<ExperimentRef>,
}

/// Links, by run number, of runs whose start the shipper has not read yet.
pub(crate) type RunLinks = Mutex<FxHashMap<u32, Arc<RunLink>>>;

impl RunLink {
    /// Creates the link of a run for which these experiments were configured.
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
