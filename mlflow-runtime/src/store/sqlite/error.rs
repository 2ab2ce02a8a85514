//! Meaning of SQLite failures for the caller: who has to act.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::store::StoreError;
use crate::store::sql::SqlError;

/// Reason why the file was not read or written.
#[derive(Debug)]
pub(super) enum SqliteError {
    /// Error of SQLite itself.
    Sqlite(rusqlite::Error),
    /// Path that names a directory.
    IsDirectory,
    /// Directory of the file that cannot be created.
    Directory(PathBuf, io::Error),
    /// File that does not exist, or that has no tables yet.
    Missing,
    /// File that another program is setting up at this moment.
    BeingCreated,
    /// SQLite file of another program.
    ForeignFile,
    /// File of an MLflow release that is too old.
    TooOld,
}

impl From<rusqlite::Error> for SqliteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl SqliteError {
    /// Converts the failure of the file `path` for the mapping.
    pub(super) fn into_sql_error(self, path: &Path) -> SqlError {
        let connection_usable = self.leaves_connection_usable();
        SqlError::Failed {
            error: self.into_store_error(path),
            connection_usable,
        }
    }

    /// Returns true if the same connection may be used for the next call.
    fn leaves_connection_usable(&self) -> bool {
        match self {
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::ConstraintViolation
                )
            ),
            Self::IsDirectory
            | Self::Directory(..)
            | Self::Missing
            | Self::BeingCreated
            | Self::ForeignFile
            | Self::TooOld => false,
        }
    }

    /// Converts the failure into the caller's terms. Where a person has to act, the reason says what to do.
    fn into_store_error(self, path: &Path) -> StoreError {
        let file = path.display();
        let unavailable = |reason: String| StoreError::Unavailable {
            reason: reason.into(),
            retry_after: None,
        };
        let blocked = |reason: String| StoreError::Blocked {
            reason: reason.into(),
            everything: true,
        };
        let error = match self {
            Self::Sqlite(error) => error,
            Self::IsDirectory => {
                return blocked(format!(
                    "{file} is a directory: the tracking URI has to name a file"
                ));
            }
            Self::Directory(directory, error) => {
                return blocked(format!(
                    "cannot create the directory {}: {error}. Choose another tracking URI, or make the parent directory writable",
                    directory.display()
                ))
                .with_source(error);
            }
            Self::Missing => {
                return StoreError::Missing {
                    reason: format!(
                        "there is no MLflow database {file}: either nothing was logged there yet, or MLFLOW_TRACKING_URI has to name \
                         another place"
                    )
                    .into(),
                };
            }
            Self::BeingCreated => {
                return StoreError::Busy {
                    reason: format!(
                        "{file} has MLflow's tables but no schema revision yet: either MLflow is still creating the file, or it was \
                         interrupted while creating it (in that case, delete the file)"
                    )
                    .into(),
                };
            }
            Self::ForeignFile => {
                return blocked(format!(
                    "{file} is a SQLite file of another program: choose another tracking URI"
                ));
            }
            Self::TooOld => {
                return blocked(format!(
                    "{file} was made by an MLflow release before 2.0: run `mlflow db upgrade sqlite:///{file}`"
                ));
            }
        };
        let classified = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy {
                reason: format!("{file} is locked by another process").into(),
            },
            Some(ErrorCode::DiskFull) => unavailable(format!(
                "no disk space left to write {file}: free some space"
            )),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => blocked(format!(
                "{file} cannot be written: make the file and its directory writable, or choose another tracking URI"
            )),
            Some(ErrorCode::CannotOpen) => blocked(format!(
                "cannot open {file}: {error}. The file and its directory have to be writable"
            )),
            Some(ErrorCode::NotADatabase) => blocked(format!(
                "{file} is not a SQLite file: move it away, or choose another tracking URI"
            )),
            Some(ErrorCode::DatabaseCorrupt) => blocked(format!(
                "{file} is damaged ({error}): restore it from a copy, or move it away to begin a new one"
            )),
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
                StoreError::Rejected {
                    reason: format!("SQLite rejected an entry for {file}: {error}").into(),
                }
            }
            // I/O errors, a lack of memory, or a table that a migration is rebuilding at the moment.
            _ => unavailable(format!("{file}: {error}")),
        };
        classified.with_source(error)
    }
}
