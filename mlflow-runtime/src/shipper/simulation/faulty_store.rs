//! A store that fails as servers do, on top of a store in memory.
//!
//! Invariants: the store's behaviour depends only on the seed, the schedule and the order of the requests. A
//! request is carried out at one moment, completely or not at all. A run that is created twice exists twice,
//! as on a server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::{Future, pending};
use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use rustc_hash::FxHasher;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::properties::{LAST_STEP_BASE, decode_points};
use super::schedule::{Effect, Fault, Route, RunId, Schedule, Scope};
use crate::determinism::Random;
use crate::entities::FileInfo;
use crate::model::tag_keys;
use crate::model::{
    ExperimentRef, Metric, ModelMetric, ModelStatus, NewModel, Param, Registration, RunStatus,
    StoredModel, Tag,
};
use crate::shipper::deliver::points_file::FOLDER;
use crate::store::{
    ArtifactContent, Batch, BatchLimits, GroupedRun, InputDataset, MemoryStore, NewRun, Store,
    StoreError, StoreInfo, StoredRun, StoredRunData,
};
use crate::sync::lock;

/// Name under which [`Server::refused`] lists a rejected query for the last steps of a run's keys.
pub(super) const LAST_STEPS: &str = "last steps";
/// Number of requests in one moment of the simulated time from which on a shipper counts as looping forever.
const MAX_CALLS_PER_INSTANT: u32 = 50_000;

/// The server that all processes of a world share.
pub(super) struct Server {
    memory: MemoryStore,
    rows: Vec<Row>,
    faults: Vec<(Fault, Option<Instant>)>,
    deleted_experiments: BTreeSet<String>,
    batch: usize,
    concurrent_uploads: usize,
    concurrent_requests: (usize, usize),
    turns: u64,
    absorbs_repeats: bool,
    absence_is_final: bool,
    group_entries: usize,
    random: Random,
    begun: Instant,
    /// Hash of all requests and answers with their times. Two worlds with equal hashes went the same way.
    trace: FxHasher,
    log: Option<Vec<String>>,
    now: Instant,
    calls_now: u32,
    /// Entries that were rejected for good, or as contested: they need not be in the store.
    pub(super) refused: BTreeSet<(RunId, String)>,
    /// Runs that were lost when the store was wiped.
    pub(super) wiped: BTreeSet<RunId>,
    /// Artifacts that were sent although their file could not be read: violations.
    pub(super) without_file: Vec<String>,
    /// Values that a process has sent to a run after its end, although the world was orderly: violations.
    pub(super) behind_end: Vec<String>,
    /// True while nothing has failed, and each run was logged to by one thread of one process: values of other threads may
    /// be read after the end.
    pub(super) is_orderly: bool,
    /// Ended runs, each with the process that has ended it.
    ended: BTreeMap<String, usize>,
    /// Number of groups of runs that were stored.
    pub(super) groups: usize,
    /// Number of requests for values that were carried out while others of the same run were in flight.
    pub(super) beside_own_run: usize,
    /// The same, while others of another run were in flight.
    pub(super) beside_other_runs: usize,
    /// Runs whose requests for values are in flight, by process.
    in_flight: BTreeMap<usize, Vec<String>>,
}

/// A run on the server. Several runs may have the same key.
struct Row {
    key: String,
    run_id: String,
    experiment_id: String,
    created_with: BTreeMap<String, String>,
    is_deleted: bool,
    /// True for a run without a key that somebody else has created.
    is_external: bool,
}

/// A run as the server has it when the properties are checked.
pub(super) struct ServerRun {
    pub(super) data: StoredRunData,
    pub(super) is_empty: bool,
}

/// A request to the server.
struct Call<'a> {
    route: Route,
    run: Option<RunId>,
    batch: Option<&'a Batch<'a>>,
    path: Option<&'a str>,
}

/// The delays and the error that a request meets.
#[derive(Default)]
struct CallPlan {
    before: Duration,
    after: Duration,
    error: Option<StoreError>,
    is_lost: bool,
}

pub(super) fn run_key(run: RunId) -> String {
    format!("{run:032x}")
}

/// Returns the key of a logged model, which begins with its run.
pub(super) fn model_key(run: RunId, value: u32) -> String {
    format!("{run:016x}{value:016x}")
}

/// Returns the points of an artifact that is a file of those that were left out of the metrics.
fn points_in(path: &str, content: &ArtifactContent<'_>) -> Vec<Metric> {
    if !path.starts_with(FOLDER) {
        return Vec::new();
    }
    let bytes = match content {
        ArtifactContent::Bytes(bytes) => bytes.to_vec(),
        ArtifactContent::File(file) => std::fs::read(file).unwrap_or_default(),
    };
    decode_points(&bytes)
}

/// Returns the entry of [`Server::refused`] for a point in a file that was rejected.
pub(super) fn left_out_entry(step: i64) -> String {
    format!("left out {step}")
}

/// Returns the call for a logged model.
fn call_for_model(route: Route, model_id: &str) -> Call<'_> {
    let run = model_id.strip_prefix("m-").and_then(|key| key.get(..16));
    Call {
        route,
        run: run.and_then(parse_run_key),
        batch: None,
        path: Some(model_id),
    }
}

fn parse_run_key(key: &str) -> Option<RunId> {
    RunId::from_str_radix(key, 16).ok()
}

fn unavailable_error(reason: &str) -> StoreError {
    StoreError::Unavailable {
        reason: reason.into(),
        retry_after: None,
    }
}

fn blocked_error(reason: &str) -> StoreError {
    StoreError::Blocked {
        reason: reason.into(),
        everything: false,
    }
}

/// Returns the answer of a store in memory, which is always ready at once.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a store in memory does not pend"),
    }
}

impl Effect {
    /// Returns the error that replaces the request; `None` if the request is carried out.
    fn error(self) -> Option<StoreError> {
        let reason = "it is told to fail".to_owned();
        Some(match self {
            Self::Unavailable => unavailable_error(&reason),
            Self::RetryAfter(seconds) => StoreError::Unavailable {
                reason: reason.into(),
                retry_after: Some(Duration::from_secs(seconds)),
            },
            Self::Busy => StoreError::Busy {
                reason: reason.into(),
            },
            Self::Contested => StoreError::Contested {
                reason: reason.into(),
            },
            Self::Rejected => StoreError::Rejected {
                reason: reason.into(),
            },
            Self::TooLarge => StoreError::TooLarge {
                reason: reason.into(),
            },
            Self::Missing => StoreError::Missing {
                reason: reason.into(),
            },
            Self::Blocked => blocked_error(&reason),
            Self::BlockedAll => StoreError::Blocked {
                reason: reason.into(),
                everything: true,
            },
            Self::Lost | Self::SlowBefore(_) | Self::SlowAfter(_) | Self::Late(_) => return None,
        })
    }
}

/// Entry that is rejected for good if the tags of an append to a table are.
pub(super) const TABLE_ROWS: &str = "table rows";

impl Fault {
    fn meets(&self, call: &Call<'_>) -> bool {
        let is_ping = matches!(call.route, Route::Ping | Route::PingArtifacts);
        match self.scope {
            _ if self.effect == Effect::BlockedAll => true,
            Scope::Everything => true,
            Scope::Route(Route::Put) if call.route == Route::PingArtifacts => true,
            _ if is_ping => false,
            Scope::Route(route) => call.route == route,
            Scope::Run(run) => call.run == Some(run),
            Scope::RunRoute(run, route) => call.run == Some(run) && call.route == route,
            Scope::Key(run, key) => call.run == Some(run) && call.holds(key),
            Scope::Artifact(run, path) => call.run == Some(run) && call.path == Some(path),
        }
    }
}

impl Call<'_> {
    fn holds(&self, key: &str) -> bool {
        self.batch.is_some_and(|batch| {
            batch.metrics.iter().any(|metric| &*metric.key == key)
                || batch.params.iter().any(|param| param.key == key)
                || batch.tags.iter().any(|tag| tag.key == key)
        })
    }

    /// Returns the entry that is rejected for good if this request is, provided that the request has a single
    /// entry.
    fn entry(&self) -> Option<String> {
        if let Some(path) = self.path {
            return Some(format!("artifact {path}"));
        }
        let batch = self.batch?;
        if { batch.tags.iter() }.any(|tag| tag.key.starts_with(tag_keys::TABLE_APPEND)) {
            return Some(TABLE_ROWS.to_owned());
        }
        match (batch.metrics, batch.params, batch.tags) {
            ([metric], [], []) if metric.value > LAST_STEP_BASE => {
                Some(format!("returned {}", metric.value))
            }
            ([metric], [], []) => Some(format!("metric {}", metric.step)),
            ([], [param], []) => Some(format!("param {}", param.key)),
            ([], [], [tag]) => Some(format!("tag {}", tag.key)),
            _ => None,
        }
    }
}

impl Server {
    fn begin_request(&mut self, process: usize, run_id: &str) {
        let in_flight = self.in_flight.entry(process).or_default();
        in_flight.push(run_id.to_owned());
    }

    fn end_request(&mut self, process: usize, run_id: &str) {
        let in_flight = self.in_flight.entry(process).or_default();
        if let Some(at) = in_flight.iter().position(|run| run == run_id) {
            in_flight.swap_remove(at);
        }
    }

    /// Counts a request that is carried out while others of its process are in flight.
    fn count_requests_beside(&mut self, process: usize, run_id: &str) {
        let in_flight = self.in_flight.entry(process).or_default();
        let own = in_flight.iter().filter(|run| *run == run_id).count();
        self.beside_own_run += usize::from(own > 1);
        self.beside_other_runs += usize::from(in_flight.len() > own);
    }

    pub(super) fn new(schedule: &Schedule, is_logged: bool) -> Self {
        let now = Instant::now();
        Self {
            memory: MemoryStore::new(),
            rows: Vec::new(),
            faults: Vec::new(),
            deleted_experiments: BTreeSet::new(),
            batch: schedule.batch,
            concurrent_uploads: schedule.concurrent_uploads,
            concurrent_requests: schedule.concurrent_requests,
            turns: schedule.turns,
            absorbs_repeats: schedule.absorbs_repeats,
            absence_is_final: schedule.absence_is_final,
            group_entries: schedule.group_entries,
            random: Random::new(schedule.seed ^ 0x5e72),
            begun: now,
            trace: FxHasher::default(),
            log: is_logged.then(Vec::new),
            now,
            calls_now: 0,
            refused: BTreeSet::new(),
            wiped: BTreeSet::new(),
            without_file: Vec::new(),
            behind_end: Vec::new(),
            is_orderly: true,
            ended: BTreeMap::new(),
            groups: 0,
            beside_own_run: 0,
            beside_other_runs: 0,
            in_flight: BTreeMap::new(),
        }
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    pub(super) fn take_log(&mut self) -> Vec<String> {
        self.log.take().unwrap_or_default()
    }

    /// Adds a line to the log, if there is one.
    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        let ms = self.begun.elapsed().as_millis();
        if let Some(log) = &mut self.log {
            log.push(format!("{ms:>8} ms  {}", text()));
        }
    }

    pub(super) fn add_fault(&mut self, fault: Fault) {
        self.is_orderly = false;
        let until = fault
            .seconds
            .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
        self.faults.push((fault, until));
    }

    /// Ends all faults that pass by themselves.
    pub(super) fn end_temporary_faults(&mut self) {
        self.faults.retain(|(_, until)| until.is_none());
    }

    /// Ends all faults, and restores deleted experiments and runs.
    pub(super) fn heal_all(&mut self) {
        self.faults.clear();
        self.deleted_experiments.clear();
        for row in &mut self.rows {
            row.is_deleted = false;
        }
    }

    pub(super) fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().map(|(fault, _)| fault)
    }

    pub(super) fn set_experiment_deleted(&mut self, name: &str, is_deleted: bool) {
        self.is_orderly = false;
        if is_deleted {
            self.deleted_experiments.insert(name.to_owned());
        } else {
            self.deleted_experiments.remove(name);
        }
    }

    pub(super) fn is_experiment_deleted(&self, name: &str) -> bool {
        self.deleted_experiments.contains(name)
    }

    pub(super) fn set_run_deleted(&mut self, run: RunId, is_deleted: bool) {
        self.is_orderly = false;
        let key = run_key(run);
        for row in self.rows.iter_mut().filter(|row| row.key == key) {
            row.is_deleted = is_deleted;
        }
    }

    pub(super) fn is_run_deleted(&self, run: RunId) -> bool {
        let key = run_key(run);
        self.rows.iter().any(|row| row.key == key && row.is_deleted)
    }

    /// Deletes all runs. `runs`: all runs that were logged to. If the store may be another one behind the
    /// same address, these count as lost, too, because some may not be sent yet: such a store does not report
    /// that their experiment is gone.
    pub(super) fn wipe(&mut self, runs: impl Iterator<Item = RunId>) {
        self.is_orderly = false;
        if !self.absence_is_final {
            self.wiped.extend(runs);
        }
        let lost = self
            .rows
            .drain(..)
            .filter_map(|row| parse_run_key(&row.key));
        self.wiped.extend(lost);
        self.memory = MemoryStore::new();
    }

    /// Creates a run of somebody else, which a process can resume. Returns its id.
    pub(super) fn make_external(&mut self, run: RunId, experiment: &str) -> String {
        let experiment = ExperimentRef::Name(experiment.to_owned());
        let made = now_or_never(self.memory.experiment(&experiment));
        let experiment_id = made.expect("an experiment");
        let new = NewRun {
            key: &format!("external{run}"),
            experiment_id: &experiment_id,
            name: "external",
            user_id: "",
            start_time_ms: 1,
            tags: &[],
        };
        let run_id = new.key.to_owned();
        self.insert(run_key(run), &new, true).expect("a new run");
        run_id
    }

    /// Returns all runs with the key of this number.
    pub(super) fn found(&self, run: RunId) -> Vec<ServerRun> {
        let key = run_key(run);
        let rows = self.rows.iter().filter(|row| row.key == key);
        let all = self.memory.runs();
        rows.filter_map(|row| {
            let data = all.iter().find(|data| data.run_id == row.run_id)?.clone();
            let is_empty = is_untouched(row, &data);
            Some(ServerRun { data, is_empty })
        })
        .collect()
    }

    /// Returns the number of artifacts of all runs whose paths begin with `folder`.
    pub(super) fn count_artifacts_below(&self, folder: &str) -> usize {
        let runs = self.memory.runs();
        let paths = runs.iter().flat_map(|run| run.artifacts.keys());
        paths.filter(|path| path.starts_with(folder)).count()
    }

    fn row(&self, run_id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.run_id == run_id)
    }

    /// Returns the number of the run with this id.
    pub(super) fn run_with(&self, run_id: &str) -> Option<RunId> {
        self.row(run_id).and_then(|row| parse_run_key(&row.key))
    }

    fn insert(
        &mut self,
        key: String,
        new: &NewRun<'_>,
        is_external: bool,
    ) -> Result<StoredRun, StoreError> {
        if !is_external {
            if self.group_entries > 0
                && let Some((_, existing)) = self.twins(new.experiment_id, &key).first()
            {
                return self.stored(existing);
            }
            self.check_experiment(new.experiment_id)?;
        }
        let twins = self.rows.iter().filter(|row| row.key == key).count();
        let run_id = match twins {
            0 => new.key.to_owned(),
            twin => format!("{}-{twin}", new.key),
        };
        let stored = now_or_never(self.memory.create_run(&NewRun {
            key: &run_id,
            ..new.clone()
        }))?;
        self.rows.push(Row {
            key,
            run_id,
            experiment_id: new.experiment_id.to_owned(),
            created_with: new
                .tags
                .iter()
                .map(|Tag { key, value }| (key.clone(), value.clone()))
                .collect(),
            is_deleted: false,
            is_external,
        });
        Ok(stored)
    }

    /// Carries out a whole group, or nothing of it.
    fn log_runs(&mut self, runs: &[GroupedRun<'_>]) -> Result<Vec<StoredRun>, StoreError> {
        let (memory, rows) = (self.memory.deep_copy(), self.rows.len());
        let log = |run: &GroupedRun<'_>| {
            let stored = self.insert(run.new.key.to_owned(), &run.new, false)?;
            self.check_run(&stored.run_id)?;
            now_or_never(self.memory.log_batch(&stored, &run.batch))?;
            if let Some((status, end_time_ms)) = run.end {
                now_or_never(self.memory.update_run(&stored, status, Some(end_time_ms)))?;
            }
            Ok(stored)
        };
        let logged: Result<Vec<StoredRun>, StoreError> = runs.iter().map(log).collect();
        if logged.is_ok() {
            self.groups += 1;
        } else {
            self.memory = memory;
            self.rows.truncate(rows);
        }
        logged
    }

    fn check_experiment(&self, id: &str) -> Result<(), StoreError> {
        let experiments = self.memory.experiments();
        match experiments.iter().find(|experiment| experiment.id == id) {
            Some(found) if self.deleted_experiments.contains(&found.name) => {
                Err(blocked_error("the experiment is deleted"))
            }
            Some(_) => Ok(()),
            None => Err(blocked_error("there is no such experiment")),
        }
    }

    fn check_run(&self, run_id: &str) -> Result<(), StoreError> {
        let row = self.row(run_id).ok_or_else(|| StoreError::Missing {
            reason: "there is no such run".into(),
        })?;
        if row.is_deleted {
            return Err(blocked_error("the run is deleted"));
        }
        self.check_experiment(&row.experiment_id)
    }

    /// Returns the runs with this key, each with a flag that is true for an empty run. The run to adopt is
    /// the first.
    fn twins(&self, experiment_id: &str, key: &str) -> Vec<(bool, String)> {
        let is =
            |row: &&Row| row.key == key && row.experiment_id == experiment_id && !row.is_external;
        let all = self.memory.runs();
        let mut twins: Vec<_> = self
            .rows
            .iter()
            .filter(is)
            .filter_map(|row| {
                let data = all.iter().find(|data| data.run_id == row.run_id)?;
                Some((is_untouched(row, data), row.is_deleted, row.run_id.clone()))
            })
            .collect();
        // The sort is stable: runs with equal flags stay in the order of their creation.
        twins.sort_by_key(|(is_empty, is_deleted, _)| (*is_empty, *is_deleted));
        twins
            .into_iter()
            .map(|(is_empty, _, run_id)| (is_empty, run_id))
            .collect()
    }

    /// Deletes the empty runs with this key except for the run to adopt, and returns the id of that run.
    fn find(&mut self, experiment_id: &str, key: &str) -> Option<String> {
        let mut twins = self.twins(experiment_id, key).into_iter();
        let (_, adopted) = twins.next()?;
        for (is_empty, run_id) in twins {
            if is_empty {
                self.rows.retain(|row| row.run_id != run_id);
            }
        }
        Some(adopted)
    }

    fn stored(&self, run_id: &str) -> Result<StoredRun, StoreError> {
        now_or_never(self.memory.get_run(run_id))
    }

    fn plan(&mut self, process: usize, call: &Call<'_>) -> CallPlan {
        let now = Instant::now();
        self.calls_now = if now == self.now {
            self.calls_now + 1
        } else {
            0
        };
        self.now = now;
        assert!(
            self.calls_now < MAX_CALLS_PER_INSTANT,
            "a shipper runs in a circle"
        );
        self.faults
            .retain(|(_, until)| until.is_none_or(|until| until > now));
        let mut plan = CallPlan::default();
        for index in 0..self.faults.len() {
            let fault = self.faults[index].0;
            if !fault.meets(call) || !self.random.percent(fault.percent) {
                continue;
            }
            match fault.effect {
                Effect::Lost => plan.is_lost = true,
                Effect::SlowBefore(ms) => plan.before = Duration::from_millis(ms),
                Effect::SlowAfter(ms) => plan.after = Duration::from_millis(ms),
                Effect::Late(_) => {}
                // In a store whose absences are final, a missing run is gone for good, which only `Wipe` can
                // cause.
                Effect::Missing if self.absence_is_final => {}
                effect => plan.error = plan.error.or(effect.error()),
            }
        }
        let ms = self.begun.elapsed().as_millis();
        (ms, process, call.route, call.run, call.path).hash(&mut self.trace);
        if let Some(batch) = call.batch {
            for metric in batch.metrics {
                (&*metric.key, metric.step, metric.value.to_bits()).hash(&mut self.trace);
            }
            for param in batch.params {
                (&param.key, &param.value).hash(&mut self.trace);
            }
            for tag in batch.tags {
                (&tag.key, &tag.value).hash(&mut self.trace);
            }
        }
        self.note(|| format!("process {process} asks {}", describe_call(call)));
        plan
    }

    fn answered<T>(&mut self, process: usize, call: &Call<'_>, answer: &Result<T, StoreError>) {
        let ms = self.begun.elapsed().as_millis();
        let error = answer.as_ref().err();
        (ms, process, error.map(ToString::to_string)).hash(&mut self.trace);
        if let (Some(error), Some(run)) = (error, call.run) {
            // A second value of a param is rejected by the store itself and is not listed.
            let is_told = error.to_string().contains("told to fail");
            let is_refused = matches!(
                error,
                StoreError::Rejected { .. } | StoreError::Contested { .. }
            );
            match call.entry() {
                None if is_refused && is_told && call.route == Route::Get => {
                    self.refused.insert((run, LAST_STEPS.to_owned()));
                }
                Some(entry) if is_refused && is_told => {
                    self.refused.insert((run, entry));
                }
                Some(entry) if is_refused && call.path.is_some() => {
                    self.without_file
                        .push(format!("{entry} of run {run}: {error}"));
                }
                _ => {}
            }
        }
        self.note(|| match error {
            None => format!("process {process} gets its answer"),
            Some(error) => format!("process {process} gets {error:?}"),
        });
    }
}

fn describe_call(call: &Call<'_>) -> String {
    let Call {
        route,
        run,
        batch,
        path,
    } = call;
    let mut text = format!("{route:?}");
    if let Some(run) = run {
        text += &format!(" run {run}");
    }
    if let Some(path) = path {
        text += &format!(" {path}");
    }
    if let Some(batch) = batch {
        for metric in batch.metrics {
            text += &format!(" {}@{}", metric.key, metric.step);
        }
        for param in batch.params {
            text += &format!(" {}:{}", param.key, param.value);
        }
        for tag in batch.tags {
            text += &format!(" {}={}", tag.key, tag.value);
        }
    }
    text
}

/// Returns true for a run that has nothing but what it was created with.
fn is_untouched(row: &Row, data: &StoredRunData) -> bool {
    let own = [tag_keys::RUN_NAME, tag_keys::RUN_KEY];
    let mut tags = data
        .tags
        .iter()
        .filter(|(key, _)| !own.contains(&key.as_str()));
    data.status == RunStatus::Running
        && data.metrics.is_empty()
        && data.params.is_empty()
        && data.artifacts.is_empty()
        && data.models.is_empty()
        && tags.all(|(key, value)| row.created_with.get(key) == Some(value))
}

/// The moment at which a process dies.
pub(super) struct ScheduledDeath {
    /// Number of requests left until the death, and a flag: true if the last request is still carried out.
    at: Mutex<Option<(u32, bool)>>,
    /// Number of changes of files left until the death.
    changes: Mutex<Option<u32>>,
    is_met: Mutex<bool>,
    met: Arc<Notify>,
}

impl ScheduledDeath {
    /// Returns a death without a time, which notifies `met` when it occurs.
    pub(super) fn new(met: &Arc<Notify>) -> Self {
        Self {
            at: Mutex::default(),
            changes: Mutex::default(),
            is_met: Mutex::default(),
            met: Arc::clone(met),
        }
    }

    pub(super) fn set(&self, calls: u32, is_done: bool) {
        *lock(&self.at) = Some((calls, is_done));
    }

    /// Cancels the death.
    pub(super) fn lift(&self) {
        *lock(&self.at) = None;
        *lock(&self.changes) = None;
    }

    /// Returns true if a death at a request was cancelled while that request was on its way.
    fn is_lifted(&self) -> bool {
        lock(&self.at).is_none()
    }

    pub(super) fn changes(&self) -> Option<u32> {
        *lock(&self.changes)
    }

    pub(super) fn set_changes(&self, changes: Option<u32>) {
        *lock(&self.changes) = changes;
    }

    pub(super) fn is_met(&self) -> bool {
        *lock(&self.is_met)
    }

    /// Counts a request. Returns `None` if the process survives it, else false if the process dies before the
    /// request is carried out, and true if it dies after that.
    fn count(&self) -> Option<bool> {
        let mut at = lock(&self.at);
        let (calls, is_done) = at.as_mut()?;
        *calls = calls.saturating_sub(1);
        (*calls == 0).then_some(*is_done)
    }

    pub(super) async fn meet<T>(&self) -> T {
        *lock(&self.is_met) = true;
        self.met.notify_one();
        pending().await
    }
}

/// A store as one process accesses it: the server, with the process's scheduled death.
pub(super) struct FaultyStore {
    pub(super) server: Arc<Mutex<Server>>,
    pub(super) process: usize,
    pub(super) death: Arc<ScheduledDeath>,
}

impl FaultyStore {
    fn server(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }

    async fn ask<T>(
        &self,
        call: Call<'_>,
        run_batch: impl FnOnce(&mut Server) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.ask_for_all(&[call], run_batch).await
    }

    /// Sends a request that meets the faults of each of these calls, and is answered as the first one.
    async fn ask_for_all<T>(
        &self,
        calls: &[Call<'_>],
        run_batch: impl FnOnce(&mut Server) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let dies = self.death.count();
        let mut plan = CallPlan::default();
        for call in calls {
            let one = self.server().plan(self.process, call);
            plan = CallPlan {
                before: plan.before.max(one.before),
                after: plan.after.max(one.after),
                error: plan.error.or(one.error),
                is_lost: plan.is_lost || one.is_lost,
            };
        }
        let CallPlan {
            before,
            after,
            error,
            is_lost,
        } = plan;
        if dies == Some(false) {
            self.death.meet::<()>().await;
        }
        self.let_others_go_first().await;
        sleep_if_nonzero(before).await;
        let mut answer = match error {
            Some(error) => Err(error),
            None => run_batch(&mut self.server()),
        };
        self.let_others_go_first().await;
        if dies == Some(true) && !self.death.is_lifted() {
            self.death.meet::<()>().await;
        }
        sleep_if_nonzero(after).await;
        if is_lost && answer.is_ok() {
            answer = Err(unavailable_error("its answer was lost"));
        }
        if let Some(call) = calls.first() {
            self.server().answered(self.process, call, &answer);
        }
        answer
    }

    /// Lets requests that are in flight, too, go first.
    async fn let_others_go_first(&self) {
        let turns = {
            let mut server = self.server();
            let most = server.turns;
            server.random.below(most + 1)
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    fn call_for_run<'a>(&self, route: Route, run: &StoredRun) -> Call<'a> {
        Call {
            route,
            run: self.server().run_with(&run.run_id),
            batch: None,
            path: None,
        }
    }
}

async fn sleep_if_nonzero(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn call_for_key<'a>(route: Route, key: &str) -> Call<'a> {
    Call {
        route,
        run: parse_run_key(key),
        batch: None,
        path: None,
    }
}

fn call_without_run<'a>(route: Route) -> Call<'a> {
    Call {
        route,
        run: None,
        batch: None,
        path: None,
    }
}

#[async_trait(?Send)]
impl Store for FaultyStore {
    fn uri(&self) -> String {
        "simulated".to_owned()
    }

    fn limits(&self) -> BatchLimits {
        let total = self.server().batch;
        BatchLimits {
            total,
            metrics: total,
            params: total,
            tags: total,
        }
    }

    fn concurrent_uploads(&self) -> usize {
        self.server().concurrent_uploads
    }

    fn concurrent_requests(&self) -> RangeInclusive<usize> {
        let (least, most) = self.server().concurrent_requests;
        least..=most
    }

    fn absorbs_repeats(&self) -> bool {
        self.server().absorbs_repeats
    }

    fn absence_is_final(&self) -> bool {
        self.server().absence_is_final
    }

    fn run_url(&self, _run: &StoredRun) -> Option<String> {
        None
    }

    async fn experiment(&self, experiment: &ExperimentRef) -> Result<String, StoreError> {
        self.ask(call_without_run(Route::Experiment), |server| {
            let name = match experiment {
                ExperimentRef::Name(name) => name,
                ExperimentRef::Id(id) => id,
            };
            if server.is_experiment_deleted(name) {
                return Err(blocked_error("the experiment is deleted"));
            }
            now_or_never(server.memory.experiment(experiment))
        })
        .await
    }

    async fn create_run(&self, run: &NewRun<'_>) -> Result<StoredRun, StoreError> {
        let call = call_for_key(Route::Create, run.key);
        // Checked before the request: the request is answered before it is carried out.
        let late = {
            let mut server = self.server();
            let now = Instant::now();
            let faults: Vec<Fault> = server
                .faults
                .iter()
                .filter(|(_, until)| until.is_none_or(|until| until > now))
                .map(|(fault, _)| *fault)
                .collect();
            faults.into_iter().find_map(|fault| match fault.effect {
                // A store that takes groups never creates a run twice.
                Effect::Late(ms)
                    if server.group_entries == 0
                        && fault.meets(&call)
                        && server.random.percent(fault.percent) =>
                {
                    Some(Duration::from_millis(ms))
                }
                _ => None,
            })
        };
        let Some(late) = late else {
            return self
                .ask(call, |server| server.insert(run.key.to_owned(), run, false))
                .await;
        };
        let server = Arc::clone(&self.server);
        let (key, experiment_id) = (run.key.to_owned(), run.experiment_id.to_owned());
        let (name, tags, start_time_ms) =
            (run.name.to_owned(), run.tags.to_vec(), run.start_time_ms);
        tokio::task::spawn_local(async move {
            sleep(late).await;
            let new = NewRun {
                key: &key,
                experiment_id: &experiment_id,
                name: &name,
                user_id: "",
                start_time_ms,
                tags: &tags,
            };
            let mut server = lock(&server);
            server.note(|| format!("the server creates run {key}, late"));
            let _ = server.insert(key.clone(), &new, false);
        });
        self.ask(call, |_| Err(unavailable_error("it was given up")))
            .await
    }

    async fn find_run(
        &self,
        experiment_id: &str,
        key: &str,
    ) -> Result<Option<StoredRun>, StoreError> {
        self.ask(call_for_key(Route::Find, key), |server| {
            let found = server.find(experiment_id, key);
            found.map(|run_id| server.stored(&run_id)).transpose()
        })
        .await
    }

    async fn find_run_of_another(
        &self,
        experiment_id: &str,
        key: &str,
    ) -> Result<Option<StoredRun>, StoreError> {
        self.ask(call_for_key(Route::Find, key), |server| {
            let twins = server.twins(experiment_id, key);
            let are_alike = twins.len() > 1;
            let adopted = twins
                .into_iter()
                .next()
                .filter(|(is_empty, _)| !is_empty || !are_alike);
            adopted
                .map(|(_, run_id)| server.stored(&run_id))
                .transpose()
        })
        .await
    }

    async fn delete_duplicates(&self, experiment_id: &str, key: &str) -> Result<bool, StoreError> {
        self.ask(call_for_key(Route::Find, key), |server| {
            server.find(experiment_id, key);
            Ok(true)
        })
        .await
    }

    async fn get_run(&self, run_id: &str) -> Result<StoredRun, StoreError> {
        let mut call = call_without_run(Route::Get);
        call.run = self.server().run_with(run_id);
        self.ask(call, |server| {
            server.check_run(run_id)?;
            server.stored(run_id)
        })
        .await
    }

    async fn log_batch(&self, run: &StoredRun, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut call = self.call_for_run(Route::Batch, run);
        call.batch = Some(batch);
        self.server().begin_request(self.process, &run.run_id);
        let answer = self
            .ask(call, |server| {
                server.count_requests_beside(self.process, &run.run_id);
                if server.is_orderly && server.ended.get(&run.run_id) == Some(&self.process) {
                    server.behind_end.push(format!("of run {}", run.run_id));
                }
                server.check_run(&run.run_id)?;
                now_or_never(server.memory.log_batch(run, batch))
            })
            .await;
        self.server().end_request(self.process, &run.run_id);
        answer
    }

    fn max_group_entries(&self) -> usize {
        self.server().group_entries
    }

    async fn log_runs(&self, runs: &[GroupedRun<'_>]) -> Result<Vec<StoredRun>, StoreError> {
        let calls: Vec<Call<'_>> = { runs.iter() }
            .flat_map(|run| {
                let batch = Call {
                    batch: Some(&run.batch),
                    ..call_for_key(Route::Batch, run.new.key)
                };
                let end = run.end.map(|_| call_for_key(Route::Update, run.new.key));
                [call_for_key(Route::Create, run.new.key), batch]
                    .into_iter()
                    .chain(end)
            })
            .collect();
        self.ask_for_all(&calls, |server| server.log_runs(runs))
            .await
    }

    async fn log_inputs(&self, run: &StoredRun, inputs: &[InputDataset]) -> Result<(), StoreError> {
        self.ask(self.call_for_run(Route::Batch, run), |server| {
            server.check_run(&run.run_id)?;
            now_or_never(server.memory.log_inputs(run, inputs))
        })
        .await
    }

    async fn update_run(
        &self,
        run: &StoredRun,
        status: RunStatus,
        end_time_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        self.ask(self.call_for_run(Route::Update, run), |server| {
            server.check_run(&run.run_id)?;
            if status != RunStatus::Running {
                server.ended.insert(run.run_id.clone(), self.process);
            }
            now_or_never(server.memory.update_run(run, status, end_time_ms))
        })
        .await
    }

    async fn is_running(&self, run: &StoredRun) -> Result<bool, StoreError> {
        self.ask(self.call_for_run(Route::Running, run), |server| {
            server.check_run(&run.run_id)?;
            now_or_never(server.memory.is_running(run))
        })
        .await
    }

    async fn last_steps(&self, run: &StoredRun) -> Result<HashMap<String, i64>, StoreError> {
        self.ask(self.call_for_run(Route::Get, run), |server| {
            server.check_run(&run.run_id)?;
            now_or_never(server.memory.last_steps(run))
        })
        .await
    }

    async fn tag(&self, run: &StoredRun, key: &str) -> Result<Option<String>, StoreError> {
        self.ask(self.call_for_run(Route::Tag, run), |server| {
            server.check_run(&run.run_id)?;
            now_or_never(server.memory.tag(run, key))
        })
        .await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.ask(call_without_run(Route::Ping), |server| {
            now_or_never(server.memory.info())
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.ask(call_without_run(Route::Ping), |_| Ok(())).await
    }

    async fn ping_artifacts(&self, run: &StoredRun) -> Result<(), StoreError> {
        self.ask(self.call_for_run(Route::PingArtifacts, run), |_| Ok(()))
            .await
    }

    async fn get_artifact(
        &self,
        run: &StoredRun,
        path: &str,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut call = self.call_for_run(Route::Get, run);
        call.path = Some(path);
        self.ask(call, |server| {
            server.check_run(&run.run_id)?;
            now_or_never(server.memory.get_artifact(run, path, max_bytes))
        })
        .await
    }

    async fn put_artifact(
        &self,
        run: &StoredRun,
        path: &str,
        content: ArtifactContent<'_>,
    ) -> Result<(), StoreError> {
        let mut call = self.call_for_run(Route::Put, run);
        call.path = Some(path);
        let number = call.run;
        let left_out = points_in(path, &content);
        let answer = self
            .ask(call, |server| {
                server.check_run(&run.run_id)?;
                now_or_never(server.memory.put_artifact(run, path, content))
            })
            .await;
        if let (Err(StoreError::Rejected { .. }), Some(run)) = (&answer, number) {
            let entries = left_out
                .iter()
                .map(|point| (run, left_out_entry(point.step)));
            lock(&self.server).refused.extend(entries);
        }
        answer
    }

    async fn list_folder(
        &self,
        run: &StoredRun,
        folder: &str,
    ) -> Result<Vec<FileInfo>, StoreError> {
        self.ask(self.call_for_run(Route::Get, run), |server| {
            server.check_run(&run.run_id)?;
            now_or_never(server.memory.list_folder(run, folder))
        })
        .await
    }

    async fn delete_artifact(&self, run: &StoredRun, path: &str) -> Result<(), StoreError> {
        self.ask(self.call_for_run(Route::Put, run), |server| {
            server.check_run(&run.run_id)?;
            now_or_never(server.memory.delete_artifact(run, path))
        })
        .await
    }

    async fn create_model(
        &self,
        run: &StoredRun,
        model: &NewModel<'_>,
    ) -> Result<StoredModel, StoreError> {
        let id = format!("m-{}", model.key);
        self.ask(call_for_model(Route::Batch, &id), |server| {
            server.check_run(&run.run_id)?;
            now_or_never(server.memory.create_model(run, model))
        })
        .await
    }

    async fn model_status(&self, model: &StoredModel) -> Result<ModelStatus, StoreError> {
        self.ask(call_for_model(Route::Get, &model.model_id), |server| {
            now_or_never(server.memory.model_status(model))
        })
        .await
    }

    async fn set_model_status(
        &self,
        model: &StoredModel,
        status: ModelStatus,
    ) -> Result<(), StoreError> {
        self.ask(call_for_model(Route::Update, &model.model_id), |server| {
            now_or_never(server.memory.set_model_status(model, status))
        })
        .await
    }

    async fn describe_model(
        &self,
        model: &StoredModel,
        params: &[Param],
        tags: &[Tag],
    ) -> Result<(), StoreError> {
        self.ask(call_for_model(Route::Batch, &model.model_id), |server| {
            now_or_never(server.memory.describe_model(model, params, tags))
        })
        .await
    }

    async fn put_model_file(
        &self,
        model: &StoredModel,
        path: &str,
        content: ArtifactContent<'_>,
    ) -> Result<(), StoreError> {
        self.ask(call_for_model(Route::Put, &model.model_id), |server| {
            now_or_never(server.memory.put_model_file(model, path, content))
        })
        .await
    }

    async fn list_model_files(
        &self,
        model: &StoredModel,
    ) -> Result<BTreeMap<String, Option<u64>>, StoreError> {
        self.ask(call_for_model(Route::Get, &model.model_id), |server| {
            now_or_never(server.memory.list_model_files(model))
        })
        .await
    }

    async fn register_model(
        &self,
        run: &StoredRun,
        model: &StoredModel,
        registration: &Registration<'_>,
    ) -> Result<(), StoreError> {
        self.ask(call_for_model(Route::Batch, &model.model_id), |server| {
            server.check_run(&run.run_id)?;
            now_or_never(server.memory.register_model(run, model, registration))
        })
        .await
    }

    async fn log_model_metrics(
        &self,
        run: &StoredRun,
        model: &StoredModel,
        metrics: &[ModelMetric],
    ) -> Result<(), StoreError> {
        self.ask(call_for_model(Route::Batch, &model.model_id), |server| {
            server.check_run(&run.run_id)?;
            now_or_never(server.memory.log_model_metrics(run, model, metrics))
        })
        .await
    }

    async fn log_output(
        &self,
        run: &StoredRun,
        model_id: &str,
        step: i64,
    ) -> Result<(), StoreError> {
        self.ask(call_for_model(Route::Batch, model_id), |server| {
            server.check_run(&run.run_id)?;
            now_or_never(server.memory.log_output(run, model_id, step))
        })
        .await
    }

    async fn log_model_input(&self, run: &StoredRun, model_id: &str) -> Result<(), StoreError> {
        self.ask(call_for_model(Route::Batch, model_id), |server| {
            server.check_run(&run.run_id)?;
            now_or_never(server.memory.log_model_input(run, model_id))
        })
        .await
    }
}
