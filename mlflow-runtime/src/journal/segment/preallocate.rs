//! Preallocated segments: large ones that a thread of their own creates before they are needed.
//!
//! # Invariants
//!
//! 1. No thread that logs waits for this thread. Where no preallocated segment is ready, a thread that logs
//!    creates its own.
//! 2. This thread does not wait for the device, and sleeps without a timer. It is started by the first request: a process that
//!    logs little has none.
//!
//! Creating a large segment takes milliseconds (the blocks have to be reserved and the pages touched), so
//! one is created ahead. Until it is used it lies beside the segments as `<number>.spare`, which no recovery
//! reads.
//!
//! The [sync thread](crate::journal::sync_thread) cannot do this work: it waits for the device most of the
//! time while much is logged, so that threads that log would create every segment themselves. A delivered
//! segment is not reused either, as it would have to be zero on the device first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;

use crate::journal::segment::allocate::allocate_file;
use crate::journal::segment::mapped::{MappedAppender, Region};
use crate::journal::{Journal, LARGE_SEGMENT_BYTES};
use crate::sync::{ignore_poison, lock};

/// Preallocated segment of one journal, and the requests to the thread that creates it.
pub(in crate::journal) struct PreallocatedSegments {
    /// `None` for a journal whose segments are not preallocated.
    journal: Option<Weak<Journal>>,
    /// Set by the first request.
    is_started: AtomicBool,
    request: Mutex<PreallocateRequest>,
    changed: Condvar,
    ready: Mutex<Option<PreallocatedSegment>>,
}

#[derive(Default)]
struct PreallocateRequest {
    /// Path of the segment to create.
    path: Option<PathBuf>,
    stop: bool,
}

/// Segment that no thread writes to yet.
pub(in crate::journal) struct PreallocatedSegment {
    pub(in crate::journal) path: PathBuf,
    pub(in crate::journal) region: Arc<Region>,
    pub(in crate::journal) appender: MappedAppender,
}

impl PreallocatedSegments {
    /// Returns the place of a journal's preallocated segment. Without a journal, all requests are ignored.
    pub(in crate::journal) fn new(journal: Option<Weak<Journal>>) -> Arc<Self> {
        Arc::new(Self {
            journal,
            is_started: AtomicBool::new(false),
            request: Mutex::default(),
            changed: Condvar::new(),
            ready: Mutex::default(),
        })
    }

    /// Requests a segment at `path`, as one may be needed soon. Does nothing if one is ready.
    pub(in crate::journal) fn request_segment(self: &Arc<Self>, path: impl FnOnce() -> PathBuf) {
        let Some(journal) = &self.journal else {
            return;
        };
        if lock(&self.ready).is_some() {
            return;
        }
        lock(&self.request).path.get_or_insert_with(path);
        if self.is_started.swap(true, Ordering::Relaxed) {
            self.changed.notify_one();
        } else {
            self.start_thread(journal.clone());
        }
    }

    /// Starts the thread. Without the thread, each thread that logs creates its segments.
    fn start_thread(self: &Arc<Self>, journal: Weak<Journal>) {
        let spares = Arc::clone(self);
        // The error is not logged: the caller holds locks, and a subscriber may log to a run.
        let _ = thread::Builder::new()
            .name("mlflow-segments".to_owned())
            .spawn(move || spares.run(&journal));
    }

    /// Takes the preallocated segment, if it is ready and lies in `directory`.
    pub(in crate::journal) fn take(&self, directory: &Path) -> Option<PreallocatedSegment> {
        lock(&self.ready)
            .take()
            .filter(|spare| spare.path.parent() == Some(directory))
    }

    pub(in crate::journal) fn stop(&self) {
        lock(&self.request).stop = true;
        self.changed.notify_one();
    }

    fn run(&self, journal: &Weak<Journal>) {
        loop {
            let orders = lock(&self.request);
            let is_idle = |orders: &mut PreallocateRequest| orders.path.is_none() && !orders.stop;
            let mut orders = ignore_poison(self.changed.wait_while(orders, is_idle));
            let (prepare, stop) = (orders.path.take(), orders.stop);
            drop(orders);
            let Some(journal) = journal.upgrade().filter(|_| !stop) else {
                return;
            };
            // The directory must not be removed meanwhile.
            let _gate = ignore_poison(journal.directory_gate.read());
            if let Some(path) = prepare {
                self.preallocate(path);
            }
        }
    }

    fn preallocate(&self, path: PathBuf) {
        if lock(&self.ready).is_some() {
            return;
        }
        let mapped = allocate_file(&path, LARGE_SEGMENT_BYTES).and_then(|file| {
            let len = usize::try_from(LARGE_SEGMENT_BYTES).map_err(io::Error::other)?;
            Region::create_in_file(&file, len)
        });
        match mapped {
            Ok((region, appender)) => {
                region.prefault();
                let spare = PreallocatedSegment {
                    path,
                    region,
                    appender,
                };
                *lock(&self.ready) = Some(spare);
            }
            // The thread that needs the segment will create it, and report the error.
            Err(_) => {
                let _ = fs::remove_file(path);
            }
        }
    }
}
