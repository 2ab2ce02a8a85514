//! Queries to the store itself, as opposed to logging to it.
//!
//! Invariants: a query changes nothing. It needs no particular async runtime, and blocks none, because it
//! runs on a thread of its own.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::{Config, Settings};
use crate::os::fork;
use crate::run::current_run::Context;
use crate::store::{StoreError, StoreInfo};
use crate::tracker::Tracker;
use crate::tracker::global;

/// Maximum wait for an answer. A store that has not answered by then counts as unreachable.
const MAX_ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A client that queries the store to which runs go. For code that is not async there is
/// [`blocking::Client`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let fake = mlflow::testing::fake();
/// let info = mlflow::Client::new().server_info().await;
/// assert!(info.reachable);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client(Target);

#[derive(Clone)]
enum Target {
    Store(Box<Settings>),
    /// Fake in whose scope the client was created.
    Fake(Arc<Tracker>),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(settings) => std::fmt::Debug::fmt(&settings.destination, f),
            Self::Fake(_) => f.write_str("a fake"),
        }
    }
}

/// Status of the store; see [`Client::server_info`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// Tracking URI, without credentials.
    pub uri: String,
    /// True if the store answered.
    pub reachable: bool,
    /// MLflow version of a server, or schema revision of a SQLite file; `None` if the store does not report
    /// it.
    pub version: Option<String>,
    /// Time that the store took to answer a small request; `None` if it did not answer.
    pub latency: Option<Duration>,
    /// True if the server accepts our credentials, or needs none; `None` if there is no server, or no answer.
    pub authenticated: Option<bool>,
    /// Reason why the store is not reachable; `None` if it is.
    pub error: Option<String>,
}

impl ServerInfo {
    fn new(uri: String, answer: Result<StoreInfo, StoreError>) -> Self {
        match answer {
            Ok(StoreInfo {
                version,
                latency,
                authenticated,
            }) => Self {
                uri,
                reachable: true,
                version,
                latency: Some(latency),
                authenticated,
                error: None,
            },
            Err(error) => Self::unreachable(uri, error.to_string()),
        }
    }

    fn unreachable(uri: String, error: String) -> Self {
        Self {
            uri,
            reachable: false,
            version: None,
            latency: None,
            authenticated: None,
            error: Some(error),
        }
    }
}

impl Client {
    /// Creates a client of the store that the process is configured for, or of the fake in whose scope the
    /// client is created.
    #[must_use]
    pub fn new() -> Self {
        let fake = Context::current().fake();
        Self(
            match fake.or_else(crate::tracker::fake_scope::substitute_for_global) {
                Some(fake) => Target::Fake(fake),
                None => Target::Store(Box::new(global::resolved_settings())),
            },
        )
    }

    /// Creates a client with other settings than those of the process. A setting that `config` leaves out
    /// comes from the environment, then from the default.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let config = mlflow::Config::new().tracking_uri("http://127.0.0.1:9");
    /// let info = mlflow::Client::with_config(config).server_info().await;
    /// assert!(!info.reachable);
    /// println!("{} {}", info.uri, info.error.unwrap()); // … Connection refused
    /// # }
    /// ```
    #[must_use]
    pub fn with_config(config: Config) -> Self {
        Self(Target::Store(Box::new(config.resolve())))
    }

    /// Queries the store: whether it is reachable, its version, how long it takes to answer, and whether it
    /// accepts our credentials. Waits for at most 10 seconds, or for the request timeout if that is shorter.
    ///
    /// For the state of the values that this process has logged see [`health`](crate::health), which sends no
    /// request and returns at once.
    pub async fn server_info(&self) -> ServerInfo {
        let (answer, answered) = oneshot::channel();
        self.query(|info| drop(answer.send(info)));
        answered.await.unwrap_or_else(|_| self.query_failed())
    }

    /// Queries the store and calls `answer` with the result. If no thread can be started, `answer` is
    /// dropped.
    fn query(&self, answer: impl FnOnce(ServerInfo) + Send + 'static) {
        match &self.0 {
            Target::Fake(fake) => answer(ServerInfo::new(self.uri(), fake.info())),
            Target::Store(settings) => {
                let settings = settings.clone();
                let thread = thread::Builder::new().name("mlflow-client".to_owned());
                let _ = thread.spawn(move || answer(query_server_info(&settings)));
            }
        }
    }

    fn query_failed(&self) -> ServerInfo {
        ServerInfo::unreachable(
            self.uri(),
            "the query could not be started, or was not answered in time".to_owned(),
        )
    }

    fn uri(&self) -> String {
        match &self.0 {
            Target::Store(settings) => settings.destination.to_string(),
            Target::Fake(fake) => fake.journal().origin().destination.clone(),
        }
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Queries the store on the calling thread.
fn query_server_info(settings: &Settings) -> ServerInfo {
    let uri = settings.destination.to_string();
    if fork::is_child() && !settings.destination.survives_fork() {
        let error = "a child made by fork must not open the SQLite file that its parent has open";
        return ServerInfo::unreachable(uri, error.to_owned());
    }
    let settings = Settings {
        request_timeout: settings.request_timeout.min(MAX_ANSWER_WAIT),
        ..settings.clone()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let answer = settings
                .destination
                .open_store(&settings)
                .and_then(|store| runtime.block_on(store.info()));
            ServerInfo::new(uri, answer)
        }
        Err(error) => ServerInfo::unreachable(uri, error.to_string()),
    }
}

/// Queries for code that is not async.
pub mod blocking {
    use std::sync::mpsc;

    use super::{MAX_ANSWER_WAIT, ServerInfo};
    use crate::config::Config;

    /// A [`Client`](super::Client) for code that is not async: its calls wait for the answer.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let info = mlflow::blocking::Client::new().server_info();
    /// assert!(info.reachable);
    /// fake.offline();
    /// assert!(!mlflow::blocking::Client::new().server_info().reachable);
    /// ```
    #[derive(Clone, Debug, Default)]
    pub struct Client(super::Client);

    impl Client {
        /// See [`Client::new`](super::Client::new).
        #[must_use]
        pub fn new() -> Self {
            Self(super::Client::new())
        }

        /// See [`Client::with_config`](super::Client::with_config).
        #[must_use]
        pub fn with_config(config: Config) -> Self {
            Self(super::Client::with_config(config))
        }

        /// See [`Client::server_info`](super::Client::server_info). Blocks the calling thread, also inside an
        /// async runtime; the async version does not.
        #[must_use]
        pub fn server_info(&self) -> ServerInfo {
            let (answer, answered) = mpsc::channel();
            self.0.query(move |info| drop(answer.send(info)));
            // The querying thread observes `MAX_ANSWER_WAIT` itself, unless the operating system does not
            // answer.
            answered
                .recv_timeout(2 * MAX_ANSWER_WAIT)
                .unwrap_or_else(|_| self.0.query_failed())
        }
    }
}
