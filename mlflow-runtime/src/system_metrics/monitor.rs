//! What the sampler does for one run.
//!
//! Invariants: nothing is logged before interval × samples have passed, and nothing once the run
//! has ended. The points of a group have one time and one step; steps count groups from 0.
//!
//! A sample is taken at the end of an interval. MLflow's client takes it at the begin and logs it at
//! the end: its values are an interval old, and the first of the processor is always 0.

use std::time::{Duration, Instant};

use super::SampledRun;
use super::reading::Reading;
use super::series::Series;
use crate::config::system_metrics::SystemMetricsSettings;
use crate::time;
use crate::time::saturating_deadline;

/// One run's part.
pub(crate) struct Monitor {
    target: Box<dyn SampledRun>,
    settings: SystemMetricsSettings,
    /// When it wants the next reading; the first one is where it starts from.
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

    /// Whether there still is something to do.
    pub(crate) fn is_open(&self) -> bool {
        self.target.is_open()
    }

    /// Takes a reading that was due, and logs a group if that makes one.
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
        // Before the look at whether it has ended: so no point is later than its run's end.
        let now = time::coarse_now_ms();
        if self.target.log_group(&group, self.step, now) {
            self.step += 1;
        }
    }
}
