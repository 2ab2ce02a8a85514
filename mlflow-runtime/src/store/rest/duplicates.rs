//! Lookup of a run by its key, and removal of its duplicates. Duplicates exist because a create request that
//! was abandoned and sent again may be carried out twice, the first request even long after the second.
//!
//! Invariants:
//!
//! - A run that holds anything is never deleted, nor is a run for which this cannot be determined. No
//!   duplicate is deleted while the contents of one of them cannot be determined for the moment.
//! - All processes that look up the key adopt the same run. The only exception is a run that holds nothing
//!   but artifacts, which the server does not list for one of these processes: then both runs stay, each with
//!   the values that were sent to it.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::http::{HttpClient, Idempotency};
use super::json::{self, RunInfo};
use super::{StoreError, StoredRun};
use crate::model::{RunStatus, tag_keys};

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

/// Contents of a run, in the order of preference for adoption; see [`adoption_rank`] for the exception.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RunContents {
    /// Something that was logged to the run, or an end.
    Values,
    /// Contents that cannot be determined.
    Unknown,
    /// Nothing but what the run was created with.
    Empty,
    /// Contents that cannot be determined for the moment. For adoption, the run counts as empty.
    TemporarilyUnknown,
}

/// Returns the run with this key. Empty duplicates are deleted once the contents of all duplicates are
/// determined. If they were deleted earlier, another process could adopt the run that this call deletes. The
/// second value is true if all contents are determined.
pub(super) async fn find_run_and_prune(
    http: &HttpClient,
    experiment_id: &str,
    key: &str,
) -> Result<(Option<StoredRun>, bool), StoreError> {
    let mut duplicates = find_duplicates(http, experiment_id, tag_keys::RUN_KEY, key).await?;
    if duplicates.is_empty() {
        // A run from before the release of version 0.1.0.
        duplicates = find_duplicates(http, experiment_id, tag_keys::FORMER_RUN_KEY, key).await?;
    }
    let all_determined = duplicates
        .iter()
        .all(|(contents, _)| *contents != RunContents::TemporarilyUnknown);
    let mut duplicates = duplicates.into_iter();
    let adopted = duplicates.next();
    let empty = duplicates.filter(|(contents, duplicate)| {
        *contents == RunContents::Empty && !duplicate.info.is_deleted()
    });
    if all_determined {
        for (_, duplicate) in empty {
            delete_duplicate(http, &duplicate.info.run_id).await?;
        }
    }
    Ok((
        adopted.map(|(_, run)| run.info.into_stored_run()),
        all_determined,
    ))
}

/// Returns the run with this key for a process that has not created it. Deletes nothing, and returns `None`
/// while the creator has still to choose: among several runs that are not deleted, only one that holds values
/// is returned.
pub(super) async fn find_run_without_pruning(
    http: &HttpClient,
    experiment_id: &str,
    key: &str,
) -> Result<Option<StoredRun>, StoreError> {
    let duplicates = find_duplicates(http, experiment_id, tag_keys::RUN_KEY, key).await?;
    let active = duplicates.iter().filter(|(_, run)| !run.info.is_deleted());
    let are_alike = active.count() > 1;
    let adopted = duplicates
        .into_iter()
        .next()
        .filter(|(contents, _)| *contents == RunContents::Values || !are_alike);
    Ok(adopted.map(|(_, run)| run.info.into_stored_run()))
}

/// Returns all runs whose `tag` holds this key, the one to adopt first.
async fn find_duplicates(
    http: &HttpClient,
    experiment_id: &str,
    tag: &str,
    key: &str,
) -> Result<Vec<(RunContents, FoundRun)>, StoreError> {
    let mut runs = search(http, experiment_id, tag, key).await?;
    if runs.len() < 2 {
        return Ok(runs
            .pop()
            .map(|run| (RunContents::Unknown, run))
            .into_iter()
            .collect());
    }
    let mut contents = Vec::new();
    for run in &runs {
        contents.push(classify_contents(http, run, &runs).await);
    }
    let mut duplicates: Vec<_> = contents.into_iter().zip(runs).collect();
    duplicates.sort_by(|a, b| adoption_rank(a).cmp(&adoption_rank(b)));
    Ok(duplicates)
}

/// Returns the runs of the experiment whose tag has this value, deleted ones included.
async fn search(
    http: &HttpClient,
    experiment_id: &str,
    tag: &str,
    value: &str,
) -> Result<Vec<FoundRun>, StoreError> {
    let SearchRunsResponse { runs } = http
        .post(
            "runs/search",
            json::find_run(experiment_id, tag, value)?,
            Idempotency::Idempotent,
        )
        .await?;
    Ok(runs)
}

/// Returns the sort key of a run; the run with the least key is adopted. The choice is the same for all
/// processes, in whatever order the server lists the runs, and even if it fails to list the artifacts of some
/// at the moment.
fn adoption_rank((contents, run): &(RunContents, FoundRun)) -> (RunContents, bool, i64, &str) {
    let info = &run.info;
    let contents = match contents {
        RunContents::TemporarilyUnknown => RunContents::Empty,
        told => *told,
    };
    (contents, info.is_deleted(), info.start_time, &info.run_id)
}

async fn classify_contents(
    http: &HttpClient,
    run: &FoundRun,
    duplicates: &[FoundRun],
) -> RunContents {
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
        // A tag that not all duplicates have was set later, on this run or on another. Tags whose value is
        // the run's own id do not count, because some servers add them.
        Ok(_) => {
            let is_of_all = |tag: &FoundRunTag| {
                duplicates
                    .iter()
                    .all(|duplicate| duplicate.data.tags.contains(tag))
            };
            let mut tags = data.tags.iter().filter(|tag| tag.value != info.run_id);
            if tags.all(is_of_all) {
                RunContents::Empty
            } else {
                RunContents::Unknown
            }
        }
        Err(failure) => match StoreError::from(failure) {
            // For example a gateway's failure. Some servers give this answer forever, so the caller must stop
            // at some point.
            StoreError::Unavailable { .. } | StoreError::Busy { .. } => {
                RunContents::TemporarilyUnknown
            }
            // Not every server can list artifacts.
            _ => RunContents::Unknown,
        },
    }
}

/// Deletes a duplicate. If the server refuses, the duplicate stays: a client that may write is not always
/// allowed to delete.
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
