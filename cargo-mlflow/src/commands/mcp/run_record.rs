//! [`RunRecord`]: a run as answers show it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use mlflow::entities::{Run, is_automatic_tag};
use serde::Serialize;
use serde_json::{Value, json};

use crate::live::{Look, Point, State};
use crate::output::format;
use crate::output::json_number::json_number;
use crate::output::table::shorten;

/// Greatest number of characters of a value.
pub(super) const MAX_VALUE_CHARS: usize = 300;

/// Run with what identifies it.
#[derive(Debug, Serialize)]
pub(super) struct RunRecord {
    /// Id in the store, or the local one of a run that the store is not known to have.
    run_id: String,
    name: String,
    experiment_id: Option<String>,
    status: &'static str,
    is_deleted: bool,
    /// Times in ISO 8601.
    start_time: Option<String>,
    end_time: Option<String>,
    duration_seconds: Option<f64>,
    parent_run_id: Option<String>,
}

impl From<&Run> for RunRecord {
    fn from(run: &Run) -> Self {
        Self {
            run_id: run.run_id.clone(),
            name: shorten(&run.name, MAX_VALUE_CHARS),
            experiment_id: Some(run.experiment_id.clone()),
            status: run.status.as_str(),
            is_deleted: run.is_deleted(),
            start_time: run.start_time_ms.and_then(time),
            end_time: run.end_time_ms.and_then(time),
            duration_seconds: run.duration().map(|duration| duration.as_secs_f64()),
            parent_run_id: run.parent_run_id().map(str::to_owned),
        }
    }
}

impl From<&Look> for RunRecord {
    fn from(look: &Look) -> Self {
        let run = &look.run;
        let state = run.state();
        let end_ms = run.end_time_ms();
        let ms = (end_ms.zip(run.start_time_ms())).map(|(end, start)| end.saturating_sub(start));
        let duration = ms.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs()));
        let stored = look.stored.as_ref().map(|(_, stored)| Self::from(stored));
        Self {
            run_id: run.id().to_owned(),
            name: shorten(&run.name, MAX_VALUE_CHARS),
            status: state.as_str(),
            start_time: run.start_time_ms().and_then(time),
            end_time: end_ms.and_then(time),
            duration_seconds: duration.map(|duration| duration.as_secs_f64()),
            experiment_id: { stored.as_ref() }.and_then(|stored| stored.experiment_id.clone()),
            is_deleted: stored.as_ref().is_some_and(|stored| stored.is_deleted),
            parent_run_id: stored.and_then(|stored| stored.parent_run_id),
        }
    }
}

impl RunRecord {
    /// Returns a line about the run.
    pub(super) fn headline(&self) -> String {
        let deleted = if self.is_deleted { ", deleted" } else { "" };
        let started = { self.start_time.as_ref() }
            .map(|time| format!(", started {time}"))
            .unwrap_or_default();
        let duration = { self.duration_seconds }
            .map(Duration::from_secs_f64)
            .map(|duration| format!(", took {}", format::duration(duration)))
            .unwrap_or_default();
        format!(
            "run {} `{}`: {}{deleted}{started}{duration}",
            self.run_id, self.name, self.status
        )
    }
}

/// Returns a line about a run of the store.
pub(super) fn headline(run: &Run) -> String {
    RunRecord::from(run).headline()
}

/// Returns lines about the sources of a run: the process that has left the run, and the store that is not read.
pub(super) fn source_remarks(look: &Look) -> Vec<String> {
    let mut remarks = Vec::new();
    if look.run.state() == State::Abandoned {
        remarks.push(
            "ABANDONED: the process has ended without ending the run; `cargo mlflow sync` ships the rest".to_owned(),
        );
    }
    if let Some(error) = &look.store_error {
        remarks.push(format!(
            "only what the journal of this machine holds is shown, as the store does not answer: {error}"
        ));
    } else if !look.has_store {
        remarks.push(
            "only what the journal of this machine holds is shown, as its store is not the configured one".to_owned(),
        );
    }
    remarks
}

/// Returns a time in ISO 8601, in UTC.
pub(super) fn time(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms)
        .ok()
        .map(|time| time.to_string())
}

/// Returns a point as JSON.
pub(super) fn json_point(point: impl Into<Point>) -> Value {
    let point: Point = point.into();
    json!({ "step": point.step, "value": json_number(point.value), "time": time(point.timestamp_ms) })
}

/// Returns the tags that a person has set, and those about the source and an error.
pub(super) fn telling_tags(run: &Run) -> BTreeMap<&str, &str> {
    const TELLING: [&str; 6] = [
        "mlflow.note.content",
        "mlflow.source.name",
        "mlflow.source.git.commit",
        "mlflow.source.git.branch",
        "error.message",
        "mlflow.user",
    ];
    { run.tags.iter() }
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .filter(|(key, _)| !is_automatic_tag(key) || TELLING.contains(key))
        .collect()
}
