//! Uploads in parts, through the server's artifact routes `mpu/…` and by URLs that the server signs: for large
//! files, and for servers that pass no artifacts on.
//!
//! Invariants:
//!
//! - Nothing is visible before all parts are uploaded and the server has joined them. If a part fails for good,
//!   the server is asked to drop the others.
//! - At most [`PARTS_AT_ONCE`] parts of an artifact are in flight, and each is read while it is sent, so the
//!   memory that is needed does not depend on the length of the file.
//! - As with [other signed uploads](super::presigned), a signed URL appears in no error, the bucket receives none
//!   of the tracking server's credentials, and an artifact is never rejected for good because of a bucket.

use std::collections::{BTreeMap, VecDeque};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use reqwest::header::ETAG;
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::error::{RequestError, Route};
use super::http::{self, HttpClient, Idempotency};
use super::json::MultipartPart;
use super::redirects::Receiver;
use super::upload::{self, UploadContent};
use super::{StoreError, StoredRun, artifact_url, json, presigned, time_limit};

/// Number of parts of one artifact that are uploaded at once.
const PARTS_AT_ONCE: usize = 4;
/// Number of times that a part is tried. The other parts are tried in between.
const TRIES_OF_PART: u32 = 4;
/// Largest number of parts that S3 accepts (Amazon S3 user guide, "Multipart upload limits").
const MAX_PARTS: u64 = 10_000;
/// Smallest part that S3 accepts, other than the last one.
const MIN_PART_BYTES: u64 = 5 << 20;
/// Largest part that S3 accepts.
const MAX_PART_BYTES: u64 = 5 << 30;
/// Words by which older releases refuse an upload in parts, whatever their status.
const NOT_SUPPORTED: &str = "Multipart upload is not supported";

/// End of an upload in parts.
pub(super) enum MultipartOutcome {
    Uploaded,
    /// The server or its artifact storage takes no parts.
    Unsupported,
}

/// Upload in parts that the server has begun.
#[derive(Deserialize)]
struct MultipartUpload {
    /// Id of the upload; Azure has none.
    upload_id: Option<String>,
    #[serde(default)]
    credentials: Vec<SignedPart>,
}

/// Part that the server has signed.
#[derive(Deserialize)]
struct SignedPart {
    url: String,
    part_number: u64,
    /// Headers that the signature covers besides the URL.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// Artifact that is uploaded in parts.
struct Target<'a> {
    http: &'a HttpClient,
    run: &'a StoredRun,
    /// Path of the artifact, relative to the run.
    path: &'a str,
}

/// Uploads one artifact in parts.
pub(super) async fn upload_in_parts(
    http: &HttpClient,
    run: &StoredRun,
    path: &str,
    content: &UploadContent<'_>,
) -> Result<MultipartOutcome, StoreError> {
    let target = Target { http, run, path };
    let length = content.length()?;
    let part_bytes = http.multipart().part_bytes.max(MIN_PART_BYTES);
    let part_bytes = part_bytes.max(length.div_ceil(MAX_PARTS));
    if part_bytes > MAX_PART_BYTES {
        let why = format!("{path} has {length} bytes, which is more than a bucket takes");
        return Err(presigned::blocked_error(run, &why));
    }
    // An empty artifact has one empty part.
    let count = length.div_ceil(part_bytes).max(1);
    let Some(upload) = target.create(count).await? else {
        return Ok(MultipartOutcome::Unsupported);
    };
    let joined = async {
        let parts = target.upload_parts(&upload, count, part_bytes, length, content);
        target.complete(&upload, &parts.await?).await
    };
    let ended = joined.await;
    if ended.is_err() {
        // The bucket may keep the parts for a while if this fails, too; the first error is the one to report.
        let _ = target.abort(&upload).await;
    }
    ended.map(|()| MultipartOutcome::Uploaded)
}

impl Target<'_> {
    /// Begins an upload of so many parts. Returns `None` if the server does not take parts.
    async fn create(&self, count: u64) -> Result<Option<MultipartUpload>, StoreError> {
        let body = json::create_multipart(self.name(), count);
        let (asked, response) = self.ask("create", body).await?;
        let is_unknown = matches!(
            response.status(),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        );
        let answer = http::read_success_body(Route::Artifacts, &asked, response);
        match time_limit::with_timeout(self.http.timeout(), &asked, answer).await {
            Ok(body) => serde_json::from_slice(&body).map(Some).map_err(|_| {
                // The answer may hold signed URLs, so it is not shown.
                self.blocked("the server's answer is no upload in parts")
            }),
            Err(_) if is_unknown => Ok(None),
            Err(RequestError::Refused { reason, .. }) if reason.contains(NOT_SUPPORTED) => Ok(None),
            Err(failure) => Err(self.refused(failure)),
        }
    }

    /// Uploads all parts, and returns them in their order.
    async fn upload_parts(
        &self,
        upload: &MultipartUpload,
        count: u64,
        part_bytes: u64,
        length: u64,
        content: &UploadContent<'_>,
    ) -> Result<Vec<MultipartPart>, StoreError> {
        if upload.credentials.len() as u64 != count {
            return Err(
                self.blocked("the server has signed another number of parts than asked for")
            );
        }
        let mut signed: Vec<_> = upload.credentials.iter().collect();
        signed.sort_by_key(|part| part.part_number);
        if !(1..)
            .zip(&signed)
            .all(|(number, part)| part.part_number == number)
        {
            return Err(self.blocked("the server has not signed the parts 1, 2, 3, …"));
        }
        let mut waiting: VecDeque<_> = (0..).zip(signed).map(|part| (part, 1)).collect();
        let mut running = FuturesUnordered::new();
        let mut uploaded = Vec::with_capacity(upload.credentials.len());
        loop {
            while running.len() < PARTS_AT_ONCE
                && let Some(((at, signed), tries)) = waiting.pop_front()
            {
                let offset = part_bytes * at;
                let part = content.part(offset, part_bytes.min(length - offset));
                running.push(async move {
                    ((at, signed), tries, self.upload_part(signed, &part).await)
                });
            }
            match running.next().await {
                None => break,
                Some((_, _, Ok(part))) => uploaded.push(part),
                Some((part, tries, Err(StoreError::Unavailable { .. })))
                    if tries < TRIES_OF_PART =>
                {
                    waiting.push_back((part, tries + 1));
                }
                Some((_, _, Err(error))) => return Err(error),
            }
        }
        uploaded.sort_by_key(|part| part.part_number);
        Ok(uploaded)
    }

    async fn upload_part(
        &self,
        signed: &SignedPart,
        content: &UploadContent<'_>,
    ) -> Result<MultipartPart, StoreError> {
        let number = signed.part_number;
        let asked = format!("PUT part {number} of artifact {} to its bucket", self.path);
        let (Ok(url), Some(headers)) = (
            Url::parse(&signed.url),
            presigned::build_header_map(&signed.headers),
        ) else {
            return Err(
                self.blocked("the server's signed part is not a valid URL with valid headers")
            );
        };
        self.http.warn_if_bucket_is_exposed(&url);
        let client = self.http.bucket_client(&url)?;
        let request = |url| client.put(url).headers(headers.clone());
        let sent = upload::send_following_redirects(
            self.http,
            Receiver::Bucket,
            request,
            &asked,
            url,
            content,
        )
        .await;
        self.http.set_bucket_unavailable(sent.is_err());
        let response = sent?;
        let etag = response.headers().get(ETAG).cloned();
        let answer = presigned::check_bucket_response(self.run, &asked, response);
        time_limit::with_timeout(self.http.timeout(), &asked, answer).await?;
        let etag = etag.as_ref().and_then(|etag| etag.to_str().ok());
        Ok(MultipartPart {
            part_number: number,
            etag: etag.unwrap_or_default().to_owned(),
            url: signed.url.clone(),
        })
    }

    /// Joins the parts.
    async fn complete(
        &self,
        upload: &MultipartUpload,
        parts: &[MultipartPart],
    ) -> Result<(), StoreError> {
        let id = upload.upload_id.as_deref();
        let body = json::complete_multipart(self.name(), id, parts);
        self.finish("complete", body).await
    }

    /// Drops the parts.
    async fn abort(&self, upload: &MultipartUpload) -> Result<(), StoreError> {
        let body = json::abort_multipart(self.name(), upload.upload_id.as_deref());
        self.finish("abort", body).await
    }

    async fn finish(&self, step: &str, body: Vec<u8>) -> Result<(), StoreError> {
        let (asked, response) = self.ask(step, body).await?;
        let answer = http::read_success_body(Route::Artifacts, &asked, response);
        match time_limit::with_timeout(self.http.timeout(), &asked, answer).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.refused(failure)),
        }
    }

    /// Sends a request about the upload, and returns its name and the answer unread.
    async fn ask(&self, step: &str, body: Vec<u8>) -> Result<(String, Response), StoreError> {
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let route = format!("mpu/{step}");
        let url =
            artifact_url::route_url(self.http.base_url(), &route, &self.run.artifact_uri, folder)?;
        let asked = format!("POST {route} of artifact {}", self.path);
        let sent = self
            .http
            .post_json_to(&asked, url, body, Idempotency::Idempotent);
        Ok((asked.clone(), sent.await?))
    }

    /// Returns the last part of the path.
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }

    fn blocked(&self, why: &str) -> StoreError {
        presigned::blocked_error(self.run, why)
    }

    /// Returns the error for an upload that the server refuses. The server may repeat what it was sent, so words
    /// with a URL are left out.
    fn not_taken(&self, reason: &str) -> StoreError {
        let reason = if reason.contains("://") {
            "the reason holds a URL, and is not shown"
        } else {
            reason
        };
        self.blocked(&format!(
            "the server does not take this upload in parts: {reason}"
        ))
    }

    /// Returns the error for a request about the upload that the server has not carried out.
    fn refused(&self, failure: RequestError) -> StoreError {
        match failure {
            RequestError::Refused { reason, .. } => self.not_taken(&reason),
            RequestError::Other(StoreError::Rejected { reason }) => self.not_taken(&reason),
            RequestError::Known(_, error) | RequestError::Other(error) => error,
        }
    }
}
