//! Tables: read back by MLflow's own Python client, each row exactly once and in order, whatever happens.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlflow::testing::fake;
use mlflow::{blocking, flush, start_run};
use serde_json::{Value, json};

use crate::support::fake_server::Request;
use crate::support::fault::Fault;
use crate::support::mlflow::{Server, python};
use crate::support::program::Folder;
use crate::support::proxy::Proxy;
use crate::support::rng::Rng;
use crate::support::unique;
use crate::support::warnings;

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Returns the table of the only run of an experiment, as `mlflow.load_table` of Python returns it.
fn load_with_python(uri: &str, experiment: &str, path: &str) -> Value {
    const SCRIPT: &str = r#"
import json, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name(sys.argv[2])
table = client.load_table(experiment.experiment_id, sys.argv[3])
run, = client.search_runs([experiment.experiment_id])
print(json.dumps({
    "columns": list(table.columns),
    "rows": table.astype(object).where(table.notna(), None).values.tolist(),
    "logged": json.loads(run.data.tags["mlflow.loggedArtifacts"]),
}))
"#;
    let printed = python(SCRIPT, &[uri, experiment, path]);
    serde_json::from_str(&printed).expect("JSON")
}

fn uri_of(folder: &Path) -> String {
    format!("sqlite:///{}", folder.join("mlflow.db").display())
}

/// Checks that the table has the rows `0..count`, each once and in order.
fn assert_rows(table: &Value, count: i64) {
    let ids: Vec<i64> = table["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row[0].as_i64().expect("an id"))
        .collect();
    assert_eq!(ids, (0..count).collect::<Vec<_>>());
}

#[test]
fn python_loads_a_table_from_a_file_and_from_a_server() {
    let server = Server::shared();
    let experiment = unique();
    for server_url in [None, Some(server.url())] {
        let folder = Folder::new();
        let uri = server_url.map_or_else(|| uri_of(folder.path()), str::to_owned);
        let environment = [
            ("MLFLOW_TRACKING_URI", uri.as_str()),
            ("MLFLOW_EXPERIMENT_NAME", experiment.as_str()),
        ];
        let steps = [
            "start one",
            "rows eval.json 0 3",
            "wide sub/wide.json 40",
            "row eval.json 3 5",
            "end one",
        ];
        let ended = folder.run(SCRIPTED, &steps, &environment);
        assert!(ended.success, "{}", ended.stderr);
        assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
        let table = load_with_python(&uri, &experiment, "eval.json");
        assert_rows(&table, 5);
        assert_eq!(table["columns"], json!(["id", "text", "score"]));
        assert_eq!(table["rows"][4], json!([4, "row 4, \"quoted\"", 1.0]));
        assert_eq!(
            table["logged"],
            json!([
                {"path": "eval.json", "type": "table"},
                {"path": "sub/wide.json", "type": "table"},
            ])
        );
        let wide = load_with_python(&uri, &experiment, "sub/wide.json");
        assert_eq!(wide["columns"], json!([0, 1]), "a row without names");
        assert_rows(&wide, 40);
    }
}

#[test]
fn rows_of_a_process_that_was_killed_come_before_those_of_the_next() {
    let folder = Folder::new();
    let uri = uri_of(folder.path());
    let experiment = unique();
    let environment = [
        ("MLFLOW_TRACKING_URI", uri.as_str()),
        ("MLFLOW_EXPERIMENT_NAME", experiment.as_str()),
    ];
    let died = folder.run(
        SCRIPTED,
        &["start one", "row t.json 0 20", "rows t.json 20 30", "abort"],
        &environment,
    );
    assert!(!died.success);
    let ended = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_rows(&load_with_python(&uri, &experiment, "t.json"), 30);
}

/// Python reads the table, adds its rows and writes everything anew, with other digits.
#[test]
fn rows_are_appended_to_a_table_that_python_has_written() {
    const APPEND: &str = r#"
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name(sys.argv[2])
run, = client.search_runs([experiment.experiment_id])
first, last = int(sys.argv[3]), int(sys.argv[4])
rows = {"id": list(range(first, last)), "more": [1.5] * (last - first)}
client.log_table(run.info.run_id, rows, "t.json")
print(run.info.run_id)
"#;
    let folder = Folder::new();
    let uri = uri_of(folder.path());
    let experiment = unique();
    let environment = [
        ("MLFLOW_TRACKING_URI", uri.as_str()),
        ("MLFLOW_EXPERIMENT_NAME", experiment.as_str()),
    ];
    let started = folder.run(
        SCRIPTED,
        &["start one", "rows t.json 0 4", "end one"],
        &environment,
    );
    assert!(started.success, "{}", started.stderr);
    let run_id = python(APPEND, &[&uri, &experiment, "4", "6"]);
    let resume = format!("resume one {}", run_id.trim());
    let ended = folder.run(
        SCRIPTED,
        &[&resume, "rows t.json 6 9", "end one"],
        &environment,
    );
    assert!(ended.success, "{}", ended.stderr);
    let table = load_with_python(&uri, &experiment, "t.json");
    assert_rows(&table, 9);
    assert_eq!(table["columns"], json!(["id", "text", "score", "more"]));
    assert_eq!(table["rows"][5], json!([5, null, null, 1.5]));
    assert_eq!(table["rows"][8][3], Value::Null);
    assert_eq!(table["logged"].as_array().map(Vec::len), Some(1));
}

/// An answer that is lost after the server has stored the table must not double its rows.
#[test]
fn each_row_arrives_once_however_many_answers_are_lost() {
    let server = Server::shared();
    let mut rng = Rng::seeded();
    let proxy = Proxy::start(server.url(), move |request: &Request| {
        let is_append = request.line.starts_with("PUT ") || request.line.contains("log-batch");
        if !is_append || rng.below(2) == 0 {
            return None;
        }
        Some(match rng.below(4) {
            0_u64 => Fault::Committed(503),
            1 => Fault::DropAnswer,
            2 => Fault::ResetAnswer,
            _ => Fault::Status(503),
        })
    });
    let folder = Folder::new();
    let experiment = unique();
    let environment = [
        ("MLFLOW_TRACKING_URI", proxy.url()),
        ("MLFLOW_EXPERIMENT_NAME", experiment.clone()),
    ];
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(variable, value)| (*variable, value.as_str()))
        .collect();
    let mut program = folder.start(
        SCRIPTED,
        &[
            "start one",
            "row t.json 0 5",
            "flush 60",
            "row t.json 5 10",
            "flush 60",
            "rows t.json 10 12",
            "flush 60",
            "wait logged",
            "row t.json 12 15",
            "end one",
        ],
        &environment,
    );
    program.wait_for_stdout("logged");
    proxy.heal();
    program.tell();
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    assert_rows(&load_with_python(server.url(), &experiment, "t.json"), 15);
}

#[test]
fn rows_of_any_form_are_read_back() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Row {
        a: Option<f64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        b: Option<Vec<String>>,
    }
    let fake = fake();
    let run = start_run().start();
    let first = Row {
        a: Some(0.1 + 0.2),
        b: None,
    };
    let second = Row {
        a: Some(f64::NAN),
        b: Some(vec!["x".to_owned(), "\"y\",\n".to_owned()]),
    };
    mlflow::log_table([&first, &second], "t.json");
    mlflow::log_table([7, 8], "numbers.json");
    mlflow::log_table::<Row>([], "empty.json");
    let run_id = run.key().to_owned();
    drop(run);
    flush(std::time::Duration::from_secs(10));
    let client = blocking::Client::new();
    let rows: Vec<Row> = client.load_table(&run_id, "t.json").unwrap();
    assert_eq!(rows[0], first);
    assert_eq!(rows[1].a, None, "JSON has no NaN");
    assert_eq!(rows[1].b, second.b);
    let numbers: Vec<Value> = client.load_table(&run_id, "numbers.json").unwrap();
    assert_eq!(numbers, [json!({"0": 7}), json!({"0": 8})]);
    let empty = &fake.runs()[0].artifacts["empty.json"];
    assert_eq!(empty, br#"{"columns":[],"data":[]}"#);
    let wrong = client.load_table::<(u8, u8)>(&run_id, "t.json");
    assert!(wrong.unwrap_err().to_string().contains("t.json"));
}

/// Serializes as nothing that JSON can hold, or panics.
struct Unwritable {
    panics: bool,
}

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        assert!(!self.panics, "a mistake of the user's");
        Err(serde::ser::Error::custom("a map without keys"))
    }
}

#[test]
fn a_row_that_cannot_be_written_costs_no_other() {
    #[derive(serde::Serialize)]
    #[serde(untagged)]
    enum Row {
        Good { id: i64 },
        Bad(Unwritable),
    }
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = start_run().start();
        let rows = [
            Row::Good { id: 0 },
            Row::Bad(Unwritable { panics: false }),
            Row::Bad(Unwritable { panics: true }),
            Row::Good { id: 1 },
        ];
        run.log_table(rows, "t.json");
        drop(run);
        fake.runs()
    });
    let warnings = warnings.join("\n");
    assert_eq!(
        runs[0].artifacts["t.json"],
        br#"{"columns":["id"],"data":[[0],[1]]}"#
    );
    assert!(
        warnings.contains("row 1 is left out") && warnings.contains("a map without keys"),
        "{warnings}"
    );
}

/// Regression: one such integer made the whole table unreadable for Python's client.
#[test]
fn an_integer_that_python_cannot_read_costs_its_row_alone() {
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = start_run().start();
        run.log_table([u128::from(u64::MAX)], "t.json");
        run.log_table([i128::from(i64::MIN), i128::from(i64::MIN) - 1], "t.json");
        run.log_table([i128::MAX], "t.json");
        run.log_table([u128::MAX], "u.json");
        drop(run);
        fake.runs()
    });
    assert_eq!(
        runs[0].artifacts["t.json"],
        br#"{"columns":["0"],"data":[[18446744073709551615],[-9223372036854775808]]}"#
    );
    assert_eq!(runs[0].artifacts["u.json"], br#"{"columns":[],"data":[]}"#);
    let warnings = warnings.join("\n");
    assert!(
        warnings.contains("row 1 is left out")
            && warnings.contains("the integer -9223372036854775809 has more than 64 bits"),
        "{warnings}"
    );
}

#[test]
fn a_table_where_another_file_is_costs_its_rows_alone() {
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = start_run().start();
        run.log_text("no table", "t.json");
        run.log_table([json!({"id": 1})], "t.json");
        run.log_table([json!({"id": 1})], "other.csv");
        run.log_metric("loss", 1.0);
        drop(run);
        fake.runs()
    });
    let warnings = warnings.join("\n");
    assert_eq!(runs[0].artifacts["t.json"], b"no table");
    assert!(runs[0].artifacts.contains_key("other.csv.json"));
    assert!(runs[0].metrics.contains_key("loss"));
    assert!(
        warnings.contains("rows cannot be appended") && warnings.contains("t.json"),
        "{warnings}"
    );
}

/// Regression: the rows behind the text were appended before the text replaced the table, and were lost without a line.
#[test]
fn a_text_between_rows_of_its_path_stays_between_them() {
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = start_run().start();
        run.log_table([json!({"a": 1})], "t.json");
        run.log_table([json!({"a": 5})], "u.json");
        run.log_text(r#"{"columns": ["a"], "data": [[100]]}"#, "t.json");
        run.log_table([json!({"a": 2})], "t.json");
        run.log_table([json!({"a": 6})], "u.json");
        run.log_table([json!({"a": 3})], "t.json");
        drop(run);
        fake.runs()
    });
    assert_eq!(warnings, [""; 0]);
    let rows = |path: &str| runs[0].table::<Value>(path).expect("a table");
    assert_eq!(
        rows("t.json"),
        [json!({"a": 100}), json!({"a": 2}), json!({"a": 3})]
    );
    assert_eq!(rows("u.json"), [json!({"a": 5}), json!({"a": 6})]);
}

/// Logs to `t.json` on a server that fails for the first upload to that path. Returns the ids in the table.
fn ids_after_a_failed_upload(script: &[&str]) -> Vec<Value> {
    let server = Server::shared();
    let puts = AtomicUsize::new(0);
    let proxy = Proxy::start(server.url(), move |request: &Request| {
        let is_table = request.line.starts_with("PUT ") && request.line.contains("/t.json");
        (is_table && puts.fetch_add(1, Ordering::Relaxed) == 0).then_some(Fault::Status(500))
    });
    let folder = Folder::new();
    let experiment = unique();
    let uri = proxy.url();
    let script: Vec<&str> = { ["start one"].iter().chain(script) }
        .chain(&["end one"])
        .copied()
        .collect();
    let environment = [
        ("MLFLOW_TRACKING_URI", &*uri),
        ("MLFLOW_EXPERIMENT_NAME", &*experiment),
    ];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    let table = load_with_python(server.url(), &experiment, "t.json");
    let rows = table["rows"].as_array().expect("rows");
    rows.iter().map(|row| row[0].clone()).collect()
}

/// Regression: a text that waited for the store replaced rows that were logged after it.
#[test]
fn a_text_that_waits_is_stored_before_the_rows_behind_it() {
    let ids = ids_after_a_failed_upload(&[
        "text t.json {\"columns\":[\"id\"],\"data\":[[100]]}",
        "row t.json 0 2",
    ]);
    assert_eq!(ids, [100, 0, 1]);
}

/// Regression: rows that waited behind a text were appended to a later text, which had to replace them.
#[test]
fn a_text_behind_rows_that_wait_replaces_them() {
    let ids = ids_after_a_failed_upload(&[
        "text t.json {\"columns\":[\"id\"],\"data\":[[100]]}",
        "row t.json 0 2",
        "text t.json {\"columns\":[\"id\"],\"data\":[[200]]}",
    ]);
    assert_eq!(ids, [200]);
}

/// Regression: both became the table `a_b.json`.
#[test]
fn two_tables_whose_names_are_changed_stay_two() {
    let fake = fake();
    let run = start_run().start();
    run.log_table([1], "a,b.json");
    run.log_table([2], "a:b.json");
    drop(run);
    let runs = fake.runs();
    let rows: Vec<_> = { runs[0].artifacts.keys() }
        .map(|path| runs[0].table::<Value>(path).expect("a table"))
        .collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_ne!(rows[0], rows[1]);
}

/// Regression: the page's list of tables grew until a server refused it, and the rows with it.
#[test]
fn a_run_of_very_many_tables_keeps_all_rows() {
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = start_run().start();
        for epoch in 0..200 {
            run.log_table([epoch], &format!("eval/epoch-{epoch:06}.json"));
        }
        drop(run);
        fake.runs()
    });
    assert_eq!(runs[0].artifacts.len(), 200);
    assert!(runs[0].tags["mlflow.loggedArtifacts"].len() <= 5000);
    let warnings = warnings.join("\n");
    assert!(
        warnings.contains("list of the run's tables is full"),
        "{warnings}"
    );
}

/// Regression: all rows that were sent together were set aside with those that are at fault.
#[test]
fn rows_that_cannot_be_read_cost_no_others() {
    let folder = Folder::new();
    let uri = uri_of(folder.path());
    let experiment = unique();
    let environment = [
        ("MLFLOW_TRACKING_URI", uri.as_str()),
        ("MLFLOW_EXPERIMENT_NAME", experiment.as_str()),
    ];
    let steps = ["start one", "rows t.json 0 3", "wide t.json 40", "abort"];
    assert!(!folder.run(SCRIPTED, &steps, &environment).success);
    // The rows of the second call are in a file beside the journal.
    let is_spooled = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "artifact");
    let files: Vec<_> = std::fs::read_dir(folder.journal())
        .unwrap()
        .flat_map(|journal| std::fs::read_dir(journal.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .filter(is_spooled)
        .collect();
    let [file] = &files[..] else {
        panic!("{files:?}");
    };
    let length = file.metadata().unwrap().len();
    std::fs::write(file, vec![b'?'; usize::try_from(length).unwrap()]).unwrap();
    let ended = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert!(
        ended.stdout.contains("rejected 1"),
        "{}\n{}",
        ended.stdout,
        ended.stderr
    );
    assert_rows(&load_with_python(&uri, &experiment, "t.json"), 3);
}

/// Regression: of very many calls that one process has left, a shipper that was interrupted began anew, and knew only the
/// last hundred of them by then.
#[test]
fn very_many_calls_arrive_once_although_the_shipping_is_interrupted() {
    let server = Server::shared();
    let mut puts = 0;
    let proxy = Proxy::start(server.url(), move |request: &Request| {
        puts += usize::from(request.line.starts_with("PUT "));
        (puts > 4).then_some(Fault::Status(503))
    });
    let folder = Folder::new();
    let experiment = unique();
    let url = proxy.url();
    let environment = [
        ("MLFLOW_TRACKING_URI", url.as_str()),
        ("MLFLOW_EXPERIMENT_NAME", experiment.as_str()),
        ("MLFLOW_EXIT_TIMEOUT", "1"),
    ];
    let died = folder.run(
        SCRIPTED,
        &["start one", "row t.json 0 600", "abort"],
        &environment,
    );
    assert!(!died.success);
    let interrupted = folder.run(SCRIPTED, &["recover 5"], &environment);
    assert!(
        interrupted.stdout.contains("complete false"),
        "{}",
        interrupted.stdout
    );
    proxy.heal();
    let ended = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert!(ended.stdout.contains("complete true"), "{}", ended.stderr);
    assert_rows(&load_with_python(server.url(), &experiment, "t.json"), 600);
}
