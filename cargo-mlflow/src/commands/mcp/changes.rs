//! The tools that change runs. They are offered only where the server is started with `--allow-changes`.
//!
//! Invariant: a changed run is named by its id or name, never as `last` or by a metric, as such a run may be another
//! one than a moment ago.

use mlflow::RunStatus;
use mlflow::entities::{Run, RunUpdate};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::answer::Answer;
use super::run_record::{MAX_VALUE_CHARS, headline};
use super::tool::{Effect, Tool};
use super::tool_context::ToolContext;
use crate::failure::Failure;
use crate::output::table::shorten;

pub(super) fn change_tools() -> Vec<Tool> {
    vec![
        Tool::new(
            "set_tag",
            "Set tag",
            "Sets a tag of a run, and replaces its former value, which the answer tells.",
            Effect::Replaces,
            set_tag,
        ),
        Tool::new(
            "rename_run",
            "Rename run",
            "Gives a run another name. The answer tells the former one.",
            Effect::Replaces,
            rename_run,
        ),
        Tool::new(
            "end_run",
            "End run",
            "Sets the end status of a run, e.g. of one that is RUNNING although its process is gone. This does not \
             stop a process.",
            Effect::Replaces,
            end_run,
        ),
        Tool::new(
            "delete_run",
            "Delete run",
            "Deletes a run. It is hidden, and restore_run brings it back.",
            Effect::Replaces,
            delete_run,
        ),
        Tool::new(
            "restore_run",
            "Restore run",
            "Restores a deleted run, which is named by its whole id: search_runs with deleted lists the deleted runs.",
            Effect::Adds,
            restore_run,
        ),
    ]
}

/// Returns the run that is to be changed.
fn select(context: &ToolContext, text: &str) -> Result<Run, Failure> {
    let may_change = text == "last"
        || ["best:", "min:", "max:"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
    if may_change {
        return Err(Failure::Usage(format!(
            "argument `run`: `{text}` may be another run than a moment ago; name the run to change by its id"
        )));
    }
    context.select(&[], text)
}

/// Returns the answer that a run was changed.
fn changed(context: &ToolContext, run: &Run, change: &str) -> Result<Answer, Failure> {
    let run = context.select(&[], &run.run_id)?;
    let lines = [change.to_owned(), headline(&run)];
    let record = super::run_record::RunRecord::from(&run);
    Answer::new(&lines, &json!({ "change": change, "run": record }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetTag {
    /// Run: beginning of its id, or name.
    run: String,
    /// Name of the tag.
    key: String,
    /// Value of the tag.
    value: String,
}

fn set_tag(context: &ToolContext, arguments: SetTag) -> Result<Answer, Failure> {
    let SetTag { run, key, value } = arguments;
    let run = select(context, &run)?;
    context.client.set_tag(&*run.run_id, &*key, &value)?;
    let former = run.tag(&key).map_or_else(
        || "it had none before".to_owned(),
        |former| format!("it was `{}` before", shorten(former, MAX_VALUE_CHARS)),
    );
    let value = shorten(&value, MAX_VALUE_CHARS);
    changed(
        context,
        &run,
        &format!("the tag `{key}` is `{value}` now; {former}"),
    )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rename {
    /// Run: beginning of its id, or name.
    run: String,
    /// New name.
    name: String,
}

fn rename_run(context: &ToolContext, arguments: Rename) -> Result<Answer, Failure> {
    let Rename { run, name } = arguments;
    if name.trim().is_empty() {
        return Err(Failure::Usage(
            "argument `name`: it is empty; expected a name".to_owned(),
        ));
    }
    let run = select(context, &run)?;
    let update = RunUpdate::new().name(&*name);
    context.client.update_run(&*run.run_id, update)?;
    let former = shorten(&run.name, MAX_VALUE_CHARS);
    changed(
        context,
        &run,
        &format!("the run was named `{former}` before"),
    )
}

/// Status with which a run ends.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
enum EndStatus {
    Finished,
    Failed,
    Killed,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct End {
    /// Run: beginning of its id, or name.
    run: String,
    /// Status of the run.
    status: EndStatus,
}

fn end_run(context: &ToolContext, arguments: End) -> Result<Answer, Failure> {
    let End { run, status } = arguments;
    let run = select(context, &run)?;
    let status = match status {
        EndStatus::Finished => RunStatus::Finished,
        EndStatus::Failed => RunStatus::Failed,
        EndStatus::Killed => RunStatus::Killed,
    };
    let mut update = RunUpdate::new().status(status);
    if let Some(end) = run.end_time_ms.filter(|_| run.status != RunStatus::Running) {
        // A run that ended long ago keeps its end.
        update = update.end_time_ms(end);
    }
    context.client.update_run(&*run.run_id, update)?;
    changed(
        context,
        &run,
        &format!("the status was {} before", run.status),
    )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// Run: beginning of its id, or name. A deleted run is named by its whole id.
    run: String,
}

fn delete_run(context: &ToolContext, arguments: Choice) -> Result<Answer, Failure> {
    let Choice { run } = arguments;
    let run = select(context, &run)?;
    context.client.delete_run(&*run.run_id)?;
    changed(
        context,
        &run,
        &format!(
            "the run is deleted; restore_run with {} brings it back",
            run.run_id
        ),
    )
}

fn restore_run(context: &ToolContext, arguments: Choice) -> Result<Answer, Failure> {
    let Choice { run } = arguments;
    let run = select(context, &run)?;
    context.client.restore_run(&*run.run_id)?;
    changed(context, &run, "the run is not deleted any more")
}
