//! Signatures of requests for AWS (Signature Version 4), for a server behind an API Gateway with IAM authorization.
//!
//! # Invariants
//!
//! 1. Only requests to the server are signed. A bucket gets what the server has signed, and nothing of ours.
//! 2. The body is part of the signature, also that of an upload, which is read once for its digest.
//! 3. Neither the secret key nor the session's token appears in an error.
//!
//! The signature and the sources of the keys are those of `object_store`: the environment, a web identity, the role of a
//! container or of an instance. Keys that expire are renewed by it. The service is the one that MLflow's own client signs for
//! (`mlflow/utils/rest_utils.py`).

use std::cell::{Cell, RefCell};
use std::env;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::{BackoffConfig, RetryConfig};
use once_cell::unsync::OnceCell;
use reqwest::{Client, RequestBuilder, Url};
use ring::digest::{self, Digest, SHA256};

use super::StoreError;
use super::login::{SentLogin, check_header_value};
use crate::store::object_storage::{Connector, visible_reason};

/// Service for which requests are signed.
const SERVICE: &str = "execute-api";

/// Tries for the keys of a machine's role. The shipper tries again later.
const KEY_RETRIES: RetryConfig = RetryConfig {
    backoff: BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(1),
        base: 2.0,
    },
    max_retries: 1,
    retry_timeout: Duration::from_secs(10),
};

/// Words for what signed requests carry, in the text of an error.
const DESCRIPTION: &str =
    "the signature with AWS keys (MLFLOW_TRACKING_AWS_SIGV4, or Config::aws_sigv4)";

/// Signer of the requests to one server.
pub(super) struct RequestSigner {
    /// Address of the server. What goes to another scheme, host or port is not signed.
    server: Url,
    region: String,
    /// Longest time for which the keys of a machine's role are waited for.
    timeout: Duration,
    /// Source of the keys, opened at the first request.
    credentials: OnceCell<AwsCredentialProvider>,
    /// Token of the session of the last signature.
    session: RefCell<Option<String>>,
    /// True once there were keys.
    had_keys: Cell<bool>,
}

impl RequestSigner {
    /// Creates a signer for the server. Reads no key yet.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] if no region is known.
    pub(super) fn new(server: &Url, timeout: Duration) -> Result<Self, StoreError> {
        let named = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let named = named.into_iter().find_map(|name| {
            let region = env::var(name).ok()?.trim().to_owned();
            (!region.is_empty()).then_some(region)
        });
        let of_host = || region_of(server.host_str()?).map(str::to_owned);
        // The machine may be in another region than the gateway.
        let region = of_host().or(named).ok_or_else(|| {
            blocked("no region is known: set AWS_REGION to the one of the API Gateway, such as eu-central-1")
        })?;
        check_header_value("AWS_REGION", &region)?;
        Ok(Self {
            server: server.clone(),
            region,
            timeout,
            credentials: OnceCell::new(),
            session: RefCell::default(),
            had_keys: Cell::new(false),
        })
    }

    /// Returns true if the keys come from a service of AWS, which is asked over a network, and not from this machine.
    pub(super) fn asks_other_machine(&self) -> bool {
        env::var_os("AWS_WEB_IDENTITY_TOKEN_FILE").is_some()
    }

    /// Returns what requests carry, for the text of an error.
    pub(super) fn describe(&self) -> SentLogin {
        let session = self.session.borrow().clone();
        SentLogin::of_signature(DESCRIPTION, session)
    }

    /// Returns the request with a signature. `digest` is the one of a body that is read while it is sent. `client` asks for
    /// the keys.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] if there are no keys, or the request cannot be signed.
    pub(super) async fn sign(
        &self,
        request: RequestBuilder,
        client: &Client,
        digest: Option<Digest>,
    ) -> Result<RequestBuilder, StoreError> {
        let (sender, request) = request.build_split();
        let mut request = request.map_err(|error| blocked(&error.without_url().to_string()))?;
        if request.url().origin() != self.server.origin() {
            return Ok(RequestBuilder::from_parts(sender, request));
        }
        // A blank is `+` in a form, which signers read as one or the other.
        if let Some(query) = request.url().query().map(|query| query.replace('+', "%20")) {
            request.url_mut().set_query(Some(&query));
        }
        let body = { request.body() }.and_then(reqwest::Body::as_bytes);
        let digest = digest.unwrap_or_else(|| digest::digest(&SHA256, body.unwrap_or_default()));
        let no_keys = |reason: &str| no_keys(reason, self.had_keys.get());
        let credentials = {
            self.credentials
                .get_or_try_init(|| self.open_credentials(client))
        }
        .map_err(|error| no_keys(&visible_reason(&error)))?;
        // A small request waits less.
        let timeout = { request.timeout() }.map_or(self.timeout, |most| self.timeout.min(*most));
        let key = { tokio::time::timeout(timeout, credentials.get_credential()).await }
            .map_err(|_| no_keys("no answer in time"))?
            .map_err(|error| no_keys(&visible_reason(&error)))?;
        self.had_keys.set(true);
        self.session.replace(key.token.clone());
        // A signature with a text that no header can hold would be a panic of `object_store`.
        check_header_value("AWS_ACCESS_KEY_ID", &key.key_id)?;
        check_header_value(
            "AWS_SESSION_TOKEN",
            key.token.as_deref().unwrap_or_default(),
        )?;
        let mut signed = HttpRequest::new(HttpRequestBody::empty());
        *signed.method_mut() = request.method().clone();
        *signed.uri_mut() = { request.url().as_str().parse() }
            .map_err(|_| blocked("the address of a request cannot be signed"))?;
        *signed.headers_mut() = request.headers().clone();
        AwsAuthorizer::new(&key, SERVICE, &self.region)
            .try_authorize(&mut signed, Some(digest.as_ref()))
            .map_err(|error| blocked(&visible_reason(&error)))?;
        let mut headers = std::mem::take(signed.headers_mut());
        for secret in ["authorization", "x-amz-security-token"] {
            if let Some(value) = headers.get_mut(secret) {
                value.set_sensitive(true);
            }
        }
        *request.headers_mut() = headers;
        Ok(RequestBuilder::from_parts(sender, request))
    }

    /// Returns the source of the keys. Nothing is asked yet.
    fn open_credentials(&self, client: &Client) -> object_store::Result<AwsCredentialProvider> {
        let storage = AmazonS3Builder::from_env()
            // The keys are those of a storage, whose bucket nobody asks for.
            .with_bucket_name("none")
            .with_region(&self.region)
            .with_http_connector(Connector(client.clone()))
            .with_retry(KEY_RETRIES)
            .build()?;
        Ok(storage.credentials().clone())
    }
}

/// Returns the region in the host name of an API Gateway, such as `a1b2c3.execute-api.eu-central-1.amazonaws.com`.
fn region_of(host: &str) -> Option<&str> {
    let (_, rest) = host.split_once(".execute-api.")?;
    let (region, domain) = rest.split_once('.')?;
    domain.starts_with("amazonaws.com").then_some(region)
}

/// Returns the error for missing keys. Once there were keys, they come again.
fn no_keys(reason: &str, had_keys: bool) -> StoreError {
    if had_keys {
        return StoreError::Unavailable {
            reason: format!("the AWS keys cannot be renewed: {reason}").into(),
            retry_after: None,
        };
    }
    blocked(&format!(
        "there are no keys ({reason}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for those of a profile, \
         `aws configure export-credentials --format env` prints them"
    ))
}

fn blocked(why: &str) -> StoreError {
    StoreError::Blocked {
        reason: format!("requests cannot be signed (MLFLOW_TRACKING_AWS_SIGV4): {why}").into(),
        everything: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_the_one_in_the_name_of_a_gateway() {
        for (host, region) in [
            (
                "a1.execute-api.eu-central-1.amazonaws.com",
                Some("eu-central-1"),
            ),
            (
                "a1.execute-api.cn-north-1.amazonaws.com.cn",
                Some("cn-north-1"),
            ),
            ("a1.execute-api.example.org", None),
            ("mlflow.example.com", None),
        ] {
            assert_eq!(region_of(host), region, "{host}");
        }
    }
}
