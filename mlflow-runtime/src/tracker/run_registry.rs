//! The numbers of this process's runs, and the links by which the shipper publishes what it learns of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::model::ExperimentRef;
use crate::shipper::run_link::{RunLink, RunLinks};
use crate::sync::lock;

/// Hands out run numbers and links. A run's number is unique in its tracker, and in the trackers of forked processes
/// that continue it.
pub(crate) struct RunRegistry {
    next_number: AtomicU32,
    links: Arc<RunLinks>,
    /// The run that the first run without a parent continues.
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

    /// Takes the id of the run to be resumed, which is given out once.
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
