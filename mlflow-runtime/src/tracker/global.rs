//! State of the process: its configuration, and the tracker that is made from the configuration.
//!
//! Invariants: no tracker exists before the first run starts. Runs keep the tracker that they started with.
//! Trackers of earlier configurations live until the process ends, and the end of the process waits for them,
//! too.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use crate::config::{Config, Settings};
use crate::model::ExperimentRef;
use crate::model::experiment_name;
use crate::os::fork::{InheritedValue, PerProcess};
use crate::sync::lock;
use crate::tracker::{Tracker, fake_scope};
use crate::warnings;

/// True if the feature `disabled` is on.
pub(crate) const COMPILED_OUT: bool = cfg!(feature = "disabled");

static GLOBALS: PerProcess<ProcessGlobals> = PerProcess::new();
static ENABLED_STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

const UNKNOWN: u8 = 0;
const ENABLED: u8 = 1;
const DISABLED: u8 = 2;

/// State of tracking in one process.
struct ProcessGlobals {
    tracking: Mutex<GlobalTracking>,
    /// Configuration that forked children start with. Written while `tracking` is locked.
    inherited: InheritedValue<(Config, Option<Settings>)>,
    /// Lock held while the tracker is made.
    start_lock: Mutex<()>,
}

#[derive(Default)]
struct GlobalTracking {
    config: Config,
    /// Settings that result from `config` and the environment. Resolved once, so that a bad value logs one
    /// warning.
    settings: Option<Settings>,
    tracker: Option<Arc<Tracker>>,
    /// Trackers of earlier configurations. Their runs continue, and the end of the process waits for them.
    earlier: Vec<Arc<Tracker>>,
}

impl ProcessGlobals {
    /// Makes the state of a process, with the configuration of the parent process if there is one.
    fn inheriting(parent: Option<&Self>) -> Self {
        let (config, settings) = parent
            .map(|parent| parent.inherited.get())
            .unwrap_or_default();
        Self {
            inherited: InheritedValue::new((config.clone(), settings.clone())),
            tracking: Mutex::new(GlobalTracking {
                config,
                settings,
                ..GlobalTracking::default()
            }),
            start_lock: Mutex::new(()),
        }
    }

    /// Changes the configuration, for this process and for the children that it forks from now on.
    fn change(&self, change: impl FnOnce(&mut GlobalTracking)) {
        let mut process = lock(&self.tracking);
        change(&mut process);
        self.inherited
            .set(&(process.config.clone(), process.settings.clone()));
    }
}

fn process_globals() -> &'static ProcessGlobals {
    GLOBALS.get_or_make(ProcessGlobals::inheriting)
}

fn global_tracking() -> &'static Mutex<GlobalTracking> {
    &process_globals().tracking
}

/// Returns true if the calling thread tracks: the process tracks, or the thread's values go to a fake. Costs
/// one load and a compare if the process tracks.
#[inline]
pub(crate) fn is_enabled() -> bool {
    !COMPILED_OUT && (ENABLED_STATE.load(Ordering::Relaxed) == ENABLED || is_enabled_slow())
}

/// Returns true if it is settled that the process does not track. Costs one load and a compare.
#[inline]
pub(crate) fn is_known_disabled() -> bool {
    ENABLED_STATE.load(Ordering::Relaxed) == DISABLED
}

#[cold]
fn is_enabled_slow() -> bool {
    match ENABLED_STATE.load(Ordering::Relaxed) {
        ENABLED => true,
        // A fake records even if the process does not track.
        DISABLED => fake_scope::has_live_fake() && fake_scope::scoped_fake().is_some(),
        _ => resolved_settings().enabled,
    }
}

/// Returns the process's settings. No lock is held while the settings are resolved: a warning may reach a
/// subscriber that needs the settings again.
pub(crate) fn resolved_settings() -> Settings {
    let config = {
        let process = lock(global_tracking());
        if let Some(settings) = &process.settings {
            return settings.clone();
        }
        process.config.clone()
    };
    warnings::set_quiet(config.is_quiet());
    let mut settings = config.resolve();
    process_globals().change(|process| {
        ENABLED_STATE.store(
            if settings.enabled { ENABLED } else { DISABLED },
            Ordering::Relaxed,
        );
        // Another thread may have been faster.
        settings = process
            .settings
            .get_or_insert_with(|| settings.clone())
            .clone();
    });
    settings
}

/// Changes the process's configuration for runs that start from now on.
pub(crate) fn change_config(change: impl FnOnce(&mut Config)) {
    process_globals().change(|process| {
        change(&mut process.config);
        process.settings = None;
        let earlier = process.tracker.take();
        process.earlier.extend(earlier);
        ENABLED_STATE.store(UNKNOWN, Ordering::Relaxed);
    });
}

/// Sets the experiment of runs that start from now on and name none.
pub(crate) fn set_experiment(name: String) {
    let Some(ExperimentRef::Name(name)) = experiment_name::experiment_from_name(name) else {
        return;
    };
    if let Some(fake) = fake_scope::scoped_fake() {
        fake.set_experiment(name);
        return;
    }
    process_globals().change(|process| {
        if let Some(tracker) = &process.tracker {
            tracker.set_experiment(name.clone());
        }
        process.config = std::mem::take(&mut process.config).experiment(name);
    });
}

impl Tracker {
    /// Returns the tracker of the calling scope or else that of the process, which the first call makes.
    /// Returns `None` if tracking is disabled.
    pub(crate) fn scoped_or_global() -> Option<Arc<Self>> {
        fake_scope::scoped_fake().or_else(Self::global)
    }

    /// Returns the process's tracker, which the first call makes, or its substitute while a fake is alive.
    /// Returns `None` if tracking is disabled, or while the calling thread starts a tracker.
    pub(crate) fn global() -> Option<Arc<Self>> {
        if COMPILED_OUT || Self::is_starting() {
            return None;
        }
        if let Some(fake) = fake_scope::substitute_for_global() {
            return Some(fake);
        }
        let settings = resolved_settings();
        if !settings.enabled {
            return None;
        }
        if let Some(tracker) = Self::existing() {
            return Some(tracker);
        }
        // Only one thread at a time makes the tracker. The lock that every call needs is not held meanwhile,
        // because files are created here.
        let _making = lock(&process_globals().start_lock);
        if let Some(tracker) = Self::existing() {
            return Some(tracker);
        }
        let tracker = Self::start(settings, 1);
        lock(global_tracking()).tracker = Some(Arc::clone(&tracker));
        Some(tracker)
    }

    /// Adds `tracker` to those that the end of the process waits for.
    pub(crate) fn adopt(tracker: &Arc<Self>) {
        lock(global_tracking()).earlier.push(Arc::clone(tracker));
    }

    /// Returns the process's tracker, if there is one already.
    pub(crate) fn existing() -> Option<Arc<Self>> {
        lock(global_tracking()).tracker.clone()
    }

    /// Returns the process's tracker, if there is one, and those of earlier configurations.
    pub(crate) fn all() -> Vec<Arc<Self>> {
        let process = lock(global_tracking());
        process
            .earlier
            .iter()
            .chain(&process.tracker)
            .cloned()
            .collect()
    }
}
