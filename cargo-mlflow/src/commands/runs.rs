//! `runs`: a table of runs, with the columns that fit.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::Cell;
use mlflow::ClientError;
use mlflow::blocking::Client;
use mlflow::entities::Run;

use crate::arguments::Runs;
use crate::failure::Failure;
use crate::goal::is_of_interest;
use crate::output::record::RunRecord;
use crate::output::style::status_color;
use crate::output::table::{number_cell, shorten, table, to_text};
use crate::output::{Output, format};

/// Characters of a run's id that are shown: enough to name a run.
pub(crate) const ID_CHARS: usize = 8;
/// Greatest number of characters of a name or value in a table of runs.
pub(crate) const MAX_NAME_CHARS: usize = 36;
const MAX_VALUE_CHARS: usize = 20;
/// Blanks between two columns.
const GAP: usize = 2;

/// Column of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    /// Beginning of the id.
    ShortId,
    Name,
    Experiment,
    Status,
    RunId,
    User,
    /// Time since the start.
    Started,
    Start,
    End,
    Duration,
    Metric(String),
    Param(String),
    Tag(String),
}

/// Lists runs.
pub(crate) fn run(client: &Client, output: Output, options: &Runs) -> Result<(), Failure> {
    let chosen: Vec<Column> = options
        .columns
        .iter()
        .map(|text| Column::parse(text))
        .collect::<Result<_, _>>()?;
    let mut search = super::search(&options.choice);
    if options.limit > 0 && output.json {
        search = search.limit(options.limit);
    }
    if output.json {
        output.json_array(
            client
                .search_runs(search)
                .map(|found| found.map(RunRecord::new)),
        )?;
        return Ok(());
    }
    // One run more than is shown tells whether there are more.
    if options.limit > 0 {
        search = search.limit(options.limit + 1);
    }
    let mut runs = client
        .search_runs(search)
        .collect::<Result<Vec<Run>, _>>()?;
    let has_more = options.limit > 0 && runs.len() > options.limit;
    if has_more {
        runs.truncate(options.limit);
    }
    if runs.is_empty() {
        output.remark("no runs");
        return Ok(());
    }
    let ids: BTreeSet<&String> = runs.iter().map(|run| &run.experiment_id).collect();
    let are_needed = chosen.contains(&Column::Experiment) || (chosen.is_empty() && ids.len() > 1);
    let experiments = if are_needed {
        Experiments::look_up(client, ids)?
    } else {
        Experiments::default()
    };
    let columns = if chosen.is_empty() {
        default_columns(&runs, are_needed, &experiments, output)
    } else {
        [vec![Column::ShortId, Column::Name], chosen].concat()
    };
    output.line(render(&runs, &columns, &experiments, output))?;
    if has_more {
        output.remark(format_args!(
            "there are more runs: --limit 0 shows all, --filter and --experiment choose some"
        ));
    }
    Ok(())
}

/// Returns the table as text.
fn render(runs: &[Run], columns: &[Column], experiments: &Experiments, output: Output) -> String {
    let header: Vec<String> = columns.iter().map(Column::header).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut rows = table(output, &header);
    for run in runs {
        rows.add_row(columns.iter().map(|column| column.cell(run, experiments)));
    }
    to_text(&rows)
}

/// Names of experiments by their ids.
#[derive(Default)]
struct Experiments(BTreeMap<String, String>);

impl Experiments {
    /// Looks up the experiments with these ids.
    fn look_up(client: &Client, ids: BTreeSet<&String>) -> Result<Self, Failure> {
        let mut names = BTreeMap::new();
        for id in ids {
            match client.experiment_by_id(id) {
                Ok(experiment) => names.insert(id.clone(), experiment.name),
                // Somebody has deleted the experiment for good meanwhile.
                Err(ClientError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Self(names))
    }

    /// Returns the name of a run's experiment, or its id if it has no name.
    fn name<'a>(&'a self, run: &'a Run) -> &'a str {
        self.0.get(&run.experiment_id).unwrap_or(&run.experiment_id)
    }
}

impl Column {
    /// Reads the name of a column.
    fn parse(text: &str) -> Result<Self, Failure> {
        let unknown = || {
            Failure::Usage(format!(
                "the column `{text}` is not known; expected metrics.KEY, params.KEY, tags.KEY, or one of experiment, \
                 status, run_id, user, start, end, duration"
            ))
        };
        let Some((kind, key)) = text.split_once('.') else {
            return match text {
                "experiment" => Ok(Self::Experiment),
                "status" => Ok(Self::Status),
                "run_id" => Ok(Self::RunId),
                "user" => Ok(Self::User),
                "start" => Ok(Self::Start),
                "end" => Ok(Self::End),
                "duration" => Ok(Self::Duration),
                _ => Err(unknown()),
            };
        };
        let key = key.trim_matches('`').to_owned();
        match kind {
            "metrics" | "metric" => Ok(Self::Metric(key)),
            "params" | "param" => Ok(Self::Param(key)),
            "tags" | "tag" => Ok(Self::Tag(key)),
            _ => Err(unknown()),
        }
    }

    fn header(&self) -> String {
        let name = match self {
            Self::ShortId => "ID",
            Self::Name => "NAME",
            Self::Experiment => "EXPERIMENT",
            Self::Status => "STATUS",
            Self::RunId => "RUN ID",
            Self::User => "USER",
            Self::Started => "STARTED",
            Self::Start => "START",
            Self::End => "END",
            Self::Duration => "DURATION",
            Self::Metric(key) | Self::Param(key) | Self::Tag(key) => {
                return shorten(key, MAX_NAME_CHARS);
            }
        };
        name.to_owned()
    }

    fn cell(&self, run: &Run, experiments: &Experiments) -> Cell {
        let text = self.text(run, experiments);
        match self {
            Self::Metric(_) | Self::Duration => number_cell(text),
            Self::Status => match status_color(run.status) {
                Some(color) => Cell::new(text).fg(color),
                None => Cell::new(text),
            },
            _ => Cell::new(text),
        }
    }

    fn text(&self, run: &Run, experiments: &Experiments) -> String {
        let short = |value: Option<&str>| shorten(value.unwrap_or_default(), MAX_VALUE_CHARS);
        match self {
            Self::ShortId => run.run_id.chars().take(ID_CHARS).collect(),
            Self::Name => shorten(&run.name, MAX_NAME_CHARS),
            Self::Experiment => shorten(experiments.name(run), MAX_NAME_CHARS),
            Self::Status => run.status.to_string(),
            Self::RunId => run.run_id.clone(),
            Self::User => shorten(&run.user_id, MAX_VALUE_CHARS),
            Self::Started => run.start_time_ms.map(format::ago).unwrap_or_default(),
            Self::Start => run.start_time_ms.map(format::time).unwrap_or_default(),
            Self::End => run.end_time_ms.map(format::time).unwrap_or_default(),
            Self::Duration => run.duration().map(format::duration).unwrap_or_default(),
            Self::Metric(key) => run.metric(key).map(format::number).unwrap_or_default(),
            Self::Param(key) => short(run.param(key)),
            Self::Tag(key) => short(run.tag(key)),
        }
    }

    /// Returns the number of characters that the column takes.
    fn width(&self, runs: &[Run], experiments: &Experiments) -> usize {
        let header = self.header();
        let texts = runs.iter().map(|run| self.text(run, experiments));
        let widths = { std::iter::once(header).chain(texts) }.map(|text| text.chars().count());
        widths.max().unwrap_or_default() + GAP
    }
}

/// Returns the columns of every table, then as many further ones as fit.
fn default_columns(
    runs: &[Run],
    with_experiment: bool,
    experiments: &Experiments,
    output: Output,
) -> Vec<Column> {
    let mut columns = vec![Column::ShortId, Column::Name];
    if with_experiment {
        columns.push(Column::Experiment);
    }
    columns.extend([Column::Status, Column::Started, Column::Duration]);
    let widths = columns.iter().map(|column| column.width(runs, experiments));
    let room = usize::from(output.width).saturating_sub(widths.sum());
    columns.extend(columns_that_fit(runs, experiments, room));
    columns
}

/// Chooses columns: metrics that most runs have, then params whose values differ, as many as fit in `room`.
fn columns_that_fit(runs: &[Run], experiments: &Experiments, mut room: usize) -> Vec<Column> {
    let mut metric_counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut param_values: BTreeMap<&str, BTreeSet<Option<&str>>> = BTreeMap::new();
    for run in runs {
        for key in run.metrics.keys().filter(|key| is_of_interest(key)) {
            *metric_counts.entry(key).or_default() += 1;
        }
        for key in run.params.keys() {
            param_values.entry(key).or_default();
        }
    }
    for run in runs {
        for (key, values) in &mut param_values {
            values.insert(run.param(key));
        }
    }
    let mut metrics: Vec<_> = metric_counts.into_iter().collect();
    metrics.sort_by_key(|&(key, count)| (std::cmp::Reverse(count), key.len()));
    let metrics = metrics
        .into_iter()
        .map(|(key, _)| Column::Metric(key.to_owned()));
    let params = param_values
        .into_iter()
        .filter(|(_, values)| values.iter().flatten().count() > 1)
        .map(|(key, _)| Column::Param(key.to_owned()));
    // Half of the room is for metrics, unless there are few params.
    let params: Vec<_> = params.collect();
    let width_of_params: usize = params
        .iter()
        .map(|column| column.width(runs, experiments))
        .sum();
    let mut room_for_metrics = room.saturating_sub(width_of_params.min(room / 2));
    let mut chosen = Vec::new();
    for column in metrics {
        let width = column.width(runs, experiments);
        if width <= room_for_metrics {
            room_for_metrics -= width;
            room -= width;
            chosen.push(column);
        }
    }
    for column in params {
        let width = column.width(runs, experiments);
        if width <= room {
            room -= width;
            chosen.push(column);
        }
    }
    chosen
}
