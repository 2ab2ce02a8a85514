//! Login to the tracking server: a user name with a password, or a token, and where they come from.
//!
//! # Invariants
//!
//! 1. Passwords and tokens are wrapped in [`Secret`], so no `Debug` output shows one.
//! 2. A user name together with a password wins over a token, as in MLflow's own client. Half of such a pair is not sent.
//! 3. Nothing that may change while the program runs is kept here: [`Login::read`] reads MLflow's credentials file and the file
//!    of a token, and calls the program's function. The store decides when a login is read again.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::credentials_file::CredentialsFile;
use super::databricks_profile::DatabricksProfile;
use crate::secret::Secret;

/// Greatest length of a token's file in bytes. Servers refuse headers that are longer.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// Credentials of this client for the server. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User name and password.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// Token, sent as `Authorization: Bearer`.
    Bearer(String),
}

impl Credentials {
    /// Chooses the credentials that MLflow's own client would use: user name and password if both are known,
    /// else the token.
    #[must_use]
    pub fn choose(
        username: Option<String>,
        password: Option<String>,
        token: Option<String>,
    ) -> Option<Self> {
        match (username, password, token) {
            (Some(username), Some(password), _) => Some(Self::Basic { username, password }),
            (_, _, token) => token.map(Self::Bearer),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => {
                write!(f, "Basic {{ username: {username:?}, password: … }}")
            }
            Self::Bearer(_) => f.write_str("Bearer(…)"),
        }
    }
}

/// Function of the program that returns a token.
type TokenProvider =
    dyn Fn() -> Result<String, Box<dyn Error + Send + Sync>> + Send + Sync + 'static;

/// Source of a bearer token.
#[derive(Clone)]
pub(crate) enum TokenSource {
    /// Token itself.
    Value(Secret<String>),
    /// File whose content is the token.
    File(PathBuf),
    /// Profile in the configuration file of Databricks.
    Databricks(DatabricksProfile),
    /// Function of the program.
    Provider(Arc<TokenProvider>),
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(token) => f.debug_tuple("Value").field(token).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Databricks(profile) => profile.fmt(f),
            Self::Provider(_) => f.write_str("Provider(…)"),
        }
    }
}

/// Credentials for the tracking server, and their sources. Each part may be missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Login {
    /// User name, as it was when the settings were resolved.
    pub(crate) username: Option<String>,
    /// Password, as it was when the settings were resolved.
    pub(crate) password: Option<Secret<String>>,
    pub(crate) token: Option<TokenSource>,
    /// MLflow's credentials file, unless nothing of it is used.
    pub(crate) file: Option<FileLogin>,
    /// Words for the login, if it comes from none of MLflow's settings.
    pub(crate) description: Option<String>,
}

/// Credentials file, and which parts of a login it gives, or would give if it held them.
#[derive(Clone, Debug)]
pub(crate) struct FileLogin {
    pub(crate) path: PathBuf,
    pub(crate) gives_username: bool,
    pub(crate) gives_password: bool,
}

/// Reason why there are no credentials although a source of them is named.
#[derive(Debug)]
pub(crate) enum LoginError {
    /// File of the token that cannot be read.
    File { path: PathBuf, source: io::Error },
    /// File of the token that holds none.
    EmptyFile { path: PathBuf },
    /// Profile of Databricks that cannot be read any more.
    Databricks(String),
    /// Error of the program's function. Its words are masked, as they may hold a secret.
    Provider(String),
    /// Panic of the program's function.
    ProviderPanicked,
    /// End of the runtime on which the sources are read.
    Interrupted,
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => write!(
                f,
                "the token cannot be read from {}: {source}",
                path.display()
            ),
            Self::EmptyFile { path } => write!(f, "the file {} holds no token", path.display()),
            Self::Databricks(fault) => f.write_str(fault),
            Self::Provider(error) => write!(
                f,
                "the function that was given to Config::token_provider returns no token: {error}"
            ),
            Self::Interrupted => f.write_str("the credentials were not read to the end"),
            Self::ProviderPanicked => f.write_str(
                "the function that was given to Config::token_provider has panicked, where it should return an error",
            ),
        }
    }
}

impl Error for LoginError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::EmptyFile { .. }
            | Self::Databricks(_)
            | Self::Provider(_)
            | Self::ProviderPanicked
            | Self::Interrupted => None,
        }
    }
}

impl Login {
    /// Returns true if another call of [`read`](Self::read) may return other credentials.
    pub(crate) fn may_change(&self) -> bool {
        let is_fixed = matches!(self.token, None | Some(TokenSource::Value(_)));
        self.file.is_some() || !is_fixed
    }

    /// Returns the credentials as they are now; `None` if none are configured.
    pub(crate) fn read(&self) -> Result<Option<Credentials>, LoginError> {
        let (username, password) = self.read_pair();
        if let (Some(username), Some(password)) = (username, password) {
            let password = password.into_inner();
            return Ok(Some(Credentials::Basic { username, password }));
        }
        let token = self.token.as_ref().map(TokenSource::read).transpose()?;
        Ok(token.map(Credentials::Bearer))
    }

    /// Returns the user name and the password as they are now.
    fn read_pair(&self) -> (Option<String>, Option<Secret<String>>) {
        let (mut username, mut password) = (self.username.clone(), self.password.clone());
        if let Some(file) = &self.file
            // A file that is being replaced, or has become unusable, leaves what was read of it before.
            && let Ok(found) = CredentialsFile::read_at(file.path.clone()).credentials
        {
            if file.gives_username {
                username = found.username.or(username);
            }
            if file.gives_password {
                password = found.password.or(password);
            }
        }
        (username, password)
    }

    /// Returns words for credentials of this kind that name their source, such as "the token (`MLFLOW_TRACKING_TOKEN`)", and true
    /// if that source is read again.
    pub(crate) fn describe(&self, credentials: &Credentials) -> (String, bool) {
        if let Some(description) = &self.description {
            return (description.clone(), false);
        }
        match (credentials, &self.token) {
            (Credentials::Basic { .. }, _) => match &self.file {
                Some(file) if file.gives_username && file.gives_password => {
                    let path = file.path.display();
                    (format!("the user name and password of {path}"), true)
                }
                Some(file) => {
                    let path = file.path.display();
                    let half = if file.gives_username {
                        "USERNAME"
                    } else {
                        "PASSWORD"
                    };
                    let other = if file.gives_username {
                        "PASSWORD"
                    } else {
                        "USERNAME"
                    };
                    let login = format!(
                        "the user name and password (MLFLOW_TRACKING_{other}, and MLFLOW_TRACKING_{half} of {path})"
                    );
                    (login, true)
                }
                None => {
                    let login = "the user name and password (MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or Config::basic_auth)";
                    (login.to_owned(), false)
                }
            },
            (Credentials::Bearer(_), Some(TokenSource::File(path))) => {
                (format!("the token of {}", path.display()), true)
            }
            (Credentials::Bearer(_), Some(TokenSource::Databricks(profile))) => {
                (format!("the token of {profile}"), true)
            }
            (Credentials::Bearer(_), Some(TokenSource::Provider(_))) => {
                ("the token of Config::token_provider".to_owned(), true)
            }
            (Credentials::Bearer(_), Some(TokenSource::Value(_)) | None) => (
                "the token (MLFLOW_TRACKING_TOKEN, or Config::token)".to_owned(),
                false,
            ),
        }
    }
}

impl TokenSource {
    fn read(&self) -> Result<String, LoginError> {
        match self {
            Self::Value(token) => Ok(token.expose().clone()),
            Self::File(path) => read_token(path),
            Self::Databricks(profile) => profile.read_token().map_err(LoginError::Databricks),
            Self::Provider(provider) => {
                match panic::catch_unwind(AssertUnwindSafe(|| provider())) {
                    Ok(Ok(token)) if token.trim().is_empty() => {
                        Err(LoginError::Provider("its text is empty".to_owned()))
                    }
                    Ok(Ok(token)) => Ok(token.trim().to_owned()),
                    Ok(Err(error)) => {
                        let words = error.to_string().replace(char::is_control, " ");
                        let masked = mlflow_rules::mask(&words, mlflow_rules::Edge::End);
                        Err(LoginError::Provider(
                            masked.map_or(words, |masked| masked.text),
                        ))
                    }
                    Err(_) => Err(LoginError::ProviderPanicked),
                }
            }
        }
    }
}

/// Returns the token of a file's text, without blanks and the mark that editors of Windows put at the beginning of a file.
fn trim_token(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
}

fn read_token(path: &Path) -> Result<String, LoginError> {
    let read = || {
        // Reading of a pipe that nobody writes to would never end.
        if !path.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut token = String::new();
        let read = File::open(path)?
            .take(MAX_TOKEN_BYTES + 1)
            .read_to_string(&mut token)?;
        if read as u64 > MAX_TOKEN_BYTES {
            return Err(io::Error::other("it is longer than any token, 64 KiB"));
        }
        Ok(token)
    };
    let path = path.to_owned();
    match read() {
        Ok(text) => match trim_token(&text) {
            "" => Err(LoginError::EmptyFile { path }),
            token => Ok(token.to_owned()),
        },
        Err(source) => Err(LoginError::File { path, source }),
    }
}

/// Returns `text` without the line breaks at its end. The content of a file that was read into a variable
/// usually ends with one.
pub(in crate::config) fn without_line_end(text: String) -> String {
    let kept = text.trim_end_matches(['\r', '\n']).len();
    let mut text = text;
    text.truncate(kept);
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn token_of(source: &TokenSource) -> Result<String, String> {
        source.read().map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_is_read_again_each_time() {
        let folder = std::env::temp_dir().join(format!("mlflow-login-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).expect("writable");
        let path = folder.join("token");
        let login = Login {
            token: Some(TokenSource::File(path.clone())),
            ..Login::default()
        };
        assert!(login.may_change());
        let missing = login.read().expect_err("there is no file").to_string();
        assert!(missing.contains("cannot be read from"), "{missing}");
        fs::write(&path, " \n").expect("writable");
        let empty = login.read().expect_err("it is empty").to_string();
        assert!(empty.contains("holds no token"), "{empty}");
        for token in ["first", "second"] {
            fs::write(&path, format!("\u{feff}{token}\r\n")).expect("writable");
            let read = login.read().expect("a token");
            assert_eq!(read, Some(Credentials::Bearer(token.to_owned())));
        }
        fs::write(&path, "x".repeat(100_000)).expect("writable");
        let long = login.read().expect_err("it is long").to_string();
        assert!(long.contains("64 KiB"), "{long}");
        let no_file = token_of(&TokenSource::File(folder.clone())).expect_err("a folder");
        assert!(no_file.contains("it is not a file"), "{no_file}");
        fs::remove_dir_all(&folder).expect("it is ours");
    }

    #[test]
    fn an_error_or_a_panic_of_the_function_is_one_of_the_login() {
        let provider = |result: fn() -> Result<String, Box<dyn Error + Send + Sync>>| {
            token_of(&TokenSource::Provider(Arc::new(result)))
        };
        assert_eq!(provider(|| Ok("t\n".to_owned())), Ok("t".to_owned()));
        let failed = provider(|| Err("password=hunter2 is wrong".into())).expect_err("an error");
        assert!(failed.contains("password=[redacted] is wrong"), "{failed}");
        let panicked = provider(|| panic!("no vault")).expect_err("an error");
        assert!(panicked.contains("has panicked"), "{panicked}");
    }

    #[test]
    fn the_credentials_file_gives_what_nothing_else_gives() {
        let home = std::env::temp_dir().join(format!("mlflow-login-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&home).expect("writable");
        let path = home.join("credentials");
        let login = |username: Option<&str>| Login {
            username: username.map(str::to_owned),
            password: None,
            token: None,
            description: None,
            file: Some(FileLogin {
                path: path.clone(),
                gives_username: username.is_none(),
                gives_password: true,
            }),
        };
        assert_eq!(login(None).read().expect("no file"), None);
        let text = "[mlflow]\nmlflow_tracking_username = ada\nmlflow_tracking_password = p";
        fs::write(&path, text).expect("writable");
        for (given, username) in [(None, "ada"), (Some("bob"), "bob")] {
            let expected = Credentials::choose(Some(username.into()), Some("p".into()), None);
            assert_eq!(login(given).read().expect("a file"), expected);
        }
        fs::remove_dir_all(&home).expect("it is ours");
    }
}
