//! MLflow set up as in `docs/scale-out.md`: on PostgreSQL, with several workers and proxied artifacts.

use std::sync::OnceLock;

use super::mlflow::{Environment, Server};
use super::postgres::Postgres;

/// Connection pool size of a worker. A worker has 40 threads, and a request takes up to three database
/// connections, one while it holds another. With fewer than 81 connections, all threads may hold their first
/// one and wait for a second; MLflow then answers 400.
const POOL: Environment = &[("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "80")];

/// Number of workers, unless a test needs more.
const WORKERS: usize = 2;

/// MLflow server with several workers, and its PostgreSQL. Fields are dropped in order: the server ends before
/// its database.
pub(crate) struct Scaled {
    server: Server,
    postgres: Postgres,
}

impl Scaled {
    /// Starts a database and a server on it. Returns `None`, with a line on stderr, if PostgreSQL is not
    /// installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(WORKERS)
    }

    /// Starts a database and a server with so many workers on it. Returns `None` as [`start`](Self::start) does.
    pub(crate) fn start_with(workers: usize) -> Option<Self> {
        let postgres = Postgres::start()?;
        let (uri, workers) = (postgres.uri(), workers.to_string());
        let options = ["--workers", &workers, "--backend-store-uri", uri.as_str()];
        Some(Self {
            server: Server::start_in(POOL, &options),
            postgres,
        })
    }

    /// Returns the instance shared by tests that do not disturb each other. The instance ends with the test
    /// process.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Scaled>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn postgres(&self) -> &Postgres {
        &self.postgres
    }
}
