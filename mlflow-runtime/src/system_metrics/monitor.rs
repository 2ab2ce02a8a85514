//! Sampling of one run: collects readings and logs their values in groups.
//!
//! Invariants: nothing is logged before interval × samples have passed, and nothing after the run has ended.
//! The points of a group have the same time and the same step; the steps number the groups from 0.
//!
//! A sample is taken at the end of an interval. MLflow's client takes a sample at the beginning and logs it
//! at the end, so its values are an interval old, and its first value of the processor is always 0.

use std::time::{Duration, Instant};

use super::SampledRun;
use super::reading::Reading;
use super::series::Series;
use crate::config::system_metrics::SystemMetricsSettings;
use crate::time;
use crate::time::saturating_deadline;

/// Sampling state of one run.
pub(crate) struct Monitor {
    target: Box<dyn SampledRun>,
    settings: SystemMetricsSettings,
    /// Time at which the next reading is due. The first reading is the baseline of the series and is not
    /// logged.
    due: Instant,
    series: Option<Series>,
    step: i64,
}

impl Monitor {
    pub(crate) fn new(target: Box<dyn SampledRun>, settings: &SystemMetricsSettings) -> Self {
        Self {
            target,
            settings: settings.clone(),
            due: Instant::now(),
            series: None,
            step: 0,
        }
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    pub(crate) fn interval(&self) -> Duration {
        self.settings.interval
    }

    /// Returns true while the run can be logged to.
    pub(crate) fn is_open(&self) -> bool {
        self.target.is_open()
    }

    /// Adds a reading that was due; logs a group if the reading completes one.
    pub(crate) fn add_reading(&mut self, reading: &Reading) {
        self.due = saturating_deadline(Instant::now(), self.settings.interval);
        let Some(series) = &mut self.series else {
            self.series = Some(Series::starting_at(reading));
            return;
        };
        if series.add(reading) < self.settings.samples.get() {
            return;
        }
        let prefix = &self.settings.prefix;
        let group: Vec<(String, f64)> = series
            .take()
            .into_iter()
            .map(|(name, value)| (format!("{prefix}{name}"), value))
            .collect();
        // The time is taken before `log_group` checks whether the run has ended, so that no point is later
        // than the end of its run.
        let now = time::coarse_now_ms();
        if self.target.log_group(&group, self.step, now) {
            self.step += 1;
        }
    }
}
