//! Credentials for the tracking server from the file `~/.mlflow/credentials`, read as MLflow's own client
//! reads them (`mlflow/utils/credentials.py`).
//!
//! Invariants: the content of the file is never shown. A missing file counts as empty. A file that cannot be
//! used becomes a warning, and the program continues without its credentials.
//!
//! ```ini
//! [mlflow]
//! mlflow_tracking_username = alice
//! mlflow_tracking_password = s3cr3t
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use configparser::ini::Ini;

use crate::secret::Secret;
use crate::warnings::UserWarning;

/// Credentials file of a user.
#[derive(Debug)]
pub(crate) struct CredentialsFile {
    pub(crate) path: PathBuf,
    /// Credentials in the file, or the reason why the file cannot be used.
    pub(crate) credentials: Result<FileCredentials, UserWarning>,
}

/// Credentials found in the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FileCredentials {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret<String>>,
}

impl CredentialsFile {
    /// Reads the credentials file below the home directory `home`.
    pub(crate) fn read(home: &Path) -> Self {
        Self::read_at(home.join(".mlflow/credentials"))
    }

    /// Reads the credentials file at `path`.
    pub(crate) fn read_at(path: PathBuf) -> Self {
        Self {
            credentials: read_credentials(&path),
            path,
        }
    }
}

fn read_credentials(path: &Path) -> Result<FileCredentials, UserWarning> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        // `HOME` may be another user's home directory, as after `su`: a file that cannot be reached there is
        // no reason to warn.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(FileCredentials::default());
        }
        Err(error) => {
            return Err(UserWarning::new(format_args!(
                "{} cannot be read and is ignored: {error}",
                path.display()
            )));
        }
    };
    parse_credentials(&text).ok_or_else(|| {
        // The parser's error may quote a part of a password, so the warning does not contain it.
        UserWarning::new(format_args!(
            "{} cannot be used and is ignored; expected a section `[mlflow]` with lines such as \
             mlflow_tracking_username = alice",
            path.display()
        ))
    })
}

/// Returns the credentials in the section `mlflow`; `None` if `text` is not in the INI format.
fn parse_credentials(text: &str) -> Option<FileCredentials> {
    let mut file = Ini::new();
    file.set_comment_symbols(&['#', ';']);
    file.set_inline_comment_symbols(Some(&[]));
    file.read(text.trim_start_matches('\u{feff}').to_owned())
        .ok()?;
    // Python's parser replaces `%(…)s` by other values, so a literal `%` is written twice.
    let value = |key| Some(file.get("mlflow", key)?.replace("%%", "%"));
    Some(FileCredentials {
        username: value("mlflow_tracking_username"),
        password: value("mlflow_tracking_password").map(Secret::new),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(Option<String>, Option<String>)> {
        let FileCredentials { username, password } = parse_credentials(text)?;
        Some((username, password.map(Secret::into_inner)))
    }

    #[test]
    fn the_file_is_read_as_mlflow_reads_it() {
        let both =
            |name: &str, password: &str| Some((Some(name.to_owned()), Some(password.to_owned())));
        let file = "# mine\n[other]\nmlflow_tracking_username = x\n\n[mlflow]\n; yes\n\
                    MLFLOW_TRACKING_USERNAME = alice\nmlflow_tracking_password: p=a#s%%s;w\n";
        assert_eq!(parsed(file), both("alice", "p=a#s%s;w"));
        assert_eq!(
            parsed("[mlflow]\nmlflow_tracking_username=a b\n"),
            Some((Some("a b".to_owned()), None))
        );
        assert_eq!(parsed(""), Some((None, None)));
        assert_eq!(parsed("[other]\na = b"), Some((None, None)));
        assert_eq!(parsed("[mlflow\nmlflow_tracking_username = a"), None);
    }
}
