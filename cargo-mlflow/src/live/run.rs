//! [`LiveRun`]: a run as it grows.

use std::collections::BTreeMap;
use std::sync::Arc;

use mlflow::RunStatus;
use mlflow::entities::{MetricHistory, Run};
use mlflow::journals::{Entry, EntryValue, JournalRun, StoredConsole};
use mlflow::store::RUN_KEY_TAG;

use super::series::{Point, Series};

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
    /// Run in the store when it was read last, without its metrics; `None` until the store is known to have the run.
    stored: Option<Box<Run>>,
    /// End of the run in a journal: status, and time in ms since the Unix epoch.
    logged_end: Option<(RunStatus, i64)>,
    pub(crate) process: Process,
    /// Start in a journal, in ms since the Unix epoch.
    logged_start_ms: Option<i64>,
    logged_params: BTreeMap<String, String>,
    logged_tags: BTreeMap<String, String>,
    pub(crate) series: BTreeMap<Arc<str>, Series>,
    console: Option<StoredConsole>,
    stored_console: String,
    reading: Reading,
    /// Number of points of all metrics.
    points: usize,
    /// Number that is greater after each change.
    version: u64,
}

/// Points that are kept while a run is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All points.
    #[default]
    Points,
    /// All points, and those that have come, until they are taken by [`LiveRun::take_new_points`].
    NewPoints,
    /// None, to find out which runs there are.
    Survey,
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
    pub(super) fn of_journal(run: &JournalRun, reading: Reading) -> Self {
        Self {
            reading,
            key: Some(run.key.clone()),
            run_id: run.resumed_run_id.clone(),
            experiment: { run.experiment_name.clone() }.or_else(|| run.experiment_id.clone()),
            ..Self::default()
        }
    }

    /// Creates a run of the store.
    pub(super) fn of_store(run: Run, reading: Reading) -> Self {
        let mut new = Self {
            reading,
            ..Self::default()
        };
        new.set_record(run, Vec::new());
        new
    }

    /// Returns the same run, of which nothing was read yet.
    pub(super) fn unread(&self, reading: Reading) -> Self {
        Self {
            key: self.key.clone(),
            run_id: self.run_id.clone(),
            name: self.name.clone(),
            experiment: self.experiment.clone(),
            reading,
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
        let stored = self.stored.as_ref().map(|run| run.status);
        let has_ended =
            |status: &RunStatus| !matches!(status, RunStatus::Running | RunStatus::Scheduled);
        let logged = self.logged_end.map(|(status, _)| status);
        match logged.or(stored.filter(has_ended)) {
            Some(status) => State::Ended(status),
            None if self.process == Process::Gone => State::Abandoned,
            None => State::Running,
        }
    }

    /// Returns the start in ms since the Unix epoch.
    pub(crate) fn start_time_ms(&self) -> Option<i64> {
        let stored = self.stored.as_ref().and_then(|run| run.start_time_ms);
        stored.or(self.logged_start_ms)
    }

    /// Returns the end in ms since the Unix epoch; `None` for a run that goes on, or was abandoned.
    pub(crate) fn end_time_ms(&self) -> Option<i64> {
        let stored = self.stored.as_ref().and_then(|run| run.end_time_ms);
        match self.state() {
            State::Ended(_) => self.logged_end.map(|(_, end)| end).or(stored),
            State::Running | State::Abandoned => None,
        }
    }

    /// Returns the params, sorted by key.
    pub(crate) fn params(&self) -> BTreeMap<&str, &str> {
        let stored = self.stored.iter().flat_map(|run| &run.params);
        texts(stored.chain(&self.logged_params))
    }

    /// Returns the tags, sorted by key. A tag of a journal is newer than that of the store.
    pub(crate) fn tags(&self) -> BTreeMap<&str, &str> {
        let stored = self.stored.iter().flat_map(|run| &run.tags);
        texts(stored.chain(&self.logged_tags))
    }

    /// Returns true if a journal of this machine holds something of the run.
    pub(crate) fn is_in_journal(&self) -> bool {
        self.process != Process::Unknown || self.logged_start_ms.is_some()
    }

    /// Returns true if the run, of this entry of a journal, is this one.
    pub(super) fn is_logged_as(&self, run: &JournalRun) -> bool {
        let is_resumed = self.run_id.is_some() && self.run_id == run.resumed_run_id;
        is_resumed || self.key.as_ref() == Some(&run.key)
    }

    /// Returns the number of points of all metrics.
    pub(crate) fn point_count(&self) -> usize {
        self.points
    }

    /// Returns the number of points of journals that the store is not known to have.
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
            State::Ended(_) => self.end_time_ms().or_else(|| self.last_point_ms())?,
            State::Abandoned => self.last_point_ms()?,
        };
        Some((end - self.start_time_ms()?).max(0))
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
        match entry.value {
            EntryValue::Start(start) => {
                self.name = start.name;
                self.user = start.user;
                self.logged_start_ms = Some(start.start_time_ms);
                // The run goes on.
                self.logged_end = None;
                self.logged_tags.extend(start.tags);
                self.logged_params.extend(start.params);
            }
            EntryValue::Point(point) => {
                if self.reading == Reading::Survey {
                    return;
                }
                let series = match self.series.get_mut(&point.key) {
                    Some(series) => series,
                    None => {
                        let keeps_new = self.reading == Reading::NewPoints;
                        let new = || Series::new(keeps_new);
                        self.series.entry(point.key).or_insert_with(new)
                    }
                };
                let (value, time) = (point.value, point.timestamp_ms);
                if !series.log(point.step, value, time, entry.is_settled) {
                    return;
                }
                self.points += 1;
            }
            EntryValue::Param { key, value } => {
                self.logged_params.entry(key).or_insert(value);
            }
            EntryValue::Tag { key, value } => {
                self.logged_tags.insert(key, value);
            }
            EntryValue::Console(console) => self.console = Some(console),
            EntryValue::End {
                status,
                end_time_ms,
            } => self.logged_end = Some((status, end_time_ms)),
            _ => {}
        }
        self.version += 1;
    }

    /// Takes over what the store holds.
    pub(crate) fn set_record(&mut self, mut run: Run, histories: Vec<MetricHistory>) {
        // The points are in the histories, and NaN would make each record a new one.
        run.metrics.clear();
        let is_known = self.stored.as_deref() == Some(&run);
        if is_known && histories.is_empty() {
            return;
        }
        self.version += 1;
        for history in histories {
            let key: Arc<str> = Arc::from(history.key());
            let keeps_new = self.reading == Reading::NewPoints;
            let series = self.series.entry(key);
            series
                .or_insert_with(|| Series::new(keeps_new))
                .set_stored(history);
        }
        self.points = self.series.values().map(Series::len).sum();
        if is_known {
            return;
        }
        if let Some(key) = run.tag(RUN_KEY_TAG) {
            self.key = Some(key.to_owned());
        }
        self.run_id = Some(run.run_id.clone());
        self.name.clone_from(&run.name);
        self.user.clone_from(&run.user_id);
        self.experiment
            .get_or_insert_with(|| run.experiment_id.clone());
        self.stored = Some(Box::new(run));
    }

    /// Sets the name of the experiment.
    pub(super) fn set_experiment(&mut self, name: String) {
        if self.experiment.as_ref() != Some(&name) {
            self.experiment = Some(name);
            self.version += 1;
        }
    }

    /// Takes the points that have come since the last call, by time. There are none unless they are kept.
    pub(crate) fn take_new_points(&mut self) -> Vec<(Arc<str>, Point)> {
        let mut new = Vec::new();
        for (key, series) in &mut self.series {
            let points = series.take_new().into_iter();
            new.extend(points.map(|point| (Arc::clone(key), point)));
        }
        new.sort_by_key(|(_, point)| point.timestamp_ms);
        new
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

/// Returns texts by their keys. A later one replaces an earlier one.
fn texts<'t>(pairs: impl Iterator<Item = (&'t String, &'t String)>) -> BTreeMap<&'t str, &'t str> {
    pairs
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}
