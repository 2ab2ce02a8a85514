//! Experiments.

use reqwest::Method;
use serde::Serialize;
use serde_json::json;

use super::api::{Api, is_already_exists};
use super::records::{ExperimentAnswer, ExperimentsAnswer};
use super::search::{Place, Query, send_shrinking};
use crate::entities::{Experiment, NewExperiment};
use crate::model::ExperimentRef;
use crate::search::{SearchExperiments, Subject};
use crate::store::rest::db_errors;
use crate::store::rest::error::RequestError;
use crate::store::rest::http::Idempotency;
use crate::store::rest::json::{self, EmptyResponse, ExperimentIdResponse, KeyValue};
use crate::store::{ClientError, Continuation, Page};

/// Largest page that MLflow returns.
const MAX_PAGE: usize = 50_000;

/// Creates an experiment, and returns its id.
pub(super) async fn create(api: Api<'_>, new: &NewExperiment) -> Result<String, ClientError> {
    let NewExperiment {
        name,
        artifact_location,
        tags,
    } = new;
    #[derive(Serialize)]
    struct Body<'a> {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        artifact_location: &'a Option<String>,
        tags: Vec<KeyValue<'a>>,
    }
    const PATH: &str = "experiments/create";
    let tags = json::to_key_values(tags);
    let body = Body {
        name,
        artifact_location,
        tags,
    };
    // Sent again, the request would find the name of its own first attempt.
    let sent = api.call_raw(Method::POST, PATH, &body, Idempotency::NonIdempotent);
    match sent.await {
        Ok(ExperimentIdResponse { experiment_id }) => Ok(experiment_id),
        Err(RequestError::Refused { code, .. }) if is_already_exists(&code) => {
            Err(name_is_taken(name))
        }
        Err(failure) => Err(api.explain(&format!("POST {PATH}"), failure).await),
    }
}

fn name_is_taken(name: &str) -> ClientError {
    ClientError::already_exists(format!(
        "there is an experiment `{name}` already: choose another name. If the experiment is deleted, it keeps its \
         name, and can be restored"
    ))
}

/// Returns an experiment, which may be deleted.
pub(super) async fn get(
    api: Api<'_>,
    experiment: &ExperimentRef,
) -> Result<Experiment, ClientError> {
    let (answer, missing) = match experiment {
        ExperimentRef::Name(name) => {
            let query = [("experiment_name", name.as_str())];
            let answer = api.get("experiments/get-by-name", &query).await;
            (answer, format!("there is no experiment `{name}`"))
        }
        ExperimentRef::Id(id) => {
            let query = [("experiment_id", id.as_str())];
            let answer = api.get("experiments/get", &query).await;
            (answer, format!("there is no experiment with the id {id}"))
        }
    };
    let ExperimentAnswer { experiment } = answer.map_err(|error: ClientError| match error {
        // Every store says it in the same words.
        ClientError::NotFound { .. } => ClientError::not_found(missing),
        other => other,
    })?;
    Ok(experiment.into())
}

/// Returns a page of the experiments that match.
pub(super) async fn search(
    api: Api<'_>,
    search: &SearchExperiments,
    from: Option<Continuation>,
    page_size: usize,
) -> Result<Page<Experiment>, ClientError> {
    let query = Query::new(&search.filter, &search.order_by, Subject::Experiments)?;
    let place = Place::new(from)?;
    #[derive(Serialize)]
    struct Body<'a> {
        filter: &'a str,
        order_by: &'a [String],
        view_type: &'static str,
        page_token: &'a str,
        max_results: usize,
    }
    const PATH: &str = "experiments/search";
    let sent = send_shrinking(query.page_size(page_size).min(MAX_PAGE), async |size| {
        let body = json::to_json(&Body {
            filter: &query.filter,
            order_by: &query.order_by,
            view_type: search.view.as_str(),
            page_token: &place.token,
            max_results: size,
        });
        api.http.post_list(PATH, "experiments", body).await
    });
    let answer = match sent.await {
        Ok(answer) => answer,
        Err(failure) => return Err(query.explain(api, &format!("POST {PATH}"), failure).await),
    };
    let ExperimentsAnswer {
        experiments,
        next_page_token,
    } = answer;
    let mut experiments = experiments.into_iter().map(Experiment::from).collect();
    query.retain(&mut experiments);
    Ok(place.page(experiments, next_page_token))
}

/// Returns the ids of all experiments that are not deleted.
pub(super) async fn active_ids(api: Api<'_>) -> Result<Vec<String>, ClientError> {
    // By the id, as an experiment that is created between two pages then comes last.
    let all = SearchExperiments::new().order_by("experiment_id ASC");
    let mut ids = Vec::new();
    let mut from = None;
    loop {
        let Page { items, next } = search(api, &all, from, 1000).await?;
        ids.extend(items.into_iter().map(|experiment| experiment.experiment_id));
        match next {
            Some(next) => from = Some(next),
            None => return Ok(ids),
        }
    }
}

/// Renames an experiment. Repeatable.
pub(super) async fn rename(api: Api<'_>, id: &str, name: &str) -> Result<(), ClientError> {
    let body = json!({ "experiment_id": id, "new_name": name });
    const PATH: &str = "experiments/update";
    let sent = api.call_raw(Method::POST, PATH, &body, Idempotency::Idempotent);
    match sent.await {
        Ok(EmptyResponse {}) => Ok(()),
        Err(RequestError::Refused { code, reason, .. })
            if is_already_exists(&code)
                || (code == "BAD_REQUEST" && db_errors::is_unique_violation(&reason)) =>
        {
            Err(name_is_taken(name))
        }
        Err(failure) => Err(api.explain(&format!("POST {PATH}"), failure).await),
    }
}

/// Deletes an experiment. Not repeatable: a deleted experiment is not found.
pub(super) async fn delete(api: Api<'_>, id: &str) -> Result<(), ClientError> {
    let body = json!({ "experiment_id": id });
    let repeat = Idempotency::NonIdempotent;
    api.command(Method::POST, "experiments/delete", &body, repeat)
        .await
}

/// Restores an experiment. Not repeatable: a restored experiment is not found among the deleted ones.
pub(super) async fn restore(api: Api<'_>, id: &str) -> Result<(), ClientError> {
    let body = json!({ "experiment_id": id });
    let repeat = Idempotency::NonIdempotent;
    api.command(Method::POST, "experiments/restore", &body, repeat)
        .await
}

/// Sets a tag of an experiment. Repeatable.
pub(super) async fn set_tag(
    api: Api<'_>,
    id: &str,
    key: &str,
    value: &str,
) -> Result<(), ClientError> {
    const PATH: &str = "experiments/set-experiment-tag";
    let body = json!({ "experiment_id": id, "key": key, "value": value });
    api.command(Method::POST, PATH, &body, Idempotency::Idempotent)
        .await
}

/// Deletes a tag of an experiment. Not repeatable: a deleted tag is not found. MLflow offers this call since
/// release 3.5.
pub(super) async fn delete_tag(api: Api<'_>, id: &str, key: &str) -> Result<(), ClientError> {
    const PATH: &str = "experiments/delete-experiment-tag";
    let body = json!({ "experiment_id": id, "key": key });
    api.command(Method::POST, PATH, &body, Idempotency::NonIdempotent)
        .await
}
