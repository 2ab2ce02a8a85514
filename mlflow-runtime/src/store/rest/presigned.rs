//! Uploads to a bucket, by URLs that the server signs: of the bucket's credentials none are needed here.
//!
//! Invariants: a URL that is signed is a credential, and stands in no error and no warning. The bucket is sent
//! nothing of the tracking server's credentials. What cannot be uploaded so waits for a person: it is never
//! refused for good.
//!
//! MLflow signs uploads to S3 from 3.17 on (`artifacts/presigned-upload-url`), one request for one file. A URL
//! is asked for at every try, as it holds for a while only.

use std::borrow::Cow;
use std::collections::BTreeMap;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::error::{RequestError, Route};
use super::http::{self, HttpClient, Idempotency};
use super::upload::{self, UploadContent};
use super::{StoreError, StoredRun, json};
use crate::model::limits;
use crate::store::uri;

/// The most that S3 takes in one upload (Amazon S3 user guide, "Uploading objects").
const MAX_UPLOAD_BYTES: u64 = 5 << 30;

/// Why an upload that was signed cannot be made.
const INVALID_PRESIGNED_UPLOAD: &str = "what the server has signed is no URL with its headers";

/// An upload that the server has signed.
#[derive(Deserialize)]
struct PresignedUpload {
    presigned_url: String,
    /// What the signature covers besides.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// Uploads one artifact of a run whose artifacts go neither through the server nor to a directory.
pub(super) async fn upload_to_bucket(
    http: &HttpClient,
    run: &StoredRun,
    path: &str,
    content: &UploadContent<'_>,
) -> Result<(), StoreError> {
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
    } = request_presigned_upload(http, run, path).await?;
    let (Ok(url), Some(headers)) = (Url::parse(&presigned_url), build_header_map(&headers)) else {
        return Err(blocked_error(run, INVALID_PRESIGNED_UPLOAD));
    };
    let client = http.bucket_client(url.scheme() == "https")?;
    let asked = format!("PUT artifact {path} to its bucket");
    let request = |url| client.put(url).headers(headers.clone());
    let sent =
        upload::send_following_redirects(request, http.timeout(), &asked, url, content).await;
    // Whether the server answers says nothing of the bucket.
    http.set_bucket_unavailable(sent.is_err());
    let answer = check_bucket_response(run, &asked, sent?);
    upload::with_timeout(http.timeout(), &asked, answer).await
}

/// Has the server sign the upload.
async fn request_presigned_upload(
    http: &HttpClient,
    run: &StoredRun,
    path: &str,
) -> Result<PresignedUpload, StoreError> {
    const ROUTE: &str = "artifacts/presigned-upload-url";
    let asked = format!("POST {ROUTE}");
    let body = json::presigned_upload(&run.run_id, path);
    let response = http.post_json(ROUTE, body, Idempotency::Idempotent).await?;
    let is_unknown = matches!(
        response.status(),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
    );
    match http::read_success_body(Route::Artifacts, &asked, response).await {
        Ok(body) => {
            serde_json::from_slice(&body).map_err(|_| blocked_error(run, INVALID_PRESIGNED_UPLOAD))
        }
        Err(RequestError::Refused { code, reason, .. }) if code == "RESOURCE_DOES_NOT_EXIST" => {
            Err(StoreError::Missing { reason })
        }
        Err(
            RequestError::Refused { reason, .. }
            | RequestError::Other(StoreError::Rejected { reason }),
        ) => Err(blocked_error(
            run,
            &format!("the server signs no upload: {reason}"),
        )),
        Err(RequestError::Other(_)) if is_unknown => Err(blocked_error(
            run,
            "the server signs no uploads: MLflow does from 3.17 on. Or start it with --serve-artifacts",
        )),
        Err(RequestError::Other(error)) => Err(error),
    }
}

/// The headers, of which none is ours; `None` where one cannot be sent.
fn build_header_map(headers: &BTreeMap<String, String>) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name).ok()?;
        map.insert(name, HeaderValue::try_from(value).ok()?);
    }
    let default = HeaderValue::from_static("application/octet-stream");
    map.entry(CONTENT_TYPE).or_insert(default);
    Some(map)
}

/// Whether the bucket has taken it.
async fn check_bucket_response(
    run: &StoredRun,
    asked: &str,
    mut response: Response,
) -> Result<(), StoreError> {
    /// What is read of an error.
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
    // All else in it may be a part of what was signed.
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
            reason,
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

/// A person has to act: until then the artifact waits.
fn blocked_error(run: &StoredRun, why: &str) -> StoreError {
    StoreError::Blocked {
        reason: format!(
            "artifacts of this run go to `{}`: {why}",
            uri::strip_userinfo(&run.artifact_uri)
        ),
        everything: false,
    }
}
