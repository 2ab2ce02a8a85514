//! Credentials that requests carry, and when their sources are read again.
//!
//! # Invariants
//!
//! 1. A source that may change is read before the first request, again when the server refuses what was sent, at most once in
//!    [`MIN_RENEWAL_INTERVAL`], and once in [`MAX_AGE`] while requests are sent. A program that runs for days therefore picks up a
//!    new password or token by itself.
//! 2. A source that cannot be read leaves the credentials that were read before. Without such, nothing is sent.
//! 3. A request that was refused is sent once more, and only if the credentials have changed. The server has done nothing for
//!    the refused one, so this holds for every kind of request.
//!
//! A store is used by one thread. Several of its requests may be under way at once, so each one remembers the generation of the
//! credentials that it carries.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlflow_rules::REDACTED;
use reqwest::{RequestBuilder, StatusCode};

use super::{Credentials, StoreError};
use crate::config::login::{Login, LoginError, TokenSource};
use crate::config::request_headers::find_unsendable;
use crate::secret::Secret;
use crate::warnings::warn_user;

/// Longest time for which credentials of a source that may change are used without another look.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Shortest time between two looks at the sources because of refusals: a server may refuse much, such as one experiment, that other
/// credentials do not change.
const MIN_RENEWAL_INTERVAL: Duration = Duration::from_secs(5);

/// Credentials in use, and their sources.
#[derive(Debug)]
pub(super) struct CurrentLogin {
    /// Sources; `None` for credentials that stay as they are.
    source: Option<Arc<Login>>,
    credentials: RefCell<Option<Credentials>>,
    /// Number of times that the credentials have changed.
    generation: Cell<u64>,
    read_at: Cell<Option<Instant>>,
    /// Time at which the sources were last read because of a refusal.
    renewed_at: Cell<Option<Instant>>,
    /// True while the user knows that the sources cannot be read.
    has_warned: Cell<bool>,
}

/// Generation of the credentials that a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// Credentials that a request has carried, for the text of an error.
#[derive(Clone, Debug)]
pub(super) struct SentLogin {
    /// Words that name their source, such as "the token (`MLFLOW_TRACKING_TOKEN`)"; `None` without credentials.
    pub(super) description: Option<String>,
    /// True if new ones are picked up while the program runs.
    may_change: bool,
    /// True for a signature in place of credentials. A gateway checks it, and refuses everything.
    pub(super) is_signature: bool,
    /// Passwords, tokens and values of headers, which the server's words may repeat.
    secrets: Vec<Secret<String>>,
}

impl SentLogin {
    /// Returns the server's words without what was sent in secret.
    pub(super) fn hide(&self, words: String) -> String {
        // A shorter text stands for itself nearly everywhere.
        const MIN_SECRET_BYTES: usize = 4;
        let mut secrets: Vec<_> = self.secrets.iter().map(Secret::expose).collect();
        secrets.retain(|secret| secret.len() >= MIN_SECRET_BYTES);
        // One may be the beginning of another.
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        { secrets.iter() }.fold(words, |words, secret| {
            words.replace(secret.as_str(), REDACTED)
        })
    }

    /// Returns the description of a signature, with the token of the session that stands beside it.
    #[cfg(feature = "aws-sigv4")]
    pub(super) fn of_signature(description: &str, session: Option<String>) -> Self {
        Self {
            description: Some(description.to_owned()),
            may_change: false,
            is_signature: true,
            secrets: session.into_iter().map(Secret::new).collect(),
        }
    }

    /// Returns what to do, worded as the end of a sentence.
    pub(super) fn remedy(&self) -> &'static str {
        if self.may_change {
            "correct what is there. Values wait, and new credentials are used without a restart"
        } else {
            "set the right ones. Values wait until a program with them ships what waits"
        }
    }
}

impl CurrentLogin {
    /// Creates a login with credentials that stay as they are.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] if no header can hold the token.
    pub(super) fn fixed(credentials: Option<Credentials>) -> Result<Self, StoreError> {
        if let Some(Credentials::Bearer(token)) = &credentials {
            check_header_value("the token", token)?;
        }
        Ok(Self::new(None, credentials))
    }

    /// Creates a login with these sources. Nothing is read yet.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] if a token is given that no header can hold.
    pub(super) fn of(source: Login) -> Result<Self, StoreError> {
        if let Some(TokenSource::Value(token)) = &source.token {
            let bearer = Credentials::Bearer(token.expose().clone());
            check_header_value(&source.describe(&bearer).0, token.expose())?;
        }
        Ok(Self::new(Some(Arc::new(source)), None))
    }

    fn new(source: Option<Arc<Login>>, credentials: Option<Credentials>) -> Self {
        Self {
            source,
            credentials: RefCell::new(credentials),
            generation: Cell::new(0),
            read_at: Cell::new(None),
            renewed_at: Cell::new(None),
            has_warned: Cell::new(false),
        }
    }

    /// Returns true if requests carry credentials, as far as that is known.
    pub(super) fn is_given(&self) -> bool {
        let is_named = |login: &Login| {
            login.token.is_some() || login.username.is_some() && login.password.is_some()
        };
        self.credentials.borrow().is_some() || self.source.as_deref().is_some_and(is_named)
    }

    /// Reads the credentials if it is time. To be called before a request is built.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] if a source of credentials is named, and has none.
    pub(super) async fn prepare(&self) -> Result<Generation, StoreError> {
        let Some(source) = &self.source else {
            return Ok(self.generation());
        };
        let is_due = match self.read_at.get() {
            None => true,
            Some(read_at) => source.may_change() && read_at.elapsed() >= MAX_AGE,
        };
        if is_due {
            self.read(source).await?;
        }
        Ok(self.generation())
    }

    /// Returns true if an answer refuses the credentials of the `used` generation, and others are known now: the request is
    /// to be sent again.
    pub(super) async fn is_renewed(&self, used: Generation, answer: StatusCode) -> bool {
        if !matches!(answer, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return false;
        }
        let is_time =
            { self.renewed_at.get() }.is_none_or(|at| at.elapsed() >= MIN_RENEWAL_INTERVAL);
        // Another request may have been refused before, and have read them again.
        if self.generation.get() == used.0
            && is_time
            && let Some(source) = self.source.as_ref().filter(|source| source.may_change())
        {
            self.renewed_at.set(Some(Instant::now()));
            let _ = self.read(source).await;
        }
        self.generation.get() != used.0
    }

    /// Returns the request with the credentials.
    pub(super) fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        match &*self.credentials.borrow() {
            Some(Credentials::Basic { username, password }) => {
                request.basic_auth(username, Some(password))
            }
            Some(Credentials::Bearer(token)) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Returns what requests carry, for the text of an error. `others` are further secrets that they carry.
    pub(super) fn describe(&self, others: Vec<String>) -> SentLogin {
        let credentials = self.credentials.borrow();
        let credentials = credentials.as_ref();
        let description = credentials.map(|credentials| match (&self.source, credentials) {
            (Some(source), credentials) => source.describe(credentials),
            (None, Credentials::Basic { .. }) => {
                let login = "the user name and password of the tracking URI";
                (login.to_owned(), false)
            }
            (None, Credentials::Bearer(_)) => ("the token".to_owned(), false),
        });
        let (description, may_change) = description.unzip();
        let own = credentials.map(|credentials| match credentials {
            Credentials::Basic { password, .. } => password.clone(),
            Credentials::Bearer(token) => token.clone(),
        });
        SentLogin {
            description,
            may_change: may_change.unwrap_or(false),
            is_signature: false,
            secrets: own.into_iter().chain(others).map(Secret::new).collect(),
        }
    }

    /// Returns the generation of the present credentials.
    pub(super) fn generation(&self) -> Generation {
        Generation(self.generation.get())
    }

    /// Reads the sources. The program's function is called on a thread of the runtime's blocking pool, as it may take its time, and
    /// may use a runtime of its own.
    async fn read(&self, source: &Arc<Login>) -> Result<(), StoreError> {
        let is_first = self.read_at.get().is_none();
        let read = if let Some(TokenSource::Provider(_)) = source.token {
            let reading = Arc::clone(source);
            let read = tokio::task::spawn_blocking(move || reading.read()).await;
            read.unwrap_or(Err(LoginError::Interrupted))
        } else {
            source.read()
        };
        let read = read.map_err(unreadable_error).and_then(|read| match &read {
            Some(bearer @ Credentials::Bearer(token)) => {
                check_header_value(&source.describe(bearer).0, token).map(|()| read)
            }
            Some(Credentials::Basic { .. }) | None => Ok(read),
        });
        match read {
            Ok(read) => {
                self.read_at.set(Some(Instant::now()));
                self.has_warned.set(false);
                if *self.credentials.borrow() != read {
                    self.credentials.replace(read);
                    self.generation.set(self.generation.get() + 1);
                }
                Ok(())
            }
            Err(error) if is_first => Err(error),
            Err(error) => {
                self.read_at.set(Some(Instant::now()));
                if !self.has_warned.replace(true) {
                    warn_user(format_args!(
                        "{error}. The credentials that were read before are still used"
                    ));
                }
                Ok(())
            }
        }
    }
}

fn unreadable_error(error: LoginError) -> StoreError {
    StoreError::Blocked {
        reason: format!("{error}. Values wait until there are credentials").into(),
        everything: true,
    }
    .with_source(error)
}

/// Refuses a value that no header can hold. The error names `source` and not the value, which may be a
/// secret.
pub(super) fn check_header_value(source: &str, value: &str) -> Result<(), StoreError> {
    match find_unsendable(value) {
        None => Ok(()),
        Some(bad) => Err(StoreError::Blocked {
            reason: format!(
                "{source} cannot be sent: it contains the character {bad:?}, which no HTTP header can hold; remove it"
            )
            .into(),
            everything: true,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_server_do_not_repeat_what_was_sent() {
        let token = Some(Credentials::Bearer("t0ken-4f1".to_owned()));
        let login = CurrentLogin::fixed(token).expect("a token");
        let sent = login.describe(vec!["k3y-9".to_owned(), "ab".to_owned()]);
        let words = "Bearer t0ken-4f1 with k3y-9 is not about you".to_owned();
        let hidden = sent.hide(words);
        assert_eq!(hidden, "Bearer [redacted] with [redacted] is not about you");
        assert!(!format!("{sent:?}").contains("t0ken"));
    }
}
