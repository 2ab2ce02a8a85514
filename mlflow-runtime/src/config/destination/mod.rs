//! Destinations of runs, parsed from tracking URIs.
//!
//! Invariants: the text of a destination, as it is printed and written to journals, contains no credentials.
//! A URI that cannot be used never leads to another store.

mod databricks;
mod postgres_uri;
mod server_uri;
mod unusable;

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

#[cfg(feature = "postgres")]
pub(crate) use self::postgres_uri::Host;
pub(crate) use self::postgres_uri::PostgresUri;
use self::postgres_uri::is_postgres;
pub(crate) use self::server_uri::ServerUri;
pub(crate) use self::unusable::UnusableUri;

/// Destination of runs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Tracking server.
    Rest { uri: ServerUri },
    /// Database file, by its absolute path.
    Sqlite { path: PathBuf },
    /// PostgreSQL database.
    Postgres { uri: Box<PostgresUri> },
    /// URI that cannot be used: values wait in the journal.
    Unusable(UnusableUri),
}

impl Destination {
    /// Returns the destination that `uri` names, or [`Unusable`](Self::Unusable) if it names none, or one whose store
    /// this program was built without.
    pub(crate) fn parse_or_unusable(uri: &str) -> Self {
        match Self::parse(uri) {
            Ok(destination) => destination.or_unusable(),
            Err(fault) => Self::Unusable(UnusableUri::from_fault(uri, fault)),
        }
    }

    /// Returns the destination of a program whose tracking URI is unknown, because the configuration file, or the entry in it,
    /// has a fault.
    pub(crate) fn of_unusable_file(file: &Path, fault: &str) -> Self {
        Self::Unusable(UnusableUri::from_unusable_file(file, fault))
    }

    /// Returns the destination of a program that names none: a file in the working directory, as in MLflow's own client.
    /// Without the feature `sqlite`, values wait for that file.
    pub(crate) fn default_or_unusable() -> Self {
        let path = to_absolute(Path::new("mlflow.db"));
        Self::Sqlite { path }.or_unusable()
    }

    fn or_unusable(self) -> Self {
        match self.store_feature() {
            Some((_, true)) | None => self,
            Some((feature, false)) => {
                Self::Unusable(UnusableUri::from_missing_feature(&self, feature))
            }
        }
    }

    /// Returns the cargo feature that builds the store of this destination, and whether this program was built with it.
    fn store_feature(&self) -> Option<(&'static str, bool)> {
        match self {
            Self::Rest { .. } => Some(("rest", cfg!(feature = "rest"))),
            Self::Sqlite { .. } => Some(("sqlite", cfg!(feature = "sqlite"))),
            Self::Postgres { .. } => Some(("postgres", cfg!(feature = "postgres"))),
            Self::Unusable(_) => None,
        }
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
            Some((scheme, _)) if is_http(scheme) => Ok(Self::Rest {
                uri: ServerUri::parse(uri)?,
            }),
            _ if databricks::is_databricks(uri) => Ok(Self::Rest {
                uri: databricks::parse(uri, &environment)?,
            }),
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
            Self::Postgres { .. } => true,
            Self::Sqlite { .. } => false,
        }
    }

    /// Returns true if the tracking URI contains a user name or a password, which win over all others.
    pub(crate) fn has_login(&self) -> bool {
        match self {
            Self::Rest { uri } => uri.has_login(),
            // The settings of a tracking server are not those of a database.
            Self::Sqlite { .. } | Self::Postgres { .. } | Self::Unusable(_) => false,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "sqlite:///{}", path.display()),
            Self::Postgres { uri } => uri.fmt(f),
            Self::Rest { uri } => uri.fmt(f),
            Self::Unusable(unusable) => f.write_str(unusable.origin()),
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses the part of a URI of PostgreSQL after `://`. Parts that are missing come from the environment.
fn parse_postgres(rest: &str) -> Result<PostgresUri, String> {
    PostgresUri::parse(rest, &environment)
}

/// Returns the value of a variable, unless it is empty.
fn environment(variable: &str) -> Option<String> {
    let value = { !variable.is_empty() }.then(|| env::var(variable).ok());
    value.flatten().filter(|value| !value.is_empty())
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
