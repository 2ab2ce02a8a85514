//! Routing of artifacts: through the server's proxy, in parts by URLs that the server signs, to a directory of this
//! host, or to a bucket.

use std::path::{Component, Path, PathBuf};

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};

use super::error::{self, Cause, RequestError, Route};
use super::http::{self, HttpClient, Idempotency};
use super::multipart::{self, MultipartOutcome};
use super::presigned::{BucketOutcome, UploadOwner};
use super::redirects::Receiver;
use super::server_info::ServerInfo;
use super::upload::{self, UploadContent};
use super::{
    ArtifactContent, StoreError, StoredRun, artifact_url, content_type, json, presigned, time_limit,
};
use crate::config::multipart::MultipartUploads;
use crate::model::StoredModel;
#[cfg(feature = "object-store")]
use crate::store::object_storage;
use crate::store::{local_artifacts, uri, validate};

/// Length up to which an artifact is sent without a question about what the server takes. A longer one would be
/// sent in vain to a server that passes no artifacts on.
const MAX_UNASKED_BYTES: u64 = 1 << 20;

/// Writes one artifact to the destination that the run's artifact URI names.
pub(super) async fn put_artifact(
    http: &HttpClient,
    run: &StoredRun,
    path: &str,
    content: ArtifactContent<'_>,
) -> Result<(), RequestError> {
    validate::check_artifact_path(path)?;
    match uri::scheme(&run.artifact_uri) {
        Some("mlflow-artifacts") => {
            put_through_server(http, run, path, &UploadContent::from(content)).await
        }
        Some(scheme) if !scheme.eq_ignore_ascii_case("file") => {
            let content = UploadContent::from(content);
            Ok(put_in_bucket(http, UploadOwner::Run, run, path, &content).await?)
        }
        _ => Ok(put_in_directory(http, &run.artifact_uri, path, content).await?),
    }
}

/// Writes one file of a logged model to the destination that the model's artifact URI names.
pub(super) async fn put_model_file(
    http: &HttpClient,
    model: &StoredModel,
    path: &str,
    content: ArtifactContent<'_>,
) -> Result<(), StoreError> {
    // The URI is all that these uploads use of a run.
    let destination = StoredRun {
        run_id: model.model_id.clone(),
        experiment_id: model.experiment_id.clone(),
        artifact_uri: model.artifact_uri.clone(),
    };
    let scheme = uri::scheme(&model.artifact_uri);
    if matches!(scheme, Some(scheme) if scheme != "mlflow-artifacts" && !scheme.eq_ignore_ascii_case("file"))
    {
        validate::check_artifact_path(path)?;
        let content = UploadContent::from(content);
        return put_in_bucket(http, UploadOwner::LoggedModel, &destination, path, &content).await;
    }
    Ok(put_artifact(http, &destination, path, content).await?)
}

/// Uploads an artifact by a URL that the server signs. Where the server signs none, the artifact is written with
/// credentials from the environment, if this library is built for that.
async fn put_in_bucket(
    http: &HttpClient,
    owner: UploadOwner,
    run: &StoredRun,
    path: &str,
    content: &UploadContent<'_>,
) -> Result<(), StoreError> {
    match presigned::upload_to_bucket(http, owner, run, path, content).await? {
        BucketOutcome::Uploaded => Ok(()),
        BucketOutcome::NotSigned(reason) => {
            put_in_own_bucket(http, run, path, content, reason).await
        }
    }
}

/// Writes an artifact to its bucket with credentials from the environment. Returns `unsigned`, the reason why no
/// signed URL was used, if this library is not built for that.
#[cfg(feature = "object-store")]
async fn put_in_own_bucket(
    http: &HttpClient,
    run: &StoredRun,
    path: &str,
    content: &UploadContent<'_>,
    unsigned: StoreError,
) -> Result<(), StoreError> {
    if !object_storage::is_supported(&run.artifact_uri) {
        return Err(unsigned);
    }
    let upload = object_storage::Upload {
        request: object_storage::Request {
            client: http.client_of(true, false)?,
            timeout: http.timeout(),
            artifact_uri: &run.artifact_uri,
            path,
        },
        content_type: content_type::of_path(path),
    };
    let put = http.object_storage().put(upload, content.source()).await;
    http.set_bucket_unavailable(matches!(put, Err(StoreError::Unavailable { .. })));
    put
}

/// Returns `unsigned`: this library is not built for uploads with credentials from the environment.
#[cfg(not(feature = "object-store"))]
#[allow(clippy::unused_async)] // the signature of the other version
async fn put_in_own_bucket(
    _http: &HttpClient,
    _run: &StoredRun,
    _path: &str,
    _content: &UploadContent<'_>,
    unsigned: StoreError,
) -> Result<(), StoreError> {
    Err(unsigned)
}

async fn put_in_directory(
    http: &HttpClient,
    artifact_uri: &str,
    path: &str,
    content: ArtifactContent<'_>,
) -> Result<(), StoreError> {
    let root = directory_on_this_host(http, artifact_uri)?;
    local_artifacts::write_artifact(&root, path, content).await
}

/// Returns the directory of the run's artifacts, if this program may [use](is_permitted) it.
fn directory_on_this_host(http: &HttpClient, artifact_uri: &str) -> Result<PathBuf, StoreError> {
    let root = local_artifacts::uri_to_directory(artifact_uri)?;
    if is_permitted(http, &root) {
        return Ok(root);
    }
    Err(StoreError::Blocked {
        reason: format!(
            "the server wants artifacts in {}, a directory of its own machine. Start the server with --serve-artifacts or, if \
             this machine has the same directory, set MLFLOW_LOCAL_ARTIFACTS_DIR to it or to one above it",
            root.display()
        )
        .into(),
        everything: false,
    })
}

/// Deletes an artifact on the way on which [`put_artifact`] writes one.
pub(super) async fn delete_artifact(
    http: &HttpClient,
    run: &StoredRun,
    path: &str,
) -> Result<(), StoreError> {
    validate::check_artifact_path(path)?;
    match uri::scheme(&run.artifact_uri) {
        Some("mlflow-artifacts") => match delete_by_proxy(http, run, path).await {
            // Some storages behind a server cannot delete, and fail so.
            Err(RequestError::Known(Cause::ServerFault, error)) => Err(StoreError::Rejected {
                reason: error.to_string().into(),
            }),
            // A gateway may refuse this method, and nothing else.
            Err(RequestError::Other(StoreError::Blocked { reason, .. })) => {
                Err(StoreError::Blocked {
                    reason,
                    everything: false,
                })
            }
            deleted => Ok(deleted?),
        },
        Some(scheme) if !scheme.eq_ignore_ascii_case("file") => {
            delete_in_own_bucket(http, run, path).await
        }
        _ => {
            let root = directory_on_this_host(http, &run.artifact_uri)?;
            local_artifacts::delete_artifact(&root, path)
        }
    }
}

async fn delete_by_proxy(
    http: &HttpClient,
    run: &StoredRun,
    path: &str,
) -> Result<(), RequestError> {
    let url = artifact_url::proxied_url(http.base_url(), &run.artifact_uri, path)?;
    let asked = format!("DELETE artifact {path}");
    let answer = async {
        let build = || http.request(Method::DELETE, url.clone());
        let response = http.send(&asked, Idempotency::Idempotent, build).await?;
        let status = response.status();
        if matches!(
            status,
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        ) {
            return Err(RequestError::Other(StoreError::Blocked {
                reason: format!("{asked}: the server does not do that (status {status})").into(),
                everything: false,
            }));
        }
        http::read_success_body(Route::Artifacts, &asked, response).await
    };
    let body = time_limit::with_timeout(http.timeout(), &asked, answer).await?;
    if body.is_empty() || serde_json::from_slice::<json::EmptyResponse>(&body).is_ok() {
        Ok(())
    } else {
        Err(error::unexpected_response_error(&asked, &body).into())
    }
}

/// Deletes an artifact in its bucket with credentials from the environment.
#[cfg(feature = "object-store")]
async fn delete_in_own_bucket(
    http: &HttpClient,
    run: &StoredRun,
    path: &str,
) -> Result<(), StoreError> {
    if !object_storage::is_supported(&run.artifact_uri) {
        return Err(undeletable_error(run));
    }
    let request = object_storage::Request {
        client: http.client_of(true, false)?,
        timeout: http.timeout(),
        artifact_uri: &run.artifact_uri,
        path,
    };
    http.object_storage().delete(request).await
}

/// Returns an error: the server signs uploads alone, and this library is not built for another way.
#[cfg(not(feature = "object-store"))]
#[allow(clippy::unused_async)] // the signature of the other version
async fn delete_in_own_bucket(
    _http: &HttpClient,
    run: &StoredRun,
    _path: &str,
) -> Result<(), StoreError> {
    Err(undeletable_error(run))
}

fn undeletable_error(run: &StoredRun) -> StoreError {
    StoreError::Blocked {
        reason: format!(
            "artifacts of this run are in `{}`, where this program cannot delete: build it with the feature \
             `object-store` of mlflow-runtime, or start the server with --serve-artifacts",
            mlflow_rules::url_without_credentials(&run.artifact_uri)
        )
        .into(),
        everything: false,
    }
}

/// Sends an artifact through the server's proxy, or in parts by URLs that the server signs.
async fn put_through_server(
    http: &HttpClient,
    run: &StoredRun,
    path: &str,
    content: &UploadContent<'_>,
) -> Result<(), RequestError> {
    let length = content.length()?;
    let MultipartUploads {
        enabled,
        min_file_bytes,
        ..
    } = http.multipart();
    let is_large = length >= min_file_bytes;
    let info = if is_large || length > MAX_UNASKED_BYTES {
        http.server_info().await
    } else {
        ServerInfo::default()
    };
    if info.artifacts_presigned_only {
        http.set_presigned_only();
    }
    if http.is_presigned_only() {
        return Ok(put_by_signed_urls(http, run, path, content).await?);
    }
    if is_large
        && enabled.unwrap_or(info.multipart_uploads_enabled)
        && let MultipartOutcome::Uploaded =
            multipart::upload_in_parts(http, run, path, content).await?
    {
        return Ok(());
    }
    match put_by_proxy(http, run, path, content).await {
        Err(RequestError::Known(Cause::PresignedOnly, _)) => {
            http.set_presigned_only();
            Ok(put_by_signed_urls(http, run, path, content).await?)
        }
        put => put,
    }
}

/// Uploads an artifact of whatever size in parts, because the server passes no artifacts on. The server signs
/// nothing else for its own bucket.
async fn put_by_signed_urls(
    http: &HttpClient,
    run: &StoredRun,
    path: &str,
    content: &UploadContent<'_>,
) -> Result<(), StoreError> {
    match multipart::upload_in_parts(http, run, path, content).await? {
        MultipartOutcome::Uploaded => Ok(()),
        MultipartOutcome::Unsupported => Err(presigned::blocked_error(
            run,
            "the server was started with --artifacts-presigned-only, and its artifact storage takes no uploads in parts",
        )),
    }
}

async fn put_by_proxy(
    http: &HttpClient,
    run: &StoredRun,
    path: &str,
    content: &UploadContent<'_>,
) -> Result<(), RequestError> {
    let url = artifact_url::proxied_url(http.base_url(), &run.artifact_uri, path)?;
    let asked = format!("PUT artifact {path}");
    let request = |url| {
        let request = http.request(Method::PUT, url);
        request.header(CONTENT_TYPE, content_type::header(path))
    };
    let put = || {
        upload::send_following_redirects(
            http,
            Receiver::TrackingServer,
            &request,
            &asked,
            url.clone(),
            content,
        )
    };
    let login = http.login().prepare().await?;
    let mut response = put().await?;
    if http.login().is_renewed(login, response.status()).await {
        response = put().await?;
    }
    http.note_login(&mut response);
    let answer = http::read_success_body(Route::Artifacts, &asked, response);
    let body = time_limit::with_timeout(http.timeout(), &asked, answer).await?;
    // MLflow answers with an empty body or with `{}`. A server that answers anything else has not stored the
    // file.
    if body.is_empty() || serde_json::from_slice::<json::EmptyResponse>(&body).is_ok() {
        Ok(())
    } else {
        Err(error::unexpected_response_error(&asked, &body).into())
    }
}

/// Returns true if the server may have this program use a directory of this machine: if the server is on this machine, or
/// the directory lies below the one that the user has named. Any other server could have files written or read anywhere.
pub(super) fn is_permitted(http: &HttpClient, root: &Path) -> bool {
    let is_plain = { root.components() }.all(|part| part != Component::ParentDir);
    let is_named = { http.local_artifacts_dir() }.is_some_and(|named| lies_below(root, named));
    is_plain && (http::is_loopback(http.base_url()) || is_named)
}

/// Returns true if a directory lies below another one, also once the symbolic links of both are resolved: whoever may write
/// to the file system of the server may make links in it.
fn lies_below(directory: &Path, base: &Path) -> bool {
    let existing = directory.ancestors().find(|path| path.exists());
    let resolved =
        (base.canonicalize().ok()).zip(existing.and_then(|path| path.canonicalize().ok()));
    // What is missing is made below the base.
    let is_inside = resolved
        .is_none_or(|(base, existing)| existing.starts_with(&base) || base.starts_with(&existing));
    is_inside && directory.starts_with(base)
}
