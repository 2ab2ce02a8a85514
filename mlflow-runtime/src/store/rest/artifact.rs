//! Routing of artifacts: through the server's proxy, to a directory of this host, or to a bucket.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Url};

use super::error::{self, Route};
use super::http::{self, HttpClient};
use super::upload::{self, UploadContent};
use super::{ArtifactContent, StoreError, StoredRun, json, presigned, time_limit};
use crate::store::{local_artifacts, uri, validate};

/// Writes one artifact to the destination that the run's artifact URI names.
pub(super) async fn put_artifact(
    http: &HttpClient,
    run: &StoredRun,
    path: &str,
    content: ArtifactContent<'_>,
) -> Result<(), StoreError> {
    validate::check_artifact_path(path)?;
    let scheme = uri::scheme(&run.artifact_uri);
    match scheme {
        Some("mlflow-artifacts") => {
            put_through_server(http, &run.artifact_uri, path, content).await
        }
        None => put_in_directory(http, &run.artifact_uri, path, content).await,
        Some(scheme) if scheme.eq_ignore_ascii_case("file") => {
            put_in_directory(http, &run.artifact_uri, path, content).await
        }
        Some(_) => {
            presigned::upload_to_bucket(http, run, path, &UploadContent::from(content)).await
        }
    }
}

async fn put_in_directory(
    http: &HttpClient,
    artifact_uri: &str,
    path: &str,
    content: ArtifactContent<'_>,
) -> Result<(), StoreError> {
    let root = local_artifacts::uri_to_directory(artifact_uri)?;
    if is_on_this_host(http.base_url(), &root) {
        return local_artifacts::write_artifact(&root, path, content).await;
    }
    Err(StoreError::Blocked {
        reason: format!(
            "artifacts of this run go to {}, which is a directory of the server's host and not of this one. Start \
             the server with --serve-artifacts",
            root.display()
        )
        .into(),
        everything: false,
    })
}

async fn put_through_server(
    http: &HttpClient,
    artifact_uri: &str,
    path: &str,
    content: ArtifactContent<'_>,
) -> Result<(), StoreError> {
    let url = artifact_proxy_url(http.base_url(), artifact_uri, path)?;
    let asked = format!("PUT artifact {path}");
    let request = |url| {
        let request = http.request(Method::PUT, url);
        request.header(CONTENT_TYPE, "application/octet-stream")
    };
    let content = UploadContent::from(content);
    let response =
        upload::send_following_redirects(request, http.timeout(), &asked, url, &content).await?;
    let answer = http::read_success_body(Route::Artifacts, &asked, response);
    let body = time_limit::with_timeout(http.timeout(), &asked, answer).await?;
    // MLflow answers with an empty body or with `{}`. A server that answers anything else has not stored the
    // file.
    if body.is_empty() || serde_json::from_slice::<json::EmptyResponse>(&body).is_ok() {
        Ok(())
    } else {
        Err(error::unexpected_response_error(&asked, &body))
    }
}

/// Returns true if a path means the same to this host and to the server: if the server is local, or if the
/// root of the server's artifacts exists on this host.
pub(super) fn is_on_this_host(server: &Url, root: &std::path::Path) -> bool {
    let server_is_local = matches!(server.host_str(), Some("localhost" | "[::1]"))
        || server.host_str().is_some_and(|h| h.starts_with("127."));
    // `<root>/<experiment>/<run>/artifacts`
    server_is_local || root.ancestors().nth(3).is_some_and(std::path::Path::is_dir)
}

/// Returns the URL that an artifact URI stands for: `mlflow-artifacts:/…` (through the tracking server) or
/// `mlflow-artifacts://host/…`.
pub(super) fn artifact_proxy_url(
    server: &Url,
    artifact_uri: &str,
    path: &str,
) -> Result<Url, StoreError> {
    proxy_url(server, "artifacts", artifact_uri, path)
}

/// Returns the URL at which the server signs the download of an artifact of its own bucket.
pub(super) fn presigned_proxy_url(
    server: &Url,
    artifact_uri: &str,
    path: &str,
) -> Result<Url, StoreError> {
    proxy_url(server, "presigned", artifact_uri, path)
}

fn proxy_url(server: &Url, route: &str, artifact_uri: &str, path: &str) -> Result<Url, StoreError> {
    let rest = artifact_uri
        .strip_prefix("mlflow-artifacts:")
        .unwrap_or(artifact_uri);
    let (origin, root) = match rest.strip_prefix("//") {
        Some(with_host) if !with_host.starts_with('/') => {
            let (authority, root) = with_host.split_once('/').unwrap_or((with_host, ""));
            let host = authority
                .rsplit_once('@')
                .map_or(authority, |(_userinfo, host)| host);
            (format!("{}://{host}", server.scheme()), root)
        }
        _ => (server.origin().ascii_serialization(), rest),
    };
    let prefix = server.path().trim_end_matches('/');
    let root = root.trim_matches('/');
    let mut url = format!("{origin}{prefix}/api/2.0/mlflow-artifacts/{route}/{root}/");
    uri::push_encoded_path(&mut url, path);
    http::parse_url(&url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxied_uris_resolve_as_in_mlflow() {
        let resolve = |server: &str, uri: &str| {
            let server = Url::parse(server).expect("a URL");
            artifact_proxy_url(&server, uri, "d/ü a.txt").map(String::from)
        };
        let tail = "api/2.0/mlflow-artifacts/artifacts/0/r/artifacts/d/%C3%BC%20a.txt";
        assert_eq!(
            resolve("http://h:5000/", "mlflow-artifacts:/0/r/artifacts"),
            Ok(format!("http://h:5000/{tail}"))
        );
        assert_eq!(
            resolve("https://h/pre", "mlflow-artifacts:///0/r/artifacts"),
            Ok(format!("https://h/pre/{tail}"))
        );
        assert_eq!(
            resolve(
                "https://h/pre",
                "mlflow-artifacts://u:p@other:7/0/r/artifacts"
            ),
            Ok(format!("https://other:7/pre/{tail}"))
        );
    }
}
