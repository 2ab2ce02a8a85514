//! [`ToolContext`]: the store that tools read, as they see it.

use std::ops::RangeInclusive;

use mlflow::Config;
use mlflow::blocking::Client;
use mlflow::entities::Run;
use mlflow::search::SearchRuns;
use mlflow_rules::{REDACTED, is_secret_name};

use super::answer::clean;
use super::waiting;
use crate::failure::Failure;
use crate::selection::{METRICS_HINT, RUNS_HINT, select};

/// Store that tools read.
#[derive(Debug)]
pub(super) struct ToolContext {
    /// Client whose requests take no longer than an assistant waits.
    pub(super) client: Client,
    /// Configuration as the user gave it.
    pub(super) config: Config,
}

impl ToolContext {
    /// Returns the run that `text` means, without its secrets. If there is none, the error says whether such a run
    /// waits in a journal of this machine.
    pub(super) fn select(&self, experiments: &[String], text: &str) -> Result<Run, Failure> {
        let missing = match select(&self.client, experiments, text) {
            Ok(run) => return Ok(without_secrets(run)),
            Err(Failure::NotFound(missing)) => missing,
            Err(failure) => return Err(failure),
        };
        let missing = missing
            .replace(RUNS_HINT, "search_runs lists the runs")
            .replace(METRICS_HINT, "get_run lists the metrics of a run");
        let failure = Failure::NotFound(missing);
        Err(match waiting::remark_on_missing(self, text) {
            Some(remark) => failure.with_remark(&remark),
            None => failure,
        })
    }

    /// Returns the runs that a search finds, without their secrets.
    pub(super) fn search(&self, search: SearchRuns) -> Result<Vec<Run>, Failure> {
        let found = self.client.search_runs(search);
        Ok({ found.map(|run| run.map(without_secrets)) }.collect::<Result<_, _>>()?)
    }
}

/// Masks the name and the values of a run, before anything is cut: a part of a credential would not be recognised.
fn without_secrets(mut run: Run) -> Run {
    run.name = clean(&run.name);
    for (key, value) in run.params.iter_mut().chain(&mut run.tags) {
        *value = if is_secret_name(key) {
            REDACTED.to_owned()
        } else {
            clean(value)
        };
    }
    run
}

/// Checks that a number lies in a range.
pub(super) fn check_range(
    argument: &str,
    value: usize,
    range: RangeInclusive<usize>,
) -> Result<usize, Failure> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Failure::Usage(format!(
        "argument `{argument}`: {value} is out of range; expected {} to {}",
        range.start(),
        range.end()
    )))
}
