//! Wakes those who sleep while nothing is logged.
//!
//! Invariant: an append pays one relaxed load as long as everybody is awake.
//!
//! A sleeper first says that it sleeps, then looks once more for what was appended meanwhile, and
//! only then sleeps for good. A writer that neither fences nor sees the flag may have appended in
//! between: that last look has to come after [`DOZE`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::journal::atomics::{asleep, fall_asleep, surely_asleep};
use crate::journal::sync_thread::Keeper;

/// Longer than a store can stay in a processor's buffer.
pub(crate) const DOZE: Duration = Duration::from_millis(100);

/// Who may sleep.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sleeper {
    Shipper = 1,
    Keeper = 2,
}

/// The bell of one journal.
#[derive(Default)]
pub(crate) struct Bell {
    /// A bit for each sleeper.
    asleep: AtomicU32,
    shipper: Notify,
    pub(super) keeper: Arc<Keeper>,
}

impl Bell {
    /// Called after every append.
    #[inline]
    pub(crate) fn ring_if_asleep(&self) {
        let asleep = asleep(&self.asleep);
        if asleep != 0 {
            self.wake(asleep);
        }
    }

    /// The same for what may be the last append for hours: whoever is about to fall asleep sees it.
    pub(super) fn ring_surely(&self) {
        let asleep = surely_asleep(&self.asleep);
        if asleep != 0 {
            self.wake(asleep);
        }
    }

    #[cold]
    fn wake(&self, asleep: u32) {
        self.asleep.fetch_and(!asleep, Ordering::Relaxed);
        if asleep & Sleeper::Shipper as u32 != 0 {
            self.shipper.notify_one();
        }
        if asleep & Sleeper::Keeper as u32 != 0 {
            self.keeper.appended();
        }
    }

    /// Wakes the shipper, asleep or about to be.
    pub(crate) fn ring(&self) {
        self.wake(Sleeper::Shipper as u32);
    }

    pub(crate) fn set_asleep(&self, who: Sleeper) {
        fall_asleep(&self.asleep, who as u32);
    }

    /// The shipper's sleep.
    pub(crate) async fn heard(&self) {
        self.shipper.notified().await;
    }
}
