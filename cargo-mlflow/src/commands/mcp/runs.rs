//! The tools that find and show runs.

use std::collections::{BTreeMap, BTreeSet};

use mlflow::Goal;
use mlflow::entities::Run;
use mlflow::search::{SearchRuns, ViewType};
use mlflow::store::RUN_KEY_TAG;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::run_record::{MAX_VALUE_CHARS, RunRecord, headline, json_point, telling_tags};
use super::tool::{Effect, Tool};
use super::tool_context::ToolContext;
use super::waiting;
use crate::commands::runs::ID_CHARS;
use crate::failure::Failure;
use crate::goal::{guess, is_of_interest};
use crate::output::format;
use crate::output::json_number::json_number;
use crate::output::table::shorten;
use crate::selection::{best_first, runs_of};

const DEFAULT_RUNS: usize = 20;
const MAX_RUNS: usize = 100;
const DEFAULT_BEST: usize = 1;
const MAX_BEST: usize = 20;
/// Greatest number of metrics, and of params, that are columns of a list by themselves.
const MAX_COLUMNS_OF_A_KIND: usize = 6;
const MAX_COLUMNS: usize = 30;
/// Greatest number of characters of a value in a list of runs.
const MAX_CELL_CHARS: usize = 60;
const DEFAULT_KEYS: usize = 100;
const MAX_KEYS: usize = 500;

pub(super) fn run_tools() -> Vec<Tool> {
    vec![
        Tool::new(
            "search_runs",
            "Search runs",
            "Lists runs as a table, by default the newest first, with the metrics that most runs have and the params \
             that differ.",
            Effect::Reads,
            search_runs,
        ),
        Tool::new(
            "get_run",
            "Get run",
            "Shows everything about one run: status, times, params, last values of metrics, tags, datasets.",
            Effect::Reads,
            get_run,
        ),
        Tool::new(
            "get_best_run",
            "Get best run",
            "Returns the runs with the best last value of a metric, the best first.",
            Effect::Reads,
            get_best_run,
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchArguments {
    /// Names of experiments. Default: all.
    #[serde(default)]
    experiments: Vec<String>,
    /// Filter in MLflow's language, e.g. "metrics.`val/loss` < 0.4 AND status = 'FINISHED'". There is no OR.
    filter: Option<String>,
    /// Orders, e.g. "metrics.rmse ASC" or "attributes.name DESC". Default: the run that started last comes first.
    #[serde(default)]
    order_by: Vec<String>,
    /// Columns: params.KEY, metrics.KEY, tags.KEY. Default: metrics that most runs have, and params that differ.
    #[serde(default)]
    #[schemars(length(max = MAX_COLUMNS))]
    columns: Vec<String>,
    /// Greatest number of runs, 1 to 100. Default: 20.
    #[schemars(range(min = 1, max = MAX_RUNS))]
    limit: Option<usize>,
    /// Number of runs to skip, for the next part of a long list.
    #[serde(default)]
    offset: usize,
    /// True for deleted runs instead of active ones.
    #[serde(default)]
    deleted: bool,
}

fn search_runs(context: &ToolContext, arguments: SearchArguments) -> Result<Answer, Failure> {
    let SearchArguments {
        experiments,
        filter,
        order_by,
        columns,
        limit,
        offset,
        deleted,
    } = arguments;
    let limit = limit.unwrap_or(DEFAULT_RUNS);
    let chosen: Vec<Column> = { columns.iter() }
        .map(|column| Column::parse(column))
        .collect::<Result<_, _>>()?;
    let mut search = with_filter(runs_of(&experiments), filter.as_deref())
        .limit(offset.saturating_add(limit + 1));
    for order in &order_by {
        search = search.order_by(order.as_str());
    }
    if deleted {
        search = search.view(ViewType::DeletedOnly);
    }
    let mut runs: Vec<Run> = context.search(search)?.into_iter().skip(offset).collect();
    let has_more = runs.len() > limit;
    runs.truncate(limit);
    let is_default = chosen.is_empty();
    let columns = if is_default {
        default_columns(&runs)
    } else {
        chosen
    };
    let (mut lines, records) = to_table(&runs, &columns);
    let left_out = has_more.then(|| {
        format!(
            "there are more runs: call again with offset {}, or narrow the filter",
            offset + limit
        )
    });
    lines.extend(left_out.clone());
    if is_default && !runs.is_empty() {
        lines.push(
            "other params, metrics and tags: name them in columns, or call get_run".to_owned(),
        );
    }
    Answer::new(&lines, &json!({ "runs": records, "left_out": left_out }))
}

fn with_filter(search: SearchRuns, filter: Option<&str>) -> SearchRuns {
    match filter {
        Some(filter) => search.filter(filter),
        None => search,
    }
}

/// Column of a list of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Metric(String),
    Param(String),
    Tag(String),
}

impl Column {
    fn parse(text: &str) -> Result<Self, Failure> {
        let (kind, key) = text.split_once('.').unwrap_or(("", text));
        let key = key.trim_matches(['`', '"']).to_owned();
        match kind {
            "metrics" | "metric" => Ok(Self::Metric(key)),
            "params" | "param" => Ok(Self::Param(key)),
            "tags" | "tag" => Ok(Self::Tag(key)),
            _ => Err(Failure::Usage(format!(
                "argument `columns`: `{text}` is not known; expected metrics.KEY, params.KEY or tags.KEY"
            ))),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Metric(key) => format!("metrics.{key}"),
            Self::Param(key) => format!("params.{key}"),
            Self::Tag(key) => format!("tags.{key}"),
        }
    }

    /// Returns the value as text and as JSON; `None` if the run has none.
    fn value(&self, run: &Run) -> Option<(String, Value)> {
        let text = |value: &str| {
            let short = shorten(value, MAX_CELL_CHARS);
            (short.clone(), json!(short))
        };
        match self {
            Self::Metric(key) => {
                { run.metric(key) }.map(|value| (format::number(value), json_number(value)))
            }
            Self::Param(key) => run.param(key).map(text),
            Self::Tag(key) => run.tag(key).map(text),
        }
    }
}

/// Chooses metrics that most runs have, and params that differ.
fn default_columns(runs: &[Run]) -> Vec<Column> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut params: BTreeSet<&str> = BTreeSet::new();
    for run in runs {
        for key in run.metrics.keys().filter(|key| is_of_interest(key)) {
            *counts.entry(key).or_default() += 1;
        }
        params.extend(run.params.keys().map(String::as_str));
    }
    let mut metrics: Vec<_> = counts.into_iter().collect();
    metrics
        .sort_by_key(|&(key, count)| (std::cmp::Reverse(count), guess(key).is_none(), key.len()));
    let metrics = { metrics.into_iter() }.map(|(key, _)| Column::Metric(key.to_owned()));
    let differs = |key: &&str| {
        let mut values = runs.iter().map(|run| run.param(key));
        let first = values.next();
        runs.len() == 1 || values.any(|value| Some(value) != first)
    };
    let params = { params.into_iter().filter(differs) }.map(|key| Column::Param(key.to_owned()));
    { metrics.take(MAX_COLUMNS_OF_A_KIND) }
        .chain(params.take(MAX_COLUMNS_OF_A_KIND))
        .collect()
}

/// Returns the lines and records of a list of runs.
fn to_table(runs: &[Run], columns: &[Column]) -> (Vec<String>, Vec<Value>) {
    let names: Vec<String> = columns.iter().map(Column::name).collect();
    let header = ["run", "name", "status", "started", "duration"];
    let header: Vec<&str> = { header.into_iter() }
        .chain(names.iter().map(String::as_str))
        .collect();
    let mut lines = vec![
        format::counted(runs.len() as u64, "run"),
        header.join(" | "),
    ];
    let mut records = Vec::new();
    for run in runs {
        let mut cells = vec![
            run.run_id.chars().take(ID_CHARS).collect(),
            shorten(&run.name, MAX_CELL_CHARS),
            run.status.to_string(),
            run.start_time_ms.map(format::ago).unwrap_or_default(),
            run.duration().map(format::duration).unwrap_or_default(),
        ];
        let mut values = Map::new();
        for (column, name) in columns.iter().zip(&names) {
            let value = column.value(run);
            cells.push({ value.as_ref() }.map_or_else(String::new, |(text, _)| text.clone()));
            values.extend(value.map(|(_, value)| (name.clone(), value)));
        }
        lines.push(cells.join(" | "));
        records.push(json!({ "run": RunRecord::from(run), "values": values }));
    }
    (lines, records)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GetArguments {
    /// Run: beginning of its id, name, `last`, or `best:METRIC`, `min:METRIC`, `max:METRIC`.
    run: String,
    /// Names of experiments in which the run is looked for. Default: all.
    #[serde(default)]
    experiments: Vec<String>,
    /// Text that keys of params, metrics and tags contain, to see only these.
    contains: Option<String>,
    /// Greatest number of params, of metrics and of tags, 1 to 500 each. Default: 100.
    #[schemars(range(min = 1, max = MAX_KEYS))]
    limit: Option<usize>,
    /// True to see the tags of MLflow and of the environment, too.
    #[serde(default)]
    all_tags: bool,
}

fn get_run(context: &ToolContext, arguments: GetArguments) -> Result<Answer, Failure> {
    let GetArguments {
        run,
        experiments,
        contains,
        limit,
        all_tags,
    } = arguments;
    let limit = limit.unwrap_or(DEFAULT_KEYS);
    let run = context.select(&experiments, &run)?;
    let contains = contains.unwrap_or_default();
    let tags = if all_tags {
        { run.tags.iter() }
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect()
    } else {
        telling_tags(&run)
    };
    let mut lines = vec![headline(&run)];
    let mut left_out = Vec::new();
    let mut section = |name: &str, entries: Vec<(&str, String, Value)>| {
        let entries: Vec<_> = { entries.into_iter() }
            .filter(|(key, ..)| key.contains(&contains))
            .collect();
        if entries.len() > limit {
            left_out.push(format!("{} {name}", entries.len() - limit));
        }
        let mut values = Map::new();
        if !entries.is_empty() {
            lines.push(format!("{name}:"));
        }
        for (key, text, value) in entries.into_iter().take(limit) {
            lines.push(format!("  {key} = {text}"));
            values.insert(key.to_owned(), value);
        }
        values
    };
    let text_entry = |key, value: &str| {
        let short = shorten(value, MAX_VALUE_CHARS);
        (key, short.clone(), json!(short))
    };
    let params = section(
        "params",
        { run.params.iter() }
            .map(|(key, value)| text_entry(key.as_str(), value))
            .collect(),
    );
    let metrics = section(
        "metrics",
        { run.metrics.iter() }
            .map(|(key, point)| {
                let text = format!("{} (step {})", format::number(point.value), point.step);
                (key.as_str(), text, json_point(*point))
            })
            .collect(),
    );
    let tags = section(
        "tags",
        { tags.into_iter() }
            .map(|(key, value)| text_entry(key, value))
            .collect(),
    );
    let datasets: Vec<Value> = { run.datasets.iter().take(limit) }
        .map(|dataset| {
            json!({ "name": dataset.name, "digest": dataset.digest, "context": dataset.context })
        })
        .collect();
    if !datasets.is_empty() {
        lines.push(format!("datasets: {}", Value::from(datasets.clone())));
    }
    let left_out = (!left_out.is_empty()).then(|| {
        format!(
            "{} are left out: raise limit, or choose keys by contains",
            left_out.join(", ")
        )
    });
    lines.extend(left_out.clone());
    let waiting = waiting::remark_on(context, run.tag(RUN_KEY_TAG));
    lines.extend(waiting.clone());
    Answer::new(
        &lines,
        &json!({
            "run": RunRecord::from(&run),
            "params": params,
            "metrics": metrics,
            "tags": tags,
            "datasets": datasets,
            "left_out": left_out,
            "waiting": waiting,
        }),
    )
}

/// Direction in which a metric is better.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Direction {
    Min,
    Max,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BestArguments {
    /// Name of the metric.
    metric: String,
    /// `min` if less is better, `max` if more is better. Default: what the name of the metric tells.
    direction: Option<Direction>,
    /// Names of experiments. Default: all.
    #[serde(default)]
    experiments: Vec<String>,
    /// Filter in MLflow's language, e.g. "params.model = 'cnn' AND status = 'FINISHED'".
    filter: Option<String>,
    /// Number of runs, 1 to 20. Default: 1.
    #[schemars(range(min = 1, max = MAX_BEST))]
    count: Option<usize>,
}

fn get_best_run(context: &ToolContext, arguments: BestArguments) -> Result<Answer, Failure> {
    let BestArguments {
        metric: key,
        direction,
        experiments,
        filter,
        count,
    } = arguments;
    let count = count.unwrap_or(DEFAULT_BEST);
    let goal = match direction {
        Some(Direction::Min) => Goal::Minimize,
        Some(Direction::Max) => Goal::Maximize,
        None => guess(&key).ok_or_else(|| {
            Failure::Usage(format!(
                "the name `{key}` does not tell whether less or more is better: give direction `min` or `max`"
            ))
        })?,
    };
    let search = with_filter(runs_of(&experiments), filter.as_deref());
    let search = best_first(search, &key, goal).limit(count);
    let mut runs = context.search(search)?;
    // Some servers compare NaN as the number 0.
    runs.retain(|run| run.metric(&key).is_some_and(|value| !value.is_nan()));
    if runs.is_empty() {
        return Err(Failure::NotFound(format!(
            "no run has a finite number for the metric `{key}`: get_run lists the metrics of a run"
        )));
    }
    let direction = match goal {
        Goal::Minimize => "min",
        Goal::Maximize => "max",
    };
    let ranked = Column::Metric(key.clone());
    let mut columns = default_columns(&runs);
    columns.retain(|column| *column != ranked);
    columns.insert(0, ranked);
    let (mut lines, records) = to_table(&runs, &columns);
    lines.push(format!(
        "ordered by the last value of `{key}`, {direction} first; get_metric_history tells the best value of each run"
    ));
    Answer::new(
        &lines,
        &json!({ "metric": key, "direction": direction, "runs": records }),
    )
}
