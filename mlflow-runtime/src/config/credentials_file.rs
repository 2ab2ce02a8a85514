//! `~/.mlflow/credentials`: who we are to the tracking server, as MLflow's own client reads it
//! (`mlflow/utils/credentials.py`).
//!
//! Invariants: what stands in the file is shown nowhere. A file that is not there is none; one that cannot be
//! used is one line, and the program goes on without it.
//!
//! ```ini
//! [mlflow]
//! mlflow_tracking_username = alice
//! mlflow_tracking_password = s3cr3t
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use configparser::ini::Ini;

use crate::secret::Secret;
use crate::warnings::warn_user;

/// What the file has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FileCredentials {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret<String>>,
}

/// Reads the file below a home directory.
pub(crate) fn read_credentials(home: &Path) -> FileCredentials {
    let path = home.join(".mlflow/credentials");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        // The home of another user, as it stays after `su`, is nobody's business.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
            ) =>
        {
            return FileCredentials::default();
        }
        Err(error) => {
            warn_user(format_args!(
                "{} cannot be read and is ignored: {error}",
                path.display()
            ));
            return FileCredentials::default();
        }
    };
    parse_credentials(&text).unwrap_or_else(|| {
        // What is wrong may be a part of a password.
        warn_user(format_args!(
            "{} cannot be used and is ignored; expected a section [mlflow] with lines such as \
             mlflow_tracking_username = alice",
            path.display()
        ));
        FileCredentials::default()
    })
}

/// Returns what the section `mlflow` has; `None` where this is no such file.
fn parse_credentials(text: &str) -> Option<FileCredentials> {
    let mut file = Ini::new();
    file.set_comment_symbols(&['#', ';']);
    file.set_inline_comment_symbols(Some(&[]));
    file.read(text.to_owned()).ok()?;
    // Python's parser fills in `%(…)s`, and has a `%` of its own written twice.
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
