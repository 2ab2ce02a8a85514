//! Where an artifact goes, and uploads to the server's proxy.
//!
//! - A body has a known length and is never sent chunked: several releases store a chunked upload
//!   as an empty file and answer 200.
//! - An upload may take as long as it needs, as long as it moves.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Method, Response, Url};

use super::answer::{self, Route};
use super::http::{self, Http};
use super::{ArtifactContent, StoreError, wire};
use crate::store::{directory, names, uri};

/// What is read of a file, or handed to the connection, at a time.
const CHUNK: usize = 256 << 10;

/// The slowest a server may put away what it received, in bytes a second.
const SLOWEST_STORAGE: u64 = 1 << 20;

/// Writes one artifact to where the run's artifacts go.
pub(super) async fn put(
    http: &Http,
    artifact_uri: &str,
    path: &str,
    content: ArtifactContent<'_>,
) -> Result<(), StoreError> {
    names::check_artifact_path(path)?;
    let rejected = |why: &str| StoreError::Rejected {
        reason: format!("artifact path `{path}`: {why}"),
    };
    if uri::scheme(artifact_uri) != Some("mlflow-artifacts") {
        let root = directory::of_uri(artifact_uri)?;
        if !is_on_this_host(http.base_url(), &root) {
            return Err(StoreError::Blocked {
                reason: format!(
                    "artifacts of this run go to {}, which is a directory of the server's host and not of this one. \
                     Start the server with --serve-artifacts",
                    root.display()
                ),
                everything: false,
            });
        }
        return directory::put(&root, path, content).await;
    }
    if path.contains(['%', '#']) {
        return Err(rejected("the server does not keep `%` and `#` in names"));
    }
    let mut url = proxied(http.base_url(), artifact_uri, path)?;
    let asked = format!("PUT artifact {path}");
    let content = match content {
        // A borrowed slice cannot outlive this call, and a request body has to.
        ArtifactContent::Bytes(bytes) => Content::Memory(Bytes::from(bytes.into_owned())),
        ArtifactContent::File(file) => Content::File(file),
    };
    let mut response = sent(http, &asked, &url, &content).await?;
    // The client follows only with bodies that it can copy.
    for _ in 0..http::REDIRECTS {
        let Some(target) = moved(&response, &url) else {
            break;
        };
        url = target;
        response = sent(http, &asked, &url, &content).await?;
    }
    let body = http::read(Route::Artifacts, &asked, response).await?;
    // MLflow says nothing, or `{}`: whoever says more has not kept the file.
    if body.is_empty() || serde_json::from_slice::<wire::Empty>(&body).is_ok() {
        Ok(())
    } else {
        Err(answer::not_understood(&asked, &body))
    }
}

/// Where an upload has to go instead.
fn moved(response: &Response, from: &Url) -> Option<Url> {
    if !http::keeps_body(response.status()) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let target = from.join(location).ok()?;
    matches!(target.scheme(), "http" | "https").then_some(target)
}

/// The answer to an upload, tried once more where the connection broke.
async fn sent(
    http: &Http,
    asked: &str,
    url: &Url,
    content: &Content<'_>,
) -> Result<Response, StoreError> {
    match send(http, asked, url, content).await {
        Err(Unsent::Broke(_)) => send(http, asked, url, content).await,
        sent => sent,
    }
    .map_err(|unsent| match unsent {
        Unsent::Broke(error) | Unsent::Failed(error) => error,
    })
}

/// With a local server, or where the store's root is there, a path means the same to both.
fn is_on_this_host(server: &Url, root: &std::path::Path) -> bool {
    let server_is_local = matches!(server.host_str(), Some("localhost" | "[::1]"))
        || server.host_str().is_some_and(|h| h.starts_with("127."));
    // `<root>/<experiment>/<run>/artifacts`
    server_is_local || root.ancestors().nth(3).is_some_and(std::path::Path::is_dir)
}

/// The URL behind `mlflow-artifacts:/…` (through the tracking server) or `mlflow-artifacts://host/…`.
pub(super) fn proxied(server: &Url, artifact_uri: &str, path: &str) -> Result<Url, StoreError> {
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
    let mut url = format!("{origin}{prefix}/api/2.0/mlflow-artifacts/artifacts/{root}/");
    uri::push_encoded_path(&mut url, path);
    http::parse(&url)
}

enum Content<'a> {
    Memory(Bytes),
    File(&'a std::path::Path),
}

enum Unsent {
    /// The connection broke: a fresh one may do better.
    Broke(StoreError),
    Failed(StoreError),
}

async fn send(
    http: &Http,
    asked: &str,
    url: &Url,
    content: &Content<'_>,
) -> Result<Response, Unsent> {
    let (source, length) = match content {
        Content::Memory(bytes) => (Source::Memory(bytes.clone()), bytes.len() as u64),
        Content::File(path) => {
            let file = directory::open_source(path).map_err(Unsent::Failed)?;
            let length = file.metadata().map_err(|error| {
                Unsent::Failed(StoreError::Rejected {
                    reason: format!("cannot read {}: {error}", path.display()),
                })
            })?;
            (Source::File(file), length.len())
        }
    };
    let sent = Arc::new(AtomicU64::new(0));
    let body = Upload {
        source,
        left: length,
        sent: sent.clone(),
    };
    let request = http
        .request(Method::PUT, url.clone())
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_LENGTH, length)
        .body(reqwest::Body::wrap(body))
        .send();
    let mut request = std::pin::pin!(request);
    // Once all is sent, the server may need time to put it away.
    let mut patience = length / SLOWEST_STORAGE / http.timeout().as_secs().max(1) + 1;
    let mut seen = 0;
    loop {
        tokio::select! {
            answer = &mut request => {
                return answer.map_err(|error| {
                    let unsent = http::not_sent(asked, &error);
                    if http::broke(&error) { Unsent::Broke(unsent) } else { Unsent::Failed(unsent) }
                });
            }
            () = tokio::time::sleep(http.timeout()) => {
                let now = sent.load(Ordering::Relaxed);
                if now == seen {
                    patience -= 1;
                    if now < length || patience == 0 {
                        return Err(Unsent::Failed(StoreError::Unavailable {
                            reason: format!("{asked}: stalled after {now} of {length} bytes"),
                            retry_after: None,
                        }));
                    }
                }
                seen = now;
            }
        }
    }
}

enum Source {
    Memory(Bytes),
    File(File),
}

/// A body of known length, read as it is sent.
struct Upload {
    source: Source,
    left: u64,
    /// For the watch that tells a slow upload from a stalled one.
    sent: Arc<AtomicU64>,
}

impl Upload {
    fn next(&mut self) -> io::Result<Bytes> {
        let length = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        let chunk = match &mut self.source {
            Source::Memory(bytes) => bytes.split_to(length.min(bytes.len())),
            Source::File(file) => {
                let mut chunk = vec![0; length];
                // A local file: shorter than a scheduler's turn, and no thread to hand it to.
                let read = file.read(&mut chunk)?;
                chunk.truncate(read);
                Bytes::from(chunk)
            }
        };
        if chunk.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was sent",
            ));
        }
        self.left -= chunk.len() as u64;
        self.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Ok(chunk)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready((self.left > 0).then(|| self.next().map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxied_uris_resolve_as_in_mlflow() {
        let resolve = |server: &str, uri: &str| {
            let server = Url::parse(server).expect("a URL");
            proxied(&server, uri, "d/ü a.txt").map(String::from)
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
