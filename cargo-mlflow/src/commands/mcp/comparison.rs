//! The tool that compares runs.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::answer::Answer;
use super::run_record::{MAX_VALUE_CHARS, RunRecord};
use super::tool::{Effect, Tool};
use super::tool_context::ToolContext;
use crate::commands::runs::ID_CHARS;
use crate::comparison::{Row, Value, rows_of};
use crate::failure::Failure;
use crate::output::format::counted;
use crate::output::table::shorten;

const MAX_RUNS: usize = 12;
const DEFAULT_ROWS: usize = 100;
const MAX_ROWS: usize = 500;
const MAX_CELL_CHARS: usize = 60;

pub(super) fn comparison_tools() -> Vec<Tool> {
    vec![Tool::new(
        "compare_runs",
        "Compare runs",
        "Shows what differs between runs: params, last values of metrics (the best one marked by *), tags, status, \
         duration and commit.",
        Effect::Reads,
        compare_runs,
    )]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Runs, 2 to 12: beginnings of ids, names, `last`, `best:METRIC`, `min:METRIC` or `max:METRIC`.
    #[schemars(length(min = 2, max = MAX_RUNS))]
    runs: Vec<String>,
    /// Names of experiments in which the runs are looked for. Default: all.
    #[serde(default)]
    experiments: Vec<String>,
    /// Text that the shown keys contain. Default: all keys.
    contains: Option<String>,
    /// True to see what is equal, too.
    #[serde(default)]
    all: bool,
    /// Greatest number of keys, 1 to 500. Default: 100.
    #[schemars(range(min = 1, max = MAX_ROWS))]
    limit: Option<usize>,
}

fn compare_runs(context: &ToolContext, arguments: Arguments) -> Result<Answer, Failure> {
    let Arguments {
        runs,
        experiments,
        contains,
        all,
        limit,
    } = arguments;
    let limit = limit.unwrap_or(DEFAULT_ROWS);
    let runs: Vec<_> = { runs.iter() }
        .map(|run| context.select(&experiments, run))
        .collect::<Result<_, _>>()?;
    let contains = contains.unwrap_or_default();
    let mut rows = rows_of(&runs);
    rows.retain(|row| row.key.contains(&contains));
    let chosen = rows.len();
    rows.retain(|row| all || row.differs());
    let equal = chosen - rows.len();
    let found = rows.len();
    rows.truncate(limit);
    let names = { runs.iter() }.map(|run| {
        let id: String = run.run_id.chars().take(ID_CHARS).collect();
        format!("{} {id}", shorten(&run.name, MAX_CELL_CHARS))
    });
    let mut lines = vec![format!("key | {}", names.collect::<Vec<_>>().join(" | "))];
    lines.extend(rows.iter().map(to_line));
    if equal > 0 {
        lines.push(format!(
            "equal in all runs: {}; give all to see them",
            counted(equal as u64, "key")
        ));
    }
    let left_out = (found > limit).then(|| {
        format!(
            "{} keys are left out: raise limit, or choose keys by contains",
            found - limit
        )
    });
    lines.extend(left_out.clone());
    for value in rows.iter_mut().flat_map(|row| &mut row.values) {
        if let Some(Value::Text(text)) = value {
            *text = shorten(text, MAX_VALUE_CHARS);
        }
    }
    let records: Vec<RunRecord> = runs.iter().map(RunRecord::from).collect();
    Answer::new(
        &lines,
        &json!({ "runs": records, "rows": rows, "equal_keys": equal, "left_out": left_out }),
    )
}

fn to_line(row: &Row) -> String {
    let values = { row.values.iter().enumerate() }.map(|(index, value)| {
        let text = { value.as_ref() }.map_or_else(|| "-".to_owned(), Value::to_text);
        let mark = if row.best == Some(index) { " *" } else { "" };
        format!("{}{mark}", shorten(&text, MAX_CELL_CHARS))
    });
    let values: Vec<String> = values.collect();
    format!("{} {} | {}", row.kind, row.key, values.join(" | "))
}
