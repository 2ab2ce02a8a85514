//! Large segments that are made before a thread needs them, by a thread of their own.
//!
//! # Invariants
//!
//! 1. No thread that logs waits for it; where no spare segment is ready, it makes its own.
//! 2. It does not wait for the device, and sleeps without a timer.
//!
//! Making a large segment takes milliseconds (the blocks have to be reserved, the pages touched), so
//! one is made ahead. Until it is taken it lies beside the segments as `<number>.spare`, which no
//! recovery reads. Not the thread that has the [device](crate::journal::sync_thread) keep things: it waits for
//! that most of the time while much is logged, and whoever logs would make every segment. Nor is a
//! delivered segment used again: it would have to be zero on the device first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;

use crate::journal::segment::allocate::allocate_file;
use crate::journal::segment::mapped::{MappedAppender, Region};
use crate::journal::{Journal, LARGE_SEGMENT_BYTES};
use crate::sync::{ignore_poison, lock};

/// The spare segment of one journal, and who makes it.
#[derive(Default)]
pub(in crate::journal) struct PreallocatedSegments {
    request: Mutex<PreallocateRequest>,
    changed: Condvar,
    ready: Mutex<Option<PreallocatedSegment>>,
}

#[derive(Default)]
struct PreallocateRequest {
    /// Where to make one.
    path: Option<PathBuf>,
    stop: bool,
}

/// A segment that nobody writes to yet.
pub(in crate::journal) struct PreallocatedSegment {
    pub(in crate::journal) path: PathBuf,
    pub(in crate::journal) region: Arc<Region>,
    pub(in crate::journal) appender: MappedAppender,
}

impl PreallocatedSegments {
    /// One may be needed soon; it can be made at `path`.
    pub(in crate::journal) fn request_segment(&self, path: impl FnOnce() -> PathBuf) {
        if lock(&self.ready).is_none() {
            lock(&self.request).path.get_or_insert_with(path);
            self.changed.notify_one();
        }
    }

    /// The spare segment, if it is ready and lies in `directory`.
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
            // Not while the directory goes.
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
            // Whoever needs one will make it, and say what is wrong.
            Err(_) => {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Starts the thread. Without it whoever logs makes the segments.
pub(in crate::journal) fn spawn_preallocator(journal: &Arc<Journal>) {
    let (spares, journal) = (Arc::clone(&journal.preallocated), Arc::downgrade(journal));
    let spawned = thread::Builder::new()
        .name("mlflow-segments".to_owned())
        .spawn(move || spares.run(&journal));
    if let Err(error) = spawned {
        tracing::debug!(target: "mlflow", %error, "the thread that makes segments ahead could not be started");
    }
}
