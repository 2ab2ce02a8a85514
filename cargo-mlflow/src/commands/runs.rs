//! `runs`: a table of runs, with the columns that fit.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::Cell;
use mlflow::blocking::Client;
use mlflow::entities::Run;

use crate::arguments::Runs;
use crate::failure::Failure;
use crate::output::style::status_color;
use crate::output::table::{number_cell, shorten, table, to_text};
use crate::output::{Output, format};

/// Characters of a run's id that are shown: enough to name a run.
pub(crate) const ID_CHARS: usize = 8;
/// Greatest number of characters of a name or value in a table of runs.
const MAX_NAME_CHARS: usize = 36;
const MAX_VALUE_CHARS: usize = 20;
/// Blanks between two columns.
const GAP: usize = 2;

/// Column of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
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
        output.json_array(client.search_runs(search))?;
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
    let columns = if chosen.is_empty() {
        columns_that_fit(&runs, output)
    } else {
        chosen
    };
    output.line(render(&runs, &columns, output))?;
    if has_more {
        output.remark(format_args!(
            "there are more runs: --limit 0 shows all, --filter and --experiment choose some"
        ));
    }
    Ok(())
}

/// Columns that every table has.
const FIXED_COLUMNS: [&str; 5] = ["ID", "NAME", "STATUS", "STARTED", "DURATION"];

fn render(runs: &[Run], columns: &[Column], output: Output) -> String {
    let names: Vec<String> = columns.iter().map(Column::header).collect();
    let mut header = FIXED_COLUMNS.to_vec();
    header.extend(names.iter().map(String::as_str));
    let mut rows = table(output, &header);
    for run in runs {
        let [id, name, _, started, duration] = fixed_texts(run);
        let mut cells = vec![
            Cell::new(id),
            Cell::new(name),
            status_cell(run),
            Cell::new(started),
            number_cell(duration),
        ];
        cells.extend(columns.iter().map(|column| column.cell(run)));
        rows.add_row(cells);
    }
    to_text(&rows)
}

/// Returns the texts of the columns that every table has.
fn fixed_texts(run: &Run) -> [String; 5] {
    [
        run.run_id.chars().take(ID_CHARS).collect(),
        shorten(&run.name, MAX_NAME_CHARS),
        run.status.to_string(),
        run.start_time_ms.map(format::ago).unwrap_or_default(),
        run.duration().map(format::duration).unwrap_or_default(),
    ]
}

fn status_cell(run: &Run) -> Cell {
    let cell = Cell::new(run.status.as_str());
    match status_color(run.status) {
        Some(color) => cell.fg(color),
        None => cell,
    }
}

impl Column {
    /// Reads the name of a column.
    fn parse(text: &str) -> Result<Self, Failure> {
        let (kind, key) = text.split_once('.').unwrap_or(("", text));
        let key = key.trim_matches('`').to_owned();
        match kind {
            "metrics" | "metric" => Ok(Self::Metric(key)),
            "params" | "param" => Ok(Self::Param(key)),
            "tags" | "tag" => Ok(Self::Tag(key)),
            _ => Err(Failure::Usage(format!(
                "the column `{text}` is not known; expected metrics.KEY, params.KEY or tags.KEY"
            ))),
        }
    }

    fn header(&self) -> String {
        match self {
            Self::Metric(key) | Self::Param(key) | Self::Tag(key) => key.clone(),
        }
    }

    fn cell(&self, run: &Run) -> Cell {
        match self {
            Self::Metric(_) => number_cell(self.text(run)),
            Self::Param(_) | Self::Tag(_) => Cell::new(self.text(run)),
        }
    }

    fn text(&self, run: &Run) -> String {
        let short = |value: Option<&str>| shorten(value.unwrap_or_default(), MAX_VALUE_CHARS);
        match self {
            Self::Metric(key) => run.metric(key).map(format::number).unwrap_or_default(),
            Self::Param(key) => short(run.param(key)),
            Self::Tag(key) => short(run.tag(key)),
        }
    }

    /// Returns the number of characters that the column takes.
    fn width(&self, runs: &[Run]) -> usize {
        let header = self.header();
        let texts = runs.iter().map(|run| self.text(run));
        widest(std::iter::once(header).chain(texts)) + GAP
    }
}

fn widest(texts: impl Iterator<Item = String>) -> usize {
    texts
        .map(|text| text.chars().count())
        .max()
        .unwrap_or_default()
}

/// Chooses columns: metrics that most runs have, then params whose values differ, as many as fit.
fn columns_that_fit(runs: &[Run], output: Output) -> Vec<Column> {
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
    let fixed_width: usize = FIXED_COLUMNS
        .iter()
        .enumerate()
        .map(|(column, header)| {
            let texts = runs
                .iter()
                .filter_map(|run| fixed_texts(run).get(column).cloned());
            widest(std::iter::once((*header).to_owned()).chain(texts)) + GAP
        })
        .sum();
    let mut room = usize::from(output.width).saturating_sub(fixed_width);
    let params: Vec<_> = params.collect();
    let width_of_params: usize = params.iter().map(|column| column.width(runs)).sum();
    let mut room_for_metrics = room.saturating_sub(width_of_params.min(room / 2));
    let mut chosen = Vec::new();
    for column in metrics {
        let width = column.width(runs);
        if width <= room_for_metrics {
            room_for_metrics -= width;
            room -= width;
            chosen.push(column);
        }
    }
    for column in params {
        let width = column.width(runs);
        if width <= room {
            room -= width;
            chosen.push(column);
        }
    }
    chosen
}

/// Returns true for a metric that is no by-product, such as those of the machine.
pub(crate) fn is_of_interest(metric: &str) -> bool {
    !metric.starts_with("system/") && !metric.starts_with("time/")
}
