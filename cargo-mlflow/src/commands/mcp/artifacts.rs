//! The tools that list and read artifacts.

use mlflow::blocking::Client;
use mlflow::entities::{FileInfo, Run};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, char_boundary_before, clean};
use super::run_record::headline;
use super::tool::{Effect, Tool};
use super::tool_context::ToolContext;
use crate::failure::Failure;
use crate::output::format::size;

const DEFAULT_ENTRIES: usize = 100;
const MAX_ENTRIES: usize = 500;
const DEFAULT_BYTES: usize = 8000;
const MAX_BYTES: usize = 32_000;
/// Length of the longest character: a part holds at least one.
const MIN_BYTES: usize = 4;
/// Greatest size of an artifact that is read. The store returns it as a whole.
pub(super) const MAX_ARTIFACT_BYTES: u64 = 64 << 20;

pub(super) fn artifact_tools() -> Vec<Tool> {
    vec![
        Tool::new(
            "list_artifacts",
            "List artifacts",
            "Lists the files and folders in a folder of a run's artifacts, with their sizes.",
            Effect::Reads,
            list_artifacts,
        ),
        Tool::new(
            "read_artifact",
            "Read artifact",
            "Reads a part of a text artifact, such as a log, a configuration or a table.",
            Effect::Reads,
            read_artifact,
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListArguments {
    /// Run: beginning of its id, name, `last`, or `best:METRIC`, `min:METRIC`, `max:METRIC`.
    run: String,
    /// Names of experiments in which the run is looked for. Default: all.
    #[serde(default)]
    experiments: Vec<String>,
    /// Folder. Default: the root.
    #[serde(default)]
    folder: String,
    /// Greatest number of entries, 1 to 500. Default: 100.
    #[schemars(range(min = 1, max = MAX_ENTRIES))]
    limit: Option<usize>,
    /// Number of entries to skip, for the next part of a long list.
    #[serde(default)]
    offset: usize,
}

fn list_artifacts(context: &ToolContext, arguments: ListArguments) -> Result<Answer, Failure> {
    let ListArguments {
        run,
        experiments,
        folder,
        limit,
        offset,
    } = arguments;
    let limit = limit.unwrap_or(DEFAULT_ENTRIES);
    let run = context.select(&experiments, &run)?;
    let files = context.client.list_artifacts(&*run.run_id, &*folder)?;
    if files.is_empty() && !folder.is_empty() {
        return Err(Failure::NotFound(format!(
            "the run {} has no folder `{folder}`: list_artifacts without folder lists the root",
            run.run_id
        )));
    }
    let shown: Vec<&FileInfo> = files.iter().skip(offset).take(limit).collect();
    let mut lines = vec![headline(&run)];
    lines.extend({ shown.iter() }.map(|file| match file.file_size {
        Some(bytes) => format!("{}  {}", file.path, size(bytes)),
        None => format!("{}/", file.path),
    }));
    if files.is_empty() {
        lines.push("no artifacts".to_owned());
    }
    let end = offset.saturating_add(shown.len());
    let left_out = (end < files.len()).then(|| {
        format!(
            "{} more entries: call again with offset {end}",
            files.len() - end
        )
    });
    lines.extend(left_out.clone());
    Answer::new(
        &lines,
        &json!({ "run_id": run.run_id, "files": shown, "left_out": left_out }),
    )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadArguments {
    /// Run: beginning of its id, name, `last`, or `best:METRIC`, `min:METRIC`, `max:METRIC`.
    run: String,
    /// Names of experiments in which the run is looked for. Default: all.
    #[serde(default)]
    experiments: Vec<String>,
    /// Path of the artifact, as `list_artifacts` shows it.
    path: String,
    /// First byte to read. A negative number counts from the end: -4000 reads the last 4000 bytes. Default: 0.
    #[serde(default)]
    offset: i64,
    /// Greatest number of bytes, 4 to 32000. Default: 8000.
    #[schemars(range(min = MIN_BYTES, max = MAX_BYTES))]
    limit: Option<usize>,
}

fn read_artifact(context: &ToolContext, arguments: ReadArguments) -> Result<Answer, Failure> {
    let ReadArguments {
        run,
        experiments,
        path,
        offset,
        limit,
    } = arguments;
    let limit = limit.unwrap_or(DEFAULT_BYTES);
    let run = context.select(&experiments, &run)?;
    let text = read_text(&context.client, &run, &path)?;
    let total = text.len();
    let distance = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
    let start = if offset < 0 {
        total.saturating_sub(distance)
    } else {
        distance.min(total)
    };
    let start = char_boundary_before(&text, start);
    let end = start.saturating_add(limit);
    let end = char_boundary_before(&text, end);
    let part = text.get(start..end).unwrap_or_default();
    let position = format!("{path}: bytes {start} to {end} of {total}");
    let left_out = (end < total)
        .then(|| format!("{} bytes follow: call again with offset {end}", total - end));
    let mut lines = vec![position, part.to_owned()];
    lines.extend(left_out.clone());
    Answer::new(
        &lines,
        &json!({
            "run_id": run.run_id,
            "path": path,
            "text": part,
            "start": start,
            "end": end,
            "total_bytes": total,
            "left_out": left_out,
        }),
    )
}

/// Returns a text artifact without its credentials. They are masked in the whole text, as a part may begin in the
/// middle of one.
pub(super) fn read_text(client: &Client, run: &Run, path: &str) -> Result<String, Failure> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let files = client.list_artifacts(&*run.run_id, folder)?;
    let bytes = { files.iter() }
        .find(|file| file.path == path && !file.is_dir)
        .and_then(|file| file.file_size);
    if let Some(bytes) = bytes.filter(|bytes| *bytes > MAX_ARTIFACT_BYTES) {
        return Err(Failure::Usage(format!(
            "the artifact `{path}` has {}, and {} are the most that can be read here: copy it by `cargo mlflow \
             artifacts get {} {path}`",
            size(bytes),
            size(MAX_ARTIFACT_BYTES),
            run.run_id
        )));
    }
    let content = client.read_artifact(&*run.run_id, path)?;
    if content.contains(&0) {
        return Err(Failure::Usage(format!(
            "the artifact `{path}` is no text ({}): copy it by `cargo mlflow artifacts get {} {path}`",
            size(content.len() as u64),
            run.run_id
        )));
    }
    Ok(clean(&String::from_utf8_lossy(&content)))
}
