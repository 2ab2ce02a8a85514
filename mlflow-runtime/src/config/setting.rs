//! [`Setting`]: one setting as the process would use it, with its source.
//!
//! Invariant: no field holds a password, a token, or the credentials of a URI.

use std::fmt;
use std::path::PathBuf;

/// Setting as it is resolved. See [`Config::explain`](crate::Config::explain) for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Environment variable of the setting.
    pub name: &'static str,
    /// Value that is used, as text: numbers and seconds without a unit, passwords and tokens as `[redacted]`.
    /// `None` if the setting has no value.
    pub value: Option<String>,
    /// Source of the value.
    pub source: SettingSource,
    /// Values that cannot be used and were ignored, each with what was expected instead. A tracking URI that
    /// cannot be used is not ignored: it is also the `value`.
    pub problems: Vec<String>,
}

/// Source of a setting's value. Its `Display` names the source. See
/// [`Config::explain`](crate::Config::explain) for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingSource {
    /// Method of [`Config`](crate::Config).
    Configured,
    /// Environment variable with this name.
    Variable(&'static str),
    /// User name or password in the tracking URI, which win over all others.
    TrackingUri,
    /// Configuration file `mlflow.toml`, by its path.
    ConfigFile(PathBuf),
    /// MLflow's credentials file, by its path.
    CredentialsFile(PathBuf),
    /// No source: the default is used.
    Default,
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("configured"),
            Self::Variable(variable) => f.write_str(variable),
            Self::TrackingUri => f.write_str("tracking URI"),
            Self::ConfigFile(path) | Self::CredentialsFile(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}
