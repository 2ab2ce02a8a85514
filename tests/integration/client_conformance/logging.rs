//! Creation of runs and logging of values and artifacts: one script of calls is made by Python on one copy of the
//! sample, and by our client on others. All copies hold the same then, and a call that MLflow refuses is refused
//! by us for the same reason.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlflow::entities::{NewRun, RunUpdate, RunValues};
use mlflow::{ClientError, RunStatus, blocking};
use serde_json::{Value, json};

use super::administration::compare_dumps;
use super::python::Python;
use super::{client_of, copy_of, is_of_kind, list, sample, server_on, text, uri_of};
use crate::support::fake_server::{FakeServer, Reply};

const START: i64 = 1_700_000_000_000;
const UNKNOWN_RUN: &str = "0123456789abcdef0123456789abcdef";
const KEY: &str = "00000000000000000000000000000abc";

/// Calls that succeed.
fn script() -> Vec<Value> {
    let many_params: BTreeMap<String, String> = (0..250)
        .map(|at| (format!("p{at}"), at.to_string()))
        .collect();
    let many_tags: BTreeMap<String, String> = (0..150)
        .map(|at| (format!("t{at}"), at.to_string()))
        .collect();
    let many_points: Vec<Value> = (0..2500_i64)
        .map(|at| json!([format!("many/{}", at % 3), at.to_string(), at, START + at]))
        .collect();
    vec![
        json!({"call": "create_run", "experiment": "wine", "name": "logged ü", "start": START,
               "tags": {"mlflow.user": "eve", "odd key/a-b.c": "it's \"x\"", "empty": ""}}),
        json!({"call": "create_run", "experiment": "wine", "name": "bare", "start": 1, "tags": {}}),
        json!({"call": "create_run", "experiment": "mixed", "name": null, "start": START,
               "tags": {"mlflow.runName": "named by a tag"}}),
        json!({"call": "log_batch", "run": "logged ü",
               "metrics": [["loss", "0.5", 0, START], ["loss", "0.25", 1, START + 1], ["loss", "0.25", 1, START + 1],
                           ["odd", "nan", -3, START], ["odd", "inf", 7, 0], ["odd", "-inf", 7, 1],
                           ["val/a b:c", "1e-300", 1_i64 << 60, START]],
               "params": {"lr": "0.1", "größe": "", "long": "x".repeat(6000)},
               "tags": {"stage": "dev", "mlflow.note.content": "# text"}}),
        json!({"call": "log_batch", "run": "logged ü",
               "metrics": [["loss", "0.25", 1, START + 1], ["loss", "9", 0, START + 2]],
               "params": {"lr": "0.1", "more": "1"}, "tags": {"stage": "prod"}}),
        json!({"call": "log_batch", "run": "bare", "metrics": many_points, "params": many_params, "tags": many_tags}),
        json!({"call": "log_batch", "run": "run-01", "metrics": [["late", "1", 1, 1]], "params": {}, "tags": {}}),
        json!({"call": "log_batch", "run": "bare", "metrics": [], "params": {}, "tags": {}}),
        json!({"call": "log_text", "run": "logged ü", "text": "hello ü", "path": "notes/ü 1.txt"}),
        json!({"call": "log_text", "run": "logged ü", "text": "first", "path": "twice.txt"}),
        json!({"call": "log_text", "run": "logged ü", "text": "second", "path": "twice.txt"}),
        json!({"call": "log_file", "run": "bare", "text": "of a file", "folder": "a/b", "name": "c.bin"}),
        json!({"call": "end_run", "run": "logged ü", "status": "KILLED", "end": START + 5}),
    ]
}

/// Calls that MLflow refuses, made after the script.
fn bad_calls() -> Vec<Value> {
    let metric = |key: &str, time: i64| json!({"call": "log_batch", "run": "bare", "metrics": [["fine", "1", 1, 1], [key, "1", 1, time]], "params": {"new": "1"}, "tags": {}});
    let param = |run: &str, key: &str, value: &str| json!({"call": "log_batch", "run": run, "metrics": [], "params": {key: value}, "tags": {}});
    let tag = |key: &str, value: &str| json!({"call": "log_batch", "run": "bare", "metrics": [["fine", "1", 1, 1]], "params": {}, "tags": {key: value}});
    let run = |experiment: &str, name: Option<&str>, tags: Value| json!({"call": "create_run", "experiment": experiment, "name": name, "start": START, "tags": tags});
    vec![
        run("987654", Some("x"), json!({})),
        run("trash", Some("x"), json!({})),
        run("wine", Some("x"), json!({"mlflow.runName": "y"})),
        metric("bad\nkey", 1),
        metric("", 1),
        metric("../up", 1),
        metric(&"k".repeat(251), 1),
        metric("early", -1),
        param("bare", "bad\nkey", "x"),
        param("bare", "p1", "another value"),
        param(UNKNOWN_RUN, "p", "x"),
        param("deleted-0", "p", "x"),
        tag("bad\nkey", "x"),
        tag("", "x"),
        json!({"call": "log_text", "run": UNKNOWN_RUN, "text": "x", "path": "a.txt"}),
    ]
}

/// Our client, and the ids of experiments and runs by name.
struct Caller {
    client: blocking::Client,
    ids: BTreeMap<String, String>,
}

impl Caller {
    fn id(&self, name: &Value) -> String {
        let name = text(name);
        self.ids.get(name).map_or(name, String::as_str).to_owned()
    }

    fn make(&mut self, operation: &Value) -> Result<(), ClientError> {
        let texts = |key: &str| -> BTreeMap<String, String> {
            serde_json::from_value(operation[key].clone()).expect("texts")
        };
        let client = &self.client;
        match text(&operation["call"]) {
            "create_run" => {
                let start = operation["start"].as_i64().expect("a time");
                let experiment = self.id(&operation["experiment"]);
                let mut new = NewRun::new(experiment).start_time_ms(start);
                if let Some(name) = operation["name"].as_str() {
                    new = new.name(name);
                }
                for (key, value) in texts("tags") {
                    new = new.tag(key, value);
                }
                let run = client.create_run(new)?;
                assert_eq!(run.status, RunStatus::Running);
                self.ids.insert(run.name, run.run_id);
                Ok(())
            }
            "log_batch" => {
                let mut values = RunValues::new();
                for metric in list(&operation["metrics"]) {
                    let value = text(&metric[1]).parse().expect("a number");
                    let number = |at: usize| metric[at].as_i64().expect("a number");
                    values = values.metric(text(&metric[0]), value, number(2), number(3));
                }
                for (key, value) in texts("params") {
                    values = values.param(key, value);
                }
                for (key, value) in texts("tags") {
                    values = values.tag(key, value);
                }
                client.log_batch(self.id(&operation["run"]), values)
            }
            "log_text" => client.log_artifact_bytes(
                self.id(&operation["run"]),
                text(&operation["text"]),
                text(&operation["path"]),
            ),
            "log_file" => {
                let folder = tempfile::tempdir().expect("a directory");
                let name = text(&operation["name"]);
                let file = folder.path().join(name);
                fs::write(&file, text(&operation["text"])).expect("a file");
                let path = format!("{}/{name}", text(&operation["folder"]));
                client.log_artifact(self.id(&operation["run"]), file, path)
            }
            "end_run" => {
                let status: RunStatus = text(&operation["status"]).parse().expect("a status");
                let end = operation["end"].as_i64().expect("a time");
                let update = RunUpdate::new().status(status).end_time_ms(end);
                client.update_run(self.id(&operation["run"]), update)
            }
            other => panic!("no call {other}"),
        }
    }
}

/// Returns all that a store holds, with each run under its name, and without what stores choose for themselves:
/// the ids of runs and the places of artifacts.
fn dump(uri: &str) -> Value {
    let mut read = Python::shared().ask(&json!({"request": "read", "uri": uri}));
    let runs = read["runs"].take();
    let mut dump = serde_json::Map::new();
    for run in list(&runs) {
        let mut record = run.clone();
        let id = text(&run["run_id"]);
        for of_run in ["histories", "artifacts", "contents"] {
            record[of_run] = read[of_run][id].take();
        }
        let fields = record.as_object_mut().expect("a record");
        fields.remove("run_id");
        fields.remove("artifact_uri");
        let tags = fields["tags"].as_object_mut().expect("tags");
        tags.remove("mlflow.rust.runKey");
        assert_eq!(dump.insert(text(&run["name"]).to_owned(), record), None);
    }
    Value::Object(dump)
}

pub(super) struct Expected {
    refusals: Vec<String>,
    dump: Value,
}

fn expected() -> &'static Expected {
    static EXPECTED: std::sync::OnceLock<Expected> = std::sync::OnceLock::new();
    EXPECTED.get_or_init(|| expect(&uri_of(&copy_of(sample()))))
}

/// Lets Python make all calls on a database that holds a sample.
pub(super) fn expect(uri: &str) -> Expected {
    let perform = |operations: &[Value]| {
        let request = json!({"request": "perform", "uri": uri, "operations": operations});
        list(&Python::shared().ask(&request)).to_vec()
    };
    let outcomes = perform(&[script(), bad_calls()].concat());
    let (done, refused) = outcomes.split_at(script().len());
    for (operation, outcome) in script().iter().zip(done) {
        assert_eq!(*outcome, Value::Null, "MLflow: {operation:.200}");
    }
    let refusals = refused.iter().zip(bad_calls()).map(|(refusal, operation)| {
        let refusal = refusal.as_str();
        refusal
            .unwrap_or_else(|| panic!("MLflow accepts {operation:.200}"))
            .to_owned()
    });
    Expected {
        refusals: refusals.collect(),
        dump: dump(uri),
    }
}

/// Makes all calls on a store that holds a sample, and compares it with Python's.
pub(super) fn compare(store: &str, uri: &str, expected: &Expected) {
    let ids = Python::shared().ask(&json!({"request": "ids", "uri": uri}));
    let ids = serde_json::from_value(ids).expect("ids");
    let client = client_of(uri);
    let mut caller = Caller { client, ids };
    for operation in script() {
        let done = caller.make(&operation);
        done.unwrap_or_else(|error| panic!("{store}: {operation:.200}: {error}"));
    }
    for (operation, refusal) in bad_calls().iter().zip(&expected.refusals) {
        let error = caller.make(operation);
        let error = error.expect_err(&format!("{store}: {operation:.200}"));
        let (code, _) = refusal.split_once(": ").expect("a code");
        assert!(
            is_of_kind(&error, code),
            "{store}: {operation:.200}: {error:?}, but MLflow: {refusal}"
        );
    }
    compare_dumps(store, &dump(uri), &expected.dump);
}

#[test]
fn what_is_logged_to_a_sqlite_file_is_as_mlflow_logs_it() {
    compare("SQLite", &uri_of(&copy_of(sample())), expected());
}

#[test]
fn what_is_logged_to_a_server_is_as_mlflow_logs_it() {
    compare("REST", server_on(&copy_of(sample())).url(), expected());
}

/// The fake has other experiments, so only what the new runs hold is compared.
#[test]
fn what_is_logged_to_a_fake_is_as_mlflow_logs_it() {
    let _fake = mlflow::testing::fake();
    let client = blocking::Client::new();
    let ids = ["wine", "mixed"].map(|name| {
        (
            name.to_owned(),
            client.create_experiment(name).expect("an experiment"),
        )
    });
    let mut caller = Caller {
        client: client.clone(),
        ids: ids.into(),
    };
    let is_of_sample = |operation: &Value| operation["run"].as_str() == Some("run-01");
    for operation in script().iter().filter(|operation| !is_of_sample(operation)) {
        let done = caller.make(operation);
        done.unwrap_or_else(|error| panic!("{operation:.200}: {error}"));
    }
    for name in ["logged ü", "bare", "named by a tag"] {
        let (id, mlflows) = (&caller.ids[name], &expected().dump[name]);
        let run = client.run(id).expect("a run");
        let mut tags = run.tags.clone();
        tags.remove("mlflow.rust.runKey");
        assert_eq!(json!(tags), mlflows["tags"]);
        assert_eq!(json!(run.params), mlflows["params"]);
        assert_eq!(json!(run.status), mlflows["status"]);
        assert_eq!(json!(run.user_id), mlflows["user_id"]);
        assert_eq!(json!(run.start_time_ms), mlflows["start_time_ms"]);
        assert_eq!(json!(run.end_time_ms), mlflows["end_time_ms"]);
        for (key, points) in mlflows["histories"].as_object().expect("histories") {
            let history = client.metric_history(id, key).expect("a history");
            let ours: Vec<Value> = { history.iter() }
                .map(|point| {
                    // MLflow stores an infinity as the largest finite value.
                    let value = super::bits(point.value.clamp(f64::MIN, f64::MAX));
                    json!({"step": point.step, "value": value, "timestamp_ms": point.timestamp_ms})
                })
                .collect();
            assert_eq!(json!(ours), *points, "{key}");
        }
        for (path, content) in mlflows["contents"].as_object().expect("contents") {
            let bytes = client.read_artifact(id, path).expect("bytes");
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(json!(hex), *content, "{path}");
        }
    }
}

#[test]
fn a_key_creates_one_run() {
    for uri in [
        uri_of(&copy_of(sample())),
        server_on(&copy_of(sample())).url().to_owned(),
    ] {
        let client = client_of(&uri);
        let experiment = client.experiment("wine").expect("one").experiment_id;
        let new = NewRun::new(&experiment).name("first").key(KEY);
        let first = client.create_run(new.clone()).expect("a run");
        client
            .log_batch(&first.run_id, RunValues::new().param("a", 1))
            .expect("a param");
        let again = client.create_run(new.name("second")).expect("the run");
        assert_eq!(again.run_id, first.run_id);
        assert_eq!((&*again.name, again.param("a")), ("first", Some("1")));
        for bad in ["", "ABC", &KEY.to_uppercase(), &KEY[1..]] {
            let error = client.create_run(NewRun::new(&experiment).key(bad));
            let error = error.expect_err(bad);
            assert!(matches!(error, ClientError::Invalid { .. }), "{error:?}");
            assert!(error.to_string().contains("32 characters"), "{error}");
        }
    }
}

#[test]
fn an_entry_that_mlflow_refuses_is_named_and_nothing_is_logged() {
    let client = client_of(&uri_of(&copy_of(sample())));
    let experiment = client.experiment("wine").expect("one").experiment_id;
    let run = client
        .create_run(NewRun::new(experiment))
        .expect("a run")
        .run_id;
    let fine = || {
        RunValues::new()
            .metric("fine", 1.0, 0, 1)
            .param("fine", 1)
            .tag("fine", 1)
    };
    let long = "x".repeat(8001);
    for (values, named) in [
        (fine().metric("a@b", 1.0, 0, 1), "metric key `a@b`"),
        (
            fine().metric("early", 1.0, 0, -5),
            "metric `early`: timestamp -5",
        ),
        (fine().param("a@b", 1), "param key `a@b`"),
        (
            fine().param("long", &long),
            "the param `long` has 8001 characters",
        ),
        (
            fine().param("twice", 1).param("twice", 2),
            "`twice` is given twice, as `1` and as `2`",
        ),
        (fine().tag("a@b", 1), "tag key `a@b`"),
        (
            fine().tag("long", &long),
            "the tag `long` has 8001 characters",
        ),
        (
            fine().metric_columns("short", &[1, 2], &[0.5], &[1, 2]),
            "2 steps, 1 values and 2 times",
        ),
    ] {
        let error = client.log_batch(&run, values).expect_err(named);
        assert!(matches!(error, ClientError::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains(named), "{error}");
    }
    let found = client.run(&run).expect("the run");
    assert!(found.metrics.is_empty() && found.params.is_empty());
    assert_eq!(found.tag("fine"), None);
    let outside = client.log_artifact_bytes(&run, "x", "../a.txt");
    let outside = outside.expect_err("a path outside of the run");
    assert!(
        matches!(outside, ClientError::Invalid { .. }),
        "{outside:?}"
    );
    assert!(outside.to_string().contains("`../a.txt`"), "{outside}");
    // MLflow creates a run whatever its tags are called, and refuses to set such a tag later.
    let bad = NewRun::new(&found.experiment_id).tag("a@b", 1);
    let error = client.create_run(bad).expect_err("a bad tag");
    assert!(error.to_string().contains("tag key `a@b`"), "{error}");
    let missing = client
        .log_artifact(&run, "/not/there", "a.txt")
        .expect_err("no file");
    assert!(
        matches!(missing, ClientError::LocalFile { .. }),
        "{missing:?}"
    );
    assert!(missing.to_string().contains("/not/there"), "{missing}");
}

/// The server carries out the creation, but its answer is lost.
#[test]
fn a_lost_answer_makes_no_second_run() {
    static CREATED: AtomicUsize = AtomicUsize::new(0);
    let run = json!({"info": {"run_id": "r1", "experiment_id": "1", "artifact_uri": "mlflow-artifacts:/1/r1/artifacts",
        "status": "RUNNING", "lifecycle_stage": "active", "start_time": START, "run_name": "a"},
        "data": {"tags": []}, "inputs": {}});
    let server = FakeServer::start(move |request, _| {
        let line = &request.line;
        if line.contains("runs/create") {
            CREATED.fetch_add(1, Ordering::Relaxed);
            Reply::Close
        } else if line.contains("runs/search") {
            Reply::json(&json!({"runs": [run]}).to_string())
        } else {
            Reply::json(&json!({ "run": run }).to_string())
        }
    });
    let client = client_of(&server.url());
    let created = client
        .create_run(NewRun::new("1").name("a"))
        .expect("the run");
    assert_eq!(created.run_id, "r1");
    assert_eq!(CREATED.load(Ordering::Relaxed), 1);
}

/// Returns the numbers of points in the requests that a server was sent, and the steps of all points that it took.
fn log_to(reply: impl Fn(usize, usize) -> Reply + Send + Sync + 'static) -> (Vec<usize>, Vec<i64>) {
    let run = json!({"info": {"run_id": "r1", "experiment_id": "1", "artifact_uri": "mlflow-artifacts:/1/r1/artifacts",
        "status": "RUNNING", "lifecycle_stage": "active", "start_time": START, "run_name": "a"},
        "data": {}, "inputs": {}});
    let points = |body: &[u8]| -> Vec<i64> {
        let body: Value = serde_json::from_slice(body).expect("JSON");
        let metrics = list(&body["metrics"]).iter();
        metrics
            .map(|metric| metric["step"].as_i64().expect("a step"))
            .collect()
    };
    let batches = AtomicUsize::new(0);
    let server = FakeServer::start(move |request, _| {
        if request.line.contains("log-batch") {
            reply(
                batches.fetch_add(1, Ordering::Relaxed),
                points(&request.body).len(),
            )
        } else {
            Reply::json(&json!({ "run": run }).to_string())
        }
    });
    let steps: Vec<i64> = (0..1500).collect();
    let values = RunValues::new().metric_columns("loss", &steps, &[0.5; 1500], &steps);
    client_of(&server.url())
        .log_batch("r1", values)
        .expect("all points");
    let (mut sizes, mut taken) = (Vec::new(), Vec::new());
    for request in server.requests() {
        if request.line.contains("log-batch") {
            sizes.push(points(&request.body).len());
            taken.extend(points(&request.body));
        }
    }
    taken.sort_unstable();
    taken.dedup();
    (sizes, taken)
}

#[test]
fn a_batch_without_an_answer_is_sent_again_in_small_parts() {
    let (sizes, taken) = log_to(|batch, _| match batch {
        0 => Reply::Close,
        _ => Reply::json("{}"),
    });
    assert_eq!(taken, (0..1500).collect::<Vec<i64>>());
    assert_eq!(sizes[0], 1000);
    // The HTTP client itself repeats a request whose connection was closed.
    assert!(sizes.contains(&500), "{sizes:?}");
}

#[test]
fn a_batch_that_a_gateway_refuses_is_halved() {
    let (sizes, taken) = log_to(|_, points| match points {
        301.. => Reply::status(413, "too large"),
        _ => Reply::json("{}"),
    });
    assert_eq!(taken, (0..1500).collect::<Vec<i64>>());
    assert_eq!(sizes[..4], [1000, 500, 250, 250]);
    assert!(
        sizes.iter().filter(|size| **size > 300).count() <= 5,
        "{sizes:?}"
    );
}
