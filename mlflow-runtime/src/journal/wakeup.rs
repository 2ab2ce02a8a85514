//! Wakeups of the shipper and the sync thread, which sleep while nothing is logged.
//!
//! Invariant: an append pays one relaxed load as long as both are awake.
//!
//! A sleeper first sets its flag, then looks once more for what was appended meanwhile, and only then sleeps
//! without a timeout. A writer that neither fences nor sees the flag may have appended in between. Therefore
//! the sleeper takes that last look [`STORE_BUFFER_DRAIN`] after it has set the flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::cache_line::CacheLine;
use crate::journal::atomics::{announce_sleeper, load_sleepers, load_sleepers_fenced};
use crate::journal::sync_signal::SyncSignal;

/// Time after which a store has left the processor's store buffer for certain.
pub(crate) const STORE_BUFFER_DRAIN: Duration = Duration::from_millis(100);

/// Thread that may sleep, with its bit in [`Wakeup`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sleeper {
    Shipper = 1,
    SyncThread = 2,
}

/// Wakeups of one journal.
#[derive(Default)]
pub(crate) struct Wakeup {
    /// Flags of the threads that sleep, a bit for each [`Sleeper`].
    sleepers: CacheLine<AtomicU32>,
    shipper: Notify,
    pub(super) sync_signal: Arc<SyncSignal>,
}

impl Wakeup {
    /// Wakes the threads that sleep. Called after an append, which a thread that is about to fall asleep may
    /// miss: see the module.
    #[inline]
    pub(crate) fn notify_if_asleep(&self) {
        let asleep = load_sleepers(&*self.sleepers);
        if asleep != 0 {
            self.wake(asleep);
        }
    }

    /// Wakes the threads that sleep, after an append that may be the last one for hours. A thread that is
    /// about to fall asleep sees that append, because of a fence.
    pub(super) fn notify_fenced(&self) {
        let asleep = load_sleepers_fenced(&*self.sleepers);
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
            self.sync_signal.notify_appended();
        }
    }

    /// Wakes the shipper, even if it is only about to fall asleep.
    pub(crate) fn notify_shipper(&self) {
        self.wake(Sleeper::Shipper as u32);
    }

    pub(crate) fn set_asleep(&self, who: Sleeper) {
        announce_sleeper(&*self.sleepers, who as u32);
    }

    /// Waits until the shipper is woken.
    pub(crate) async fn notified(&self) {
        self.shipper.notified().await;
    }
}
