//! Uploads: the body of a request that is read as it is sent.
//!
//! - A body has a known length and is never sent chunked: several releases store a chunked upload
//!   as an empty file and answer 200.
//! - An upload may take as long as it needs, as long as it moves.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::header::{CONTENT_LENGTH, LOCATION};
use reqwest::{RequestBuilder, Response, Url};

use super::{ArtifactContent, StoreError, http};
use crate::store::local_artifacts;

/// What is read of a file, or handed to the connection, at a time.
const CHUNK: usize = 256 << 10;

/// The slowest a server may put away what it received, in bytes a second.
const SLOWEST_STORAGE: u64 = 1 << 20;

/// What is sent, each time from its beginning.
pub(super) enum Content<'a> {
    Memory(Bytes),
    File(&'a Path),
}

impl<'a> From<ArtifactContent<'a>> for Content<'a> {
    fn from(content: ArtifactContent<'a>) -> Self {
        match content {
            // A borrowed slice cannot outlive the call, and a request body has to.
            ArtifactContent::Bytes(bytes) => Self::Memory(Bytes::from(Cow::into_owned(bytes))),
            ArtifactContent::File(file) => Self::File(file),
        }
    }
}

impl Content<'_> {
    /// Opens it, and tells how many bytes it has.
    fn open(&self) -> Result<(Source, u64), StoreError> {
        match self {
            Self::Memory(bytes) => Ok((Source::Memory(bytes.clone()), bytes.len() as u64)),
            Self::File(path) => {
                let file = local_artifacts::open_source(path)?;
                let metadata = file.metadata().map_err(|error| StoreError::Rejected {
                    reason: format!("cannot read {}: {error}", path.display()),
                })?;
                Ok((Source::File(file), metadata.len()))
            }
        }
    }

    /// Returns how many bytes it has.
    pub(super) fn length(&self) -> Result<u64, StoreError> {
        self.open().map(|(_, length)| length)
    }
}

/// Sends the content with a request to `url`, and to where that sends us. `timeout` is the longest that it may
/// make no progress. `asked` names the request.
pub(super) async fn put(
    request: impl Fn(Url) -> RequestBuilder,
    timeout: Duration,
    asked: &str,
    mut url: Url,
    content: &Content<'_>,
) -> Result<Response, StoreError> {
    let mut response = sent(&request, timeout, asked, &url, content).await?;
    // The client follows only with bodies that it can copy.
    for _ in 0..http::REDIRECTS {
        let Some(target) = moved(&response, &url) else {
            break;
        };
        url = target;
        response = sent(&request, timeout, asked, &url, content).await?;
    }
    Ok(response)
}

/// Waits for what reads an answer, but not longer than `timeout`: one may stop in the middle.
pub(super) async fn in_time<T, E: From<StoreError>>(
    timeout: Duration,
    asked: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let late = |_| {
        let reason = format!("{asked}: no answer in time");
        let retry_after = None;
        Err(StoreError::Unavailable {
            reason,
            retry_after,
        }
        .into())
    };
    tokio::time::timeout(timeout, answer)
        .await
        .unwrap_or_else(late)
}

/// Returns where an upload has to go instead.
fn moved(response: &Response, from: &Url) -> Option<Url> {
    if !http::keeps_body(response.status()) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let target = from.join(location).ok()?;
    // Never from an encrypted connection to one that is not.
    let is_as_safe =
        target.scheme() == "https" || (target.scheme() == "http" && from.scheme() == "http");
    is_as_safe.then_some(target)
}

/// Returns the answer to an upload, tried once more where the connection broke.
async fn sent(
    request: &impl Fn(Url) -> RequestBuilder,
    timeout: Duration,
    asked: &str,
    url: &Url,
    content: &Content<'_>,
) -> Result<Response, StoreError> {
    match send(request(url.clone()), timeout, asked, content).await {
        Err(Unsent::Broke(_)) => send(request(url.clone()), timeout, asked, content).await,
        sent => sent,
    }
    .map_err(|unsent| match unsent {
        Unsent::Broke(error) | Unsent::Failed(error) => error,
    })
}

enum Unsent {
    /// The connection broke: a fresh one may do better.
    Broke(StoreError),
    Failed(StoreError),
}

async fn send(
    request: RequestBuilder,
    timeout: Duration,
    asked: &str,
    content: &Content<'_>,
) -> Result<Response, Unsent> {
    let (source, length) = content.open().map_err(Unsent::Failed)?;
    let sent = Arc::new(AtomicU64::new(0));
    let body = Upload {
        source,
        left: length,
        sent: sent.clone(),
    };
    let request = request
        .header(CONTENT_LENGTH, length)
        .body(reqwest::Body::wrap(body))
        .send();
    let mut request = std::pin::pin!(request);
    // Once all is sent, the server may need time to put it away.
    let mut patience = length / SLOWEST_STORAGE / timeout.as_secs().max(1) + 1;
    let mut seen = 0;
    loop {
        tokio::select! {
            answer = &mut request => {
                return answer.map_err(|error| {
                    // The URL of a bucket is a credential.
                    let error = error.without_url();
                    let unsent = http::not_sent(asked, &error);
                    if http::broke(&error) { Unsent::Broke(unsent) } else { Unsent::Failed(unsent) }
                });
            }
            () = tokio::time::sleep(timeout) => {
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
