//! Destinations of runs, parsed from tracking URIs.
//!
//! Invariants: the text of a destination, as it is printed and written to journals, contains no credentials.
//! A URI that cannot be used never leads to another store.

mod postgres_uri;
mod unusable;

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;

#[cfg(feature = "postgres")]
pub(crate) use self::postgres_uri::Host;
pub(crate) use self::postgres_uri::PostgresUri;
use self::postgres_uri::is_postgres;
pub(crate) use self::unusable::UnusableUri;

/// Destination of runs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Tracking server. `uri` may contain a user name and a password: never print `uri` as it is.
    Rest { uri: String },
    /// Database file, by its absolute path.
    Sqlite { path: PathBuf },
    /// PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres { uri: Box<PostgresUri> },
    /// URI that cannot be used: values wait in the journal.
    Unusable(UnusableUri),
}

impl Destination {
    /// Returns the destination that `uri` names, or [`Unusable`](Self::Unusable) if it names none.
    pub(crate) fn parse_or_unusable(uri: &str) -> Self {
        Self::parse(uri).unwrap_or_else(|fault| Self::Unusable(UnusableUri::from_fault(uri, fault)))
    }

    fn parse(uri: &str) -> Result<Self, String> {
        let uri = uri.trim();
        let file = ["sqlite:///", "sqlite+pysqlite:///"];
        if let Some(path) = file.iter().find_map(|prefix| uri.strip_prefix(prefix)) {
            let path = path.split(['?', '#']).next().unwrap_or(path);
            if path.is_empty() || path == ":memory:" {
                return Err("it names no file".to_owned());
            }
            if path.ends_with('/') {
                return Err("it names a folder, but SQLite needs a file".to_owned());
            }
            return Ok(Self::Sqlite {
                path: to_absolute(Path::new(path)),
            });
        }
        match uri.split_once("://") {
            Some((scheme, _)) if is_http(scheme) => match Url::parse(uri) {
                Ok(_) => Ok(Self::Rest {
                    uri: uri.trim_end_matches('/').to_owned(),
                }),
                // The parser's message quotes no part of the URI, so it contains no credentials.
                Err(error) => Err(format!("after `{scheme}://`: {error}")),
            },
            #[cfg(feature = "postgres")]
            Some((scheme, rest)) if is_postgres(scheme) => Ok(Self::Postgres {
                uri: Box::new(parse_postgres(rest)?),
            }),
            Some((scheme, _)) => Err(format!("the scheme `{scheme}` is not known")),
            None => Err("it has no scheme".to_owned()),
        }
    }
}

impl Destination {
    /// Returns true if a process may open the store after it was forked from a process that has the store
    /// open. SQLite remembers for each process which locks the process has on a file; a forked child inherits
    /// that memory, but not the locks (<https://www.sqlite.org/howtocorrupt.html>, 2.7).
    pub(crate) fn survives_fork(&self) -> bool {
        match self {
            Self::Rest { .. } | Self::Unusable(_) => true,
            // A child makes connections of its own, and no code of it touches those of its parent.
            #[cfg(feature = "postgres")]
            Self::Postgres { .. } => true,
            Self::Sqlite { .. } => false,
        }
    }

    /// Returns true if the tracking URI contains a user name or a password, which win over all others.
    pub(crate) fn has_login(&self) -> bool {
        match self {
            Self::Rest { uri } => Url::parse(uri).is_ok_and(|url| has_userinfo(&url)),
            Self::Sqlite { .. } | Self::Unusable(_) => false,
            // The settings of a tracking server are not those of a database.
            #[cfg(feature = "postgres")]
            Self::Postgres { .. } => false,
        }
    }

    /// Returns true if the destination names a store.
    pub(crate) fn is_usable(&self) -> bool {
        !matches!(self, Self::Unusable(_))
    }
}

impl Default for Destination {
    fn default() -> Self {
        Self::Sqlite {
            path: to_absolute(Path::new("mlflow.db")),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "sqlite:///{}", path.display()),
            #[cfg(feature = "postgres")]
            Self::Postgres { uri } => uri.fmt(f),
            Self::Unusable(unusable) => f.write_str(unusable.origin()),
            // Only scheme, host, port and path are shown: the other parts of a URI may contain credentials.
            Self::Rest { uri } => match Url::parse(uri) {
                Ok(url) => {
                    write!(
                        f,
                        "{}://{}",
                        url.scheme(),
                        url.host_str().unwrap_or_default()
                    )?;
                    if let Some(port) = url.port() {
                        write!(f, ":{port}")?;
                    }
                    f.write_str(url.path().trim_end_matches('/'))
                }
                Err(_) => f.write_str("[a URI that cannot be read]"),
            },
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns true if the URL contains a user name or a password.
pub(crate) fn has_userinfo(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Parses the part of a URI of PostgreSQL after `://`. Parts that are missing come from the environment.
fn parse_postgres(rest: &str) -> Result<PostgresUri, String> {
    let lookup = |variable: &str| {
        let value = env::var(variable).ok();
        value.filter(|value| !variable.is_empty() && !value.is_empty())
    };
    PostgresUri::parse(rest, &lookup)
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

fn to_absolute(path: &Path) -> PathBuf {
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
        let query = Destination::parse("https://h/pre?token=hunter2").unwrap();
        assert_eq!(query.to_string(), "https://h/pre");
        for uri in ["http://user:hunt/er2@h", "ftp://user:hunter2@h"] {
            let Destination::Unusable(unusable) = Destination::parse_or_unusable(uri) else {
                panic!("{uri}");
            };
            let told = format!("{unusable} {unusable:?}");
            assert!(!told.contains("hunt") && !told.contains("er2"), "{told}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn databases_are_destinations() {
        let uri = "postgresql+psycopg2://ada:hunter2@db/mlflow?sslmode=require";
        let destination = Destination::parse(uri).unwrap();
        assert_eq!(destination.to_string(), "postgresql://db/mlflow");
        assert_eq!(format!("{destination:?}"), "postgresql://db/mlflow");
    }

    #[test]
    fn unusable_uris_say_why() {
        for (uri, word) in [
            ("mlruns", "folder"),
            ("http://", "host"),
            ("sqlite:///", "file"),
            ("redis://x", "redis"),
        ] {
            let Destination::Unusable(unusable) = Destination::parse_or_unusable(uri) else {
                panic!("{uri}");
            };
            let told = unusable.to_string();
            assert!(told.contains(word), "{uri}: {told}");
        }
    }
}
