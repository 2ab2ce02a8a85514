//! One suite that every store passes, read back by something else than the store.
//!
//! Each check logs to a run of its own and says what has to be seen there; all runs are read at
//! the end, since reading through Python takes seconds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlflow::RunStatus;
use mlflow::store::{
    ArtifactContent, Batch, ExperimentRef, MemoryStore, Metric, NewRun, Param, RUN_KEY_TAG,
    RestOptions, RestStore, SqliteStore, Store, StoreError, StoredRun, Tag,
};
use serde_json::json;

use crate::support::mlflow::{Api, Server, read_file};
use crate::support::seen::{Latest, Point, Seen};
use crate::support::{block_on, unique};

/// A store, and the ways around it.
trait Subject {
    fn store(&self) -> &dyn Store;
    fn delete_experiment(&self, id: &str);
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

    fn read(&self, run_ids: &[String]) -> Vec<Seen> {
        read_file(&self.path, run_ids)
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
    // Reading it has migrated the file to MLflow's newest schema, under an open store.
    block_on(suite(&file));
}

#[test]
fn rest_store() {
    let server = Server::shared();
    let store = RestStore::new(RestOptions::new(server.url())).expect("a store");
    block_on(suite(&Remote {
        store,
        api: server.api(),
    }));
}

/// What has to be seen of the runs, by run id.
type Expected = Vec<(String, Seen)>;

async fn suite(subject: &dyn Subject) {
    let mut expected = Expected::new();
    creating_finding_ending(subject, &mut expected).await;
    repeating_is_harmless(subject, &mut expected).await;
    values_at_the_edges(subject, &mut expected).await;
    the_latest_value(subject, &mut expected).await;
    params_are_written_once(subject, &mut expected).await;
    tags_change(subject, &mut expected).await;
    bad_names_are_rejected(subject, &mut expected).await;
    a_full_batch(subject, &mut expected).await;
    artifacts(subject, &mut expected).await;
    what_is_not_there_blocks(subject).await;
    a_deleted_experiment_blocks(subject).await;
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

/// Adds a point that has to be seen, unless it is there already.
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

/// Starts a run, and says what has to be seen of it so far.
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

fn is_blocked<T: std::fmt::Debug>(result: Result<T, StoreError>, word: &str) {
    match result {
        Err(StoreError::Blocked {
            reason,
            everything: false,
        }) if reason.contains(word) => {}
        other => panic!("expected a block of this run that names `{word}`, got {other:?}"),
    }
}

async fn creating_finding_ending(subject: &dyn Subject, expected: &mut Expected) {
    let store = subject.store();
    let (run, mut seen) = start(subject, "naïve ünïcode 名前").await;
    let key = seen.tags[RUN_KEY_TAG].clone();
    assert_eq!(
        store.find_run(&run.experiment_id, &key).await,
        Ok(Some(run.clone()))
    );
    assert_eq!(
        store.find_run(&run.experiment_id, &unique()).await,
        Ok(None)
    );
    assert_eq!(store.get_run(&run.run_id).await, Ok(run.clone()));
    let by_id = ExperimentRef::Id(run.experiment_id.clone());
    assert_eq!(
        store.experiment(&by_id).await.as_ref(),
        Ok(&run.experiment_id)
    );

    store
        .update_run(&run, RunStatus::Failed, Some(1_700_000_009_000))
        .await
        .expect("an end");
    // Resumed: it has no end any more.
    store
        .update_run(&run, RunStatus::Running, None)
        .await
        .expect("a resumption");
    let (ended, mut ended_seen) = start(subject, "ended").await;
    for status in [RunStatus::Finished, RunStatus::Failed, RunStatus::Killed] {
        store
            .update_run(&ended, status, Some(1_700_000_009_999))
            .await
            .expect("an end");
    }
    seen.end_time_ms = 0;
    ended_seen.status = "KILLED".to_owned();
    ended_seen.end_time_ms = 1_700_000_009_999;
    // A run that has ended still takes values.
    log_metrics(subject, &ended, &[metric("late", 0, 5, 1.0)]).await;
    expect_point(&mut ended_seen, &metric("late", 0, 5, 1.0));
    expected.push((run.run_id, seen));
    expected.push((ended.run_id, ended_seen));
}

async fn repeating_is_harmless(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "repeated").await;
    let metrics = [
        metric("m", 0, 10, 0.5),
        metric("m", 0, 10, 0.25),
        metric("nan", 0, 10, f64::NAN),
        metric("m", 1, 11, 0.5),
    ];
    let params = [param("p", "1")];
    let tags = [tag("t", "v")];
    let batch = Batch {
        metrics: &metrics,
        params: &params,
        tags: &tags,
    };
    for _ in 0..3 {
        subject
            .store()
            .log_batch(&run, &batch)
            .await
            .expect("the same again");
    }
    // What is new in a batch is kept, whatever it is repeated with.
    let more = [
        metric("nan", 0, 10, f64::NAN),
        metric("nan", 1, 10, f64::NAN),
        metric("m", 1, 11, 0.5),
    ];
    log_metrics(subject, &run, &more).await;
    for one in metrics.iter().chain(&more) {
        expect_point(&mut seen, one);
    }
    seen.params.insert("p".to_owned(), "1".to_owned());
    seen.tags.insert("t".to_owned(), "v".to_owned());
    subject
        .store()
        .log_batch(&run, &Batch::default())
        .await
        .expect("an empty batch");
    expected.push((run.run_id, seen));
}

async fn values_at_the_edges(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "edges").await;
    let values = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        f64::MIN_POSITIVE,
        5e-324,
        -1.5,
        0.1 + 0.2,
        1e300,
        1e-300,
        123_456_789.123_456_78,
    ];
    let steps = [i64::MIN, -1, 0, 1, i64::MAX];
    let mut metrics = Vec::new();
    for (index, value) in (1..).zip(values) {
        metrics.push(metric("value", index, 1, value));
    }
    for step in steps {
        metrics.push(metric("step", step, 2, 1.0));
    }
    metrics.push(metric("time", 0, 0, 1.0));
    metrics.push(metric("time", 0, 253_402_300_799_000, 1.0));
    for key in [
        "日本/キー",
        "with space",
        "a:b",
        "a.b-c_d/e",
        &"ü".repeat(250),
    ] {
        metrics.push(metric(key, 3, 3, 3.0));
    }
    log_metrics(subject, &run, &metrics).await;
    for one in &metrics {
        expect_point(&mut seen, one);
    }
    expected.push((run.run_id, seen));
}

async fn the_latest_value(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "latest").await;
    // In one batch and over batches: the greatest of (step, timestamp, value), not the last.
    let first = [
        metric("a", 5, 1, 1.0),
        metric("a", 3, 9, 2.0),
        metric("b", 1, 1, 5.0),
        metric("b", 1, 1, 4.0),
    ];
    let second = [
        metric("a", 4, 9, 3.0),
        metric("b", 1, 2, -1.0),
        metric("c", 1, 1, f64::NAN),
    ];
    let third = [
        metric("c", 1, 1, -1.0),
        metric("c", 0, 9, 7.0),
        metric("a", 5, 1, 0.5),
    ];
    for batch in [&first[..], &second, &third] {
        log_metrics(subject, &run, batch).await;
        for one in batch {
            expect_point(&mut seen, one);
        }
    }
    assert_eq!(seen.latest["a"], Latest(1.0));
    assert_eq!(seen.latest["b"], Latest(-1.0));
    assert_eq!(seen.latest["c"], Latest(f64::NAN));
    expected.push((run.run_id, seen));
}

async fn params_are_written_once(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "params").await;
    let store = subject.store();
    let params = [
        param("lr", "0.1"),
        param("empty", ""),
        param("日本", "\"quoted\"\n✓ \\ \u{1}"),
        param("n", "1"),
    ];
    store
        .log_batch(
            &run,
            &Batch {
                params: &params,
                ..Batch::default()
            },
        )
        .await
        .expect("params");
    let changed = [param("n", "1"), param("lr", "0.2")];
    is_rejected(
        store
            .log_batch(
                &run,
                &Batch {
                    params: &changed,
                    ..Batch::default()
                },
            )
            .await,
        "lr",
    );
    for one in params {
        seen.params.insert(one.key, one.value);
    }
    expected.push((run.run_id, seen));
}

async fn tags_change(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "tags").await;
    let store = subject.store();
    for tags in [
        vec![
            tag("stage", "1"),
            tag("stage", "2"),
            tag("mlflow.note.content", "# é\n\n- ✓"),
        ],
        vec![
            tag("stage", "3"),
            tag("mlflow.runName", "renamed"),
            tag("given", "anew"),
        ],
    ] {
        store
            .log_batch(
                &run,
                &Batch {
                    tags: &tags,
                    ..Batch::default()
                },
            )
            .await
            .expect("tags");
        for one in tags {
            seen.tags.insert(one.key, one.value);
        }
    }
    seen.name = "renamed".to_owned();
    expected.push((run.run_id, seen));
}

async fn bad_names_are_rejected(subject: &dyn Subject, expected: &mut Expected) {
    let (run, seen) = start(subject, "bad names").await;
    let store = subject.store();
    for key in [
        "",
        "a;b",
        "a=b",
        "/a",
        "a//b",
        "../a",
        ".",
        "a/",
        &"x".repeat(251),
    ] {
        let metrics = [metric("good", 0, 0, 1.0), metric(key, 0, 0, 1.0)];
        is_rejected(
            store
                .log_batch(
                    &run,
                    &Batch {
                        metrics: &metrics,
                        ..Batch::default()
                    },
                )
                .await,
            "",
        );
        is_rejected(
            store
                .log_batch(
                    &run,
                    &Batch {
                        params: &[param(key, "v")],
                        ..Batch::default()
                    },
                )
                .await,
            "",
        );
        is_rejected(
            store
                .log_batch(
                    &run,
                    &Batch {
                        tags: &[tag(key, "v")],
                        ..Batch::default()
                    },
                )
                .await,
            "",
        );
    }
    let early = [metric("m", 0, -1, 1.0)];
    is_rejected(
        store
            .log_batch(
                &run,
                &Batch {
                    metrics: &early,
                    ..Batch::default()
                },
            )
            .await,
        "",
    );
    expected.push((run.run_id, seen));
}

async fn a_full_batch(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "full").await;
    let limits = subject.store().limits();
    assert!(
        limits.metrics >= 1000
            && limits.params >= 100
            && limits.tags >= 100
            && limits.total >= 1000
    );
    let metrics: Vec<Metric> = (0_i64..800)
        .zip(["a", "b", "c"].into_iter().cycle())
        .map(|(step, key)| metric(key, step, 7, step as f64))
        .collect();
    let params: Vec<Param> = (0..100)
        .map(|i| param(&format!("p{i}"), &"日".repeat(6000)))
        .collect();
    let tags: Vec<Tag> = (0..100)
        .map(|i| tag(&format!("t{i}"), &i.to_string()))
        .collect();
    let batch = Batch {
        metrics: &metrics,
        params: &params,
        tags: &tags,
    };
    subject
        .store()
        .log_batch(&run, &batch)
        .await
        .expect("a full batch");
    let thousand: Vec<Metric> = (0..1000).map(|step| metric("d", step, 7, 0.5)).collect();
    log_metrics(subject, &run, &thousand).await;
    for one in metrics.iter().chain(&thousand) {
        expect_point(&mut seen, one);
    }
    seen.params
        .extend(params.into_iter().map(|one| (one.key, one.value)));
    seen.tags
        .extend(tags.into_iter().map(|one| (one.key, one.value)));
    expected.push((run.run_id, seen));
}

async fn artifacts(subject: &dyn Subject, expected: &mut Expected) {
    let (run, mut seen) = start(subject, "artifacts").await;
    let store = subject.store();
    let home = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| {
        let path = home.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path
    };
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (small_file, large_file, empty_file) = (
        write("s", b"from a file"),
        write("l", &large),
        write("e", b""),
    );
    let mut put: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for (path, bytes) in [
        ("a.txt", &b"first"[..]),
        ("a.txt", b"second"),
        ("dir/sub dir/ü+名:前.txt", b"nested"),
        ("empty", b""),
        ("memory.bin", &large),
    ] {
        store
            .put_artifact(&run, path, ArtifactContent::Bytes(Cow::Borrowed(bytes)))
            .await
            .expect(path);
        put.insert(path, bytes.to_owned());
    }
    for (path, file, bytes) in [
        ("files/small", &small_file, &b"from a file"[..]),
        ("files/large", &large_file, &large),
        ("files/empty", &empty_file, b""),
    ] {
        store
            .put_artifact(&run, path, ArtifactContent::File(file))
            .await
            .expect(path);
        put.insert(path, bytes.to_owned());
    }
    for path in [
        "../out",
        "dir/../../out",
        "/tmp/out",
        "",
        "a//b",
        "dir/",
        "..\\out",
        ".",
    ] {
        is_rejected(
            store
                .put_artifact(&run, path, ArtifactContent::Bytes(Cow::Borrowed(b"x")))
                .await,
            "path",
        );
    }
    let missing = Path::new("/nonexistent/file");
    is_rejected(
        store
            .put_artifact(&run, "missing", ArtifactContent::File(missing))
            .await,
        "/nonexistent/file",
    );
    is_rejected(
        store
            .put_artifact(&run, "directory", ArtifactContent::File(home.path()))
            .await,
        "file",
    );
    seen.artifacts = put
        .into_iter()
        .map(|(path, bytes)| (path.to_owned(), bytes))
        .collect();
    expected.push((run.run_id, seen));
}

async fn what_is_not_there_blocks(subject: &dyn Subject) {
    let store = subject.store();
    let (run, _) = start(subject, "beside").await;
    let nobody = StoredRun {
        run_id: unique(),
        ..run
    };
    is_blocked(store.get_run(&nobody.run_id).await, &nobody.run_id);
    is_blocked(
        store
            .update_run(&nobody, RunStatus::Finished, Some(1))
            .await,
        &nobody.run_id,
    );
    let metrics = [metric("m", 0, 0, 1.0)];
    is_blocked(
        store
            .log_batch(
                &nobody,
                &Batch {
                    metrics: &metrics,
                    ..Batch::default()
                },
            )
            .await,
        &nobody.run_id,
    );
    is_blocked(
        store
            .experiment(&ExperimentRef::Id("123456789".to_owned()))
            .await,
        "123456789",
    );
    is_blocked(
        store
            .experiment(&ExperimentRef::Id("no number".to_owned()))
            .await,
        "",
    );
    is_blocked(
        store.experiment(&ExperimentRef::Name(String::new())).await,
        "empty",
    );
}

async fn a_deleted_experiment_blocks(subject: &dyn Subject) {
    let store = subject.store();
    let name = format!("deleted {}", unique());
    let id = store
        .experiment(&ExperimentRef::Name(name.clone()))
        .await
        .expect("an experiment");
    let key = unique();
    let new = NewRun {
        key: &key,
        experiment_id: &id,
        name: "r",
        user_id: "",
        start_time_ms: 1,
        tags: &[],
    };
    let run = store.create_run(&new).await.expect("a run");
    subject.delete_experiment(&id);
    let key = unique();
    is_blocked(store.create_run(&NewRun { key: &key, ..new }).await, "");
    is_blocked(
        store.experiment(&ExperimentRef::Name(name.clone())).await,
        &name,
    );
    is_blocked(store.experiment(&ExperimentRef::Id(id)).await, "deleted");
    is_blocked(store.get_run(&run.run_id).await, "deleted");
    let metrics = [metric("m", 0, 0, 1.0)];
    is_blocked(
        store
            .log_batch(
                &run,
                &Batch {
                    metrics: &metrics,
                    ..Batch::default()
                },
            )
            .await,
        "",
    );
}
