//! The tool that lists experiments.

use mlflow::search::{SearchExperiments, ViewType};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, clean};
use super::run_record::time;
use super::tool::{Effect, Tool};
use super::tool_context::ToolContext;
use crate::failure::Failure;
use crate::output::format::counted;
use crate::output::table::shorten;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;
const MAX_NAME_CHARS: usize = 200;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Filter in MLflow's language, e.g. `name LIKE 'wine%'` or `tags.team = 'a'`.
    filter: Option<String>,
    /// True for deleted experiments instead of active ones.
    #[serde(default)]
    deleted: bool,
    /// Greatest number of experiments, 1 to 200. Default: 50.
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    limit: Option<usize>,
    /// Number of experiments to skip, for the next part of a long list.
    #[serde(default)]
    offset: usize,
}

pub(super) fn experiment_tools() -> Vec<Tool> {
    vec![Tool::new(
        "search_experiments",
        "Search experiments",
        "Lists experiments, the newest first, with their ids and times.",
        Effect::Reads,
        search_experiments,
    )]
}

fn search_experiments(context: &ToolContext, arguments: Arguments) -> Result<Answer, Failure> {
    let Arguments {
        filter,
        deleted,
        limit,
        offset,
    } = arguments;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let mut search = SearchExperiments::new().limit(offset.saturating_add(limit + 1));
    if let Some(filter) = &filter {
        search = search.filter(filter.as_str());
    }
    if deleted {
        search = search.view(ViewType::DeletedOnly);
    }
    let found: Result<Vec<_>, _> = { context.client.search_experiments(search) }
        .skip(offset)
        .collect();
    let mut found = found?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let mut lines = vec![format!(
        "{} (id | name | created)",
        counted(found.len() as u64, "experiment")
    )];
    let mut records = Vec::new();
    for experiment in &found {
        let created = experiment.creation_time_ms.and_then(time);
        let name = shorten(&clean(&experiment.name), MAX_NAME_CHARS);
        lines.push(format!(
            "{} | {name} | {}",
            experiment.experiment_id,
            created.as_deref().unwrap_or_default()
        ));
        records.push(json!({
            "experiment_id": experiment.experiment_id,
            "name": name,
            "created": created,
            "changed": experiment.last_update_time_ms.and_then(time),
            "is_deleted": experiment.is_deleted(),
        }));
    }
    let left_out = has_more.then(|| {
        format!(
            "there are more experiments: call again with offset {}",
            offset + limit
        )
    });
    lines.extend(left_out.clone());
    Answer::new(
        &lines,
        &json!({ "experiments": records, "left_out": left_out }),
    )
}
