//! Metrics of logged models: on the run and on the model, once, as MLflow's Python client writes them.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlflow::testing::{RecordedRun, fake};
use mlflow::{Dataset, Model};
use serde_json::{Value, json};

use crate::support::fault::Fault;
use crate::support::mlflow::{Server, python};
use crate::support::program::Folder;
use crate::support::proxy::Proxy;
use crate::support::{unique, warnings};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Size of a dataset whose digest is computed in the background.
const LARGE: usize = (1 << 20) + 1;

/// Reads the metrics of the only model of the experiment `argv[2]`, and of its run.
const READ: &str = r#"
import json, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name(sys.argv[2]).experiment_id
(model,) = client.search_logged_models([experiment])
model = mlflow.get_logged_model(model.model_id)
run = client.get_run(model.source_run_id)
(dataset,) = [i.dataset for i in run.inputs.dataset_inputs]
points = sorted([p.key, p.timestamp, p.step, repr(p.value)] for k in run.data.metrics
                for p in client.get_metric_history(run.info.run_id, k))
metrics = sorted([m.key, m.timestamp, m.step, repr(m.value)] for m in model.metrics)
on_run = [[key, step, value] for key, time, step, value in points]
on_model = sorted([m.key, m.step, repr(m.value), m.run_id == run.info.run_id, m.dataset_name is not None and
                  (m.dataset_name, m.dataset_digest) == (dataset.name, dataset.digest)] for m in model.metrics)
nan = [[k, t, s, "0.0" if v == "nan" else v] for k, t, s, v in points]
print(json.dumps([str(model.status), dataset.digest, on_run, on_model, nan == metrics]))
"#;

/// The answers to the first requests with metrics of the model are lost.
#[test]
fn the_metrics_of_a_model_arrive_once_at_the_run_and_the_model() {
    let folder = Folder::new();
    let (weights, data) = (folder.path().join("w.bin"), folder.path().join("test.csv"));
    fs::write(&weights, "w").unwrap();
    fs::write(&data, vec![b'd'; LARGE]).unwrap();
    let (server, experiment) = (Server::shared(), unique());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let proxy = Proxy::start(server.url(), move |request| {
        let body = String::from_utf8_lossy(&request.body);
        let is_of_model = request.line.contains("log-batch") && body.contains("model_id");
        let is_first = is_of_model && counted.fetch_add(1, Ordering::Relaxed) < 2;
        is_first.then_some(Fault::Committed(503))
    });
    let measured = format!("measured net {} {}", weights.display(), data.display());
    let ended = folder.run(
        SCRIPTED,
        &["start fit", &measured, "end fit", "flush 60"],
        &[
            ("MLFLOW_TRACKING_URI", &*proxy.url()),
            ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ],
    );
    assert!(ended.stdout.contains("flushed true"), "{}", ended.stderr);
    assert!(
        count.load(Ordering::Relaxed) > 2,
        "the requests are repeated"
    );
    let renamed: Vec<_> = ended.warnings();
    assert!(
        renamed.len() == 1 && renamed[0].contains("\"AR@100\" is stored as \"AR_100\""),
        "{renamed:?}"
    );
    let printed: Value = serde_json::from_str(&python(READ, &[server.url(), &experiment])).unwrap();
    let max = "1.7976931348623157e+308";
    let expected = json!([
        "READY",
        // sha256sum test.csv | cut -c1-8
        digest_of_large(),
        [
            ["AR_100", 3, "1.0"],
            ["accuracy", 3, "0.5"],
            ["accuracy", 3, "0.25"],
            ["lost", 3, "nan"],
            ["ratio", 3, max],
        ],
        [
            ["AR_100", 3, "1.0", true, false],
            ["accuracy", 3, "0.25", true, true],
            ["accuracy", 3, "0.5", true, false],
            ["lost", 3, "0.0", true, true],
            ["ratio", 3, max, true, false],
        ],
        true,
    ]);
    assert_eq!(printed, expected);
}

/// Returns the digest of the large dataset.
fn digest_of_large() -> String {
    const DIGEST: &str =
        "import hashlib, sys; print(hashlib.sha256(b'd' * int(sys.argv[1])).hexdigest()[:8])";
    python(DIGEST, &[&LARGE.to_string()]).trim().to_owned()
}

/// Logs the metrics with MLflow's Python client to the SQLite file `argv[1]`, and prints the rows of all models and
/// runs, without ids and times.
const ROWS: &str = r#"
import json, sqlite3, sys
import mlflow
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
mlflow.set_tracking_uri("sqlite:///" + sys.argv[1])
if sys.argv[2] == "log":
    mlflow.set_experiment("python")
    with mlflow.start_run() as run:
        model = mlflow.initialize_logged_model("net")
        mlflow.MlflowClient().log_outputs(
            run.info.run_id, [mlflow.entities.LoggedModelOutput(model.model_id, 3)])
        dataset = MetaDataset(resolve_dataset_source("test.csv"), "test.csv", sys.argv[3])
        log = lambda *given, **more: mlflow.log_metric(*given, step=3, model_id=model.model_id, **more)
        log("accuracy", 0.5)
        log("accuracy", 0.25, dataset=dataset)
        log("lost", float("nan"), dataset=dataset)
        log("ratio", float("inf"))
        log("AR_100", 1)
        mlflow.finalize_logged_model(model.model_id, "READY")
file = sqlite3.connect(sys.argv[1])
rows = file.execute("""
    SELECT e.name, m.metric_name, m.metric_step, m.metric_value, m.experiment_id = l.experiment_id,
           m.run_id = l.source_run_id, m.dataset_uuid, m.dataset_name, m.dataset_digest,
           p.value, p.is_nan, p.step, typeof(m.metric_value), typeof(m.metric_timestamp_ms)
    FROM logged_model_metrics AS m JOIN logged_models AS l ON l.model_id = m.model_id
    JOIN experiments AS e ON e.experiment_id = l.experiment_id
    JOIN metrics AS p ON p.run_uuid = m.run_id AND p.key = m.metric_name AND p.timestamp = m.metric_timestamp_ms
         AND p.step = m.metric_step
    ORDER BY e.name, m.metric_name, m.metric_value""").fetchall()
latest = file.execute("""
    SELECT e.name, l.key, l.value, l.step, l.is_nan FROM latest_metrics AS l JOIN runs AS r ON r.run_uuid = l.run_uuid
    JOIN experiments AS e ON e.experiment_id = r.experiment_id ORDER BY e.name, l.key""").fetchall()
inputs = file.execute("""
    SELECT e.name, d.name, d.digest, d.dataset_source, i.source_type, i.destination_type,
           (SELECT count(*) FROM input_tags AS t WHERE t.input_uuid = i.input_uuid)
    FROM datasets AS d JOIN experiments AS e ON e.experiment_id = d.experiment_id
    JOIN inputs AS i ON i.source_id = d.dataset_uuid ORDER BY e.name""").fetchall()
found = {}
for row in rows + latest + inputs:
    found.setdefault(row[0], []).append(list(row[1:]))
print(json.dumps(found))
"#;

#[test]
fn the_rows_of_a_models_metrics_are_those_of_pythons_client() {
    let folder = Folder::new();
    fs::write(folder.path().join("w.bin"), "w").unwrap();
    fs::write(folder.path().join("test.csv"), "data").unwrap();
    let environment = [("MLFLOW_EXPERIMENT_NAME", "rust")];
    let script = [
        "start fit",
        "measured net w.bin test.csv",
        "end fit",
        "flush 5",
    ];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(ended.success, "{}", ended.stderr);
    let file = folder.path().join("mlflow.db");
    let file = file.to_str().unwrap();
    let opened = python(
        "import sys, mlflow; mlflow.set_tracking_uri('sqlite:///' + sys.argv[1]); mlflow.search_experiments()",
        &[file],
    );
    assert_eq!(opened.trim(), "");
    let ended = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert!(
        ended.stdout.starts_with("recovered complete true"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    // sha256sum test.csv | cut -c1-8
    let printed: Value = serde_json::from_str(&python(ROWS, &[file, "log", "3a6eb079"])).unwrap();
    assert_eq!(
        printed["rust"].as_array().map(Vec::len),
        Some(5 + 4 + 1),
        "{printed:#}"
    );
    assert_eq!(printed["rust"], printed["python"]);
}

/// Logs a model to a fake; returns its run and the warnings.
fn logged(model: &Model) -> (RecordedRun, Vec<String>) {
    let fake = fake();
    let (mut runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        run.log_model(model);
        drop(run);
        fake.runs()
    });
    (runs.remove(0), warnings)
}

#[test]
fn a_metric_stays_on_the_run_if_its_model_cannot_be_logged() {
    let data = Dataset::new("test").digest("v1");
    let model = Model::new("net")
        .file("missing.bin")
        .step(7)
        .metric("loss", 0.5)
        .metric_on(&data, "loss", 0.25);
    let (run, warnings) = logged(&model);
    assert!(run.models.is_empty());
    let points: Vec<_> = { run.metrics["loss"].iter() }
        .map(|point| (point.step, point.value))
        .collect();
    assert_eq!(points, [(7, 0.5), (7, 0.25)]);
    assert_eq!(run.inputs[0].name, "test");
    assert!(
        warnings.len() == 1 && warnings[0].contains("there is no file or folder"),
        "{warnings:?}"
    );
}

#[test]
fn a_model_measured_on_two_datasets_has_both_metrics() {
    let [train, test] = ["train", "test"].map(|name| Dataset::new(name).digest("v1"));
    let model = Model::new("net")
        .bytes("w.bin", [0])
        .metric_on(&train, "loss", 0.5)
        .metric_on(&test, "loss", 0.5)
        .metric_on(&test, "a=b", 1);
    let (run, warnings) = logged(&model);
    let metrics: Vec<_> = { run.models[0].metrics.iter() }
        .map(|metric| {
            let dataset = metric.dataset.as_ref().expect("a dataset");
            (&*metric.key, metric.value, &*dataset.name)
        })
        .collect();
    assert_eq!(
        metrics,
        [
            ("loss", 0.5, "train"),
            ("loss", 0.5, "test"),
            ("a_b", 1.0, "test")
        ]
    );
    assert_eq!(run.metrics["loss"].len(), 2);
    assert_eq!(run.metrics["a_b"].len(), 1);
    assert_eq!(run.inputs.len(), 2);
    assert!(
        warnings.len() == 1 && warnings[0].contains("\"a=b\" is stored as \"a_b\""),
        "{warnings:?}"
    );
}
