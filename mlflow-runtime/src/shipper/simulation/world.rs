//! A world: processes that share a directory of journals and a server, and the events of a schedule.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::Event as Happens;
use super::faulty_store::{ScheduledDeath, Server, model_key, run_key};
use super::process::Process;
use super::properties::{
    ExpectedRun, ExpectedRuns, LAST_STEP_BASE, LastStepPoint, Violation, check_numbers,
};
use super::schedule::{
    Effect, EntryTarget, Fault, METRICS, PARAMS, PATHS, PROCESSES, RunId, START_PARAMS, Schedule,
    ScheduledEvent, Scope, TABLE, TAGS,
};
use crate::determinism;
use crate::journal::record::{ArtifactLocation, Event, RunStart};
use crate::model::limits;
use crate::model::logged_model::ModelPath;
use crate::model::metric_key::Key;
use crate::model::{
    ArtifactKind, ExperimentRef, NewModel, Param, PointRate, RunStatus, TableChunk, Tag,
};
use crate::model::{Role, RunIdentity};
use crate::shipper::FlushScope;
use crate::shipper::deliver::points_file::FOLDER;
use crate::sync::lock;
use crate::time;

/// Timeout of a clean exit, the default of `MLFLOW_EXIT_TIMEOUT`.
const EXIT: Duration = Duration::from_secs(5);
/// Time after which the store must have everything that it would accept.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(180);
/// Duration of the outage at the end: long enough for all pauses to grow to their maximum.
const OUTAGE_DURATION: Duration = Duration::from_secs(120);
/// Time for which a flush has been waiting when the store recovers.
const FLUSH_LEAD_TIME: Duration = Duration::from_secs(5);
/// Time that a flush may take from the store's recovery on, however long the pause is that the shipper is in.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest interval between two lookups of a run that the store does not have. A run that a dead process has
/// started is created by the process that has claimed its journal, and no other process can request an
/// earlier lookup.
const MAX_LOOKUP_INTERVAL: Duration = Duration::from_secs(60);
/// Time between the store's recovery and the end of the processes.
const HEALTHY_PERIOD: Duration = Duration::from_secs(120);
/// Timeout for the last flush of each process.
const FINAL_TIMEOUT: Duration = Duration::from_secs(600);

/// Limit of the wall-clock time of a world, which normally takes some milliseconds.
const WALL_CLOCK_TIMEOUT: Duration = Duration::from_secs(10);

static KEYS: [Key; 3] = [
    Key::new(METRICS[0]),
    Key::new(METRICS[1]),
    Key::new(METRICS[2]),
];

/// The outcome of a world.
pub(super) struct Outcome {
    /// Hash of all requests and answers. Equal for two worlds that went the same way.
    pub(super) trace: u64,
    pub(super) failure: Option<Violation>,
    pub(super) log: Vec<String>,
    /// Number of groups of runs that were stored.
    pub(super) groups: usize,
    /// Number of requests for values that were carried out while others of the same run were in flight.
    pub(super) beside_own_run: usize,
    /// The same, while others of another run were in flight.
    pub(super) beside_other_runs: usize,
    /// Number of files with points that were left out of the metrics.
    pub(super) points_files: usize,
}

/// Runs a world from its beginning to its end, on a thread of its own, because threads remember their
/// journals.
pub(super) fn run_world(schedule: &Schedule, is_logged: bool) -> Outcome {
    let (done, outcome) = mpsc::channel();
    let own = schedule.clone();
    let spawned = std::thread::spawn(move || {
        let _ = done.send(run_on_this_thread(&own, is_logged));
    });
    match outcome.recv_timeout(WALL_CLOCK_TIMEOUT) {
        Ok(outcome) => {
            spawned.join().expect("it has ended");
            outcome
        }
        Err(error) => panic!("no end of it ({error}):\n{schedule}"),
    }
}

fn run_on_this_thread(schedule: &Schedule, is_logged: bool) -> Outcome {
    determinism::seed_thread(schedule.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        determinism::start_simulated_clock();
        let mut world = World::new(schedule, is_logged);
        let failure = world.run_steps(&schedule.steps).await.err();
        for process in world.processes.iter_mut().filter_map(Option::take) {
            process.die().await;
        }
        let mut server = lock(&world.server);
        Outcome {
            trace: server.trace(),
            failure,
            log: server.take_log(),
            groups: server.groups,
            beside_own_run: server.beside_own_run,
            beside_other_runs: server.beside_other_runs,
            points_files: server.count_artifacts_below(FOLDER),
        }
    })
}

/// A directory for one world, deleted when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mlflow-runtime-simulation-{}-{number}", std::process::id());
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            memory.join(name)
        } else {
            std::env::temp_dir().join(name)
        };
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct World {
    root: Folder,
    segment_bytes: u64,
    point_rate: Option<PointRate>,
    server: Arc<Mutex<Server>>,
    processes: [Option<Process>; PROCESSES],
    /// Number of processes spawned so far; each gets the next number.
    spawned: usize,
    model: ExpectedRuns,
    /// Notified when a process dies by its scheduled death.
    deaths: Arc<Notify>,
    next_step: i64,
    next_witness: RunId,
    /// Runs that their process has ended.
    closed: BTreeSet<RunId>,
}

impl World {
    fn new(schedule: &Schedule, is_logged: bool) -> Self {
        let server = Server::new(schedule, is_logged);
        Self {
            root: Folder::new(),
            segment_bytes: schedule.segment_bytes,
            point_rate: schedule.point_rate,
            server: Arc::new(Mutex::new(server)),
            processes: Default::default(),
            spawned: 0,
            model: ExpectedRuns {
                are_points_left_out: schedule.point_rate.is_some(),
                ..ExpectedRuns::default()
            },
            deaths: Arc::default(),
            next_step: 1,
            next_witness: 10_000,
            closed: BTreeSet::new(),
        }
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }

    async fn run_steps(&mut self, steps: &[ScheduledEvent]) -> Result<(), Violation> {
        for ScheduledEvent { after_ms, event } in steps {
            self.advance_time(Duration::from_millis(*after_ms)).await?;
            self.apply_event(event).await?;
            self.check_now()?;
        }
        self.advance_time(Duration::from_millis(1)).await?;
        self.check_progress().await?;
        self.finish().await
    }

    /// Advances the simulated time. Processes that die meanwhile are removed at once.
    async fn advance_time(&mut self, time: Duration) -> Result<(), Violation> {
        let until = Instant::now() + time;
        loop {
            let is_over = tokio::select! {
                biased;
                () = self.deaths.notified() => false,
                () = sleep_until(until) => true,
            };
            self.reap_dead().await?;
            if is_over {
                return Ok(());
            }
        }
    }

    /// Removes the processes that have died by their scheduled death.
    async fn reap_dead(&mut self) -> Result<(), Violation> {
        for slot in 0..PROCESSES {
            let Some(process) = &mut self.processes[slot] else {
                continue;
            };
            if let Some(text) = process.fault().await {
                let property = "the shipper goes on";
                return Err(Violation { property, text });
            }
            if process.is_dead() {
                self.kill(slot).await;
            }
        }
        Ok(())
    }

    /// Checks the properties that hold at any time.
    fn check_now(&self) -> Result<(), Violation> {
        if let Some(text) = self.server().without_file.first() {
            return Err(Violation {
                property: "an artifact keeps its file",
                text: text.clone(),
            });
        }
        if let Some(text) = self.server().behind_end.first() {
            return Err(Violation {
                property: "the end of a run comes last",
                text: text.clone(),
            });
        }
        let mut living = self.processes.iter().flatten();
        living.try_for_each(|process| check_numbers(process, false))
    }

    async fn kill(&mut self, slot: usize) {
        if let Some(process) = self.processes[slot].take() {
            self.mark_orphaned(&process);
            self.server()
                .note(|| format!("the process in slot {slot} dies"));
            process.die().await;
        }
    }

    /// Marks the runs of a process as orphaned: other processes have to end them.
    fn mark_orphaned(&mut self, process: &Process) {
        for (run, own) in &process.runs {
            if !own.is_inherited
                && let Some(logged) = self.model.runs.get_mut(run)
            {
                logged.is_orphan = true;
            }
        }
    }

    fn spawn(&mut self, slot: usize) {
        if self.processes[slot].is_some() {
            return;
        }
        self.spawned += 1;
        let number = self.spawned;
        self.server()
            .note(|| format!("process {number} begins in slot {slot}"));
        let death = ScheduledDeath::new(&self.deaths);
        let process = Process::start(
            &self.root.0,
            self.segment_bytes,
            // What a process leaves behind may be shipped by one with other settings.
            self.point_rate.filter(|_| slot < PROCESSES - 1),
            &self.server,
            number,
            death,
        );
        self.processes[slot] = Some(process);
    }

    /// Ends the runs that a process has open, as its exit hook does, and then the process. Returns true if
    /// everything was delivered within `patience`.
    async fn exit(&mut self, slot: usize, patience: Duration) -> bool {
        let Some(process) = self.processes[slot].take() else {
            return true;
        };
        self.server()
            .note(|| format!("the process in slot {slot} ends"));
        let open: Vec<RunId> = process
            .runs
            .iter()
            .filter(|(run, own)| !own.is_inherited && !self.closed.contains(run))
            .map(|(run, _)| *run)
            .collect();
        self.processes[slot] = Some(process);
        for run in open {
            let to = EntryTarget {
                run,
                process: slot,
                on_thread: false,
            };
            self.log_end(to, RunStatus::Killed);
        }
        let Some(process) = self.processes[slot].take() else {
            return true;
        };
        process.exit(patience).await
    }

    /// Returns the process that can log this entry, and the expectations for its run.
    fn writer(&mut self, to: EntryTarget) -> Option<(&Process, &mut ExpectedRun)> {
        let process = self.processes[to.process].as_ref()?;
        let own = process.runs.get(&to.run)?;
        // The handles of a run that has ended are dropped.
        if self.closed.contains(&to.run) && !own.is_inherited {
            return None;
        }
        let logged = self.model.runs.get_mut(&to.run)?;
        Some((process, logged))
    }

    /// Returns a key's name for this process. A forked process gets names of its own: the order in which two
    /// processes log the same key is undefined.
    fn named(key: &str, to: EntryTarget, process: &Process) -> String {
        if process.runs[&to.run].is_inherited {
            format!("{key}.{}", to.process)
        } else {
            key.to_owned()
        }
    }

    async fn apply_event(&mut self, event: &Happens) -> Result<(), Violation> {
        let event = *event;
        self.server().note(|| format!("{event:?}"));
        if let Happens::Fork { .. }
        | Happens::Metrics {
            to: EntryTarget {
                on_thread: true, ..
            },
            ..
        }
        | Happens::Start {
            to: EntryTarget {
                on_thread: true, ..
            },
            ..
        }
        | Happens::Returned {
            to: EntryTarget {
                on_thread: true, ..
            },
            ..
        }
        | Happens::Param {
            to: EntryTarget {
                on_thread: true, ..
            },
            ..
        }
        | Happens::Tag {
            to: EntryTarget {
                on_thread: true, ..
            },
            ..
        }
        | Happens::End {
            to: EntryTarget {
                on_thread: true, ..
            },
            ..
        } = event
        {
            self.server().is_orderly = false;
        }
        match event {
            Happens::Spawn { process } => self.spawn(process),
            Happens::Fork { parent, child } => self.fork(parent, child),
            Happens::Kill { process } => self.kill(process).await,
            Happens::KillAtCall {
                process,
                calls,
                is_done,
            } => {
                if let Some(process) = &self.processes[process] {
                    process.death.set(calls, is_done);
                }
            }
            Happens::KillAtChange { process, changes } => {
                if let Some(process) = &self.processes[process] {
                    process.death.set_changes(Some(changes));
                }
            }
            Happens::Exit { process } => {
                self.exit(process, EXIT).await;
            }
            Happens::Flush { process } => {
                if let Some(process) = &self.processes[process] {
                    process.flush_queue.request();
                    process.journal.wakeup.notify_shipper();
                }
            }
            Happens::Start {
                to,
                parent,
                experiment,
                is_resumed,
                params,
            } => self.log_start(to, parent, experiment, is_resumed, params),
            Happens::Returned { to, key, value } => self.log_returned(to, key, value),
            Happens::Metrics {
                to,
                key,
                count,
                is_interned,
            } => self.log_metrics(to, key, count, is_interned),
            Happens::Param { to, key, value } => self.log_param(to, key, value),
            Happens::Tag { to, key, value } => self.log_tag(to, key, value),
            Happens::Artifact {
                to,
                path,
                bytes,
                is_spooled,
                value,
            } => {
                let mut content = vec![b'.'; bytes];
                content.extend_from_slice(value.to_string().as_bytes());
                self.log_artifact(to, path, is_spooled, value, &content);
            }
            Happens::Rows { to, count, value } => self.log_rows(to, count, value),
            Happens::Model { to, files, value } => self.log_model(to, files, value),
            Happens::End { to, status } => self.log_end(to, status),
            Happens::Fault(fault) => self.server().add_fault(fault),
            Happens::Heal => self.server().end_temporary_faults(),
            Happens::DeleteExperiment(number) => {
                self.server()
                    .set_experiment_deleted(&experiment_name(number), true);
            }
            Happens::RestoreExperiment(number) => {
                self.server()
                    .set_experiment_deleted(&experiment_name(number), false);
            }
            Happens::DeleteRun(run) => self.server().set_run_deleted(run, true),
            Happens::RestoreRun(run) => self.server().set_run_deleted(run, false),
            Happens::Wipe => lock(&self.server).wipe(self.model.runs.keys().copied()),
        }
        self.reap_dead().await
    }

    fn fork(&mut self, parent: usize, child: usize) {
        if self.processes[parent].is_none() || self.processes[child].is_some() {
            return;
        }
        self.spawn(child);
        if let Ok([Some(parent), Some(child)]) = self.processes.get_disjoint_mut([parent, child]) {
            parent.fork_to(child);
        }
    }

    fn log_start(
        &mut self,
        to: EntryTarget,
        parent: Option<RunId>,
        experiment: u64,
        is_resumed: bool,
        params: usize,
    ) {
        let EntryTarget {
            run,
            process,
            on_thread,
        } = to;
        let start_time_ms = time::now_ms();
        let experiment = experiment_name(experiment);
        let server = Arc::clone(&self.server);
        let Some(process) = &mut self.processes[process] else {
            return;
        };
        if self.model.runs.contains_key(&run) {
            return;
        }
        let parent = parent.filter(|parent| process.runs.contains_key(parent));
        let resumed = is_resumed.then(|| lock(&server).make_external(run, &experiment));
        let identity = RunIdentity {
            key: run_key(run),
            experiment: ExperimentRef::Name(experiment.clone()),
            resumed,
            role: Role::Owner,
        };
        process.register(run, identity.clone());
        let parent_identity = parent.map(|parent| {
            let own = &process.runs[&parent];
            let mut identity = own.identity.clone();
            if own.is_inherited {
                identity.role = identity.role.inherited();
            }
            identity
        });
        let tag = Tag {
            key: TAGS[0].to_owned(),
            value: "first".to_owned(),
        };
        let given = START_PARAMS.iter().take(params).map(|key| Param {
            key: (*key).to_owned(),
            value: "1".to_owned(),
        });
        let params: Vec<Param> = given.collect();
        // Params with keys that MLflow rejects are not sent.
        let taken = params
            .iter()
            .filter(|param| limits::find_key_fault(&param.key).is_none());
        let logged = ExpectedRun {
            experiment,
            parent,
            params: taken
                .map(|param| (param.key.clone(), param.value.clone()))
                .collect(),
            tags: [(tag.key.clone(), tag.value.clone())].into(),
            ..ExpectedRun::default()
        };
        let start = RunStart {
            identity: Cow::Owned(identity),
            name: "run".into(),
            user: "u".into(),
            start_time_ms,
            parent: parent_identity.map(Cow::Owned),
            tags: vec![Cow::Owned(tag)],
            with_common_tags: false,
            is_delivered: false,
            params,
        };
        process.log(run, on_thread, &Event::Start(Box::new(start)), &[]);
        self.model.runs.insert(run, logged);
    }

    fn log_metrics(&mut self, to: EntryTarget, key: usize, count: u32, is_interned: bool) {
        let timestamp_ms = time::now_ms();
        let first = self.next_step;
        self.next_step += i64::from(count);
        let Some((process, logged)) = self.writer(to) else {
            return;
        };
        let name = METRICS[key];
        let points: Vec<(i64, i64, f64)> = (first..first + i64::from(count))
            .map(|step| (timestamp_ms, step, 0.5))
            .collect();
        if is_interned {
            process.log_metrics(to.run, to.on_thread, &KEYS[key], &points);
        } else {
            process.log_metrics(to.run, to.on_thread, name, &points);
        }
        let is_inherited = process.runs[&to.run].is_inherited;
        for (_, step, value) in points {
            if !is_inherited {
                logged.own_steps.insert(step);
            }
            logged.metrics.insert(step, (name.to_owned(), value));
        }
    }

    fn log_returned(&mut self, to: EntryTarget, key: usize, value: u32) {
        let timestamp_ms = time::now_ms() + 1;
        let Some((process, logged)) = self.writer(to) else {
            return;
        };
        let name = METRICS[key];
        let value = LAST_STEP_BASE + f64::from(value);
        process.log_returned(to.run, to.on_thread, name, timestamp_ms, value);
        let is_inherited = process.runs[&to.run].is_inherited;
        let steps = logged.own_steps.iter().copied();
        let of_key = |step: &i64| logged.metrics[step].0 == name;
        logged.returned.push(LastStepPoint {
            key: name,
            value,
            // Steps logged by other processes of the run are unknown to a process before they are stored.
            steps: if is_inherited {
                Vec::new()
            } else {
                steps.filter(of_key).collect()
            },
        });
    }

    fn log_param(&mut self, to: EntryTarget, key: usize, value: u32) {
        let Some((process, logged)) = self.writer(to) else {
            return;
        };
        let param = Param {
            key: Self::named(PARAMS[key], to, process),
            value: value.to_string(),
        };
        process.log(
            to.run,
            to.on_thread,
            &Event::Param(Cow::Borrowed(&param)),
            &[],
        );
        // The first value of a param stays.
        logged.params.entry(param.key).or_insert(param.value);
    }

    fn log_tag(&mut self, to: EntryTarget, key: usize, value: u32) {
        let Some((process, logged)) = self.writer(to) else {
            return;
        };
        let tag = Tag {
            key: Self::named(TAGS[key], to, process),
            value: value.to_string(),
        };
        process.log(to.run, to.on_thread, &Event::Tag(Cow::Borrowed(&tag)), &[]);
        logged.tags.insert(tag.key, tag.value);
    }

    fn log_artifact(
        &mut self,
        to: EntryTarget,
        path: usize,
        is_spooled: bool,
        value: u32,
        bytes: &[u8],
    ) {
        let Some((process, logged)) = self.writer(to) else {
            return;
        };
        let path = Self::named(PATHS[path], to, process);
        if is_spooled {
            process.log_spooled(to.run, to.on_thread, &path, value, bytes);
        } else {
            let event = Event::Artifact {
                path: Cow::Borrowed(&path),
                kind: ArtifactKind::File,
                content: ArtifactLocation::Attached,
                fingerprint: None,
            };
            process.log(to.run, to.on_thread, &event, bytes);
        }
        logged.artifacts.insert(path, bytes.to_vec());
    }

    fn log_rows(&mut self, to: EntryTarget, count: usize, value: u32) {
        let Some((process, logged)) = self.writer(to) else {
            return;
        };
        let path = Self::named(TABLE, to, process);
        let mut lines = String::new();
        for row in 0..count {
            lines.push_str(&format!("[{value},{row}]\n"));
        }
        let event = Event::Artifact {
            path: Cow::Borrowed(&path),
            kind: ArtifactKind::TableRows(TableChunk {
                series: to.run.into(),
                number: value.into(),
                rows: count,
            }),
            content: ArtifactLocation::Attached,
            fingerprint: None,
        };
        process.log(to.run, to.on_thread, &event, lines.as_bytes());
        let rows = logged.tables.entry(path).or_default();
        rows.extend((0..count).map(|row| (value, row)));
    }

    /// Logs the files of a model and then its record, from one thread as a call does.
    fn log_model(&mut self, to: EntryTarget, files: usize, value: u32) {
        let Some((process, logged)) = self.writer(to) else {
            return;
        };
        let key = model_key(to.run, value);
        let path = ModelPath::of_record(&NewModel {
            key: &key,
            name: "net",
            model_type: None,
        });
        let files: BTreeMap<_, _> = (0..files)
            .map(|file| {
                (
                    format!("dir/{file}.bin"),
                    format!("{value} {file}").into_bytes(),
                )
            })
            .collect();
        let log = |path: String, kind: ArtifactKind, bytes: &[u8]| {
            let event = Event::Artifact {
                path: Cow::Owned(path),
                kind,
                content: ArtifactLocation::Attached,
                fingerprint: None,
            };
            process.log(to.run, false, &event, bytes);
        };
        for (file, bytes) in &files {
            log(format!("{path}/{file}"), ArtifactKind::ModelFile, bytes);
        }
        let record = serde_json::json!({
            "files": files.iter().map(|(file, bytes)| (file, bytes.len())).collect::<BTreeMap<_, _>>(),
            "params": [{ "key": "layers", "value": "2" }],
            "tags": [{ "key": "stage", "value": "dev" }],
            "step": 3,
            "flavors": {},
            "utc_time_created": "2026-01-01 00:00:00.000000",
        });
        log(path, ArtifactKind::Model, record.to_string().as_bytes());
        logged.models.insert(key, files);
    }

    fn log_end(&mut self, to: EntryTarget, status: RunStatus) {
        let end_time_ms = time::now_ms();
        let Some((process, logged)) = self.writer(to) else {
            return;
        };
        if process.runs[&to.run].is_inherited {
            return;
        }
        let event = Event::End {
            status,
            end_time_ms,
        };
        process.log(to.run, to.on_thread, &event, &[]);
        logged.end = Some((status, end_time_ms));
        self.closed.insert(to.run);
        if let Some(process) = &mut self.processes[to.process] {
            process.close(to.run);
        }
    }

    /// Checks that everything else arrives while permanent faults last, including the entries of dead
    /// processes.
    async fn check_progress(&mut self) -> Result<(), Violation> {
        for process in self.processes.iter().flatten() {
            process.death.lift();
        }
        self.server().end_temporary_faults();
        self.server()
            .note(|| "faults that pass are over".to_owned());
        let slot = self.free_slot().await;
        self.spawn(slot);
        self.log_witness(slot);
        self.advance_time(PROGRESS_TIMEOUT).await?;
        self.check_now()?;
        self.server()
            .note(|| "what arrives has to be there".to_owned());
        let server = self.server();
        self.model.check_progress(&server)
    }

    /// Logs a complete run with params, metrics and an end.
    fn log_witness(&mut self, process: usize) {
        let run = self.next_witness;
        self.next_witness += 1;
        let to = EntryTarget {
            run,
            process,
            on_thread: false,
        };
        self.log_start(to, None, super::schedule::EXPERIMENTS, false, 1);
        self.log_metrics(to, 0, 3, false);
        self.log_end(to, RunStatus::Finished);
    }

    /// Returns a slot without a process; kills one if there is none.
    async fn free_slot(&mut self) -> usize {
        if let Some(slot) = self.processes.iter().position(Option::is_none) {
            return slot;
        }
        self.kill(0).await;
        0
    }

    /// Ends a long outage and repairs everything, while all processes wait for a flush.
    async fn end_outage(&mut self) -> Result<(), Violation> {
        let effects = [Effect::Unavailable, Effect::BlockedAll];
        self.server().add_fault(Fault {
            scope: Scope::Everything,
            effect: effects[self.model.runs.len() % effects.len()],
            percent: 100,
            seconds: None,
        });
        if let Some(slot) = self.processes.iter().position(Option::is_some) {
            self.log_witness(slot);
        }
        self.advance_time(OUTAGE_DURATION).await?;
        let mend = async {
            sleep(FLUSH_LEAD_TIME).await;
            self.server().heal_all();
            self.server().note(|| "all is mended".to_owned());
        };
        let [first, second, third, fourth] =
            [0, 1, 2, 3].map(|slot| self.flush(slot, self.flush_timeout(slot)));
        let ((), first, second, third, fourth) = tokio::join!(mend, first, second, third, fourth);
        // In a wiped store, a process may wait for a run that its owner creates anew only when it logs again.
        if self.server().wiped.is_empty() {
            first.and(second).and(third).and(fourth)?;
        }
        self.reap_dead().await
    }

    /// Returns the time that a flush may take around the end of the outage.
    fn flush_timeout(&self, slot: usize) -> Duration {
        let server = self.server();
        let process = self.processes[slot].as_ref();
        let is_own = |process: &Process, run: &RunId| {
            process.runs.get(run).is_some_and(|own| !own.is_inherited)
        };
        let living = || self.processes.iter().flatten();
        let runs = process.iter().flat_map(|process| &process.runs);
        // A run may have no living owner: the owner may even have died with the run still in its journal.
        let mut runs = runs.filter(|(run, _)| !living().any(|process| is_own(process, run)));
        let awaits_another =
            runs.any(|(run, own)| own.is_inherited && server.found(*run).is_empty());
        let look = if awaits_another {
            MAX_LOOKUP_INTERVAL
        } else {
            Duration::ZERO
        };
        FLUSH_LEAD_TIME + look + FLUSH_TIMEOUT
    }

    async fn flush(&self, slot: usize, patience: Duration) -> Result<(), Violation> {
        let Some(process) = &self.processes[slot] else {
            return Ok(());
        };
        if process.flush(FlushScope::Own, patience).await {
            return check_numbers(process, true);
        }
        if process.is_dead() {
            return Ok(());
        }
        Err(Violation {
            property: "a flush ends",
            text: format!("that of the process in slot {slot} takes {patience:?}"),
        })
    }

    /// Ends a process while the store works: everything that the process has logged has to arrive within the
    /// exit timeout.
    async fn exit_completely(&mut self, slot: usize) -> Result<(), Violation> {
        let is_complete = self.exit(slot, EXIT).await;
        if is_complete || !self.server().wiped.is_empty() {
            return Ok(());
        }
        Err(Violation {
            property: "an exit is complete",
            text: format!("that of the process in slot {slot} is not within {EXIT:?}"),
        })
    }

    /// Ends the world: repairs everything, ends all processes, and checks what is left.
    async fn finish(&mut self) -> Result<(), Violation> {
        self.end_outage().await?;
        self.advance_time(HEALTHY_PERIOD).await?;
        for slot in 0..PROCESSES {
            self.flush(slot, FINAL_TIMEOUT).await?;
            self.reap_dead().await?;
            self.check_now()?;
            self.exit_completely(slot).await?;
        }
        for _ in 0..3 {
            self.spawn(0);
            self.exit_completely(0).await?;
        }
        self.check_now()?;
        self.server().note(|| "the last process is gone".to_owned());
        let server = self.server();
        self.model.check_all(&server)?;
        let left = fs::read_dir(&self.root.0).into_iter().flatten().flatten();
        // Rejected entries are kept.
        let left = left
            .filter(|entry| !entry.file_name().to_string_lossy().starts_with("rejected"))
            .count();
        if left > 0 && server.wiped.is_empty() {
            return Err(Violation {
                property: "no journal is left",
                text: format!("{left} journals are left of the dead"),
            });
        }
        Ok(())
    }
}

fn experiment_name(number: u64) -> String {
    format!("e{number}")
}
