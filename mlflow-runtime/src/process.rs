//! The process: its configuration, and the tracker made of it.
//!
//! Invariants: nothing exists before the first run starts. Runs keep the tracker they started with:
//! those of earlier configurations live on until the process ends, which waits for them, too.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use once_cell::sync::Lazy;

use crate::config::{Config, Settings};
use crate::context::Context;
use crate::tracker::{Tracker, lock};

/// Whether the feature `disabled` is on.
pub(crate) const COMPILED_OUT: bool = cfg!(feature = "disabled");

/// The process's configuration and tracker.
static PROCESS: Lazy<Mutex<Process>> = Lazy::new(Mutex::default);
static MAKING: Mutex<()> = Mutex::new(());
static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

const UNKNOWN: u8 = 0;
const ENABLED: u8 = 1;
const DISABLED: u8 = 2;

#[derive(Default)]
struct Process {
    config: Config,
    /// What `config` and the environment come to; read once, so that a bad value is one warning.
    settings: Option<Settings>,
    tracker: Option<Arc<Tracker>>,
    /// Trackers of earlier configurations: their runs go on, and the end of the process waits for them.
    earlier: Vec<Arc<Tracker>>,
}

/// Whether the calling thread tracks: one load and a compare where the process does.
#[inline]
pub(crate) fn enabled() -> bool {
    !COMPILED_OUT && (STATE.load(Ordering::Relaxed) == ENABLED || enabled_slow())
}

#[cold]
fn enabled_slow() -> bool {
    match STATE.load(Ordering::Relaxed) {
        ENABLED => true,
        // A fake records also where the process does not track.
        DISABLED => crate::testing::any_active() && Context::current().scoped_tracker().is_some(),
        _ => settings().enabled,
    }
}

/// The process's settings. Resolved with no lock held: a warning may reach a subscriber that asks
/// for them again.
fn settings() -> Settings {
    let config = {
        let process = lock(&PROCESS);
        if let Some(settings) = &process.settings {
            return settings.clone();
        }
        process.config.clone()
    };
    let settings = config.resolve();
    let mut process = lock(&PROCESS);
    STATE.store(
        if settings.enabled { ENABLED } else { DISABLED },
        Ordering::Relaxed,
    );
    process.settings.get_or_insert(settings).clone()
}

/// Changes the process's configuration for runs that start from now on.
pub(crate) fn configure(change: impl FnOnce(&mut Config)) {
    let mut process = lock(&PROCESS);
    change(&mut process.config);
    process.settings = None;
    let earlier = process.tracker.take();
    process.earlier.extend(earlier);
    STATE.store(UNKNOWN, Ordering::Relaxed);
}

/// Changes the experiment of runs that name none, from now on.
pub(crate) fn set_experiment(name: String) {
    if let Some(tracker) = Context::current().scoped_tracker() {
        tracker.set_experiment(name);
        return;
    }
    let mut process = lock(&PROCESS);
    if let Some(tracker) = &process.tracker {
        tracker.set_experiment(name.clone());
    }
    process.config = std::mem::take(&mut process.config).experiment(name);
}

impl Tracker {
    /// The process's tracker, made at the first call; `None` where tracking is disabled.
    pub(crate) fn global() -> Option<Arc<Self>> {
        thread_local! {
            static STARTING: Cell<bool> = const { Cell::new(false) };
        }
        // A subscriber that starts runs may be told of trouble while the tracker is being made.
        if COMPILED_OUT || STARTING.get() {
            return None;
        }
        let settings = settings();
        if !settings.enabled {
            return None;
        }
        if let Some(tracker) = Self::existing() {
            return Some(tracker);
        }
        // One at a time, and not under the lock that everybody asks for: files are made here.
        let _making = lock(&MAKING);
        if let Some(tracker) = Self::existing() {
            return Some(tracker);
        }
        STARTING.set(true);
        let tracker = Self::start(settings);
        STARTING.set(false);
        lock(&PROCESS).tracker = Some(Arc::clone(&tracker));
        Some(tracker)
    }

    /// The process's tracker, if there is one already.
    pub(crate) fn existing() -> Option<Arc<Self>> {
        lock(&PROCESS).tracker.clone()
    }

    /// That, and those of earlier configurations.
    pub(crate) fn all() -> Vec<Arc<Self>> {
        let process = lock(&PROCESS);
        process
            .earlier
            .iter()
            .chain(&process.tracker)
            .cloned()
            .collect()
    }
}
