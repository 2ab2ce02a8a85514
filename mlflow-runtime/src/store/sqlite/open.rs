//! Opening of the database file: a missing file is created, and a file that is no usable MLflow file is
//! recognised.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::SqliteError;
use super::{MAX_BLOCKING_WAIT, StoreError, schema};

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
    /// Opens the file. Creates it if it is missing, and turns an empty file into an MLflow file.
    pub(super) fn new(path: &Path, artifact_root: &Path) -> Result<Self, StoreError> {
        Self::try_new(path, artifact_root).map_err(|failure| failure.into_store_error(path))
    }

    fn try_new(path: &Path, artifact_root: &Path) -> Result<Self, SqliteError> {
        if path.is_dir() {
            return Err(SqliteError::Refused(StoreError::Blocked {
                reason: format!(
                    "{} is a directory: the tracking URI has to name a file",
                    path.display()
                )
                .into(),
                everything: true,
            }));
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .map_err(|error| SqliteError::Directory(parent.to_owned(), error))?;
        }
        // Not the default flags: with them, SQLite would read a path that starts with `file:` as a URI.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        // A transaction waits for the lock at its begin and at its commit: together no longer than MAX_BLOCKING_WAIT.
        connection.busy_timeout(MAX_BLOCKING_WAIT / 2)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // A page cache of at most 64 MiB: a batch of ten thousand keys changes as many pages of an index.
        // Pages that do not fit are written before the commit, and from then on nobody else can even read the
        // file.
        connection.pragma_update(None, "cache_size", -65_536)?;
        connection.set_prepared_statement_cache_capacity(32);
        let mut is_new = false;
        if !is_ready(&connection)? {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have created the tables since.
            if !is_ready(&transaction)? {
                schema::create_tables(&transaction, artifact_root)?;
                is_new = true;
            }
            transaction.commit()?;
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

/// Returns the revision of the schema, as MLflow records it in the file.
pub(super) fn query_schema_revision(connection: &Connection) -> rusqlite::Result<String> {
    let query = "SELECT version_num FROM alembic_version LIMIT 1";
    connection.query_row(query, [], |row| row.get(0))
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
    let mut column = connection
        .prepare("SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2)")?;
    for (table, name) in NEEDED {
        if !column.query_row((table, name), |row| row.get::<_, bool>(0))? {
            return Err(SqliteError::TooOld);
        }
    }
    Ok(true)
}
