//! Uploads to a bucket by URLs that the server signs, so that the bucket's credentials are not needed here.
//!
//! Invariants:
//!
//! - A signed URL is a credential, and appears in no error and no warning.
//! - The bucket receives none of the tracking server's credentials.
//! - An artifact that the server does not sign or the bucket does not accept waits until a person acts. It is
//!   never rejected for good.
//!
//! MLflow signs uploads to S3 since release 3.17 (`artifacts/presigned-upload-url`), one request for one
//! file. A URL is requested at every attempt, as each URL is valid only for a while.

use std::borrow::Cow;
use std::collections::BTreeMap;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::error::{RequestError, Route};
use super::http::{self, HttpClient, Idempotency};
use super::redirects::Receiver;
use super::upload::{self, UploadContent};
use super::{StoreError, StoredRun, content_type, json, time_limit};
use crate::model::limits;

/// Largest upload that S3 accepts in one request (Amazon S3 user guide, "Uploading objects").
const MAX_UPLOAD_BYTES: u64 = 5 << 30;

/// Reason why a signed upload cannot be carried out.
const INVALID_PRESIGNED_UPLOAD: &str =
    "the server's signed upload is not a valid URL with valid headers";

/// Upload that the server has signed.
#[derive(Deserialize)]
struct PresignedUpload {
    presigned_url: String,
    /// Headers that the signature covers besides the URL.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// End of an upload to a bucket.
pub(super) enum BucketOutcome {
    Uploaded,
    /// The server signs no upload of this artifact, for the reason in the error.
    NotSigned(StoreError),
}

/// Owner of an artifact, by whose id the server signs an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadOwner {
    Run,
    /// Logged model, whose id stands in the place of a run's.
    LoggedModel,
}

impl UploadOwner {
    /// Returns the name of the field with the id.
    fn id_field(self) -> &'static str {
        match self {
            Self::Run => "run_id",
            Self::LoggedModel => "model_id",
        }
    }
}

/// Uploads one artifact that goes neither through the server nor to a directory.
pub(super) async fn upload_to_bucket(
    http: &HttpClient,
    owner: UploadOwner,
    run: &StoredRun,
    path: &str,
    content: &UploadContent<'_>,
) -> Result<BucketOutcome, StoreError> {
    let length = content.length()?;
    if length > MAX_UPLOAD_BYTES {
        return Err(blocked_error(
            run,
            &format!(
                "{path} has {length} bytes, and a bucket takes at most {MAX_UPLOAD_BYTES} in one upload"
            ),
        ));
    }
    let PresignedUpload {
        presigned_url,
        headers,
    } = match request_presigned_upload(http, owner, run, path).await? {
        Ok(signed) => signed,
        Err(reason) => return Ok(BucketOutcome::NotSigned(reason)),
    };
    let (Ok(url), Some(mut headers)) = (Url::parse(&presigned_url), build_header_map(&headers))
    else {
        return Err(blocked_error(run, INVALID_PRESIGNED_UPLOAD));
    };
    let by_name = content_type::header(path);
    headers.entry(CONTENT_TYPE).or_insert(by_name);
    http.warn_if_bucket_is_exposed(&url);
    let client = http.bucket_client(&url)?;
    let asked = format!("PUT artifact {path} to its bucket");
    let request = |url| client.put(url).headers(headers.clone());
    let sent =
        upload::send_following_redirects(http, Receiver::Bucket, request, &asked, url, content)
            .await;
    // Answers of the tracking server show nothing about the bucket, so `ping_artifacts` needs this record.
    http.set_bucket_unavailable(sent.is_err());
    let answer = check_bucket_response(run, &asked, sent?);
    time_limit::with_timeout(http.timeout(), &asked, answer).await?;
    Ok(BucketOutcome::Uploaded)
}

/// Requests the signature of an upload from the server. The inner error is the reason why the server does not sign.
async fn request_presigned_upload(
    http: &HttpClient,
    owner: UploadOwner,
    run: &StoredRun,
    path: &str,
) -> Result<Result<PresignedUpload, StoreError>, StoreError> {
    const ROUTE: &str = "artifacts/presigned-upload-url";
    let asked = format!("POST {ROUTE}");
    let body = json::presigned_upload(owner.id_field(), &run.run_id, path);
    let response = http.post_json(ROUTE, body, Idempotency::Idempotent).await?;
    let is_unknown = matches!(
        response.status(),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
    );
    match http::read_success_body(Route::Artifacts, &asked, response).await {
        Ok(body) => match serde_json::from_slice(&body) {
            Ok(signed) => Ok(Ok(signed)),
            Err(_) => Err(blocked_error(run, INVALID_PRESIGNED_UPLOAD)),
        },
        Err(RequestError::Refused { code, reason, .. }) if code == "RESOURCE_DOES_NOT_EXIST" => {
            Err(StoreError::Missing {
                reason: reason.into(),
            })
        }
        Err(RequestError::Refused { reason, .. }) => Ok(Err(not_signed(run, &reason))),
        Err(RequestError::Other(StoreError::Rejected { reason })) => {
            Ok(Err(not_signed(run, &reason)))
        }
        Err(RequestError::Known(..) | RequestError::Other(_)) if is_unknown => {
            Ok(Err(blocked_error(
                run,
                "the server does not sign uploads: MLflow does since 3.17. Upgrade the server, or start it with --serve-artifacts",
            )))
        }
        Err(RequestError::Known(_, error) | RequestError::Other(error)) => Err(error),
    }
}

/// Returns the headers that the server gave with a signed URL, of which none carries our credentials; `None`
/// if one of them cannot be sent.
pub(super) fn build_header_map(headers: &BTreeMap<String, String>) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name).ok()?;
        map.insert(name, HeaderValue::try_from(value).ok()?);
    }
    Some(map)
}

/// Returns an error unless the bucket has accepted the request.
pub(super) async fn check_bucket_response(
    run: &StoredRun,
    asked: &str,
    mut response: Response,
) -> Result<(), StoreError> {
    /// Number of bytes after which no more of an error is read.
    const ERROR_BYTES: usize = 16 << 10;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let mut body = Vec::new();
    while body.len() < ERROR_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    let body = String::from_utf8_lossy(&body);
    // Only these two elements are shown: everything else in the body may be a part of what was signed.
    let words = [
        xml_element_text(&body, "Code"),
        xml_element_text(&body, "Message"),
    ]
    .join(": ");
    let reason = format!("{asked}: {status}: {words}");
    let is_passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS
        )
        || words.starts_with("RequestTimeout:");
    if is_passing {
        return Err(StoreError::Unavailable {
            reason: reason.into(),
            retry_after: None,
        });
    }
    Err(blocked_error(
        run,
        &format!("{reason}. Look at the bucket, and at the server's credentials for it"),
    ))
}

/// Returns the text of the first XML element of this name, shortened; empty if there is none.
fn xml_element_text<'x>(xml: &'x str, name: &str) -> Cow<'x, str> {
    const CHARS: usize = 200;
    let text = xml
        .split_once(&format!("<{name}>"))
        .map_or("", |(_, rest)| rest);
    let text = text.split_once('<').map_or("", |(text, _)| text);
    limits::truncate_chars(text.into(), CHARS).0
}

fn not_signed(run: &StoredRun, reason: &str) -> StoreError {
    blocked_error(run, &format!("the server signs no upload: {reason}"))
}

/// Returns the error for an artifact that is blocked until a person acts.
pub(super) fn blocked_error(run: &StoredRun, why: &str) -> StoreError {
    StoreError::Blocked {
        reason: format!(
            "artifacts go to `{}`: {why}",
            mlflow_rules::url_without_credentials(&run.artifact_uri)
        )
        .into(),
        everything: false,
    }
}
