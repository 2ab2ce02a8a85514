//! The one thread that samples, for all runs of the process.
//!
//! # Invariants
//!
//! 1. It exists while a run wants it, and a moment longer; then it is gone, and no timer with it.
//! 2. The lock is held for bookkeeping only, never for a reading: a start or an end of a run waits
//!    for none.
//! 3. One reading serves all runs that are due, and within a twentieth of an interval there is one
//!    at most: the cost does not grow with the number of runs.
//! 4. While it has no runs it holds no segment of a journal: what it logged can be shipped and deleted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::StopMode;
use super::host::Host;
use super::monitor::Monitor;
use super::reading::Reading;
use crate::journal;
use crate::os::fork::PerProcess;
use crate::sync::{ignore_poison, lock};
use crate::warnings::WarningLimit;

/// One for each process: a thread of the parent's is not in its child.
static SAMPLERS: PerProcess<Sampler> = PerProcess::new();

/// This process's.
pub(crate) fn for_this_process() -> &'static Sampler {
    SAMPLERS.get()
}

/// How long it waits for the next run before it ends: a sweep starts many, one after the other, and
/// a driver may take a while to load.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a stop waits for the thread, which may be in the middle of a reading.
const STOP_TIMEOUT: Duration = Duration::from_millis(100);
/// The part of an interval for which a reading is as good as a new one.
const REUSE_DIVISOR: u32 = 20;

#[derive(Default)]
pub(crate) struct Sampler {
    state: Mutex<SamplerState>,
    changed: Condvar,
}

#[derive(Default)]
struct SamplerState {
    /// Runs that the thread has not met yet.
    new_monitors: Vec<Monitor>,
    is_running: bool,
    /// Asks the thread to leave its runs alone.
    is_stop_requested: bool,
    /// The process ends: no thread is started any more.
    is_closed: bool,
}

impl Sampler {
    /// Takes a run over, and starts the thread if there is none.
    pub(crate) fn add_monitor(&'static self, monitor: Monitor) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        state.new_monitors.push(monitor);
        if state.is_running {
            drop(state);
            self.changed.notify_all();
            return;
        }
        let spawned = thread::Builder::new()
            .name("mlflow-system-metrics".to_owned())
            .spawn(|| self.run());
        match spawned {
            Ok(_) => state.is_running = true,
            Err(error) => {
                state.new_monitors.clear();
                // A subscriber may start a run.
                drop(state);
                static WARN_LIMIT: WarningLimit = WarningLimit::new();
                if let Some(end) = WARN_LIMIT.admit() {
                    tracing::warn!(target: "mlflow", %error, "no thread could be started; the run has no system metrics{end}");
                }
            }
        }
    }

    /// Has the thread leave its runs alone, and waits for that.
    pub(crate) fn stop(&self, deadline: Instant, later: StopMode) {
        let deadline = deadline.min(Instant::now() + STOP_TIMEOUT);
        let mut state = self.lock();
        state.new_monitors.clear();
        state.is_closed |= later == StopMode::Final;
        state.is_stop_requested = state.is_running;
        self.changed.notify_all();
        while state.is_stop_requested {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.wait(state, left);
        }
    }

    fn run(&self) {
        // A panic would be one of the libraries that read the machine.
        if catch_unwind(AssertUnwindSafe(|| self.run_sampling_loop())).is_err() {
            journal::release_all();
            let mut state = self.lock();
            state.new_monitors.clear();
            state.is_running = false;
            self.confirm_stop(&mut state);
        }
    }

    fn run_sampling_loop(&self) {
        let mut monitors = Vec::new();
        let mut host = None;
        let mut last: Option<(Instant, Reading)> = None;
        while self.wait_for_due(&mut monitors) {
            let now = Instant::now();
            let due = |monitor: &&mut Monitor| monitor.due() <= now;
            let due: Vec<&mut Monitor> = monitors.iter_mut().filter(due).collect();
            let interval = due.iter().map(|monitor| monitor.interval()).min();
            let fresh = interval.unwrap_or_default() / REUSE_DIVISOR;
            if last.as_ref().is_none_or(|(at, _)| now - *at > fresh) {
                last = Some((now, host.get_or_insert_with(Host::new).read()));
            }
            if let Some((_, reading)) = &last {
                due.into_iter()
                    .for_each(|monitor| monitor.add_reading(reading));
            }
        }
    }

    /// Waits until a run wants a reading; false if none does any more.
    fn wait_for_due(&self, monitors: &mut Vec<Monitor>) -> bool {
        let mut seen = Instant::now();
        let mut state = self.lock();
        loop {
            if state.is_stop_requested {
                monitors.clear();
                journal::release_all();
                self.confirm_stop(&mut state);
            }
            monitors.append(&mut state.new_monitors);
            monitors.retain(Monitor::is_open);
            let now = Instant::now();
            let until = match monitors.iter().map(Monitor::due).min() {
                Some(due) if due <= now => return true,
                Some(due) => {
                    seen = now;
                    due
                }
                None if now - seen >= IDLE_TIMEOUT => {
                    state.is_running = false;
                    return false;
                }
                None => {
                    journal::release_all();
                    seen + IDLE_TIMEOUT
                }
            };
            state = self.wait(state, until - now);
        }
    }

    /// Tells who waits for it that the runs are left alone.
    fn confirm_stop(&self, state: &mut SamplerState) {
        state.is_stop_requested = false;
        self.changed.notify_all();
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, SamplerState>,
        timeout: Duration,
    ) -> MutexGuard<'a, SamplerState> {
        ignore_poison(self.changed.wait_timeout(state, timeout)).0
    }

    fn lock(&self) -> MutexGuard<'_, SamplerState> {
        lock(&self.state)
    }
}
