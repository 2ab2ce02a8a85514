//! Meaning of PostgreSQL's failures for the caller: who has to act.
//!
//! Invariant: no error shows a password or a value. Of what the server says, the message is shown, and neither the
//! detail, which may quote a row, nor the statement.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::error::DbError;

use super::StoreError;
use crate::store::sql::SqlError;

/// Routine of the server that answers 0A000 to a statement that was prepared for an earlier schema.
const STALE_PLAN_ROUTINE: &str = "RevalidateCachedQuery";

/// Translator of failures, which knows the database that they happen in.
#[derive(Clone, Debug)]
pub(super) struct Failures {
    /// Name of the database, without credentials.
    pub(super) database: String,
    /// User of the connection, and where its password came from.
    pub(super) user: String,
    pub(super) password_origin: String,
}

/// Reason why there is no connection.
#[derive(Debug)]
pub(super) struct ConnectError {
    pub(super) error: StoreError,
    /// True if the server has refused user or password.
    pub(super) is_login_refused: bool,
}

impl From<StoreError> for ConnectError {
    fn from(error: StoreError) -> Self {
        Self {
            error,
            is_login_refused: false,
        }
    }
}

impl From<ConnectError> for SqlError {
    fn from(failure: ConnectError) -> Self {
        Self::Failed {
            error: failure.error,
            connection_usable: false,
        }
    }
}

impl Failures {
    /// Returns the error for a connection that was not made.
    pub(super) fn connecting(&self, error: Error) -> ConnectError {
        if let Some(refusal) = error.as_db_error() {
            let is_login_refused = refusal.code().code().starts_with("28");
            let (classified, _) = self.classify(refusal);
            let is_setting_refused = refusal.code().code() == "42704"
                || matches!(classified, StoreError::Rejected { .. });
            let classified = if is_setting_refused {
                blocked(format!(
                    "{}: {}. Correct `options` in the tracking URI, or PGOPTIONS",
                    self.database,
                    refusal.message()
                ))
            } else {
                classified
            };
            return ConnectError {
                error: classified.with_source(error),
                is_login_refused,
            };
        }
        let told = chain(&error);
        let database = &self.database;
        let is_unavailable = error.is_closed()
            || find_io_error(&error).is_some_and(|error| {
                // rustls returns its errors as those of invalid data.
                error.kind() != io::ErrorKind::InvalidData
            });
        // The other kinds of the driver's errors can be told apart by their texts alone.
        let is_login_refused = !is_unavailable
            && (told.contains("authentication") || told.contains("password missing"));
        let classified = if is_unavailable {
            unavailable(format!("{database}: {told}"))
        } else if told.contains("password missing") {
            self.login_error("the server asks for a password")
        } else if is_login_refused {
            self.login_error(&told)
        } else if told.contains("TLS") {
            blocked(format!(
                "{database}: {told}. Set sslmode in the tracking URI or PGSSLMODE, or sslrootcert or PGSSLROOTCERT to the \
                 certificate of the server's authority"
            ))
        } else {
            unavailable(format!("{database}: {told}"))
        };
        ConnectError {
            error: classified.with_source(error),
            is_login_refused,
        }
    }

    /// Returns the error for a statement or a transaction that failed.
    pub(super) fn working(&self, error: Error) -> SqlError {
        let (classified, connection_usable) = match error.as_db_error() {
            Some(refusal) => self.classify(refusal),
            None if error.is_closed() || find_io_error(&error).is_some() => (
                unavailable(format!(
                    "{}: the connection was lost: {}",
                    self.database,
                    chain(&error)
                )),
                false,
            ),
            None => {
                let told = chain(&error);
                if told.starts_with("error serializing parameter") {
                    let reason = format!("{} has no place for a value: {told}", self.database);
                    (
                        StoreError::Rejected {
                            reason: reason.into(),
                        },
                        true,
                    )
                } else {
                    (unavailable(format!("{}: {told}", self.database)), false)
                }
            }
        };
        SqlError::Failed {
            error: classified.with_source(error),
            connection_usable,
        }
    }

    /// Returns the error for a server that has not answered in time.
    pub(super) fn timed_out(&self, limit: Duration) -> StoreError {
        unavailable(format!(
            "{} has not answered within {limit:?}",
            self.database
        ))
    }

    /// Returns the error for a login that the server has refused.
    fn login_error(&self, told: &str) -> StoreError {
        blocked(format!(
            "{} refuses the user {:?}: {told}. {}: correct the tracking URI, PGUSER and PGPASSWORD, or ~/.pgpass",
            self.database,
            self.user,
            capitalized(&self.password_origin)
        ))
    }

    /// Returns the error for an answer of the server, and if the connection can be used afterwards.
    fn classify(&self, refusal: &DbError) -> (StoreError, bool) {
        let database = &self.database;
        let told = refusal.message();
        let code = refusal.code().code();
        let class = code.get(..2).unwrap_or_default();
        // The server says so of a transaction that writes, if it is a standby.
        let is_read_only =
            code == "25006" || (code == "0A000" && refusal.routine() != Some(STALE_PLAN_ROUTINE));
        let is_usable = !matches!(class, "08" | "28" | "57" | "58" | "XX") || code == "57014";
        let classified = match (class, code) {
            _ if is_read_only => unavailable(format!("{database}: {told}")),
            ("28", _) => self.login_error(told),
            (_, "3D000") => blocked(format!(
                "{database}: {told}. Create the database (createdb), or correct the tracking URI"
            )),
            (_, "42501") => blocked(format!(
                "{database}: {told}. Grant the user {:?} the rights to read and write MLflow's tables, to create \
                 temporary tables (TEMPORARY on the database), and to create tables if the database is empty",
                self.user
            )),
            (_, "3F000") => blocked(format!(
                "{database}: {told}. Create the schema, or correct the search_path"
            )),
            // Others have what this transaction needs, or a deadlock was resolved.
            (_, "40001" | "40P01" | "55P03" | "55006") => StoreError::Busy {
                reason: format!("{database}: {told}").into(),
            },
            // Another client creates the same row or table at this moment, or changes the schema.
            (_, "23505" | "23503" | "42P07" | "42710" | "0A000") => StoreError::Contested {
                reason: format!("{database}: {told}").into(),
            },
            ("22", _) | (_, "54000") => StoreError::Rejected {
                reason: format!("PostgreSQL rejected an entry for {database}: {told}").into(),
            },
            // A column or a check that somebody has added, which a newer version of this library may know.
            ("23", _) => StoreError::Blocked {
                reason: format!(
                    "{database}: {told}. MLflow's tables have no such rule; remove it, or update mlflow-runtime"
                )
                .into(),
                everything: false,
            },
            (_, "26000" | "42P05") => unavailable(format!(
                "{database}: {told}. A pooler gives each transaction another connection: connect to the server itself, \
                 or to a pool of sessions (PgBouncer: max_prepared_statements)"
            )),
            // Lost connections, servers that start or stop, a lack of space or of connections, a standby, a table that a
            // migration is changing.
            _ => unavailable(format!("{database}: {told}")),
        };
        // Statements that were prepared for an earlier schema, or that the server does not know, are of no use.
        let has_statements = !matches!(code, "0A000" | "26000" | "42P05");
        (classified, is_usable && has_statements && !is_read_only)
    }
}

/// Returns the error for a value of a type that MLflow's schema does not have there.
pub(super) fn unexpected_value_error() -> SqlError {
    SqlError::Failed {
        error: unavailable(
            "the database returned a value of an unexpected type: somebody may be changing its schema".to_owned(),
        ),
        connection_usable: false,
    }
}

pub(super) fn unavailable(reason: String) -> StoreError {
    StoreError::Unavailable {
        reason: reason.into(),
        retry_after: None,
    }
}

pub(super) fn blocked(reason: String) -> StoreError {
    StoreError::Blocked {
        reason: reason.into(),
        everything: true,
    }
}

/// Returns the message of an error with its causes.
fn chain(error: &Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_told = cause.to_string();
        if !told.contains(&cause_told) {
            told.push_str(": ");
            told.push_str(&cause_told);
        }
        source = cause.source();
    }
    told
}

/// Returns the error of the operating system that caused this one.
fn find_io_error(error: &Error) -> Option<&io::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}
