//! Sending of requests and reading of answers.
//!
//! - Credentials and workspace go to the tracking server alone, and no [redirect](super::redirects) takes them elsewhere.
//! - The number of bytes that are read of an answer is limited.
//! - A request that is harmless when repeated is repeated once, without delay, if its connection broke. The
//!   server closes idle connections after 5 s, and may be closing the very connection that the request uses.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use once_cell::unsync::OnceCell;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use ring::digest::Digest;
use rustls::ClientConfig;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::error::{self, Cause, RequestError, Route};
use super::login::{CurrentLogin, Generation, SentLogin, check_header_value};
use super::server_info::ServerInfo;
#[cfg(feature = "aws-sigv4")]
use super::signature::RequestSigner;
use super::{Credentials, RestOptions, StoreError, clock, redirects, time_limit, tls};
use crate::config::multipart::MultipartUploads;
use crate::config::request_headers::RequestHeaders;
use crate::percent_encoding::percent_decode;
#[cfg(feature = "object-store")]
use crate::store::object_storage::ObjectStorage;
use crate::warnings::warn_user;

/// Time after which an idle connection is dropped, below the 5 s after which the server closes it.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Longest wait for the answer to a request that every server answers at once.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest body of an answer that is accepted. A run with 10,000 metrics and params takes some 5 MB.
const MAX_RESPONSE_BYTES: usize = 32 << 20;

/// Largest body of an answer with many records that is accepted: releases up to 3.1 send the whole history of
/// a metric at once, some 100 bytes a point.
pub(super) const MAX_LIST_BYTES: usize = 256 << 20;

/// Property of a request that decides if it may be sent again when its outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idempotency {
    Idempotent,
    NonIdempotent,
}

/// Answer of a server to a request that needs access.
pub(super) struct Access {
    /// False if the server refuses the request because of the credentials.
    pub(super) is_authorized: bool,
    /// Time of the answer by the server's clock; `None` if the server does not send it.
    pub(super) server_time_ms: Option<i64>,
}

/// HTTP client of one tracking server.
pub(super) struct HttpClient {
    client: Client,
    /// Tracking URI without user, password and trailing `/`.
    base: String,
    /// Parsed tracking URI; a URL receives the credentials only if it has the same origin.
    base_url: Url,
    login: CurrentLogin,
    /// What requests carry in secret, for the text of an error, and the generation of the credentials for which it holds.
    noted_login: RefCell<Option<(Generation, Arc<SentLogin>)>>,
    headers: RequestHeaders,
    workspace: Option<String>,
    timeout: Duration,
    connect_timeout: Duration,
    ca_bundle: Option<PathBuf>,
    /// Clients of other servers than the tracking server, created when they are needed: for plain and for encrypted connections,
    /// each through the proxy and directly.
    other_clients: [[OnceCell<Client>; 2]; 2],
    is_bucket_unavailable: Cell<bool>,
    multipart: MultipartUploads,
    /// Directory below which a server on another machine may have artifacts written.
    local_artifacts_dir: Option<PathBuf>,
    /// Abilities that the server has advertised, once it was asked.
    server_info: OnceCell<ServerInfo>,
    is_presigned_only: Cell<bool>,
    #[cfg(feature = "object-store")]
    object_storage: ObjectStorage,
    /// Signer of all requests to the server, in place of credentials.
    #[cfg(feature = "aws-sigv4")]
    signer: Option<RequestSigner>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("base", &self.base)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

impl HttpClient {
    pub(super) fn new(options: RestOptions) -> Result<Self, StoreError> {
        let (base_url, from_uri) = parse_tracking_uri(&options.uri.0)?;
        let has_own_login = from_uri.is_some() || options.has_own_login;
        let headers = match has_own_login || options.aws_sigv4 {
            true => options.headers.clone().without_authorization(),
            false => options.headers.clone(),
        };
        let login = match (from_uri, options.login.clone(), options.credentials.clone()) {
            // The signature is in the header that would hold the credentials.
            _ if options.aws_sigv4 || headers.hold_authorization() => CurrentLogin::fixed(None),
            (Some(from_uri), _, _) => CurrentLogin::fixed(Some(from_uri)),
            (None, Some(login), _) => CurrentLogin::of(login),
            (None, None, credentials) => CurrentLogin::fixed(credentials),
        }?;
        #[cfg(feature = "aws-sigv4")]
        let signer = options
            .aws_sigv4
            .then(|| RequestSigner::new(&base_url, options.timeout))
            .transpose()?;
        if let Some(workspace) = &options.workspace {
            check_header_value("the workspace (MLFLOW_WORKSPACE)", workspace)?;
        }
        let tls = tls::build_tracking_config(&options, base_url.scheme() == "https")?;
        let builder = client_builder(tls, options.connect_timeout, redirects::policy());
        // A proxy would take what is for this machine to another one.
        let builder = match is_loopback(&base_url) {
            true => builder.no_proxy(),
            false => builder,
        };
        let client = build_client(builder)?;
        Ok(Self {
            client,
            base: base_url.as_str().trim_end_matches('/').to_owned(),
            base_url,
            login,
            noted_login: RefCell::default(),
            headers,
            workspace: options.workspace,
            timeout: options.timeout,
            connect_timeout: options.connect_timeout,
            ca_bundle: options.ca_bundle,
            other_clients: Default::default(),
            is_bucket_unavailable: Cell::new(false),
            multipart: options.multipart,
            local_artifacts_dir: options.local_artifacts_dir,
            server_info: OnceCell::new(),
            is_presigned_only: Cell::new(false),
            #[cfg(feature = "object-store")]
            object_storage: ObjectStorage::default(),
            #[cfg(feature = "aws-sigv4")]
            signer,
        })
    }

    /// Returns the directory below which a server on another machine may have artifacts written.
    pub(super) fn local_artifacts_dir(&self) -> Option<&Path> {
        self.local_artifacts_dir.as_deref()
    }

    /// Warns once in a process if credentials go over a network without encryption.
    pub(super) fn warn_if_exposed(&self) {
        static WARNED: AtomicBool = AtomicBool::new(false);
        let is_readable = self.base_url.scheme() == "http" && !is_loopback(&self.base_url);
        // A signature shows no key, but the token of a session stands beside it.
        let has_credential =
            self.login.is_given() || self.headers.hold_credential() || self.is_signed();
        if is_readable && has_credential && !WARNED.swap(true, Ordering::Relaxed) {
            warn_user(format_args!(
                "the password or token for {} is sent without encryption, so that anyone on the way can read it; use an https:// \
                 address as the tracking URI",
                self.base
            ));
        }
    }

    /// Returns the tracking URI without credentials and trailing `/`.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Returns the tracking URI without credentials, parsed.
    pub(super) fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// Returns the longest time that a request may make no progress.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, RequestError> {
        let asked = format!("GET {path}");
        let mut url = self.api_url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let build = || self.request(Method::GET, url.clone()).timeout(self.timeout);
        read_json(
            &asked,
            self.send(&asked, Idempotency::Idempotent, build).await?,
        )
        .await
    }

    /// Returns the server's version, or `None` if the server does not report one, e.g. because it requires
    /// credentials for that.
    pub(super) async fn version(&self) -> Result<Option<String>, StoreError> {
        let asked = "GET version";
        let url = parse_url(&format!("{}/version", self.base))?;
        let build = || self.request(Method::GET, url.clone()).timeout(self.timeout);
        let response = self.send(asked, Idempotency::Idempotent, build).await?;
        let body = match read_success_body(Route::Api, asked, response).await {
            Ok(body) => body,
            Err(
                RequestError::Other(error @ StoreError::Unavailable { .. })
                | RequestError::Known(_, error @ StoreError::Unavailable { .. }),
            ) => return Err(error),
            Err(_) => return Ok(None),
        };
        // Under a wrong path, a web server may answer with some page.
        let version = String::from_utf8(body).ok();
        Ok(version
            .map(|version| version.trim().to_owned())
            .filter(|version| {
                version.len() < 64 && version.starts_with(|char: char| char.is_ascii_digit())
            }))
    }

    /// Sends a request, which may be refused because of the credentials.
    pub(super) async fn check_access(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Access, StoreError> {
        let asked = format!("GET {path}");
        let mut url = self.api_url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let build = || self.request(Method::GET, url.clone()).timeout(self.timeout);
        let response = self.send(&asked, Idempotency::Idempotent, build).await?;
        let access = Access {
            is_authorized: !matches!(
                response.status(),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
            ),
            server_time_ms: clock::server_time_ms(response.headers()),
        };
        if access.is_authorized {
            read_json::<IgnoredAny>(&asked, response).await?;
        }
        Ok(access)
    }

    /// Sends a small request, and waits for the answer no longer than [`PING_TIMEOUT`], or the request
    /// timeout if that is shorter.
    pub(super) async fn ping(&self, path: &str, query: &[(&str, &str)]) -> Result<(), StoreError> {
        let asked = format!("GET {path}");
        let mut url = self.api_url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let timeout = self.timeout.min(PING_TIMEOUT);
        let build = || self.request(Method::GET, url.clone()).timeout(timeout);
        let response = self.send(&asked, Idempotency::Idempotent, build).await?;
        read_json::<IgnoredAny>(&asked, response).await?;
        Ok(())
    }

    /// Sends a GET request, and reads an answer with many records, of up to [`MAX_LIST_BYTES`].
    pub(super) async fn get_list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, RequestError> {
        let asked = format!("GET {path}");
        let mut url = self.api_url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let build = || self.request(Method::GET, url.clone()).timeout(self.timeout);
        let response = self.send(&asked, Idempotency::Idempotent, build).await?;
        read_json_within(&asked, response, MAX_LIST_BYTES).await
    }

    /// Sends a POST request that is harmless when repeated, and reads an answer with many records, of up to
    /// [`MAX_LIST_BYTES`]. `key` is the name of their list.
    pub(super) async fn post_list<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: Vec<u8>,
    ) -> Result<T, RequestError> {
        let asked = format!("POST {path}");
        let response = self.post_json(path, body, Idempotency::Idempotent).await?;
        let body = read_body_within(Route::Api, &asked, response, MAX_LIST_BYTES).await?;
        let unexpected = || error::unexpected_response_error(&asked, &body).into();
        if is_foreign_list(&body, key) {
            return Err(unexpected());
        }
        serde_json::from_slice(&body).map_err(|_| unexpected())
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
        repeat: Idempotency,
    ) -> Result<T, RequestError> {
        self.call(Method::POST, path, body, repeat).await
    }

    /// Sends a JSON body by any method, and reads the answer.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        repeat: Idempotency,
    ) -> Result<T, RequestError> {
        let asked = format!("{method} {path}");
        let response = self.send_json(method, path, body, repeat).await?;
        read_json(&asked, response).await
    }

    /// Sends a JSON body, and returns the answer unread, whatever its status.
    pub(super) async fn post_json(
        &self,
        path: &str,
        body: Vec<u8>,
        repeat: Idempotency,
    ) -> Result<Response, StoreError> {
        self.send_json(Method::POST, path, body, repeat).await
    }

    async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        repeat: Idempotency,
    ) -> Result<Response, StoreError> {
        let asked = format!("{method} {path}");
        let url = self.api_url(path)?;
        self.send_json_to(&asked, method, url, body, repeat).await
    }

    /// Sends a JSON body to any URL, and returns the answer unread, whatever its status.
    pub(super) async fn post_json_to(
        &self,
        asked: &str,
        url: Url,
        body: Vec<u8>,
        repeat: Idempotency,
    ) -> Result<Response, StoreError> {
        self.send_json_to(asked, Method::POST, url, body, repeat)
            .await
    }

    async fn send_json_to(
        &self,
        asked: &str,
        method: Method,
        url: Url,
        body: Vec<u8>,
        repeat: Idempotency,
    ) -> Result<Response, StoreError> {
        let body = Bytes::from(body);
        let build = || {
            self.request(method.clone(), url.clone())
                .timeout(self.timeout)
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone())
        };
        self.send(asked, repeat, build).await
    }

    /// Returns a client for the bucket at a URL; see [`client_of`](Self::client_of).
    pub(super) fn bucket_client(&self, bucket: &Url) -> Result<&Client, StoreError> {
        self.client_of(bucket.scheme() == "https", is_loopback(bucket))
    }

    /// Returns a client that sends nothing but what the request holds: neither credentials nor the certificate of this client. The
    /// client trusts the system's certificates and those that are configured for the tracking server, which have to be there only
    /// if the connection `is_encrypted`. What is `direct` goes through no proxy.
    pub(super) fn client_of(
        &self,
        is_encrypted: bool,
        direct: bool,
    ) -> Result<&Client, StoreError> {
        let [plain, encrypted] = &self.other_clients;
        let [by_proxy, directly] = if is_encrypted { encrypted } else { plain };
        let cell = if direct { directly } else { by_proxy };
        cell.get_or_try_init(|| {
            let tls = match tls::build_bucket_config(self.ca_bundle.as_deref()) {
                Err(_) if !is_encrypted => tls::build_plain_config(),
                built => built,
            }?;
            let builder = client_builder(tls, self.connect_timeout, redirect::Policy::none());
            build_client(if direct { builder.no_proxy() } else { builder })
        })
    }

    /// Warns once in a process if an artifact goes over a network without encryption although the server itself is encrypted.
    pub(super) fn warn_if_bucket_is_exposed(&self, bucket: &Url) {
        static WARNED: AtomicBool = AtomicBool::new(false);
        let is_readable = bucket.scheme() == "http" && !is_loopback(bucket);
        if is_readable && self.base_url.scheme() == "https" && !WARNED.swap(true, Ordering::Relaxed)
        {
            warn_user(format_args!(
                "artifacts go to the bucket at {} without encryption, as {} has signed an http:// address for them; anyone on the \
                 way can read them. Let the server sign https:// addresses (MLFLOW_S3_ENDPOINT_URL of the server)",
                bucket.host_str().unwrap_or_default(),
                self.base
            ));
        }
    }

    /// Records if the last upload to a bucket got no answer.
    pub(super) fn set_bucket_unavailable(&self, is_away: bool) {
        self.is_bucket_unavailable.set(is_away);
    }

    /// Returns true if the last upload to a bucket got no answer.
    pub(super) fn is_bucket_unavailable(&self) -> bool {
        self.is_bucket_unavailable.get()
    }

    /// Returns the settings of uploads in parts.
    pub(super) fn multipart(&self) -> MultipartUploads {
        self.multipart
    }

    /// Returns what the server advertises. The server is asked once; while it does not answer, it advertises
    /// nothing.
    pub(super) async fn server_info(&self) -> ServerInfo {
        if let Some(known) = self.server_info.get() {
            return *known;
        }
        let asked = "GET server-info";
        let Ok(url) = parse_url(&format!("{}/api/3.0/mlflow/server-info", self.base)) else {
            return ServerInfo::default();
        };
        let timeout = self.timeout.min(PING_TIMEOUT);
        let build = || self.request(Method::GET, url.clone()).timeout(timeout);
        let info = match self.send(asked, Idempotency::Idempotent, build).await {
            Ok(response) => read_json(asked, response).await,
            Err(error) => Err(error.into()),
        };
        match info {
            Ok(info) => *self.server_info.get_or_init(|| info),
            // Releases before 3.10 have no such route.
            Err(RequestError::Known(Cause::UnknownRoute, _)) => {
                *self.server_info.get_or_init(ServerInfo::default)
            }
            Err(_) => ServerInfo::default(),
        }
    }

    /// Returns the buckets to which this process writes itself.
    #[cfg(feature = "object-store")]
    pub(super) fn object_storage(&self) -> &ObjectStorage {
        &self.object_storage
    }

    /// Records that the server passes no artifacts on.
    pub(super) fn set_presigned_only(&self) {
        self.is_presigned_only.set(true);
    }

    /// Returns true if the server has said that it passes no artifacts on.
    pub(super) fn is_presigned_only(&self) -> bool {
        self.is_presigned_only.get()
    }

    /// Returns a request that carries our credentials and workspace if it goes to the server that they are for.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let is_ours = url.origin() == self.base_url.origin();
        let mut request = self.client.request(method, url);
        if !is_ours {
            return request;
        }
        if let Some(workspace) = &self.workspace {
            request = request.header("X-MLFLOW-WORKSPACE", workspace);
        }
        for (name, value) in self.headers.iter() {
            if let Ok(mut value) = HeaderValue::from_bytes(value.as_bytes()) {
                value.set_sensitive(true);
                request = request.header(name, value);
            }
        }
        self.login.authorize(request)
    }

    /// Returns the credentials of requests to the server.
    pub(super) fn login(&self) -> &CurrentLogin {
        &self.login
    }

    fn api_url(&self, path: &str) -> Result<Url, StoreError> {
        parse_url(&format!("{}/api/2.0/mlflow/{path}", self.base))
    }

    /// Requests a file, and returns the answer unread, whatever its status. Only the beginning of the answer
    /// has to come in time.
    pub(super) async fn open(&self, asked: &str, url: &Url) -> Result<Response, StoreError> {
        let build = || self.request(Method::GET, url.clone());
        let opening = self.send(asked, Idempotency::Idempotent, build);
        time_limit::with_timeout(self.timeout, asked, opening).await
    }

    /// Sends a request, whose answer is unread, whatever its status.
    pub(super) async fn send(
        &self,
        asked: &str,
        repeat: Idempotency,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<Response, StoreError> {
        let login = self.login.prepare().await?;
        self.warn_if_exposed();
        let mut response = self.send_repeating(asked, repeat, &build).await?;
        if self.login.is_renewed(login, response.status()).await {
            response = self.send_repeating(asked, repeat, &build).await?;
        }
        self.note_login(&mut response);
        Ok(response)
    }

    /// Sends a request, and sends it again if that is harmless and the connection broke.
    async fn send_repeating(
        &self,
        asked: &str,
        repeat: Idempotency,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<Response, StoreError> {
        match self.sign(build(), None).await?.send().await {
            Err(error) if repeat == Idempotency::Idempotent && is_broken_connection(&error) => {
                self.sign(build(), None).await?.send().await
            }
            sent => sent,
        }
        .map_err(|error| classify_send_error(asked, error))
    }

    /// Returns true if requests to the server are signed.
    pub(super) fn is_signed(&self) -> bool {
        #[cfg(feature = "aws-sigv4")]
        let is_signed = self.signer.is_some();
        #[cfg(not(feature = "aws-sigv4"))]
        let is_signed = false;
        is_signed
    }

    /// Returns the request with a signature, if requests are signed. `digest` is the one of a body that is read while it is sent.
    #[cfg(feature = "aws-sigv4")]
    pub(super) async fn sign(
        &self,
        request: RequestBuilder,
        digest: Option<Digest>,
    ) -> Result<RequestBuilder, StoreError> {
        match &self.signer {
            Some(signer) => {
                // The keys of a container or instance come from an address of its own machine.
                let client = match signer.asks_other_machine() {
                    true => self.client_of(true, false),
                    false => self.client_of(false, true),
                };
                signer.sign(request, client?, digest).await
            }
            None => Ok(request),
        }
    }

    /// Returns the request as it is: this library is not built with signatures.
    #[cfg(not(feature = "aws-sigv4"))]
    #[allow(clippy::unused_async)] // the signature of the other version
    pub(super) async fn sign(
        &self,
        request: RequestBuilder,
        _digest: Option<Digest>,
    ) -> Result<RequestBuilder, StoreError> {
        Ok(request)
    }

    /// Adds to an answer what the request has carried in secret, for the text of an error.
    pub(super) fn note_login(&self, response: &mut Response) {
        let generation = self.login.generation();
        let mut noted = self.noted_login.borrow_mut();
        let login = match &*noted {
            // The token of a session changes by itself.
            Some((of, login)) if *of == generation && !self.is_signed() => Arc::clone(login),
            _ => {
                let login = Arc::new(self.describe_login());
                *noted = Some((generation, Arc::clone(&login)));
                login
            }
        };
        response.extensions_mut().insert(login);
    }

    /// Returns what requests carry in secret.
    fn describe_login(&self) -> SentLogin {
        // The header holds user name and password in another form.
        let request = self
            .request(Method::GET, self.base_url.clone())
            .build()
            .ok();
        let authorization = request.and_then(|request| {
            let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
            Some(header.rsplit(' ').next()?.to_owned())
        });
        let headers = self.headers.secrets().map(str::to_owned);
        let secrets = authorization.into_iter().chain(headers).collect();
        let mut login = self.login.describe(secrets);
        if self.headers.hold_authorization() {
            let header = "the header Authorization (MLFLOW_TRACKING_HEADERS)";
            login.description = Some(header.to_owned());
        }
        #[cfg(feature = "aws-sigv4")]
        if let Some(signer) = &self.signer {
            login = signer.describe();
        }
        login
    }
}

fn client_builder(
    tls: ClientConfig,
    connect_timeout: Duration,
    redirects: redirect::Policy,
) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("mlflow-runtime/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .redirect(redirects)
}

fn build_client(builder: ClientBuilder) -> Result<Client, StoreError> {
    builder.build().map_err(|error| {
        StoreError::Blocked {
            reason: format!("the HTTP client cannot be set up: {}", root_cause(&error)).into(),
            everything: true,
        }
        .with_source(error)
    })
}

/// Returns true if the server is reached without a network.
pub(super) fn is_loopback(server: &Url) -> bool {
    let host = server.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    // `127.example.com` is the name of another machine.
    let is_here = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    host == "localhost" || address.parse().is_ok_and(is_here)
}

pub(super) fn parse_url(url: &str) -> Result<Url, StoreError> {
    Url::parse(url).map_err(|error| StoreError::Rejected {
        reason: format!("`{url}` is not a URL: {error}").into(),
    })
}

/// Returns the URI without the parts that must not be shown or sent (user, password, query, fragment), and
/// the credentials that it contained.
fn parse_tracking_uri(text: &str) -> Result<(Url, Option<Credentials>), StoreError> {
    // The reason does not contain the URI, which may hold a password.
    let blocked = |why: &str| StoreError::Blocked {
        reason: format!("the tracking URI {why}: it should look like `https://host:port`").into(),
        everything: true,
    };
    let mut url =
        Url::parse(text.trim()).map_err(|error| blocked(&format!("is not valid ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(blocked("is not an http or https URL"));
    }
    let decoded = |part: &str| {
        percent_decode(part)
            .map(String::from)
            .ok_or_else(|| blocked("has an invalid percent-encoding in its user name or password"))
    };
    let credentials = if !url.username().is_empty() || url.password().is_some() {
        Some(Credentials::Basic {
            username: decoded(url.username())?,
            password: decoded(url.password().unwrap_or_default())?,
        })
    } else {
        None
    };
    url.set_query(None);
    url.set_fragment(None);
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(blocked("has no host"));
    }
    Ok((url, credentials))
}

/// Returns true if the connection broke, so that a new connection may work.
pub(super) fn is_broken_connection(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout()
}

/// Returns the error for a request that got no answer.
pub(super) fn classify_send_error(asked: &str, error: reqwest::Error) -> StoreError {
    // The URL of an upload may hold a signature.
    let error = error.without_url();
    let cause = root_cause(&error);
    if error.is_builder() || error.is_redirect() {
        return StoreError::Blocked {
            reason: format!("{asked}: cannot be sent: {cause}").into(),
            everything: true,
        }
        .with_source(error);
    }
    let reason = if error.is_timeout() {
        format!("{asked}: no answer in time")
    } else if cause.contains("certificate") {
        format!(
            "{asked}: {cause}. For a private authority set MLFLOW_TRACKING_SERVER_CERT_PATH to its PEM file"
        )
    } else if cause.contains("InvalidContentType") {
        format!(
            "{asked}: the server does not speak TLS; use http:// instead of https://? ({cause})"
        )
    } else {
        format!("{asked}: {cause}")
    };
    StoreError::Unavailable {
        reason: reason.into(),
        retry_after: None,
    }
    .with_source(error)
}

/// Returns the text of the innermost error. The outer errors only state that a request failed.
fn root_cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

pub(super) async fn read_json<T: DeserializeOwned>(
    asked: &str,
    response: Response,
) -> Result<T, RequestError> {
    read_json_within(asked, response, MAX_RESPONSE_BYTES).await
}

async fn read_json_within<T: DeserializeOwned>(
    asked: &str,
    response: Response,
    max_bytes: usize,
) -> Result<T, RequestError> {
    let login = response.extensions().get::<Arc<SentLogin>>().cloned();
    let body = read_body_within(Route::Api, asked, response, max_bytes).await?;
    serde_json::from_slice(&body).map_err(|_| {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let shown = match login {
            Some(login) => login.hide(shown),
            None => shown,
        };
        error::unexpected_response_error(asked, shown.as_bytes()).into()
    })
}

/// Returns true if an answer holds something, but no list: then it is none of MLflow's, which leaves out an empty
/// list and the token of a page that does not exist. Only a short answer is looked at: a long one holds a list.
fn is_foreign_list(body: &[u8], key: &str) -> bool {
    const MAX_BYTES: usize = 4096;
    if body.len() > MAX_BYTES {
        return false;
    }
    let fields = serde_json::from_slice::<HashMap<String, IgnoredAny>>(body);
    fields.is_ok_and(|fields| {
        let is_known = |field: &String| field == key || field == "next_page_token";
        !fields.is_empty() && !fields.keys().any(is_known)
    })
}

/// Returns the body of a successful answer; anything else is an error.
pub(super) async fn read_success_body(
    route: Route,
    asked: &str,
    response: Response,
) -> Result<Vec<u8>, RequestError> {
    read_body_within(route, asked, response, MAX_RESPONSE_BYTES).await
}

async fn read_body_within(
    route: Route,
    asked: &str,
    mut response: Response,
    max_bytes: usize,
) -> Result<Vec<u8>, RequestError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| classify_send_error(asked, error))?
    {
        if body.len() + chunk.len() > max_bytes {
            return Err(error::long_answer_error(asked, max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    if response.status().is_success() {
        Ok(body)
    } else {
        Err(error::classify_response(
            route,
            asked,
            response.status(),
            response.headers(),
            response
                .extensions()
                .get::<Arc<SentLogin>>()
                .map(|login| &**login),
            &body,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(uri: &str) -> HttpClient {
        HttpClient::new(RestOptions::new(uri)).expect("options")
    }

    #[test]
    fn a_name_that_looks_like_this_machine_is_another_one() {
        for (uri, is_here) in [
            ("http://localhost:5000", true),
            ("http://LOCALHOST", true),
            ("http://127.0.0.1:5000", true),
            ("http://127.1.2.3", true),
            ("http://[::1]:5000", true),
            ("http://0.0.0.0:5000", true),
            ("http://127.example.com", false),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://192.168.0.1", false),
            ("http://[::2]", false),
        ] {
            let server = Url::parse(uri).expect("a URL");
            assert_eq!(is_loopback(&server), is_here, "{uri}");
        }
    }

    #[test]
    fn userinfo_becomes_basic_and_is_shown_nowhere() {
        let http = http("http://al%40ice:s%3Acret@host:5000/pre/");
        assert_eq!(http.base(), "http://host:5000/pre");
        let request = http.request(Method::GET, http.base_url().clone());
        let request = request.build().expect("a request");
        let sent = request.headers().get("authorization").expect("a header");
        // The base64 of `al@ice:s:cret`.
        assert_eq!(sent, "Basic YWxAaWNlOnM6Y3JldA==");
        assert!(!format!("{http:?}").contains("cret"));
        let options = RestOptions::new("http://alice:secret@host");
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn credentials_go_to_their_server_only() {
        let mut options = RestOptions::new("http://host:5000");
        options.credentials =
            Credentials::choose(Some("u".to_owned()), None, Some("token".to_owned()));
        let team = crate::Config::new().header("X-Team", "vision");
        options.headers = team.resolve_silently().server.headers;
        let http = HttpClient::new(options).expect("options");
        let authorization = |url: &str| {
            let request = http
                .request(Method::GET, parse_url(url).expect("a URL"))
                .build()
                .expect("a request");
            request.headers().get("authorization").cloned()
        };
        let team = |url: &str| {
            let request = http
                .request(Method::GET, parse_url(url).expect("a URL"))
                .build()
                .expect("a request");
            request.headers().get("x-team").cloned()
        };
        let header = team("http://host:5000/api").expect("a header");
        assert!(header.is_sensitive());
        assert_eq!(team("http://other:5000/api"), None);
        let ours = authorization("http://host:5000/api").expect("a header");
        assert_eq!(ours, "Bearer token");
        assert!(ours.is_sensitive());
        assert_eq!(authorization("http://host:5001/api"), None);
        assert_eq!(authorization("https://host:5000/api"), None);
        assert_eq!(authorization("http://other:5000/api"), None);
    }

    #[test]
    fn what_no_header_can_hold_is_named_by_its_variable() {
        let said = |change: fn(&mut RestOptions)| {
            let mut options = RestOptions::new("http://host");
            change(&mut options);
            HttpClient::new(options).expect_err("no header").to_string()
        };
        let token =
            said(|options| options.credentials = Some(Credentials::Bearer("s3c\nret".to_owned())));
        assert!(
            token.contains("the token cannot be sent") && token.contains("'\\n'"),
            "{token}"
        );
        assert!(!token.contains("s3c"), "{token}");
        let workspace = said(|options| options.workspace = Some("a\rb".to_owned()));
        assert!(workspace.contains("MLFLOW_WORKSPACE"), "{workspace}");
    }

    #[test]
    fn a_uri_that_is_none_blocks_without_showing_it() {
        for uri in [
            "",
            "host:5000",
            "ftp://u:secret@host",
            "http://u:secret@",
            "http://u:secret@host:99999",
        ] {
            let error = HttpClient::new(RestOptions::new(uri)).expect_err(uri);
            assert!(
                matches!(
                    error,
                    StoreError::Blocked {
                        everything: true,
                        ..
                    }
                ),
                "{error}"
            );
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
