//! Uploads, i.e. requests whose body is read while it is sent.
//!
//! - A body has a known length and is never sent chunked: several MLflow releases store a chunked upload as
//!   an empty file and answer 200.
//! - An upload may take as long as it needs, while it makes progress.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{RequestBuilder, Response, Url};
use ring::digest::{self, Digest, SHA256};

use super::http::{self, HttpClient};
use super::redirects::{MAX_REDIRECTS, Receiver};
use super::{ArtifactContent, StoreError};
use crate::store::local_artifacts;
use crate::store::upload_progress::TrackedUpload;

/// Number of bytes that are read from a file, or handed to the connection, at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Slowest rate, in bytes per second, at which a server may store what it received.
const MIN_STORAGE_BYTES_PER_SECOND: u64 = 1 << 20;

/// Content of an upload; each attempt sends it from its beginning.
pub(super) enum UploadContent<'a> {
    Memory(Bytes),
    File(&'a Path),
    FilePart {
        path: &'a Path,
        /// Position of the first byte in the file.
        offset: u64,
        length: u64,
    },
}

impl<'a> From<ArtifactContent<'a>> for UploadContent<'a> {
    fn from(content: ArtifactContent<'a>) -> Self {
        match content {
            // A request body has to outlive the call, and a borrowed slice cannot.
            ArtifactContent::Bytes(bytes) => Self::Memory(Bytes::from(Cow::into_owned(bytes))),
            ArtifactContent::File(file) => Self::File(file),
        }
    }
}

impl<'a> UploadContent<'a> {
    /// Opens the content, and returns it with its length in bytes.
    fn open(&self) -> Result<(UploadSource, u64), StoreError> {
        let rejected = |path: &Path, error: io::Error| StoreError::Rejected {
            reason: format!("cannot read {}: {error}", path.display()).into(),
        };
        match self {
            Self::Memory(bytes) => Ok((UploadSource::Memory(bytes.clone()), bytes.len() as u64)),
            Self::File(path) => {
                let file = local_artifacts::open_source(path)?;
                let metadata = file.metadata().map_err(|error| rejected(path, error))?;
                Ok((UploadSource::File(file), metadata.len()))
            }
            Self::FilePart {
                path,
                offset,
                length,
            } => {
                let mut file = local_artifacts::open_source(path)?;
                let sought = file.seek(SeekFrom::Start(*offset));
                sought.map_err(|error| rejected(path, error))?;
                Ok((UploadSource::File(file), *length))
            }
        }
    }

    /// Returns the whole content, as a store receives it.
    #[cfg(feature = "object-store")]
    pub(super) fn source(&self) -> ArtifactContent<'_> {
        match self {
            Self::Memory(bytes) => ArtifactContent::Bytes(Cow::Borrowed(bytes)),
            Self::File(path) | Self::FilePart { path, .. } => ArtifactContent::File(path),
        }
    }

    /// Returns a part of the content, without reading it. The part has to be inside the content.
    pub(super) fn part(&self, offset: u64, length: u64) -> UploadContent<'a> {
        match self {
            Self::Memory(bytes) => {
                let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                UploadContent::Memory(bytes.slice(bound(offset)..bound(offset + length)))
            }
            Self::File(path) => UploadContent::FilePart {
                path,
                offset,
                length,
            },
            Self::FilePart {
                path,
                offset: start,
                ..
            } => UploadContent::FilePart {
                path,
                offset: start + offset,
                length,
            },
        }
    }

    /// Returns the length of the content in bytes.
    pub(super) fn length(&self) -> Result<u64, StoreError> {
        self.open().map(|(_, length)| length)
    }
}

/// Sends the content with a request to `url`, and follows redirects of the receiver. The client's timeout is the longest time
/// that the upload may make no progress. `asked` names the request.
pub(super) async fn send_following_redirects(
    http: &HttpClient,
    receiver: Receiver,
    request: impl Fn(Url) -> RequestBuilder,
    asked: &str,
    mut url: Url,
    content: &UploadContent<'_>,
) -> Result<Response, StoreError> {
    let upload = Upload {
        http,
        receiver,
        asked,
        content,
    };
    let mut response = upload.send_with_retry(&request, &url).await?;
    // The client itself follows redirects only for bodies that it can copy.
    for _ in 0..MAX_REDIRECTS {
        let Some(target) = receiver.redirect_target(&response, &url) else {
            break;
        };
        url = target;
        response = upload.send_with_retry(&request, &url).await?;
    }
    Ok(response)
}

enum SendError {
    /// Broken connection: a new one may work.
    ConnectionBroken(StoreError),
    Failed(StoreError),
}

/// Upload of one content, by one request or several.
struct Upload<'a> {
    http: &'a HttpClient,
    receiver: Receiver,
    /// Name of the request in an error.
    asked: &'a str,
    content: &'a UploadContent<'a>,
}

impl Upload<'_> {
    /// Returns the answer to the upload, which is tried once more if the connection broke.
    async fn send_with_retry(
        &self,
        request: &impl Fn(Url) -> RequestBuilder,
        url: &Url,
    ) -> Result<Response, StoreError> {
        match self.send_once(request(url.clone())).await {
            Err(SendError::ConnectionBroken(_)) => self.send_once(request(url.clone())).await,
            sent => sent,
        }
        .map_err(|unsent| match unsent {
            SendError::ConnectionBroken(error) | SendError::Failed(error) => error,
        })
    }

    /// Sends the content once. Bytes that did not arrive are not counted in the progress of the upload.
    async fn send_once(&self, request: RequestBuilder) -> Result<Response, SendError> {
        let sent = Arc::new(AtomicU64::new(0));
        let answer = self.send_counted(request, &sent).await;
        let has_arrived = { answer.as_ref() }.is_ok_and(|answer| answer.status().is_success());
        if !has_arrived && let Some(upload) = TrackedUpload::current() {
            upload.take_back(sent.load(Ordering::Relaxed));
        }
        answer
    }

    async fn send_counted(
        &self,
        request: RequestBuilder,
        sent: &Arc<AtomicU64>,
    ) -> Result<Response, SendError> {
        let (asked, timeout) = (self.asked, self.http.timeout());
        let (mut source, length) = self.content.open().map_err(SendError::Failed)?;
        let is_signed = self.receiver == Receiver::TrackingServer && self.http.is_signed();
        let request = match is_signed {
            true => {
                let digest = source.sha256(length).await.map_err(SendError::Failed)?;
                self.http.sign(request, Some(digest)).await
            }
            false => Ok(request),
        }
        .map_err(SendError::Failed)?;
        let body = UploadBody {
            source,
            remaining: length,
            bytes_sent: Arc::clone(sent),
            upload: TrackedUpload::current(),
        };
        let request = request
            .header(CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap(body))
            .send();
        let mut request = std::pin::pin!(request);
        // Number of timeouts without progress after everything was sent: the server may need time to store the
        // content.
        let mut patience = length / MIN_STORAGE_BYTES_PER_SECOND / timeout.as_secs().max(1) + 1;
        let mut seen = 0;
        loop {
            if let Ok(answer) = tokio::time::timeout(timeout, &mut request).await {
                return answer.map_err(|error| {
                    // The URL of a bucket is a credential, so the error must not contain it.
                    let is_broken = http::is_broken_connection(&error);
                    let unsent = http::classify_send_error(asked, error);
                    if is_broken {
                        SendError::ConnectionBroken(unsent)
                    } else {
                        SendError::Failed(unsent)
                    }
                });
            }
            let now = sent.load(Ordering::Relaxed);
            if now == seen {
                patience -= 1;
                if now < length || patience == 0 {
                    return Err(SendError::Failed(StoreError::Unavailable {
                        reason: format!("{asked}: stalled after {now} of {length} bytes").into(),
                        retry_after: None,
                    }));
                }
            }
            seen = now;
        }
    }
}

enum UploadSource {
    Memory(Bytes),
    File(File),
}

impl UploadSource {
    /// Returns the SHA-256 digest of the next `length` bytes, which stay to be read: those that are sent, although the file may
    /// grow meanwhile. Other requests go on while a long content is read.
    async fn sha256(&mut self, length: u64) -> Result<Digest, StoreError> {
        let mut digest = digest::Context::new(&SHA256);
        match self {
            Self::Memory(bytes) => digest.update(bytes),
            Self::File(file) => {
                let unread = |error: io::Error| StoreError::Unavailable {
                    reason: format!("cannot read the artifact: {error}").into(),
                    retry_after: None,
                };
                let start = file.stream_position().map_err(unread)?;
                let mut chunk = vec![0; CHUNK_BYTES];
                let mut remaining = length;
                while remaining > 0 {
                    let part = usize::try_from(remaining)
                        .unwrap_or(CHUNK_BYTES)
                        .min(CHUNK_BYTES);
                    let part = chunk.get_mut(..part).unwrap_or_default();
                    file.read_exact(part).map_err(unread)?;
                    digest.update(part);
                    remaining -= part.len() as u64;
                    tokio::task::yield_now().await;
                }
                file.seek(SeekFrom::Start(start)).map_err(unread)?;
            }
        }
        Ok(digest.finish())
    }
}

/// Body of known length, read while it is sent.
struct UploadBody {
    source: UploadSource,
    remaining: u64,
    /// Number of bytes read so far; used to distinguish a slow upload from a stalled one.
    bytes_sent: Arc<AtomicU64>,
    /// Upload whose progress is shown.
    upload: Option<Arc<TrackedUpload>>,
}

impl UploadBody {
    fn next_chunk(&mut self) -> io::Result<Bytes> {
        let length = usize::try_from(self.remaining)
            .unwrap_or(CHUNK_BYTES)
            .min(CHUNK_BYTES);
        let chunk = match &mut self.source {
            UploadSource::Memory(bytes) => bytes.split_to(length.min(bytes.len())),
            UploadSource::File(file) => {
                let mut chunk = vec![0; length];
                // A read from a local file takes less time than a time slice of the scheduler, and there is
                // no thread to hand the read to.
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
        self.remaining -= chunk.len() as u64;
        self.bytes_sent
            .fetch_add(chunk.len() as u64, Ordering::Relaxed);
        if let Some(upload) = &self.upload {
            upload.add(chunk.len() as u64);
        }
        Ok(chunk)
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready((self.remaining > 0).then(|| self.next_chunk().map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
