//! [`RunRecord`]: a run as answers show it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mlflow::entities::{MetricPoint, Run, is_automatic_tag};
use serde::Serialize;
use serde_json::{Value, json};

use crate::output::format;
use crate::output::json_number::json_number;
use crate::output::table::shorten;

/// Greatest number of characters of a value.
pub(super) const MAX_VALUE_CHARS: usize = 300;

/// Run with what identifies it.
#[derive(Debug, Serialize)]
pub(super) struct RunRecord {
    run_id: String,
    name: String,
    experiment_id: String,
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
            experiment_id: run.experiment_id.clone(),
            status: run.status.as_str(),
            is_deleted: run.is_deleted(),
            start_time: run.start_time_ms.and_then(time),
            end_time: run.end_time_ms.and_then(time),
            duration_seconds: run.duration().map(|duration| duration.as_secs_f64()),
            parent_run_id: run.parent_run_id().map(str::to_owned),
        }
    }
}

/// Returns a line about a run.
pub(super) fn headline(run: &Run) -> String {
    let deleted = if run.is_deleted() { ", deleted" } else { "" };
    let started = { run.start_time_ms.and_then(time) }
        .map(|time| format!(", started {time}"))
        .unwrap_or_default();
    let duration = { run.duration() }
        .map(|duration| format!(", took {}", format::duration(duration)))
        .unwrap_or_default();
    format!(
        "run {} `{}`: {}{deleted}{started}{duration}",
        run.run_id,
        shorten(&run.name, MAX_VALUE_CHARS),
        run.status
    )
}

/// Returns a time in ISO 8601, in UTC.
pub(super) fn time(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms)
        .ok()
        .map(|time| time.to_string())
}

/// Returns a point as JSON.
pub(super) fn json_point(point: MetricPoint) -> Value {
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
