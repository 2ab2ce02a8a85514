//! A tracking URI, understood.
//!
//! Invariant: what is printed or written to a journal carries no credentials.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::Settings;
use crate::store::{SqliteStore, Store, StoreError};

/// Where runs go.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A tracking server. May hold user and password: never print it as it is.
    Rest { uri: String },
    /// A database file, by its absolute path.
    Sqlite { path: PathBuf },
}

impl Destination {
    /// # Errors
    /// What is wrong, as the middle of a sentence, without credentials.
    pub(crate) fn parse(uri: &str) -> Result<Self, String> {
        let uri = uri.trim();
        if let Some(path) = uri.strip_prefix("sqlite:///") {
            let path = path.split(['?', '#']).next().unwrap_or(path);
            if path.is_empty() {
                return Err("`sqlite:///` names no file".to_owned());
            }
            return Ok(Self::Sqlite {
                path: absolute(Path::new(path)),
            });
        }
        match uri.split_once("://") {
            Some((scheme, rest)) if is_http(scheme) && !host(rest).is_empty() => Ok(Self::Rest {
                uri: uri.trim_end_matches('/').to_owned(),
            }),
            Some((scheme, _)) if is_http(scheme) => Err(format!("`{scheme}://` names no host")),
            Some((scheme, _)) => Err(format!("the scheme `{scheme}` is not known")),
            None => Err("it has no scheme".to_owned()),
        }
    }
}

impl Destination {
    /// The store there. Opens no file and no connection yet.
    pub(crate) fn open(&self, settings: &Settings) -> Result<Box<dyn Store>, StoreError> {
        match self {
            Self::Sqlite { path } => Ok(Box::new(SqliteStore::new(path, "mlruns"))),
            Self::Rest { .. } => Err(StoreError::Rejected {
                reason: settings.destination.to_string(),
            }),
        }
    }
}

impl Default for Destination {
    fn default() -> Self {
        Self::Sqlite {
            path: absolute(Path::new("mlflow.db")),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "sqlite:///{}", path.display()),
            Self::Rest { uri } => match uri.split_once("://") {
                None => f.write_str(uri),
                Some((scheme, rest)) => {
                    let authority = rest.find('/').unwrap_or(rest.len());
                    let start = rest[..authority].rfind('@').map_or(0, |at| at + 1);
                    write!(f, "{}://{}", scheme.to_ascii_lowercase(), &rest[start..])
                }
            },
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

fn host(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority)
}

fn absolute(path: &Path) -> PathBuf {
    if path.is_absolute() {
        return path.to_owned();
    }
    env::current_dir().map_or_else(|_| path.to_owned(), |directory| directory.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracking_uris_are_understood() {
        assert_eq!(
            Destination::parse("http://h:5000/").unwrap().to_string(),
            "http://h:5000"
        );
        assert_eq!(
            Destination::parse("https://h/pre").unwrap().to_string(),
            "https://h/pre"
        );
        assert_eq!(
            Destination::parse("sqlite:////a/b.db").unwrap().to_string(),
            "sqlite:////a/b.db"
        );
        let relative = Destination::parse("sqlite:///b.db").unwrap();
        assert!(
            matches!(&relative, Destination::Sqlite { path } if path.is_absolute() && path.ends_with("b.db"))
        );
    }

    #[test]
    fn credentials_are_never_shown() {
        let destination = Destination::parse("https://user:p@ss@h/pre").unwrap();
        assert_eq!(destination.to_string(), "https://h/pre");
        assert_eq!(format!("{destination:?}"), "https://h/pre");
        let fault = Destination::parse("ftp://user:hunter2@h").unwrap_err();
        assert!(
            fault.contains("ftp") && !fault.contains("hunter2"),
            "{fault}"
        );
    }

    #[test]
    fn unusable_uris_say_why() {
        for (uri, word) in [
            ("mlruns", "scheme"),
            ("http://", "host"),
            ("sqlite:///", "file"),
            ("redis://x", "redis"),
        ] {
            let fault = Destination::parse(uri).unwrap_err();
            assert!(fault.contains(word), "{uri}: {fault}");
        }
    }
}
