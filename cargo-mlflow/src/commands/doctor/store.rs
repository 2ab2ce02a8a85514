//! The store: a server and its answer, or a SQLite file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mlflow::blocking::Client;
use mlflow::{Config, ServerInfo, Setting, SettingSource};
use rustix::fs::{Access, access};
use serde::Serialize;

use super::configuration::is_unusable_uri;
use super::report::{Finding, Section};
use crate::output::format;

/// Difference of the clocks from which on a person is warned.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// Store, as far as it can be seen from here.
#[derive(Debug, Serialize)]
pub(super) struct Store {
    uri: String,
    kind: Kind,
    /// `None` for a tracking URI that cannot be used.
    reachable: Option<bool>,
    version: Option<String>,
    latency_ms: Option<f64>,
    /// Description of the credentials that are sent; `None` if there are none.
    login: Option<String>,
    authenticated: Option<bool>,
    clock_difference_ms: Option<i64>,
    error: Option<String>,
    file: Option<File>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Server,
    Sqlite,
    Database,
    Unusable,
}

/// SQLite file.
#[derive(Debug, Serialize)]
struct File {
    path: PathBuf,
    exists: bool,
    /// True if the file can be written, or created if it is missing.
    writable: bool,
    bytes: Option<u64>,
}

/// Queries the store, unless its URI cannot be used.
pub(super) fn examine(config: Config, settings: &[Setting]) -> Section<Store> {
    if let Some(uri) = settings.iter().find(|setting| is_unusable_uri(setting)) {
        let uri = uri.value.clone().unwrap_or_default();
        return Section {
            findings: vec![Finding::warning(
                format!("{uri} names no store, so none was asked"),
                "fix the tracking URI first",
            )],
            facts: Store {
                uri,
                kind: Kind::Unusable,
                reachable: None,
                version: None,
                latency_ms: None,
                login: None,
                authenticated: None,
                clock_difference_ms: None,
                error: None,
                file: None,
            },
        };
    }
    // The process is quiet, as the findings already say what a warning on stderr would.
    mlflow::configure(config.quiet(true));
    let info = Client::new().server_info();
    let login = Login::of(settings);
    let (kind, file, findings) = match info.uri.strip_prefix("sqlite:///") {
        Some(path) => {
            let file = File::examine(path.into());
            let findings = vec![judge_file(&file, &info)];
            (Kind::Sqlite, Some(file), findings)
        }
        None if info.uri.starts_with("postgresql://") => {
            (Kind::Database, None, judge_database(&info))
        }
        None => (Kind::Server, None, judge_server(&info, &login)),
    };
    Section {
        findings,
        facts: Store {
            kind,
            reachable: Some(info.reachable),
            latency_ms: { info.latency }.map(|latency| latency.as_secs_f64() * 1000.0),
            login: { login.description }.filter(|_| matches!(kind, Kind::Server)),
            authenticated: info.authenticated,
            clock_difference_ms: info.clock_difference_ms,
            version: info.version,
            error: info.error,
            uri: info.uri,
            file,
        },
    }
}

impl File {
    fn examine(path: PathBuf) -> Self {
        let metadata = fs::metadata(&path).ok();
        let folder = path.ancestors().skip(1).find(|folder| folder.exists());
        let can_write = |path: &Path| access(path, Access::WRITE_OK).is_ok();
        // SQLite creates further files beside the database.
        let can_create = folder.is_some_and(|folder| folder.is_dir() && can_write(folder));
        Self {
            exists: metadata.is_some(),
            writable: can_create && (metadata.is_none() || can_write(&path)),
            bytes: metadata.map(|metadata| metadata.len()),
            path,
        }
    }
}

fn judge_file(file: &File, info: &ServerInfo) -> Finding {
    let path = file.path.display();
    if let Some(error) = &info.error {
        return Finding::error(
            format!("{path} cannot be used: {error}"),
            "name another file in MLFLOW_TRACKING_URI, or fix this one; until then, values wait in the journal",
        );
    }
    match (file.bytes, file.writable) {
        (_, false) => Finding::error(
            format!("{path} cannot be written"),
            "make the file and its folder writable, or name another file in MLFLOW_TRACKING_URI",
        ),
        (None, true) => Finding::ok(format!(
            "{path} does not exist yet: the first run creates it"
        )),
        (Some(bytes), true) => {
            let size = format::size(bytes);
            Finding::ok(match &info.version {
                Some(revision) => format!("{path} can be used: {size}, schema revision {revision}"),
                None => format!("{path} is empty: the first run creates MLflow's tables in it"),
            })
        }
    }
}

fn judge_database(info: &ServerInfo) -> Vec<Finding> {
    let uri = &info.uri;
    if let Some(error) = &info.error {
        return vec![Finding::error(
            format!("{uri} cannot be used: {error}"),
            "start the database server, or fix MLFLOW_TRACKING_URI; until then, values wait in the journal",
        )];
    }
    if info.authenticated == Some(false) {
        return vec![Finding::error(
            format!("{uri} refuses the user or the password"),
            "correct the login in MLFLOW_TRACKING_URI, in PGUSER and PGPASSWORD, or in ~/.pgpass",
        )];
    }
    let took = info.latency.map(format::duration).unwrap_or_default();
    let answers = match &info.version {
        Some(revision) => format!("{uri} answers in {took}: schema revision {revision}"),
        None => format!("{uri} is empty: the first run creates MLflow's tables in it"),
    };
    let mut findings = vec![Finding::ok(answers)];
    findings.extend(info.clock_difference_ms.map(judge_clock));
    findings
}

fn judge_server(info: &ServerInfo, login: &Login) -> Vec<Finding> {
    let uri = &info.uri;
    let mut findings = Vec::new();
    match &info.error {
        Some(error) => findings.push(Finding::error(
            format!("{uri} cannot be reached: {error}"),
            "start the server, or fix MLFLOW_TRACKING_URI; until then, values wait in the journal",
        )),
        None => {
            let took = info.latency.map(format::duration).unwrap_or_default();
            let version = info.version.as_deref();
            findings.push(Finding::ok(match version {
                Some(version) => format!("{uri} answers in {took}: MLflow {version}"),
                None => format!("{uri} answers in {took}, without its version"),
            }));
        }
    }
    findings.extend(judge_login(info.authenticated, login));
    findings.extend(info.clock_difference_ms.map(judge_clock));
    findings
}

fn judge_login(authenticated: Option<bool>, login: &Login) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(unused) = &login.unused {
        findings.push(Finding::warning(
            unused.to_owned(),
            "set both MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or neither",
        ));
    }
    let finding = match (authenticated, &login.description) {
        (Some(true), Some(login)) => Finding::ok(format!("the server accepts {login}")),
        (Some(true), None) => Finding::ok("the server needs no login"),
        (Some(false), Some(login)) => Finding::error(
            format!("the server refuses {login}"),
            "fix the credentials. If the server has no logins, start it with --allowed-hosts and the name in the URI",
        ),
        (Some(false), None) => Finding::error(
            "the server refuses requests without a login",
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN. If the server has \
             no logins, start it with --allowed-hosts and the name in the URI",
        ),
        (None, _) => return findings,
    };
    findings.push(finding);
    findings
}

fn judge_clock(difference_ms: i64) -> Finding {
    let difference = Duration::from_millis(difference_ms.unsigned_abs());
    if difference < MAX_CLOCK_DIFFERENCE {
        return Finding::ok("this machine's clock agrees with the server's");
    }
    let side = if difference_ms > 0 {
        "behind"
    } else {
        "ahead of"
    };
    Finding::warning(
        format!(
            "this machine's clock is {} {side} the server's",
            format::duration(difference)
        ),
        "set the clock of the wrong one, best by NTP: runs and metrics have the time of the machine that logs them",
    )
}

/// Credentials that the settings give.
struct Login {
    /// Description of those that are sent; `None` if there are none.
    description: Option<String>,
    /// Description of a half that is not sent; `None` if there is none.
    unused: Option<String>,
}

impl Login {
    fn of(settings: &[Setting]) -> Self {
        let find = |name| {
            let mut found = settings.iter().filter(|setting| setting.name == name);
            found.next().filter(|setting| setting.value.is_some())
        };
        let username = find("MLFLOW_TRACKING_USERNAME");
        let password = find("MLFLOW_TRACKING_PASSWORD");
        let token = [
            "MLFLOW_TRACKING_TOKEN",
            "MLFLOW_TRACKING_TOKEN_FILE",
            "MLFLOW_TRACKING_AUTH",
        ];
        let token = token.into_iter().find_map(find);
        let half = |set: &Setting, other| {
            let (name, source) = (set.name, source_of(set));
            format!("{name} ({source}) is not used without {other}")
        };
        let headers = find("MLFLOW_TRACKING_HEADERS");
        let by_header = headers.filter(|headers| {
            let names = headers.value.as_deref().unwrap_or_default();
            names
                .split(',')
                .any(|entry| entry.starts_with("authorization="))
        });
        let by_token = || token.map(|token| format!("the token ({})", source_of(token)));
        let (description, unused) = match (username, password) {
            (Some(username), Some(_)) if username.source == SettingSource::TrackingUri => {
                let login = "the login of the tracking URI".to_owned();
                (Some(login), None)
            }
            _ if by_header.is_some() => {
                let source = by_header.map(source_of).unwrap_or_default();
                (Some(format!("the header Authorization ({source})")), None)
            }
            (Some(username), Some(password)) => {
                let name = username.value.as_deref().unwrap_or_default();
                let login = format!(
                    "the user name {name} ({}) with its password ({})",
                    source_of(username),
                    source_of(password)
                );
                (Some(login), None)
            }
            (Some(username), None) => {
                (by_token(), Some(half(username, "MLFLOW_TRACKING_PASSWORD")))
            }
            (None, Some(password)) => {
                (by_token(), Some(half(password, "MLFLOW_TRACKING_USERNAME")))
            }
            (None, None) => (by_token(), None),
        };
        Self {
            description,
            unused,
        }
    }
}

fn source_of(setting: &Setting) -> String {
    setting.source.to_string()
}
