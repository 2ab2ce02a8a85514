//! The properties that hold in every world, whatever happens in it.
//!
//! 1. Nothing that was logged is lost or doubled: the store has each point once, the first value of each
//!    param, the last value of each tag and artifact, each row of each table, and the end that the run was given.
//! 2. Every value of a living process is counted as exactly one of delivered, rejected, blocked or queued.
//!    Rejected values are kept.
//! 3. Everything that the store would accept is there after a bounded time, whatever else it refuses.
//! 4. A flush is complete soon after the store has recovered, an exit within its timeout, and the last
//!    process leaves no journal.
//! 5. An artifact's file exists until the artifact is delivered.
//! 6. A logged model is there once, and ready when the store has all of its files. It is ready in the end unless the
//!    store has rejected a part of it.
//! 6. The shipper neither ends, nor panics, nor loops without progress.

use std::collections::{BTreeMap, BTreeSet};

use super::faulty_store::{LAST_STEPS, Server, ServerRun, TABLE_ROWS, left_out_entry};
use super::process::Process;
use super::schedule::{Effect, Route, RunId, Scope};
use crate::model::mlmodel::MLMODEL_FILE;
use crate::model::tag_keys;
use crate::model::{Metric, ModelStatus, RunStatus};
#[cfg(feature = "thinning")]
use crate::shipper::deliver::points_file;
use crate::shipper::deliver::points_file::FOLDER;
use crate::store::StoredRunData;

/// A property that does not hold.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    /// Name of the property. A smaller schedule counts as the same failure if it violates the property of
    /// this name.
    pub(super) property: &'static str,
    pub(super) text: String,
}

/// Lower bound of the values logged at the last step of their key, by which they are recognised. No two of
/// these values are equal.
pub(super) const LAST_STEP_BASE: f64 = 1000.0;

/// A value logged at the last step of its key.
pub(super) struct LastStepPoint {
    pub(super) key: &'static str,
    pub(super) value: f64,
    /// Steps that the same process had logged under the key before.
    pub(super) steps: Vec<i64>,
}

/// Everything logged to one run.
#[derive(Default)]
pub(super) struct ExpectedRun {
    pub(super) experiment: String,
    pub(super) parent: Option<RunId>,
    pub(super) params: BTreeMap<String, String>,
    pub(super) tags: BTreeMap<String, String>,
    /// Keys and values of points, by their step; no two points have the same step.
    pub(super) metrics: BTreeMap<i64, (String, f64)>,
    /// Steps of the points that were logged by the process that started the run.
    pub(super) own_steps: BTreeSet<i64>,
    pub(super) returned: Vec<LastStepPoint>,
    pub(super) artifacts: BTreeMap<String, Vec<u8>>,
    /// Files of each logged model, by the model's key.
    pub(super) models: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Rows of each table by its path: the value of the call, and the number of the row.
    pub(super) tables: BTreeMap<String, Vec<(u32, usize)>>,
    pub(super) end: Option<(RunStatus, i64)>,
    /// True if the process that started the run is dead, so that another process ends the run.
    pub(super) is_orphan: bool,
}

/// Everything logged in a world.
#[derive(Default)]
pub(super) struct ExpectedRuns {
    /// True if points may be left out of the metrics.
    pub(super) are_points_left_out: bool,
    pub(super) runs: BTreeMap<RunId, ExpectedRun>,
}

/// Entries that need not be in the store.
#[derive(Default)]
struct Exemptions {
    /// True if points that were left out of the metrics may still gather for their file.
    gathering_points: bool,
    runs: BTreeSet<RunId>,
    artifacts: BTreeSet<(RunId, &'static str)>,
    all_artifacts: bool,
}

impl ExpectedRuns {
    /// Adds to `runs` all their descendants.
    fn with_descendants(&self, mut runs: BTreeSet<RunId>) -> BTreeSet<RunId> {
        // Children have greater numbers than their parents, so one pass finds all descendants.
        for (run, logged) in &self.runs {
            if logged.parent.is_some_and(|parent| runs.contains(&parent)) {
                runs.insert(*run);
            }
        }
        runs
    }

    /// Returns the entries that need not be in the store while the remaining faults last.
    fn exemptions(&self, server: &Server) -> Exemptions {
        let mut excused = Exemptions {
            gathering_points: self.are_points_left_out,
            ..Exemptions::default()
        };
        let mut families = server.wiped.clone();
        for fault in server.faults() {
            match fault.scope {
                Scope::Artifact(run, path) => {
                    excused.artifacts.insert((run, path));
                }
                Scope::Route(Route::Put) => excused.all_artifacts = true,
                Scope::Key(..) if fault.effect == Effect::Rejected => {}
                Scope::Key(run, _) | Scope::RunRoute(run, Route::Batch | Route::Update) => {
                    excused.runs.insert(run);
                }
                Scope::Run(run) | Scope::RunRoute(run, _) => {
                    families.insert(run);
                }
                Scope::Everything | Scope::Route(_) => families.extend(self.runs.keys()),
            }
        }
        for (run, logged) in &self.runs {
            if server.is_experiment_deleted(&logged.experiment) || server.is_run_deleted(*run) {
                excused.runs.insert(*run);
            }
        }
        excused.runs.extend(self.with_descendants(families));
        excused
    }

    /// Checks that the store has all that it would accept, while it refuses other entries.
    pub(super) fn check_progress(&self, server: &Server) -> Result<(), Violation> {
        let excused = self.exemptions(server);
        self.check(server, &excused, "progress")
    }

    /// Checks that the store has everything but the runs of a wiped store and their descendants.
    pub(super) fn check_all(&self, server: &Server) -> Result<(), Violation> {
        let excused = Exemptions {
            runs: self.with_descendants(server.wiped.clone()),
            ..Exemptions::default()
        };
        self.check(server, &excused, "nothing is lost")
    }

    fn check(
        &self,
        server: &Server,
        excused: &Exemptions,
        property: &'static str,
    ) -> Result<(), Violation> {
        for (run, logged) in &self.runs {
            if !excused.runs.contains(run) {
                check_run(*run, logged, server, excused).map_err(|text| Violation {
                    property,
                    text: format!("run {run}: {text}"),
                })?;
            }
        }
        Ok(())
    }
}

impl Exemptions {
    fn artifact(&self, run: RunId, path: &str) -> bool {
        let mut artifacts = self.artifacts.iter();
        self.all_artifacts || artifacts.any(|(of, one)| *of == run && *one == path)
    }
}

fn check_run(
    run: RunId,
    logged: &ExpectedRun,
    server: &Server,
    excused: &Exemptions,
) -> Result<(), String> {
    let is_refused = |entry: String| server.refused.contains(&(run, entry));
    let mut found = server.found(run);
    // An empty duplicate may appear at any time after the last check for it.
    found.sort_by_key(|found| found.is_empty);
    if found.get(1).is_some_and(|found| !found.is_empty) {
        return Err("it is there twice".to_owned());
    }
    let Some(ServerRun { data, .. }) = found.first() else {
        return Err("it is not there".to_owned());
    };
    for (key, value) in &logged.params {
        if data.params.get(key) != Some(value) && !is_refused(format!("param {key}")) {
            return Err(format!(
                "param {key} is {:?}, not {value}",
                data.params.get(key)
            ));
        }
    }
    if let Some(key) = data
        .params
        .keys()
        .find(|key| !logged.params.contains_key(*key))
    {
        return Err(format!("param {key} was not logged"));
    }
    for (key, value) in &logged.tags {
        if data.tags.get(key) != Some(value) && !is_refused(format!("tag {key}")) {
            return Err(format!(
                "tag {key} is {:?}, not {value}",
                data.tags.get(key)
            ));
        }
    }
    let mut steps = BTreeSet::new();
    check_returned(logged, data, &is_refused)?;
    for point in data
        .metrics
        .iter()
        .filter(|point| point.value < LAST_STEP_BASE)
    {
        let expected = logged.metrics.get(&point.step);
        if expected.is_none_or(|(key, value)| **key != *point.key || *value != point.value) {
            return Err(format!("{} at {} was not logged", point.key, point.step));
        }
        if !steps.insert(point.step) {
            return Err(format!("{} at {} is there twice", point.key, point.step));
        }
    }
    let left_out = left_out_steps(logged, data)?;
    let mut greatest: BTreeMap<&str, i64> = BTreeMap::new();
    for (step, (key, _)) in &logged.metrics {
        greatest.insert(key, *step);
        // Other processes do not know when the run ends.
        let is_gathering =
            excused.gathering_points && !(logged.end.is_some() && logged.own_steps.contains(step));
        if !steps.contains(step)
            && !left_out.contains(step)
            && !excused.all_artifacts
            && !is_gathering
            && !is_refused(left_out_entry(*step))
            && !is_refused(format!("metric {step}"))
        {
            return Err(format!("{key} at {step} is not there"));
        }
    }
    for (key, step) in greatest {
        let is_there = steps.contains(&step) || is_refused(format!("metric {step}"));
        if !is_there && !excused.gathering_points {
            return Err(format!(
                "{key} at {step}, its last step, is not in the metrics"
            ));
        }
    }
    for (path, bytes) in &logged.artifacts {
        let is_right = data.artifacts.get(path) == Some(bytes);
        if !is_right && !excused.artifact(run, path) && !is_refused(format!("artifact {path}")) {
            return Err(match data.artifacts.get(path) {
                None => format!("artifact {path} is not there"),
                Some(_) => format!("artifact {path} has other bytes"),
            });
        }
    }
    for (path, rows) in &logged.tables {
        let is_refused =
            is_refused(format!("artifact {path}")) || is_refused(TABLE_ROWS.to_owned());
        let is_complete = !excused.all_artifacts && !is_refused;
        check_table(rows, data.artifacts.get(path), is_complete)
            .map_err(|fault| format!("table {path}: {fault}"))?;
    }
    for (key, files) in &logged.models {
        let id = format!("m-{key}");
        let may_fail = excused.all_artifacts || is_refused(format!("artifact {id}"));
        check_model(&id, files, data, may_fail).map_err(|fault| format!("model {id}: {fault}"))?;
    }
    let is_logged = |id: &str| {
        let key = id.strip_prefix("m-");
        key.is_some_and(|key| logged.models.contains_key(key))
    };
    if let Some(model) = data.models.iter().find(|one| !is_logged(&one.model_id)) {
        return Err(format!("model {} was not logged", model.model_id));
    }
    let (status, end_time_ms) = match logged.end {
        Some((status, at)) => (status, Some(at)),
        None if logged.is_orphan => (RunStatus::Killed, data.end_time_ms),
        None => (RunStatus::Running, None),
    };
    if data.status != status || data.end_time_ms != end_time_ms {
        return Err(format!(
            "it is {:?} since {:?}, not {status:?} since {end_time_ms:?}",
            data.status, data.end_time_ms
        ));
    }
    match (logged.parent, data.tags.get(tag_keys::PARENT_RUN_ID)) {
        (Some(parent), Some(named)) if server.run_with(named) != Some(parent) => {
            Err(format!("its parent is {named}, not run {parent}"))
        }
        // A parent that cannot be found is left out.
        (Some(parent), None) if server.is_orderly => {
            Err(format!("it has no parent, and should have run {parent}"))
        }
        _ => Ok(()),
    }
}

/// Returns the steps of the points in the files of those that were left out. They may be in the metrics as well, after a kill.
fn left_out_steps(logged: &ExpectedRun, data: &StoredRunData) -> Result<BTreeSet<i64>, String> {
    let mut steps = BTreeSet::new();
    let files = { data.artifacts.iter() }.filter(|(path, _)| path.starts_with(FOLDER));
    for (path, file) in files {
        for point in decode_points(file) {
            let expected = logged.metrics.get(&point.step);
            if expected.is_none_or(|(key, value)| **key != *point.key || *value != point.value) {
                let Metric { key, step, .. } = point;
                return Err(format!("{key} at {step} in {path} was not logged"));
            }
            steps.insert(point.step);
        }
    }
    Ok(steps)
}

#[cfg(feature = "thinning")]
pub(super) fn decode_points(file: &[u8]) -> Vec<Metric> {
    points_file::decode(file.to_vec())
}

/// Without the feature, there are no files.
#[cfg(not(feature = "thinning"))]
pub(super) fn decode_points(_: &[u8]) -> Vec<Metric> {
    Vec::new()
}

/// Checks that a model is there once, and ready if and only if it is complete, unless it may fail.
fn check_model(
    id: &str,
    files: &BTreeMap<String, Vec<u8>>,
    data: &StoredRunData,
    may_fail: bool,
) -> Result<(), String> {
    let mut found = data.models.iter().filter(|model| model.model_id == id);
    let Some(model) = found.next() else {
        return if may_fail {
            Ok(())
        } else {
            Err("it is not there".to_owned())
        };
    };
    if found.next().is_some() {
        return Err("it is there twice".to_owned());
    }
    let outputs = { data.model_outputs.iter() }
        .filter(|(output, _)| output == id)
        .count();
    let is_ready = model.status == ModelStatus::Ready;
    let has_files = { files.iter() }.all(|(path, bytes)| model.files.get(path) == Some(bytes));
    let is_complete = has_files && model.files.contains_key(MLMODEL_FILE) && outputs == 1;
    if is_ready && !is_complete {
        return Err("it is ready, and not complete".to_owned());
    }
    if !is_ready && !may_fail {
        return Err(format!("it is {:?}", model.status));
    }
    Ok(())
}

/// Checks that a table has each row once, and no others. The rows of one call follow each other. The order of the calls
/// of several threads is not promised.
fn check_table(
    logged: &[(u32, usize)],
    stored: Option<&Vec<u8>>,
    is_complete: bool,
) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Stored {
        data: Vec<(u32, usize)>,
    }
    let stored = match stored {
        Some(bytes) => {
            serde_json::from_slice::<Stored>(bytes).map_err(|error| error.to_string())?
        }
        None => Stored { data: Vec::new() },
    };
    let mut seen = BTreeSet::new();
    let mut before: Option<&(u32, usize)> = None;
    for stored in &stored.data {
        if !logged.contains(stored) || !seen.insert(stored) {
            return Err(format!("row {stored:?} is there twice, or was not logged"));
        }
        let (value, row) = *stored;
        if row > 0 && before != Some(&(value, row - 1)) {
            return Err(format!("row {stored:?} does not follow the one before it"));
        }
        before = Some(stored);
    }
    match logged.iter().find(|row| !seen.contains(row)) {
        Some((value, row)) if is_complete => Err(format!("row {row} of {value} is not there")),
        _ => Ok(()),
    }
}

/// Checks that the store has each value logged at the last step of its key once, at a step not before the
/// steps that had been logged under the key.
fn check_returned(
    logged: &ExpectedRun,
    data: &StoredRunData,
    is_refused: &impl Fn(String) -> bool,
) -> Result<(), String> {
    for LastStepPoint { key, value, steps } in &logged.returned {
        let is_it = |point: &&Metric| point.value.to_bits() == value.to_bits();
        let found: Vec<&Metric> = data.metrics.iter().filter(is_it).collect();
        let [point] = found[..] else {
            if found.is_empty() && is_refused(format!("returned {value}")) {
                continue;
            }
            return Err(format!("the {key} {value} is there {} times", found.len()));
        };
        let is_there = |step: &&i64| !is_refused(format!("metric {step}"));
        let mut least = steps.iter().filter(is_there).max().copied().unwrap_or(0);
        if is_refused(LAST_STEPS.to_owned()) {
            least = 0;
        }
        let of_key = |(of, _): &(String, f64)| of == key;
        let is_known = point.step == 0 || logged.metrics.get(&point.step).is_some_and(of_key);
        if *point.key != **key || point.step < least || !is_known {
            return Err(format!(
                "the {key} {value} is {} at {}, not at {least} or later",
                point.key, point.step
            ));
        }
    }
    match data
        .metrics
        .iter()
        .filter(|point| point.value > LAST_STEP_BASE)
        .count()
    {
        count if count > logged.returned.len() => {
            Err("more is returned than was logged".to_owned())
        }
        _ => Ok(()),
    }
}

/// Checks that every value of a process's journal is counted at most once, and that all rejected values are
/// kept. `is_done`: a flush has reported all values as delivered, rejected or blocked, so every value has to
/// be counted.
pub(super) fn check_numbers(process: &Process, is_done: bool) -> Result<(), Violation> {
    let values = process.journal.value_count();
    let stats = &process.stats;
    let (refused, kept) = (stats.total_refused(), stats.rejected_kept.get());
    if kept != refused {
        return Err(Violation {
            property: "what is refused is kept",
            text: format!("of {refused} values {kept} are kept"),
        });
    }
    let (settled, blocked) = (stats.settled(), stats.blocked.get());
    let counted = settled + blocked + stats.thinned_waiting.get();
    if counted > values || is_done && counted != values {
        let (delivered, rejected) = (stats.delivered.get(), stats.rejected.get());
        let lost = stats.lost.get();
        return Err(Violation {
            property: "numbers",
            text: format!(
                "of {values} values {delivered} are delivered, {rejected} rejected, {lost} lost, {blocked} held"
            ),
        });
    }
    Ok(())
}
