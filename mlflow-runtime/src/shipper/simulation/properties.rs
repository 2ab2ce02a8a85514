//! What has to hold in every world, whatever happens in it.
//!
//! 1. Nothing that was logged is lost or doubled: the store has each point once, the first value of a
//!    param, the last of a tag and of an artifact, and the end that the run was given.
//! 2. Every value of a living process is delivered, rejected, held or queued, as exactly one of them;
//!    what is rejected is kept.
//! 3. Whatever the store would accept is there after a bounded time, whatever else it refuses.
//! 4. A flush comes to its end when the store is well, an exit within its time, and the last process
//!    leaves no journal.
//! 5. An artifact's file is there until it is delivered.
//! 6. The shipper neither ends, nor panics, nor runs in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::faulty_store::{LAST_STEPS, Server, ServerRun};
use super::process::Process;
use super::schedule::{Effect, Route, RunId, Scope};
use crate::model::{Metric, RunStatus};
use crate::store::StoredRunData;

/// Something that should not be.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    /// The property that does not hold.
    pub(super) property: &'static str,
    pub(super) text: String,
}

/// Numbers that stand at the last step of their key are greater than this one, and no two are the same.
pub(super) const LAST_STEP_BASE: f64 = 1000.0;

/// A number that stands at the last step of its key.
pub(super) struct LastStepPoint {
    pub(super) key: &'static str,
    pub(super) value: f64,
    /// The steps that its process had logged under the key before.
    pub(super) steps: Vec<i64>,
}

/// Everything that was logged to one run.
#[derive(Default)]
pub(super) struct ExpectedRun {
    pub(super) experiment: String,
    pub(super) parent: Option<RunId>,
    pub(super) params: BTreeMap<String, String>,
    pub(super) tags: BTreeMap<String, String>,
    /// Keys and values of points, by their step; no two have the same.
    pub(super) metrics: BTreeMap<i64, (String, f64)>,
    /// Those of them that the process which started the run has logged.
    pub(super) own_steps: BTreeSet<i64>,
    pub(super) returned: Vec<LastStepPoint>,
    pub(super) artifacts: BTreeMap<String, Vec<u8>>,
    pub(super) end: Option<(RunStatus, i64)>,
    /// The process that started it is dead, so that it is ended by another.
    pub(super) is_orphan: bool,
}

/// Everything that was logged in a world.
#[derive(Default)]
pub(super) struct ExpectedRuns {
    pub(super) runs: BTreeMap<RunId, ExpectedRun>,
}

/// What need not be in the store.
#[derive(Default)]
struct Exemptions {
    runs: BTreeSet<RunId>,
    artifacts: BTreeSet<(RunId, &'static str)>,
    all_artifacts: bool,
}

impl ExpectedRuns {
    /// Adds to `runs` those that are started below one of them.
    fn with_descendants(&self, mut runs: BTreeSet<RunId>) -> BTreeSet<RunId> {
        // A parent has a smaller number than its children.
        for (run, logged) in &self.runs {
            if logged.parent.is_some_and(|parent| runs.contains(&parent)) {
                runs.insert(*run);
            }
        }
        runs
    }

    /// Returns what need not be there while some faults go on.
    fn exemptions(&self, server: &Server) -> Exemptions {
        let mut excused = Exemptions::default();
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

    /// Checks that what the store would accept is there, while it refuses other things.
    pub(super) fn check_progress(&self, server: &Server) -> Result<(), Violation> {
        let excused = self.exemptions(server);
        self.check(server, &excused, "progress")
    }

    /// Checks that all is there.
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
    // A second one that nobody logs to may come at any time after the last look for it.
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
    for (step, (key, _)) in &logged.metrics {
        if !steps.contains(step) && !is_refused(format!("metric {step}")) {
            return Err(format!("{key} at {step} is not there"));
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
    if let (Some(parent), Some(named)) = (logged.parent, data.tags.get("mlflow.parentRunId"))
        && server.run_with(named) != Some(parent)
    {
        return Err(format!("its parent is {named}, not run {parent}"));
    }
    Ok(())
}

/// Checks that each number that was returned is there once, not before what had been logged under its key.
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

/// Checks that every value of a process's journal is counted once, and that what is refused is kept.
/// `is_done`: it was told that all is delivered, set aside or held.
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
    let (settled, held) = (stats.settled(), stats.blocked.get());
    let counted = settled + held;
    if counted > values || is_done && counted != values {
        let (delivered, rejected) = (stats.delivered.get(), stats.rejected.get());
        let lost = stats.lost.get();
        return Err(Violation {
            property: "numbers",
            text: format!(
                "of {values} values {delivered} are delivered, {rejected} rejected, {lost} lost, {held} held"
            ),
        });
    }
    Ok(())
}
