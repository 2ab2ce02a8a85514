//! Settings of the [login](super::login): what chooses it among the program, the environment and MLflow's credentials file.
//!
//! Invariants: passwords and tokens are wrapped in [`Secret`], so no `Debug` output and no list of settings shows one. A token has
//! one source: of the program's, the one that was set last.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::credentials_file::CredentialsFile;
use super::login::{FileLogin, Login, TokenSource, without_line_end};
use super::resolver::{Resolver, SettingValue};
use super::setting::SettingSource;
use crate::config::Config;
use crate::secret::Secret;
use crate::warnings::UserWarning;

/// Where the service account of a Kubernetes pod has its token and its namespace.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Login as given to [`Config`]; `None` if not given.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoginOptions {
    username: Option<String>,
    password: Option<Secret<String>>,
    token: Option<TokenSource>,
}

impl LoginOptions {
    /// Chooses the login: explicit values, then the environment, then MLflow's credentials file. With `is_in_uri`, the login of
    /// the tracking URI is used instead. Also returns the workspace
    /// that the way of logging in names, for a program that names none.
    pub(super) fn resolve(
        self,
        resolver: &mut Resolver<'_>,
        is_in_uri: bool,
        file: Option<&CredentialsFile>,
    ) -> (Login, Option<String>) {
        let Self {
            username,
            password,
            token,
        } = self;
        // An entry of the configuration file must not win over another way to log in that takes precedence over the file.
        let is_token_named = token.is_some() || resolver.is_any_set(&[TOKEN, TOKEN_FILE, AUTH]);
        let is_password_named = password.is_some() || resolver.is_any_set(&[PASSWORD]);
        let username = resolver
            .choose("MLFLOW_TRACKING_USERNAME")
            .configured(username)
            .ignoring_file_if(is_token_named)
            .variable(|value| Ok(without_line_end(value)))
            .file(file, |file| file.username.clone())
            .unless_in_uri(is_in_uri);
        let gives_username = is_left_to_file(username.chosen());
        let username = username.or_unset();
        let password = resolver
            .choose(PASSWORD)
            .configured(password)
            .ignoring_file_if(is_token_named)
            .variable(|value| Ok(Secret::new(without_line_end(value))))
            .file(file, |file| file.password.clone())
            .unless_in_uri(is_in_uri);
        let gives_password = is_left_to_file(password.chosen());
        let password = password.or_unset();
        let file = file.filter(|_| gives_username || gives_password);
        let token = resolve_token(resolver, token, is_in_uri, is_password_named);
        let (auth, workspace) = resolve_auth(resolver, is_password_named);
        let by_auth = || auth.map(|_| TokenSource::File(service_account_file("token")));
        let login = Login {
            username,
            password,
            token: token.or_else(by_auth),
            file: file.map(|file| FileLogin {
                path: file.path.clone(),
                gives_username,
                gives_password,
            }),
            description: None,
        };
        (login, workspace)
    }
}

/// Returns true if the credentials file gives this part of the login, or would give it if the file held one.
fn is_left_to_file<T>(chosen: Option<(&T, &SettingSource)>) -> bool {
    chosen.is_none_or(|(_, source)| matches!(source, SettingSource::CredentialsFile(_)))
}

/// Chooses the source of the token. Of the environment, the token comes before its file.
fn resolve_token(
    resolver: &mut Resolver<'_>,
    configured: Option<TokenSource>,
    is_in_uri: bool,
    is_password_named: bool,
) -> Option<TokenSource> {
    let (file, token) = match configured {
        Some(file @ TokenSource::File(_)) => (Some(file), None),
        token => (None, token),
    };
    let is_configured = token.is_some();
    let is_file_named = resolver.is_any_set(&[TOKEN_FILE, AUTH]);
    let is_auth_named = resolver.is_any_set(&[AUTH]);
    let mut by_value = resolver
        .choose(TOKEN)
        .configured(token)
        .ignoring_file_if(is_password_named || is_file_named);
    if file.is_none() {
        let token = |value| Ok(TokenSource::Value(Secret::new(without_line_end(value))));
        by_value = by_value.variable(token);
    }
    let by_value = by_value.unless_in_uri(is_in_uri).or_unset();
    let mut by_file = { resolver.choose(TOKEN_FILE) }
        .configured(file)
        .ignoring_file_if(is_password_named || is_auth_named);
    if !is_configured {
        by_file = by_file.variable(|path| Ok(TokenSource::File(path.into())));
    }
    by_value.or(by_file.or_unset())
}

/// Chooses the way of logging in, and returns the workspace that it names.
fn resolve_auth(
    resolver: &mut Resolver<'_>,
    is_password_named: bool,
) -> (Option<RequestAuth>, Option<String>) {
    let auth = resolver
        .choose(AUTH)
        .ignoring_file_if(is_password_named)
        .variable(|name| RequestAuth::parse(&name));
    let mut workspace = None;
    let mut warning = None;
    if let Some((RequestAuth::KubernetesNamespaced, _)) = auth.chosen() {
        let file = service_account_file("namespace");
        match std::fs::read_to_string(&file) {
            Ok(namespace) => workspace = Some(namespace.trim().to_owned()),
            Err(error) => {
                warning = Some(UserWarning::new(format_args!(
                    "{AUTH}=kubernetes-namespaced names no workspace: {}: {error}; set MLFLOW_WORKSPACE outside of a pod",
                    file.display()
                )));
            }
        }
    }
    (auth.with_warning(warning).or_unset(), workspace)
}

const PASSWORD: &str = "MLFLOW_TRACKING_PASSWORD";
const TOKEN: &str = "MLFLOW_TRACKING_TOKEN";
const TOKEN_FILE: &str = "MLFLOW_TRACKING_TOKEN_FILE";
const AUTH: &str = "MLFLOW_TRACKING_AUTH";

/// Way of logging in that MLflow's own client knows by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestAuth {
    /// Token of the service account of this pod.
    Kubernetes,
    /// The same, and the workspace that has the name of the pod's namespace.
    KubernetesNamespaced,
}

impl RequestAuth {
    fn parse(name: &str) -> Result<Self, UserWarning> {
        match name.trim() {
            "kubernetes" => Ok(Self::Kubernetes),
            "kubernetes-namespaced" => Ok(Self::KubernetesNamespaced),
            _ => Err(crate::env_vars::unusable(
                AUTH,
                name,
                "kubernetes or kubernetes-namespaced; MLflow's other ways are plugins in Python, in whose place \
                 Config::token_provider may stand",
            )),
        }
    }
}

/// Returns the path of a file of the pod's service account.
fn service_account_file(name: &str) -> PathBuf {
    Path::new(SERVICE_ACCOUNT).join(name)
}

impl SettingValue for RequestAuth {
    fn to_shown(&self) -> String {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::KubernetesNamespaced => "kubernetes-namespaced",
        }
        .to_owned()
    }
}

/// Place of the token, without the token.
impl SettingValue for TokenSource {
    fn to_shown(&self) -> String {
        match self {
            Self::Value(_) | Self::Provider(_) | Self::Databricks(_) => {
                mlflow_rules::REDACTED.to_owned()
            }
            Self::File(path) => path.display().to_string(),
        }
    }
}

impl Config {
    /// Sets the user name and the password for HTTP Basic authentication (`MLFLOW_TRACKING_USERNAME` and
    /// `MLFLOW_TRACKING_PASSWORD`, then the file `~/.mlflow/credentials`; default: none). A user name
    /// together with a password takes precedence over a token. A line break at the end of the user name or
    /// the password is removed.
    ///
    /// The file is read again when the server refuses its credentials, and once a minute.
    ///
    /// ```
    /// # let secret = || "from a vault".to_owned();
    /// let config = mlflow::Config::new().basic_auth("alice", secret());
    /// # let _ = config;
    /// ```
    pub fn basic_auth(
        mut self,
        username: impl Into<String>,
        password: impl Into<Secret<String>>,
    ) -> Self {
        let password = password.into().into_inner();
        self.server.login.username = Some(without_line_end(username.into()));
        self.server.login.password = Some(Secret::new(without_line_end(password)));
        self
    }

    /// Sets the bearer token (`MLFLOW_TRACKING_TOKEN`, default: none). A line break at the end of the token,
    /// as in a token that was read from a file, is removed. Of `token`, [`token_file`](Self::token_file) and
    /// [`token_provider`](Self::token_provider), the last call counts.
    ///
    /// ```no_run
    /// let token = std::fs::read_to_string("/run/secrets/mlflow-token")?;
    /// let config = mlflow::Config::new().token(token);
    /// # let _ = config;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn token(mut self, token: impl Into<Secret<String>>) -> Self {
        let token = Secret::new(without_line_end(token.into().into_inner()));
        self.server.login.token = Some(TokenSource::Value(token));
        self
    }

    /// Sets the file that holds the bearer token (`MLFLOW_TRACKING_TOKEN_FILE`, default: none), for a token that something
    /// else renews, such as the projected token of a Kubernetes service account or an agent of a vault.
    ///
    /// The file is read before the first request, again when the server refuses the token (status 401 or 403; at most
    /// once in five seconds), and once a minute while requests are sent. While there is no such file, values wait in the journal. In the environment,
    /// `MLFLOW_TRACKING_TOKEN` takes precedence over the file.
    ///
    /// ```
    /// let config = mlflow::Config::new().token_file("/run/secrets/mlflow-token");
    /// # let _ = config;
    /// ```
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.server.login.token = Some(TokenSource::File(path.into()));
        self
    }

    /// Sets a function that returns the bearer token, for tokens that expire (default: none).
    ///
    /// The function is called before the first request, again when the server refuses the token (status 401 or 403; at most
    /// once in five seconds), and once a minute while requests are sent. The calls come from a thread of this library, never from
    /// one that logs, and may use an async runtime of their own. Delivery waits for the function, and the end of the process no
    /// longer than for an answer of the server. An error, a panic or an empty text is one line on stderr while there is
    /// no token (and the message of the panic is that of the program's own hook); values wait in the journal, and the function is
    /// called again.
    ///
    /// ```
    /// # mod vault { pub fn login(_: &str) -> Result<String, std::io::Error> { Ok("tok3n".to_owned()) } }
    /// let config = mlflow::Config::new().token_provider(|| vault::login("mlflow"));
    /// # let _ = config;
    /// ```
    pub fn token_provider<E>(
        mut self,
        provider: impl Fn() -> Result<String, E> + Send + Sync + 'static,
    ) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let provider = move || provider().map_err(Into::into);
        self.server.login.token = Some(TokenSource::Provider(Arc::new(provider)));
        self
    }
}
