//! Settings of system metrics: on or off, sampling interval, samples per point, and prefix of the names.
//!
//! Invariant: as in [`config`](crate::config), a value that cannot be used causes one warning, and the next
//! source's value is used instead.

use std::num::NonZeroU32;
use std::time::Duration;

use super::resolver::Resolver;
use crate::config::Config;
use crate::env_vars::{parse_flag, parse_number, parse_seconds, unusable};
use crate::model::limits;
use crate::warnings::UserWarning;

/// System metrics settings as given to [`Config`]; `None` if not given.
#[derive(Clone, Debug, Default)]
pub(crate) struct SystemMetricsOptions {
    enabled: Option<bool>,
    interval: Option<Duration>,
    samples: Option<NonZeroU32>,
    node_id: Option<String>,
}

/// Resolved system metrics settings: explicit values, then the environment, then defaults.
#[derive(Clone, Debug)]
// Without the feature, nothing reads the other fields; values that cannot be used still cause a warning.
#[cfg_attr(not(feature = "system-metrics"), allow(dead_code))]
pub(crate) struct SystemMetricsSettings {
    /// True if runs that do not choose themselves log system metrics.
    pub(crate) enabled: bool,
    pub(crate) interval: Duration,
    /// Number of samples that are averaged into one point.
    pub(crate) samples: NonZeroU32,
    /// Prefix of metric names: `system/` or `system/<node id>/`.
    pub(crate) prefix: String,
}

/// Shortest interval. Kernels count processor time in ticks of 4 to 10 ms: over a shorter interval, the
/// measured utilization is noise.
const MIN_INTERVAL: Duration = Duration::from_millis(200);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

impl Config {
    /// Sets whether runs that do not choose themselves log system metrics
    /// (`MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`, default false). Needs the feature `system-metrics`.
    ///
    /// A point is logged each time an interval (or several, see
    /// [`system_metrics_samples_before_logging`](Self::system_metrics_samples_before_logging)) has passed, so
    /// a run that is shorter logs none. The steps number the points from 0; in a resumed run they start from
    /// 0 again. The units are megabytes (10⁶ bytes), percent and watts:
    ///
    /// - `system/cpu_utilization_percentage`, since the previous sample,
    /// - `system/system_memory_usage_megabytes`, `system/system_memory_usage_percentage`,
    /// - `system/disk_usage_megabytes`, `system/disk_usage_percentage` and
    ///   `system/disk_available_megabytes` of the file system of `/`,
    /// - `system/network_receive_megabytes` and `system/network_transmit_megabytes`, since the start of the
    ///   run and over all interfaces,
    /// - for each NVIDIA device, if its driver is installed: `system/gpu_0_utilization_percentage`,
    ///   `system/gpu_0_memory_usage_megabytes`, `system/gpu_0_memory_usage_percentage`,
    ///   `system/gpu_0_power_usage_watts` and `system/gpu_0_power_usage_percentage`.
    ///
    /// If a control group (version 2) limits the process, as in a container, the metrics of memory and
    /// processor are relative to the limits of that group. Metrics that cannot be read are left out.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let config = mlflow::Config::new()
    ///     .system_metrics(true)
    ///     .system_metrics_sampling_interval(Duration::from_secs(2))
    ///     .system_metrics_samples_before_logging(5)
    ///     .system_metrics_node_id("worker-3");
    /// # let _ = config;
    /// ```
    pub fn system_metrics(mut self, enabled: bool) -> Self {
        self.system_metrics.enabled = Some(enabled);
        self
    }

    /// Sets the time from one sample to the next (`MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`, in seconds,
    /// default 10 s). Intervals below 0.2 s are raised to 0.2 s.
    ///
    /// ```
    /// let config = mlflow::Config::new().system_metrics_sampling_interval(std::time::Duration::from_secs(30));
    /// # let _ = config;
    /// ```
    pub fn system_metrics_sampling_interval(mut self, interval: Duration) -> Self {
        self.system_metrics.interval = Some(interval);
        self
    }

    /// Sets the number of samples that are averaged into one point
    /// (`MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING`, default 1). A point of the network metrics is the
    /// last sample, not the mean. 0 leaves the setting unset.
    ///
    /// ```
    /// let config = mlflow::Config::new().system_metrics_samples_before_logging(6);
    /// # let _ = config;
    /// ```
    pub fn system_metrics_samples_before_logging(mut self, samples: u32) -> Self {
        self.system_metrics.samples = NonZeroU32::new(samples);
        self
    }

    /// Sets the name of this machine among the machines of one run (`MLFLOW_SYSTEM_METRICS_NODE_ID`, default
    /// none). The metrics are then named `system/<node id>/…`.
    ///
    /// ```
    /// let config = mlflow::Config::new().system_metrics_node_id("node-7");
    /// # let _ = config;
    /// ```
    pub fn system_metrics_node_id(mut self, id: impl Into<String>) -> Self {
        self.system_metrics.node_id = Some(id.into());
        self
    }
}

impl SystemMetricsOptions {
    pub(super) fn resolve(self, resolver: &mut Resolver<'_>) -> SystemMetricsSettings {
        let Self {
            enabled,
            interval,
            samples,
            node_id,
        } = self;
        SystemMetricsSettings {
            enabled: resolver
                .choose(ENABLED)
                .configured(enabled)
                .variable(|value| parse_flag(ENABLED, &value))
                .or(false),
            interval: resolver
                .choose(INTERVAL)
                .configured(interval.map(|interval| interval.max(MIN_INTERVAL)))
                .variable(|value| parse_interval(&value))
                .or(DEFAULT_INTERVAL),
            samples: resolver
                .choose(SAMPLES)
                .configured(samples)
                .variable(|value| parse_number(SAMPLES, &value, "a whole number, 1 or more"))
                .or(NonZeroU32::MIN),
            prefix: resolver
                .choose(NODE_ID)
                .configured_as(node_id, |id| parse_node_id("the configured node id", &id))
                .variable(|id| parse_node_id(NODE_ID, &id))
                .or_unset()
                .map_or_else(|| "system/".to_owned(), |id| key_prefix(&id)),
        }
    }
}

const ENABLED: &str = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING";
const SAMPLES: &str = "MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING";
const INTERVAL: &str = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL";
const NODE_ID: &str = "MLFLOW_SYSTEM_METRICS_NODE_ID";
/// Longest node id, in characters; leaves space in the key for the metric's own name.
const MAX_NODE_ID_CHARS: usize = 200;

/// Returns the interval, which is raised to [`MIN_INTERVAL`].
fn parse_interval(value: &str) -> Result<Duration, UserWarning> {
    let expected = "a number of seconds, more than 0";
    let interval = parse_seconds(INTERVAL, value, expected)?;
    if interval.is_zero() {
        Err(unusable(INTERVAL, value, expected))
    } else {
        Ok(interval.max(MIN_INTERVAL))
    }
}

/// Returns the node id; returns a warning if a metric's key cannot begin with its prefix.
fn parse_node_id(source: &str, id: &str) -> Result<String, UserWarning> {
    let example = format!("{}m", key_prefix(id.trim()));
    if limits::find_key_fault(&example).is_none() && id.chars().count() <= MAX_NODE_ID_CHARS {
        Ok(id.trim().to_owned())
    } else {
        Err(unusable(
            source,
            id,
            "at most 200 letters, digits, `_`, `-`, `.`, `/`, `:` and spaces",
        ))
    }
}

// Input:  `worker-3`
// Output: `system/worker-3/`
fn key_prefix(node_id: &str) -> String {
    format!("system/{node_id}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(
        options: SystemMetricsOptions,
        environment: &[(&'static str, &str)],
    ) -> SystemMetricsSettings {
        let lookup = |variable: &str| {
            let found = environment.iter().find(|(key, _)| *key == variable);
            found.map(|(_, value)| (*value).into())
        };
        options.resolve(&mut Resolver::new(&lookup, None))
    }

    #[test]
    fn off_every_ten_seconds_and_for_no_node_by_default() {
        let settings = resolve(SystemMetricsOptions::default(), &[]);
        assert!(!settings.enabled);
        assert_eq!(settings.interval, Duration::from_secs(10));
        assert_eq!(settings.samples.get(), 1);
        assert_eq!(settings.prefix, "system/");
    }

    #[test]
    fn what_is_configured_wins_over_the_environment() {
        let environment = [
            (ENABLED, "true"),
            (INTERVAL, "2.5"),
            (SAMPLES, "3"),
            (NODE_ID, "a"),
        ];
        let settings = resolve(SystemMetricsOptions::default(), &environment);
        assert!(settings.enabled);
        assert_eq!(settings.interval, Duration::from_millis(2500));
        assert_eq!(settings.samples.get(), 3);
        assert_eq!(settings.prefix, "system/a/");

        let config = Config::new()
            .system_metrics(false)
            .system_metrics_sampling_interval(Duration::from_millis(1))
            .system_metrics_samples_before_logging(7)
            .system_metrics_node_id("b");
        let settings = resolve(config.system_metrics, &environment);
        assert!(!settings.enabled);
        assert_eq!(settings.interval, MIN_INTERVAL);
        assert_eq!(settings.samples.get(), 7);
        assert_eq!(settings.prefix, "system/b/");
    }

    #[test]
    fn values_that_cannot_be_used_fall_back_to_the_default() {
        for (interval, samples, node) in [
            ("0", "0", "a=b"),
            ("-1", "-1", "../a"),
            ("soon", "1.5", "/"),
        ] {
            let settings = resolve(
                SystemMetricsOptions::default(),
                &[(INTERVAL, interval), (SAMPLES, samples), (NODE_ID, node)],
            );
            assert_eq!(settings.interval, DEFAULT_INTERVAL, "{interval}");
            assert_eq!(settings.samples.get(), 1, "{samples}");
            assert_eq!(settings.prefix, "system/", "{node}");
        }
        let long = "n".repeat(201);
        let settings = resolve(SystemMetricsOptions::default(), &[(NODE_ID, &long)]);
        assert_eq!(settings.prefix, "system/");
    }
}
