//! Registry of a tracker's runs: their numbers, and the links through which the shipper publishes each run's
//! id and URL in the store.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::model::ExperimentRef;
use crate::shipper::run_link::{RunLink, RunLinks};
use crate::sync::lock;

/// Source of run numbers and links. A number is unique among the runs of its tracker and of the successors in
/// forked processes.
pub(crate) struct RunRegistry {
    next_number: AtomicU32,
    links: Arc<RunLinks>,
    /// Id of the stored run that the first run without a parent continues.
    resumed: Mutex<Option<String>>,
}

impl RunRegistry {
    /// Returns a registry whose first run has the number `first_number`.
    pub(super) fn new(first_number: u32, resumed: Option<String>) -> Self {
        Self {
            next_number: AtomicU32::new(first_number),
            links: Arc::default(),
            resumed: Mutex::new(resumed),
        }
    }

    /// Registers a new run, for which these experiments were named. Returns its number and its link.
    pub(crate) fn register(&self, named_experiments: Vec<ExperimentRef>) -> (u32, Arc<RunLink>) {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let link = Arc::new(RunLink::new(named_experiments));
        lock(&self.links).insert(number, Arc::clone(&link));
        (number, link)
    }

    /// Returns the id of the run to resume. Only the first call returns it.
    pub(crate) fn take_resumed(&self) -> Option<String> {
        lock(&self.resumed).take()
    }

    /// Returns the number that the next run gets.
    pub(super) fn next_number(&self) -> u32 {
        self.next_number.load(Ordering::Relaxed)
    }

    pub(super) fn links(&self) -> &Arc<RunLinks> {
        &self.links
    }
}
