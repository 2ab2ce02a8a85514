//! [`LiveRun`]: a run as it grows.

use std::collections::BTreeMap;
use std::sync::Arc;

use mlflow::RunStatus;
use mlflow::entities::{MetricHistory, Run};
use mlflow::journals::{Entry, EntryValue, JournalRun, StoredConsole};

use super::series::Series;

/// Tag of a run in the store that holds the run's local id.
pub(super) const RUN_KEY_TAG: &str = "mlflow.rust.runKey";

/// Run with everything that its store and the journals of this machine hold of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveRun {
    /// Local id of the run; `None` for a run that another library has logged.
    pub(crate) key: Option<String>,
    /// Id of the run in its store; `None` until the store is known to have it.
    pub(crate) run_id: Option<String>,
    pub(crate) name: String,
    /// Name of the experiment, or its id while the name is not known.
    pub(crate) experiment: Option<String>,
    pub(crate) user: String,
    /// Status in the store; `None` until the store is known to have the run.
    stored_status: Option<RunStatus>,
    /// End of the run in a journal.
    logged_end: Option<RunStatus>,
    pub(crate) process: Process,
    pub(crate) start_time_ms: Option<i64>,
    pub(crate) end_time_ms: Option<i64>,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) series: BTreeMap<Arc<str>, Series>,
    console: Option<StoredConsole>,
    stored_console: String,
    /// Number of points of all metrics.
    points: usize,
    /// Number that is greater after each change.
    version: u64,
}

/// Process that logs a run, as far as this machine knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Process {
    /// No journal of this machine holds the run.
    #[default]
    Unknown,
    /// The process lives.
    Alive,
    /// The process has ended, or its machine was started again.
    Gone,
}

/// State of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Ended(RunStatus),
    /// The process of the run has ended, and the run was not ended. The run becomes KILLED when its journal is shipped.
    Abandoned,
}

impl State {
    /// Returns the name of the state: MLflow's name of the status, or ABANDONED.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => RunStatus::Running.as_str(),
            Self::Ended(status) => status.as_str(),
            Self::Abandoned => "ABANDONED",
        }
    }

    /// Returns true if nothing more is to be expected of the run.
    pub(crate) fn is_final(self) -> bool {
        self != Self::Running
    }

    /// Returns true for a run that has reached its end by itself.
    pub(crate) fn is_success(self) -> bool {
        self == Self::Ended(RunStatus::Finished)
    }
}

impl LiveRun {
    /// Creates the run of a journal, of which nothing else is known yet.
    pub(super) fn of_journal(run: &JournalRun) -> Self {
        Self {
            key: Some(run.key.clone()),
            run_id: run.resumed_run_id.clone(),
            experiment: { run.experiment_name.clone() }.or_else(|| run.experiment_id.clone()),
            ..Self::default()
        }
    }

    /// Returns the run's id in the store, or else its local one.
    pub(crate) fn id(&self) -> &str {
        let id = self.run_id.as_deref().or(self.key.as_deref());
        id.unwrap_or_default()
    }

    /// Returns the state of the run.
    pub(crate) fn state(&self) -> State {
        let logged = self.logged_end;
        let stored = self.stored_status;
        let has_ended =
            |status: RunStatus| !matches!(status, RunStatus::Running | RunStatus::Scheduled);
        match logged.or(stored.filter(|status| has_ended(*status))) {
            Some(status) => State::Ended(status),
            None if self.process == Process::Gone => State::Abandoned,
            None => State::Running,
        }
    }

    /// Returns the number of points of all metrics.
    pub(crate) fn point_count(&self) -> usize {
        self.points
    }

    /// Returns the number of points that the store did not have when it was read last.
    pub(crate) fn waiting_points(&self) -> usize {
        self.series.values().map(Series::waiting_len).sum()
    }

    /// Returns the time of the last point, in ms since the Unix epoch.
    pub(crate) fn last_point_ms(&self) -> Option<i64> {
        { self.series.values() }
            .filter_map(Series::last)
            .map(|point| point.timestamp_ms)
            .max()
    }

    /// Returns a number that is greater after each change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the time from the start to the end, or to now for a run that has not ended, in ms.
    pub(crate) fn duration_ms(&self, now_ms: i64) -> Option<i64> {
        let end = match self.state() {
            State::Running => now_ms,
            State::Ended(_) => self.end_time_ms.or_else(|| self.last_point_ms())?,
            State::Abandoned => self.last_point_ms()?,
        };
        Some((end - self.start_time_ms?).max(0))
    }

    /// Returns the last lines of the console log, at most `max_bytes` of them; empty if there is none.
    pub(crate) fn console_tail(&self, max_bytes: u64) -> String {
        let local = { self.console.as_ref() }.and_then(|console| console.tail(max_bytes).ok());
        local
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| self.stored_console.clone())
    }

    /// Adds an entry of a journal.
    pub(super) fn add_entry(&mut self, entry: Entry) {
        self.version += 1;
        match entry.value {
            EntryValue::Start(start) => {
                self.name = start.name;
                self.user = start.user;
                self.start_time_ms = Some(start.start_time_ms);
                for (key, value) in start.tags {
                    self.tags.entry(key).or_insert(value);
                }
                for (key, value) in start.params {
                    self.params.entry(key).or_insert(value);
                }
            }
            EntryValue::Point(point) => {
                self.points += 1;
                let series = match self.series.get_mut(&point.key) {
                    Some(series) => series,
                    None => self.series.entry(point.key).or_default(),
                };
                series.push_waiting(point.step, point.value, point.timestamp_ms);
            }
            EntryValue::Param { key, value } => {
                self.params.entry(key).or_insert(value);
            }
            EntryValue::Tag { key, value } => {
                self.tags.insert(key, value);
            }
            EntryValue::Console(console) => self.console = Some(console),
            EntryValue::End {
                status,
                end_time_ms,
            } => {
                self.logged_end = Some(status);
                self.end_time_ms = Some(end_time_ms);
            }
            _ => {}
        }
    }

    /// Takes over what the store holds.
    pub(super) fn set_record(&mut self, run: Run, histories: Vec<MetricHistory>) {
        self.version += 1;
        if let Some(key) = run.tag(RUN_KEY_TAG) {
            self.key = Some(key.to_owned());
        }
        self.run_id = Some(run.run_id);
        self.name = run.name;
        self.user = run.user_id;
        self.stored_status = Some(run.status);
        self.start_time_ms = run.start_time_ms.or(self.start_time_ms);
        self.end_time_ms = run.end_time_ms.or(self.end_time_ms);
        self.experiment.get_or_insert(run.experiment_id);
        // A param is never changed. A tag of a journal is newer than that of the store.
        self.params.extend(run.params);
        for (key, value) in run.tags {
            self.tags.entry(key).or_insert(value);
        }
        for history in histories {
            let key: Arc<str> = Arc::from(history.key());
            self.series.entry(key).or_default().set_stored(history);
        }
        self.points = self.series.values().map(Series::len).sum();
    }

    /// Takes over the console log that the store holds.
    pub(super) fn set_stored_console(&mut self, text: String) {
        self.version += 1;
        self.stored_console = text;
    }

    /// Records whether the process of the run lives.
    pub(super) fn set_process(&mut self, process: Process) {
        if self.process != process {
            self.version += 1;
            self.process = process;
        }
    }
}
