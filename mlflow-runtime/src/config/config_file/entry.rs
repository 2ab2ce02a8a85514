//! [`Entry`]: one setting in the configuration file.
//!
//! Invariant: a fault's text shows no value that may be a secret.

use std::path::Path;

use toml::de::{DeInteger, DeTable, DeValue};

use crate::env_vars::{SettingLookup, to_description};

/// Settings that hold a secret, or may.
const SECRETS: [&str; 3] = [
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_HEADERS",
];
/// Settings of one process. In a file, they would hold for all processes of the project.
const PROCESS_SETTINGS: [&str; 2] = ["MLFLOW_RUN_ID", "MLFLOW_RENDEZVOUS_ID"];
/// Settings that are paths.
const PATHS: [&str; 5] = [
    "MLFLOW_TRACKING_TOKEN_FILE",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_LOCAL_ARTIFACTS_DIR",
    "MLFLOW_JOURNAL_DIR",
];
const TRACKING_URI: &str = "MLFLOW_TRACKING_URI";

/// Setting in the file.
#[derive(Debug)]
pub(super) struct Entry {
    line: usize,
    value: EntryValue,
}

#[derive(Debug)]
enum EntryValue {
    /// Text of the value, as a variable would have it.
    Text(String),
    /// Environment variable that holds the value.
    Variable(String),
    /// Value of a type that no setting has.
    Other(&'static str),
}

impl Entry {
    pub(super) fn new(line: usize, value: &DeValue<'_>) -> Self {
        Self {
            line,
            value: EntryValue::new(value),
        }
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Returns the text of the value, as `variable` would have it; `None` if the text is empty, as for a variable. `file` is
    /// the path of the file: relative paths begin at its directory, so that they do not depend on the working directory.
    pub(super) fn resolve(
        &self,
        variable: &str,
        file: &Path,
        lookup: SettingLookup<'_>,
    ) -> Result<Option<String>, String> {
        if PROCESS_SETTINGS.contains(&variable) {
            return Err(format!(
                "is ignored, as it belongs to one process; set {variable} for that process"
            ));
        }
        let is_secret = SECRETS.contains(&variable);
        let by_reference =
            "write { env = \"NAME\" } with the name of an environment variable that holds it";
        let text = match &self.value {
            EntryValue::Variable(name) => match lookup(name).and_then(to_description) {
                Some(text) => text,
                None => {
                    return Err(format!(
                        "is ignored, as the environment variable {name} is not set"
                    ));
                }
            },
            EntryValue::Text(text) if text.trim().is_empty() => return Ok(None),
            EntryValue::Text(_) if is_secret => {
                return Err(format!(
                    "is ignored, as it may be a secret, which a file must not hold; {by_reference}"
                ));
            }
            EntryValue::Text(text) if variable == TRACKING_URI && has_password(text) => {
                return Err(format!(
                    "holds a password, which a file must not; {by_reference}"
                ));
            }
            EntryValue::Text(text) => text.clone(),
            EntryValue::Other(kind) => {
                return Err(format!(
                    "is {kind} and is ignored; expected a text, a number, true, false, or {{ env = \"NAME\" }}"
                ));
            }
        };
        let directory = file.parent().unwrap_or(file);
        Ok(Some(if PATHS.contains(&variable) {
            directory.join(&text).display().to_string()
        } else if variable == TRACKING_URI {
            with_absolute_path(&text, directory)
        } else {
            text
        }))
    }
}

impl EntryValue {
    fn new(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(integer) => Self::Text(to_decimal(integer)),
            DeValue::Float(float) => Self::Text(float.as_str().to_owned()),
            DeValue::Boolean(flag) => Self::Text(flag.to_string()),
            DeValue::Table(table) => match variable_in(table) {
                Some(name) => Self::Variable(name),
                None => Self::Other("a table"),
            },
            DeValue::Array(_) => Self::Other("an array"),
            DeValue::Datetime(_) => Self::Other("a time"),
        }
    }
}

/// Returns true if the table is `{ env = "NAME" }`, in place of a value, and no section.
pub(super) fn is_reference(table: &DeTable<'_>) -> bool {
    variable_in(table).is_some()
}

/// Returns the name in `{ env = "NAME" }`.
fn variable_in(table: &DeTable<'_>) -> Option<String> {
    let (key, value) = table.iter().next().filter(|_| table.len() == 1)?;
    let name = value
        .get_ref()
        .as_str()
        .filter(|_| key.get_ref() == "env")?;
    // Other names would make the lookup panic or find nothing.
    let is_name = !name.is_empty() && !name.contains(['=', '\0']);
    is_name.then(|| name.to_owned())
}

/// Returns the integer as decimal digits.
fn to_decimal(integer: &DeInteger<'_>) -> String {
    let number = i128::from_str_radix(integer.as_str(), integer.radix());
    number.map_or_else(|_| integer.to_string(), |number| number.to_string())
}

/// Returns true if the URI holds a password before its host.
fn has_password(uri: &str) -> bool {
    let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let login = after_scheme.rsplit_once('@').map(|(login, _)| login);
    login.is_some_and(|login| login.contains(':'))
}

/// Returns the URI of a SQLite file with an absolute path.
// Input:  `sqlite:///runs.db`, `/project`
// Output: `sqlite:////project/runs.db`
fn with_absolute_path(uri: &str, directory: &Path) -> String {
    let uri = uri.trim();
    match uri.split_once(":///") {
        Some((scheme, path))
            if scheme.starts_with("sqlite") && !path.is_empty() && path != ":memory:" =>
        {
            format!("{scheme}:///{}", directory.join(path).display())
        }
        _ => uri.to_owned(),
    }
}
