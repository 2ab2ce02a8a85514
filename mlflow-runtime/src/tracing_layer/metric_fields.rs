//! The metrics of a `tracing` event.
//!
//! Invariant: nothing is allocated for an event with at most [`INLINE_METRICS`] metrics, all of which are
//! numbers.

use std::fmt;

use tracing::field::{Field, Visit};

use crate::run::Run;
use crate::run::current_run;
use crate::run::metric_value::{MetricValue, Step};

/// Prefix of the names of fields that are metrics.
pub(super) const METRIC_FIELD_PREFIX: &str = "metric.";

/// Field with the step of an event's metrics.
const STEP_FIELD: &str = "step";

/// Number of metrics of one event that are stored without an allocation.
const INLINE_METRICS: usize = 8;

/// Metrics of one event.
#[derive(Default)]
pub(super) struct EventMetrics {
    inline: [(&'static str, f64); INLINE_METRICS],
    count: usize,
    spilled: Vec<(&'static str, f64)>,
    step: Option<i64>,
    /// Names of the fields that should be numbers and are not.
    faults: Vec<&'static str>,
}

impl EventMetrics {
    fn points(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.inline[..self.count]
            .iter()
            .chain(&self.spilled)
            .copied()
    }

    pub(super) fn log(&self, run: &Run) {
        let step = self.step.unwrap_or(0);
        for (name, value) in self.points() {
            run.log_point(name, value, step);
        }
    }

    pub(super) fn has_no_faults(&self) -> bool {
        self.faults.is_empty()
    }

    /// Warns about the fields that are no numbers. The warning may reach subscribers, and code of the user's
    /// with them.
    pub(super) fn warn_faults(&self, run: &Run) {
        for field in &self.faults {
            run.warn_not_a_number(field, *field == STEP_FIELD);
        }
    }

    /// Reports metrics for which there is no run: a fake records them, otherwise a warning is logged.
    pub(super) fn note_without_run(&self) {
        for (name, _) in self.points() {
            current_run::report_event_outside_run(name);
        }
    }

    fn number(&mut self, field: &Field, value: impl MetricValue) {
        let Some(name) = field.name().strip_prefix(METRIC_FIELD_PREFIX) else {
            return;
        };
        let point = (name, value.as_metric());
        match self.inline.get_mut(self.count) {
            Some(place) => {
                *place = point;
                self.count += 1;
            }
            None => self.spilled.push(point),
        }
    }

    fn integer(&mut self, field: &Field, value: impl MetricValue + Step) {
        if field.name() == STEP_FIELD {
            self.step = Some(value.as_step());
        } else {
            self.number(field, value);
        }
    }

    fn note_fault(&mut self, field: &Field) {
        if field.name() == STEP_FIELD || field.name().starts_with(METRIC_FIELD_PREFIX) {
            self.faults.push(field.name());
        }
    }
}

impl Visit for EventMetrics {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == STEP_FIELD {
            self.note_fault(field);
        }
        self.number(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.integer(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.integer(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.integer(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.integer(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field, value);
    }

    fn record_str(&mut self, field: &Field, _: &str) {
        self.note_fault(field);
    }

    fn record_error(&mut self, field: &Field, _: &(dyn std::error::Error + 'static)) {
        self.note_fault(field);
    }

    fn record_debug(&mut self, field: &Field, _: &dyn fmt::Debug) {
        self.note_fault(field);
    }
}
