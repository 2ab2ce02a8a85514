//! Opening of the database file. A file that is no usable MLflow file is recognised. Only a call that writes
//! something new creates a missing file.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::connection::has_column;
use super::error::SqliteError;
use super::schema;
use crate::store::MAX_BLOCKING_WAIT;
use crate::store::sql::SqlError;

/// Cache of pages that a connection has, in KiB. Reading needs few pages twice, and a program that reads a
/// hundred thousand runs has little memory to spare.
const CACHE_KIB: i64 = 2048;

/// Open database file.
#[derive(Debug)]
pub(super) struct OpenDatabase {
    pub(super) connection: Connection,
    /// True if this opening has created the tables. [`news`](crate::store::Store::news) resets the flag.
    pub(super) is_new: bool,
    identity: Option<FileIdentity>,
}

/// Identity of a file: differs from that of any other file that took the same path.
#[derive(Debug, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    #[cfg(unix)]
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Returns `None`: on other systems, an open file can be neither moved nor deleted.
    #[cfg(not(unix))]
    fn of(_path: &Path) -> Option<Self> {
        None
    }
}

impl OpenDatabase {
    /// Opens the file. A file without any tables counts as missing. If a missing file is to be created, an
    /// empty file is turned into an MLflow file.
    ///
    /// A file that may not be written is opened, too: SQLite then opens it for reading alone.
    pub(super) fn new(
        path: &Path,
        artifact_root: &Path,
        create_missing: bool,
    ) -> Result<Self, SqlError> {
        let failure = |error: SqliteError| error.into_sql_error(path);
        let mut connection = connect(path, create_missing).map_err(failure)?;
        let mut is_new = false;
        if !is_ready(&connection).map_err(failure)? {
            if !create_missing {
                return Err(failure(SqliteError::Missing));
            }
            let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
            let transaction = begun.map_err(|error| failure(error.into()))?;
            // Another process may have created the tables since.
            if !is_ready(&transaction).map_err(failure)? {
                schema::create_tables(&transaction, path, artifact_root)?;
                is_new = true;
            }
            let created = transaction.commit();
            created.map_err(|error| failure(error.into()))?;
        }
        Ok(Self {
            identity: FileIdentity::of(path),
            connection,
            is_new,
        })
    }

    /// Returns true if `path` still names the file that is open.
    pub(super) fn is_still_at(&self, path: &Path) -> bool {
        self.identity == FileIdentity::of(path)
    }
}

/// Opens a connection. An empty file is created if a missing one is to be created.
fn connect(path: &Path, create_missing: bool) -> Result<Connection, SqliteError> {
    if path.is_dir() {
        return Err(SqliteError::IsDirectory);
    }
    // Not the default flags: with them, SQLite would read a path that starts with `file:` as a URI.
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create_missing {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .map_err(|error| SqliteError::Directory(parent.to_owned(), error))?;
        }
    } else if matches!(path.try_exists(), Ok(false)) {
        return Err(SqliteError::Missing);
    }
    let connection = Connection::open_with_flags(path, flags)?;
    // A transaction waits for the lock at its begin and at its commit: together no longer than MAX_BLOCKING_WAIT.
    connection.busy_timeout(MAX_BLOCKING_WAIT / 2)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Takes effect on Apple's systems alone, where a commit without F_FULLFSYNC may be lost with the power. The journal drops
    // what was committed.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // A filter with LIKE distinguishes capitals, as in MLflow.
    connection.pragma_update(None, "case_sensitive_like", true)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Returns true if the file is a usable MLflow file, and false if it is empty.
fn is_ready(connection: &Connection) -> Result<bool, SqliteError> {
    let mut tables = connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
    let tables = tables
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<Result<Vec<_>, _>>()?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    if has("alembic_version") {
        return if connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM alembic_version)",
            [],
            |row| row.get(0),
        )? {
            has_needed_columns(connection)
        } else {
            Err(SqliteError::BeingCreated)
        };
    }
    if has("experiments") && has("runs") {
        // MLflow creates its tables first and records the revision afterwards.
        return Err(SqliteError::BeingCreated);
    }
    if tables.is_empty() {
        Ok(false)
    } else {
        Err(SqliteError::ForeignFile)
    }
}

/// Returns true if the file has the columns that every write names, else [`SqliteError::TooOld`]. Files of
/// MLflow releases before 1.30 lack some of these columns.
fn has_needed_columns(connection: &Connection) -> Result<bool, SqliteError> {
    const NEEDED: [(&str, &str); 4] = [
        ("runs", "deleted_time"),
        ("runs", "name"),
        ("metrics", "is_nan"),
        ("experiments", "last_update_time"),
    ];
    for (table, name) in NEEDED {
        if !has_column(connection, table, name)? {
            return Err(SqliteError::TooOld);
        }
    }
    Ok(true)
}
