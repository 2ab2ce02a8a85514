//! Settings of a project from its configuration file, `mlflow.toml`.
//!
//! Invariants:
//!
//! - The file holds no secret: passwords, tokens and headers are named by the environment variable that holds them. One that
//!   stands in the file is refused, and no message shows it.
//! - A file that another user can write is not read, unless `MLFLOW_CONFIG_FILE` names it: it could send the token of the
//!   environment to a server of that user.
//! - One entry that cannot be used stops no other. If the file as a whole cannot be read, its tracking URI is unknown, and
//!   values wait in the journal: they never go to a store that was not meant.
//!
//! ```toml
//! [default]
//! tracking_uri = "sqlite:///mlflow.db"
//! experiment_name = "wine-quality"
//!
//! [production]
//! tracking_uri = "https://mlflow.example.com"
//! tracking_token = { env = "WINE_TOKEN" }
//! exit_timeout = 20
//! ```
//!
//! The key of a setting is the name of its variable in lower case, without `MLFLOW_`. The section that `MLFLOW_ENV` names wins
//! over the section `default`. The [`Resolver`](super::resolver::Resolver) asks for the entry of each setting behind the
//! variable, so the file needs no list of settings: a key that nobody has asked for is one that does not exist.

mod entry;
mod location;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use mlflow_rules::find_nearest;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use self::entry::Entry;
use self::location::Location;
use crate::env_vars::{self, SettingLookup};
use crate::environment::DEPLOYMENT_ENVIRONMENT;
use crate::warnings::UserWarning;

/// Variable that names the file.
pub(super) const VARIABLE: &str = "MLFLOW_CONFIG_FILE";
/// Section whose entries hold in every environment.
const DEFAULT_SECTION: &str = "default";
/// Greatest length of a file in bytes. A longer one is no configuration.
const MAX_BYTES: u64 = 1 << 20;

/// Configuration file of a project.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    /// Entries that hold in this environment, by their keys.
    entries: BTreeMap<String, Entry>,
    /// Settings that were asked for, by their keys.
    known_keys: BTreeSet<String>,
    /// Fault for which the file cannot be used as a whole.
    fault: Option<String>,
    /// Warnings about parts of the file that are ignored.
    warnings: Vec<UserWarning>,
}

impl ConfigFile {
    /// Finds the configuration file: the one that `MLFLOW_CONFIG_FILE` names, else the nearest `mlflow.toml` in `directory` or
    /// above it. Returns `None` if there is none.
    pub(super) fn find(lookup: SettingLookup<'_>, directory: Option<&Path>) -> Option<Self> {
        let named = env_vars::read_setting(lookup, VARIABLE).transpose();
        let location = match named {
            Some(Ok(path)) => Location::Named(std::path::absolute(&path).unwrap_or(path.into())),
            Some(Err(_)) | None => location::find_above(directory?)?,
        };
        let mut file = Self::empty(location.path());
        match location {
            Location::Named(path) | Location::Found(path) => file.read(&path, lookup),
            Location::Untrusted { path, reason } => {
                file.warnings.push(UserWarning::new(format_args!(
                    "{} is ignored, because {reason}; if its settings are meant, set {VARIABLE} to its path",
                    path.display()
                )));
            }
        }
        Some(file)
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            entries: BTreeMap::new(),
            known_keys: BTreeSet::new(),
            fault: None,
            warnings: Vec::new(),
        }
    }

    fn read(&mut self, path: &Path, lookup: SettingLookup<'_>) {
        let text = match read_text(path) {
            Ok(text) => text,
            Err(fault) => {
                self.fault = Some(fault);
                return;
            }
        };
        // The error's own text quotes the line, in which a secret may stand.
        match DeTable::parse(&text) {
            Ok(table) => self.take_sections(&text, table.get_ref(), lookup),
            Err(error) => {
                let line = line_of(&text, error.span().map_or(0, |span| span.start));
                self.fault = Some(format!("line {line} is not TOML: {}", error.message()));
            }
        }
    }

    /// Keeps the entries that hold in this environment: those above the first section, then the section `default`, then the
    /// one of the environment.
    fn take_sections(&mut self, text: &str, table: &DeTable<'_>, lookup: SettingLookup<'_>) {
        let environment = lookup(DEPLOYMENT_ENVIRONMENT).and_then(env_vars::to_description);
        let environment = environment.as_deref().map(str::trim);
        let mut sections = Vec::new();
        for (name, value) in table {
            match value.get_ref() {
                DeValue::Table(entries) if !entry::is_reference(entries) => {
                    sections.push((name.get_ref().as_ref(), entries));
                }
                _ => self.take_entry(text, name, value),
            }
        }
        let of_environments: Vec<&str> = { sections.iter() }
            .map(|(name, _)| *name)
            .filter(|name| *name != DEFAULT_SECTION)
            .collect();
        if let Some(environment) = environment
            && environment != DEFAULT_SECTION
            && !of_environments.is_empty()
            && !of_environments.contains(&environment)
        {
            let nearest = find_nearest(environment, of_environments.iter().copied());
            let hint = nearest.map_or_else(String::new, |name| format!("; is [{name}] meant?"));
            let warning = UserWarning::new(format_args!(
                "{DEPLOYMENT_ENVIRONMENT}={environment:?}, but {} has no section [{environment}], only [{}]; what stands below \
                 [{DEFAULT_SECTION}] is used{hint}",
                self.path.display(),
                of_environments.join("], [")
            ));
            self.warnings.push(warning);
        }
        let names = || sections.iter().map(|(name, _)| *name);
        if !names().any(|name| name == DEFAULT_SECTION)
            && let Some(mistyped) = find_nearest(DEFAULT_SECTION, names())
            && Some(mistyped) != environment
        {
            let warning = UserWarning::new(format_args!(
                "{}: the section [{mistyped}] holds only with {DEPLOYMENT_ENVIRONMENT}={mistyped}; is [{DEFAULT_SECTION}] meant?",
                self.path.display()
            ));
            self.warnings.push(warning);
        }
        for wanted in [Some(DEFAULT_SECTION), environment].into_iter().flatten() {
            let found = sections.iter().find(|(name, _)| *name == wanted);
            for (key, value) in found.into_iter().flat_map(|(_, entries)| entries.iter()) {
                self.take_entry(text, key, value);
            }
        }
    }

    /// Keeps an entry, in place of an earlier one with its key.
    fn take_entry(
        &mut self,
        text: &str,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let line = line_of(text, key.span().start);
        let entry = Entry::new(line, value.get_ref());
        self.entries.insert(key.get_ref().to_string(), entry);
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the value of a setting as its variable would have it: `None` if the file has none, an error if the value, or
    /// the whole file, cannot be used. An error of the whole file is returned for every setting.
    pub(super) fn value_of(
        &mut self,
        variable: &'static str,
        lookup: SettingLookup<'_>,
    ) -> Option<Result<String, EntryFault>> {
        let key = to_key(variable);
        let entry = self.entries.get(&key);
        let value = match (&self.fault, entry) {
            (Some(fault), _) => Some(Err(EntryFault::File(fault.clone()))),
            (None, Some(entry)) => entry
                .resolve(variable, &self.path, lookup)
                .map_err(|fault| EntryFault::Entry(self.locate(entry.line(), &key, &fault)))
                .transpose(),
            (None, None) => None,
        };
        self.known_keys.insert(key);
        value
    }

    /// Returns a warning about the value of a setting with the place of that value before it.
    pub(super) fn with_place(&self, variable: &str, warning: UserWarning) -> UserWarning {
        let key = to_key(variable);
        match self.entries.get(&key) {
            Some(entry) => UserWarning::new(format_args!(
                "{}",
                self.locate(entry.line(), &key, &warning.into_text())
            )),
            None => warning,
        }
    }

    // Output: `/project/mlflow.toml, line 3, exit_timeout: …`
    fn locate(&self, line: usize, key: &str, text: &str) -> String {
        format!("{}, line {line}, {key}: {text}", self.path.display())
    }

    /// Returns the warnings about the file, once all settings were asked for.
    pub(super) fn take_warnings(&mut self) -> Vec<UserWarning> {
        if let Some(fault) = &self.fault {
            let warning = UserWarning::new(format_args!(
                "{} cannot be used and is ignored: {fault}",
                self.path.display()
            ));
            self.warnings.push(warning);
        }
        let entries = std::mem::take(&mut self.entries);
        for (key, entry) in entries {
            if self.known_keys.contains(&key) {
                continue;
            }
            let nearest = find_nearest(&key, self.known_keys.iter().map(String::as_str));
            let hint = nearest.map_or_else(
                || "expected the name of a variable in lower case, without MLFLOW_".to_owned(),
                |name| format!("is `{name}` meant?"),
            );
            let warning = UserWarning::new(format_args!(
                "{}, line {}: `{key}` is no setting and is ignored; {hint}",
                self.path.display(),
                entry.line()
            ));
            self.warnings.push(warning);
        }
        std::mem::take(&mut self.warnings)
    }
}

/// Fault of the configuration file that keeps a setting from being known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryFault {
    /// The entry cannot be used; with its place.
    Entry(String),
    /// The file cannot be used.
    File(String),
}

/// Returns the key of the setting that `variable` sets.
// Input:  `MLFLOW_EXIT_TIMEOUT`
// Output: `exit_timeout`
fn to_key(variable: &str) -> String {
    let name = variable.strip_prefix("MLFLOW_").unwrap_or(variable);
    name.to_ascii_lowercase()
}

/// Returns the number of the line in which `at` stands.
fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    1 + before.filter(|byte| **byte == b'\n').count()
}

/// Reads the file, or returns its fault.
fn read_text(path: &Path) -> Result<String, String> {
    let is_file = path
        .metadata()
        .map_err(|error| error.to_string())?
        .is_file();
    if !is_file && path != Path::new("/dev/null") {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    { file.take(MAX_BYTES + 1).read_to_end(&mut bytes) }.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("it is longer than 1 MiB".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not valid UTF-8".to_owned())?;
    Ok(text
        .strip_prefix('\u{feff}')
        .map_or(text.clone(), str::to_owned))
}
