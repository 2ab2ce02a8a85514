//! The tool that shows the end of a run: its last log lines and points.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mlflow::blocking::Client;
use mlflow::entities::{FileInfo, Run};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, clean};
use super::artifacts::{MAX_ARTIFACT_BYTES, read_text};
use super::run_record::{RunRecord, json_point, source_remarks};
use super::tool::{Effect, Tool};
use super::tool_context::ToolContext;
use super::waiting;
use crate::console_log::{CONSOLE_FOLDER, newest_console};
use crate::failure::Failure;
use crate::goal::{guess, is_of_interest};
use crate::live::{Look, Point, Series};
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
/// Greatest part of the console log of a process of this machine that is read.
const MAX_LOCAL_LOG_BYTES: u64 = 1 << 20;
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
    #[schemars(range(min = 0, max = MAX_LINES))]
    lines: Option<usize>,
    /// Number of points of each metric, 0 to 50. Default: 5.
    #[schemars(range(min = 0, max = MAX_POINTS))]
    points: Option<usize>,
    /// Metrics to show. Default: those whose names tell what is better, at most 20.
    #[serde(default)]
    #[schemars(length(max = MAX_METRICS))]
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
    let line_count = line_count.unwrap_or(DEFAULT_LINES);
    let point_count = points.unwrap_or(DEFAULT_POINTS);
    let mut look = context.look(&experiments, run.as_deref().unwrap_or("last"))?;
    let (shown, left_out) = choose_shown(&look, &metrics)?;
    let (ends, unread) = last_points(&mut look, &shown, point_count)?;
    let record = RunRecord::from(&look);
    let mut lines = vec![record.headline()];
    lines.extend(source_remarks(&look));
    let stored_ms = { look.stored.iter() }
        .flat_map(|(_, run)| run.metrics.values())
        .map(|point| point.timestamp_ms);
    let last_ms = stored_ms.chain(look.run.last_point_ms()).max();
    if let Some(last) = last_ms {
        lines.push(format!("last point: {}", format::ago(last)));
    }
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
        read_log(&look, line_count)?
    };
    match &log {
        Some(log) => lines.extend(log.to_lines()),
        None if line_count == 0 => {}
        None => lines.push("the run has no console log".to_owned()),
    }
    let waiting = waiting::remark_on(context, look.run.key.as_deref());
    lines.extend(waiting.clone());
    let age = last_ms.map(|last| (Timestamp::now().as_millisecond() - last) / 1000);
    Answer::new(
        &lines,
        &json!({
            "run": record,
            "seconds_since_last_point": age,
            "metrics": curves,
            "log": log.map(|log| log.to_json()),
            "left_out": left_out,
            "waiting": waiting,
            "store_error": look.store_error.as_ref().map(ToString::to_string),
        }),
    )
}

/// Chooses the metrics to show, and returns a remark on those that are left out.
fn choose_shown(look: &Look, wanted: &[String]) -> Result<(Vec<String>, Option<String>), Failure> {
    let stored = { look.stored.iter() }.flat_map(|(_, run)| run.metrics.keys());
    let mut keys: BTreeSet<&str> = stored.map(String::as_str).collect();
    keys.extend(look.run.series.keys().map(|key| &**key));
    if let Some(unknown) = wanted.iter().find(|key| !keys.contains(key.as_str())) {
        let known: Vec<&str> = keys.into_iter().collect();
        return Err(Failure::NotFound(format!(
            "the run {} has no metric `{unknown}`; it has {}",
            look.run.id(),
            shorten(&known.join(", "), 300)
        )));
    }
    if !wanted.is_empty() {
        return Ok((wanted.to_vec(), None));
    }
    let mut keys: Vec<&str> = keys.into_iter().collect();
    keys.sort_by_key(|key| (!is_of_interest(key), guess(key).is_none(), *key));
    let left_out = keys.len().saturating_sub(MAX_METRICS);
    let left_out =
        (left_out > 0).then(|| format!("{left_out} metrics are left out: name them in metrics"));
    let shown = keys.into_iter().take(MAX_METRICS).map(str::to_owned);
    Ok((shown.collect(), left_out))
}

/// Metrics with their last points, in the order of time.
type CurveEnds = Vec<(String, Vec<Point>)>;

/// Returns the last points of metrics, and a remark on those whose curves in the store were not read.
fn last_points(
    look: &mut Look,
    keys: &[String],
    count: usize,
) -> Result<(CurveEnds, Option<String>), Failure> {
    if count == 0 {
        return Ok((Vec::new(), None));
    }
    let (mut histories, mut read) = (Vec::new(), 0);
    // Last points of the curves that are not read.
    let mut last: BTreeMap<&str, Point> = BTreeMap::new();
    if let Some((client, run)) = &look.stored {
        for key in keys {
            let Some(point) = run.metrics.get(key) else {
                continue;
            };
            let is_read = count > 1 && read < MAX_POINTS_READ && look.store_error.is_none();
            let history = is_read.then(|| client.metric_history(&*run.run_id, key));
            match history {
                Some(Ok(history)) => {
                    read += history.len();
                    histories.push(history);
                }
                Some(Err(error)) if look.run.is_in_journal() => {
                    look.store_error = Some(error);
                    last.insert(key, Point::from(*point));
                }
                Some(Err(error)) => return Err(error.into()),
                None => {
                    last.insert(key, Point::from(*point));
                }
            }
        }
        look.run.set_record(run.clone(), histories);
    }
    let ends = keys.iter().map(|key| {
        let logged = { look.run.series.get(key.as_str()) }.into_iter();
        let mut points: Vec<Point> = logged.flat_map(Series::points).collect();
        if let Some(last) = last.get(key.as_str())
            && !points.contains(last)
        {
            points.push(*last);
        }
        points.sort_by(|one, other| {
            let place = |point: &Point| (point.timestamp_ms, point.step);
            place(one)
                .cmp(&place(other))
                .then(one.value.total_cmp(&other.value))
        });
        let skipped = points.len().saturating_sub(count);
        (key.clone(), points.split_off(skipped))
    });
    let ends = ends.collect();
    let unread = (count > 1 && !last.is_empty() && look.store_error.is_none()).then(|| {
        format!(
            "{} with the last point alone, as the curves are long: get_metric_history returns them",
            counted(last.len() as u64, "metric")
        )
    });
    Ok((ends, unread))
}

/// End of a console log.
struct Log {
    /// Path among the artifacts, or words for the log of a process of this machine.
    path: String,
    lines: Vec<String>,
    /// Number of lines before them, as far as the log was read.
    lines_before: usize,
    /// Reason for which the log was not read.
    unread: Option<String>,
}

impl Log {
    /// Returns the last lines of a text, as many as an answer holds.
    fn of_text(path: String, text: &str, count: usize) -> Self {
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
        Self {
            path,
            lines_before: all.len() - lines.len(),
            lines,
            unread: None,
        }
    }

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

/// Reads the end of the console log that a process of this machine writes, or else of the newest log in the store; `None`
/// if the run has no log.
fn read_log(look: &Look, count: usize) -> Result<Option<Log>, Failure> {
    let text = clean(&look.run.console_tail(MAX_LOCAL_LOG_BYTES));
    if !text.is_empty() {
        return Ok(Some(Log::of_text("console log".to_owned(), &text, count)));
    }
    let Some((client, run)) = &look.stored else {
        return Ok(None);
    };
    match read_stored_log(client, run, count) {
        Ok(log) => Ok(log),
        Err(Failure::Unavailable(_) | Failure::Blocked(_)) if look.run.is_in_journal() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Reads the end of the newest console log in the store, or of another log if there is none; `None` if the run has no log.
fn read_stored_log(client: &Client, run: &Run, count: usize) -> Result<Option<Log>, Failure> {
    let files = client.list_artifacts(&*run.run_id, CONSOLE_FOLDER)?;
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
    let text = read_text(client, run, &file.path)?;
    Ok(Some(Log::of_text(file.path.clone(), &text, count)))
}
