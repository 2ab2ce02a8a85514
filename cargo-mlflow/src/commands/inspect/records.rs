//! [`Records`]: what a run has logged, a line for each value.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::arguments::Inspect;
use crate::failure::Failure;
use crate::live::{Live, State};
use crate::output::json_number::serialize_number;
use crate::output::table::shorten;
use crate::output::{Output, format, printable};

/// Greatest number of characters of a name or value in the text.
const MAX_VALUE_CHARS: usize = 120;

/// Values of a run that were not printed yet.
pub(super) struct Records<'o> {
    options: &'o Inspect,
    has_start: bool,
    params: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    state: Option<State>,
}

/// Record, as `--json` writes it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Record<'r> {
    Start {
        run_id: &'r str,
        name: &'r str,
        experiment: Option<&'r str>,
        start_time_ms: Option<i64>,
    },
    Param {
        key: &'r str,
        value: &'r str,
    },
    Tag {
        key: &'r str,
        value: &'r str,
    },
    Metric {
        key: &'r str,
        step: i64,
        #[serde(serialize_with = "serialize_number")]
        value: f64,
        timestamp_ms: i64,
    },
    State {
        state: &'r str,
        end_time_ms: Option<i64>,
    },
}

impl<'o> Records<'o> {
    pub(super) fn new(options: &'o Inspect) -> Self {
        Self {
            options,
            has_start: false,
            params: BTreeMap::new(),
            tags: BTreeMap::new(),
            state: None,
        }
    }

    /// Writes what has come since the last call.
    pub(super) fn write(&mut self, live: &mut Live, output: Output) -> Result<(), Failure> {
        let Some(run) = live.runs_mut().first_mut() else {
            return Ok(());
        };
        let points = run.take_new_points();
        let run = &*run;
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        let mut write = |record: &Record<'_>| -> Result<(), Failure> {
            if output.json {
                serde_json::to_writer(&mut stdout, record)?;
                writeln!(stdout)?;
            } else {
                writeln!(stdout, "{}", printable(&record.to_text()))?;
            }
            Ok(())
        };
        if !std::mem::replace(&mut self.has_start, true) {
            write(&Record::Start {
                run_id: run.id(),
                name: &run.name,
                experiment: run.experiment.as_deref(),
                start_time_ms: run.start_time_ms(),
            })?;
        }
        for (key, value) in changed(&mut self.params, &run.params()) {
            write(&Record::Param { key, value })?;
        }
        for (key, value) in changed(&mut self.tags, &run.tags()) {
            write(&Record::Tag { key, value })?;
        }
        let metrics = &self.options.metrics;
        for (key, point) in points {
            if !metrics.is_empty() && !metrics.iter().any(|metric| **metric == *key) {
                continue;
            }
            write(&Record::Metric {
                key: &key,
                step: point.step,
                value: point.value,
                timestamp_ms: point.timestamp_ms,
            })?;
        }
        let state = run.state();
        if self.state.replace(state) != Some(state) {
            write(&Record::State {
                state: state.as_str(),
                end_time_ms: run.end_time_ms(),
            })?;
        }
        stdout.flush()?;
        Ok(())
    }
}

/// Returns the entries of `now` that are not in `known`, and adds them to it.
fn changed<'r>(
    known: &mut BTreeMap<String, String>,
    now: &BTreeMap<&'r str, &'r str>,
) -> Vec<(&'r str, &'r str)> {
    let mut changed = Vec::new();
    for (&key, &value) in now {
        if known.get(key).is_none_or(|known| known != value) {
            known.insert(key.to_owned(), value.to_owned());
            changed.push((key, value));
        }
    }
    changed
}

impl Record<'_> {
    fn to_text(&self) -> String {
        match self {
            Self::Start {
                run_id,
                name,
                experiment,
                start_time_ms,
            } => {
                let start = start_time_ms.map(format::time).unwrap_or_default();
                let experiment = shorten(experiment.unwrap_or_default(), MAX_VALUE_CHARS);
                let name = shorten(name, MAX_VALUE_CHARS);
                format!("run {name} ({run_id}) of {experiment}, started {start}")
            }
            Self::Param { key, value } => format!(
                "param {} = {}",
                shorten(key, MAX_VALUE_CHARS),
                shorten(value, MAX_VALUE_CHARS)
            ),
            Self::Tag { key, value } => format!(
                "tag {} = {}",
                shorten(key, MAX_VALUE_CHARS),
                shorten(value, MAX_VALUE_CHARS)
            ),
            Self::Metric {
                key,
                step,
                value,
                timestamp_ms,
            } => {
                let time = format::time(*timestamp_ms);
                let key = shorten(key, MAX_VALUE_CHARS);
                format!("{time} {key} = {} at step {step}", format::number(*value))
            }
            Self::State { state, .. } => format!("state {state}"),
        }
    }
}
