//! Large segments that are made before a thread needs them, by a thread of their own.
//!
//! # Invariants
//!
//! 1. No thread that logs waits for it; where no spare segment is ready, it makes its own.
//! 2. The thread begins with the first order, and sleeps without a timer.
//! 3. A segment that is used again holds nothing of what it held, also after a loss of power.
//!
//! Making a large segment takes milliseconds (the blocks have to be reserved, the pages touched), so
//! one is made ahead: from a segment that was delivered, its bytes set to zero again, else anew.
//! Until it is taken it lies beside the segments as `<number>.spare`, which no recovery reads. Not
//! the thread that has the [device](super::keeper) keep things: it waits for that most of the time
//! while much is logged, and whoever logs would make every segment.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;

use super::allocation::{allocate, write_zeros};
use super::directory::SPARE_EXTENSION;
use super::mapping::{MappedAppender, Region};
use super::{Journal, LARGE, lock};

/// The spare segment of one journal, and who makes it.
#[derive(Default)]
pub(super) struct Spares {
    orders: Mutex<Orders>,
    changed: Condvar,
    ready: Mutex<Option<Spare>>,
}

#[derive(Default)]
struct Orders {
    /// Whose segments they are to be; `None` where there is nobody to make any.
    journal: Option<Weak<Journal>>,
    /// Whether the thread is there.
    has_begun: bool,
    /// Where to make one.
    prepare: Option<PathBuf>,
    /// A delivered segment that can become one.
    recycle: Option<PathBuf>,
    stop: bool,
}

/// A segment that nobody writes to yet.
pub(super) struct Spare {
    pub(super) path: PathBuf,
    pub(super) region: Arc<Region>,
    pub(super) appender: MappedAppender,
}

impl Spares {
    /// From now on orders are carried out.
    pub(super) fn serve(self: &Arc<Self>, journal: &Arc<Journal>) {
        lock(&self.orders).journal = Some(Arc::downgrade(journal));
    }

    /// One may be needed soon; it can be made at `path`.
    pub(super) fn prepare(self: &Arc<Self>, path: impl FnOnce() -> PathBuf) {
        if lock(&self.ready).is_none() {
            self.order(|orders| {
                orders.prepare.get_or_insert_with(path);
            });
        }
    }

    /// Offers the file of a delivered segment; false if there is no need of it.
    pub(super) fn recycle(self: &Arc<Self>, file: &Path) -> bool {
        let path = file.with_extension(SPARE_EXTENSION);
        if lock(&self.ready).is_some() || lock(&self.orders).recycle.is_some() {
            return false;
        }
        let renamed = fs::rename(file, &path).is_ok();
        if renamed {
            self.order(|orders| orders.recycle = Some(path));
        }
        renamed
    }

    /// The spare segment, if it is ready and lies in `directory`.
    pub(super) fn take(&self, directory: &Path) -> Option<Spare> {
        lock(&self.ready)
            .take()
            .filter(|spare| spare.path.parent() == Some(directory))
    }

    pub(super) fn stop(&self) {
        lock(&self.orders).stop = true;
        self.changed.notify_one();
    }

    fn order(self: &Arc<Self>, change: impl FnOnce(&mut Orders)) {
        let mut orders = lock(&self.orders);
        change(&mut orders);
        if orders.has_begun {
            self.changed.notify_one();
        } else if let Some(journal) = &orders.journal {
            let (spares, journal) = (Arc::clone(self), Weak::clone(journal));
            let spawned = thread::Builder::new()
                .name("mlflow-segments".to_owned())
                .spawn(move || spares.carry_out(&journal));
            // Without it whoever logs makes its own.
            orders.has_begun = spawned.is_ok();
        }
    }

    fn carry_out(&self, journal: &Weak<Journal>) {
        loop {
            let orders = lock(&self.orders);
            let mut orders = self
                .changed
                .wait_while(orders, |orders| {
                    orders.prepare.is_none() && orders.recycle.is_none() && !orders.stop
                })
                .unwrap_or_else(PoisonError::into_inner);
            let (prepare, recycle) = (orders.prepare.take(), orders.recycle.take());
            let stop = orders.stop;
            drop(orders);
            let Some(journal) = journal.upgrade().filter(|_| !stop) else {
                return;
            };
            // Not while the directory goes.
            let _gate = journal.gate.read().unwrap_or_else(PoisonError::into_inner);
            recycle.into_iter().for_each(|path| self.make(path, true));
            prepare.into_iter().for_each(|path| self.make(path, false));
        }
    }

    /// Makes one: of a delivered segment, or anew.
    pub(super) fn make(&self, path: PathBuf, recycled: bool) {
        if lock(&self.ready).is_some() {
            let _ = fs::remove_file(path);
            return;
        }
        let made = if recycled {
            zeroed(&path)
        } else {
            allocate(&path, LARGE)
        };
        let mapped = made.and_then(|file| {
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

/// Opens a file of the right size whose blocks are reserved, and sets it to zero.
fn zeroed(path: &Path) -> io::Result<fs::File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() != LARGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    write_zeros(&file, LARGE)?;
    // After a loss of power, what stood here before must not be taken for what was logged since.
    file.sync_data()?;
    Ok(file)
}
