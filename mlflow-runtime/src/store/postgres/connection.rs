//! [`Connection`]: one connection to the server, and the transactions on it.
//!
//! - Every wait for the server has the time limit of requests. After a wait that was too long, and after a loss, the
//!   connection is not used again.
//! - A transaction that waits for others' locks gives up before the time limit of requests, with an error that means
//!   "soon again". The server ends a transaction whose client has vanished, so that its locks do not last.
//! - Statements are prepared once for each connection; those that were used last are kept.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{SinkExt as _, TryStreamExt as _};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::{Client, Row, Statement};

use super::copy::{self, CopiedPoints};
use super::error::Failures;
use super::values::{Bound, PostgresRow};
use crate::store::StoreError;
use crate::store::sql::{Dialect, Purpose, RunPoint, SqlConnection, SqlError, SqlRow, SqlValue};

/// Largest number of prepared statements that are kept.
const MAX_STATEMENTS: usize = 128;
/// Number of rows that are received before they are handed on.
const ROWS_AT_ONCE: usize = 1024;
/// Number of executions of a statement that are under way at once.
const EXECUTIONS_AT_ONCE: usize = 512;
/// Longest time that a transaction may wait for the locks of others.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(10);

/// Longest time that the server waits for the next statement of a transaction.
const MAX_IDLE_TIME: Duration = Duration::from_secs(60);

/// Connection to the server.
pub(super) struct Connection {
    client: Client,
    statements: RefCell<Statements>,
    failures: Failures,
    limit: Duration,
}

/// Prepared statements, by their texts.
#[derive(Default)]
struct Statements {
    prepared: HashMap<String, (Statement, u64)>,
    uses: u64,
}

impl Statements {
    fn find(&mut self, sql: &str) -> Option<Statement> {
        self.uses += 1;
        let (statement, last_use) = self.prepared.get_mut(sql)?;
        *last_use = self.uses;
        Some(statement.clone())
    }

    fn insert(&mut self, sql: &str, statement: Statement) {
        if self.prepared.len() >= MAX_STATEMENTS {
            let oldest = { self.prepared.iter() }
                .min_by_key(|(_, (_, last_use))| *last_use)
                .map(|(sql, _)| sql.clone());
            if let Some(oldest) = oldest {
                self.prepared.remove(&oldest);
            }
        }
        self.prepared.insert(sql.to_owned(), (statement, self.uses));
    }
}

impl Connection {
    pub(super) fn new(client: Client, failures: Failures, limit: Duration) -> Self {
        Self {
            client,
            statements: RefCell::default(),
            failures,
            limit,
        }
    }

    /// Returns true if the connection is known to be lost.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Begins a transaction. What is read for a client is read from one snapshot.
    pub(super) fn begin<'a>(
        &'a self,
        runtime: &'a Runtime,
        purpose: Purpose,
    ) -> Result<Transaction<'a>, SqlError> {
        let mode = if purpose.writes() {
            "ISOLATION LEVEL READ COMMITTED READ WRITE"
        } else {
            "ISOLATION LEVEL REPEATABLE READ READ ONLY"
        };
        let transaction = Transaction {
            connection: self,
            runtime,
            columns: RefCell::default(),
            has_points: Cell::new(false),
        };
        let lock_wait = MAX_LOCK_WAIT.min(self.limit / 2).as_millis().max(1);
        let idle = MAX_IDLE_TIME.as_millis();
        transaction.run(&format!(
            "BEGIN {mode}; SET LOCAL lock_timeout = {lock_wait}; \
             SET LOCAL idle_in_transaction_session_timeout = {idle}"
        ))?;
        Ok(transaction)
    }
}

/// Transaction on a connection. It is neither committed nor rolled back by itself.
pub(super) struct Transaction<'a> {
    connection: &'a Connection,
    runtime: &'a Runtime,
    /// Columns that were looked up in this transaction, by table and column.
    columns: RefCell<HashMap<(String, String), bool>>,
    /// True once points were copied in this transaction.
    has_points: Cell<bool>,
}

impl Transaction<'_> {
    /// Commits the transaction. After an error, it may have been committed or not.
    pub(super) fn commit(self) -> Result<(), SqlError> {
        self.run("COMMIT")
    }

    /// Rolls the transaction back.
    pub(super) fn roll_back(self) -> Result<(), SqlError> {
        self.run("ROLLBACK")
    }

    /// Runs statements without parameters, whose results do not count.
    pub(super) fn run(&self, statements: &str) -> Result<(), SqlError> {
        self.wait(self.client().batch_execute(statements))
    }

    fn client(&self) -> &Client {
        &self.connection.client
    }

    /// Waits for the server, no longer than the time limit.
    fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SqlError> {
        let limit = self.connection.limit;
        match self
            .runtime
            .block_on(async { timeout(limit, answer).await })
        {
            Ok(answer) => answer.map_err(|error| self.connection.failures.working(error)),
            Err(_) => Err(SqlError::Failed {
                error: self.connection.failures.timed_out(limit),
                connection_usable: false,
            }),
        }
    }

    fn prepare(&self, sql: &str) -> Result<Statement, SqlError> {
        let statements = &self.connection.statements;
        if let Some(statement) = statements.borrow_mut().find(sql) {
            return Ok(statement);
        }
        let statement = self.wait(self.client().prepare(&with_dollars(sql)))?;
        statements.borrow_mut().insert(sql, statement.clone());
        Ok(statement)
    }
}

impl SqlConnection for Transaction<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn execute(&self, sql: &str, values: &[SqlValue<'_>]) -> Result<u64, SqlError> {
        let statement = self.prepare(sql)?;
        let values = values.iter().map(Bound);
        let values: Vec<_> = values.collect();
        self.wait(self.client().execute_raw(&statement, &values))
    }

    /// Sends several executions before the first one is answered.
    fn execute_many(
        &self,
        sql: &str,
        values: &[SqlValue<'_>],
        width: usize,
    ) -> Result<u64, SqlError> {
        let statement = self.prepare(sql)?;
        let values: Vec<_> = values.iter().map(Bound).collect();
        let mut changed = 0;
        for part in values.chunks(width.max(1) * EXECUTIONS_AT_ONCE) {
            let executions = part
                .chunks(width.max(1))
                .map(|values| self.client().execute_raw(&statement, values));
            let counts = self.wait(try_join_all(executions))?;
            changed += counts.iter().sum::<u64>();
        }
        Ok(changed)
    }

    /// Hands the rows on while the others are still on their way. Therefore `each` must not use the connection.
    fn query(
        &self,
        sql: &str,
        values: &[SqlValue<'_>],
        each: &mut dyn FnMut(&dyn SqlRow) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let statement = self.prepare(sql)?;
        let values: Vec<_> = values.iter().map(Bound).collect();
        let rows = self.wait(self.client().query_raw(&statement, &values))?;
        let mut rows = pin!(rows);
        loop {
            let part: Vec<Row> = self.wait(async {
                let mut part = Vec::new();
                while part.len() < ROWS_AT_ONCE {
                    match rows.try_next().await? {
                        Some(row) => part.push(row),
                        None => break,
                    }
                }
                Ok(part)
            })?;
            for row in &part {
                each(&PostgresRow(row))?;
            }
            if part.len() < ROWS_AT_ONCE {
                return Ok(());
            }
        }
    }

    fn has_column(&self, table: &str, column: &str) -> Result<bool, SqlError> {
        let key = (table.to_owned(), column.to_owned());
        if let Some(known) = self.columns.borrow().get(&key) {
            return Ok(*known);
        }
        let mut exists = false;
        self.query(
            "SELECT EXISTS (SELECT 1 FROM pg_attribute
             WHERE attrelid = to_regclass(?1) AND attname = ?2 AND attnum > 0 AND NOT attisdropped)",
            &[table.into(), column.into()],
            &mut |row| {
                exists = row.flag(0)?.unwrap_or_default();
                Ok(())
            },
        )?;
        self.columns.borrow_mut().insert(key, exists);
        Ok(exists)
    }

    fn insert_points(&self, points: &[RunPoint<'_>]) -> Result<(), SqlError> {
        if points.is_empty() {
            return Ok(());
        }
        let is_first = !self.has_points.replace(true);
        self.run(if is_first {
            copy::CREATE_TABLE
        } else {
            copy::EMPTY_TABLE
        })?;
        let sink = self.wait(self.client().copy_in::<_, Bytes>(copy::COPY))?;
        let mut sink = pin!(sink);
        for part in CopiedPoints::new(points) {
            self.wait(sink.send(part))?;
        }
        self.wait(sink.finish())?;
        self.execute(copy::INSERT, &[])?;
        Ok(())
    }

    fn models_missing_error(&self) -> SqlError {
        SqlError::Refused(StoreError::Blocked {
            reason: format!(
                "logged models need tables that MLflow 3 adds to {0}: migrate the database with MLflow 3 \
                 (`mlflow db upgrade {0}`)",
                self.connection.failures.database
            )
            .into(),
            everything: false,
        })
    }
}

/// Returns a statement with PostgreSQL's form of parameters.
// Input:  `SELECT ?1, ?12`
// Output: `SELECT $1, $12`
fn with_dollars(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len());
    let mut is_quoted = false;
    let mut chars = sql.chars().peekable();
    while let Some(char) = chars.next() {
        is_quoted ^= char == '\'';
        if char == '?' && !is_quoted && chars.peek().is_some_and(char::is_ascii_digit) {
            text.push('$');
        } else {
            let _ = text.write_char(char);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_get_postgresqls_form() {
        for (sql, expected) in [
            ("SELECT ?1, ?12", "SELECT $1, $12"),
            ("SELECT '?1', ?2 -> '?'", "SELECT '?1', $2 -> '?'"),
            ("a ? b", "a ? b"),
        ] {
            assert_eq!(with_dollars(sql), expected);
        }
    }
}
