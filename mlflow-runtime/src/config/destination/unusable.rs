//! Tracking URIs that cannot be used: the reason, and the closest URI that can.
//!
//! Invariant: values never go to a store other than the one that was meant. They wait under the name of their
//! destination as it was given or, if the meant destination is obvious (`host:5000`), under the name of that
//! destination. Values for a store that the program was built without wait under the name of that store, so that a
//! program which is built with it ships them.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use mlflow_rules::{Edge, mask, url_without_credentials};

use super::{Destination, is_http, is_postgres};

/// Forms of the URIs that can be used.
const USABLE: &str = "http://…, https://… or sqlite:///…";

/// Destination that nothing can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnusableUri {
    /// URI as it was given, without credentials.
    pub(crate) given: String,
    /// Fault of the URI, worded as the middle of a sentence.
    reason: String,
    /// Name of the destination under which values wait. If the meant destination is obvious, this is the name
    /// that the destination has once its URI is given correctly, so that the values reach it then; otherwise
    /// it is `given`.
    origin: String,
    /// What makes the URI usable.
    remedy: Remedy,
}

/// Change after which values reach their store.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Remedy {
    /// The URI that was meant, without credentials.
    Uri(String),
    /// A URI that fits this description, as it is not obvious which one was meant.
    UriLike(Cow<'static, str>),
    /// A build with this cargo feature.
    Feature(&'static str),
}

impl UnusableUri {
    /// Diagnoses `uri`, given the general fault that the parser has found.
    pub(super) fn from_fault(uri: &str, fault: String) -> Self {
        let uri = uri.trim();
        let given = displayable(uri);
        if let Some((scheme, rest)) = uri.split_once("://")
            && is_postgres(scheme)
        {
            // What stands before the last `@` may be a password, wherever it begins.
            let given = match rest.rsplit_once('@') {
                Some((_, behind)) => displayable(&format!("{scheme}://{behind}")),
                None => given,
            };
            return Self {
                origin: given.clone(),
                given,
                reason: fault,
                remedy: Remedy::UriLike("postgresql://user@host/database".into()),
            };
        }
        let (reason, remedy) = diagnose_uri(&given, fault);
        let origin = match &remedy {
            Remedy::Uri(meant) => Destination::parse(meant).ok(),
            Remedy::UriLike(_) | Remedy::Feature(_) => None,
        };
        Self {
            origin: origin.map_or_else(|| given.clone(), |meant| meant.to_string()),
            given,
            reason,
            remedy,
        }
    }

    /// Returns the fault of a URI that the configuration file does not tell. Values wait under the name of the file.
    pub(super) fn from_unusable_file(file: &Path, fault: &str) -> Self {
        let name = file.display().to_string();
        let expected =
            "`tracking_uri` in a section of a file that can be read, or MLFLOW_TRACKING_URI";
        Self {
            given: name.clone(),
            reason: fault.to_owned(),
            origin: name,
            remedy: Remedy::UriLike(expected.into()),
        }
    }

    /// Returns the fault of a destination whose store the program was built without.
    pub(super) fn from_missing_feature(destination: &Destination, feature: &'static str) -> Self {
        let name = destination.to_string();
        Self {
            given: name.clone(),
            reason: format!(
                "this program was built without the feature `{feature}` of mlflow-runtime"
            ),
            origin: name,
            remedy: Remedy::Feature(feature),
        }
    }

    /// Returns true if the URI names a store that the program was built without.
    pub(crate) fn is_not_built(&self) -> bool {
        matches!(self.remedy, Remedy::Feature(_))
    }

    /// Returns how the values are shipped that wait for the destination, worded as the end of a sentence.
    pub(crate) fn describe_delivery(&self) -> String {
        match &self.remedy {
            Remedy::Feature(feature) => format!(
                "the next tracked program with that destination and the feature `{feature}`, or `cargo mlflow sync`, \
                 ships them"
            ),
            Remedy::Uri(_) | Remedy::UriLike(_) => format!(
                "the next tracked program with the corrected URI ships them, if the mistake can be recognized; otherwise \
                 mlflow::recover_from, or `cargo mlflow sync --from {:?} --to URI`, ships them",
                self.origin
            ),
        }
    }

    /// Returns the name of the destination under which values wait.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }
}

/// Fault of the URI, and the URI that is expected instead.
impl fmt::Display for UnusableUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; expected ", self.reason)?;
        match &self.remedy {
            Remedy::Uri(meant) => f.write_str(meant),
            Remedy::UriLike(description) => f.write_str(description),
            Remedy::Feature(feature) => write!(
                f,
                "a build with it (cargo add mlflow-runtime --features {feature}), or the URI of another store"
            ),
        }
    }
}

/// Returns the reason, and the URI that was meant if that is obvious, else the description of a URI that can be
/// used. The reason is `fault` if nothing more specific is known.
fn diagnose_uri(given: &str, fault: String) -> (String, Remedy) {
    let uri_like = |description: &'static str| Remedy::UriLike(description.into());
    let lower = given.to_ascii_lowercase();
    let scheme = lower.split_once(':').map_or("", |(scheme, _)| scheme);
    let dialect = scheme.split('+').next().unwrap_or(scheme);
    if lower == "databricks" || scheme == "databricks" {
        let usable = "`databricks` with DATABRICKS_HOST and DATABRICKS_TOKEN, or `databricks://PROFILE` of ~/.databrickscfg";
        return (fault, uri_like(usable));
    }
    if scheme.starts_with("databricks") || lower.starts_with("databricks") || scheme == "uc" {
        let reason = "it names a registry of models, not a tracking server".to_owned();
        return (reason, uri_like("`databricks`, or `databricks://PROFILE`"));
    }
    if ["mysql", "mssql", "oracle"].contains(&dialect) {
        let reason = format!("a {dialect} database can only be reached through a tracking server");
        let server = "the http:// address of `mlflow server --backend-store-uri …`";
        return (reason, uri_like(server));
    }
    if dialect == "sqlite" {
        if lower.ends_with(":memory:") {
            let reason = "a database in memory is lost when the process ends".to_owned();
            let stored = "sqlite:///mlflow.db, or mlflow::testing::fake() in a test";
            return (reason, uri_like(stored));
        }
        let path = given.split_once(':').map_or("", |(_, path)| path);
        let path = path.trim_start_matches('/');
        if path.is_empty() {
            return (
                "it names no file".to_owned(),
                uri_like("sqlite:///mlflow.db"),
            );
        }
        if given.contains(":///") {
            return (fault, Remedy::UriLike(format!("{given}/mlflow.db").into()));
        }
        let reason = "after `sqlite:` three slashes come before a relative path, four before an absolute one".to_owned();
        return (reason, Remedy::Uri(format!("sqlite:///{path}")));
    }
    if is_http(scheme) {
        let rest = given.split_once(':').map_or("", |(_, rest)| rest);
        let host = rest.trim_start_matches('/');
        let is_plain = !rest.starts_with("//") && is_host(host);
        let remedy = if is_plain {
            Remedy::Uri(format!("{scheme}://{host}"))
        } else {
            uri_like(USABLE)
        };
        return (fault, remedy);
    }
    if given.contains("://") && scheme != "file" {
        return (fault, uri_like(USABLE));
    }
    if is_host(given) {
        let reason = "it has no scheme".to_owned();
        return (reason, Remedy::Uri(format!("http://{given}")));
    }
    if is_database_path(given) {
        let reason = "it has no scheme".to_owned();
        return (reason, Remedy::Uri(format!("sqlite:///{given}")));
    }
    let reason =
        "it names a folder, and MLflow's folders of files (`mlruns`) are not supported".to_owned();
    (reason, uri_like("sqlite:///mlflow.db"))
}

/// Returns true if `text` begins like a host: `localhost`, a name with a port, or a name with a dot inside.
fn is_host(text: &str) -> bool {
    let authority = text.split('/').next().unwrap_or(text);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_port = port.is_none_or(|port| {
        !port.is_empty() && port.len() <= 5 && port.bytes().all(|digit| digit.is_ascii_digit())
    });
    let is_name = host.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
        && host
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || "-._[]:".contains(char));
    is_port
        && is_name
        && !is_database_path(host)
        && (port.is_some() || host == "localhost" || host.contains('.'))
}

/// Returns true if `path` has the extension of a database file, and does not begin with `~`, which nothing
/// expands here.
fn is_database_path(path: &str) -> bool {
    let ends = [".db", ".sqlite", ".sqlite3"];
    ends.iter().any(|end| path.ends_with(end)) && !path.starts_with('~')
}

/// Returns `uri` as it may be shown: without credentials, and with known kinds of credentials in the rest masked.
fn displayable(uri: &str) -> String {
    let mut uri = url_without_credentials(uri);
    let scheme_end = uri.find("://").map_or(0, |at| at + "://".len());
    uri.truncate(uri.trim_end_matches('/').len().max(scheme_end));
    mask(&uri, Edge::End).map_or(uri, |masked| masked.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    fn unusable(uri: &str) -> UnusableUri {
        match Destination::parse_or_unusable(uri) {
            Destination::Unusable(unusable) => unusable,
            usable => panic!("{uri} is {usable}"),
        }
    }

    #[test]
    fn what_was_plainly_meant_is_what_values_wait_for() {
        for (given, meant) in [
            ("mlflow.example.com:5000", "http://mlflow.example.com:5000"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("localhost", "http://localhost"),
            // The name of a destination has the host in lower case, and no default port.
            ("MLflow.Example.com:80", "http://MLflow.Example.com:80"),
            ("me:hunter2@mlflow:5000/pre/", "http://mlflow:5000/pre"),
            ("http:/host:5000", "http://host:5000"),
            ("https:host.example", "https://host.example"),
            ("sqlite://x.db", "sqlite:///x.db"),
            ("sqlite:x.db", "sqlite:///x.db"),
            ("runs.db", "sqlite:///runs.db"),
            ("/data/runs.sqlite", "sqlite:////data/runs.sqlite"),
        ] {
            let unusable = unusable(given);
            let right = Destination::parse_or_unusable(meant).to_string();
            assert_eq!(unusable.origin(), right, "{given}");
            let told = unusable.to_string();
            assert!(told.ends_with(&format!("; expected {meant}")), "{told}");
            assert!(!format!("{unusable:?}").contains("hunter2"));
        }
    }

    #[test]
    fn what_cannot_be_told_waits_under_its_own_name_and_says_why() {
        for (given, origin, word) in [
            (
                "databricks://scope:key",
                "databricks://scope:key",
                "own store of secrets, which can only be read there; expected `databricks` with DATABRICKS_HOST",
            ),
            ("databricks-uc", "databricks-uc", "a registry of models"),
            ("./mlruns", "./mlruns", "folder"),
            ("mlruns", "mlruns", "sqlite:///mlflow.db"),
            ("file:./mlruns", "file:./mlruns", "folder"),
            ("file:///data/mlruns", "file:///data/mlruns", "folder"),
            ("/data/mlruns", "/data/mlruns", "folder"),
            (
                "postgresql://u:hunter2@h/m?sslmode=on%",
                "postgresql://h/m",
                "expected postgresql://user@host/database",
            ),
            (
                "mysql+pymysql://h/d",
                "mysql+pymysql://h/d",
                "a mysql database",
            ),
            ("redis://x", "redis://x", "the scheme `redis` is not known"),
            ("sqlite:///:memory:", "sqlite:///:memory:", "in memory"),
            ("http://", "http://", "host"),
        ] {
            let unusable = unusable(given);
            assert_eq!(unusable.origin(), origin, "{given}");
            let told = unusable.to_string();
            assert!(told.contains(word), "{given}: {told}");
            assert!(!format!("{unusable:?}").contains("hunter2"));
        }
    }

    #[test]
    fn values_for_a_store_that_is_not_built_wait_for_a_build_with_its_feature() {
        for (uri, feature, name) in [
            ("https://me:hunter2@H:443/pre/", "rest", "https://h/pre"),
            (
                "sqlite:////data/runs.db",
                "sqlite",
                "sqlite:////data/runs.db",
            ),
            (
                "postgresql+psycopg2://u:hunter2@H:5432/m?sslmode=require",
                "postgres",
                "postgresql://h/m",
            ),
        ] {
            let destination = Destination::parse(uri).unwrap();
            assert_eq!(destination.to_string(), name);
            let unusable = UnusableUri::from_missing_feature(&destination, feature);
            assert_eq!(
                unusable.origin(),
                name,
                "a build with the feature finds them"
            );
            let told = unusable.to_string();
            let advice = format!("cargo add mlflow-runtime --features {feature}");
            assert!(told.contains(&advice), "{told}");
            let then = unusable.describe_delivery();
            assert!(then.contains(&format!("`{feature}`")), "{then}");
            assert!(!format!("{told} {unusable:?}").contains("hunter2"));
        }
    }

    /// Regression: what stood behind the slash was shown, and became the name of the destination.
    #[test]
    fn no_part_of_a_password_with_a_slash_is_shown() {
        for uri in [
            "postgresql://ada:2024/hunter2@db/mlflow",
            "postgresql://ada:2024?hunter2@db/mlflow",
            "postgres://ada:12#hunter2@db/mlflow",
        ] {
            let unusable = UnusableUri::from_fault(uri, String::new());
            let told = format!(
                "{unusable} {unusable:?} {} {}",
                unusable.origin(),
                unusable.given
            );
            assert!(
                !told.contains("hunter2") && !told.contains("2024"),
                "{told}"
            );
        }
    }
}
