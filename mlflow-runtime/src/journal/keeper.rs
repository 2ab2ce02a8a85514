//! The journal's own thread: has the device keep what was appended, and keeps a segment ready.
//!
//! # Invariants
//!
//! 1. No thread that logs waits for it.
//! 2. While nothing is logged it sleeps without a timer.
//! 3. A value is on the device [`SYNC_INTERVAL`] after it was appended, plus the time that the device
//!    takes; when its segment is full or its run has ended, after [`SYNC_GAP`] at most.
//! 4. The device is asked for what was written, not for the rest of a segment: a page that it is
//!    asked for is slow to write to the next time.
//!
//! Making a large segment takes milliseconds (the blocks have to be reserved, the pages touched), so
//! one is made ahead: from a segment that was delivered, its bytes set to zero again, else anew.
//! Until it is taken it lies beside the segments as `<number>.spare`, which no recovery reads.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::allocation::allocate;
use super::bell::{DOZE, Sleeper};
use super::directory::SPARE_EXTENSION;
use super::mapping::{MappedAppender, Region};
use super::{Journal, LARGE, lock};

/// How long a value may be in the page cache only.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// How long the device is left in peace, however many runs end and segments are full.
const SYNC_GAP: Duration = Duration::from_millis(200);

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What the thread is to do, and what it has done.
#[derive(Default)]
pub(super) struct Keeper {
    orders: Mutex<Orders>,
    changed: Condvar,
    /// Whether the device will be asked soon for all that was appended until now.
    soon: AtomicBool,
    spare: Mutex<Option<Spare>>,
}

#[derive(Default)]
struct Orders {
    /// Something was appended after a silence.
    appended: bool,
    sync_now: bool,
    /// Where to make a spare segment.
    prepare: Option<PathBuf>,
    /// A delivered segment that can become the spare one.
    recycle: Option<PathBuf>,
    stop: bool,
}

impl Orders {
    fn is_empty(&self) -> bool {
        let Self {
            appended,
            sync_now,
            prepare,
            recycle,
            stop,
        } = self;
        !(*appended || *sync_now || *stop) && prepare.is_none() && recycle.is_none()
    }
}

/// A segment that nobody writes to yet.
pub(super) struct Spare {
    pub(super) path: PathBuf,
    pub(super) region: Arc<Region>,
    pub(super) appender: MappedAppender,
}

impl Keeper {
    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut lock(&self.orders));
        self.changed.notify_one();
    }

    pub(super) fn appended(&self) {
        self.order(|orders| orders.appended = true);
    }

    /// A segment is full, or a run has ended.
    pub(super) fn sync_now(&self) {
        // One order will do for a thousand runs that end within the gap; each would wake the thread.
        if !self.soon.swap(true, Ordering::AcqRel) {
            self.order(|orders| orders.sync_now = true);
        }
    }

    /// A spare segment may be needed soon; it can be made at `path`.
    pub(super) fn prepare(&self, path: impl FnOnce() -> PathBuf) {
        if lock(&self.spare).is_none() {
            self.order(|orders| {
                orders.prepare.get_or_insert_with(path);
            });
        }
    }

    /// Offers the file of a delivered segment; false if there is no need of it.
    pub(super) fn recycle(&self, file: &Path) -> bool {
        let path = file.with_extension(SPARE_EXTENSION);
        if lock(&self.spare).is_some() || lock(&self.orders).recycle.is_some() {
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
        lock(&self.spare)
            .take()
            .filter(|spare| spare.path.parent() == Some(directory))
    }

    pub(super) fn stop(&self) {
        self.order(|orders| orders.stop = true);
    }

    /// Waits for orders, for `timeout` at most if there is one.
    fn wait(&self, timeout: Option<Duration>) -> Orders {
        let orders = lock(&self.orders);
        let mut orders = match timeout {
            None => self
                .changed
                .wait_while(orders, |orders| orders.is_empty())
                .unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.changed
                    .wait_timeout_while(orders, timeout, |orders| orders.is_empty())
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        std::mem::take(&mut orders)
    }

    /// Makes the spare segment: of a delivered one, or anew.
    pub(super) fn make(&self, path: PathBuf, recycled: bool) {
        if lock(&self.spare).is_some() {
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
                *lock(&self.spare) = Some(spare);
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
    let mut at = 0;
    while at < LARGE {
        file.write_all_at(&ZEROS, at)?;
        at += ZEROS.len() as u64;
    }
    // After a loss of power, what stood here before must not be taken for what was logged since.
    file.sync_data()?;
    Ok(file)
}

/// Starts the thread. Without it values are safe from the death of the process all the same.
pub(super) fn spawn(journal: &Arc<Journal>) {
    let journal = Arc::downgrade(journal);
    let spawned = thread::Builder::new()
        .name("mlflow-journal".to_owned())
        .spawn(move || keep(&journal));
    if let Err(error) = spawned {
        tracing::warn!(
            target: "mlflow", %error,
            "the journal's thread could not be started; a loss of power may cost what was not delivered yet"
        );
    }
}

fn keep(journal: &Weak<Journal>) {
    // When the device is to be asked next, if there is something to ask it for.
    let mut due: Option<Instant> = None;
    let mut last: Option<Instant> = None;
    let mut dozing = true;
    loop {
        let Some(strong) = journal.upgrade() else {
            return;
        };
        if due.is_none() {
            strong.bell.set_asleep(Sleeper::Keeper);
        }
        let timeout = match due {
            Some(due) => Some(due.saturating_duration_since(Instant::now())),
            None if dozing => Some(DOZE),
            None => None,
        };
        // The journal goes when its last user does, which wakes this thread.
        let keeper = Arc::clone(&strong.bell.keeper);
        drop(strong);
        let orders = keeper.wait(timeout);
        let Some(strong) = journal.upgrade().filter(|_| !orders.stop) else {
            return;
        };
        let silent = orders.is_empty();
        let Orders {
            appended,
            sync_now,
            prepare,
            recycle,
            stop: _,
        } = orders;
        if recycle.is_some() || prepare.is_some() {
            // Not while the directory goes.
            let _gate = strong.gate.read().unwrap_or_else(PoisonError::into_inner);
            recycle.into_iter().for_each(|path| keeper.make(path, true));
            prepare
                .into_iter()
                .for_each(|path| keeper.make(path, false));
        }
        let now = Instant::now();
        if sync_now {
            let soon = last.map_or(now, |last| now.max(last + SYNC_GAP));
            due = Some(due.map_or(soon, |due| due.min(soon)));
        } else if due.is_none() && (appended || (dozing && strong.is_dirty())) {
            due = Some(now + SYNC_INTERVAL);
        } else if silent {
            dozing = false;
        }
        if due.is_some_and(|due| due <= now) {
            // First: of who comes later, the values may be too late for this time.
            keeper.soon.swap(false, Ordering::AcqRel);
            strong.sync();
            last = Some(Instant::now());
            due = None;
            dozing = true;
        }
    }
}
