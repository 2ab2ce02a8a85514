//! The settings, each with its source.

use std::path::PathBuf;

use comfy_table::{Cell, Table};
use mlflow::{Setting, SettingSource};
use serde::Serialize;

use super::report::{Finding, Section};
use crate::output::Output;
use crate::output::table::{shorten, table, to_text};

/// Greatest number of characters of a value.
const MAX_VALUE_CHARS: usize = 120;

/// Settings, in the order in which the documentation of the library lists them.
#[derive(Debug, Serialize)]
pub(super) struct Configuration {
    settings: Vec<ShownSetting>,
}

/// Setting as it is shown.
#[derive(Debug, Serialize)]
struct ShownSetting {
    name: &'static str,
    value: Option<String>,
    /// Kind of the source.
    source: &'static str,
    /// Variable that holds the value; `None` if no variable does.
    variable: Option<&'static str>,
    /// File that holds the value; `None` if no file does.
    file: Option<PathBuf>,
    /// Source, for people.
    #[serde(skip)]
    shown_source: String,
}

/// Shows the settings, and judges what is wrong with them.
pub(super) fn examine(settings: &[Setting]) -> Section<Configuration> {
    let config_file = { settings.iter() }
        .find(|setting| setting.name == "MLFLOW_CONFIG_FILE")
        .and_then(|setting| setting.value.as_deref());
    let mut findings = Vec::new();
    let mut known = Vec::new();
    for setting in settings {
        for problem in &setting.problems {
            // A credentials file that cannot be read is the problem of two settings.
            if !known.contains(&problem) {
                known.push(problem);
                findings.push(judge_problem(setting, problem, config_file));
            }
        }
    }
    let is = |name, value| {
        settings
            .iter()
            .any(|setting| setting.name == name && setting.value.as_deref() == Some(value))
    };
    if is("MLFLOW_TRACKING_ENABLED", "false") {
        findings.push(Finding::warning(
            "tracking is turned off: programs record nothing",
            "unset MLFLOW_TRACKING_ENABLED, or set it to true",
        ));
    }
    if is("MLFLOW_TRACKING_INSECURE_TLS", "true") {
        findings.push(Finding::warning(
            "the server's certificate is not checked: others can read the traffic",
            "set MLFLOW_TRACKING_SERVER_CERT_PATH to the certificates of your authority instead",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("every value that is set can be used"));
    }
    Section {
        facts: Configuration {
            settings: settings.iter().map(ShownSetting::from).collect(),
        },
        findings,
    }
}

fn judge_problem(setting: &Setting, problem: &str, config_file: Option<&str>) -> Finding {
    let name = setting.name;
    if is_unusable_uri(setting) {
        let advice = match setting.source {
            SettingSource::Configured => "fix --tracking-uri".to_owned(),
            SettingSource::ConfigFile(_) => {
                "fix the file, or set MLFLOW_TRACKING_URI; until then, values wait in the journal"
                    .to_owned()
            }
            _ => format!("fix {name}; until then, values wait in the journal"),
        };
        return Finding::error(problem, advice);
    }
    let advice = if problem.contains(".mlflow/credentials") {
        "fix or remove the file".to_owned()
    } else if config_file.is_some_and(|file| problem.contains(file)) {
        "fix the file".to_owned()
    } else {
        format!("fix or unset {name}")
    };
    Finding::warning(problem, advice)
}

/// Returns true if the setting is a tracking URI that cannot be used.
pub(super) fn is_unusable_uri(setting: &Setting) -> bool {
    setting.name == "MLFLOW_TRACKING_URI"
        && !setting.problems.is_empty()
        && setting.source != SettingSource::Default
}

impl Configuration {
    /// Returns the settings as a table.
    pub(super) fn to_table(&self, output: Output) -> String {
        let mut rows: Table = table(output, &["  NAME", "VALUE", "SOURCE"]);
        for setting in &self.settings {
            let value = setting.value.as_deref().unwrap_or("-");
            rows.add_row([
                Cell::new(format_args!("  {}", setting.name)),
                Cell::new(shorten(value, MAX_VALUE_CHARS)),
                Cell::new(&setting.shown_source),
            ]);
        }
        to_text(&rows)
    }
}

impl From<&Setting> for ShownSetting {
    fn from(setting: &Setting) -> Self {
        let (source, variable, file) = match &setting.source {
            SettingSource::Configured => ("command_line", None, None),
            SettingSource::Variable(variable) => ("variable", Some(*variable), None),
            SettingSource::TrackingUri => ("tracking_uri", None, None),
            SettingSource::ConfigFile(path) => ("config_file", None, Some(path.clone())),
            SettingSource::CredentialsFile(path) => ("credentials_file", None, Some(path.clone())),
            SettingSource::Default => ("default", None, None),
            _ => ("other", None, None),
        };
        let shown_source = match &setting.source {
            SettingSource::Configured => "command line".to_owned(),
            // The name of the setting says which.
            SettingSource::Variable(variable) if *variable == setting.name => "variable".to_owned(),
            SettingSource::Variable(variable) => format!("variable {variable}"),
            source => source.to_string(),
        };
        Self {
            name: setting.name,
            value: setting.value.clone(),
            shown_source,
            source,
            variable,
            file,
        }
    }
}
