//! Artifacts of runs and files of logged models: listed by the server, and read on the way that the run's artifact URI and the server allow.
//!
//! - `mlflow-artifacts:` URIs are read through the server's proxy. Everything else is read from this host's
//!   directory if it is here, and otherwise by the server, which has the credentials of its storage.
//! - A server that passes no artifacts on (`--artifacts-presigned-only`, MLflow 3.18) signs a URL. The bucket
//!   receives none of the tracking server's credentials, and the URL appears in no error.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::io;

use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::api::Api;
use super::download;
use super::records::FilesAnswer;
use crate::entities::FileInfo;
use crate::store::rest::error::{self, Cause, RequestError, Route};
use crate::store::rest::http::{self, Idempotency};
use crate::store::rest::json::{RunResponse, to_json};
use crate::store::rest::models::ModelResponse;
use crate::store::rest::redirects::{MAX_REDIRECTS, Receiver};
use crate::store::rest::{artifact, artifact_url, presigned, time_limit};
use crate::store::{ByteSink, ClientError, StoredRun, local_artifacts, uri};

/// Run or logged model that has artifacts, by its id.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner<'a> {
    Run(&'a str),
    LoggedModel(&'a str),
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(id) => write!(f, "the run {id}"),
            Self::LoggedModel(id) => write!(f, "the logged model {id}"),
        }
    }
}

impl Owner<'_> {
    /// Requests the root of the artifacts. A logged model is returned as a run with its id.
    async fn root(self, api: Api<'_>) -> Result<StoredRun, ClientError> {
        match self {
            Self::Run(run_id) => {
                let RunResponse { run } = api.get("runs/get", &[("run_id", run_id)]).await?;
                Ok(run.info.into_stored_run())
            }
            Self::LoggedModel(model_id) => {
                let path = format!("logged-models/{model_id}");
                let ModelResponse { model } = api.get(&path, &[]).await?;
                let model = model.into_stored();
                Ok(StoredRun {
                    run_id: model.model_id,
                    experiment_id: model.experiment_id,
                    artifact_uri: model.artifact_uri,
                })
            }
        }
    }
}

/// URL that the server has signed.
#[derive(Deserialize)]
struct PresignedDownload {
    #[serde(alias = "url")]
    presigned_url: String,
    /// Headers that the signature covers besides the URL.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// Returns the files and folders of a folder, sorted by path.
pub(super) async fn list(
    api: Api<'_>,
    of: Owner<'_>,
    folder: &str,
) -> Result<Vec<FileInfo>, ClientError> {
    let folder = folder.trim_matches('/');
    if !folder.is_empty() {
        check_path(folder)?;
        check_server_path(folder)?;
    }
    let files = request_list(api, of, folder).await?;
    // Some storages list a file as the only file of a folder with the file's name.
    if let [only] = files.as_slice() {
        let (parent, name) = folder.rsplit_once('/').unwrap_or(("", folder));
        let may_be_itself = !only.is_dir && only.path == format!("{folder}/{name}");
        let is_folder = |file: &FileInfo| file.is_dir && file.path == folder;
        if may_be_itself && !request_list(api, of, parent).await?.iter().any(is_folder) {
            return Ok(Vec::new());
        }
    }
    Ok(files)
}

async fn request_list(
    api: Api<'_>,
    of: Owner<'_>,
    folder: &str,
) -> Result<Vec<FileInfo>, ClientError> {
    let mut files: Vec<FileInfo> = Vec::new();
    let mut token = String::new();
    loop {
        let (path, mut query, folder_field) = match of {
            Owner::Run(id) => ("artifacts/list".to_owned(), vec![("run_id", id)], "path"),
            Owner::LoggedModel(id) => {
                let path = format!("logged-models/{id}/artifacts/directories");
                (path, Vec::new(), "artifact_directory_path")
            }
        };
        if !folder.is_empty() {
            query.push((folder_field, folder));
        }
        if !token.is_empty() {
            query.push(("page_token", token.as_str()));
        }
        let answer: FilesAnswer = api.get(&path, &query).await?;
        let is_last = answer.files.is_empty()
            || answer.next_page_token.is_empty()
            || answer.next_page_token == token;
        files.extend(answer.files.into_iter().map(FileInfo::from));
        if is_last {
            break;
        }
        token = answer.next_page_token;
    }
    files.retain(|file| file.path.trim_end_matches('/') != folder);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Reads an artifact, and hands its bytes to `sink`.
pub(super) async fn read(
    api: Api<'_>,
    of: Owner<'_>,
    path: &str,
    sink: &mut ByteSink<'_>,
) -> Result<(), ClientError> {
    check_path(path)?;
    let run = of.root(api).await?;
    let asked = format!("GET artifact {path} of {of}");
    let url = if uri::scheme(&run.artifact_uri) == Some("mlflow-artifacts") {
        check_server_path(path)?;
        artifact_url::proxied_url(api.http.base_url(), &run.artifact_uri, path)?
    } else {
        if let Ok(root) = local_artifacts::uri_to_directory(&run.artifact_uri)
            && artifact::is_permitted(api.http, &root)
        {
            match local_artifacts::open_to_read(&root, path) {
                Ok(file) => return local_artifacts::read_open(file, path, sink),
                // The server may have what this user may not read.
                Err(error) if is_out_of_reach(&error) => {}
                Err(error) => return Err(error),
            }
        }
        check_server_path(path)?;
        served_url(api, of, path)?
    };
    let failure = match open(api, &asked, &url).await {
        Ok(response) => {
            return download::stream_body(response, api.http.timeout(), &asked, sink).await;
        }
        Err(failure) => failure,
    };
    match failure {
        RequestError::Known(Cause::PresignedOnly, _) => {
            read_from_bucket(api, of, &run, path, &asked, sink).await
        }
        // Releases before 3.17 fail if there is no such file, or if it is a folder.
        RequestError::Known(Cause::ServerFault, error) => {
            let (parent, _) = path.rsplit_once('/').unwrap_or(("", path));
            let listed = request_list(api, of, parent).await?;
            match listed.iter().find(|file| file.path == path) {
                None => Err(not_found(&asked)),
                Some(FileInfo { is_dir: true, .. }) => Err(download::folder_error(&asked)),
                // The proxy of some releases fails at names that are not ASCII.
                Some(_) => match open(api, &asked, &served_url(api, of, path)?).await {
                    Ok(response) => {
                        download::stream_body(response, api.http.timeout(), &asked, sink).await
                    }
                    Err(_) => Err(error.into()),
                },
            }
        }
        other => Err(api.explain(&asked, other).await),
    }
}

/// Returns true if there is no such file for this user.
fn is_out_of_reach(error: &ClientError) -> bool {
    let cause = { error.source() }.and_then(|cause| cause.downcast_ref::<io::Error>());
    let is_denied = cause.is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied);
    is_denied || matches!(error, ClientError::NotFound { .. })
}

/// Returns the URL at which the server hands out an artifact, wherever it is stored.
fn served_url(api: Api<'_>, of: Owner<'_>, path: &str) -> Result<Url, ClientError> {
    let base = api.http.base();
    let (mut url, query) = match of {
        Owner::Run(id) => {
            let url = http::parse_url(&format!("{base}/get-artifact"))?;
            (url, vec![("run_id", id), ("path", path)])
        }
        Owner::LoggedModel(id) => {
            let url = format!("{base}/ajax-api/2.0/mlflow/logged-models/{id}/artifacts/files");
            (http::parse_url(&url)?, vec![("artifact_file_path", path)])
        }
    };
    url.query_pairs_mut().extend_pairs(query);
    Ok(url)
}

async fn open(api: Api<'_>, asked: &str, url: &Url) -> Result<Response, RequestError> {
    let response = api.http.open(asked, url).await?;
    if response.status().is_success() {
        return Ok(response);
    }
    let refused = http::read_success_body(Route::Artifacts, asked, response);
    match time_limit::with_timeout(api.http.timeout(), asked, refused).await {
        Err(failure) => Err(failure),
        Ok(body) => Err(error::unexpected_response_error(asked, &body).into()),
    }
}

/// Reads an artifact with a URL that the server signs.
async fn read_from_bucket(
    api: Api<'_>,
    of: Owner<'_>,
    run: &StoredRun,
    path: &str,
    asked: &str,
    sink: &mut ByteSink<'_>,
) -> Result<(), ClientError> {
    let PresignedDownload {
        presigned_url,
        headers,
    } = request_presigned(api, of, run, path).await?;
    let (Ok(mut url), Some(headers)) = (
        Url::parse(&presigned_url),
        presigned::build_header_map(&headers),
    ) else {
        let why = "the server's signed download is not a valid URL with valid headers";
        return Err(presigned::blocked_error(run, why).into());
    };
    api.http.warn_if_bucket_is_exposed(&url);
    let client = api.http.bucket_client(&url)?;
    let timeout = api.http.timeout();
    let mut redirects = 0;
    let response = loop {
        let opening = async {
            let sent = client.get(url.clone()).headers(headers.clone()).send();
            sent.await
                .map_err(|error| http::classify_send_error(asked, error))
        };
        let response = time_limit::with_timeout(timeout, asked, opening).await?;
        match Receiver::Bucket.redirect_target(&response, &url) {
            Some(target) if redirects < MAX_REDIRECTS => url = target,
            _ => break response,
        }
        redirects += 1;
    };
    if response.status() == StatusCode::NOT_FOUND {
        return Err(not_found(asked));
    }
    if !response.status().is_success() {
        let refused = presigned::check_bucket_response(run, asked, response);
        time_limit::with_timeout(timeout, asked, refused).await?;
        return Ok(());
    }
    download::stream_body(response, timeout, asked, sink).await
}

/// Requests a signed URL: at the proxy for artifacts of the server's own bucket, else by the run.
async fn request_presigned(
    api: Api<'_>,
    of: Owner<'_>,
    run: &StoredRun,
    path: &str,
) -> Result<PresignedDownload, ClientError> {
    const ASKED: &str = "a signed URL for the artifact";
    if uri::scheme(&run.artifact_uri) == Some("mlflow-artifacts") {
        let server = api.http.base_url();
        let url = artifact_url::presigned_url(server, &run.artifact_uri, path)?;
        let response = match open(api, ASKED, &url).await {
            Ok(response) => response,
            Err(failure) => return Err(api.explain(ASKED, failure).await),
        };
        let answer = http::read_json(ASKED, response);
        let answer = time_limit::with_timeout(api.http.timeout(), ASKED, answer).await;
        return answer.map_err(Into::into);
    }
    if let Owner::LoggedModel(_) = of {
        let why = "the server signs downloads of runs alone. Read the file from the bucket";
        return Err(presigned::blocked_error(run, why).into());
    }
    const PATH: &str = "artifacts/presigned-download-url";
    let body = to_json(&json!({ "run_id": run.run_id, "path": path }));
    match api.http.post(PATH, body, Idempotency::Idempotent).await {
        Ok(signed) => Ok(signed),
        Err(failure) => Err(api.explain(ASKED, failure).await),
    }
}

fn not_found(asked: &str) -> ClientError {
    ClientError::not_found(format!(
        "{asked}: there is no such artifact; list the run's artifacts to see their paths"
    ))
}

/// Refuses a path that no artifact can have.
fn check_path(path: &str) -> Result<(), ClientError> {
    let fault = if path.starts_with('/') {
        "it is absolute, and a path of an artifact begins below the run"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "it is empty or has an empty, `.` or `..` part"
    } else {
        return Ok(());
    };
    Err(ClientError::invalid(format!(
        "artifact path `{path}`: {fault}"
    )))
}

/// Refuses a path that MLflow's servers do not find: they decode `%41` in a name, and might answer with
/// another file.
fn check_server_path(path: &str) -> Result<(), ClientError> {
    let is_encoded = |rest: &str| {
        let mut digits = rest.chars().map(|c| c.is_ascii_hexdigit());
        digits.next() == Some(true) && digits.next() == Some(true)
    };
    let fault = if path.contains('#') {
        "MLflow's servers do not accept `#` in a path"
    } else if path.split('%').skip(1).any(is_encoded) {
        "MLflow's servers take `%` and two digits in a path for another character"
    } else {
        return Ok(());
    };
    Err(ClientError::unsupported(format!(
        "artifact path `{path}`: {fault}: read the artifact from its storage directly"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_mean_something_else_are_refused() {
        for path in [
            "a.txt",
            "dir/ü b+c.txt",
            "100%",
            "50%.txt",
            "a%zz",
            "..a/b..",
        ] {
            assert!(check_path(path).is_ok(), "{path}");
            assert!(check_server_path(path).is_ok(), "{path}");
        }
        for path in ["", "/a", "a/", "a//b", "../a", "a/../b", "."] {
            let refused = check_path(path);
            assert!(
                matches!(refused, Err(ClientError::Invalid { .. })),
                "{path}"
            );
        }
        for path in ["a%41.txt", "%2e%2e/x", "50%%25", "a#b"] {
            let refused = check_server_path(path);
            let is_unsupported = matches!(refused, Err(ClientError::Unsupported { .. }));
            assert!(is_unsupported, "{path}");
        }
    }

    #[test]
    fn both_forms_of_a_signed_download_are_read() {
        for json in [
            r#"{"url": "https://b/x", "headers": {"a": "b"}, "file_size": 5}"#,
            r#"{"presigned_url": "https://b/x", "headers": {"a": "b"}}"#,
        ] {
            let signed: PresignedDownload = serde_json::from_str(json).expect("an answer");
            assert_eq!(signed.presigned_url, "https://b/x");
            assert_eq!(signed.headers["a"], "b");
        }
    }
}
