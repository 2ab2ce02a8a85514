//! [`Route`] by which the values of a journal reach their destination.

use std::path::Path;

use mlflow::journals::JournalSummary;

/// Way of a journal's values, as seen from this machine and its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To the configured destination.
    Configured,
    /// To another SQLite file, which needs no credentials.
    File,
    /// To a SQLite file of another machine, which is not there on this one.
    FileElsewhere,
    /// To another server. Whoever ships has to name it, because the credentials of the environment go there.
    OtherServer,
    /// To no store, because the tracking URI cannot be used.
    Unusable,
    /// Nowhere: the journal names no destination.
    Unknown,
}

impl Route {
    /// Returns the way of the journal's values, if `configured` is the configured destination.
    pub(crate) fn of(journal: &JournalSummary, configured: &str) -> Self {
        let Some(destination) = journal.destination.as_deref() else {
            return Self::Unknown;
        };
        if destination == configured {
            return Self::Configured;
        }
        if let Some(file) = destination.strip_prefix("sqlite:///") {
            // Machines have files of the same name, such as `/scratch/mlflow.db`.
            return if journal.is_of_this_host || Path::new(file).exists() {
                Self::File
            } else {
                Self::FileElsewhere
            };
        }
        let has_scheme = |scheme: &str| destination.starts_with(scheme);
        let is_database = cfg!(feature = "postgres") && has_scheme("postgresql://");
        if has_scheme("http://") || has_scheme("https://") || is_database {
            Self::OtherServer
        } else {
            Self::Unusable
        }
    }

    /// Returns true if `cargo mlflow sync` without further arguments ships the journal.
    pub(crate) fn is_direct(self) -> bool {
        matches!(self, Self::Configured | Self::File)
    }

    /// Returns the command that ships a journal of this destination.
    pub(crate) fn command(self, destination: &str) -> String {
        let destination = quoted(destination);
        match self {
            Self::Configured | Self::File | Self::Unknown => "cargo mlflow sync".to_owned(),
            Self::OtherServer => format!("MLFLOW_TRACKING_URI={destination} cargo mlflow sync"),
            Self::FileElsewhere | Self::Unusable => {
                format!("cargo mlflow sync --from {destination} --to URI")
            }
        }
    }

    /// Returns the reason why a journal is not shipped without being named; `None` if it is.
    pub(crate) fn obstacle(self, journal: &JournalSummary) -> Option<String> {
        match self {
            Self::Configured | Self::File => None,
            Self::OtherServer => Some("another server has to be named".to_owned()),
            Self::FileElsewhere => Some(format!(
                "the file is on the host {}",
                journal.host.as_deref().unwrap_or("of the process")
            )),
            Self::Unusable => Some("its tracking URI cannot be used".to_owned()),
            Self::Unknown if journal.error.is_some() => {
                { journal.error.as_ref() }.map(|error| format!("it cannot be read: {error}"))
            }
            Self::Unknown if journal.unknown_records > 0 || !journal.damage.is_empty() => {
                Some("this version cannot read it".to_owned())
            }
            Self::Unknown => Some("it holds nothing".to_owned()),
        }
    }
}

/// Returns a text as a shell reads it as one word.
// Input:  `http://h:5000`, `a b`
// Output: `http://h:5000`, `'a b'`
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_one_word() {
        for (text, word) in [
            ("http://h:5000/a", "http://h:5000/a"),
            ("a b", "'a b'"),
            ("", "''"),
            ("$(rm)", "'$(rm)'"),
            ("it's", "'it'\\''s'"),
        ] {
            assert_eq!(quoted(text), word);
        }
    }
}
