//! Model registry.

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::api::{Api, is_already_exists};
use super::records::{
    ModelVersionAnswer, ModelVersionsAnswer, RegisteredModelAnswer, RegisteredModelsAnswer,
};
use super::search::{Place, Query, send_shrinking};
use crate::entities::{ModelVersion, NewModelVersion, NewRegisteredModel, RegisteredModel};
use crate::search::{SearchModelVersions, SearchRegisteredModels, Subject};
use crate::store::rest::error::RequestError;
use crate::store::rest::http::Idempotency;
use crate::store::rest::json::{self, EmptyResponse, KeyValue};
use crate::store::{ClientError, Continuation, Page};

/// Largest page of registered models that MLflow returns.
const MAX_MODELS_PAGE: usize = 1000;

/// Largest page of model versions that is requested. MLflow returns more, but not every server like it.
const MAX_VERSIONS_PAGE: usize = 10_000;

/// Creates a registered model. Not repeatable: its name is used then.
pub(super) async fn create_model(
    api: Api<'_>,
    new: &NewRegisteredModel,
) -> Result<RegisteredModel, ClientError> {
    let NewRegisteredModel {
        name,
        description,
        tags,
    } = new;
    #[derive(Serialize)]
    struct Body<'a> {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: &'a Option<String>,
        tags: Vec<KeyValue<'a>>,
    }
    let tags = json::to_key_values(tags);
    let body = Body {
        name,
        description,
        tags,
    };
    const PATH: &str = "registered-models/create";
    let sent = api.call_raw(Method::POST, PATH, &body, Idempotency::NonIdempotent);
    match sent.await {
        Ok(RegisteredModelAnswer { registered_model }) => Ok(registered_model.into()),
        Err(failure) => Err(explain_name(api, &format!("POST {PATH}"), name, failure).await),
    }
}

/// Converts the failure of a call that gives a registered model the name `name`.
async fn explain_name(api: Api<'_>, asked: &str, name: &str, failure: RequestError) -> ClientError {
    match failure {
        RequestError::Refused { code, .. } if is_already_exists(&code) => {
            ClientError::already_exists(format!(
                "there is a registered model or a prompt `{name}` already: choose another name"
            ))
        }
        other => api.explain(asked, other).await,
    }
}

/// Returns a registered model.
pub(super) async fn get_model(api: Api<'_>, name: &str) -> Result<RegisteredModel, ClientError> {
    let answer: RegisteredModelAnswer = api.get("registered-models/get", &[("name", name)]).await?;
    Ok(answer.registered_model.into())
}

/// Returns a page of the registered models that match. The server leaves prompts out.
pub(super) async fn search_models(
    api: Api<'_>,
    search: &SearchRegisteredModels,
    from: Option<Continuation>,
    page_size: usize,
) -> Result<Page<RegisteredModel>, ClientError> {
    let query = Query::new(&search.filter, &search.order_by, Subject::RegisteredModels)?;
    let place = Place::new(from)?;
    const PATH: &str = "registered-models/search";
    let size = query.page_size(page_size).min(MAX_MODELS_PAGE);
    let answer = match send_search(api, PATH, &query, &place, size).await {
        Ok(answer) => answer,
        Err(failure) => return Err(query.explain(api, &format!("GET {PATH}"), failure).await),
    };
    let RegisteredModelsAnswer {
        registered_models,
        next_page_token,
    } = answer;
    let mut models = registered_models.into_iter().map(Into::into).collect();
    query.retain(&mut models);
    Ok(place.page(models, next_page_token))
}

async fn send_search<T: DeserializeOwned>(
    api: Api<'_>,
    path: &str,
    query: &Query,
    place: &Place,
    size: usize,
) -> Result<T, RequestError> {
    send_shrinking(size, async |size| {
        let size = size.to_string();
        let mut pairs = vec![("max_results", size.as_str())];
        if !query.filter.is_empty() {
            pairs.push(("filter", &query.filter));
        }
        pairs.extend(
            query
                .order_by
                .iter()
                .map(|order| ("order_by", order.as_str())),
        );
        if !place.token.is_empty() {
            pairs.push(("page_token", &place.token));
        }
        api.http.get_list(path, &pairs).await
    })
    .await
}

/// Renames a registered model. Not repeatable: there is no model with the former name then.
pub(super) async fn rename_model(
    api: Api<'_>,
    name: &str,
    new_name: &str,
) -> Result<(), ClientError> {
    const PATH: &str = "registered-models/rename";
    let body = json!({ "name": name, "new_name": new_name });
    let sent = api.call_raw(Method::POST, PATH, &body, Idempotency::NonIdempotent);
    match sent.await {
        Ok(EmptyResponse {}) => Ok(()),
        Err(failure) => Err(explain_name(api, &format!("POST {PATH}"), new_name, failure).await),
    }
}

/// Sets the description of a registered model. Repeatable.
pub(super) async fn describe_model(
    api: Api<'_>,
    name: &str,
    description: &str,
) -> Result<(), ClientError> {
    const PATH: &str = "registered-models/update";
    let body = json!({ "name": name, "description": description });
    api.command(Method::PATCH, PATH, &body, Idempotency::Idempotent)
        .await
}

/// Deletes a registered model with its versions. Not repeatable: a deleted model is not found.
pub(super) async fn delete_model(api: Api<'_>, name: &str) -> Result<(), ClientError> {
    const PATH: &str = "registered-models/delete";
    let body = json!({ "name": name });
    api.command(Method::DELETE, PATH, &body, Idempotency::NonIdempotent)
        .await
}

/// Sets a tag of a registered model. Repeatable.
pub(super) async fn set_model_tag(
    api: Api<'_>,
    name: &str,
    key: &str,
    value: &str,
) -> Result<(), ClientError> {
    const PATH: &str = "registered-models/set-tag";
    let body = json!({ "name": name, "key": key, "value": value });
    api.command(Method::POST, PATH, &body, Idempotency::Idempotent)
        .await
}

/// Deletes a tag of a registered model. Repeatable.
pub(super) async fn delete_model_tag(
    api: Api<'_>,
    name: &str,
    key: &str,
) -> Result<(), ClientError> {
    const PATH: &str = "registered-models/delete-tag";
    let body = json!({ "name": name, "key": key });
    api.command(Method::DELETE, PATH, &body, Idempotency::Idempotent)
        .await
}

/// Path of all calls that concern an alias.
const ALIAS_PATH: &str = "registered-models/alias";

/// Sets an alias of a model version. Repeatable.
pub(super) async fn set_alias(
    api: Api<'_>,
    name: &str,
    alias: &str,
    version: u64,
) -> Result<(), ClientError> {
    let body = json!({ "name": name, "alias": alias, "version": version.to_string() });
    api.command(Method::POST, ALIAS_PATH, &body, Idempotency::Idempotent)
        .await
}

/// Deletes an alias. Repeatable.
pub(super) async fn delete_alias(api: Api<'_>, name: &str, alias: &str) -> Result<(), ClientError> {
    let body = json!({ "name": name, "alias": alias });
    api.command(Method::DELETE, ALIAS_PATH, &body, Idempotency::Idempotent)
        .await
}

/// Returns the model version that an alias names.
pub(super) async fn get_version_by_alias(
    api: Api<'_>,
    name: &str,
    alias: &str,
) -> Result<ModelVersion, ClientError> {
    let query = [("name", name), ("alias", alias)];
    match api.http.get(ALIAS_PATH, &query).await {
        Ok(ModelVersionAnswer { model_version }) => Ok(model_version.into()),
        // An alias that does not exist is refused as a bad parameter.
        Err(RequestError::Refused { reason, .. }) => Err(ClientError::not_found(reason)),
        Err(failure) => Err(api.explain(&format!("GET {ALIAS_PATH}"), failure).await),
    }
}

/// Creates the next version of a registered model. Not repeatable: each request creates a further version.
pub(super) async fn create_version(
    api: Api<'_>,
    new: &NewModelVersion,
) -> Result<ModelVersion, ClientError> {
    let NewModelVersion {
        name,
        source,
        run_id,
        model_id,
        run_link,
        description,
        tags,
    } = new;
    #[derive(Serialize)]
    struct Body<'a> {
        name: &'a str,
        source: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        run_id: &'a Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        model_id: &'a Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        run_link: &'a Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: &'a Option<String>,
        tags: Vec<KeyValue<'a>>,
    }
    let tags = json::to_key_values(tags);
    let body = Body {
        name,
        source,
        run_id,
        model_id,
        run_link,
        description,
        tags,
    };
    const PATH: &str = "model-versions/create";
    let repeat = Idempotency::NonIdempotent;
    let answer: ModelVersionAnswer = api.call(Method::POST, PATH, &body, repeat).await?;
    Ok(answer.model_version.into())
}

/// Returns a model version.
pub(super) async fn get_version(
    api: Api<'_>,
    name: &str,
    version: u64,
) -> Result<ModelVersion, ClientError> {
    let version = version.to_string();
    let query = [("name", name), ("version", version.as_str())];
    let answer: ModelVersionAnswer = api.get("model-versions/get", &query).await?;
    Ok(answer.model_version.into())
}

/// Returns a page of the model versions that match. Servers leave the versions of prompts out.
pub(super) async fn search_versions(
    api: Api<'_>,
    search: &SearchModelVersions,
    from: Option<Continuation>,
    page_size: usize,
) -> Result<Page<ModelVersion>, ClientError> {
    let query = Query::new(&search.filter, &search.order_by, Subject::ModelVersions)?;
    let place = Place::new(from)?;
    const PATH: &str = "model-versions/search";
    let size = query.page_size(page_size).min(MAX_VERSIONS_PAGE);
    let answer = match send_search(api, PATH, &query, &place, size).await {
        Ok(answer) => answer,
        Err(failure) => return Err(query.explain(api, &format!("GET {PATH}"), failure).await),
    };
    let ModelVersionsAnswer {
        model_versions,
        next_page_token,
    } = answer;
    let mut versions = model_versions.into_iter().map(Into::into).collect();
    query.retain(&mut versions);
    Ok(place.page(versions, next_page_token))
}

/// Sets the description of a model version. Repeatable.
pub(super) async fn describe_version(
    api: Api<'_>,
    name: &str,
    version: u64,
    description: &str,
) -> Result<(), ClientError> {
    const PATH: &str = "model-versions/update";
    let version = version.to_string();
    let body = json!({ "name": name, "version": version, "description": description });
    api.command(Method::PATCH, PATH, &body, Idempotency::Idempotent)
        .await
}

/// Deletes a model version. Not repeatable: a deleted version is not found.
pub(super) async fn delete_version(
    api: Api<'_>,
    name: &str,
    version: u64,
) -> Result<(), ClientError> {
    const PATH: &str = "model-versions/delete";
    let body = json!({ "name": name, "version": version.to_string() });
    api.command(Method::DELETE, PATH, &body, Idempotency::NonIdempotent)
        .await
}

/// Sets a tag of a model version. Repeatable.
pub(super) async fn set_version_tag(
    api: Api<'_>,
    name: &str,
    version: u64,
    key: &str,
    value: &str,
) -> Result<(), ClientError> {
    const PATH: &str = "model-versions/set-tag";
    let version = version.to_string();
    let body = json!({ "name": name, "version": version, "key": key, "value": value });
    api.command(Method::POST, PATH, &body, Idempotency::Idempotent)
        .await
}

/// Deletes a tag of a model version. Repeatable.
pub(super) async fn delete_version_tag(
    api: Api<'_>,
    name: &str,
    version: u64,
    key: &str,
) -> Result<(), ClientError> {
    const PATH: &str = "model-versions/delete-tag";
    let body = json!({ "name": name, "version": version.to_string(), "key": key });
    api.command(Method::DELETE, PATH, &body, Idempotency::Idempotent)
        .await
}
