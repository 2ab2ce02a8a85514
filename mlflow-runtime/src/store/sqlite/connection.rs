//! [`SqliteConnection`]: SQLite as the mapping of MLflow's schema knows it.
//!
//! A statement is prepared once, and SQLite re-prepares it by itself when the schema has changed.

use std::borrow::Cow;
use std::path::Path;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, Row};

use super::error::SqliteError;
use crate::store::StoreError;
use crate::store::sql::{Dialect, MetricRow, RunPoint, SqlConnection, SqlError, SqlRow, SqlValue};

/// Connection to a file, inside a transaction.
pub(super) struct SqliteConnection<'c> {
    pub(super) connection: &'c Connection,
    pub(super) path: &'c Path,
}

impl ToSql for SqlValue<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Flag(flag) => ValueRef::Integer((*flag).into()),
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl SqliteConnection<'_> {
    fn failure(&self, error: rusqlite::Error) -> SqlError {
        SqliteError::from(error).into_sql_error(self.path)
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, SqlError> {
        let statement = self.connection.prepare_cached(sql);
        statement.map_err(|error| self.failure(error))
    }

    fn try_insert_points(&self, points: &[RunPoint<'_>]) -> rusqlite::Result<()> {
        let mut insert = self.connection.prepare_cached(
            "INSERT OR IGNORE INTO metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let is_of_one_key = |a: &RunPoint<'_>, b: &RunPoint<'_>| {
            a.metric.key == b.metric.key && a.run_id == b.run_id
        };
        // Bindings outlive an execution: those of a key and run are made only once.
        for of_key in points.chunk_by(is_of_one_key) {
            insert.raw_bind_parameter(1, of_key[0].run_id)?;
            insert.raw_bind_parameter(2, &*of_key[0].metric.key)?;
            for RunPoint { metric, .. } in of_key {
                let point = MetricRow::from_metric(metric);
                insert.raw_bind_parameter(3, point.value)?;
                insert.raw_bind_parameter(4, point.timestamp)?;
                insert.raw_bind_parameter(5, point.step)?;
                insert.raw_bind_parameter(6, point.is_nan)?;
                insert.raw_execute()?;
            }
        }
        Ok(())
    }
}

impl SqlConnection for SqliteConnection<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn execute(&self, sql: &str, values: &[SqlValue<'_>]) -> Result<u64, SqlError> {
        let changed = self
            .prepare(sql)?
            .execute(rusqlite::params_from_iter(values));
        changed
            .map(|rows| rows as u64)
            .map_err(|error| self.failure(error))
    }

    fn execute_many(
        &self,
        sql: &str,
        values: &[SqlValue<'_>],
        width: usize,
    ) -> Result<u64, SqlError> {
        if values.is_empty() {
            return Ok(0);
        }
        let mut statement = self.prepare(sql)?;
        let mut changed = 0;
        for row in values.chunks_exact(width) {
            let rows = statement.execute(rusqlite::params_from_iter(row));
            changed += rows.map_err(|error| self.failure(error))? as u64;
        }
        Ok(changed)
    }

    fn query(
        &self,
        sql: &str,
        values: &[SqlValue<'_>],
        each: &mut dyn FnMut(&dyn SqlRow) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let mut statement = self.prepare(sql)?;
        let result = statement.query(rusqlite::params_from_iter(values));
        let mut result = result.map_err(|error| self.failure(error))?;
        while let Some(row) = result.next().map_err(|error| self.failure(error))? {
            each(&SqliteRow { row, db: self })?;
        }
        Ok(())
    }

    fn has_column(&self, table: &str, column: &str) -> Result<bool, SqlError> {
        has_column(self.connection, table, column).map_err(|error| self.failure(error))
    }

    fn insert_points(&self, points: &[RunPoint<'_>]) -> Result<(), SqlError> {
        let inserted = self.try_insert_points(points);
        inserted.map_err(|error| self.failure(error))
    }

    fn models_missing_error(&self) -> SqlError {
        let file = self.path.display();
        SqlError::Refused(StoreError::Blocked {
            reason: format!(
                "logged models need tables that MLflow 3 adds to {file}: open the file once with MLflow 3 (`mlflow ui \
                 --backend-store-uri sqlite:///{file}`), and the models that wait are stored"
            )
            .into(),
            everything: false,
        })
    }
}

/// Returns true if the table exists and has this column.
pub(super) fn has_column(
    connection: &Connection,
    table: &str,
    name: &str,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2)")?
        .query_row((table, name), |row| row.get(0))
}

/// Row of a result.
struct SqliteRow<'r> {
    row: &'r Row<'r>,
    db: &'r SqliteConnection<'r>,
}

impl SqliteRow<'_> {
    /// Returns the error for a value that could not be read, or has another type.
    #[cold]
    fn error(
        &self,
        column: usize,
        expected: &str,
        found: rusqlite::Result<ValueRef<'_>>,
    ) -> SqlError {
        self.db.failure(match found {
            Ok(found) => {
                rusqlite::Error::InvalidColumnType(column, expected.to_owned(), found.data_type())
            }
            Err(error) => error,
        })
    }
}

/// The values are matched where SQLite returns them: each copy would cost as much as the reading.
impl SqlRow for SqliteRow<'_> {
    fn integer(&self, column: usize) -> Result<Option<i64>, SqlError> {
        match self.row.get_ref(column) {
            Ok(ValueRef::Integer(number)) => Ok(Some(number)),
            Ok(ValueRef::Null) => Ok(None),
            found => Err(self.error(column, "integer", found)),
        }
    }

    fn real(&self, column: usize) -> Result<Option<f64>, SqlError> {
        match self.row.get_ref(column) {
            Ok(ValueRef::Real(number)) => Ok(Some(number)),
            Ok(ValueRef::Integer(number)) => Ok(Some(number as f64)),
            Ok(ValueRef::Null) => Ok(None),
            found => Err(self.error(column, "number", found)),
        }
    }

    fn flag(&self, column: usize) -> Result<Option<bool>, SqlError> {
        match self.row.get_ref(column) {
            Ok(ValueRef::Integer(number)) => Ok(Some(number != 0)),
            Ok(ValueRef::Null) => Ok(None),
            found => Err(self.error(column, "flag", found)),
        }
    }

    fn text(&self, column: usize) -> Result<Option<Cow<'_, str>>, SqlError> {
        match self.row.get_ref(column) {
            // The check of the whole text is faster than that by parts, and nearly always enough.
            Ok(ValueRef::Text(bytes)) => Ok(Some(
                std::str::from_utf8(bytes)
                    .map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed),
            )),
            Ok(ValueRef::Null) => Ok(None),
            found => Err(self.error(column, "text", found)),
        }
    }
}
