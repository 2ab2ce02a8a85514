//! Password file of PostgreSQL's own clients (`~/.pgpass`, `PGPASSFILE`), read by their rules.
//!
//! Invariants: a file that others may read is not used, and a password is never a part of an error.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::socket::is_default_folder;
use crate::config::destination::{Host, PostgresUri};
use crate::secret::Secret;

/// Permissions that a group or others may not have.
const OPEN_TO_OTHERS: u32 = 0o077;

/// Result of looking a password up in the file.
#[derive(Debug)]
pub(super) enum PasswordFile {
    Found(Secret<String>),
    /// File without a password for this login, or no file.
    NotFound(PathBuf),
    /// File that is not used, with the reason.
    Unusable(String),
    /// Process without a home directory.
    Nowhere,
}

impl PasswordFile {
    /// Looks up the password of a user. `named` is the file that the URI or `PGPASSFILE` names.
    pub(super) fn look_up(named: Option<&Path>, uri: &PostgresUri, user: &str) -> Self {
        let path = named.map(Path::to_owned).or_else(|| {
            let home = env::home_dir().filter(|home| !home.as_os_str().is_empty())?;
            Some(home.join(".pgpass"))
        });
        let Some(path) = path else {
            return Self::Nowhere;
        };
        let text = match read(&path) {
            Ok(Some(text)) => text,
            Ok(None) => return Self::NotFound(path),
            Err(reason) => return Self::Unusable(reason),
        };
        let found = uri.hosts.iter().find_map(|host| {
            find(
                &text,
                [host_name(host), &host.port.to_string(), &uri.database, user],
            )
        });
        found.map_or(Self::NotFound(path), |password| {
            Self::Found(Secret::new(password))
        })
    }
}

/// Returns the file's text, or `None` if there is no file.
fn read(path: &Path) -> Result<Option<String>, String> {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => {
            found.map_err(|error| format!("the password file {shown} cannot be read: {error}"))?
        }
    };
    if !metadata.is_file() {
        return Err(format!("the password file {shown} is not a plain file"));
    }
    if metadata.mode() & OPEN_TO_OTHERS != 0 {
        return Err(format!(
            "the password file {shown} is not used, as others may read it: chmod 600 {shown}"
        ));
    }
    let bytes = fs::read(path)
        .map_err(|error| format!("the password file {shown} cannot be read: {error}"))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Returns the name under which the file knows a host.
fn host_name(host: &Host) -> &str {
    if host.name.is_empty() || is_default_folder(&host.name) {
        "localhost"
    } else {
        &host.name
    }
}

/// Returns the password of the first line whose fields are those of the login: host, port, database and user.
// Input:  `db:5432:*:ada:hunter2`, ["db", "5432", "mlflow", "ada"]
// Output: `hunter2`
fn find(text: &str, login: [&str; 4]) -> Option<String> {
    text.lines().find_map(|line| {
        if line.starts_with('#') {
            return None;
        }
        let mut rest = line;
        for wanted in login {
            let (field, behind) = split_field(rest);
            if field.is_wildcard || field.text == wanted {
                rest = behind?;
            } else {
                return None;
            }
        }
        Some(split_field(rest).0.text).filter(|password| !password.is_empty())
    })
}

struct Field {
    text: String,
    is_wildcard: bool,
}

/// Returns the first field of a line, and what stands behind its `:`. A `\` takes the meaning from the next character.
fn split_field(line: &str) -> (Field, Option<&str>) {
    let mut text = String::new();
    let mut chars = line.char_indices();
    let mut behind = None;
    while let Some((at, char)) = chars.next() {
        match char {
            ':' => {
                behind = line.get(at + 1..);
                break;
            }
            '\\' => text.push(chars.next().map_or('\\', |(_, escaped)| escaped)),
            other => text.push(other),
        }
    }
    let is_wildcard = line == "*" || line.starts_with("*:");
    (Field { text, is_wildcard }, behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_match_as_in_postgresql() {
        let login = ["db", "5432", "mlflow", "ada"];
        for (text, password) in [
            ("db:5432:mlflow:ada:hunter2", Some("hunter2")),
            ("db:5432:mlflow:ada:hunter2\r\n", Some("hunter2")),
            ("*:*:*:*:p", Some("p")),
            (
                "# db:5432:mlflow:ada:no\nother:*:*:*:no\ndb:*:*:*:first\n*:*:*:*:second",
                Some("first"),
            ),
            ("db:5433:*:*:p", None),
            ("db:5432:mlflow:ada", None),
            ("db:5432:mlflow:ada:", None),
            (r"d\b:5432:ml\flow:ada:a\:b\\c:more", Some(r"a:b\c")),
            (r"\*:*:*:*:p", None),
            ("", None),
        ] {
            assert_eq!(find(text, login).as_deref(), password, "{text}");
        }
        assert_eq!(
            find(r"\*:1:a\:b:u:p", ["*", "1", "a:b", "u"]).as_deref(),
            Some("p")
        );
    }
}
