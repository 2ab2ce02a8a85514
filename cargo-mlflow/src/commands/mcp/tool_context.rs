//! [`ToolContext`]: the store that tools read, as they see it.

use mlflow::Config;
use mlflow::blocking::Client;
use mlflow::entities::Run;
use mlflow::search::SearchRuns;
use mlflow_rules::{REDACTED, is_secret_name};

use super::answer::clean;
use super::waiting;
use crate::failure::Failure;
use crate::live::{LiveChoice, Look, Reading};
use crate::selection::{METRICS_HINT, RUNS_HINT, select};

/// Store that tools read.
#[derive(Debug)]
pub(super) struct ToolContext {
    /// Client whose requests take no longer than an assistant waits.
    pub(super) client: Client,
    /// Configuration as the user gave it.
    pub(super) config: Config,
    /// True if the user has named a store, so that runs for other ones are not meant.
    pub(super) is_store_named: bool,
}

impl ToolContext {
    /// Returns the run that `text` means, without its secrets. If there is none, the error says whether such a run
    /// waits in a journal of this machine.
    pub(super) fn select(&self, experiments: &[String], text: &str) -> Result<Run, Failure> {
        let run = select(&self.client, experiments, text);
        run.map(without_secrets)
            .map_err(|failure| self.explain(failure, text))
    }

    /// Returns the run that `text` means as it is now: from the journals of this machine and from the store, without
    /// secrets.
    pub(super) fn look(&self, experiments: &[String], text: &str) -> Result<Look, Failure> {
        let runs = [text.to_owned()];
        let choice = LiveChoice {
            runs: &runs,
            newest: 1,
            experiments,
            reading: Reading::Points,
            takes_any_destination: !self.is_store_named,
        };
        let mut look = choice
            .look(&self.config, &self.client)
            .map_err(|failure| self.explain(failure, text))?;
        look.run.name = clean(&look.run.name);
        look.stored = { look.stored }.map(|(client, run)| {
            let run = without_secrets(run);
            look.run.set_record(run.clone(), Vec::new());
            (client, run)
        });
        Ok(look)
    }

    /// Returns the failure to find the run `text`, with what a tool can do about it.
    fn explain(&self, failure: Failure, text: &str) -> Failure {
        let Failure::NotFound(missing) = failure else {
            return failure;
        };
        let missing = missing
            .replace(RUNS_HINT, "search_runs lists the runs")
            .replace(METRICS_HINT, "get_run lists the metrics of a run");
        let failure = Failure::NotFound(missing);
        match waiting::remark_on_missing(self, text) {
            Some(remark) => failure.with_remark(&remark),
            None => failure,
        }
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
