//! `import`: files that other trackers have written reach a SQLite file and a server, each point once.
//!
//! `tests/fixtures/import/make.py` has logged what the tests expect.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{NOWHERE, json as output_of, run};
use crate::support::command_line::cargo_mlflow;
use crate::support::mlflow::{Server, read_file};
use crate::support::program::{Ended, Folder, one};
use crate::support::seen::{Point, Seen};

/// Time of the first point that `make.py` logs, in ms.
const START: i64 = 1_700_000_000_000;

/// Copies a folder of the fixtures into the folder of a test.
fn fixture(folder: &Folder, name: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/import");
    let to = folder.path().join(name);
    copy_all(&from.join(name), &to);
    to
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Returns all files below a folder, in the order of their paths.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Returns the only file below a folder whose path contains a text.
fn file_with(folder: &Path, text: &str) -> PathBuf {
    let mut files = files_below(folder);
    files.retain(|file| file.to_str().unwrap().contains(text));
    assert_eq!(files.len(), 1, "{text}: {files:?}");
    files.swap_remove(0)
}

/// Returns the ids of imported runs by their names.
fn ids(report: &Value) -> BTreeMap<String, String> {
    { report["runs"].as_array().expect("runs") }
        .iter()
        .map(|run| {
            let text = |field: &str| run[field].as_str().expect(field).to_owned();
            (text("name"), text("run_id"))
        })
        .collect()
}

/// Imports into a file and into a server, twice each. Returns what MLflow's clients read back from each, by name.
fn import_everywhere(folder: &Folder, arguments: &[&str]) -> [BTreeMap<String, Seen>; 2] {
    let server = Server::shared();
    let file = folder.path().join("mlflow.db");
    let file_uri = format!("sqlite:///{}", file.display());
    let import = |uri: &str| {
        let arguments = [&["import"], arguments, &["--tracking-uri", uri]].concat();
        let first = output_of(folder, &arguments);
        for run in first["runs"].as_array().unwrap() {
            assert_eq!(run["points"], run["new_points"], "{run}");
        }
        let again = output_of(folder, &arguments);
        assert_eq!(ids(&first), ids(&again));
        for run in again["runs"].as_array().unwrap() {
            assert_eq!(run["new_points"], 0, "{run}");
        }
        ids(&first)
    };
    let of_server = import(server.url());
    let client =
        mlflow::blocking::Client::with_config(mlflow::Config::new().tracking_uri(server.url()));
    let of_server = of_server.into_iter().map(|(name, id)| {
        let mut seen = server.api().run(&id);
        // The client reads every digit of a number.
        for (key, points) in &mut seen.points {
            let history = client.metric_history(&id, key).unwrap();
            let read = history
                .iter()
                .map(|point| Point::new(point.step, point.timestamp_ms, point.value));
            let read: Vec<Point> = read.collect();
            assert_eq!(read.len(), points.len());
            *points = read;
        }
        (name, seen)
    });
    let of_server = of_server.collect();
    let of_file = import(&file_uri);
    let (names, ids): (Vec<_>, Vec<_>) = of_file.into_iter().unzip();
    let of_file = names.into_iter().zip(read_file(&file, &ids)).collect();
    [of_file, of_server]
}

/// Returns points with increasing steps, and the times of `make.py`.
fn points(
    steps: std::ops::Range<i64>,
    time_ms: impl Fn(i64) -> i64,
    value: impl Fn(f64) -> f64,
) -> Vec<Point> {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let point = |step: i64| Point::new(step, time_ms(step), value(step as f64));
    steps.map(point).collect()
}

/// Returns the number as a scalar of TensorBoard holds it.
#[expect(clippy::cast_possible_truncation, reason = "the format has 32 bits")]
fn single(number: f64) -> f64 {
    f64::from(number as f32)
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[test]
fn event_files_of_tensorboard_become_runs() {
    let folder = Folder::new();
    fixture(&folder, "tensorboard");
    for runs in import_everywhere(&folder, &["tensorboard"]) {
        let names: Vec<&str> = runs.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "keras/train",
                "lightning/version_0",
                "lightning/version_0/hparams"
            ]
        );
        let run = &runs["lightning/version_0"];
        let at = |step: i64| START + 1000 * step + 250;
        // Both files of the folder are one run.
        assert_eq!(
            run.points["train/loss"],
            points(0..30, at, |step| single(1.0 / (step + 1.0)))
        );
        assert_eq!(
            run.points["val/AR_100"],
            points(0..20, at, |step| single(step / 20.0))
        );
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let odd: Vec<Point> = { (0..).zip(odd) }
            .map(|(step, value)| Point::new(step, START, value))
            .collect();
        assert_eq!(run.points["odd"], odd);
        assert_eq!(run.points.len(), 3, "{:?}", run.points.keys());
        assert_eq!(run.status, "FINISHED");
        assert_eq!(
            (run.start_time_ms, run.end_time_ms),
            (START, START + 29_250)
        );
        assert_eq!(run.tags["import.format"], "tensorboard");
        assert!(run.tags["import.id"].ends_with("/tensorboard/lightning/version_0"));
        let text = String::from_utf8(run.artifacts["texts/notes/text_summary.txt"].clone());
        assert_eq!(text.unwrap(), "step 3\n# A note\nwith two lines\n\n");
        assert!(run.artifacts["images/samples/red/00000007.png"].starts_with(b"\x89PNG"));
        assert_eq!(run.artifacts.len(), 2, "{:?}", run.artifacts.keys());

        let run = &runs["lightning/version_0/hparams"];
        let params = [
            ("lr", "0.1"),
            ("optimizer", "adam"),
            ("nesterov", "true"),
            ("layers", "3"),
        ];
        assert_eq!(run.params, texts(params));
        assert_eq!(run.points["best"][0].value, 0.75);

        let run = &runs["keras/train"];
        let at = |step: i64| START + 2000 * step;
        assert_eq!(
            run.points["epoch_loss"],
            points(0..10, at, |step| 0.5_f64.powf(step))
        );
        let params = [
            ("units", "16"),
            ("dropout", "0.5"),
            ("bias", "false"),
            ("act", "relu"),
        ];
        assert_eq!(run.params, texts(params));
        assert_eq!((&*run.status, run.end_time_ms), ("FAILED", START + 60_000));
        assert_eq!(run.artifacts["texts/config.txt"], b"step 0\na text\n\n");
    }
}

#[test]
fn an_offline_run_of_wandb_becomes_a_run() {
    let folder = Folder::new();
    fixture(&folder, "wandb");
    for runs in import_everywhere(&folder, &["wandb"]) {
        let run = &runs["first run"];
        assert_eq!(runs.len(), 1);
        let values = |key: &str| -> Vec<(i64, f64)> {
            let points = run.points[key].iter();
            points.map(|point| (point.step, point.value)).collect()
        };
        let expected = |value: fn(f64) -> f64| -> Vec<(i64, f64)> {
            (0..30)
                .map(|step| (i64::from(step), value(f64::from(step))))
                .collect()
        };
        assert_eq!(values("loss"), expected(|step| 1.0 / (step + 1.0)));
        assert_eq!(values("val.acc"), expected(|step| step / 30.0));
        let odd = values("odd");
        assert!(odd[0].0 == 40 && odd[0].1.is_nan());
        assert_eq!(odd[1], (41, f64::MAX));
        assert_eq!(values("best"), [(42, 0.875)]);
        let (start, end) = (run.start_time_ms, run.end_time_ms);
        let times = run.points["loss"].iter().map(|point| point.timestamp_ms);
        assert!(times.clone().is_sorted() && times.clone().all(|at| (start..=end).contains(&at)));
        assert!(run.points["system/memory_percent"].len() > 1);
        let others = run.points.keys().filter(|key| !key.starts_with("system/"));
        assert_eq!(
            others.collect::<Vec<_>>(),
            ["best", "loss", "odd", "val.acc"]
        );
        let params = [
            ("lr", "0.1"),
            ("model.layers", "[1,2]"),
            ("model.act", "relu"),
            ("model.deep.er", "true"),
            ("nothing", "null"),
            ("late", "value"),
        ];
        assert_eq!(run.params, texts(params));
        for (key, value) in [
            ("import.id", "cellar/wine/fixture1"),
            ("mlflow.note.content", "A note."),
            ("mlflow.source.name", "/tmp/import/make.py"),
            ("wandb.tags", "red,2026"),
            ("wandb.group", "sweep"),
            ("wandb.job_type", "train"),
            ("summary.verdict", "good"),
            ("host.name", "host"),
        ] {
            assert_eq!(run.tags[key], value, "{key}");
        }
        assert_eq!(run.status, "FAILED", "its exit code is 3");
        assert_eq!(run.artifacts["model.txt"], b"weights");
        assert_eq!(run.artifacts["output.log"], b"a line of the console\n");
        assert_eq!(run.artifacts.len(), 4, "{:?}", run.artifacts.keys());
    }
    // The project is the experiment, unless the arguments name another.
    let experiments = "select group_concat(name) from experiments where name != 'Default'";
    assert_eq!(one::<String>(&folder.database(), experiments), "wine");
}

#[test]
fn a_project_of_trackio_becomes_an_experiment() {
    let folder = Folder::new();
    let project = fixture(&folder, "trackio").join("wine.db");
    // A file from before version 0.24 has no ids of runs.
    let old = folder.path().join("old.db");
    fs::copy(&project, &old).unwrap();
    Connection::open(&old)
        .unwrap()
        .execute_batch(
            "create table m as select id, timestamp, run_name, step, cast(metrics as text) as metrics from metrics;
             create table c as select id, run_name, cast(config as text) as config, created_at from configs;
             drop table metrics; drop table configs; drop table system_metrics;
             alter table m rename to metrics; alter table c rename to configs;",
        )
        .unwrap();
    for file in ["trackio/wine.db", "old.db"] {
        for runs in import_everywhere(&folder, &[file]) {
            let names: Vec<&str> = runs.keys().map(String::as_str).collect();
            assert_eq!(names, ["first", "second"], "{file}");
            for run in runs.values() {
                let values = |key: &str| -> Vec<(i64, f64)> {
                    let points = run.points[key].iter();
                    points.map(|point| (point.step, point.value)).collect()
                };
                let expected: Vec<(i64, f64)> = (0..10)
                    .map(|step| (i64::from(step), f64::from(step) / 10.0))
                    .collect();
                assert_eq!(values("val.acc"), expected);
                assert_eq!(values("loss")[9], (9, 0.1));
                assert!(values("odd")[0].1.is_nan());
                assert_eq!(values("more"), [(20, f64::MAX)]);
                assert_eq!(run.points.contains_key("system/cpu"), file != "old.db");
                assert_eq!(run.params, texts([("lr", "0.1"), ("model.layers", "2")]));
                assert_eq!(run.tags["trackio.group"], "sweep");
                assert_eq!(run.status, "FINISHED");
                let first = run.points["loss"][0].timestamp_ms;
                assert!((run.start_time_ms..run.start_time_ms + 60_000).contains(&first));
            }
        }
    }
}

/// A project from before version 0.24 gets the column of ids by its first use afterwards. Its older rows have none.
#[test]
fn rows_of_trackio_without_an_id_are_imported() {
    let folder = Folder::new();
    let project = fixture(&folder, "trackio").join("wine.db");
    Connection::open(&project)
        .unwrap()
        .execute_batch(
            "create table m as select * from metrics;
             create table c as select * from configs;
             drop table metrics; drop table configs;
             alter table m rename to metrics; alter table c rename to configs;
             update metrics set run_id = null where run_name = 'first';
             update configs set run_id = null where run_name = 'first';
             update metrics set step = 'ten' where run_name = 'second' and step = 3;",
        )
        .unwrap();
    let ended = run(&folder, &["import", "trackio"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let text = "1 row of the table `metrics` has a step that is no integer";
    assert_eq!(ended.stderr.matches(text).count(), 1, "{}", ended.stderr);
    let database = folder.database();
    let count = |run: &str| -> i64 {
        let query = format!(
            "select count(*) from metrics join runs using (run_uuid) where key = 'loss' and name = '{run}'"
        );
        one(&database, &query)
    };
    assert_eq!((count("first"), count("second")), (10, 9));
    let id = "select value from tags join runs using (run_uuid) where name = 'first' and key = 'import.id' \
              and value like '/%wine.db#first'";
    assert!(one::<String>(&database, id).ends_with("wine.db#first"));
}

#[test]
fn an_export_of_neptune_becomes_a_run() {
    let folder = Folder::new();
    fixture(&folder, "neptune");
    for runs in import_everywhere(&folder, &["neptune/data"]) {
        assert_eq!(runs.len(), 1);
        let run = &runs["WIN-1"];
        let at = |step: i64| START + 1000 * step;
        let loss = points(0..30, at, |step| 1.0 / (step + 1.0));
        assert_eq!(run.points["metrics/loss"], loss, "both parts");
        let odd: Vec<f64> = run.points["metrics/odd"]
            .iter()
            .map(|point| point.value)
            .collect();
        assert!(
            odd.len() == 2 && odd.contains(&f64::MAX) && odd.iter().any(|value| value.is_nan())
        );
        let half = [Point::new(2, START + 2500, 0.5)];
        assert_eq!(run.points["metrics/half"], half);
        let params = [
            ("params/lr", "0.1"),
            ("params/layers", "3"),
            ("params/act", "relu"),
            ("params/bias", "false"),
        ];
        assert_eq!(run.params, texts(params));
        for (key, value) in [
            ("import.id", "cellar/wine/WIN-1"),
            ("neptune.name", "a name"),
            ("neptune.tags", "red,2026"),
            ("mlflow.note.content", "A note."),
        ] {
            assert_eq!(run.tags[key], value, "{key}");
        }
        assert_eq!((&*run.status, &*run.user_id), ("FAILED", "eve"));
        assert_eq!(
            (run.start_time_ms, run.end_time_ms),
            (START, START + 29_000)
        );
        assert_eq!(run.artifacts["model/weights.bin"], b"weights");
        assert_eq!(run.artifacts["monitoring/stdout.txt"], b"line 0\nline 1\n");
        assert_eq!(run.artifacts.len(), 2, "{:?}", run.artifacts.keys());
    }
    let ended = run(&folder, &["import", "neptune/data"]);
    for text in [
        "not found: 1 file of the run",
        "the decimals of steps are cut, e.g. 2.5 of `metrics/half`",
        "values of the type `histogram_series` are left out",
    ] {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
    let experiments = "select group_concat(name) from experiments where name != 'Default'";
    assert_eq!(
        one::<String>(&folder.database(), experiments),
        "cellar/wine"
    );
}

/// A run without an id of its own is known by its path, however the path is written.
#[test]
fn a_run_is_found_again_from_another_working_directory() {
    let folder = Folder::new();
    fixture(&folder, "tensorboard");
    let first = output_of(&folder, &["import", "tensorboard"]);
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let uri = super::file_uri(&folder, "mlflow.db");
    let output = { folder.command(cargo_mlflow()) }
        .args(["import", "../tensorboard", "--json", "--tracking-uri", &uri])
        .current_dir(&inside)
        .output()
        .unwrap();
    let second: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ids(&first), ids(&second));
    let sources = "select count(*) from tags where key = 'import.source' and value like '/%'";
    assert_eq!(one::<i64>(&folder.database(), sources), 3);
}

/// Everything that `export` writes comes back: runs and points, as CSV and as JSON.
#[test]
fn what_export_writes_is_imported_again() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let seen = |database: &Path| -> BTreeMap<String, Seen> {
        let ids: Vec<String> = {
            let connection = Connection::open(database).unwrap();
            let mut query = connection
                .prepare("select run_uuid from runs order by name")
                .unwrap();
            let ids = query.query_map([], |row| row.get(0)).unwrap();
            ids.collect::<Result<_, _>>().unwrap()
        };
        let runs = read_file(database, &ids).into_iter();
        runs.map(|run| (run.name.clone(), run)).collect()
    };
    let original = seen(&folder.path().join("mlflow.db"));
    assert_eq!(original.len(), 7);
    for format in ["csv", "json"] {
        let (runs, points) = (format!("runs.{format}"), format!("points.{format}"));
        for arguments in [
            &["export", "--output", &runs][..],
            &["export", "--metrics", "all", "--output", &points],
        ] {
            let ended = run(&folder, &[arguments, &["--format", format]].concat());
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        }
        let copy = folder.path().join(format!("{format}.db"));
        let uri = format!("sqlite:///{}", copy.display());
        let import = [
            "import",
            &runs,
            &points,
            "-e",
            "demo",
            "--tracking-uri",
            &uri,
        ];
        for _ in 0..2 {
            output_of(&folder, &import);
        }
        let copied = seen(&copy);
        assert_eq!(copied.len(), original.len());
        for (name, run) in &original {
            let copy = &copied[name];
            assert_eq!(copy.params, run.params, "{format} {name}");
            assert_eq!(copy.points, run.points, "{format} {name}");
            assert_eq!(
                (
                    &copy.status,
                    copy.start_time_ms,
                    copy.end_time_ms,
                    &copy.user_id
                ),
                (
                    &run.status,
                    run.start_time_ms,
                    run.end_time_ms,
                    &run.user_id
                )
            );
            for (key, value) in &run.tags {
                if key != "mlflow.rust.runKey" {
                    assert_eq!(&copy.tags[key], value, "{format} {name} {key}");
                }
            }
        }
    }
}

#[test]
fn free_tables_become_runs() {
    let folder = Folder::new();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "long.csv",
        "run,metric,step,value,timestamp\na,loss,0,0.5,1700000000\na,loss,1,0.25,2023-11-14T22:13:21Z\n\
         b,loss,0,nan,1700000000500\nb,val/AR@100,3,-inf,1700000001\n",
    );
    write(
        "wide.csv",
        "step,loss,acc,note\n0,0.5,,hello\n10,0.25,0.75,\n",
    );
    write("tabs.tsv", "epoch\tloss\n1\t0.5\n2\t1e-3\n");
    write(
        "lines.jsonl",
        "{\"step\": 1, \"loss\": 0.5, \"val\": {\"acc\": 1}}\n{\"step\": 2, \"val\": {\"acc\": \"NaN\"}, \"new\": 3}\n",
    );
    let arguments = [
        "long.csv",
        "wide.csv",
        "tabs.tsv",
        "lines.jsonl",
        "-e",
        "tables",
    ];
    for runs in import_everywhere(&folder, &arguments) {
        let names: Vec<&str> = runs.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "b", "lines", "tabs", "wide"]);
        let loss = [Point::new(0, START, 0.5), Point::new(1, START + 1000, 0.25)];
        assert_eq!(runs["a"].points["loss"], loss);
        assert_eq!(
            (runs["a"].start_time_ms, runs["a"].end_time_ms),
            (START, START + 1000)
        );
        let nan = Point::new(0, START + 500, f64::NAN);
        assert_eq!(runs["b"].points["loss"], [nan]);
        let infinite = Point::new(3, START + 1000, f64::NEG_INFINITY);
        assert_eq!(runs["b"].points["val/AR_100"], [infinite]);
        let values = |run: &str, key: &str| -> Vec<(i64, f64)> {
            let points = runs[run].points[key].iter();
            points.map(|point| (point.step, point.value)).collect()
        };
        assert_eq!(values("wide", "loss"), [(0, 0.5), (10, 0.25)]);
        assert_eq!(values("wide", "acc"), [(10, 0.75)]);
        assert_eq!(values("tabs", "loss"), [(1, 0.5), (2, 0.001)]);
        assert_eq!(values("lines", "new"), [(2, 3.0)]);
        let acc = values("lines", "val.acc");
        assert!(acc[0] == (1, 1.0) && acc[1].0 == 2 && acc[1].1.is_nan());
    }
    let ended = run(&folder, &["import", "long.csv", "wide.csv", "--dry-run"]);
    let text = "the texts in the column `note` are left out";
    assert!(ended.stderr.contains(text), "{}", ended.stderr);
    let text = r#"metric "val/AR@100" is stored as "val/AR_100""#;
    assert_eq!(ended.stderr.matches(text).count(), 1, "{}", ended.stderr);
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = Folder::new();
    fixture(&folder, "tensorboard");
    let ended = run(&folder, &["import", "--dry-run", "tensorboard"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("keras/train: 10 points, 4 params"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stderr.contains("would be imported"),
        "{}",
        ended.stderr
    );
    assert!(!folder.path().join("mlflow.db").exists());
    let away = [
        "import",
        "--dry-run",
        "tensorboard",
        "--tracking-uri",
        NOWHERE,
    ];
    assert_eq!(run(&folder, &away).code, Some(0), "no store is asked");
}

#[test]
fn what_was_added_to_the_source_is_added_to_the_run() {
    let folder = Folder::new();
    let source = fixture(&folder, "tensorboard");
    let resumed = file_with(&source, "resumed");
    let aside = folder.path().join("aside");
    fs::rename(&resumed, &aside).unwrap();
    let new_points = |report: &Value| {
        let runs = report["runs"].as_array().unwrap().iter();
        runs.map(|run| run["new_points"].as_u64().unwrap())
            .sum::<u64>()
    };
    let first = output_of(&folder, &["import", "tensorboard"]);
    assert_eq!(new_points(&first), 54);
    fs::rename(&aside, &resumed).unwrap();
    let second = output_of(&folder, &["import", "tensorboard"]);
    assert_eq!(ids(&first), ids(&second));
    assert_eq!(new_points(&second), 10);
    let count =
        "select count(*) || ' ' || count(distinct step) from metrics where key = 'train/loss'";
    assert_eq!(one::<String>(&folder.database(), count), "30 30");
    let end = "select max(end_time) from runs where name = 'lightning/version_0'";
    assert_eq!(one::<i64>(&folder.database(), end), START + 29_250);
}

#[test]
fn the_last_record_of_a_killed_process_is_left_out() {
    let folder = Folder::new();
    let resumed = file_with(&fixture(&folder, "tensorboard"), "resumed");
    let wandb = file_with(&fixture(&folder, "wandb"), ".wandb");
    for file in [&resumed, &wandb] {
        let file = OpenOptions::new().write(true).open(file).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length - 5).unwrap();
        // W&B takes a run without a sign of life for crashed.
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        file.set_modified(long_ago).unwrap();
    }
    fs::write(folder.path().join("cut.csv"), "step,loss,acc\n0,1,2\n1,1").unwrap();
    let ended = run(
        &folder,
        &["import", "tensorboard", "wandb", "cut.csv", "-e", "cut"],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        ended.stderr.matches("is not complete").count(),
        3,
        "{}",
        ended.stderr
    );
    let database = folder.database();
    let count = "select count(*) from metrics where key = 'train/loss'";
    assert_eq!(one::<i64>(&database, count), 29);
    let status = "select status from runs where name = 'first run'";
    assert_eq!(
        one::<String>(&database, status),
        "KILLED",
        "its end is missing"
    );
    let points = "select count(*) from metrics join runs using (run_uuid) where name = 'cut'";
    assert_eq!(one::<i64>(&database, points), 2);
}

#[test]
fn damage_costs_what_is_damaged_and_is_said() {
    let folder = Folder::new();
    let source = fixture(&folder, "tensorboard");
    let damage = |file: &Path, at: usize| {
        let mut bytes = fs::read(file).unwrap();
        bytes[at] ^= 0x55;
        fs::write(file, bytes).unwrap();
    };
    // The content of the second record, behind the frame of the first.
    let resumed = file_with(&source, "resumed");
    let first = u64::from_le_bytes(fs::read(&resumed).unwrap()[..8].try_into().unwrap());
    damage(&resumed, usize::try_from(first).unwrap() + 16 + 12 + 3);
    let ended = run(&folder, &["import", "tensorboard"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let text = "the checksum or content of 1 record is damaged; what can be read is imported";
    assert!(ended.stderr.contains(text), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("1 file could not be read in full"),
        "{}",
        ended.stderr
    );
    let count = "select count(*) from metrics where key = 'train/loss'";
    assert_eq!(one::<i64>(&folder.database(), count), 29);

    // The length of the third record: nothing behind it can be found.
    damage(&file_with(&source, "keras"), 8);
    let ended = run(&folder, &["import", "tensorboard/keras"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let text =
        "the length of the record at byte 0 is damaged, so the rest of the file cannot be read";
    assert!(ended.stderr.contains(text), "{}", ended.stderr);

    let wandb = file_with(&fixture(&folder, "wandb"), ".wandb");
    let length = fs::read(&wandb).unwrap().len();
    damage(&wandb, length - 1);
    let ended = run(&folder, &["import", "wandb"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("damaged: 1 part of the file"),
        "{}",
        ended.stderr
    );
    let count = "select count(*) from metrics where key = 'loss'";
    assert_eq!(one::<i64>(&folder.database(), count), 30);
}

#[test]
fn what_cannot_be_imported_is_one_line() {
    let folder = Folder::new();
    let write = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir_all(folder.path().join("empty/inside")).unwrap();
    write("picture.png", b"\x89PNG");
    write("one.csv", b"loss\n1\n");
    write("words.jsonl", b"hello\n");
    write("latin.csv", b"step,l\xf6ss\n1,2\n");
    write("fake.wandb", b"no log");
    write("zero.wandb", b"");
    write("fake.parquet", b"PAR1 or not");
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    for (path, code, text) in [
        ("missing", 3, "there is no file or folder missing"),
        (
            "empty",
            3,
            "there is nothing to import in empty: expected event files",
        ),
        (
            "picture.png",
            2,
            "picture.png is in no format that can be imported",
        ),
        (
            "mlflow.db",
            2,
            "mlflow.db is in no format that can be imported",
        ),
        (
            "one.csv",
            2,
            "expected a first line with the names of at least two columns",
        ),
        ("words.jsonl", 2, "expected an object of JSON in each line"),
        ("latin.csv", 2, "latin.csv: line 1: "),
        ("fake.wandb", 2, "fake.wandb is no file of W&B"),
        ("fake.parquet", 1, "cannot read fake.parquet as Parquet"),
        ("zero.wandb", 2, "zero.wandb is no file of W&B"),
    ] {
        let ended = run(&folder, &["import", path, "-e", "bad"]);
        assert_eq!(ended.code, Some(code), "{path}: {}", ended.stderr);
        assert!(ended.stderr.contains(text), "{path}: {}", ended.stderr);
        assert_eq!(ended.stderr.trim().lines().count(), 1, "{}", ended.stderr);
    }
    let ended = run(&folder, &["import", "one.csv", "--format", "neptunium"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let runs = "select count(*) from runs where experiment_id != 1";
    assert_eq!(one::<i64>(&folder.database(), runs), 0);
}

#[test]
fn a_file_that_cannot_be_read_costs_no_other() {
    let folder = Folder::new();
    let source = fixture(&folder, "tensorboard");
    fs::write(source.join("a.wandb"), "no log").unwrap();
    fs::write(source.join("b.parquet"), "no Parquet").unwrap();
    let rows = b"step,loss\n1,2\n2,\xff\n3,4\n";
    fs::write(folder.path().join("latin.csv"), rows).unwrap();
    let ended = run(&folder, &["import", "tensorboard", "latin.csv", "-e", "x"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for text in [
        "a.wandb is no file of W&B",
        "b.parquet as Parquet",
        "latin.csv: 1 row is left out, in line 3: ",
        "3 files could not be read in full; all else is imported",
    ] {
        assert_eq!(
            ended.stderr.matches(text).count(),
            1,
            "{text}: {}",
            ended.stderr
        );
    }
    let points = "select count(*) from metrics";
    assert_eq!(one::<i64>(&folder.database(), points), 64 + 2);
}

/// Each bad row differs from the others.
#[test]
fn the_bad_rows_of_a_table_are_one_line() {
    let folder = Folder::new();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let rows = |row: &dyn Fn(u32) -> String| (0..3000).map(row).collect::<String>();
    let points = rows(&|row| format!("loss,{row},x{row}\n"));
    write(
        "points.csv",
        &format!("metric,step,value\nloss,0,1\n{points}"),
    );
    let steps = rows(&|row| format!("x{row},1\n"));
    // Lines may end as on Windows.
    let steps = format!("step,loss\n1,1\n{steps}").replace('\n', "\r\n");
    write("steps.csv", &steps);
    let uneven = rows(&|row| format!("{row}\n"));
    write("uneven.csv", &format!("step,loss\n1,1\n{uneven}3001,1\n"));
    let lines = rows(&|row| format!("\n[{row}]\n"));
    write(
        "lines.jsonl",
        &format!("{{\"step\":1,\"loss\":1}}\n{lines}"),
    );
    let files = ["points.csv", "steps.csv", "uneven.csv", "lines.jsonl"];
    let ended = run(&folder, &[&["import", "-e", "x"], &files[..]].concat());
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for text in [
        r#"points.csv: 3,000 rows are left out, the first in line 3: "x0" is no value of a metric"#,
        r#"steps.csv: 3,000 rows are left out, the first in line 3: "x0" is no step"#,
        "uneven.csv: 3,000 rows are left out, the first in line 3: it has 1 column instead of 2",
        "lines.jsonl: 3,000 rows are left out, the first in line 3: it is no object of JSON",
        "4 files could not be read in full; all else is imported",
    ] {
        let found = ended.stderr.matches(text).count();
        assert_eq!(found, 1, "{text}: {}", ended.stderr);
    }
    assert!(ended.stderr.lines().count() < 10, "{}", ended.stderr);
    let points = "select count(*) from metrics";
    assert_eq!(one::<i64>(&folder.database(), points), 5);
}

/// A read of `/proc/self/mem` at its beginning fails.
#[test]
fn a_read_error_keeps_what_was_read_before() {
    let folder = Folder::new();
    let source = fixture(&folder, "tensorboard");
    let resumed = file_with(&source, "resumed");
    fs::remove_file(&resumed).unwrap();
    symlink("/proc/self/mem", &resumed).unwrap();
    let ended = run(&folder, &["import", "tensorboard/lightning/version_0"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let text = "the file cannot be read to its end";
    assert_eq!(ended.stderr.matches(text).count(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("1 file could not be read in full"),
        "{}",
        ended.stderr
    );
    let database = folder.database();
    let count = "select count(*) from metrics where key = 'train/loss'";
    assert_eq!(one::<i64>(&database, count), 20);
    let status = "select status from runs where name = 'version_0'";
    assert_eq!(one::<String>(&database, status), "FINISHED");
}

#[test]
fn a_deleted_run_is_left_out() {
    let folder = Folder::new();
    fs::write(folder.path().join("a.csv"), "step,loss\n1,2\n").unwrap();
    let report = output_of(&folder, &["import", "a.csv", "-e", "x"]);
    let id = &ids(&report)["a"];
    let client = mlflow::blocking::Client::with_config(
        mlflow::Config::new().tracking_uri(super::file_uri(&folder, "mlflow.db")),
    );
    client.delete_run(id).unwrap();
    let ended = run(&folder, &["import", "a.csv", "-e", "x"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("is deleted in the store"),
        "{}",
        ended.stderr
    );
    let experiment = client.experiment("x").unwrap().experiment_id;
    client.delete_experiment(experiment).unwrap();
    let ended = run(&folder, &["import", "a.csv", "-e", "x"]);
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the experiment `x` is deleted"),
        "{}",
        ended.stderr
    );
}

/// The config of a run may hold more than its owner thinks.
#[test]
fn secrets_in_a_config_are_not_stored() {
    let folder = Folder::new();
    let project = fixture(&folder, "trackio").join("wine.db");
    let config = json!({
        "db": {"password": "hunter2"},
        "url": "https://me:pass@host/x",
        "max_tokens": 8,
        "note": "a\u{0}b",
        "long": "x".repeat(7000),
    });
    Connection::open(&project)
        .unwrap()
        .execute("update configs set config = ?1", [config.to_string()])
        .unwrap();
    let ended = run(&folder, &["import", "trackio"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let value = |key: &str| {
        let query = format!("select min(value) from params where key = '{key}'");
        one::<String>(&folder.database(), &query)
    };
    assert_eq!(value("db.password"), "[redacted]");
    assert_eq!(value("url"), "https://[redacted]@host/x");
    assert_eq!(value("max_tokens"), "8");
    assert_eq!(value("note"), "a\u{fffd}b");
    assert_eq!(value("long").len(), 6000);
    for text in [
        r#"param "db.password": it has the name of a secret"#,
        r#"param "url": text that looks like"#,
        r#"param "note": its NUL characters"#,
        r#"param "long": it is cut to the 6000 characters"#,
    ] {
        assert_eq!(
            ended.stderr.matches(text).count(),
            1,
            "{text}: {}",
            ended.stderr
        );
    }
}

/// Returns a field of a message of Protocol Buffers, shorter than 128 bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 128 && number < 16);
    [&[number << 3 | 2, length], content].concat()
}

/// Returns the CRC-32 of bytes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

/// Adds a record to a file of W&B that is shorter than a block.
fn add_wandb_record(file: &Path, record: &[u8]) {
    let length = u16::try_from(record.len()).unwrap();
    let checked = [&[1], record].concat();
    let header = [
        &crc32(&checked).to_le_bytes()[..],
        &length.to_le_bytes(),
        &[1],
    ];
    let mut bytes = fs::read(file).unwrap();
    bytes.extend([&header.concat(), record].concat());
    assert!(bytes.len() < 32_768);
    fs::write(file, bytes).unwrap();
}

#[test]
fn secrets_in_the_files_of_a_run_are_not_stored() {
    const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    let folder = Folder::new();
    let wandb = file_with(&fixture(&folder, "wandb"), ".wandb");
    let files = wandb.parent().unwrap().join("files");
    fs::write(
        files.join("config.yaml"),
        "api_key:\n    value: hunter2\nlr:\n    value: 0.1\n",
    )
    .unwrap();
    fs::write(files.join("notes.txt"), format!("see {TOKEN}\n")).unwrap();
    let binary = [&b"\x00\xff"[..], TOKEN.as_bytes()].concat();
    fs::write(files.join("weights.bin"), &binary).unwrap();
    fs::remove_file(files.join("output.log")).unwrap();
    let item = [field(1, b"api_key"), field(7, b"hunter2")].concat();
    add_wandb_record(&wandb, &field(3, &field(1, &item)));
    let line = format!("cloned by {TOKEN}\n");
    add_wandb_record(&wandb, &field(4, &field(3, line.as_bytes())));
    let ended = run(&folder, &["import", "wandb"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let id = one::<String>(&folder.database(), "select run_uuid from runs");
    let file = folder.path().join("mlflow.db");
    let seen = read_file(&file, &[id]).swap_remove(0);
    assert_eq!(seen.artifacts.get("config.yaml"), None);
    assert_eq!(seen.artifacts["notes.txt"], b"see [redacted]\n");
    assert_eq!(seen.artifacts["weights.bin"], binary);
    let console = String::from_utf8(seen.artifacts["output.log"].clone()).unwrap();
    assert!(console.contains("cloned by [redacted]"), "{console}");
    assert_eq!(seen.tags["summary.api_key"], "[redacted]");
    for text in [
        r#"artifact "config.yaml" is left out: its member "api_key" has the name of a secret"#,
        r#"artifact "notes.txt": text that looks like a GitHub token is stored as [redacted]"#,
        r#"artifact "output.log": text that looks like a GitHub token is stored as [redacted]"#,
        r#"tag "summary.api_key": it has the name of a secret"#,
    ] {
        let found = ended.stderr.matches(text).count();
        assert_eq!(found, 1, "{text}: {}", ended.stderr);
    }
}

/// Writes a table of many points.
fn write_large_table(folder: &Folder, rows: u32) {
    let mut file = std::io::BufWriter::new(File::create(folder.path().join("large.csv")).unwrap());
    writeln!(file, "step,timestamp,a,b,c").unwrap();
    for step in 0..rows {
        writeln!(
            file,
            "{step},{},{step},{step}.5,-{step}",
            1_700_000_000 + step
        )
        .unwrap();
    }
}

/// Returns the number of points in the store.
fn stored_points(folder: &Folder) -> i64 {
    let file = folder.path().join("mlflow.db");
    let Ok(database) =
        Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
    else {
        return 0;
    };
    database
        .query_row("select count(*) from metrics", [], |row| row.get(0))
        .unwrap_or(0)
}

/// Ends an import by a signal in its middle, and imports again.
fn end_in_the_middle(signal: Signal) -> Ended {
    const ROWS: u32 = 100_000;
    let folder = Folder::new();
    write_large_table(&folder, ROWS);
    let import = ["import", "large.csv", "-e", "large"];
    let live = folder.start(cargo_mlflow(), &import, &[]);
    let started = SystemTime::now();
    while stored_points(&folder) == 0 {
        assert!(
            started.elapsed().unwrap() < Duration::from_secs(60),
            "nothing was written"
        );
        std::thread::yield_now();
    }
    let id = Pid::from_raw(i32::try_from(live.id()).unwrap()).unwrap();
    kill_process(id, signal).unwrap();
    let ended = live.end();
    let before = stored_points(&folder);
    assert!(
        before > 0 && before < i64::from(3 * ROWS),
        "{before} points"
    );
    let status = "select status from runs";
    assert_eq!(one::<String>(&folder.database(), status), "RUNNING");
    let report = output_of(&folder, &import);
    let run = &report["runs"][0];
    assert_eq!(run["points"], json!(3 * ROWS));
    assert_eq!(run["new_points"], json!(i64::from(3 * ROWS) - before));
    let database = folder.database();
    for key in ["a", "b", "c"] {
        let count = format!(
            "select count(*) || ' ' || count(distinct step) from metrics where key = '{key}'"
        );
        assert_eq!(one::<String>(&database, &count), format!("{ROWS} {ROWS}"));
    }
    let runs = "select count(*) || ' ' || max(status) from runs";
    assert_eq!(one::<String>(&database, runs), "1 FINISHED");
    ended
}

#[test]
fn an_import_that_was_killed_goes_on() {
    let ended = end_in_the_middle(Signal::KILL);
    assert_eq!(ended.code, None);
}

#[test]
fn an_import_that_ctrl_c_ends_goes_on() {
    let ended = end_in_the_middle(Signal::INT);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for text in [
        "1 run with ",
        "; 1 run not to the end",
        "error: interrupted. What was stored so far stays, and the same command goes on; until then, 1 run stays RUNNING",
    ] {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
    let line = ended.stdout.lines().next().unwrap_or_default();
    assert!(
        line.contains("large / large: ") && line.ends_with(", not to the end"),
        "{}",
        ended.stdout
    );
}

#[test]
fn steps_and_times_that_cannot_be_read_are_told() {
    let folder = Folder::new();
    let rows = "run,metric,step,value,timestamp\n\
                a,loss,1,0.5,2026-01-01T00:00:00Z\n\
                a,loss,1.5,0.4,2026-01-01T00:00:01Z\n\
                a,loss,99999999999999999999,0.3,2026-01-01T00:00:02Z\n\
                a,loss,2.0,0.2,yesterday\n\
                a,loss,3,0.1,tomorrow\n";
    fs::write(folder.path().join("points.csv"), rows).unwrap();
    let ended = run(&folder, &["import", "points.csv"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let bad_rows = "2 rows are left out, the first in line 3: \"1.5\" is no step";
    assert!(ended.stderr.contains(bad_rows), "{}", ended.stderr);
    let bad_times = "line 5: \"yesterday\" is no time since 1970";
    assert_eq!(
        ended.stderr.matches("is no time").count(),
        1,
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains(bad_times), "{}", ended.stderr);
    let steps = "select group_concat(step) from (select step from metrics order by step)";
    assert_eq!(one::<String>(&folder.database(), steps), "1,2,3");
}

/// Opening a pipe waits for its writer.
#[test]
fn a_pipe_or_a_device_is_refused() {
    let folder = Folder::new();
    symlink("/dev/zero", folder.path().join("zero.csv")).unwrap();
    let made = Command::new("mkfifo")
        .arg(folder.path().join("pipe.csv"))
        .status();
    assert!(made.unwrap().success());
    for path in ["zero.csv", "pipe.csv"] {
        let ended = run(&folder, &["import", path]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("expected a file or a folder"),
            "{}",
            ended.stderr
        );
    }
    let ended = run(&folder, &["import", "."]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
}

/// Writes files into the folder of a test.
fn write_files(folder: &Folder, files: &[(&str, &[u8])]) {
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Returns the points of the only run of that name: key, step and value.
fn points_of(folder: &Folder, name: &str) -> Vec<(String, i64, f64)> {
    let database = folder.database();
    let mut query = database
        .prepare(
            "select key, step, value from metrics join runs using (run_uuid) where name = ? order by key, step",
        )
        .unwrap();
    let rows = query.query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

fn expected_points<const N: usize>(points: [(&str, i64, f64); N]) -> Vec<(String, i64, f64)> {
    points
        .map(|(key, step, value)| (key.to_owned(), step, value))
        .into()
}

#[test]
fn a_table_beside_the_files_of_a_tracker_is_not_left_out_without_a_line() {
    let folder = Folder::new();
    let source = fixture(&folder, "tensorboard");
    fs::write(source.join("keras/log.csv"), "step,loss\n1,2\n").unwrap();
    fs::write(source.join("result.json"), "{\"loss\": 1}\n").unwrap();
    let ended = run(&folder, &["import", "tensorboard"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let line = "left out: 2 tables beside the files of a tracker, which mostly hold results of the same runs \
                (tensorboard/keras/log.csv, tensorboard/result.json). To import a table, name it, or give --format csv";
    assert!(ended.stderr.contains(line), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("3 runs with 64 points"),
        "{}",
        ended.stderr
    );
    let ended = run(&folder, &["import", "tensorboard/keras/log.csv"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        points_of(&folder, "log"),
        expected_points([("loss", 1, 2.0)])
    );
}

#[test]
fn a_file_without_values_makes_no_empty_run() {
    let folder = Folder::new();
    let events = file_with(&fixture(&folder, "tensorboard"), "resumed");
    let events = fs::read(events).unwrap();
    // The first record tells only when the file was opened.
    let first = usize::try_from(u64::from_le_bytes(events[..8].try_into().unwrap())).unwrap() + 16;
    let name = "events.out.tfevents.1";
    let files: [(&str, &[u8], i32, &str); 9] = [
        ("empty", b"", 3, "the event file is empty"),
        ("opened", &events[..first], 3, "it holds no values"),
        ("short", b"junk", 3, "its first record is not complete"),
        (
            "junk",
            b"this is no event file at all",
            1,
            "cannot read junk/events.out.tfevents.1 as an event file of TensorBoard: the length of the record at byte 0 \
             is damaged",
        ),
        ("header.csv", b"step,loss\n", 3, "it holds no values"),
        ("blank.csv", b"step,loss\n1,\n2,\n", 3, "it holds no values"),
        ("zero.csv", b"", 3, "the file is empty"),
        ("zero.jsonl", b"", 3, "the file is empty"),
        ("array.json", b"[]\n", 3, "it holds no values"),
    ];
    for (path, content, code, text) in files {
        if path.contains('.') {
            write_files(&folder, &[(path, content)]);
        } else {
            write_files(&folder, &[(&format!("{path}/{name}"), content)]);
        }
        let ended = run(&folder, &["import", path, "-e", "x"]);
        assert_eq!(ended.code, Some(code), "{path}: {}", ended.stderr);
        assert!(ended.stderr.contains(text), "{path}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{path}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{path}");
    }
    assert!(!folder.path().join("mlflow.db").exists());
    // Beside a table with values, each is a line.
    write_files(&folder, &[("good.csv", b"run,step,loss\na,1,2\nb,2,\n")]);
    let all = ["empty", "opened", "header.csv", "good.csv"];
    let ended = run(&folder, &[&["import", "-e", "x"], &all[..]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        ended.stderr.matches("there is nothing to import").count(),
        3,
        "{}",
        ended.stderr
    );
    let line = "good.csv: 1 run without values is left out: `b`";
    assert!(ended.stderr.contains(line), "{}", ended.stderr);
    let runs = "select group_concat(name) from runs";
    assert_eq!(one::<String>(&folder.database(), runs), "a");
}

#[test]
fn a_column_that_a_table_has_twice_is_an_error() {
    let folder = Folder::new();
    write_files(&folder, &[("twice.csv", b"step,loss,acc,loss\n1,2,3,4\n")]);
    let ended = run(&folder, &["import", "twice.csv"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let text =
        "twice.csv: line 1: there are two columns `loss`: give each column a name of its own";
    assert!(ended.stderr.contains(text), "{}", ended.stderr);
}

#[test]
fn a_quote_that_is_not_closed_is_told_with_its_line() {
    let folder = Folder::new();
    let text = "step,loss,note\n1,2,\"two\nlines\"\n2,3,\"open\n3,4,x\n4,5,y\n";
    write_files(
        &folder,
        &[
            ("rows.csv", text.as_bytes()),
            ("header.csv", b"step,loss,\"note\n1,2,3\n"),
        ],
    );
    let ended = run(&folder, &["import", "rows.csv"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let text = "rows.csv: line 4: a quote is not closed, so the lines behind it cannot be read";
    assert!(ended.stderr.contains(text), "{}", ended.stderr);
    assert!(
        !ended.stderr.contains("last row is not complete"),
        "{}",
        ended.stderr
    );
    let points = expected_points([("loss", 1, 2.0), ("loss", 2, 3.0)]);
    assert_eq!(points_of(&folder, "rows"), points);
    let ended = run(&folder, &["import", "header.csv"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let text = "header.csv: line 1: a quote is not closed";
    assert!(ended.stderr.contains(text), "{}", ended.stderr);
}

#[test]
fn a_table_with_semicolons_is_read_with_its_decimal_commas() {
    let folder = Folder::new();
    write_files(
        &folder,
        &[
            (
                "german.csv",
                b"step;\"train;loss\";acc\n1;0,5;0.25\n2;1e-3;1\n",
            ),
            ("tabs.csv", b"step\tloss\n1\t0.5\n"),
            ("commas.csv", b"step,\"a;b;c\"\n1,0.5\n"),
        ],
    );
    let files = ["german.csv", "tabs.csv", "commas.csv", "-e", "x"];
    let ended = run(&folder, &[&["import"], &files[..]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(
        points_of(&folder, "german"),
        expected_points([
            ("acc", 1, 0.25),
            ("acc", 2, 1.0),
            ("train_loss", 1, 0.5),
            ("train_loss", 2, 0.001),
        ])
    );
    assert_eq!(
        points_of(&folder, "tabs"),
        expected_points([("loss", 1, 0.5)])
    );
    assert_eq!(points_of(&folder, "commas").len(), 1);
}

#[test]
fn an_array_of_json_is_read_however_its_lines_are_broken() {
    let folder = Folder::new();
    let rows = r#"[{"step":1,"loss":0.5,"note":"a ] } \" b"},{"step":2,"loss":NaN,"val":{"acc":1}},7,{"step":3,"loss":1}]"#;
    let pretty = rows.replace('{', "{\n  ").replace(',', ",\n  ");
    let cut = &rows[..rows.len() - 6];
    write_files(
        &folder,
        &[
            ("line.json", rows.as_bytes()),
            ("pretty.json", pretty.as_bytes()),
            ("cut.json", cut.as_bytes()),
        ],
    );
    let all = ["line.json", "pretty.json", "cut.json", "-e", "x"];
    let ended = run(&folder, &[&["import"], &all[..]].concat());
    // One element is no object.
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for text in [
        "line.json: 1 row is left out, in line 1: it is no object of JSON",
        "pretty.json: 1 row is left out, in line 10: it is no object of JSON",
        "cut.json: the last row is not complete",
    ] {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
    let losses = "select name || ' ' || group_concat(step) from metrics join runs using (run_uuid) \
                  where key = 'loss' group by name order by name";
    let database = folder.database();
    let mut query = database.prepare(losses).unwrap();
    let found = query.query_map([], |row| row.get(0)).unwrap();
    let found: Vec<String> = found.collect::<Result<_, _>>().unwrap();
    assert_eq!(found, ["cut 1,2", "line 1,2,3", "pretty 1,2,3"]);
}

#[test]
fn the_index_that_pandas_writes_is_no_metric() {
    let folder = Folder::new();
    write_files(
        &folder,
        &[
            ("steps.csv", b",loss\n0,0.5\n10,0.25\n"),
            ("epochs.csv", b",epoch,loss\n0,5,0.5\n1,6,0.25\n"),
            ("words.csv", b"Unnamed: 0,loss\na,0.5\nb,0.25\n"),
        ],
    );
    let files = ["steps.csv", "epochs.csv", "words.csv", "-e", "x"];
    let ended = run(&folder, &[&["import"], &files[..]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let losses = |first, second| expected_points([("loss", first, 0.5), ("loss", second, 0.25)]);
    assert_eq!(points_of(&folder, "steps"), losses(0, 10));
    assert_eq!(points_of(&folder, "epochs"), losses(5, 6));
    assert_eq!(points_of(&folder, "words"), losses(0, 1));
    for text in [
        "steps.csv: the column without a name is taken for the step",
        "epochs.csv: the column without a name is left out",
        "words.csv: the column without a name is left out",
    ] {
        let found = ended.stderr.matches(text).count();
        assert_eq!(found, 1, "{text}: {}", ended.stderr);
    }
}

#[test]
fn runs_and_points_that_are_imported_together_are_counted_once() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let count = "select count(*) from metrics";
    let points: i64 = one(&folder.database(), count);
    let last: i64 = one(&folder.database(), "select count(*) from latest_metrics");
    for format in ["csv", "json", "parquet"] {
        let (runs, all) = (format!("runs.{format}"), format!("points.{format}"));
        for arguments in [
            &["export", "--output", &runs][..],
            &["export", "--metrics", "all", "--output", &all],
        ] {
            let ended = run(&folder, &[arguments, &["--format", format]].concat());
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        }
        let uri = format!("sqlite:///{}/{format}.db", folder.path().display());
        let import = ["import", &runs, &all, "--tracking-uri", &uri];
        let dry = run(&folder, &[&import[..], &["--dry-run"]].concat());
        let line = format!("7 runs with {points} points would be imported");
        assert!(dry.stderr.contains(&line), "{format}: {}", dry.stderr);
        for new in [points, 0] {
            let ended = run(&folder, &import);
            assert_eq!(ended.code, Some(0), "{format}: {}", ended.stderr);
            let line = format!("7 runs with {points} points imported, {new} of them new");
            assert!(ended.stderr.contains(&line), "{format}: {}", ended.stderr);
        }
        let stored = Connection::open(folder.path().join(format!("{format}.db"))).unwrap();
        assert_eq!(one::<i64>(&stored, count), points);
        // The runs alone hold the last point of each metric.
        let uri = format!("sqlite:///{}/{format}-alone.db", folder.path().display());
        let import = ["import", &runs, "--tracking-uri", &uri];
        for new in [last, 0] {
            let ended = run(&folder, &import);
            let line = format!("7 runs with {last} points imported, {new} of them new");
            assert!(ended.stderr.contains(&line), "{format}: {}", ended.stderr);
        }
    }
}

#[test]
fn tables_of_parquet_are_read() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    for arguments in [
        &["export", "--output", "runs.parquet"][..],
        &["export", "--metrics", "all", "--output", "points.parquet"],
    ] {
        let ended = run(&folder, &[arguments, &["--format", "parquet"]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    let uri = format!("sqlite:///{}", folder.path().join("copy.db").display());
    let import = ["import", "runs.parquet", "points.parquet", "-e", "demo"];
    output_of(&folder, &[&import[..], &["--tracking-uri", &uri]].concat());
    let everything = "select group_concat(line) from (
        select name || key || step || timestamp || value || is_nan || status || start_time || end_time as line
            from metrics join runs using (run_uuid)
        union all select name || key || value from params join runs using (run_uuid)
        order by line)";
    let copy = Connection::open(folder.path().join("copy.db")).unwrap();
    assert_eq!(
        one::<String>(&folder.database(), everything),
        one::<String>(&copy, everything)
    );
}

#[test]
fn a_line_feed_in_the_name_of_a_run_breaks_no_line() {
    let folder = Folder::new();
    write_files(
        &folder,
        &[("names.csv", b"run,step,loss\n\"first\nsecond\",1,2\n")],
    );
    let ended = run(&folder, &["import", "names.csv", "-e", "x"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.ends_with("x / first second: 1 point\n"),
        "{}",
        ended.stdout
    );
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    let names = "select name from runs";
    assert_eq!(one::<String>(&folder.database(), names), "first\nsecond");
}
