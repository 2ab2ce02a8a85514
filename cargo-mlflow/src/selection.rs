//! Selection of a run: by the beginning of its id, by its name, as `last`, or as the best by a metric.

use std::collections::BTreeSet;

use mlflow::blocking::Client;
use mlflow::entities::Run;
use mlflow::search::{SearchRuns, ViewType, attribute, metric};
use mlflow::{ClientError, Goal};

use crate::failure::Failure;
use crate::goal;
use crate::output::format;
use crate::output::table::shorten;

/// Number of matching runs that an error shows.
const MAX_SHOWN: usize = 5;
/// Greatest number of characters of a list of metrics.
const MAX_LIST_CHARS: usize = 200;
/// Greatest number of characters of the names of runs.
const MAX_NAME_CHARS: usize = 60;

/// Hint at the command that lists runs, in errors. A caller with another interface replaces it by its own.
pub(crate) const RUNS_HINT: &str = "`cargo mlflow runs` lists the runs";
/// Hint at the command that lists the metrics of a run, in errors.
pub(crate) const METRICS_HINT: &str = "`cargo mlflow show last` lists the metrics of a run";

/// Returns the search for the runs of some experiments; of all, if none is given.
pub(crate) fn runs_of(experiments: &[String]) -> SearchRuns {
    experiments
        .iter()
        .fold(SearchRuns::new(), SearchRuns::experiment)
}

/// Returns the search with the best runs by a metric first. An infinity is no result to be proud of: MLflow's databases
/// hold the greatest float in its place, which is left out, too.
pub(crate) fn best_first(search: SearchRuns, key: &str, goal: Goal) -> SearchRuns {
    let order = match goal {
        Goal::Minimize => metric(key).asc(),
        Goal::Maximize => metric(key).desc(),
    };
    let is_finite = metric(key).gt(f64::MIN) & metric(key).lt(f64::MAX);
    search.filter(is_finite).order_by(order)
}

/// Returns the metrics that there are, for an error about one that is not there. `owner` is `the run has` or `the runs
/// have`.
pub(crate) fn list_metrics<'k>(owner: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let known: BTreeSet<&str> = known.into_iter().collect();
    if known.is_empty() {
        return format!("{owner} no metrics");
    }
    let names: Vec<&str> = known.into_iter().collect();
    format!("{owner} {}", shorten(&names.join(", "), MAX_LIST_CHARS))
}

/// Returns the run that `text` means, among the runs of some experiments.
pub(crate) fn select(client: &Client, experiments: &[String], text: &str) -> Result<Run, Failure> {
    Runs::Active(experiments).select(client, text)
}

/// Returns the run that `text` means, among the deleted runs of some experiments. A whole id also means a run that
/// is not deleted.
pub(crate) fn select_deleted(
    client: &Client,
    experiments: &[String],
    text: &str,
) -> Result<Run, Failure> {
    Runs::Deleted(experiments).select(client, text)
}

/// Runs among which one is selected, by the names of their experiments.
#[derive(Clone, Copy)]
enum Runs<'e> {
    Active(&'e [String]),
    Deleted(&'e [String]),
}

impl Runs<'_> {
    fn search(self) -> SearchRuns {
        match self {
            Self::Active(experiments) => runs_of(experiments),
            Self::Deleted(experiments) => runs_of(experiments).view(ViewType::DeletedOnly),
        }
    }

    fn select(self, client: &Client, text: &str) -> Result<Run, Failure> {
        if text == "last" {
            let newest = client.search_runs(self.search().limit(1)).next();
            return newest.transpose()?.ok_or_else(|| {
                Failure::NotFound(match self {
                    Self::Active(_) => "there is no run yet".to_owned(),
                    Self::Deleted(_) => "there is no deleted run".to_owned(),
                })
            });
        }
        let Some((key, goal)) = metric_and_goal(text)? else {
            return self.by_id_or_name(client, text);
        };
        self.best(client, key, goal)
    }

    fn best(self, client: &Client, key: &str, goal: Goal) -> Result<Run, Failure> {
        let search = best_first(self.search(), key, goal).limit(1);
        let first = client.search_runs(search).next().transpose()?;
        first
            .filter(|run| run.metric(key).is_some_and(|value| !value.is_nan()))
            .ok_or_else(|| {
                Failure::NotFound(format!(
                    "no run has a finite number for the metric `{key}`: {METRICS_HINT}"
                ))
            })
    }

    fn by_id_or_name(self, client: &Client, text: &str) -> Result<Run, Failure> {
        // A whole id also finds a deleted run, and one of a deleted experiment.
        match client.run(text) {
            Ok(run) => return Ok(run),
            Err(ClientError::NotFound { .. } | ClientError::Invalid { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let search = |filter| -> Result<Vec<Run>, ClientError> {
            client
                .search_runs(self.search().filter(filter).limit(MAX_SHOWN + 1))
                .collect()
        };
        let mut found = search(attribute::run_name().eq(text))?;
        let may_be_id =
            text.len() >= 2 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if found.is_empty() && may_be_id {
            found = search(attribute::run_id().like(format!("{text}%")))?;
        }
        match found.as_slice() {
            [] => Err(Failure::NotFound(match self {
                Self::Active(_) => {
                    format!("there is no run with the id or name `{text}`: {RUNS_HINT}")
                }
                Self::Deleted(_) => format!(
                    "there is no deleted run with the id or name `{text}`: `cargo mlflow runs --deleted` lists them"
                ),
            })),
            [_] => Ok(found.swap_remove(0)),
            several => Err(Failure::Ambiguous(describe(text, several))),
        }
    }
}

/// Returns the metric by which the best run is meant, and the direction; `None` if `text` means no best run.
// Input:  `max:acc`,     `lr-1`
// Output: acc, maximize; none
fn metric_and_goal(text: &str) -> Result<Option<(&str, Goal)>, Failure> {
    let Some((kind, key)) = text.split_once(':') else {
        return Ok(None);
    };
    let goal = match kind {
        "min" => Goal::Minimize,
        "max" => Goal::Maximize,
        "best" => goal::guess(key).ok_or_else(|| {
            Failure::Usage(format!(
                "the name `{key}` does not tell whether less or more is better: write `min:{key}` or `max:{key}`"
            ))
        })?,
        _ => return Ok(None),
    };
    Ok(Some((key, goal)))
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

fn describe(text: &str, runs: &[Run]) -> String {
    let mut description = format!("more than one run is meant by `{text}`; give more of the id:");
    for run in runs.iter().take(MAX_SHOWN) {
        let start = run.start_time_ms.map(format::time).unwrap_or_default();
        let name = shorten(&run.name, MAX_NAME_CHARS);
        description += &format!("\n    {}  {name}  {start}", run.run_id);
    }
    if runs.len() > MAX_SHOWN {
        description += "\n    …";
    }
    description
}
