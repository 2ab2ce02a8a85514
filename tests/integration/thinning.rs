//! Points that are left out of the metrics on request: the metrics and the files of a run hold together all that was logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::fake_mlflow::FakeMlflow;
use crate::support::fake_server::{FakeServer, Reply, Request};
use crate::support::mlflow::{Server, python};
use crate::support::program::{Ended, Folder};
use crate::support::unique;

const NUMBERS: &str = env!("CARGO_BIN_EXE_numbers");
const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

const RATE: &str = "MLFLOW_METRIC_MAX_POINTS_PER_SECOND";

/// Points of a metric that go to the store whatever the rate is.
const BURST: usize = 1000;

/// Reads all runs of an experiment with pandas and Python's client. Prints for each run its status, and for each metric the
/// number of its points on the store, the number of different points in the files, the number of different ones in both
/// together, and the latest value, as MLflow has it. Fails if a file has other columns, types or an order of its own.
const READ: &str = r#"
import json, sys
import mlflow, pandas
from mlflow import MlflowClient
uri, experiment = sys.argv[1:]
mlflow.set_tracking_uri(uri)
client = MlflowClient()
found = []
for run in client.search_runs([client.get_experiment_by_name(experiment).experiment_id]):
    id = run.info.run_id
    paths = [file.path for file in client.list_artifacts(id, "thinned_metrics")]
    assert all(path.endswith(".parquet") for path in paths), paths
    files = [pandas.read_parquet(client.download_artifacts(id, path)) for path in paths]
    for file in files:
        types = {name: str(kind) for name, kind in file.dtypes.items()}
        assert list(types) == ["key", "step", "timestamp", "value"], types
        assert types["step"] == "int64" and types["value"] == "float64", types
        assert types["timestamp"].endswith(", UTC]"), types
        assert not file.isnull().any().any()
        assert file.equals(file.sort_values(["key", "step", "timestamp"], kind="stable").reset_index(drop=True))
    left_out = {}
    for file in files:
        times = (file["timestamp"] - pandas.Timestamp(0, tz="UTC")) // pandas.Timedelta(milliseconds=1)
        for key, step, time, value in zip(file["key"], file["step"], times, file["value"]):
            left_out.setdefault(key, set()).add((step, int(time), value))
    metrics = {}
    for key, latest in run.data.metrics.items():
        points = [(point.step, point.timestamp, point.value) for point in client.get_metric_history(id, key)]
        stored = set(points)
        assert len(stored) == len(points)
        file = left_out.pop(key, set())
        everything = stored | file
        assert all(step == value for step, _, value in everything)
        metrics[key] = [len(stored), len(file), len({step for step, _, _ in everything}), latest]
    assert not left_out, left_out
    found.append({"status": run.info.status, "files": len(files), "metrics": metrics})
print(json.dumps(found))
"#;

fn read(uri: &str, experiment: &str) -> Value {
    serde_json::from_str(&python(READ, &[uri, experiment])).expect("JSON")
}

/// Logs `count` points under one key to a run of `experiment`, and flushes meanwhile.
fn log_points(folder: &Folder, uri: &str, experiment: &str, count: usize, rate: &str) -> Ended {
    let points = format!("points loss 0 {count}");
    let script = [
        "start thinned",
        &points,
        "flush 60",
        "health",
        "end thinned",
        "flush 60",
        "health",
    ];
    let environment = [
        ("MLFLOW_TRACKING_URI", uri),
        ("MLFLOW_EXPERIMENT_NAME", experiment),
        (RATE, rate),
    ];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    ended
}

/// Checks a run of which one metric was thinned, and returns the number of its points in the store.
fn assert_thinned(run: &Value, key: &str, count: usize) -> usize {
    let [stored, left_out, together, latest] = [0, 1, 2, 3].map(|at| &run["metrics"][key][at]);
    assert_eq!(together, &json!(count), "{run}");
    assert_eq!(latest, &json!((count - 1) as f64), "{run}");
    let stored = stored.as_u64().expect("a number") as usize;
    assert!(stored > BURST && stored < count / 2, "{run}");
    assert!(left_out.as_u64() > Some(0), "{run}");
    stored
}

#[test]
fn a_server_gets_few_points_and_a_file_with_all_others() {
    const COUNT: usize = 30_000;
    let (server, folder, experiment) = (Server::shared(), Folder::new(), unique());
    let ended = log_points(&folder, server.url(), &experiment, COUNT, "10");
    let runs = read(server.url(), &experiment);
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
    let run = &runs[0];
    assert_eq!(
        (&run["status"], &run["files"]),
        (&json!("FINISHED"), &json!(1))
    );
    assert_thinned(run, "loss", COUNT);
    // A flush does not wait for the points that gather for the file, and the file comes with the end of the run.
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let [first, gathering, second, done] = lines[..] else {
        panic!("{}", ended.stdout);
    };
    assert_eq!([first, second], ["flushed true"; 2]);
    assert!(!gathering.starts_with("health queued 0 "), "{gathering}");
    assert!(done.starts_with("health queued 0 "), "{done}");
    let line = "metric points go into files below thinned_metrics of their runs and not into the metrics, as \
                MLFLOW_METRIC_MAX_POINTS_PER_SECOND is 10";
    assert!(ended.stderr.contains(line), "{}", ended.stderr);
}

#[test]
fn a_short_run_is_whole() {
    let (folder, experiment) = (Folder::new(), "short");
    let uri = format!("sqlite:///{}/mlflow.db", folder.path().display());
    let ended = log_points(&folder, &uri, experiment, BURST, "1");
    let runs = read(&uri, experiment);
    let metrics = json!({ "loss": [BURST, 0, BURST, (BURST - 1) as f64] });
    assert_eq!(
        runs,
        json!([{ "status": "FINISHED", "files": 0, "metrics": metrics }])
    );
    assert!(
        !ended.stderr.contains("thinned_metrics"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_file_is_written_before_there_are_too_many_points() {
    const COUNT: usize = 600_000;
    let (folder, experiment) = (Folder::new(), "many");
    let uri = format!("sqlite:///{}/mlflow.db", folder.path().display());
    log_points(&folder, &uri, experiment, COUNT, "0.5");
    let runs = read(&uri, experiment);
    assert_thinned(&runs[0], "loss", COUNT);
    assert!(runs[0]["files"].as_u64() >= Some(2), "{runs}");
}

#[test]
fn a_program_killed_with_points_left_out_loses_none() {
    const COUNT: usize = 20_000;
    let (folder, experiment) = (Folder::new(), "numbers");
    let uri = format!("sqlite:///{}/mlflow.db", folder.path().display());
    let environment = [("MLFLOW_TRACKING_URI", &*uri), (RATE, "1")];
    let points = format!("points loss 0 {COUNT}");
    // Some of the points are delivered and left out, and the rest is in the journal alone.
    let more = format!("points loss {COUNT} {}", 2 * COUNT);
    let script = ["start numbers", &points, "flush 60", &more, "wait logged"];
    let environment_of_killed = [
        environment[0],
        environment[1],
        ("MLFLOW_EXPERIMENT_NAME", experiment),
    ];
    let mut live = folder.start(SCRIPTED, &script, &environment_of_killed);
    live.wait_for_stdout("logged");
    live.kill();
    let next = folder.run(NUMBERS, &["next", "0", "1"], &environment);
    assert!(next.success, "{}", next.stderr);
    let runs = read(&uri, experiment);
    let is_killed = |run: &&Value| run["status"] == "KILLED";
    let killed = { runs.as_array().into_iter().flatten() }.find(is_killed);
    assert_thinned(killed.expect("the killed run"), "loss", 2 * COUNT);
    assert_eq!(folder.journals_left(), 0, "{}", next.stderr);
}

/// The next program may have other settings: then all points go to the store.
#[test]
fn what_a_killed_program_has_left_out_may_be_shipped_by_one_that_leaves_nothing_out() {
    const COUNT: usize = 20_000;
    let (folder, experiment) = (Folder::new(), "numbers");
    let uri = format!("sqlite:///{}/mlflow.db", folder.path().display());
    let points = format!("points loss 0 {COUNT}");
    let script = ["start numbers", &points, "flush 60", "wait logged"];
    let environment = [
        ("MLFLOW_TRACKING_URI", &*uri),
        ("MLFLOW_EXPERIMENT_NAME", experiment),
        (RATE, "1"),
    ];
    let mut live = folder.start(SCRIPTED, &script, &environment);
    live.wait_for_stdout("logged");
    live.kill();
    let next = folder.run(NUMBERS, &["next", "0", "1"], &environment[..1]);
    assert!(next.success, "{}", next.stderr);
    let runs = read(&uri, experiment);
    let killed = { runs.as_array().into_iter().flatten() }.find(|run| run["status"] == "KILLED");
    let metrics = &killed.expect("the killed run")["metrics"]["loss"];
    assert_eq!(metrics, &json!([COUNT, 0, COUNT, (COUNT - 1) as f64]));
}

/// Server whose runs and artifacts can be made unavailable.
struct Unreliable {
    mlflow: Arc<FakeMlflow>,
    server: FakeServer,
    is_down: Arc<AtomicBool>,
    takes_no_files: Arc<AtomicBool>,
}

impl Unreliable {
    fn start() -> Self {
        let mlflow: Arc<FakeMlflow> = Arc::default();
        let (is_down, takes_no_files): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let (own, down, no_files) = (
            Arc::clone(&mlflow),
            Arc::clone(&is_down),
            Arc::clone(&takes_no_files),
        );
        let server = FakeServer::start(move |request, _| {
            if down.load(Ordering::SeqCst) {
                return Reply::Close;
            }
            match is_file(request) {
                true if no_files.load(Ordering::SeqCst) => Reply::status(500, "{}"),
                true => Reply::json("{}"),
                false => own.answer(request),
            }
        });
        Self {
            mlflow,
            server,
            is_down,
            takes_no_files,
        }
    }

    /// Returns the number of points of the run with this name, and its status.
    fn run(&self, name: &str) -> (usize, String) {
        let runs = self.mlflow.runs();
        let run = runs.values().find(|run| run.name == name).expect("the run");
        (run.points.len(), run.status.clone())
    }

    /// Returns the files of points that were uploaded.
    fn files(&self) -> Vec<Vec<u8>> {
        let requests = self.server.requests().into_iter();
        requests
            .filter(is_file)
            .map(|request| request.body)
            .collect()
    }
}

fn is_file(request: &Request) -> bool {
    request.line.contains("/mlflow-artifacts/") && request.line.contains("thinned_metrics/")
}

/// Regression: what a process left of a run that it had ended was sent to the server point by point.
#[test]
fn a_backlog_of_an_ended_run_is_thinned_by_the_next_program() {
    let (unreliable, folder) = (Unreliable::start(), Folder::new());
    let url = unreliable.server.url();
    let environment = [
        ("MLFLOW_TRACKING_URI", &*url),
        (RATE, "10"),
        ("MLFLOW_EXIT_TIMEOUT", "1"),
    ];
    unreliable.is_down.store(true, Ordering::SeqCst);
    let script = ["start backlog", "points loss 0 30000", "end backlog"];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(ended.stderr.contains("wait in"), "{}", ended.stderr);
    unreliable.is_down.store(false, Ordering::SeqCst);
    let next = folder.run(NUMBERS, &["next", "0", "1"], &environment[..2]);
    assert_eq!(folder.journals_left(), 0, "{}", next.stderr);
    let (points, status) = unreliable.run("backlog");
    assert_eq!(status, "FINISHED");
    assert!(points > BURST && points < 15_000, "{points}");
    let files = unreliable.files();
    assert!(!files.is_empty() && files.iter().all(|file| file.starts_with(b"PAR1")));
}

#[test]
fn a_file_that_the_server_does_not_take_waits_and_its_run_ends() {
    let (unreliable, folder) = (Unreliable::start(), Folder::new());
    let url = unreliable.server.url();
    let environment = [
        ("MLFLOW_TRACKING_URI", &*url),
        (RATE, "10"),
        ("MLFLOW_EXIT_TIMEOUT", "2"),
    ];
    unreliable.takes_no_files.store(true, Ordering::SeqCst);
    let script = ["start thinned", "points loss 0 30000", "end thinned"];
    let ended = folder.run(SCRIPTED, &script, &environment);
    let (points, status) = unreliable.run("thinned");
    assert_eq!(status, "FINISHED", "{}", ended.stderr);
    // The file counts as all of its points. The greatest one, which is in the store as well, is among them if it was left out.
    let left_out = 30_000 - points;
    let is_reported = |count: usize| {
        let line = format!("mlflow: {count} values wait in");
        ended.stderr.contains(&line)
    };
    let is_any = [left_out, left_out + 1].into_iter().any(is_reported);
    assert!(is_any, "{left_out}: {}", ended.stderr);
    unreliable.takes_no_files.store(false, Ordering::SeqCst);
    let next = folder.run(NUMBERS, &["next", "0", "1"], &environment[..2]);
    assert_eq!(folder.journals_left(), 0, "{}", next.stderr);
    assert_eq!(
        unreliable.run("thinned").0,
        points,
        "what is in the file is not sent again"
    );
}

#[test]
fn a_rate_that_is_none_is_reported_and_ignored() {
    for rate in ["0", "-2", "many", "inf"] {
        let folder = Folder::new();
        let environment = [(RATE, rate)];
        let ended = folder.run(
            SCRIPTED,
            &["start r", "points loss 0 3000", "end r"],
            &environment,
        );
        let told =
            format!("{RATE}={rate:?} cannot be used and is ignored; expected a number above 0");
        assert!(ended.stderr.contains(&told), "{}", ended.stderr);
        let points = "SELECT count(*) FROM metrics";
        let points: i64 = crate::support::program::one(&folder.database(), points);
        assert_eq!(points, 3000);
    }
}
