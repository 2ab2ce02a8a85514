//! [`RunRecord`]: a run as JSON holds it.

use std::borrow::Borrow;

use mlflow::entities::Run;
use serde::Serialize;

/// Run as JSON holds it: with its duration. As everywhere in JSON and exports, times and durations are numbers, and
/// their names end with the unit.
#[derive(Serialize)]
pub(crate) struct RunRecord<R> {
    #[serde(flatten)]
    run: R,
    duration_ms: Option<i64>,
}

impl<R: Borrow<Run>> RunRecord<R> {
    pub(crate) fn new(run: R) -> Self {
        Self {
            duration_ms: duration_ms(run.borrow()),
            run,
        }
    }
}

/// Returns the duration of a run; `None` if it has not ended.
pub(crate) fn duration_ms(run: &Run) -> Option<i64> {
    i64::try_from(run.duration()?.as_millis()).ok()
}

/// Returns the records of several runs.
pub(crate) fn records(runs: &[Run]) -> Vec<RunRecord<&Run>> {
    runs.iter().map(RunRecord::new).collect()
}
