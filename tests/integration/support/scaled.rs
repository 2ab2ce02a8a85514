//! MLflow as `docs/scale-out.md` sets it up: on PostgreSQL, with several workers and proxied
//! artifacts.

use std::sync::OnceLock;

use super::mlflow::{Environment, Server};
use super::postgres::Postgres;

/// A worker has 40 threads, and a request takes up to three connections, one within the other. With
/// fewer than 81 all may hold their first and wait for the second: MLflow answers 400 then.
const POOL: Environment = &[("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "80")];

/// The server goes first, then its database.
pub(crate) struct Scaled {
    server: Server,
    postgres: Postgres,
}

impl Scaled {
    /// `None`, with a line on stderr, where PostgreSQL is not installed.
    pub(crate) fn start() -> Option<Self> {
        let postgres = Postgres::start()?;
        let uri = postgres.uri();
        let options = ["--workers", "2", "--backend-store-uri", uri.as_str()];
        Some(Self {
            server: Server::start_in(POOL, &options),
            postgres,
        })
    }

    /// One that tests share which do not disturb each other. It ends with the process.
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
