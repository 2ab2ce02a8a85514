//! System metrics: the machine's processor, memory, disk, network and NVIDIA devices, sampled while a run is
//! open.
//!
//! Invariants: nothing is sampled unless the settings or the run enable system metrics. Names, units and
//! aggregation are those of MLflow's client. Values take the same path as all other values, through the run's
//! handle into the journal. A reading that fails leaves its value absent, and never prevents the next
//! reading. The start and the end of a run never wait for a reading; the end of the process waits for at most
//! a tenth of a second. A fake has no system metrics.
//!
//! How it works: `host` reads the machine, within the limits that `cgroup` finds, and queries `nvidia`. A
//! `reading` holds the numbers of one moment. A `series` turns a run's readings into values, and a `monitor`
//! logs those values. The `sampler` is the thread that calls these parts when a reading is due.

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

/// Treatment of runs that start after a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopMode {
    /// Later runs are sampled.
    Restartable,
    /// Later runs are not sampled, because the process ends.
    Final,
}

/// Run for which the machine is sampled.
#[cfg_attr(not(feature = "system-metrics"), allow(dead_code))]
pub(crate) trait SampledRun: Send {
    /// Returns true if the run is open and some code still has a handle to log to it.
    fn is_open(&self) -> bool;

    /// Logs points that have the same step and the same time, in ms since the Unix epoch. Returns false,
    /// without logging, if the run has ended.
    fn log_group(&self, points: &[(String, f64)], step: i64, timestamp_ms: i64) -> bool;
}

/// Samples the machine for `target` until that run ends.
#[cfg(feature = "system-metrics")]
pub(crate) fn start_sampling(target: impl SampledRun + 'static, settings: &SystemMetricsSettings) {
    sampler::for_this_process().add_monitor(monitor::Monitor::new(Box::new(target), settings));
}

/// Warns, once per process, that system metrics are not compiled in.
#[cfg(not(feature = "system-metrics"))]
pub(crate) fn start_sampling(_: impl SampledRun + 'static, _: &SystemMetricsSettings) {
    static WARNED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    if !WARNED.swap(true, std::sync::atomic::Ordering::Relaxed) {
        crate::warnings::warn_user(format_args!(
            "system metrics are enabled, but not compiled in; enable the feature `system-metrics` of `mlflow-runtime`"
        ));
    }
}

/// Stops sampling for all runs, and releases the journal segments of the sampling thread, so that the shipper
/// can ship and delete them. Waits for that until the deadline, but not longer than a tenth of a second.
#[cfg(feature = "system-metrics")]
pub(crate) fn stop_sampling(deadline: Instant, later: StopMode) {
    sampler::for_this_process().stop(deadline, later);
}

/// Does nothing: without the feature, nothing is sampled.
#[cfg(not(feature = "system-metrics"))]
pub(crate) fn stop_sampling(_: Instant, _: StopMode) {}
