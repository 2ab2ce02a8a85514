//! Logged models of others as inputs and outputs of runs: once, and as MLflow's Python client writes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlflow::testing::fake;
use serde_json::{Value, json};

use crate::support::fault::Fault;
use crate::support::mlflow::{Server, python};
use crate::support::program::Folder;
use crate::support::proxy::Proxy;
use crate::support::{unique, warnings};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Creates a model with MLflow's Python client at `argv[1]`, and prints its id.
const CREATE: &str = r#"
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.create_external_model("net")
print(model.model_id)
"#;

/// Prints the models that are inputs and outputs of the runs of the experiment `argv[2]`.
const READ: &str = r#"
import json, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name(sys.argv[2]).experiment_id
runs = [client.get_run(run.info.run_id) for run in client.search_runs([experiment])]
print(json.dumps([[[i.model_id for i in run.inputs.model_inputs],
                   [[o.model_id, o.step] for o in run.outputs.model_outputs]] for run in runs]))
"#;

/// The answers to the first requests are lost, and the calls are repeated.
#[test]
fn a_model_is_an_input_and_an_output_once() {
    let folder = Folder::new();
    let (server, experiment) = (Server::shared(), unique());
    let id = python(CREATE, &[server.url()]).trim().to_owned();
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let counted = Arc::clone(&counts);
    let proxy = Proxy::start(server.url(), move |request| {
        let routes = ["runs/outputs", "runs/log-inputs"];
        let at = routes
            .iter()
            .position(|route| request.line.contains(route))?;
        let is_first = counted[at].fetch_add(1, Ordering::Relaxed) == 0;
        is_first.then_some(Fault::Committed(503))
    });
    let (output, input) = (format!("output {id} 3"), format!("evaluates {id}"));
    let script = [
        "start fit",
        &*output,
        &input,
        "end fit",
        "flush 60",
        &output,
        &input,
        "flush 60",
    ];
    let ended = folder.run(
        SCRIPTED,
        &script,
        &[
            ("MLFLOW_TRACKING_URI", &*proxy.url()),
            ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ],
    );
    assert!(!ended.stdout.contains("flushed false"), "{}", ended.stderr);
    assert!(ended.warnings().is_empty(), "{}", ended.stderr);
    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) > 0));
    let printed: Value = serde_json::from_str(&python(READ, &[server.url(), &experiment])).unwrap();
    assert_eq!(printed, json!([[[id], [[id, 3]]]]));
}

/// Logs the model `argv[2]` with MLflow's Python client in the SQLite file `argv[1]`, and prints the rows of both runs.
const ROWS: &str = r#"
import json, sqlite3, sys, mlflow
from mlflow.entities import LoggedModelInput, LoggedModelOutput
mlflow.set_tracking_uri("sqlite:///" + sys.argv[1])
client = mlflow.MlflowClient()
with mlflow.start_run() as run:
    client.log_outputs(run.info.run_id, [LoggedModelOutput(sys.argv[2], 3)])
    client.log_inputs(run.info.run_id, models=[LoggedModelInput(sys.argv[2])])
rows = sqlite3.connect(sys.argv[1]).execute("""
    SELECT r.run_uuid, i.source_type, i.destination_type, i.destination_id, i.step, length(i.input_uuid)
    FROM inputs AS i JOIN runs AS r ON r.run_uuid = i.source_id ORDER BY r.start_time, i.source_type""").fetchall()
runs = {}
for row in rows:
    runs.setdefault(row[0], []).append(row[1:])
print(json.dumps(list(runs.values())))
"#;

#[test]
fn the_rows_of_a_models_connections_are_those_of_pythons_client() {
    let folder = Folder::new();
    let ended = folder.run(SCRIPTED, &["start first", "end first"], &[]);
    assert!(ended.success, "{}", ended.stderr);
    let file = folder.path().join("mlflow.db");
    let file = file.to_str().unwrap();
    let id = python(CREATE, &[&format!("sqlite:///{file}")])
        .trim()
        .to_owned();
    let (output, input) = (format!("output {id} 3"), format!("evaluates {id}"));
    let script = [
        "start fit",
        &*output,
        &output,
        &input,
        &input,
        "end fit",
        "flush 60",
    ];
    let ended = folder.run(SCRIPTED, &script, &[]);
    assert!(ended.stdout.contains("flushed true"), "{}", ended.stderr);
    let printed: Value = serde_json::from_str(&python(ROWS, &[file, &id])).unwrap();
    let [ours, theirs] = printed.as_array().unwrap().as_slice() else {
        panic!("{printed:#}");
    };
    assert_eq!(ours.as_array().map(Vec::len), Some(2));
    assert_eq!(ours, theirs);
}

/// MLflow 2 takes the request for an input and ignores the model in it.
#[test]
fn a_model_input_waits_for_a_server_that_has_logged_models() {
    let folder = Folder::new();
    let (server, experiment) = (Server::shared(), unique());
    let id = python(CREATE, &[server.url()]).trim().to_owned();
    let proxy = Proxy::start(server.url(), |request| {
        let is_ignored = request.line.contains("runs/log-inputs");
        let is_unknown = request.line.contains("runs/outputs");
        (is_ignored.then_some(Fault::Ignored)).or(is_unknown.then_some(Fault::Status(404)))
    });
    let url = proxy.url();
    let environment = [
        ("MLFLOW_TRACKING_URI", &*url),
        ("MLFLOW_EXPERIMENT_NAME", &experiment),
    ];
    let script = [
        "start fit",
        &*format!("output {id} 3"),
        &format!("evaluates {id}"),
        "points loss 0 10",
        "end fit",
        "flush 5",
    ];
    let ended = folder.run(SCRIPTED, &script, &environment);
    let lines = ended.warnings();
    let lines: Vec<_> = { lines.iter() }
        .filter(|line| line.contains("which MLflow has since 3.0"))
        .collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 1);
    proxy.heal();
    let ended = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert!(
        ended.stdout.starts_with("recovered complete true"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let printed: Value = serde_json::from_str(&python(READ, &[server.url(), &experiment])).unwrap();
    assert_eq!(printed, json!([[[id], [[id, 3]]]]));
}

#[test]
fn a_text_that_is_no_id_of_a_model_is_one_line() {
    let long = format!("m-{}", "1".repeat(35));
    for bad in ["", "a/b", "m 1", "m-ä", "1234", "models:/m-1", &long] {
        let fake = fake();
        let (runs, warnings) = warnings::capture(|| {
            let run = mlflow::start_run().start();
            run.log_output(bad, 1);
            run.log_metric("loss", 0.5);
            drop(run);
            fake.runs()
        });
        assert!(runs[0].model_outputs.is_empty(), "{bad}");
        assert_eq!(runs[0].metrics["loss"].len(), 1);
        assert!(
            warnings.len() == 1 && warnings[0].contains("it is no id of a logged model"),
            "{bad}: {warnings:?}"
        );
    }
}
