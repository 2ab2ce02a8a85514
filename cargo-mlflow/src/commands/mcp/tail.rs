//! The tool that shows the end of a run: its last log lines and points.

use jiff::Timestamp;
use mlflow::entities::{FileInfo, MetricPoint, Run};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::artifacts::{MAX_ARTIFACT_BYTES, read_text};
use super::run_record::{RunRecord, headline, json_point};
use super::tool::{Effect, Tool};
use super::tool_context::{ToolContext, check_range};
use super::waiting;
use crate::console_log::{CONSOLE_FOLDER, newest_console};
use crate::failure::Failure;
use crate::goal::{guess, is_of_interest};
use crate::output::format::{self, counted, number, size};
use crate::output::table::shorten;

const DEFAULT_LINES: usize = 40;
const MAX_LINES: usize = 400;
const DEFAULT_POINTS: usize = 5;
const MAX_POINTS: usize = 50;
const MAX_METRICS: usize = 20;
const MAX_LINE_CHARS: usize = 400;
/// Greatest length of all shown lines.
const MAX_LOG_BYTES: usize = 24 * 1024;
/// Number of points after which no further curve is read for its end. The other metrics show their last point alone.
const MAX_POINTS_READ: usize = 200_000;

pub(super) fn tail_tools() -> Vec<Tool> {
    vec![Tool::new(
        "tail_run",
        "Tail run",
        "Shows the end of a run, also of one that is still training: the last lines of its console log, the last \
         points of its metrics, and how old they are.",
        Effect::Reads,
        tail_run,
    )]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Run: beginning of its id, name, `last`, or `best:METRIC`, `min:METRIC`, `max:METRIC`. Default: `last`.
    run: Option<String>,
    /// Names of experiments in which the run is looked for. Default: all.
    #[serde(default)]
    experiments: Vec<String>,
    /// Number of log lines, 0 to 400. Default: 40.
    lines: Option<usize>,
    /// Number of points of each metric, 0 to 50. Default: 5.
    points: Option<usize>,
    /// Metrics to show. Default: those whose names tell what is better, at most 20.
    #[serde(default)]
    metrics: Vec<String>,
}

fn tail_run(context: &ToolContext, arguments: Arguments) -> Result<Answer, Failure> {
    let Arguments {
        run,
        experiments,
        lines: line_count,
        points,
        metrics,
    } = arguments;
    let line_count = check_range("lines", line_count.unwrap_or(DEFAULT_LINES), 0..=MAX_LINES)?;
    let point_count = check_range("points", points.unwrap_or(DEFAULT_POINTS), 0..=MAX_POINTS)?;
    check_range("metrics", metrics.len(), 0..=MAX_METRICS)?;
    let run = context.select(&experiments, run.as_deref().unwrap_or("last"))?;
    let mut lines = vec![headline(&run)];
    let last_ms = run.metrics.values().map(|point| point.timestamp_ms).max();
    if let Some(last) = last_ms {
        lines.push(format!("last point: {}", format::ago(last)));
    }
    let (shown, left_out) = choose_shown(&run, &metrics)?;
    let (ends, unread) = last_points(context, &run, &shown, point_count)?;
    let left_out: Vec<String> = { [left_out, unread].into_iter() }.flatten().collect();
    let left_out = (!left_out.is_empty()).then(|| left_out.join("; "));
    let mut curves = Vec::new();
    for (key, points) in ends {
        let texts: Vec<String> = { points.iter() }
            .map(|point| format!("{}:{}", point.step, number(point.value)))
            .collect();
        lines.push(format!("{key} (step:value) {}", texts.join(" ")));
        let points: Vec<Value> = points.into_iter().map(json_point).collect();
        curves.push(json!({ "metric": key, "points": points }));
    }
    lines.extend(left_out.clone());
    let log = if line_count == 0 {
        None
    } else {
        read_log(context, &run, line_count)?
    };
    match &log {
        Some(log) => lines.extend(log.to_lines()),
        None if line_count == 0 => {}
        None => lines.push("the run has no console log".to_owned()),
    }
    let waiting = waiting::remark_on(context, &run);
    lines.extend(waiting.clone());
    let age = last_ms.map(|last| (Timestamp::now().as_millisecond() - last) / 1000);
    Answer::new(
        &lines,
        &json!({
            "run": RunRecord::from(&run),
            "seconds_since_last_point": age,
            "metrics": curves,
            "log": log.map(|log| log.to_json()),
            "left_out": left_out,
            "waiting": waiting,
        }),
    )
}

/// Chooses the metrics to show, and returns a remark on those that are left out.
fn choose_shown(run: &Run, wanted: &[String]) -> Result<(Vec<String>, Option<String>), Failure> {
    if let Some(unknown) = wanted.iter().find(|key| !run.metrics.contains_key(*key)) {
        let known: Vec<&str> = run.metrics.keys().map(String::as_str).collect();
        return Err(Failure::NotFound(format!(
            "the run {} has no metric `{unknown}`; it has {}",
            run.run_id,
            shorten(&known.join(", "), 300)
        )));
    }
    if !wanted.is_empty() {
        return Ok((wanted.to_vec(), None));
    }
    let mut keys: Vec<&String> = run.metrics.keys().collect();
    keys.sort_by_key(|key| (!is_of_interest(key), guess(key).is_none(), *key));
    let left_out = keys.len().saturating_sub(MAX_METRICS);
    let left_out =
        (left_out > 0).then(|| format!("{left_out} metrics are left out: name them in metrics"));
    let shown = keys.into_iter().take(MAX_METRICS).cloned().collect();
    Ok((shown, left_out))
}

/// Metrics with their last points, in the order of time.
type CurveEnds = Vec<(String, Vec<MetricPoint>)>;

/// Returns the last points of metrics, and a remark on those whose curves were not read.
fn last_points(
    context: &ToolContext,
    run: &Run,
    keys: &[String],
    count: usize,
) -> Result<(CurveEnds, Option<String>), Failure> {
    if count == 0 {
        return Ok((Vec::new(), None));
    }
    let (mut ends, mut read, mut unread) = (Vec::new(), 0, 0);
    for key in keys {
        let points = if count == 1 || read >= MAX_POINTS_READ {
            unread += u64::from(count > 1);
            run.metrics.get(key).copied().into_iter().collect()
        } else {
            let history = context.client.metric_history(&*run.run_id, key)?;
            read += history.len();
            let skipped = history.len().saturating_sub(count);
            history.iter().skip(skipped).collect()
        };
        ends.push((key.clone(), points));
    }
    let unread = (unread > 0).then(|| {
        format!(
            "{} with the last point alone, as the curves are long: get_metric_history returns them",
            counted(unread, "metric")
        )
    });
    Ok((ends, unread))
}

/// End of a console log.
struct Log {
    path: String,
    lines: Vec<String>,
    /// Number of lines before them.
    lines_before: usize,
    /// Reason for which the log was not read.
    unread: Option<String>,
}

impl Log {
    fn to_lines(&self) -> Vec<String> {
        if let Some(unread) = &self.unread {
            return vec![unread.clone()];
        }
        let mut lines = vec![format!(
            "{} (the last {} of {} lines):",
            self.path,
            self.lines.len(),
            self.lines.len() + self.lines_before
        )];
        lines.extend(self.lines.iter().cloned());
        lines
    }

    fn to_json(&self) -> Value {
        json!({
            "path": self.path,
            "lines": self.lines,
            "lines_before": self.lines_before,
            "left_out": self.unread,
        })
    }
}

/// Reads the end of the newest console log, or of another log if there is none; `None` if the run has no log.
fn read_log(context: &ToolContext, run: &Run, count: usize) -> Result<Option<Log>, Failure> {
    let files = context
        .client
        .list_artifacts(&*run.run_id, CONSOLE_FOLDER)?;
    let is_log = |file: &&FileInfo| !file.is_dir && file.path.ends_with(".log");
    let file = newest_console(&files).or_else(|| files.iter().find(is_log));
    let Some(file) = file else {
        return Ok(None);
    };
    let bytes = file.file_size.unwrap_or_default();
    if bytes > MAX_ARTIFACT_BYTES {
        return Ok(Some(Log {
            path: file.path.clone(),
            lines: Vec::new(),
            lines_before: 0,
            unread: Some(format!(
                "the log {} has {}, too much to be read here: `cargo mlflow artifacts get {} {}` copies it",
                file.path,
                size(bytes),
                run.run_id,
                file.path
            )),
        }));
    }
    let text = read_text(context, run, &file.path)?;
    let all: Vec<&str> = text.lines().collect();
    let mut bytes = 0;
    let mut lines: Vec<String> = { all.iter().rev().take(count) }
        .map(|line| shorten(line, MAX_LINE_CHARS))
        .take_while(|line| {
            bytes += line.len() + 1;
            bytes <= MAX_LOG_BYTES
        })
        .collect();
    lines.reverse();
    let lines_before = all.len() - lines.len();
    Ok(Some(Log {
        path: file.path.clone(),
        lines,
        lines_before,
        unread: None,
    }))
}
