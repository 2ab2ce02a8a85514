//! Wakes those who sleep while nothing is logged.
//!
//! Invariant: an append pays one relaxed load as long as everybody is awake.
//!
//! A sleeper first says that it sleeps, then looks once more for what was appended meanwhile, and
//! only then sleeps for good. A writer that neither fences nor sees the flag may have appended in
//! between: that last look has to come after [`STORE_BUFFER_DRAIN`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::journal::atomics::{announce_sleeper, load_sleepers, load_sleepers_fenced};
use crate::journal::sync_thread::SyncThread;

/// Longer than a store can stay in a processor's buffer.
pub(crate) const STORE_BUFFER_DRAIN: Duration = Duration::from_millis(100);

/// Who may sleep.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sleeper {
    Shipper = 1,
    SyncThread = 2,
}

/// The bell of one journal.
#[derive(Default)]
pub(crate) struct Wakeup {
    /// A bit for each sleeper.
    sleepers: AtomicU32,
    shipper: Notify,
    pub(super) sync_thread: Arc<SyncThread>,
}

impl Wakeup {
    /// Called after every append.
    #[inline]
    pub(crate) fn notify_if_asleep(&self) {
        let asleep = load_sleepers(&self.sleepers);
        if asleep != 0 {
            self.wake(asleep);
        }
    }

    /// The same for what may be the last append for hours: whoever is about to fall asleep sees it.
    pub(super) fn notify_fenced(&self) {
        let asleep = load_sleepers_fenced(&self.sleepers);
        if asleep != 0 {
            self.wake(asleep);
        }
    }

    #[cold]
    fn wake(&self, asleep: u32) {
        self.sleepers.fetch_and(!asleep, Ordering::Relaxed);
        if asleep & Sleeper::Shipper as u32 != 0 {
            self.shipper.notify_one();
        }
        if asleep & Sleeper::SyncThread as u32 != 0 {
            self.sync_thread.notify_appended();
        }
    }

    /// Wakes the shipper, asleep or about to be.
    pub(crate) fn notify_shipper(&self) {
        self.wake(Sleeper::Shipper as u32);
    }

    pub(crate) fn set_asleep(&self, who: Sleeper) {
        announce_sleeper(&self.sleepers, who as u32);
    }

    /// The shipper's sleep.
    pub(crate) async fn notified(&self) {
        self.shipper.notified().await;
    }
}
