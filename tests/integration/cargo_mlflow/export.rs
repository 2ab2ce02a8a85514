//! Exports, read back by other programs.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::run;
use super::runs::Demo;
use super::terminal::run_on_terminal;
use crate::support::command_line::cargo_mlflow;
use crate::support::mlflow::python;
use crate::support::program::Folder;

/// Script that prints, as JSON, the columns of a Parquet file, their types, its rows, and the number of its row
/// groups. NaN and infinities become texts.
const READ_PARQUET: &str = r#"
import json, math, sys
import pyarrow.parquet
file = pyarrow.parquet.ParquetFile(sys.argv[1])
table = file.read()
def plain(value):
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.isoformat() if hasattr(value, "isoformat") else value
rows = [{key: plain(value) for key, value in row.items()} for row in table.to_pylist()]
types = {field.name: str(field.type) for field in table.schema}
print(json.dumps({"columns": list(types), "types": types, "rows": rows, "groups": file.num_row_groups}))
"#;

/// Reads a Parquet file of the folder by Python.
fn read_parquet(folder: &Folder, name: &str) -> Value {
    let path = folder.path().join(name);
    let read = python(READ_PARQUET, &[path.to_str().expect("UTF-8")]);
    serde_json::from_str(&read).expect("JSON")
}

#[test]
fn runs_are_exported_as_parquet_with_types() {
    let demo = Demo::shared();
    let choice = ["export", "-e", "demo", "-o", "params.learning_rate ASC"];
    let to = ["--format", "parquet", "--output", "runs.parquet"];
    for uri in &demo.uris() {
        let ended = run(&demo.folder, &[&choice[..], &to, uri].concat());
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), "7 runs\n"));
        let read = read_parquet(&demo.folder, "runs.parquet");
        for (column, kind) in [
            ("run_id", "string"),
            ("status", "string"),
            ("start_time_ms", "timestamp[ms, tz=UTC]"),
            ("end_time_ms", "timestamp[ms, tz=UTC]"),
            ("duration_ms", "int64"),
            ("params.learning_rate", "string"),
            ("metrics.val/loss", "double"),
            ("tags.model", "string"),
        ] {
            assert_eq!(read["types"][column], kind, "{column}");
        }
        // CSV has the same columns and values.
        let csv = run(&demo.folder, &[&choice[..], uri].concat()).stdout;
        let mut lines = csv.lines();
        let header: Vec<&str> = lines.next().unwrap().split(',').collect();
        assert_eq!(json!(header), read["columns"]);
        let rows = read["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 7);
        for (row, line) in rows.iter().zip(lines) {
            assert_eq!(row["run_id"], line.split(',').next().unwrap());
        }
        assert_eq!(rows[5]["name"], "lr-300");
        assert_eq!(rows[5]["metrics.train/loss"], "nan", "NaN is kept");
        assert_eq!(rows[5]["metrics.val/loss"], Value::Null);
        assert_eq!(rows[6]["params.seed"], Value::Null);
    }
}

#[test]
fn points_are_exported_as_parquet_with_types() {
    let demo = Demo::shared();
    let arguments = ["export", "-e", "demo", "-m", "train/loss", "-f"];
    let filter = [
        "params.learning_rate >= 1",
        "-o",
        "params.learning_rate ASC",
    ];
    let choice = [&arguments[..], &filter].concat();
    let to = ["--format", "parquet", "--output", "points.parquet"];
    for uri in &demo.uris() {
        let ended = run(&demo.folder, &[&choice[..], &to, uri].concat());
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), "61 points\n")
        );
        let read = read_parquet(&demo.folder, "points.parquet");
        assert_eq!(
            read["types"],
            json!({
                "run_id": "string",
                "run_name": "string",
                "metric": "string",
                "step": "int64",
                "value": "double",
                "timestamp_ms": "timestamp[ms, tz=UTC]",
            })
        );
        // JSON has the same values.
        let ended = run(&demo.folder, &[&choice[..], &["--json"], uri].concat());
        let points: Value = serde_json::from_str(&ended.stdout).unwrap();
        let (points, rows) = (points.as_array().unwrap(), read["rows"].as_array().unwrap());
        assert_eq!((points.len(), rows.len()), (61, 61));
        for (point, row) in points.iter().zip(rows).take(60) {
            for column in ["run_id", "run_name", "metric", "step", "value"] {
                assert_eq!(row[column], point[column]);
            }
        }
        assert_eq!(rows[60]["value"], "nan");
    }
}

/// A row group is written before the next one is prepared.
#[test]
fn a_long_history_is_written_in_groups() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let file = folder.database();
    let long = "WITH RECURSIVE steps(step) AS (SELECT 0 UNION ALL SELECT step + 1 FROM steps WHERE step < 599999)
        INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
        SELECT 'long', step / 2.0, 1700000000000 + step, (SELECT run_uuid FROM runs WHERE name = 'lr-1'), step, 0
        FROM steps";
    assert_eq!(file.execute(long, []), Ok(600_000));
    let latest = "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)
        SELECT key, value, timestamp, step, is_nan, run_uuid FROM metrics WHERE key = 'long' AND step = 599999";
    assert_eq!(file.execute(latest, []), Ok(1));
    let to = ["--format", "parquet", "--output", "long.parquet"];
    let ended = run(&folder, &[&["export", "-m", "long"][..], &to].concat());
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), "600,000 points\n")
    );
    let count = r#"
import sys, pyarrow.parquet
file = pyarrow.parquet.ParquetFile(sys.argv[1])
table = file.read(["step", "value", "timestamp_ms"]).to_pandas()
print(file.num_row_groups, len(table), table["step"].is_monotonic_increasing, table["value"].sum())
"#;
    let path = folder.path().join("long.parquet");
    let counted = python(count, &[path.to_str().unwrap()]);
    assert_eq!(counted.trim(), "3 600000 True 89999850000.0");
}

#[test]
fn an_export_has_at_most_as_many_runs_as_asked_for() {
    let demo = Demo::shared();
    for ended in demo.both(&["export", "-e", "demo", "--limit", "3"]) {
        assert_eq!(
            (ended.code, ended.stdout.lines().count()),
            (Some(0), 4),
            "{}",
            ended.stderr
        );
    }
    let points = [
        "export", "-e", "demo", "-m", "val/loss", "--limit", "1", "-f",
    ];
    for ended in demo.both(&[&points[..], &["params.seed = '1'"]].concat()) {
        assert_eq!(
            (ended.code, ended.stdout.lines().count()),
            (Some(0), 61),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn parquet_goes_to_a_file_or_pipe_only() {
    let demo = Demo::shared();
    let arguments = ["export", "-e", "demo", "--format", "parquet"];
    let ended = run_on_terminal(&demo.folder, 80, &arguments, &[("NO_COLOR", "1")]);
    assert_eq!(ended.code, Some(2));
    assert_eq!(
        ended.stdout,
        "error: a terminal cannot show Parquet: give --output FILE\n"
    );
    let both = run(&demo.folder, &[&arguments[..], &["--json"]].concat());
    assert_eq!(both.code, Some(2), "{}", both.stderr);
    assert!(
        both.stderr.contains("exclude each other"),
        "{}",
        both.stderr
    );
    // An earlier file stays if the export fails.
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    fs::write(folder.path().join("runs.parquet"), "earlier").unwrap();
    let to = ["--output", "runs.parquet", "-f", "nonsense"];
    let failed = run(&folder, &[&arguments[..], &to].concat());
    assert_eq!(failed.code, Some(2), "{}", failed.stderr);
    assert_eq!(
        fs::read_to_string(folder.path().join("runs.parquet")).unwrap(),
        "earlier"
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        4,
        "no draft is left"
    );
}

/// A file whose name a draft might take belongs to somebody else.
#[test]
fn an_export_leaves_no_draft_and_takes_no_other_file() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let other = folder.path().join("runs.csv.part");
    fs::write(&other, "precious").unwrap();
    let before = names(&folder);
    let export = ["export", "-e", "demo", "--output", "runs.csv"];
    let ended = run(&folder, &export);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut expected = before.clone();
    expected.insert("runs.csv".to_owned());
    assert_eq!(names(&folder), expected);
    let complete = fs::read(folder.path().join("runs.csv")).unwrap();

    let failed = run(&folder, &[&export[..], &["-f", "params.x >="]].concat());
    assert_ne!(failed.code, Some(0));
    assert_eq!(names(&folder), expected);

    // A server that accepts connections and never answers keeps the export waiting.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", silent.local_addr().unwrap());
    let waiting = [&export[..], &["--tracking-uri", &uri]].concat();
    let live = folder.start(cargo_mlflow(), &waiting, &[]);
    let connection = silent.accept().unwrap();
    let has_draft = names(&folder)
        .iter()
        .any(|name| name.starts_with(".runs.csv."));
    assert!(has_draft, "{:?}", names(&folder));
    let id = Pid::from_raw(i32::try_from(live.id()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let ended = live.end();
    drop(connection);
    assert_eq!(ended.code, None, "the signal ends it: {}", ended.stderr);
    assert_eq!(names(&folder), expected);
    assert_eq!(fs::read(folder.path().join("runs.csv")).unwrap(), complete);
    assert_eq!(fs::read(other).unwrap(), b"precious");
}

/// Returns the names of the exports in the folder, complete or not.
fn names(folder: &Folder) -> BTreeSet<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("runs.csv"))
        .collect()
}
