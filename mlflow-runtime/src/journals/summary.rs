//! [`JournalSummary`]: values that wait in a journal, by run.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::damage::Damage;
use super::entries::{Entry, EntryValue, JournalRun};
use super::stored_journal::{JournalState, StoredJournal};
use crate::environment;
use crate::model::RunStatus;

/// Summary of a journal. Counted is what waits: what the store is not known to have. Some of that may have
/// been delivered a moment ago. See [`StoredJournal`] for an example.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JournalSummary {
    /// Path of the directory, or of the damaged file.
    pub path: PathBuf,
    /// Name of the directory, or of the damaged file.
    pub name: String,
    /// State in which the journal was found.
    pub state: JournalState,
    /// Tracking URI to which the values go, without credentials; `None` if the journal holds nothing yet, or
    /// cannot be read.
    pub destination: Option<String>,
    /// Host on which the process ran.
    pub host: Option<String>,
    /// Id of the process.
    pub process_id: Option<u32>,
    /// True if the process ran on this host.
    pub is_of_this_host: bool,
    /// Bytes of all files. The files of a live journal are larger than what they hold.
    pub disk_bytes: u64,
    /// Time of the first waiting value that has a time, in ms since the Unix epoch. Params and tags have none.
    pub first_ms: Option<i64>,
    /// Time of the last waiting value that has a time, in ms since the Unix epoch.
    pub last_ms: Option<i64>,
    /// Runs, in the order in which the journal names them.
    pub runs: Vec<RunSummary>,
    /// Parts that cannot be read.
    pub damage: Damage,
    /// Records that only a newer version of this library can deliver.
    pub unknown_records: u64,
    /// Error for which nothing of the journal could be read; `None` if it was read.
    pub error: Option<String>,
}

/// Run of a journal, with the number of its waiting values. See [`StoredJournal`] for an example.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunSummary {
    /// Local id of the run, as [`Run::key`](crate::Run::key) returns it.
    pub key: String,
    /// Name of the run; `None` if the journal does not hold the run's start.
    pub name: Option<String>,
    /// Name of the experiment; `None` if the experiment was given by its id.
    pub experiment_name: Option<String>,
    /// Id of the experiment; `None` if the experiment was given by its name.
    pub experiment_id: Option<String>,
    /// Local id of the run that this one is a child of.
    pub parent_key: Option<String>,
    /// True if the run's start waits. It is one value, with the params and tags that were given with it.
    pub start_waits: bool,
    /// Number of params that were given with the start, if the start waits.
    pub start_params: u64,
    /// Number of tags that were given with the start, automatic ones included, if the start waits.
    pub start_tags: u64,
    /// Number of points of metrics.
    pub points: u64,
    /// Number of params, without those of the start.
    pub params: u64,
    /// Number of tags, without those of the start.
    pub tags: u64,
    /// Number of artifacts.
    pub artifacts: u64,
    /// Bytes of these artifacts.
    pub artifact_bytes: u64,
    /// Length of the console log so far, in bytes. How much of it the store has is not recorded.
    pub console_bytes: u64,
    /// True if the run's end waits.
    pub end_waits: bool,
    /// Status with which the run has ended; `None` if the journal holds no end. A run without an end is closed
    /// as KILLED when the journal of its dead process is shipped.
    pub status: Option<RunStatus>,
}

impl JournalSummary {
    /// Returns the number of values that wait. A value is a point of a metric, a param, a tag, an artifact, or
    /// the start or end of a run. See [`StoredJournal`] for an example.
    #[must_use]
    pub fn waiting_values(&self) -> u64 {
        self.runs.iter().map(RunSummary::waiting_values).sum()
    }

    /// Returns the length of all console logs, in bytes. See [`StoredJournal`] for an example.
    #[must_use]
    pub fn console_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.console_bytes).sum()
    }
}

impl RunSummary {
    /// Returns the number of values of the run that wait. See [`StoredJournal`] for an example.
    #[must_use]
    pub fn waiting_values(&self) -> u64 {
        let once = u64::from(self.start_waits) + u64::from(self.end_waits);
        once + self.points + self.params + self.tags + self.artifacts
    }

    fn new(run: &JournalRun) -> Self {
        Self {
            key: run.key.clone(),
            experiment_name: run.experiment_name.clone(),
            experiment_id: run.experiment_id.clone(),
            ..Self::default()
        }
    }

    /// Adds an entry. Returns the time of the entry, if it waits and has a time.
    fn add(&mut self, entry: &Entry) -> Option<i64> {
        let waits = !entry.is_settled;
        let one = u64::from(waits);
        let ms = match &entry.value {
            EntryValue::Point(point) => {
                self.points += one;
                Some(point.timestamp_ms)
            }
            EntryValue::Start(start) => {
                self.name = Some(start.name.clone());
                self.parent_key.clone_from(&start.parent_key);
                self.start_waits |= waits;
                if waits {
                    self.start_params = start.params.len() as u64;
                    self.start_tags = start.tags.len() as u64;
                }
                Some(start.start_time_ms)
            }
            EntryValue::End {
                status,
                end_time_ms,
            } => {
                self.status = Some(*status);
                self.end_waits |= waits;
                Some(*end_time_ms)
            }
            EntryValue::Param { .. } => {
                self.params += one;
                None
            }
            EntryValue::Tag { .. } => {
                self.tags += one;
                None
            }
            EntryValue::Artifact { bytes, .. }
            | EntryValue::Dataset { bytes, .. }
            | EntryValue::Model { bytes, .. } => {
                self.artifacts += one;
                self.artifact_bytes += if waits { *bytes } else { 0 };
                None
            }
            EntryValue::Console(console) => {
                self.console_bytes += console.len();
                None
            }
        };
        ms.filter(|_| waits)
    }
}

impl StoredJournal {
    /// Reads the journal and counts what waits in it.
    ///
    /// # Errors
    /// Returns an error if the journal's directory cannot be listed. A single file that cannot be read is
    /// reported in [`JournalSummary::damage`] instead.
    pub fn summary(&self) -> io::Result<JournalSummary> {
        let mut entries = self.entries()?;
        let mut runs: Vec<RunSummary> = Vec::new();
        let mut indexes: HashMap<String, usize> = HashMap::new();
        let (mut first_ms, mut last_ms) = (None::<i64>, None::<i64>);
        // Entries of one run mostly follow each other.
        let mut latest: Option<(Arc<JournalRun>, usize)> = None;
        for entry in entries.by_ref() {
            let index = match &latest {
                Some((run, index)) if Arc::ptr_eq(run, &entry.run) => *index,
                _ => *indexes.entry(entry.run.key.clone()).or_insert_with(|| {
                    runs.push(RunSummary::new(&entry.run));
                    runs.len() - 1
                }),
            };
            let Some(run) = runs.get_mut(index) else {
                continue;
            };
            if let Some(ms) = run.add(&entry) {
                first_ms = Some(first_ms.map_or(ms, |first| first.min(ms)));
                last_ms = last_ms.max(Some(ms));
            }
            latest = Some((entry.run, index));
        }
        let origin = entries.origin().cloned();
        Ok(JournalSummary {
            path: self.path().to_owned(),
            name: self.name().to_owned(),
            state: self.state(),
            destination: origin.as_ref().map(|origin| origin.destination.clone()),
            is_of_this_host: origin
                .as_ref()
                .is_some_and(|origin| origin.host == environment::for_process().host),
            host: origin.as_ref().map(|origin| origin.host.clone()),
            process_id: origin.map(|origin| origin.process_id),
            disk_bytes: self.disk_bytes(),
            first_ms,
            last_ms,
            runs,
            unknown_records: entries.unknown_records(),
            error: None,
            damage: entries.into_damage(),
        })
    }

    /// Reads the journal like [`summary`](Self::summary). If it cannot be read, the summary has the error, and
    /// nothing else that is in the journal.
    #[must_use]
    pub fn summary_or_error(&self) -> JournalSummary {
        self.summary().unwrap_or_else(|error| JournalSummary {
            path: self.path().to_owned(),
            name: self.name().to_owned(),
            state: self.state(),
            destination: None,
            host: None,
            process_id: None,
            is_of_this_host: false,
            disk_bytes: self.disk_bytes(),
            first_ms: None,
            last_ms: None,
            runs: Vec::new(),
            damage: Damage::default(),
            unknown_records: 0,
            error: Some(error.to_string()),
        })
    }
}
