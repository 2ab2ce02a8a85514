//! Finding a run by its key, and clearing up where there are several: a create that was given up and
//! sent again may be carried out twice, the first one long after the second.
//!
//! Invariants: a run that has anything is never deleted, nor one of which that cannot be told, nor any while
//! one cannot be told of now. All who look adopt the same run, unless one has nothing but artifacts and the
//! server does not list them for one of those who look: then both runs stay, each with what it was given.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::RequestError;
use super::http::{HttpClient, Idempotency};
use super::json::{self, RunInfo};
use super::{StoreError, StoredRun};
use crate::model::RunStatus;

#[derive(Deserialize)]
pub(super) struct SearchRunsResponse {
    #[serde(default)]
    pub(super) runs: Vec<FoundRun>,
}

#[derive(Deserialize)]
pub(super) struct FoundRun {
    pub(super) info: RunInfo,
    #[serde(default)]
    data: FoundRunData,
}

#[derive(Default, Deserialize)]
struct FoundRunData {
    #[serde(default)]
    metrics: Vec<IgnoredAny>,
    #[serde(default)]
    params: Vec<IgnoredAny>,
    #[serde(default)]
    tags: Vec<FoundRunTag>,
}

#[derive(PartialEq, Eq, Deserialize)]
struct FoundRunTag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct ListArtifactsResponse {
    #[serde(default)]
    files: Vec<IgnoredAny>,
}

/// What a run has; the one to adopt comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RunContents {
    /// Something that was logged to it, or an end.
    Values,
    /// That cannot be told.
    Unknown,
    /// What it was created with.
    Empty,
    /// That cannot be told now.
    TemporarilyUnknown,
}

/// Returns the run with this key. Empty twins are deleted once all are told apart: before that, another look
/// could adopt the one that this look deletes. The second value tells whether they are.
pub(super) async fn find_run_and_prune(
    http: &HttpClient,
    experiment_id: &str,
    key: &str,
) -> Result<(Option<StoredRun>, bool), StoreError> {
    let twins = find_duplicates(http, experiment_id, key).await?;
    let is_told = twins
        .iter()
        .all(|(holds, _)| *holds != RunContents::TemporarilyUnknown);
    let mut twins = twins.into_iter();
    let adopted = twins.next();
    let empty =
        twins.filter(|(holds, twin)| *holds == RunContents::Empty && !twin.info.is_deleted());
    if is_told {
        for (_, twin) in empty {
            delete_duplicate(http, &twin.info.run_id).await?;
        }
    }
    Ok((adopted.map(|(_, run)| run.info.into_stored_run()), is_told))
}

/// The same for who has not created it, and leaves the choice to who has.
pub(super) async fn find_run_without_pruning(
    http: &HttpClient,
    experiment_id: &str,
    key: &str,
) -> Result<Option<StoredRun>, StoreError> {
    let twins = find_duplicates(http, experiment_id, key).await?;
    let active = twins.iter().filter(|(_, run)| !run.info.is_deleted());
    let are_alike = active.count() > 1;
    let adopted = twins
        .into_iter()
        .next()
        .filter(|(holds, _)| *holds == RunContents::Values || !are_alike);
    Ok(adopted.map(|(_, run)| run.info.into_stored_run()))
}

/// All with this key, the one to adopt first.
async fn find_duplicates(
    http: &HttpClient,
    experiment_id: &str,
    key: &str,
) -> Result<Vec<(RunContents, FoundRun)>, StoreError> {
    let SearchRunsResponse { mut runs } = http
        .post(
            "runs/search",
            json::find_run(experiment_id, key)?,
            Idempotency::Idempotent,
        )
        .await?;
    if runs.len() < 2 {
        return Ok(runs
            .pop()
            .map(|run| (RunContents::Unknown, run))
            .into_iter()
            .collect());
    }
    let mut holdings = Vec::new();
    for run in &runs {
        holdings.push(classify_contents(http, run, &runs).await);
    }
    let mut twins: Vec<_> = holdings.into_iter().zip(runs).collect();
    twins.sort_by(|a, b| adoption_rank(a).cmp(&adoption_rank(b)));
    Ok(twins)
}

/// Which to adopt: the least. Whoever looks, in whatever order the server tells them, and whatever it does
/// not tell.
fn adoption_rank((holds, run): &(RunContents, FoundRun)) -> (RunContents, bool, i64, &str) {
    let info = &run.info;
    let holds = match holds {
        RunContents::TemporarilyUnknown => RunContents::Empty,
        told => *told,
    };
    (holds, info.is_deleted(), info.start_time, &info.run_id)
}

async fn classify_contents(http: &HttpClient, run: &FoundRun, twins: &[FoundRun]) -> RunContents {
    let FoundRun { info, data } = run;
    let has_ended = info.status != RunStatus::Running.as_str();
    if has_ended || !data.metrics.is_empty() || !data.params.is_empty() {
        return RunContents::Values;
    }
    let listed = http
        .get("artifacts/list", &[("run_id", &info.run_id)])
        .await;
    match listed {
        Ok(ListArtifactsResponse { files }) if !files.is_empty() => RunContents::Values,
        // One that differs was set later, here or on the twin. Some servers add the run's own id.
        Ok(_) => {
            let is_of_all =
                |tag: &FoundRunTag| twins.iter().all(|twin| twin.data.tags.contains(tag));
            let mut tags = data.tags.iter().filter(|tag| tag.value != info.run_id);
            if tags.all(is_of_all) {
                RunContents::Empty
            } else {
                RunContents::Unknown
            }
        }
        // A gateway's failure, say. Some servers answer so for ever: whoever asks must give up.
        Err(RequestError::Other(StoreError::Unavailable { .. } | StoreError::Busy { .. })) => {
            RunContents::TemporarilyUnknown
        }
        // Not every server can list them.
        Err(_) => RunContents::Unknown,
    }
}

/// Who may write need not be allowed to delete: then it stays.
async fn delete_duplicate(http: &HttpClient, run_id: &str) -> Result<(), StoreError> {
    let sent = http
        .post(
            "runs/delete",
            json::delete_run(run_id),
            Idempotency::Idempotent,
        )
        .await;
    match sent
        .map(|json::EmptyResponse {}| ())
        .map_err(StoreError::from)
    {
        Err(StoreError::Rejected { .. } | StoreError::Blocked { .. }) => Ok(()),
        deleted => deleted,
    }
}
