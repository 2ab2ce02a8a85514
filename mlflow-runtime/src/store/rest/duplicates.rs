//! Finding a run by its key, and clearing up where there are several: a create that was given up and
//! sent again may be carried out twice, the first one long after the second.
//!
//! Invariants: a run that has anything is never deleted, nor one of which that cannot be told, nor any while
//! one cannot be told of now. All who look adopt the same run, unless one has nothing but artifacts and the
//! server does not list them for one of those who look: then both runs stay, each with what it was given.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::Failure;
use super::http::{Http, Repeat};
use super::json::{self, RunInfo};
use super::{StoreError, StoredRun};
use crate::model::RunStatus;

#[derive(Deserialize)]
pub(super) struct FoundRuns {
    #[serde(default)]
    pub(super) runs: Vec<Found>,
}

#[derive(Deserialize)]
pub(super) struct Found {
    pub(super) info: RunInfo,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    metrics: Vec<IgnoredAny>,
    #[serde(default)]
    params: Vec<IgnoredAny>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(PartialEq, Eq, Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Artifacts {
    #[serde(default)]
    files: Vec<IgnoredAny>,
}

/// What a run has; the one to adopt comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    /// Something that was logged to it, or an end.
    Values,
    /// That cannot be told.
    Perhaps,
    /// What it was created with.
    Nothing,
    /// That cannot be told now.
    Unheard,
}

/// Returns the run with this key. Empty twins are deleted once all are told apart: before that, another look
/// could adopt the one that this look deletes. The second value tells whether they are.
pub(super) async fn find(
    http: &Http,
    experiment_id: &str,
    key: &str,
) -> Result<(Option<StoredRun>, bool), StoreError> {
    let twins = twins(http, experiment_id, key).await?;
    let is_told = twins.iter().all(|(holds, _)| *holds != Holds::Unheard);
    let mut twins = twins.into_iter();
    let adopted = twins.next();
    let empty = twins.filter(|(holds, twin)| *holds == Holds::Nothing && !twin.info.is_deleted());
    if is_told {
        for (_, twin) in empty {
            delete(http, &twin.info.run_id).await?;
        }
    }
    Ok((adopted.map(|(_, run)| run.info.into_stored()), is_told))
}

/// The same for who has not created it, and leaves the choice to who has.
pub(super) async fn find_of_another(
    http: &Http,
    experiment_id: &str,
    key: &str,
) -> Result<Option<StoredRun>, StoreError> {
    let twins = twins(http, experiment_id, key).await?;
    let active = twins.iter().filter(|(_, run)| !run.info.is_deleted());
    let are_alike = active.count() > 1;
    let adopted = twins
        .into_iter()
        .next()
        .filter(|(holds, _)| *holds == Holds::Values || !are_alike);
    Ok(adopted.map(|(_, run)| run.info.into_stored()))
}

/// All with this key, the one to adopt first.
async fn twins(
    http: &Http,
    experiment_id: &str,
    key: &str,
) -> Result<Vec<(Holds, Found)>, StoreError> {
    let FoundRuns { mut runs } = http
        .post(
            "runs/search",
            json::find_run(experiment_id, key)?,
            Repeat::Harmless,
        )
        .await?;
    if runs.len() < 2 {
        return Ok(runs
            .pop()
            .map(|run| (Holds::Perhaps, run))
            .into_iter()
            .collect());
    }
    let mut holdings = Vec::new();
    for run in &runs {
        holdings.push(holds(http, run, &runs).await);
    }
    let mut twins: Vec<_> = holdings.into_iter().zip(runs).collect();
    twins.sort_by(|a, b| rank(a).cmp(&rank(b)));
    Ok(twins)
}

/// Which to adopt: the least. Whoever looks, in whatever order the server tells them, and whatever it does
/// not tell.
fn rank((holds, run): &(Holds, Found)) -> (Holds, bool, i64, &str) {
    let info = &run.info;
    let holds = match holds {
        Holds::Unheard => Holds::Nothing,
        told => *told,
    };
    (holds, info.is_deleted(), info.start_time, &info.run_id)
}

async fn holds(http: &Http, run: &Found, twins: &[Found]) -> Holds {
    let Found { info, data } = run;
    let has_ended = info.status != RunStatus::Running.as_str();
    if has_ended || !data.metrics.is_empty() || !data.params.is_empty() {
        return Holds::Values;
    }
    let listed = http
        .get("artifacts/list", &[("run_id", &info.run_id)])
        .await;
    match listed {
        Ok(Artifacts { files }) if !files.is_empty() => Holds::Values,
        // One that differs was set later, here or on the twin. Some servers add the run's own id.
        Ok(_) => {
            let is_of_all = |tag: &Tag| twins.iter().all(|twin| twin.data.tags.contains(tag));
            let mut tags = data.tags.iter().filter(|tag| tag.value != info.run_id);
            if tags.all(is_of_all) {
                Holds::Nothing
            } else {
                Holds::Perhaps
            }
        }
        // A gateway's failure, say. Some servers answer so for ever: whoever asks must give up.
        Err(Failure::Other(StoreError::Unavailable { .. } | StoreError::Busy { .. })) => {
            Holds::Unheard
        }
        // Not every server can list them.
        Err(_) => Holds::Perhaps,
    }
}

/// Who may write need not be allowed to delete: then it stays.
async fn delete(http: &Http, run_id: &str) -> Result<(), StoreError> {
    let sent = http
        .post("runs/delete", json::delete_run(run_id), Repeat::Harmless)
        .await;
    match sent.map(|json::Empty {}| ()).map_err(StoreError::from) {
        Err(StoreError::Rejected { .. } | StoreError::Blocked { .. }) => Ok(()),
        deleted => deleted,
    }
}
