//! URLs of the server's artifact routes, for what an artifact URI names.

use reqwest::Url;

use super::{StoreError, http};
use crate::percent_encoding::push_encoded_path;

/// Returns the URL that an artifact URI stands for: `mlflow-artifacts:/…` (through the tracking server) or
/// `mlflow-artifacts://host/…`.
pub(super) fn proxied_url(server: &Url, artifact_uri: &str, path: &str) -> Result<Url, StoreError> {
    route_url(server, "artifacts", artifact_uri, path)
}

/// Returns the URL at which the server signs the download of an artifact of its own bucket.
pub(super) fn presigned_url(
    server: &Url,
    artifact_uri: &str,
    path: &str,
) -> Result<Url, StoreError> {
    route_url(server, "presigned", artifact_uri, path)
}

/// Returns the URL of an artifact route for a path below an artifact URI. The path may be empty.
pub(super) fn route_url(
    server: &Url,
    route: &str,
    artifact_uri: &str,
    path: &str,
) -> Result<Url, StoreError> {
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
    let mut url = format!("{origin}{prefix}/api/2.0/mlflow-artifacts/{route}/{root}");
    if !path.is_empty() {
        url.push('/');
        push_encoded_path(&mut url, path);
    }
    http::parse_url(&url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxied_uris_resolve_as_in_mlflow() {
        let resolve = |server: &str, uri: &str| {
            let server = Url::parse(server).expect("a URL");
            proxied_url(&server, uri, "d/ü a.txt").map(String::from)
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
