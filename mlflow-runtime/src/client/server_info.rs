//! [`ServerInfo`]: reachability, version, latency and access of a store.

use std::time::Duration;

use tokio::time;

use super::{Client, Target};
use crate::store::{ClientError, StoreInfo};

/// Maximum wait for an answer. A store that has not answered by then counts as unreachable.
const MAX_ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Status of the store. See [`Client::server_info`] for an example.
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
    /// Difference of the server's clock to that of this machine, in ms, exact to about a second: positive if
    /// the server's clock is ahead. `None` if there is no server, no answer, or no time in it. The times of
    /// runs and metrics are those of the machine that logs them.
    pub clock_difference_ms: Option<i64>,
    /// Reason why the store is not reachable; `None` if it is.
    pub error: Option<String>,
}

impl ServerInfo {
    fn new(uri: String, answer: Result<StoreInfo, ClientError>) -> Self {
        match answer {
            Ok(StoreInfo {
                version,
                latency,
                authenticated,
                clock_difference_ms,
            }) => Self {
                uri,
                reachable: true,
                version,
                latency: Some(latency),
                authenticated,
                clock_difference_ms,
                error: None,
            },
            Err(error) => Self {
                uri,
                reachable: false,
                version: None,
                latency: None,
                authenticated: None,
                clock_difference_ms: None,
                error: Some(error.to_string()),
            },
        }
    }
}

impl Client {
    /// Queries the store: whether it is reachable, its version, how long it takes to answer, and whether it
    /// accepts our credentials, and how far its clock is from ours. Waits for at most 10 seconds, or for the
    /// request timeout if that is shorter.
    ///
    /// For the state of the values that this process has logged see [`health`](crate::health), which sends no
    /// request and returns at once.
    ///
    /// ```
    /// let directory = std::env::temp_dir().join(format!("mlflow-doc-server-info-{}", std::process::id()));
    /// let file = format!("sqlite:///{}", directory.join("mlflow.db").display());
    /// let client = mlflow::blocking::Client::with_config(mlflow::Config::new().tracking_uri(file));
    /// let info = client.server_info();
    /// assert_eq!(info.uri, client.uri());
    /// assert!(info.reachable && info.error.is_none());
    /// assert_eq!(info.version, None); // the first run creates the file
    ///
    /// let config = mlflow::Config::new().tracking_uri("http://127.0.0.1:9");
    /// let info = mlflow::blocking::Client::with_config(config).server_info();
    /// assert!(!info.reachable); // no server listens there
    /// assert!(info.error.is_some());
    /// ```
    pub async fn server_info(&self) -> ServerInfo {
        let is_fake = matches!(self.0, Target::Fake(..));
        let answer = self
            .call(move |connection| async move {
                let info = connection.store().info();
                // The store of a fake answers at once, and outside of a runtime.
                let answer = if is_fake {
                    info.await
                } else {
                    match time::timeout(MAX_ANSWER_WAIT, info).await {
                        Ok(answer) => answer,
                        Err(_) => {
                            return Err(ClientError::Unavailable {
                                reason: "no answer in time".into(),
                            });
                        }
                    }
                };
                Ok(answer?)
            })
            .await;
        ServerInfo::new(self.uri(), answer)
    }

    /// Returns the tracking URI, without credentials. See [`server_info`](Self::server_info) for an example.
    #[must_use]
    pub fn uri(&self) -> String {
        match &self.0 {
            Target::Store(worker) => worker.settings().destination.to_string(),
            Target::Fake(tracker, _) => tracker.journal().origin().destination.clone(),
        }
    }
}
