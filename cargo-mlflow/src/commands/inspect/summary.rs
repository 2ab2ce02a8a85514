//! [`Summary`]: the present state of a run as one record.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::analysis::diagnosis::Finding;
use crate::arguments::Inspect;
use crate::commands::show::write_findings;
use crate::failure::Failure;
use crate::live::{LiveRun, Process, Series};
use crate::output::json_number::serialize_number;
use crate::output::style::{dim, heading};
use crate::output::table::{number_cell, shorten, table, to_text};
use crate::output::{Output, format, without_escapes};
use crate::run_diagnosis::live_findings;

/// Greatest length of the console log's end, in bytes.
const MAX_CONSOLE_BYTES: u64 = 256 << 10;
/// Greatest number of points whose curves are examined.
const MAX_DIAGNOSED_POINTS: u64 = 200_000;
/// Greatest number of characters of a key in the text.
const MAX_KEY_CHARS: usize = 60;
/// Greatest number of characters of a value in the text.
const MAX_VALUE_CHARS: usize = 120;

/// State of a run, as `--json` writes it.
#[derive(Serialize)]
pub(super) struct Summary<'r> {
    /// Id in the store; `null` until the store has the run.
    run_id: Option<&'r str>,
    /// Local id.
    key: Option<&'r str>,
    name: &'r str,
    experiment: Option<&'r str>,
    user: &'r str,
    /// `RUNNING`, `FINISHED`, `FAILED`, `KILLED`, or `ABANDONED` if the process has ended without ending the run.
    state: &'static str,
    /// Whether the process lives; `null` if no journal of this machine holds the run.
    process_alive: Option<bool>,
    start_time_ms: Option<i64>,
    end_time_ms: Option<i64>,
    duration_seconds: Option<f64>,
    last_point_ms: Option<i64>,
    points: usize,
    /// Points in a journal that the store is not known to have.
    waiting_points: usize,
    params: BTreeMap<&'r str, &'r str>,
    tags: BTreeMap<&'r str, &'r str>,
    metrics: BTreeMap<&'r str, MetricState>,
    /// What is conspicuous, the most severe first.
    findings: Vec<Finding>,
    /// Metrics whose curves were not examined, as there are too many points.
    not_examined: Vec<String>,
    /// Last lines of the console log.
    console: Vec<String>,
    /// Error of the store; `null` if it answers, or if there is none.
    store_error: Option<String>,
    #[serde(skip)]
    run: &'r LiveRun,
}

/// State of a metric.
#[derive(Serialize)]
struct MetricState {
    #[serde(serialize_with = "serialize_number")]
    last: f64,
    step: i64,
    timestamp_ms: i64,
    /// Smallest value that is finite; `null` if there is none.
    min: Option<f64>,
    max: Option<f64>,
    points: usize,
    /// Points that are NaN or infinite.
    non_finite: u64,
}

impl<'r> Summary<'r> {
    pub(super) fn new(run: &'r LiveRun, store_error: Option<String>, options: &Inspect) -> Self {
        let now = Timestamp::now().as_millisecond();
        let console = run.console_tail(MAX_CONSOLE_BYTES);
        let lines: Vec<&str> = console.lines().collect();
        let skipped = lines.len().saturating_sub(options.console_lines);
        let is_wanted = |key: &str| {
            options.metrics.is_empty() || options.metrics.iter().any(|wanted| wanted == key)
        };
        #[expect(clippy::cast_precision_loss, reason = "a duration")]
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let diagnosis = live_findings(run, MAX_DIAGNOSED_POINTS, Vec::new());
        Self {
            run_id: run.run_id.as_deref(),
            key: run.key.as_deref(),
            name: &run.name,
            experiment: run.experiment.as_deref(),
            user: &run.user,
            state: run.state().as_str(),
            process_alive: match run.process {
                Process::Unknown => None,
                process => Some(process == Process::Alive),
            },
            start_time_ms: run.start_time_ms(),
            end_time_ms: run.end_time_ms(),
            duration_seconds: run.duration_ms(now).map(seconds),
            last_point_ms: run.last_point_ms(),
            points: run.point_count(),
            waiting_points: run.waiting_points(),
            params: run.params(),
            tags: run.tags(),
            metrics: { run.series.iter() }
                .filter(|(key, _)| is_wanted(key))
                .filter_map(|(key, series)| Some((&**key, MetricState::new(series)?)))
                .collect(),
            findings: diagnosis.findings,
            not_examined: diagnosis.left_out,
            console: lines.into_iter().skip(skipped).map(str::to_owned).collect(),
            store_error,
            run,
        }
    }

    /// Writes the record; as one line, if others follow.
    pub(super) fn write(&self, output: Output, others_follow: bool) -> Result<(), Failure> {
        if output.json && others_follow {
            return output.json_line(self);
        }
        if output.json {
            return output.json(self);
        }
        self.write_text(output)
    }

    fn write_text(&self, output: Output) -> Result<(), Failure> {
        output.line(heading(shorten(self.name, MAX_VALUE_CHARS)))?;
        let field = |name: &str, value: &str| {
            if value.is_empty() {
                return Ok(());
            }
            output.line(format_args!(
                "  {name:<11} {}",
                shorten(value, MAX_VALUE_CHARS)
            ))
        };
        field("id", self.run.id())?;
        field("experiment", self.experiment.unwrap_or_default())?;
        field("state", &self.state_text())?;
        let start = self.start_time_ms;
        let start = start.map(|ms| format!("{} ({})", format::time(ms), format::ago(ms)));
        field("started", &start.unwrap_or_default())?;
        let seconds = { self.duration_seconds }.map(std::time::Duration::from_secs_f64);
        field(
            "duration",
            &seconds.map(format::duration).unwrap_or_default(),
        )?;
        field("points", &self.points_text())?;
        if !self.params.is_empty() {
            output.line(format_args!("\n{}", heading("Params")))?;
            for (key, value) in &self.params {
                output.line(format_args!(
                    "  {} = {}",
                    shorten(key, MAX_KEY_CHARS),
                    shorten(value, MAX_VALUE_CHARS)
                ))?;
            }
        }
        if !self.metrics.is_empty() {
            output.line(format_args!("\n{}", heading("Metrics")))?;
            output.line(self.metrics_table(output))?;
        }
        write_findings(output, &self.findings)?;
        if !self.console.is_empty() {
            output.line(format_args!("\n{}", heading("Console")))?;
            for line in &self.console {
                output.line(format_args!("  {}", dim(without_escapes(line))))?;
            }
        }
        Ok(())
    }

    fn state_text(&self) -> String {
        match self.process_alive {
            Some(true) => format!("{}, its process lives", self.state),
            Some(false) if self.state == "ABANDONED" => {
                "ABANDONED: its process has ended without ending the run; `cargo mlflow sync` ships what it left"
                    .to_owned()
            }
            _ => self.state.to_owned(),
        }
    }

    fn points_text(&self) -> String {
        let all = format::count(self.points as u64);
        let waiting = self.waiting_points as u64;
        let last = { self.last_point_ms }
            .map(|ms| format!(", the last {}", format::ago(ms)))
            .unwrap_or_default();
        match waiting {
            0 => format!("{all}{last}"),
            _ => format!(
                "{all}, {} wait in the journal{last}",
                format::count(waiting)
            ),
        }
    }

    fn metrics_table(&self, output: Output) -> String {
        let mut rows = table(
            output,
            &["  NAME", "LAST", "MIN", "MAX", "POINTS", "LAST STEP"],
        );
        for (key, metric) in &self.metrics {
            let number = |value: Option<f64>| format::number(value.unwrap_or(f64::NAN));
            rows.add_row(vec![
                format!("  {}", shorten(key, MAX_KEY_CHARS)).into(),
                number_cell(format::number(metric.last)),
                number_cell(number(metric.min)),
                number_cell(number(metric.max)),
                number_cell(metric.points),
                number_cell(metric.step),
            ]);
        }
        to_text(&rows)
    }
}

impl MetricState {
    fn new(series: &Series) -> Option<Self> {
        let last = series.last()?;
        let extremes = series.extremes();
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        Some(Self {
            last: last.value,
            step: last.step,
            timestamp_ms: last.timestamp_ms,
            min: finite(extremes.least),
            max: finite(extremes.greatest),
            points: series.len(),
            non_finite: extremes.non_finite,
        })
    }
}
