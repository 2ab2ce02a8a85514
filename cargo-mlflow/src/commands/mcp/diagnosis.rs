//! The tool that diagnoses a run.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::answer::Answer;
use super::run_record::{RunRecord, source_remarks};
use super::tool::{Effect, Tool};
use super::tool_context::ToolContext;
use super::waiting;
use crate::failure::Failure;
use crate::output::format::counted;
use crate::output::table::shorten;
use crate::run_diagnosis::{LiveDiagnosis, diagnose_look};

/// Number of points after which no further curve is read.
const MAX_POINTS: u64 = 500_000;
const MAX_FINDINGS: usize = 50;
const MAX_LIST_CHARS: usize = 400;

pub(super) fn diagnosis_tools() -> Vec<Tool> {
    vec![Tool::new(
        "diagnose_run",
        "Diagnose run",
        "Examines the whole curves of a run, and its state: NaN, divergence, overfitting, plateau, spikes, slowdown, \
         stall, failure. Each finding says what was seen in numbers, and what to try.",
        Effect::Reads,
        diagnose_run,
    )]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Run: beginning of its id, name, `last`, or `best:METRIC`, `min:METRIC`, `max:METRIC`.
    run: String,
    /// Names of experiments in which the run is looked for. Default: all.
    #[serde(default)]
    experiments: Vec<String>,
}

fn diagnose_run(context: &ToolContext, arguments: Arguments) -> Result<Answer, Failure> {
    let Arguments { run, experiments } = arguments;
    let mut look = context.look(&experiments, &run)?;
    let LiveDiagnosis {
        findings: mut found,
        curves,
        points,
        left_out: not_examined,
    } = diagnose_look(&mut look, MAX_POINTS)?;
    let total = found.len();
    found.truncate(MAX_FINDINGS);
    let record = RunRecord::from(&look);
    let mut lines = vec![record.headline()];
    lines.extend(source_remarks(&look));
    lines.extend(
        { found.iter() }.map(|finding| format!("{}: {}", finding.severity.as_str(), finding.text)),
    );
    if found.is_empty() {
        lines.push("nothing conspicuous was found".to_owned());
    }
    lines.push(format!(
        "examined: {} with {}",
        counted(curves as u64, "metric"),
        counted(points, "point")
    ));
    let mut left_out = Vec::new();
    if total > MAX_FINDINGS {
        left_out.push(counted((total - MAX_FINDINGS) as u64, "further finding"));
    }
    if !not_examined.is_empty() {
        left_out.push(format!(
            "the curves of {} (get_metric_history returns them)",
            shorten(&not_examined.join(", "), MAX_LIST_CHARS)
        ));
    }
    let left_out = (!left_out.is_empty()).then(|| format!("left out: {}", left_out.join("; ")));
    lines.extend(left_out.clone());
    let waiting = waiting::remark_on(context, look.run.key.as_deref());
    lines.extend(waiting.clone());
    Answer::new(
        &lines,
        &json!({
            "run": record,
            "findings": found,
            "metrics_examined": curves,
            "points_examined": points,
            "left_out": left_out,
            "waiting": waiting,
            "store_error": look.store_error.as_ref().map(ToString::to_string),
        }),
    )
}
