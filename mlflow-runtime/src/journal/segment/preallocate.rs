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

use crate::journal::segment::allocate::allocate;
use crate::journal::segment::mapped::{MappedAppender, Region};
use crate::journal::{Journal, LARGE};
use crate::sync::{lock, unpoisoned};

/// The spare segment of one journal, and who makes it.
#[derive(Default)]
pub(in crate::journal) struct Spares {
    orders: Mutex<Orders>,
    changed: Condvar,
    ready: Mutex<Option<Spare>>,
}

#[derive(Default)]
struct Orders {
    /// Where to make one.
    prepare: Option<PathBuf>,
    stop: bool,
}

/// A segment that nobody writes to yet.
pub(in crate::journal) struct Spare {
    pub(in crate::journal) path: PathBuf,
    pub(in crate::journal) region: Arc<Region>,
    pub(in crate::journal) appender: MappedAppender,
}

impl Spares {
    /// One may be needed soon; it can be made at `path`.
    pub(in crate::journal) fn prepare(&self, path: impl FnOnce() -> PathBuf) {
        if lock(&self.ready).is_none() {
            lock(&self.orders).prepare.get_or_insert_with(path);
            self.changed.notify_one();
        }
    }

    /// The spare segment, if it is ready and lies in `directory`.
    pub(in crate::journal) fn take(&self, directory: &Path) -> Option<Spare> {
        lock(&self.ready)
            .take()
            .filter(|spare| spare.path.parent() == Some(directory))
    }

    pub(in crate::journal) fn stop(&self) {
        lock(&self.orders).stop = true;
        self.changed.notify_one();
    }

    fn carry_out(&self, journal: &Weak<Journal>) {
        loop {
            let orders = lock(&self.orders);
            let is_idle = |orders: &mut Orders| orders.prepare.is_none() && !orders.stop;
            let mut orders = unpoisoned(self.changed.wait_while(orders, is_idle));
            let (prepare, stop) = (orders.prepare.take(), orders.stop);
            drop(orders);
            let Some(journal) = journal.upgrade().filter(|_| !stop) else {
                return;
            };
            // Not while the directory goes.
            let _gate = unpoisoned(journal.gate.read());
            if let Some(path) = prepare {
                self.make(path);
            }
        }
    }

    fn make(&self, path: PathBuf) {
        if lock(&self.ready).is_some() {
            return;
        }
        let mapped = allocate(&path, LARGE).and_then(|file| {
            let len = usize::try_from(LARGE).map_err(io::Error::other)?;
            Region::create_in_file(&file, len)
        });
        match mapped {
            Ok((region, appender)) => {
                region.prefault();
                let spare = Spare {
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
pub(in crate::journal) fn spawn(journal: &Arc<Journal>) {
    let (spares, journal) = (Arc::clone(&journal.spares), Arc::downgrade(journal));
    let spawned = thread::Builder::new()
        .name("mlflow-segments".to_owned())
        .spawn(move || spares.carry_out(&journal));
    if let Err(error) = spawned {
        tracing::debug!(target: "mlflow", %error, "the thread that makes segments ahead could not be started");
    }
}
