//! What the machine does while a run goes on: processor, memory, disk, network, NVIDIA devices.
//!
//! Invariants: off unless asked for; names, units and aggregation are MLflow's. A value takes the
//! way of every other value, through the run's handle into the journal. A reading that fails is a
//! value that is absent; it never stops the next one. A run's start and end wait for nothing here,
//! the end of the process for a tenth of a second at most. A fake has no system metrics.
//!
//! The way: `host` reads the machine, within the limits that `cgroup` finds, and asks `nvidia`; a
//! `reading` is what it saw; a `series` makes a run's values of readings; a `monitor` logs them; the
//! `sampler` is the thread that calls all of these in time.

#[cfg(feature = "system-metrics")]
mod cgroup;
#[cfg(feature = "system-metrics")]
mod host;
#[cfg(feature = "system-metrics")]
mod monitor;
#[cfg(feature = "system-metrics")]
mod nvidia;
#[cfg(feature = "system-metrics")]
mod reading;
#[cfg(feature = "system-metrics")]
mod sampler;
#[cfg(feature = "system-metrics")]
mod series;

use std::time::Instant;

use crate::config::system_metrics::SystemMetricsSettings;

/// What happens to the runs that start after a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopMode {
    /// They are sampled.
    Restartable,
    /// There will be none worth it: the process ends.
    Final,
}

/// A run that the machine is sampled for.
#[cfg_attr(not(feature = "system-metrics"), allow(dead_code))]
pub(crate) trait SampledRun: Send {
    /// Returns whether the run goes on, and anybody can still log to it.
    fn is_open(&self) -> bool;

    /// Logs points of one step and one time, in ms since the Unix epoch. Returns whether the run took them: one that
    /// has ended does not.
    fn log_group(&self, points: &[(String, f64)], step: i64, timestamp_ms: i64) -> bool;
}

/// Samples the machine for `target` until it ends.
#[cfg(feature = "system-metrics")]
pub(crate) fn start_sampling(target: impl SampledRun + 'static, settings: &SystemMetricsSettings) {
    sampler::for_this_process().add_monitor(monitor::Monitor::new(Box::new(target), settings));
}

/// Says, once, why there will be no system metrics.
#[cfg(not(feature = "system-metrics"))]
pub(crate) fn start_sampling(_: impl SampledRun + 'static, _: &SystemMetricsSettings) {
    static WARNED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    if !WARNED.swap(true, std::sync::atomic::Ordering::Relaxed) {
        tracing::warn!(
            target: "mlflow",
            "system metrics were asked for, but are not compiled in; enable the feature `system-metrics` of `mlflow-runtime`"
        );
    }
}

/// Leaves every run alone, and what was logged for them to the shipper. Waits for that until the
/// deadline, but not for long.
#[cfg(feature = "system-metrics")]
pub(crate) fn stop_sampling(deadline: Instant, later: StopMode) {
    sampler::for_this_process().stop(deadline, later);
}

/// There is nothing to stop.
#[cfg(not(feature = "system-metrics"))]
pub(crate) fn stop_sampling(_: Instant, _: StopMode) {}
