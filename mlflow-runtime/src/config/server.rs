//! Settings of the tracking server: [login](super::login), workspace, headers and TLS.
//!
//! Invariant: passwords, tokens and the values of headers are wrapped in [`Secret`](crate::Secret), so no `Debug` output shows one.
//!
//! Explicit values take precedence over the environment, and the environment over MLflow's credentials file.

use std::path::{Component, PathBuf};

use super::login::{Login, without_line_end};
use super::login_settings::LoginOptions;
use super::request_headers::RequestHeaders;
use super::resolver::Resolver;
use crate::config::Config;
use crate::config::credentials_file::CredentialsFile;
use crate::config::destination::Destination;
use crate::env_vars::{parse_flag, unusable};
use crate::warnings::UserWarning;

/// Server settings as given to [`Config`]; `None` if not given.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerOptions {
    pub(super) login: LoginOptions,
    pub(super) headers: RequestHeaders,
    aws_sigv4: Option<bool>,
    workspace: Option<String>,
    insecure_tls: Option<bool>,
    server_cert: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    local_artifacts_dir: Option<PathBuf>,
}

/// Resolved server settings: explicit values, then the environment, then MLflow's credentials file.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerSettings {
    pub(crate) login: Login,
    /// Headers of every request.
    pub(crate) headers: RequestHeaders,
    /// True to sign requests for AWS in place of sending credentials.
    pub(crate) aws_sigv4: bool,
    pub(crate) tls: Tls,
    pub(crate) workspace: Option<String>,
    /// Directory of this machine that a server on another machine may have artifacts written to.
    pub(crate) local_artifacts_dir: Option<PathBuf>,
}

/// TLS settings for the tracking server: the check of the server's certificate, and the client's own
/// certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    pub(crate) insecure: bool,
    pub(crate) ca_bundle: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
}

impl Config {
    /// Sets the workspace on the server (`MLFLOW_WORKSPACE`, default: the server's own default workspace).
    /// The name is sent as the header `X-MLFLOW-WORKSPACE`. A line break at the end of the name is removed.
    ///
    /// ```
    /// let config = mlflow::Config::new().workspace("vision-team");
    /// # let _ = config;
    /// ```
    pub fn workspace(mut self, name: impl Into<String>) -> Self {
        self.server.workspace = Some(without_line_end(name.into()));
        self
    }

    /// Turns off the check of the server's certificate (`MLFLOW_TRACKING_INSECURE_TLS`, default false).
    /// Anyone between the program and the server can then read and change the traffic, so a warning is logged
    /// once. For a private certificate authority, use [`server_cert`](Self::server_cert) instead.
    ///
    /// ```
    /// let config = mlflow::Config::new().insecure_tls(true);
    /// # let _ = config;
    /// ```
    pub fn insecure_tls(mut self, insecure: bool) -> Self {
        self.server.insecure_tls = Some(insecure);
        self
    }

    /// Sets the file of the certificates that are trusted instead of the system's, in PEM format
    /// (`MLFLOW_TRACKING_SERVER_CERT_PATH`, default: none). If the file cannot be used, one warning is
    /// logged, and values wait in the journal.
    ///
    /// ```
    /// let config = mlflow::Config::new().server_cert("/etc/ssl/private-ca.pem");
    /// # let _ = config;
    /// ```
    pub fn server_cert(mut self, path: impl Into<PathBuf>) -> Self {
        self.server.server_cert = Some(path.into());
        self
    }

    /// Sets the file of the client's own certificate and private key, in PEM format
    /// (`MLFLOW_TRACKING_CLIENT_CERT_PATH`, default: none). If the file cannot be used, one warning is
    /// logged, and values wait in the journal.
    ///
    /// ```
    /// let config = mlflow::Config::new().client_cert("/etc/ssl/client.pem");
    /// # let _ = config;
    /// ```
    pub fn client_cert(mut self, path: impl Into<PathBuf>) -> Self {
        self.server.client_cert = Some(path.into());
        self
    }

    /// Signs each request to the server with Signature Version 4 of AWS (`MLFLOW_TRACKING_AWS_SIGV4`, default false), for a server
    /// behind an API Gateway with IAM authorization. Signed requests carry no other credentials. Needs the feature `aws-sigv4`:
    /// without it, the setting is ignored with a line that says so.
    ///
    /// The keys are those of the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`) or of the
    /// machine's role (web identity, container, instance), which are renewed. The region is the one in the gateway's host
    /// name, else `AWS_REGION` or `AWS_DEFAULT_REGION`. The service is `execute-api`, as in MLflow's own client.
    ///
    /// ```
    /// let config = mlflow::Config::new().aws_sigv4(true);
    /// # let _ = config;
    /// ```
    pub fn aws_sigv4(mut self, sign: bool) -> Self {
        self.server.aws_sigv4 = Some(sign);
        self
    }

    /// Sets the directory of this machine in which, and below which, a tracking server on another machine may have artifacts
    /// written and read (`MLFLOW_LOCAL_ARTIFACTS_DIR`, default: none), for a file system that both machines share.
    ///
    /// A server that was started without `--serve-artifacts` names a directory for the artifacts of each run. A server on
    /// this machine may name any. From another machine, that would let whoever runs the server write files here, so artifacts
    /// for any other directory wait in the journal, with one line that says so. A path that is not absolute is ignored, with a warning.
    ///
    /// ```
    /// let config = mlflow::Config::new().local_artifacts_dir("/shared/mlflow/artifacts");
    /// # let _ = config;
    /// ```
    pub fn local_artifacts_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.server.local_artifacts_dir = Some(directory.into());
        self
    }
}

impl ServerOptions {
    pub(super) fn resolve(
        self,
        resolver: &mut Resolver<'_>,
        destination: &Destination,
        file: Option<&CredentialsFile>,
    ) -> ServerSettings {
        let Self {
            login,
            headers,
            aws_sigv4,
            workspace,
            insecure_tls,
            server_cert,
            client_cert,
            local_artifacts_dir,
        } = self;
        let line = |value| Ok(without_line_end(value));
        let path = |value| Ok(PathBuf::from(value));
        let (login, namespace) = login.resolve(resolver, destination.has_login(), file);
        ServerSettings {
            login,
            headers: headers.resolve(resolver),
            aws_sigv4: resolve_aws_sigv4(resolver, aws_sigv4),
            tls: Tls {
                insecure: resolver
                    .choose(INSECURE_TLS)
                    .configured(insecure_tls)
                    .variable(|value| parse_flag(INSECURE_TLS, &value))
                    .or(false),
                ca_bundle: resolver
                    .choose("MLFLOW_TRACKING_SERVER_CERT_PATH")
                    .configured(server_cert)
                    .variable(path)
                    .or_unset(),
                client_cert: resolver
                    .choose("MLFLOW_TRACKING_CLIENT_CERT_PATH")
                    .configured(client_cert)
                    .variable(path)
                    .or_unset(),
            },
            workspace: resolver
                .choose("MLFLOW_WORKSPACE")
                .configured(workspace)
                .variable(line)
                .or_unset_shown_as(namespace.as_deref())
                .or(namespace),
            local_artifacts_dir: resolver
                .choose(LOCAL_ARTIFACTS_DIR)
                .configured_as(local_artifacts_dir, absolute_directory)
                .variable(|value| absolute_directory(value.into()))
                .or_unset(),
        }
    }
}

/// Chooses whether requests are signed. Without the feature `aws-sigv4`, none is.
fn resolve_aws_sigv4(resolver: &mut Resolver<'_>, configured: Option<bool>) -> bool {
    let choice = resolver
        .choose(AWS_SIGV4)
        .configured(configured)
        .variable(|value| parse_flag(AWS_SIGV4, &value));
    let is_missing = !cfg!(feature = "aws-sigv4") && matches!(choice.chosen(), Some((true, _)));
    let missing = is_missing.then(|| {
        UserWarning::new(format_args!(
            "{AWS_SIGV4} is ignored and requests are not signed: build the program with mlflow-runtime's feature `aws-sigv4`"
        ))
    });
    choice.unless(missing).or(false)
}

/// Returns the directory, or a warning if its path is not absolute: a relative one would mean another directory in each working
/// directory, and an empty one all of them.
fn absolute_directory(path: PathBuf) -> Result<PathBuf, UserWarning> {
    let is_plain = path.components().all(|part| part != Component::ParentDir);
    if path.is_absolute() && is_plain {
        return Ok(path);
    }
    let expected = "the absolute path of a directory, without `..`";
    Err(unusable(
        LOCAL_ARTIFACTS_DIR,
        &path.to_string_lossy(),
        expected,
    ))
}

const LOCAL_ARTIFACTS_DIR: &str = "MLFLOW_LOCAL_ARTIFACTS_DIR";
const AWS_SIGV4: &str = "MLFLOW_TRACKING_AWS_SIGV4";
const INSECURE_TLS: &str = "MLFLOW_TRACKING_INSECURE_TLS";
