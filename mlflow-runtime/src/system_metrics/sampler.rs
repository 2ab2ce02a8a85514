//! Sampling thread: one for all runs of the process.
//!
//! # Invariants
//!
//! 1. The thread exists while there is a run to sample. After the end of the last run, the thread ends when
//!    that run's next reading would have been due, but not earlier than [`IDLE_TIMEOUT`] after the thread
//!    last saw the run open. No timer outlives the thread.
//! 2. The lock is held for bookkeeping only, never during a reading: the start and the end of a run do not
//!    wait for a reading.
//! 3. One reading serves all runs that are due, and is reused for a twentieth of an interval, so the cost
//!    does not grow with the number of runs.
//! 4. While the thread has no runs, it holds no segment of a journal, so that everything it has logged can be
//!    shipped and deleted.

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
use crate::warnings::{WarningLimit, warn_user};

/// Sampler of each process: a forked child does not have its parent's thread.
static SAMPLERS: PerProcess<Sampler> = PerProcess::new();

/// Returns the sampler of this process.
pub(crate) fn for_this_process() -> &'static Sampler {
    SAMPLERS.get()
}

/// Time that the thread waits for the next run before it ends, counted from the thread's last look at an open
/// run. A sweep starts many runs, one after the other, and a driver may take a while to load.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest time that a stop waits for the thread, which may be in the middle of a reading.
const SAMPLER_STOP_TIMEOUT: Duration = Duration::from_millis(100);
/// Divisor of an interval: a reading that is younger than this part of the interval is reused.
const REUSE_DIVISOR: u32 = 20;

#[derive(Default)]
pub(crate) struct Sampler {
    state: Mutex<SamplerState>,
    changed: Condvar,
}

#[derive(Default)]
struct SamplerState {
    /// Runs that the thread has not taken over yet.
    new_monitors: Vec<Monitor>,
    is_running: bool,
    /// Set by a stop until the thread has dropped its runs.
    is_stop_requested: bool,
    /// Set when the process ends: no run is added and no thread is started any more.
    is_closed: bool,
}

impl Sampler {
    /// Adds a run, and starts the thread if it is not running.
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
                // The lock is released before the warning: a subscriber may start a run.
                drop(state);
                static WARN_LIMIT: WarningLimit = WarningLimit::new();
                if let Some(end) = WARN_LIMIT.admit() {
                    warn_user(format_args!(
                        "cannot start the thread that samples system metrics; the run has none{end}: {error}"
                    ));
                }
            }
        }
    }

    /// Makes the thread drop its runs, and waits until it has done so, but no longer than until the deadline
    /// or for [`SAMPLER_STOP_TIMEOUT`].
    pub(crate) fn stop(&self, deadline: Instant, later: StopMode) {
        let deadline = deadline.min(Instant::now() + SAMPLER_STOP_TIMEOUT);
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
        // A panic would come from one of the libraries that read the machine.
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

    /// Waits until a run's reading is due; returns false if there is no run left and the thread has to end.
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

    /// Notifies a waiting [`stop`](Self::stop) that the thread has dropped its runs.
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
