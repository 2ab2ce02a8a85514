//! The process: its configuration, and the tracker made of it.
//!
//! Invariants: nothing exists before the first run starts. Runs keep the tracker they started with:
//! those of earlier configurations live on until the process ends, which waits for them, too.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use crate::config::{Config, Settings};
use crate::model::ExperimentRef;
use crate::model::experiment_name;
use crate::os::fork::{Bequest, PerProcess};
use crate::sync::lock;
use crate::tracker::{Tracker, stand_in};
use crate::warnings;

/// Whether the feature `disabled` is on.
pub(crate) const COMPILED_OUT: bool = cfg!(feature = "disabled");

static PROCESS: PerProcess<Own> = PerProcess::new();
static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

const UNKNOWN: u8 = 0;
const ENABLED: u8 = 1;
const DISABLED: u8 = 2;

/// Everything that one process has.
struct Own {
    process: Mutex<Process>,
    /// The configuration, for children. Written under the lock above.
    bequest: Bequest<(Config, Option<Settings>)>,
    /// Held while the tracker is made.
    making: Mutex<()>,
}

#[derive(Default)]
struct Process {
    config: Config,
    /// What `config` and the environment come to; read once, so that a bad value is one warning.
    settings: Option<Settings>,
    tracker: Option<Arc<Tracker>>,
    /// Trackers of earlier configurations: their runs go on, and the end of the process waits for them.
    earlier: Vec<Arc<Tracker>>,
}

impl Own {
    /// Begins with the configuration of the parent, if there is one.
    fn inheriting(parent: Option<&Self>) -> Self {
        let (config, settings) = parent
            .map(|parent| parent.bequest.get())
            .unwrap_or_default();
        Self {
            bequest: Bequest::new((config.clone(), settings.clone())),
            process: Mutex::new(Process {
                config,
                settings,
                ..Process::default()
            }),
            making: Mutex::new(()),
        }
    }

    /// Changes the configuration, for this process and for children it makes from now on.
    fn change(&self, change: impl FnOnce(&mut Process)) {
        let mut process = lock(&self.process);
        change(&mut process);
        self.bequest
            .set(&(process.config.clone(), process.settings.clone()));
    }
}

fn own() -> &'static Own {
    PROCESS.get_or_make(Own::inheriting)
}

fn process() -> &'static Mutex<Process> {
    &own().process
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
        DISABLED => stand_in::any_alive() && stand_in::scoped().is_some(),
        _ => settings().enabled,
    }
}

/// The process's settings. Resolved with no lock held: a warning may reach a subscriber that asks
/// for them again.
pub(crate) fn settings() -> Settings {
    let config = {
        let process = lock(process());
        if let Some(settings) = &process.settings {
            return settings.clone();
        }
        process.config.clone()
    };
    warnings::set_quiet(config.is_quiet());
    let mut settings = config.resolve();
    own().change(|process| {
        STATE.store(
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
pub(crate) fn configure(change: impl FnOnce(&mut Config)) {
    own().change(|process| {
        change(&mut process.config);
        process.settings = None;
        let earlier = process.tracker.take();
        process.earlier.extend(earlier);
        STATE.store(UNKNOWN, Ordering::Relaxed);
    });
}

/// Changes the experiment of runs that name none, from now on.
pub(crate) fn set_experiment(name: String) {
    let Some(ExperimentRef::Name(name)) = experiment_name::of_name(name) else {
        return;
    };
    if let Some(fake) = stand_in::scoped() {
        fake.set_experiment(name);
        return;
    }
    own().change(|process| {
        if let Some(tracker) = &process.tracker {
            tracker.set_experiment(name.clone());
        }
        process.config = std::mem::take(&mut process.config).experiment(name);
    });
}

impl Tracker {
    /// Returns the scope's tracker, or the process's, made at the first call; `None` where tracking is
    /// disabled.
    pub(crate) fn scoped_or_global() -> Option<Arc<Self>> {
        stand_in::scoped().or_else(Self::global)
    }

    /// The process's tracker, made at the first call; `None` where tracking is disabled.
    pub(crate) fn global() -> Option<Arc<Self>> {
        if COMPILED_OUT || Self::is_starting() {
            return None;
        }
        if let Some(fake) = stand_in::in_place_of_global() {
            return Some(fake);
        }
        let settings = settings();
        if !settings.enabled {
            return None;
        }
        if let Some(tracker) = Self::existing() {
            return Some(tracker);
        }
        // One at a time, and not under the lock that everybody asks for: files are made here.
        let _making = lock(&own().making);
        if let Some(tracker) = Self::existing() {
            return Some(tracker);
        }
        let tracker = Self::start(settings, 1);
        lock(process()).tracker = Some(Arc::clone(&tracker));
        Some(tracker)
    }

    /// Has the end of the process wait for `tracker`, too.
    pub(crate) fn adopt(tracker: &Arc<Self>) {
        lock(process()).earlier.push(Arc::clone(tracker));
    }

    /// The process's tracker, if there is one already.
    pub(crate) fn existing() -> Option<Arc<Self>> {
        lock(process()).tracker.clone()
    }

    /// That, and those of earlier configurations.
    pub(crate) fn all() -> Vec<Arc<Self>> {
        let process = lock(process());
        process
            .earlier
            .iter()
            .chain(&process.tracker)
            .cloned()
            .collect()
    }
}
