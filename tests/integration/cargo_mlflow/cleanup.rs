//! `cleanup --permanent`: deletes runs for good, as `mlflow gc` does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use serde_json::Value;

use super::run;
use super::runs::Demo;
use crate::support::command_line::cargo_mlflow;
use crate::support::mlflow::{python, python_command};
use crate::support::program::{Folder, one};

/// Script that adds to the file `argv[1]` what newer MLflow releases tie to runs: datasets, logged models with
/// metrics, traces, assessments, and issues. One set belongs to the run `lr-300`, another to `lr-1`.
const ADD_NEWER_RECORDS: &str = r#"
import os, sys, mlflow
import pandas
os.chdir(os.path.dirname(sys.argv[1]))
uri = "sqlite:///" + sys.argv[1]
mlflow.set_tracking_uri(uri)
mlflow.set_experiment("demo")
client = mlflow.MlflowClient()
for name in ["lr-300", "lr-1"]:
    [run] = mlflow.search_runs(filter_string=f"run_name = '{name}'", output_format="list")
    with mlflow.start_run(run_id=run.info.run_id):
        data = mlflow.data.from_pandas(pandas.DataFrame({"a": [1, 2]}), name=f"data-{name}")
        mlflow.log_input(data, context="training")
        model = mlflow.create_external_model(name=f"model-{name}")
        mlflow.log_metric("accuracy", 0.5, step=1, model_id=model.model_id)
        with mlflow.start_span(name="predict") as span:
            span.set_inputs({"x": 1})
        trace = span.trace_id
        mlflow.flush_trace_async_logging()
        mlflow.log_feedback(trace_id=trace, name="good", value=True)
"#;

/// Script that starts the command `argv[2:]` in a pseudo-terminal, and waits for its question. It then resumes the
/// run `lr-300` in the file `argv[1]`, answers yes, and prints what the command
/// writes.
const RESUME_AND_ANSWER: &str = r#"
import os, pty, sqlite3, sys
process, terminal = pty.fork()
if process == 0:
    os.execv(sys.argv[2], sys.argv[2:])
output = b""
has_answered = False
while True:
    try:
        part = os.read(terminal, 65536)
    except OSError:
        break
    if not part:
        break
    output += part
    if not has_answered and b"[y/N]" in output:
        has_answered = True
        with sqlite3.connect(sys.argv[1]) as file:
            file.execute("UPDATE runs SET status = 'RUNNING', end_time = NULL WHERE name = 'lr-300'")
        os.write(terminal, b"y\n")
_, status = os.waitpid(process, 0)
sys.stdout.buffer.write(output.replace(b"\r\n", b"\n"))
sys.exit(os.waitstatus_to_exitcode(status))
"#;

/// Returns the names of all tables, and of each its rows, sorted.
fn tables(file: &Connection) -> Vec<(String, Vec<String>)> {
    let mut names = file
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        .unwrap();
    let names = names.query_map([], |row| row.get(0)).unwrap();
    names
        .map(|name: Result<String, _>| {
            let name = name.unwrap();
            let mut query = file.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
            let columns = query.column_count();
            let rows = query.query_map([], |row| {
                let cells: Result<Vec<Cell>, _> =
                    (0..columns).map(|index| row.get(index)).collect();
                cells.map(|cells| format!("{cells:?}"))
            });
            let mut rows: Vec<String> = rows.unwrap().collect::<Result<_, _>>().unwrap();
            rows.sort();
            (name, rows)
        })
        .collect()
}

/// Returns the paths of all files and folders below a directory.
fn paths_below(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(paths_below(&path));
        }
        found.insert(path);
    }
    found
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_directory(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Returns the names of the tables in which a run with this id is mentioned.
fn tables_with(file: &Connection, run_id: &str) -> Vec<String> {
    let is_with = |(_, rows): &(String, Vec<String>)| rows.iter().any(|row| row.contains(run_id));
    let tables = tables(file).into_iter().filter(is_with);
    tables.map(|(name, _)| name).collect()
}

#[test]
fn the_file_is_afterwards_as_mlflow_gc_leaves_it() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let [file, copy] = ["mlflow.db", "copy.db"].map(|name| folder.path().join(name));
    python(ADD_NEWER_RECORDS, &[file.to_str().unwrap()]);
    let cleanup = ["cleanup", "--days", "0", "-f", "run_name LIKE 'lr-%00'"];
    assert_eq!(
        run(&folder, &[&cleanup[..], &["--yes"]].concat()).code,
        Some(0)
    );
    let deleted = run(&folder, &["runs", "--deleted", "--json"]);
    let deleted: Value = serde_json::from_str(&deleted.stdout).unwrap();
    let run_id = deleted[0]["run_id"].as_str().unwrap();
    assert_eq!(deleted[0]["name"], "lr-300");
    let with = tables_with(&folder.database(), run_id);
    for table in [
        "inputs",
        "latest_metrics",
        "logged_model_metrics",
        "logged_models",
        "metrics",
        "params",
        "runs",
        "tags",
        "trace_request_metadata",
    ] {
        assert!(with.iter().any(|with| with == table), "{table}: {with:?}");
    }
    let vacuum = format!("VACUUM INTO '{}'", copy.display());
    folder.database().execute_batch(&vacuum).unwrap();
    let artifacts = folder.path().join("mlruns");
    // A run without files has no directory yet.
    let own = PathBuf::from(deleted[0]["artifact_uri"].as_str().unwrap());
    fs::create_dir_all(own.join("model")).unwrap();
    fs::write(own.join("model/weights.txt"), "1").unwrap();
    let before = folder.path().join("before");
    copy_directory(&artifacts, &before);

    let permanent = [&cleanup[..], &["--deleted", "--permanent"]].concat();
    let looked = run(&folder, &[&permanent[..], &["--dry-run"]].concat());
    assert_eq!(looked.stderr, "1 run would be deleted for good\n");
    assert!(own.join("model/weights.txt").exists());
    let done = run(&folder, &[&permanent[..], &["--yes"]].concat());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.starts_with("1 run deleted for good"),
        "{}",
        done.stderr
    );
    assert!(!own.parent().unwrap().exists(), "the folder is empty");
    let after = paths_below(&artifacts);

    // MLflow does the same to the copy.
    fs::remove_dir_all(&artifacts).unwrap();
    fs::rename(&before, &artifacts).unwrap();
    let uri = format!("sqlite:///{}", copy.display());
    let collected = python_command()
        .args([
            "-m",
            "mlflow",
            "gc",
            "--backend-store-uri",
            &uri,
            "--tracking-uri",
            &uri,
        ])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        collected.status.success(),
        "{}",
        String::from_utf8_lossy(&collected.stderr)
    );
    let said = String::from_utf8_lossy(&collected.stdout);
    assert!(said.contains(run_id), "{said}");
    // MLflow leaves the folder of the run, which is empty.
    fs::remove_dir(own.parent().unwrap()).unwrap();
    assert_eq!(after, paths_below(&artifacts));
    let (ours, theirs) = (
        tables(&folder.database()),
        tables(&Connection::open(&copy).unwrap()),
    );
    assert!(ours.len() > 40, "{}", ours.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn active_runs_are_deleted_for_good_at_once() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let failed = ["cleanup", "--days", "0", "-f", "status = 'FAILED'"];
    let unasked = run(&folder, &[&failed[..], &["--permanent"]].concat());
    assert_eq!(unasked.code, Some(2));
    assert!(
        unasked.stderr.contains("give --yes to delete"),
        "{}",
        unasked.stderr
    );
    let bounded = [
        "cleanup",
        "--days",
        "0",
        "--permanent",
        "--yes",
        "--max",
        "3",
    ];
    let bounded = run(&folder, &bounded);
    assert_eq!(bounded.code, Some(1));
    assert!(
        bounded.stderr.contains("nothing was deleted"),
        "{}",
        bounded.stderr
    );
    let file = folder.database();
    let run_id: String = file
        .query_row(
            "SELECT run_uuid FROM runs WHERE name = 'lr-300'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let with = tables_with(&file, &run_id);
    assert_eq!(
        with,
        ["latest_metrics", "metrics", "params", "runs", "tags"]
    );
    let done = run(
        &folder,
        &[&failed[..], &["--permanent", "--yes", "--json"]].concat(),
    );
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let deleted: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(deleted[0]["run_id"], run_id);
    assert_eq!(tables_with(&file, &run_id), [""; 0]);
    let rest = run(&folder, &["runs", "--json"]);
    let rest: Value = serde_json::from_str(&rest.stdout).unwrap();
    assert_eq!(rest.as_array().unwrap().len(), 6);
}

/// The path of the artifacts comes from the file, which somebody else may have written.
#[test]
fn nothing_is_deleted_beside_the_directory_of_the_run() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let precious = folder.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("thesis.txt"), "1").unwrap();
    let file = folder.database();
    let changed = file.execute(
        "UPDATE runs SET artifact_uri = ?1 WHERE name = 'lr-300'",
        [precious.to_str().unwrap()],
    );
    assert_eq!(changed, Ok(1));
    let failed = ["cleanup", "--days", "0", "-f", "status = 'FAILED'"];
    let refused = run(&folder, &[&failed[..], &["--permanent", "--yes"]].concat());
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("no part of this path is the id of the run")
            && refused
                .stderr
                .contains("0 runs deleted for good before this"),
        "{}",
        refused.stderr
    );
    assert!(precious.join("thesis.txt").exists());
    let left: u32 = file
        .query_row(
            "SELECT count(*) FROM runs WHERE name = 'lr-300'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 1);
}

#[test]
fn a_server_cannot_delete_for_good() {
    let demo = Demo::shared();
    let [_, uri] = demo.uris();
    let permanent = [
        "cleanup",
        "--days",
        "0",
        "-e",
        "demo",
        "--permanent",
        "--yes",
    ];
    let refused = run(&demo.folder, &[&permanent[..], &uri].concat());
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("Run `mlflow gc`"),
        "{}",
        refused.stderr
    );
    let rest = run(
        &demo.folder,
        &[&["runs", "-e", "demo", "--json"][..], &uri].concat(),
    );
    let rest: Value = serde_json::from_str(&rest.stdout).unwrap();
    assert_eq!(rest.as_array().unwrap().len(), 7);
}

#[test]
fn a_run_that_is_resumed_during_the_question_stays() {
    for permanent in [&["--permanent"][..], &[]] {
        let folder = Folder::new();
        assert_eq!(run(&folder, &["demo"]).code, Some(0));
        let file = folder.path().join("mlflow.db");
        let python = python_command();
        let python = python.get_program().to_str().expect("UTF-8");
        let script = ["-c", RESUME_AND_ANSWER, file.to_str().expect("UTF-8")];
        let cleanup = [cargo_mlflow(), "cleanup", "--days", "0"];
        let filter = ["-f", "run_name LIKE 'lr-%'"];
        let arguments = [&script[..], &cleanup, &filter, permanent].concat();
        let before: u32 = one(
            &folder.database(),
            "SELECT count(*) FROM runs WHERE name LIKE 'lr-%'",
        );
        assert!(before > 1);
        let ended = folder.run(python, &arguments, &[("NO_COLOR", "1")]);
        assert_eq!(ended.code, Some(0), "{}", ended.stdout);
        let text = "`lr-300` is left out: it has changed since it was listed";
        assert_eq!(ended.stdout.matches(text).count(), 1, "{}", ended.stdout);
        let count = format!("{} runs deleted", before - 1);
        assert!(ended.stdout.contains(&count), "{}", ended.stdout);
        let left = "SELECT group_concat(name) FROM runs WHERE name LIKE 'lr-%' AND lifecycle_stage = 'active'";
        assert_eq!(one::<String>(&folder.database(), left), "lr-300");
    }
}

#[test]
fn a_cleanup_as_json_shows_the_values_of_its_runs() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let read = |arguments: &[&str]| -> Value {
        let ended = run(&folder, arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let runs = read(&["runs", "--json"]);
    assert!(runs[0]["metrics"]["train/loss"].is_object(), "{runs}");
    let cleanup = ["cleanup", "--days", "0", "--json"];
    assert_eq!(read(&[&cleanup[..], &["--dry-run"]].concat()), runs);
    assert_eq!(read(&[&cleanup[..], &["--yes"]].concat()), runs);
}
