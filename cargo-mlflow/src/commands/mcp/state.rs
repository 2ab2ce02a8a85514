//! The tool that tells the state of the store and the configuration.

use schemars::JsonSchema;
use serde::Deserialize;

use super::answer::Answer;
use super::tool::{Effect, Tool};
use super::tool_context::ToolContext;
use crate::commands::doctor;
use crate::failure::Failure;

pub(super) fn state_tools() -> Vec<Tool> {
    vec![Tool::new(
        "get_server_state",
        "Get server state",
        "Tells whether the store answers, its version and login, the configuration with the source of each setting, \
         and what waits in the journals of this machine, with advice for each fault.",
        Effect::Reads,
        get_server_state,
    )]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {}

fn get_server_state(context: &ToolContext, _: Arguments) -> Result<Answer, Failure> {
    let report = doctor::examine(context.config.clone());
    Answer::new(&report.to_lines(), &report)
}
