//! [`PostgresStore`]: what is special about a database that is reached without a server. What holds for every store is
//! in the conformance suites.

mod artifacts;
mod logins;
mod losses;
mod schema;
mod tls;
mod writers;

use mlflow::store::{ExperimentRef, NewRun, PostgresStore, Store, StoreError, StoredRun};

use crate::support::postgres::Postgres;
use crate::support::program::Folder;
use crate::support::unique;

const FORKS: &str = env!("CARGO_BIN_EXE_forks");
const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");
const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");
const TEXTS: &str = env!("CARGO_BIN_EXE_texts");

/// Empty database on a server.
struct Database<'s> {
    server: &'s Postgres,
    name: String,
}

impl Database<'static> {
    /// Creates a database on the shared server. Returns `None` if PostgreSQL is not installed.
    fn create() -> Option<Self> {
        Postgres::shared().map(Database::on)
    }
}

impl<'s> Database<'s> {
    fn on(server: &'s Postgres) -> Self {
        let name = server.create_database();
        Self { server, name }
    }

    fn uri(&self) -> String {
        self.server.uri_of(&self.name)
    }

    /// Returns the URI with other credentials and parameters.
    fn uri_with(&self, login: &str, parameters: &str) -> String {
        let port = self.server.port();
        let at = if login.is_empty() { "" } else { "@" };
        format!(
            "postgresql://{login}{at}127.0.0.1:{port}/{}{parameters}",
            self.name
        )
    }

    fn store(&self) -> PostgresStore {
        open(&self.uri())
    }

    fn ask(&self, query: &str) -> String {
        self.server.query(&self.name, query)
    }

    /// Asserts that the experiment `numbers` has `processes` runs, each with `points` points under each of two keys,
    /// every point once.
    fn is_whole(&self, processes: i64, points: i64) {
        assert_eq!(
            self.ask("select count(*) from experiments where name = 'numbers'"),
            "1"
        );
        assert_eq!(
            self.ask(
                "select status, count(*), count(distinct runs.name) from runs \
                 join experiments using (experiment_id) \
                 where experiments.name = 'numbers' and runs.name <> 'next' group by status"
            ),
            format!("FINISHED|{processes}|{processes}")
        );
        assert_eq!(
            self.ask(
                "select count(*), count(distinct (run_uuid, key, step)), sum((value <> step)::int) \
                 from metrics where key like 'thread/%'"
            ),
            format!("{0}|{0}|0", processes * points * 2)
        );
        assert_eq!(
            self.ask(
                "select count(*), min(step), max(step), bool_and(value = step) from latest_metrics \
                 where key like 'thread/%'"
            ),
            format!("{}|{1}|{1}|t", processes * 2, points - 1)
        );
    }
}

fn open(uri: &str) -> PostgresStore {
    let root = std::env::temp_dir().join("mlflow-runtime-tests-mlruns");
    PostgresStore::new(uri, root).expect("a store")
}

async fn start_run(store: &PostgresStore) -> StoredRun {
    let experiment = ExperimentRef::Name("postgres".to_owned());
    let experiment_id = store.experiment(&experiment).await.expect("an experiment");
    let key = unique();
    let new = NewRun {
        key: &key,
        experiment_id: &experiment_id,
        name: "run",
        user_id: "",
        start_time_ms: 1,
        tags: &[],
    };
    store.create_run(&new).await.expect("a run")
}

/// Asserts that a store refuses everything, and says so with these words, without a password.
fn is_blocked<T: std::fmt::Debug>(result: Result<T, StoreError>, words: &[&str]) {
    match result {
        Err(StoreError::Blocked {
            reason,
            everything: true,
        }) => {
            for word in words {
                assert!(reason.contains(word), "{word}: {reason}");
            }
            assert!(!format!("{reason:?}").contains("hunter2"), "{reason:?}");
        }
        other => panic!("expected a block of everything, got {other:?}"),
    }
}

/// Runs a program in a folder to ship what is left there.
fn sweep(folder: &Folder, uri: &str) {
    if folder.journals_left() > 0 {
        let ended = folder.run(
            NUMBERS,
            &["next", "0", "0"],
            &[("MLFLOW_TRACKING_URI", uri)],
        );
        assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    }
}
