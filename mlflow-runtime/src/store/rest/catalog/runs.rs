//! Runs.

use std::collections::HashSet;

use reqwest::Method;
use serde::Serialize;
use serde_json::json;

use super::api::Api;
use super::experiments;
use super::records::{RunAnswer, RunsAnswer};
use super::search::{Place, Query, send_shrinking};
use crate::entities::{Run, RunUpdate};
use crate::model::{ExperimentRef, RunStatus};
use crate::search::{SearchRuns, Subject};
use crate::store::rest::http::Idempotency;
use crate::store::rest::json;
use crate::store::{ClientError, Continuation, Page};
use crate::time;

/// Largest page that MLflow returns.
const MAX_PAGE: usize = 50_000;

/// Returns a run, which may be deleted.
pub(super) async fn get(api: Api<'_>, run_id: &str) -> Result<Run, ClientError> {
    let RunAnswer { run } = api.get("runs/get", &[("run_id", run_id)]).await?;
    Ok(run.into())
}

/// Returns a page of the runs that match.
pub(super) async fn search(
    api: Api<'_>,
    search: &SearchRuns,
    from: Option<Continuation>,
    page_size: usize,
) -> Result<Page<Run>, ClientError> {
    let query = Query::new(&search.filter, &search.order_by, Subject::Runs)?;
    let mut place = Place::new(from)?;
    let experiment_ids = match place.experiment_ids.take() {
        Some(ids) => ids,
        None => searched_experiments(api, &search.experiments).await?,
    };
    if experiment_ids.is_empty() {
        return Ok(place.page(Vec::new(), String::new()));
    }
    #[derive(Serialize)]
    struct Body<'a> {
        experiment_ids: &'a [String],
        filter: &'a str,
        run_view_type: &'static str,
        order_by: &'a [String],
        page_token: &'a str,
        max_results: usize,
    }
    const PATH: &str = "runs/search";
    let sent = send_shrinking(query.page_size(page_size).min(MAX_PAGE), async |size| {
        let body = json::to_json(&Body {
            experiment_ids: &experiment_ids,
            filter: &query.filter,
            run_view_type: search.view.as_str(),
            order_by: &query.order_by,
            page_token: &place.token,
            max_results: size,
        });
        api.http.post_list(PATH, "runs", body).await
    });
    let answer = match sent.await {
        Ok(answer) => answer,
        Err(failure) => return Err(query.explain(api, &format!("POST {PATH}"), failure).await),
    };
    place.experiment_ids = Some(experiment_ids);
    let RunsAnswer {
        runs,
        next_page_token,
    } = answer;
    let mut runs: Vec<Run> = runs.into_iter().map(Run::from).collect();
    query.retain(&mut runs);
    for run in &mut runs {
        retain_columns(run, search);
    }
    Ok(place.page(runs, next_page_token))
}

/// Returns the ids of the experiments, each once. Without any, those of all experiments that are not deleted.
async fn searched_experiments(
    api: Api<'_>,
    experiments: &[ExperimentRef],
) -> Result<Vec<String>, ClientError> {
    if experiments.is_empty() {
        return experiments::active_ids(api).await;
    }
    let mut ids = Vec::with_capacity(experiments.len());
    let mut known = HashSet::new();
    for experiment in experiments {
        let id = match experiment {
            ExperimentRef::Id(id) => id.clone(),
            ExperimentRef::Name(_) => experiments::get(api, experiment).await?.experiment_id,
        };
        if known.insert(id.clone()) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Removes the metrics, params and tags that the search does not return.
fn retain_columns(run: &mut Run, search: &SearchRuns) {
    let columns = &search.columns;
    run.metrics.retain(|key, _| columns.metrics.includes(key));
    run.params.retain(|key, _| columns.params.includes(key));
    run.tags.retain(|key, _| columns.tags.includes(key));
}

/// Changes name, status and end of a run. Repeatable.
pub(super) async fn change(
    api: Api<'_>,
    run_id: &str,
    update: &RunUpdate,
) -> Result<(), ClientError> {
    let RunUpdate {
        name,
        status,
        end_time_ms,
    } = update;
    #[derive(Serialize)]
    struct Body<'a> {
        run_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        run_name: &'a Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        end_time: Option<i64>,
    }
    let body = Body {
        run_id,
        run_name: name,
        status: status.map(RunStatus::as_str),
        end_time: end_time_ms.or_else(|| status.map(implied_end)),
    };
    api.command(Method::POST, "runs/update", &body, Idempotency::Idempotent)
        .await
}

/// Returns the end time that comes with a status: now, or 0, which removes an earlier end.
fn implied_end(status: RunStatus) -> i64 {
    if status.is_end() { time::now_ms() } else { 0 }
}

/// Deletes a run. Repeatable.
pub(super) async fn delete(api: Api<'_>, run_id: &str) -> Result<(), ClientError> {
    let body = json!({ "run_id": run_id });
    api.command(Method::POST, "runs/delete", &body, Idempotency::Idempotent)
        .await
}

/// Restores a run. Repeatable.
pub(super) async fn restore(api: Api<'_>, run_id: &str) -> Result<(), ClientError> {
    let body = json!({ "run_id": run_id });
    api.command(Method::POST, "runs/restore", &body, Idempotency::Idempotent)
        .await
}

/// Sets a tag of a run. Repeatable.
pub(super) async fn set_tag(
    api: Api<'_>,
    run_id: &str,
    key: &str,
    value: &str,
) -> Result<(), ClientError> {
    let body = json!({ "run_id": run_id, "key": key, "value": value });
    api.command(Method::POST, "runs/set-tag", &body, Idempotency::Idempotent)
        .await
}

/// Deletes a tag of a run. Not repeatable: a deleted tag is not found.
pub(super) async fn delete_tag(api: Api<'_>, run_id: &str, key: &str) -> Result<(), ClientError> {
    let body = json!({ "run_id": run_id, "key": key });
    let repeat = Idempotency::NonIdempotent;
    api.command(Method::POST, "runs/delete-tag", &body, repeat)
        .await
}
