//! Selection of a run: by the beginning of its id, by its name, as `last`, or as the best by a metric.

use mlflow::blocking::Client;
use mlflow::entities::Run;
use mlflow::search::{SearchRuns, attribute, metric};
use mlflow::{ClientError, Goal};

use crate::failure::Failure;
use crate::goal;
use crate::output::format;

/// Number of matching runs that an error shows.
const MAX_SHOWN: usize = 5;

/// Returns the search for the runs of some experiments; of all, if none is given.
pub(crate) fn runs_of(experiments: &[String]) -> SearchRuns {
    experiments
        .iter()
        .fold(SearchRuns::new(), SearchRuns::experiment)
}

/// Returns the run that `text` means, among the runs of some experiments.
pub(crate) fn select(client: &Client, experiments: &[String], text: &str) -> Result<Run, Failure> {
    if text == "last" {
        let newest = client.search_runs(runs_of(experiments).limit(1)).next();
        return newest
            .transpose()?
            .ok_or_else(|| Failure::NotFound("there is no run yet".to_owned()));
    }
    if let Some((kind, key)) = text.split_once(':') {
        let goal = match kind {
            "min" => Some(Goal::Minimize),
            "max" => Some(Goal::Maximize),
            "best" => Some(goal::guess(key).ok_or_else(|| {
                Failure::Usage(format!(
                    "the name `{key}` does not tell whether less or more is better: write `min:{key}` or `max:{key}`"
                ))
            })?),
            _ => None,
        };
        if let Some(goal) = goal {
            return best(client, experiments, key, goal);
        }
    }
    by_id_or_name(client, experiments, text)
}

/// Returns the runs that `texts` mean, or the `count` newest ones if there is no text.
pub(crate) fn select_or_newest(
    client: &Client,
    experiments: &[String],
    texts: &[String],
    count: usize,
) -> Result<Vec<Run>, Failure> {
    if texts.is_empty() {
        let newest = client.search_runs(runs_of(experiments).limit(count));
        return Ok(newest.collect::<Result<_, _>>()?);
    }
    let texts = texts.iter();
    texts
        .map(|text| select(client, experiments, text))
        .collect()
}

fn best(client: &Client, experiments: &[String], key: &str, goal: Goal) -> Result<Run, Failure> {
    let order = match goal {
        Goal::Minimize => metric(key).asc(),
        Goal::Maximize => metric(key).desc(),
    };
    let first = client
        .search_runs(runs_of(experiments).order_by(order).limit(1))
        .next()
        .transpose()?;
    first
        .filter(|run| run.metric(key).is_some_and(|value| !value.is_nan()))
        .ok_or_else(|| {
            Failure::NotFound(format!(
                "no run has a number for the metric `{key}`: `cargo mlflow show last` lists the metrics of a run"
            ))
        })
}

fn by_id_or_name(client: &Client, experiments: &[String], text: &str) -> Result<Run, Failure> {
    // A whole id also finds a deleted run, and one of a deleted experiment.
    match client.run(text) {
        Ok(run) => return Ok(run),
        Err(ClientError::NotFound { .. } | ClientError::Invalid { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let search = |filter| -> Result<Vec<Run>, ClientError> {
        client
            .search_runs(runs_of(experiments).filter(filter).limit(MAX_SHOWN + 1))
            .collect()
    };
    let mut found = search(attribute::run_name().eq(text))?;
    let may_be_id = text.len() >= 2 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if found.is_empty() && may_be_id {
        found = search(attribute::run_id().like(format!("{text}%")))?;
    }
    match found.as_slice() {
        [] => Err(Failure::NotFound(format!(
            "there is no run with the id or name `{text}`: `cargo mlflow runs` lists the runs"
        ))),
        [_] => Ok(found.swap_remove(0)),
        several => Err(Failure::Ambiguous(describe(text, several))),
    }
}

fn describe(text: &str, runs: &[Run]) -> String {
    let mut description = format!("more than one run is meant by `{text}`; give more of the id:");
    for run in runs.iter().take(MAX_SHOWN) {
        let start = run.start_time_ms.map(format::time).unwrap_or_default();
        description += &format!("\n    {}  {}  {start}", run.run_id, run.name);
    }
    if runs.len() > MAX_SHOWN {
        description += "\n    …";
    }
    description
}
