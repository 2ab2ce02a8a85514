//! [`ObjectStorage`]: artifacts that this process writes to object storage itself (S3, Google Cloud Storage, Azure),
//! with credentials from the environment.
//!
//! Invariants:
//!
//! - An artifact appears as a whole or not at all. If a part of it fails, the others are dropped.
//! - At most [`PARTS_AT_ONCE`] parts of an artifact are in memory, so the memory that is needed does not depend on
//!   its length.
//! - No credential appears in an error: of what the storage answers, neither a URL nor the body is shown.
//! - An artifact that the storage does not accept waits until a person acts. It is never rejected for good.
//!
//! The credentials are those that `object_store` reads from the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`), or
//! those that the machine has in its cloud.

use std::cell::RefCell;
use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as ObjectPath;
use object_store::{
    Attribute, Attributes, ClientOptions, MultipartUpload, ObjectStore, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, RetryConfig,
};

use super::upload_progress::TrackedUpload;
use super::{ArtifactContent, StoreError, local_artifacts, uri};
use crate::model::limits;

/// Number of parts of one artifact that are uploaded at once.
const PARTS_AT_ONCE: usize = 2;
/// Length of a part in bytes. An artifact that is not longer is uploaded in one request.
const PART_BYTES: u64 = 8 << 20;
/// Largest number of parts of an object in S3 and Google Cloud Storage.
const MAX_PARTS: u64 = 10_000;
/// Number of times that a failing request is repeated at once.
const MAX_RETRIES: usize = 3;
/// Variable with the URL of an S3 service other than Amazon's, as MLflow's Python client reads it.
const S3_ENDPOINT: &str = "MLFLOW_S3_ENDPOINT_URL";
/// Largest number of characters of the storage's words in an error.
const MAX_REASON_CHARS: usize = 200;

/// Buckets and containers to which this process writes.
#[derive(Debug, Default)]
pub(super) struct ObjectStorage {
    /// Opened storages, by scheme and bucket.
    opened: RefCell<HashMap<String, Arc<dyn ObjectStore>>>,
}

/// Connector that uses a client with this library's TLS settings.
#[derive(Debug)]
pub(super) struct Connector(pub(super) reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// Returns true if an artifact URI names object storage that this process can write to.
pub(super) fn is_supported(artifact_uri: &str) -> bool {
    uri::scheme(artifact_uri).is_some_and(|scheme| provider(scheme).is_some())
}

/// Provider of object storage.
#[derive(Clone, Copy)]
enum Provider {
    Amazon,
    Google,
    Azure,
}

fn provider(scheme: &str) -> Option<Provider> {
    match scheme {
        "s3" | "s3a" => Some(Provider::Amazon),
        "gs" => Some(Provider::Google),
        "abfs" | "abfss" | "az" | "azure" => Some(Provider::Azure),
        _ => None,
    }
}

impl ObjectStorage {
    /// Writes one artifact.
    pub(super) async fn put(
        &self,
        upload: Upload<'_>,
        content: ArtifactContent<'_>,
    ) -> Result<(), StoreError> {
        let (storage, location) = self.locate(&upload.request)?;
        let attributes = [(Attribute::ContentType, upload.content_type)];
        let attributes = Attributes::from_iter(attributes);
        let mut reader = PartReader::open(content)?;
        if reader.remaining <= PART_BYTES {
            let bytes = reader.next_part(PART_BYTES)?;
            let options = PutOptions::from(attributes);
            let put = storage.put_opts(&location, bytes.into(), options);
            return upload.request.finish(PUT, put).await.map(|_| ());
        }
        let options = PutMultipartOptions::from(attributes);
        let begun = storage.put_multipart_opts(&location, options);
        let mut parts = upload.request.finish(PUT, begun).await?;
        let sent = upload.send_parts(&mut *parts, &mut reader).await;
        if sent.is_err() {
            // The storage may keep the parts for a while if this fails, too; the first error is the one to report.
            let _ = upload.request.finish(PUT, parts.abort()).await;
        }
        sent
    }

    /// Deletes one artifact. If there is none, nothing changes.
    pub(super) async fn delete(&self, request: Request<'_>) -> Result<(), StoreError> {
        let (storage, location) = self.locate(&request)?;
        let deleted = async {
            match storage.delete(&location).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                deleted => deleted,
            }
        };
        request.finish("DELETE", deleted).await
    }

    /// Returns the storage and the key of the artifact that a request is about.
    fn locate(
        &self,
        request: &Request<'_>,
    ) -> Result<(Arc<dyn ObjectStore>, ObjectPath), StoreError> {
        let blocked = |why: &str| blocked_error(request.artifact_uri, why);
        let Some((bucket, root)) = split_uri(request.artifact_uri) else {
            return Err(blocked("this is no URI of a bucket"));
        };
        let opened = self.open(bucket, request.client);
        let storage = opened.map_err(|why| blocked(&why))?;
        let location = ObjectPath::parse(format!("{root}/{}", request.path))
            .map_err(|_| blocked("its path cannot be the key of an object"))?;
        Ok((storage, location))
    }

    /// Returns the storage of a bucket, whose URI has no path.
    fn open(&self, bucket: &str, client: &reqwest::Client) -> Result<Arc<dyn ObjectStore>, String> {
        if let Some(known) = self.opened.borrow().get(bucket) {
            return Ok(Arc::clone(known));
        }
        let connector = Connector(client.clone());
        let retry = RetryConfig {
            max_retries: MAX_RETRIES,
            ..RetryConfig::default()
        };
        let provider = uri::scheme(bucket).and_then(provider);
        let opened: object_store::Result<Arc<dyn ObjectStore>> = match provider {
            Some(Provider::Amazon) => {
                let mut builder = AmazonS3Builder::from_env().with_url(bucket);
                if let Ok(endpoint) = env::var(S3_ENDPOINT)
                    && !endpoint.trim().is_empty()
                {
                    builder = builder.with_endpoint(endpoint.trim());
                }
                let builder = builder.with_http_connector(connector).with_retry(retry);
                builder.build().map(|opened| Arc::new(opened) as _)
            }
            Some(Provider::Google) => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(bucket);
                let builder = builder.with_http_connector(connector).with_retry(retry);
                builder.build().map(|opened| Arc::new(opened) as _)
            }
            Some(Provider::Azure) => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(bucket);
                let builder = builder.with_http_connector(connector).with_retry(retry);
                builder.build().map(|opened| Arc::new(opened) as _)
            }
            None => return Err("this client does not write to such storage".to_owned()),
        };
        let opened = opened.map_err(|error| visible_reason(&error))?;
        self.opened
            .borrow_mut()
            .insert(bucket.to_owned(), Arc::clone(&opened));
        Ok(opened)
    }
}

/// Name of an upload in a message.
const PUT: &str = "PUT";

/// Request for one artifact.
pub(super) struct Request<'a> {
    /// Client that sends all requests.
    pub(super) client: &'a reqwest::Client,
    /// Longest time that a request may take.
    pub(super) timeout: Duration,
    pub(super) artifact_uri: &'a str,
    pub(super) path: &'a str,
}

/// Upload of one artifact.
pub(super) struct Upload<'a> {
    pub(super) request: Request<'a>,
    pub(super) content_type: &'static str,
}

impl Upload<'_> {
    async fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        reader: &mut PartReader<'_>,
    ) -> Result<(), StoreError> {
        let part_bytes = PART_BYTES.max(reader.remaining.div_ceil(MAX_PARTS));
        let mut in_flight = FuturesUnordered::new();
        while reader.remaining > 0 || !in_flight.is_empty() {
            if reader.remaining > 0 && in_flight.len() < PARTS_AT_ONCE {
                let part = reader.next_part(part_bytes)?;
                let length = part.len() as u64;
                let sent = self.request.finish(PUT, upload.put_part(part.into()));
                in_flight.push(async move { sent.await.map(|()| length) });
            } else if let Some(sent) = in_flight.next().await {
                let length = sent?;
                if let Some(tracked) = TrackedUpload::current() {
                    tracked.add(length);
                }
            }
        }
        drop(in_flight);
        self.request
            .finish(PUT, upload.complete())
            .await
            .map(|_| ())
    }
}

impl Request<'_> {
    /// Waits for a request, and returns its result in the terms of a store.
    async fn finish<T>(
        &self,
        method: &str,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        let unavailable = |why: &str| StoreError::Unavailable {
            reason: format!("{method} artifact {} in its bucket: {why}", self.path).into(),
            retry_after: None,
        };
        let Ok(answer) = tokio::time::timeout(self.timeout, request).await else {
            return Err(unavailable("no answer in time"));
        };
        answer.map_err(|error| {
            use object_store::Error;
            let reason = visible_reason(&error);
            match error {
                Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => blocked_error(
                    self.artifact_uri,
                    &format!("{reason}. Check the credentials in the environment, and the permissions of the bucket"),
                ),
                Error::NotFound { .. }
                | Error::InvalidPath { .. }
                | Error::NotSupported { .. }
                | Error::NotImplemented { .. }
                | Error::UnknownConfigurationKey { .. } => {
                    blocked_error(self.artifact_uri, &format!("{reason}. Look at the bucket"))
                }
                _ => unavailable(&reason),
            }
        })
    }
}

/// Content that is read part by part.
struct PartReader<'a> {
    source: Source<'a>,
    /// Number of bytes that are not read yet.
    remaining: u64,
}

enum Source<'a> {
    Memory(Bytes),
    File(File, &'a std::path::Path),
}

impl<'a> PartReader<'a> {
    fn open(content: ArtifactContent<'a>) -> Result<Self, StoreError> {
        match content {
            ArtifactContent::Bytes(bytes) => Ok(Self {
                remaining: bytes.len() as u64,
                source: Source::Memory(Bytes::from(bytes.into_owned())),
            }),
            ArtifactContent::File(path) => {
                let file = local_artifacts::open_source(path)?;
                let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
                Ok(Self {
                    remaining: metadata.len(),
                    source: Source::File(file, path),
                })
            }
        }
    }

    /// Reads the next part, of at most `max_bytes`.
    fn next_part(&mut self, max_bytes: u64) -> Result<Bytes, StoreError> {
        let length = usize::try_from(self.remaining.min(max_bytes)).unwrap_or(usize::MAX);
        let part = match &mut self.source {
            Source::Memory(bytes) => bytes.split_to(length.min(bytes.len())),
            Source::File(file, path) => {
                let mut part = vec![0; length];
                file.read_exact(&mut part)
                    .map_err(|error| unreadable(path, &error))?;
                Bytes::from(part)
            }
        };
        self.remaining -= length as u64;
        Ok(part)
    }
}

fn unreadable(path: &std::path::Path, error: &io::Error) -> StoreError {
    StoreError::Rejected {
        reason: format!("cannot read {}: {error}", path.display()).into(),
    }
}

/// Splits `scheme://bucket/path` into `scheme://bucket` and the path.
fn split_uri(artifact_uri: &str) -> Option<(&str, &str)> {
    let begin = artifact_uri.find("://")? + "://".len();
    let end = artifact_uri.get(begin..)?.find('/');
    let end = end.map_or(artifact_uri.len(), |slash| begin + slash);
    let (bucket, path) = artifact_uri.split_at_checked(end)?;
    (end > begin).then(|| (bucket, path.trim_matches('/')))
}

/// Returns the words of the innermost error, without a URL and without the body of an answer: both may hold a
/// signature.
pub(super) fn visible_reason(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    let text = text.split_once('<').map_or(&*text, |(words, _)| words);
    let words: Vec<_> = text
        .split_whitespace()
        .filter(|word| !word.contains("://") && !word.contains('?'))
        .collect();
    let words = words.join(" ");
    let (words, _) =
        limits::truncate_chars(words.trim_end_matches([':', ' ']).into(), MAX_REASON_CHARS);
    words.into_owned()
}

fn blocked_error(artifact_uri: &str, why: &str) -> StoreError {
    StoreError::Blocked {
        reason: format!(
            "artifacts go to `{}`: {why}",
            mlflow_rules::url_without_credentials(artifact_uri)
        )
        .into(),
        everything: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_split_into_bucket_and_path() {
        for (uri, expected) in [
            ("s3://bucket/a/b", Some(("s3://bucket", "a/b"))),
            ("s3://bucket", Some(("s3://bucket", ""))),
            ("gs://bucket/", Some(("gs://bucket", ""))),
            (
                "abfss://fs@account.dfs.core.windows.net/a",
                Some(("abfss://fs@account.dfs.core.windows.net", "a")),
            ),
            ("s3:///a", None),
            ("s3:a", None),
        ] {
            assert_eq!(split_uri(uri), expected, "{uri}");
        }
    }

    #[test]
    fn a_reason_shows_neither_a_url_nor_a_body() {
        let error = io::Error::other(
            "Error performing PUT https://h/b?sig=5ec7e7 in 1ms - status 403 Forbidden: <Error>5ec7e7",
        );
        let reason = visible_reason(&error);
        assert_eq!(reason, "Error performing PUT in 1ms - status 403 Forbidden");
    }

    #[test]
    fn only_known_schemes_are_written_to() {
        for uri in ["s3://b/a", "s3a://b", "gs://b", "abfss://f@a/b"] {
            assert!(is_supported(uri), "{uri}");
        }
        for uri in ["/a", "dbfs:/a", "hdfs://h/a", "file:///a", "wasbs://c@a/b"] {
            assert!(!is_supported(uri), "{uri}");
        }
    }
}
