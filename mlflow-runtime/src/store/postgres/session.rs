//! [`Session`]: what the thread of a store keeps between calls, i.e. its connection.
//!
//! - A connection is made when it is needed, and made anew after a loss.
//! - A piece of work is never repeated here: it may have been committed. Only what was not begun is begun anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::connection::{Connection, Transaction};
use super::error::{ConnectError, Failures, blocked};
use super::login::Login;
use super::{readiness, schema};
use crate::config::destination::PostgresUri;
use crate::store::sql::{Purpose, SqlConnection, SqlError, WorkError};
use crate::store::{StoreError, StoreInfo};
use crate::time;

/// Longest time to tell the server about the end of a connection.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// Settings of a store, as its thread needs them.
#[derive(Clone, Debug)]
pub(super) struct SessionSettings {
    pub(super) uri: PostgresUri,
    pub(super) artifact_root: PathBuf,
    /// Longest time to wait for an answer of the server.
    pub(super) limit: Duration,
    /// Set once the tables of an empty database were created.
    pub(super) is_new: Arc<AtomicBool>,
}

/// Connection to the database, as long as there is one.
pub(super) struct Session {
    settings: SessionSettings,
    connection: Option<ReadyConnection>,
}

struct ReadyConnection {
    connection: Connection,
    /// Task that sends and receives.
    task: JoinHandle<()>,
    /// True once the database was found to have MLflow's tables.
    is_ready: bool,
}

impl Session {
    pub(super) fn new(settings: SessionSettings) -> Self {
        Self {
            settings,
            connection: None,
        }
    }

    /// Runs a piece of work in one transaction.
    pub(super) fn transact<T, E: WorkError>(
        &mut self,
        runtime: &Runtime,
        purpose: Purpose,
        work: impl FnOnce(&dyn SqlConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let open = self.connect_if_needed(runtime);
        let mut open = open.map_err(SqlError::from)?;
        self.make_ready(runtime, &mut open, purpose)?;
        let transaction = match open.connection.begin(runtime, purpose) {
            Err(_) if open.connection.is_closed() => {
                // The server has closed the connection since the last call, e.g. as it was started anew.
                open = self.connect(runtime).map_err(SqlError::from)?;
                self.make_ready(runtime, &mut open, purpose)?;
                open.connection.begin(runtime, purpose)?
            }
            begun => begun?,
        };
        match work(&transaction) {
            Ok(result) => {
                transaction.commit()?;
                self.connection = Some(open);
                Ok(result)
            }
            Err(error) => {
                if error.leaves_connection_usable() && transaction.roll_back().is_ok() {
                    self.connection = Some(open);
                }
                Err(error)
            }
        }
    }

    /// Returns version and latency. Creates nothing.
    pub(super) fn info(&mut self, runtime: &Runtime) -> Result<StoreInfo, StoreError> {
        let open = match self.connect_if_needed(runtime) {
            Ok(open) => open,
            Err(failure) if failure.is_login_refused => {
                return Ok(StoreInfo {
                    version: None,
                    latency: Duration::ZERO,
                    authenticated: Some(false),
                    clock_difference_ms: None,
                });
            }
            Err(failure) => return Err(failure.error),
        };
        let transaction = open.connection.begin(runtime, Purpose::Read)?;
        let started = Instant::now();
        let mut server_time = None;
        transaction.query(
            "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
            &[],
            &mut |row| {
                server_time = row.integer(0)?;
                Ok(())
            },
        )?;
        let latency = started.elapsed();
        let now = time::now_ms();
        let mut version = None;
        if readiness::is_ready(&transaction, &self.settings.uri.to_string())? {
            transaction.query("SELECT version_num FROM alembic_version", &[], &mut |row| {
                version = row.text(0)?.map(std::borrow::Cow::into_owned);
                Ok(())
            })?;
        }
        transaction.roll_back()?;
        self.connection = Some(open);
        Ok(StoreInfo {
            version,
            latency,
            authenticated: Some(true),
            clock_difference_ms: server_time.map(|server_time| server_time - now),
        })
    }

    /// Takes the connection, or makes one. The caller puts it back once it is known to be usable.
    fn connect_if_needed(&mut self, runtime: &Runtime) -> Result<ReadyConnection, ConnectError> {
        match self.connection.take() {
            Some(open) if !open.connection.is_closed() => Ok(open),
            _ => self.connect(runtime),
        }
    }

    fn connect(&self, runtime: &Runtime) -> Result<ReadyConnection, ConnectError> {
        let SessionSettings { uri, limit, .. } = &self.settings;
        let login = Login::new(uri, *limit)?;
        let failures = Failures {
            database: uri.to_string(),
            user: login.user,
            password_origin: login.password_origin,
        };
        let connected = runtime
            .block_on(async { timeout(*limit, login.config.connect(login.connector)).await });
        let (client, connection) = match connected {
            Err(_) => return Err(failures.timed_out(*limit).into()),
            Ok(connected) => connected.map_err(|error| failures.connecting(error))?,
        };
        // Its errors reach those who wait for an answer.
        let task = runtime.spawn(async move { drop(connection.await) });
        Ok(ReadyConnection {
            connection: Connection::new(client, failures, *limit),
            task,
            is_ready: false,
        })
    }

    /// Checks that the database has MLflow's tables, and creates them if it is empty and the work is to create it.
    fn make_ready(
        &self,
        runtime: &Runtime,
        open: &mut ReadyConnection,
        purpose: Purpose,
    ) -> Result<(), SqlError> {
        if open.is_ready {
            return Ok(());
        }
        let database = self.settings.uri.to_string();
        let check = open.connection.begin(runtime, Purpose::Read)?;
        let mut is_ready = readiness::is_ready(&check, &database)?;
        check.roll_back()?;
        if !is_ready {
            if !purpose.creates_database() {
                return Err(SqlError::Refused(blocked(format!(
                    "there is nothing in {database} yet: the first run that is logged creates MLflow's tables"
                ))));
            }
            let creation = open.connection.begin(runtime, Purpose::Create)?;
            is_ready = self.create(&creation, &database)?;
            creation.commit()?;
            self.settings.is_new.fetch_or(is_ready, Ordering::Relaxed);
        }
        open.is_ready = true;
        Ok(())
    }

    /// Creates the tables, unless another process has created them since. Returns true if they were created.
    fn create(&self, creation: &Transaction<'_>, database: &str) -> Result<bool, SqlError> {
        schema::lock_creation(creation)?;
        if readiness::is_ready(creation, database)? {
            return Ok(false);
        }
        schema::create_tables(creation, &self.settings.artifact_root)?;
        Ok(true)
    }

    /// Closes the connection.
    pub(super) fn close(self, runtime: &Runtime) {
        let Some(ReadyConnection {
            connection, task, ..
        }) = self.connection
        else {
            return;
        };
        // The task tells the server about the end once nobody can ask any more.
        drop(connection);
        runtime.block_on(async {
            let _ = timeout(CLOSING_TIME, task).await;
        });
    }
}
