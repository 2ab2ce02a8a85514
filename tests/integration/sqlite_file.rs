//! SQLite file that the library shares with MLflow and with other processes.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mlflow::store::{
    Batch, ExperimentRef, Metric, NewRun, RunStatus, SqliteStore, Store, StoreError, StoredRun,
};
use rusqlite::Connection;

use crate::support::mlflow::{python, read_file};
use crate::support::{block_on, unique};

fn store(file: &Path) -> SqliteStore {
    SqliteStore::new(file, file.with_file_name("mlruns"))
}

/// Repeats a call while the file is locked, as the shipper does.
fn insist<T>(mut call: impl FnMut() -> Result<T, StoreError>) -> T {
    loop {
        match call() {
            Ok(value) => return value,
            Err(StoreError::Busy { .. } | StoreError::Unavailable { .. }) => thread::yield_now(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn start_run(store: &SqliteStore, experiment: &str) -> StoredRun {
    let experiment = ExperimentRef::Name(experiment.to_owned());
    let id = insist(|| block_on(store.experiment(&experiment)));
    let key = unique();
    let run = NewRun {
        key: &key,
        experiment_id: &id,
        name: "r",
        user_id: "",
        start_time_ms: 1,
        tags: &[],
    };
    insist(|| block_on(store.create_run(&run)))
}

fn points(key: &str, steps: std::ops::Range<i64>) -> Vec<Metric> {
    let point = |step| Metric {
        key: key.into(),
        value: 0.5,
        timestamp_ms: step,
        step,
    };
    steps.map(point).collect()
}

fn log_points(store: &SqliteStore, run: &StoredRun, metrics: &[Metric]) {
    let batch = Batch {
        metrics,
        ..Batch::default()
    };
    insist(|| block_on(store.log_batch(run, &batch)));
}

fn log(store: &SqliteStore, run: &StoredRun, key: &str, steps: std::ops::Range<i64>) {
    log_points(store, run, &points(key, steps));
}

fn open(file: &Path) -> Connection {
    Connection::open(file).expect("the file")
}

fn count(file: &Path, key: &str) -> i64 {
    let query = "SELECT COUNT(DISTINCT step) FROM metrics WHERE key = ?1";
    open(file)
        .query_row(query, [key], |row| row.get(0))
        .expect("a count")
}

#[test]
fn a_new_file_is_what_every_release_can_open() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("mlflow.db");
    start_run(&store(&file), "first");
    let file = open(&file);
    let text = |query: &str| {
        file.query_row(query, [], |row| row.get::<_, String>(0))
            .expect("a row")
    };
    assert_eq!(
        text("SELECT version_num FROM alembic_version"),
        "7f2a7d5fae7d"
    );
    assert_eq!(
        text("SELECT group_concat(experiment_id || '=' || name) FROM experiments"),
        "0=Default,1=first"
    );
    let root = home.path().join("mlruns/0");
    assert_eq!(
        text("SELECT artifact_location FROM experiments WHERE experiment_id = 0"),
        root.to_string_lossy()
    );
    assert_eq!(
        text("SELECT CAST(version AS TEXT) FROM mlflow_runtime_format"),
        "1"
    );
    assert_eq!(text("PRAGMA journal_mode"), "delete");
    assert_eq!(text("PRAGMA integrity_check"), "ok");
}

#[test]
fn mlflow_and_the_store_write_in_turn() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("mlflow.db");
    let store = store(&file);
    let run = start_run(&store, "shared");
    log(&store, &run, "m", 0..3);
    // MLflow migrates the file and then uses it.
    const SCRIPT: &str = r#"
import sys
from mlflow import MlflowClient
client = MlflowClient("sqlite:///" + sys.argv[1])
run_id = sys.argv[2]
client.log_metric(run_id, "m", 1.5, timestamp=100, step=100)
client.create_experiment("made by mlflow")
print(client.create_run("0", run_name="python").info.run_id)
"#;
    let id = python(SCRIPT, &[file.to_str().expect("UTF-8"), &run.run_id]);
    log(&store, &run, "m", 100..103);
    let theirs = block_on(store.get_run(id.trim())).expect("MLflow's run");
    log(&store, &theirs, "from rust", 0..2);
    let made = block_on(store.experiment(&ExperimentRef::Name("made by mlflow".to_owned())));
    assert_eq!(made.as_deref(), Ok("2"));
    let other = start_run(&store, "made after the migration");
    log(&store, &other, "m", 0..1);
    let seen = read_file(&file, &[run.run_id, theirs.run_id, other.run_id]);
    let steps = |index: usize, key: &str| {
        seen[index].points[key]
            .iter()
            .map(|point| point.step)
            .collect::<Vec<_>>()
    };
    assert_eq!(steps(0, "m"), [0, 1, 2, 100, 100, 101, 102]);
    assert_eq!(steps(1, "from rust"), [0, 1]);
    assert_eq!(steps(2, "m"), [0]);
}

#[test]
fn a_writer_loses_nothing_while_mlflow_migrates_the_file() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("mlflow.db");
    let store = store(&file);
    let run = start_run(&store, "live");
    log(&store, &run, "before", 0..20_000);
    let run_ids = [run.run_id.clone()];
    let written = thread::scope(|scope| {
        let migration = scope.spawn(|| read_file(&file, &run_ids));
        let mut written = 0;
        while !migration.is_finished() {
            log(&store, &run, "during", written..written + 5);
            written += 5;
            // The pauses are those of a training. Without them MLflow would never get the lock.
            thread::sleep(Duration::from_millis(10));
        }
        migration.join().expect("a migration");
        written
    });
    let revision: String = open(&file)
        .query_row("SELECT version_num FROM alembic_version", [], |row| {
            row.get(0)
        })
        .expect("a revision");
    assert_ne!(revision, "7f2a7d5fae7d");
    log(&store, &run, "after", 0..5);
    assert!(written > 0);
    assert_eq!(
        (
            count(&file, "before"),
            count(&file, "during"),
            count(&file, "after")
        ),
        (20_000, written, 5)
    );
}

const WRITERS: usize = 4;
const BATCHES: i64 = 25;

#[test]
fn threads_that_create_and_write_one_file_lose_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("mlflow.db");
    let barrier = Barrier::new(WRITERS);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (file, barrier) = (&file, &barrier);
            scope.spawn(move || {
                barrier.wait();
                write_batches(file, &format!("writer {writer}"));
            });
        }
    });
    all_is_there(&file);
}

fn write_batches(file: &Path, key: &str) {
    let store = store(file);
    let run = start_run(&store, "contended");
    for batch in 0..BATCHES {
        log(&store, &run, key, batch * 10..(batch + 1) * 10);
    }
}

fn all_is_there(file: &Path) {
    for writer in 0..WRITERS {
        assert_eq!(
            count(file, &format!("writer {writer}")),
            BATCHES * 10,
            "writer {writer}"
        );
    }
    let experiments: String = open(file)
        .query_row("SELECT group_concat(name) FROM experiments", [], |row| {
            row.get(0)
        })
        .expect("the experiments");
    assert_eq!(experiments, "Default,contended");
}

#[test]
fn processes_that_create_and_write_one_file_lose_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("mlflow.db");
    let children: Vec<_> = (0..WRITERS)
        .map(|writer| {
            Command::new(env::current_exe().expect("this program"))
                .args(["--exact", "sqlite_file::as_a_writing_process", "--ignored"])
                .env("WRITE_TO", &file)
                .env("WRITE_AS", format!("writer {writer}"))
                .stdout(Stdio::null())
                .spawn()
                .expect("a process")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("its status").success());
    }
    all_is_there(&file);
}

#[test]
#[ignore = "a part of the test above, run by it in processes of its own"]
fn as_a_writing_process() {
    let file = env::var_os("WRITE_TO").expect("WRITE_TO");
    write_batches(Path::new(&file), &env::var("WRITE_AS").expect("WRITE_AS"));
}

#[test]
fn a_lock_is_waited_for_but_not_long() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("mlflow.db");
    let store = store(&file);
    let run = start_run(&store, "locked");
    let other = open(&file);
    other.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    let metrics = [Metric {
        key: "m".into(),
        value: 1.0,
        timestamp_ms: 1,
        step: 1,
    }];
    let batch = Batch {
        metrics: &metrics,
        ..Batch::default()
    };
    match block_on(store.log_batch(&run, &batch)) {
        Err(StoreError::Busy { reason }) => {
            assert!(reason.contains("locked"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    other.execute_batch("ROLLBACK").expect("the lock's end");
    assert_eq!(block_on(store.log_batch(&run, &batch)), Ok(()));
    assert_eq!(count(&file, "m"), 1);
}

/// Regression: other processes waited for five seconds, and then failed because the database was locked.
#[test]
fn others_get_the_lock_while_a_backlog_is_written() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("mlflow.db");
    start_run(&store(&file), "others");
    let (batches, done) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let backlog = || {
            let store = store(&file);
            let run = start_run(&store, "backlog");
            // The batches are made before the first one is written, because the lock would be free while they
            // are made.
            let backlog: Vec<_> = (0..20)
                .map(|at| points("m", at * 50_000..(at + 1) * 50_000))
                .collect();
            for metrics in backlog.iter().cycle() {
                log_points(&store, &run, metrics);
                batches.fetch_add(1, Ordering::Relaxed);
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // The shipper makes the same pause between batches.
                thread::sleep(store.gap());
            }
        };
        let writing = scope.spawn(backlog);
        let other = open(&file);
        other
            .busy_timeout(Duration::from_secs(5))
            .expect("a setting");
        let write = |before| {
            while batches.load(Ordering::Relaxed) == before {
                thread::yield_now();
            }
            other.execute("UPDATE experiments SET last_update_time = 1", [])
        };
        let written: Vec<_> = (0..5)
            .map(|_| write(batches.load(Ordering::Relaxed)))
            .collect();
        done.store(true, Ordering::Relaxed);
        writing.join().expect("a writer");
        assert!(written.iter().all(Result::is_ok), "{written:?}");
    });
}

/// Regression: only batches counted towards the pause, so that thousands of short runs kept the lock from
/// other processes.
#[test]
fn others_get_the_lock_while_many_small_runs_are_written() {
    let home = tempfile::tempdir().expect("a directory");
    let store = store(&home.path().join("mlflow.db"));
    let begun = Instant::now();
    while store.gap().is_zero() {
        let run = start_run(&store, "small");
        block_on(store.update_run(&run, RunStatus::Finished, Some(2))).expect("an end");
        assert!(begun.elapsed() < Duration::from_secs(60), "never");
    }
    assert!(store.gap().is_zero(), "once");
}

#[test]
fn a_file_that_was_moved_away_is_not_written_any_more() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("mlflow.db");
    let store = store(&file);
    let run = start_run(&store, "moved");
    fs::rename(&file, home.path().join("kept.db")).expect("a move");
    let metrics = [Metric {
        key: "m".into(),
        value: 1.0,
        timestamp_ms: 1,
        step: 1,
    }];
    let logged = block_on(store.log_batch(
        &run,
        &Batch {
            metrics: &metrics,
            ..Batch::default()
        },
    ));
    assert!(
        matches!(logged, Err(StoreError::Missing { .. })),
        "{logged:?}"
    );
    // A run that starts now gets a new file at the expected path.
    let run = start_run(&store, "moved");
    log(&store, &run, "m", 0..1);
    assert_eq!(count(&file, "m"), 1);
}

#[test]
fn places_where_no_file_can_be_say_what_to_do() {
    let home = tempfile::tempdir().expect("a directory");
    let text = home.path().join("notes.txt");
    fs::write(
        &text,
        "not a database, and longer than the header of one".repeat(10),
    )
    .expect("a file");
    let foreign = home.path().join("foreign.db");
    open(&foreign)
        .execute_batch("CREATE TABLE songs (title TEXT)")
        .expect("a table");
    let old = home.path().join("old.db");
    open(&old)
        .execute_batch(
            "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('451aebb31d03');
             CREATE TABLE experiments (experiment_id INTEGER); CREATE TABLE runs (run_uuid TEXT);
             CREATE TABLE metrics (key TEXT)",
        )
        .expect("tables");
    for (file, words) in [
        (home.path().to_owned(), "is a directory"),
        (text.clone(), "is not a SQLite file"),
        (text.join("mlflow.db"), "cannot create the directory"),
        (foreign, "of another program"),
        (old, "mlflow db upgrade"),
    ] {
        match block_on(store(&file).experiment(&ExperimentRef::Name("e".to_owned()))) {
            Err(StoreError::Blocked {
                reason,
                everything: true,
            }) if reason.contains(words) => {
                let name = file.file_name().expect("a name").to_string_lossy();
                assert!(
                    words.contains("create") || reason.contains(&*name),
                    "{reason}"
                );
            }
            other => panic!("{}: expected `{words}`, got {other:?}", file.display()),
        }
    }
    assert!(
        fs::read_to_string(&text)
            .expect("the file")
            .starts_with("not a database")
    );
}
