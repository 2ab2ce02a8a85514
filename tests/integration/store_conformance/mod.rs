//! Conformance suite that every store has to pass. The results are read back without the store under test.
//!
//! Each check logs to runs of its own, and states the content expected there. All runs are read at the end,
//! because reading through Python takes seconds.

mod groups;
mod inputs;
mod models;
mod runs;
mod values;

use std::path::PathBuf;
use std::sync::Arc;

use mlflow::store::{
    Batch, ExperimentRef, MemoryStore, Metric, NewRun, Param, RUN_KEY_TAG, RestOptions, RestStore,
    SqliteStore, Store, StoreError, StoredRun, Tag,
};
use serde_json::json;

#[cfg(feature = "postgres")]
use crate::support::mlflow::read_database;
use crate::support::mlflow::{Api, Server, read_file};
#[cfg(feature = "postgres")]
use crate::support::postgres::Postgres;
use crate::support::scaled::Scaled;
use crate::support::seen::{Latest, Point, Seen};
use crate::support::{block_on, unique};

/// Store under test, and ways to read and change its data without it.
trait Subject {
    fn store(&self) -> &dyn Store;
    fn delete_experiment(&self, id: &str);
    /// Returns false if the store is a file that MLflow 3 has not migrated.
    fn has_logged_models(&self) -> bool {
        true
    }
    /// Returns the number of versions of a registered model.
    fn count_versions(&self, name: &str) -> i64;
    fn read(&self, run_ids: &[String]) -> Vec<Seen>;
}

struct Memory(MemoryStore);

impl Subject for Memory {
    fn store(&self) -> &dyn Store {
        &self.0
    }

    fn delete_experiment(&self, id: &str) {
        self.0.delete_experiment(id);
    }

    fn count_versions(&self, name: &str) -> i64 {
        self.0
            .model_versions(name)
            .len()
            .try_into()
            .expect("a count")
    }

    fn read(&self, run_ids: &[String]) -> Vec<Seen> {
        let runs = self.0.runs();
        let read = |run_id: &String| {
            let run = runs
                .iter()
                .find(|run| run.run_id == *run_id)
                .expect("the run");
            let mut seen = Seen {
                name: run.name.clone(),
                user_id: run.user_id.clone(),
                status: run.status.as_str().to_owned(),
                start_time_ms: run.start_time_ms,
                end_time_ms: run.end_time_ms.unwrap_or(0),
                params: run.params.clone(),
                tags: run.tags.clone(),
                artifacts: run.artifacts.clone(),
                inputs: run.inputs.iter().map(inputs::seen).collect(),
                models: run.models.iter().map(models::seen).collect(),
                ..Seen::default()
            };
            for metric in &run.metrics {
                expect_point(&mut seen, metric);
            }
            seen.sorted()
        };
        run_ids.iter().map(read).collect()
    }
}

struct File {
    store: SqliteStore,
    path: PathBuf,
}

impl Subject for File {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn delete_experiment(&self, id: &str) {
        let file = rusqlite::Connection::open(&self.path).expect("the file");
        for table in ["experiments", "runs"] {
            let delete =
                format!("UPDATE {table} SET lifecycle_stage = 'deleted' WHERE experiment_id = ?1");
            file.execute(&delete, [id]).expect("an update");
        }
    }

    fn has_logged_models(&self) -> bool {
        let file = rusqlite::Connection::open(&self.path).expect("the file");
        let count = "SELECT COUNT(*) > 0 FROM sqlite_master WHERE name = 'logged_models'";
        file.query_row(count, [], |row| row.get(0)).expect("a row")
    }

    fn count_versions(&self, name: &str) -> i64 {
        let file = rusqlite::Connection::open(&self.path).expect("the file");
        let count = "SELECT COUNT(*) FROM model_versions WHERE name = ?1";
        file.query_row(count, [name], |row| row.get(0))
            .expect("a row")
    }

    fn read(&self, run_ids: &[String]) -> Vec<Seen> {
        read_file(&self.path, run_ids)
    }
}

#[cfg(feature = "postgres")]
struct Database {
    store: mlflow::store::PostgresStore,
    server: &'static Postgres,
    name: String,
}

#[cfg(feature = "postgres")]
impl Subject for Database {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn delete_experiment(&self, id: &str) {
        for table in ["experiments", "runs"] {
            let delete = format!(
                "update {table} set lifecycle_stage = 'deleted' where experiment_id = {id}"
            );
            self.server.query(&self.name, &delete);
        }
    }

    fn has_logged_models(&self) -> bool {
        let exists = "select to_regclass('logged_models') is not null";
        self.server.query(&self.name, exists) == "t"
    }

    fn count_versions(&self, name: &str) -> i64 {
        let count = format!("select count(*) from model_versions where name = '{name}'");
        self.server
            .query(&self.name, &count)
            .parse()
            .expect("a count")
    }

    fn read(&self, run_ids: &[String]) -> Vec<Seen> {
        read_database(&self.server.uri_of(&self.name), run_ids)
    }
}

struct Remote {
    store: RestStore,
    api: Api,
}

impl Subject for Remote {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn delete_experiment(&self, id: &str) {
        self.api
            .post("experiments/delete", &json!({"experiment_id": id}));
    }

    fn count_versions(&self, name: &str) -> i64 {
        self.api
            .count_model_versions(name)
            .try_into()
            .expect("a count")
    }

    fn read(&self, run_ids: &[String]) -> Vec<Seen> {
        run_ids.iter().map(|run_id| self.api.run(run_id)).collect()
    }
}

#[test]
fn memory_store() {
    block_on(suite(&Memory(MemoryStore::new())));
}

#[test]
fn sqlite_store() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("not yet there/mlflow.db");
    let store = SqliteStore::new(&path, home.path().join("mlruns"));
    let file = File { store, path };
    block_on(suite(&file));
    // Reading has migrated the file to MLflow's newest schema, while the store was open.
    block_on(suite(&file));
}

fn remote(server: &Server) -> Remote {
    Remote {
        store: RestStore::new(RestOptions::new(server.url())).expect("a store"),
        api: server.api(),
    }
}

#[test]
fn rest_store() {
    block_on(suite(&remote(Server::shared())));
}

#[test]
fn rest_store_on_postgres() {
    if let Some(scaled) = Scaled::shared() {
        block_on(suite(&remote(scaled.server())));
    }
}

#[cfg(feature = "postgres")]
#[test]
fn postgres_store() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let home = tempfile::tempdir().expect("a directory");
    let name = server.create_database();
    let root = home.path().join("mlruns");
    let store = mlflow::store::PostgresStore::new(&server.uri_of(&name), root).expect("a store");
    let database = Database {
        store,
        server,
        name,
    };
    block_on(suite(&database));
    // Reading has migrated the database to MLflow's newest schema, while the store was open.
    assert!(database.has_logged_models());
    block_on(suite(&database));
}

/// Expected runs, by run id.
type Expected = Vec<(String, Seen)>;

async fn suite(subject: &dyn Subject) {
    let mut expected = Expected::new();
    runs::creating_finding_ending(subject, &mut expected).await;
    values::repeating_is_harmless(subject, &mut expected).await;
    values::last_steps(subject, &mut expected).await;
    values::values_at_the_edges(subject, &mut expected).await;
    values::the_latest_value(subject, &mut expected).await;
    values::params_are_written_once(subject, &mut expected).await;
    values::tags_change(subject, &mut expected).await;
    values::bad_names_are_rejected(subject, &mut expected).await;
    values::a_full_batch(subject, &mut expected).await;
    inputs::datasets(subject, &mut expected).await;
    inputs::a_text_that_is_too_long_is_rejected(subject, &mut expected).await;
    models::logged_models(subject, &mut expected).await;
    groups::runs_together(subject, &mut expected).await;
    runs::artifacts(subject, &mut expected).await;
    runs::what_is_not_there_blocks(subject).await;
    runs::a_deleted_experiment_blocks(subject).await;
    let info = subject.store().info().await.expect("it is there");
    assert_ne!(info.authenticated, Some(false));
    let run_ids: Vec<String> = expected.iter().map(|(run_id, _)| run_id.clone()).collect();
    for (seen, (run_id, expected)) in subject.read(&run_ids).into_iter().zip(expected) {
        assert_eq!(seen, expected.sorted(), "run {run_id}");
    }
}

fn metric(key: &str, step: i64, timestamp_ms: i64, value: f64) -> Metric {
    Metric {
        key: Arc::from(key),
        value,
        timestamp_ms,
        step,
    }
}

fn param(key: &str, value: &str) -> Param {
    Param {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn tag(key: &str, value: &str) -> Tag {
    Tag {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

/// Adds an expected point, unless it is already expected.
fn expect_point(seen: &mut Seen, metric: &Metric) {
    let point = Point::new(metric.step, metric.timestamp_ms, metric.value);
    let points = seen.points.entry(metric.key.to_string()).or_default();
    if !points.contains(&point) {
        points.push(point);
    }
    let order = |point: &Point| {
        (
            point.step,
            point.timestamp_ms,
            if point.value.is_nan() {
                0.0
            } else {
                point.value
            },
        )
    };
    let latest = points
        .iter()
        .copied()
        .reduce(|a, b| if order(&b) > order(&a) { b } else { a });
    seen.latest
        .extend(latest.map(|point| (metric.key.to_string(), Latest(point.value))));
}

/// Starts a run. Returns the run, and its content expected so far.
async fn start(subject: &dyn Subject, name: &str) -> (StoredRun, Seen) {
    let store = subject.store();
    let experiment = ExperimentRef::Name("conformance ü".to_owned());
    let experiment_id = store.experiment(&experiment).await.expect("an experiment");
    let key = unique();
    let new = NewRun {
        key: &key,
        experiment_id: &experiment_id,
        name,
        user_id: "ada",
        start_time_ms: 1_700_000_000_001,
        tags: &[tag("given", "at the start")],
    };
    let run = store.create_run(&new).await.expect("a run");
    let tags = [
        ("given", "at the start"),
        ("mlflow.runName", name),
        (RUN_KEY_TAG, &key),
    ];
    let seen = Seen {
        name: name.to_owned(),
        user_id: "ada".to_owned(),
        status: "RUNNING".to_owned(),
        start_time_ms: 1_700_000_000_001,
        tags: tags
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        ..Seen::default()
    };
    (run, seen)
}

async fn log_metrics(subject: &dyn Subject, run: &StoredRun, metrics: &[Metric]) {
    subject
        .store()
        .log_batch(
            run,
            &Batch {
                metrics,
                ..Batch::default()
            },
        )
        .await
        .expect("metrics");
}

fn is_rejected(result: Result<(), StoreError>, word: &str) {
    match result {
        Err(StoreError::Rejected { reason }) if reason.contains(word) => {}
        other => panic!("expected a rejection that names `{word}`, got {other:?}"),
    }
}

fn is_missing<T: std::fmt::Debug>(result: Result<T, StoreError>, word: &str) {
    match result {
        Err(StoreError::Missing { reason }) if reason.contains(word) => {}
        other => panic!("expected that `{word}` is missing, got {other:?}"),
    }
}

fn is_blocked<T: std::fmt::Debug>(result: Result<T, StoreError>, word: &str) {
    match result {
        Err(StoreError::Blocked {
            reason,
            everything: false,
        }) if reason.contains(word) => {}
        other => panic!("expected a block of this run that names `{word}`, got {other:?}"),
    }
}
