//! Logged models: they arrive complete and once, as MLflow's Python client reads them, and a fault costs only the
//! model or the part that has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use mlflow::testing::{RecordedModel, fake};
use mlflow::{ColumnType, Flavor, Model, Signature, StoreError, TensorType};
use serde_json::{Value, json};

use crate::support::fault::Fault;
use crate::support::mlflow::{Server, python, python_command};
use crate::support::program::Folder;
use crate::support::proxy::Proxy;
use crate::support::{unique, warnings};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Size of a file that is copied beside the journal.
const LARGE: usize = 100_000;

/// ONNX model of IR version 8: the identity of a tensor `x` of two columns, as `y`.
fn identity_onnx() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, length], bytes].concat()
    };
    let dimensions = [field(1, &field(2, b"n")), field(1, &[0x08, 2])].concat();
    let tensor = [vec![0x08, 1], field(2, &dimensions)].concat();
    let value = |name: &[u8]| [field(1, name), field(2, &field(1, &tensor))].concat();
    let node = [field(1, b"x"), field(2, b"y"), field(4, b"Identity")].concat();
    let graph = [
        field(1, &node),
        field(2, b"g"),
        field(11, &value(b"x")),
        field(12, &value(b"y")),
    ]
    .concat();
    let opset = [0x10, 17];
    [vec![0x08, 8], field(7, &graph), field(8, &opset)].concat()
}

/// Reads all models of the experiment `argv[2]` with MLflow's Python client, and prints them.
const READ: &str = r#"
import json, sys, os
import mlflow
from mlflow import MlflowClient
from mlflow.models import Model
mlflow.set_tracking_uri(sys.argv[1])
client = MlflowClient()
experiment = client.get_experiment_by_name(sys.argv[2]).experiment_id
models = []
for found in client.search_logged_models([experiment]):
    found = client.get_logged_model(found.model_id)
    run = client.get_run(found.source_run_id)
    root = mlflow.artifacts.download_artifacts(f"models:/{found.model_id}")
    files = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            files[os.path.relpath(path, root)] = os.path.getsize(path)
    files.pop("registered_model_meta", None)  # written by the download
    described = Model.load(root) if "MLmodel" in files else None
    signature = described and described.signature
    models.append(dict(
        name=found.name, status=str(found.status), params=found.params, type=found.model_type,
        tags={k: v for k, v in found.tags.items() if not k.startswith("mlflow.")},
        is_of_program=all(found.tags[key] == run.data.tags[key]
                          for key in ["mlflow.user", "mlflow.source.name", "mlflow.source.type"]),
        has_own_run=found.source_run_id == run.info.run_id, run_status=run.info.status,
        outputs=[[o.model_id == found.model_id, o.step] for o in run.outputs.model_outputs],
        files=dict(sorted(files.items())),
        is_described=bool(described) and [
            described.model_id == found.model_id, described.run_id == run.info.run_id,
            described.artifact_path == found.artifact_location, described.model_uuid == found.model_id],
        flavors=described and sorted(described.flavors),
        inputs=signature and json.loads(json.dumps(signature.inputs.to_dict())),
        example=described and described.saved_input_example_info and described.load_input_example(root)))
print(json.dumps(models))
"#;

fn read(uri: &str, experiment: &str) -> Vec<Value> {
    serde_json::from_str(&python(READ, &[uri, experiment])).unwrap()
}

/// Returns the model that the command `model` of the program logs, as Python reads it.
fn expected_model(name: &str, file: &str, size: usize, flavors: &Value, files: &Value) -> Value {
    let mut expected = json!({
        "name": name, "status": "READY", "type": "test/classifier",
        "params": {"layers": "2", "width": "64"}, "tags": {"stage": "dev"},
        "is_of_program": true, "has_own_run": true, "run_status": "FINISHED", "outputs": [[true, 7]],
        "is_described": [true, true, true, true], "flavors": flavors,
        "inputs": [{"name": "x", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}],
        "example": [[1.0, 2.0]],
    });
    let mut all = json!({"input_example.json": 11, file: size});
    all["MLmodel"] = files["MLmodel"].clone();
    expected["files"] = all;
    expected
}

fn onnx_file(folder: &Path) -> String {
    let path = folder.join("model.onnx");
    fs::write(&path, identity_onnx()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn large_file(folder: &Path) -> String {
    let path = folder.join("weights.bin");
    fs::write(&path, vec![b'w'; LARGE]).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn pythons_client_reads_a_model_from_a_server() {
    let folder = Folder::new();
    let onnx = onnx_file(folder.path());
    let (server, experiment) = (Server::shared(), unique());
    let model = format!("model classifier {onnx}");
    let ended = folder.run(
        SCRIPTED,
        &[
            "start fit",
            &model,
            "points loss 0 10",
            "end fit",
            "flush 60",
        ],
        &[
            ("MLFLOW_TRACKING_URI", server.url()),
            ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ],
    );
    assert!(
        ended.success && ended.warnings().is_empty(),
        "{}",
        ended.stderr
    );
    assert!(ended.stdout.contains("flushed true"), "{}", ended.stderr);
    let models = read(server.url(), &experiment);
    let size = identity_onnx().len();
    let flavors = json!(["onnx", "python_function"]);
    let expected = expected_model(
        "classifier",
        "model.onnx",
        size,
        &flavors,
        &models[0]["files"],
    );
    assert_eq!(models, [expected]);
}

/// Loads the only model of the experiment `argv[2]` with `mlflow.onnx`, and calls it.
const LOAD_ONNX: &str = r#"
import sys
import mlflow, mlflow.onnx, onnx
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name(sys.argv[2]).experiment_id
(model,) = client.search_logged_models([experiment])
loaded = mlflow.onnx.load_model(f"models:/{model.model_id}")
onnx.checker.check_model(loaded)
print(loaded.graph.node[0].op_type, mlflow.models.get_model_info(f"models:/{model.model_id}").flavors["onnx"]["data"])
"#;

/// Python packages that load ONNX models, in a directory beside the installed MLflow.
static ONNX: LazyLock<PathBuf> = LazyLock::new(|| {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = home.join("onnx==1.19.1");
    let lock = fs::File::create(home.join("onnx.lock")).expect("a lock file under target/");
    lock.lock().expect("the lock");
    if !directory.join("ready").exists() {
        let _ = fs::remove_dir_all(&directory);
        let mut install: Command = python_command();
        install
            .args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args(["onnx==1.19.1", "ml_dtypes<0.6", "--target"])
            .arg(&directory);
        assert!(install.status().expect("pip").success());
        fs::write(directory.join("ready"), "").expect("a file under target/");
    }
    directory
});

#[test]
fn pythons_mlflow_onnx_loads_an_onnx_model() {
    let folder = Folder::new();
    let onnx = onnx_file(folder.path());
    let (server, experiment) = (Server::shared(), unique());
    let ended = folder.run(
        SCRIPTED,
        &[
            "start fit",
            &format!("model net {onnx}"),
            "end fit",
            "flush 60",
        ],
        &[
            ("MLFLOW_TRACKING_URI", server.url()),
            ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ],
    );
    assert!(ended.stdout.contains("flushed true"), "{}", ended.stderr);
    let output = python_command()
        .env("PYTHONPATH", &*ONNX)
        .args(["-c", LOAD_ONNX, server.url(), &experiment])
        .output()
        .expect("python");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        printed.ends_with("Identity model.onnx\n"),
        "{printed}{errors}"
    );
}

/// Opens the SQLite file `argv[1]` with MLflow, which creates it at the newest revision.
const CREATE: &str = r#"
import sys
from mlflow import MlflowClient
MlflowClient(sys.argv[1]).search_experiments()
"#;

/// Reads the only run of the experiment `argv[2]` with MLflow's Python client: inputs, outputs, metrics and params.
const READ_RUN: &str = r#"
import json, sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name(sys.argv[2]).experiment_id
(found,) = client.search_runs([experiment])
run = client.get_run(found.info.run_id)
inputs = [[i.dataset.name, {t.key: t.value for t in i.tags}] for i in run.inputs.dataset_inputs]
models = [client.get_logged_model(o.model_id) for o in run.outputs.model_outputs]
outputs = [[m.name, str(m.status), o.step] for m, o in zip(models, run.outputs.model_outputs)]
print(json.dumps(dict(inputs=inputs, outputs=outputs, metrics=run.data.metrics, params=run.data.params)))
"#;

#[test]
fn a_tracked_functions_dataset_is_an_input_and_its_model_an_output() {
    let folder = Folder::new();
    let file = format!("sqlite:///{}/mlflow.db", folder.path().display());
    python(CREATE, &[&file]);
    for uri in [Server::shared().url(), &*file] {
        let experiment = unique();
        let environment = [
            ("MLFLOW_TRACKING_URI", uri),
            ("MLFLOW_EXPERIMENT_NAME", &*experiment),
        ];
        let ended = folder.run(SCRIPTED, &["fit iris", "flush 60"], &environment);
        assert!(
            ended.success && ended.warnings().is_empty(),
            "{}",
            ended.stderr
        );
        let read: Value = serde_json::from_str(&python(READ_RUN, &[uri, &experiment])).unwrap();
        let expected = json!({
            "inputs": [["iris", {"mlflow.data.context": "training"}]], "outputs": [["iris", "READY", 2]],
            "metrics": {"accuracy": 0.75}, "params": {},
        });
        assert_eq!(read, expected, "{uri}");
    }
}

/// Logs a model with MLflow's Python client to the SQLite file `argv[1]`, and prints the rows of all models, without
/// ids and times.
const ROWS: &str = r#"
import json, sqlite3, sys
import mlflow
mlflow.set_tracking_uri("sqlite:///" + sys.argv[1])
if sys.argv[2] == "log":
    mlflow.set_experiment("python")
    with mlflow.start_run():
        model = mlflow.initialize_logged_model(
            "net", params={"layers": "2", "width": "64"}, tags={"stage": "dev"}, model_type="test/classifier")
        mlflow.MlflowClient().log_outputs(
            mlflow.active_run().info.run_id, [mlflow.entities.LoggedModelOutput(model.model_id, 7)])
        mlflow.finalize_logged_model(model.model_id, "READY")
mlflow.MlflowClient().search_experiments()
file = sqlite3.connect(sys.argv[1])
rows = file.execute("""
    SELECT e.name, m.name, replace(m.artifact_location, m.model_id, 'ID') = e.artifact_location || '/models/ID/artifacts',
           m.status, m.lifecycle_stage, m.model_type, m.status_message, length(m.model_id), m.source_run_id = i.source_id,
           i.source_type, i.destination_type, i.step,
           (SELECT group_concat(k, ',') FROM (SELECT p.param_key || '=' || p.param_value || p.experiment_id = m.experiment_id AS k
            FROM logged_model_params AS p WHERE p.model_id = m.model_id ORDER BY k)),
           (SELECT group_concat(k, ',') FROM (SELECT t.tag_key ||
            iif(t.tag_key = 'mlflow.source.name', '', '=' || t.tag_value) AS k FROM logged_model_tags AS t
            WHERE t.model_id = m.model_id AND t.tag_key NOT LIKE 'mlflow.rust.%' ORDER BY k))
    FROM logged_models AS m JOIN experiments AS e ON e.experiment_id = m.experiment_id
    JOIN inputs AS i ON i.destination_id = m.model_id ORDER BY m.creation_timestamp_ms""")
print(json.dumps([list(row) for row in rows]))
"#;

/// The model waits in a file that MLflow has not opened yet, and is stored after MLflow has migrated it.
#[test]
fn a_model_waits_for_the_migration_of_a_sqlite_file() {
    let folder = Folder::new();
    let weights = large_file(folder.path());
    let environment = [("MLFLOW_EXPERIMENT_NAME", "rust")];
    let script = [
        "start fit",
        &*format!("model net {weights}"),
        "points loss 0 10",
        "end fit",
        "flush 5",
    ];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(ended.success, "{}", ended.stderr);
    let lines: Vec<_> = { ended.warnings().into_iter() }
        .filter(|line| line.contains("open the file once with MLflow 3"))
        .collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 1);
    fs::remove_file(&weights).unwrap();

    let file = folder.path().join("mlflow.db");
    let file = file.to_str().unwrap();
    let printed: Value = serde_json::from_str(&python(ROWS, &[file, "log"])).unwrap();
    assert_eq!(printed.as_array().map(Vec::len), Some(1), "{printed:#}");
    let ended = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert!(
        ended.stdout.starts_with("recovered complete true"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert_eq!(folder.journals_left(), 0);

    let models = read(&format!("sqlite:///{file}"), "rust");
    let flavors = json!(["weights"]);
    let expected = expected_model("net", "weights.bin", LARGE, &flavors, &models[0]["files"]);
    assert_eq!(models, [expected]);
    let printed: Value = serde_json::from_str(&python(ROWS, &[file, "read"])).unwrap();
    let [theirs, ours] = printed.as_array().unwrap().as_slice() else {
        panic!("{printed:#}");
    };
    assert_eq!(
        (theirs[0].as_str(), ours[0].as_str()),
        (Some("python"), Some("rust"))
    );
    let without_experiment = |row: &Value| row.as_array().unwrap()[1..].to_vec();
    assert_eq!(without_experiment(ours), without_experiment(theirs));
}

#[test]
fn a_model_waits_for_a_server_that_has_logged_models() {
    let folder = Folder::new();
    let weights = large_file(folder.path());
    let (server, experiment) = (Server::shared(), unique());
    let proxy = Proxy::start(server.url(), |request| {
        request
            .line
            .contains("/logged-models")
            .then_some(Fault::Status(404))
    });
    let url = proxy.url();
    let environment = [
        ("MLFLOW_TRACKING_URI", &*url),
        ("MLFLOW_EXPERIMENT_NAME", &experiment),
    ];
    let script = [
        "start fit",
        &*format!("model net {weights}"),
        "points loss 0 10",
        "end fit",
        "flush 5",
    ];
    let ended = folder.run(SCRIPTED, &script, &environment);
    let lines = ended.warnings();
    let lines: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("which MLflow has since 3.0"))
        .collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 1);
    let api = server.api();
    let run = api.run(&api.runs(&api.experiment(&experiment))[0].0);
    assert_eq!(
        (run.status.as_str(), run.points["loss"].len()),
        ("FINISHED", 10)
    );

    proxy.heal();
    let ended = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert!(
        ended.stdout.starts_with("recovered complete true"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert_eq!(read(server.url(), &experiment).len(), 1);
}

/// The process is killed after the model was created and a file uploaded; the last file and the record are left.
#[test]
fn a_model_is_there_once_after_a_kill_between_its_files() {
    let folder = Folder::new();
    let files = folder.path().join("net");
    fs::create_dir_all(files.join("tokenizer")).unwrap();
    fs::write(files.join("a.bin"), vec![1; LARGE]).unwrap();
    fs::write(files.join("tokenizer/b.bin"), vec![2; 10]).unwrap();
    let (server, experiment) = (Server::shared(), unique());
    let (is_uploaded, hangs) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (uploaded, hanging) = (Arc::clone(&is_uploaded), Arc::clone(&hangs));
    let proxy = Proxy::start(server.url(), move |request| {
        if request.line.starts_with("PUT") && request.line.contains("a.bin") {
            uploaded.store(true, Ordering::Relaxed);
            return None;
        }
        let is_last = request.line.starts_with("PUT") && request.line.contains("b.bin");
        is_last.then(|| {
            hanging.store(true, Ordering::Relaxed);
            Fault::Hang
        })
    });
    let url = proxy.url();
    let environment = [
        ("MLFLOW_TRACKING_URI", &*url),
        ("MLFLOW_EXPERIMENT_NAME", &experiment),
    ];
    let model = format!("folder net {}", files.display());
    let mut program = folder.start(
        SCRIPTED,
        &["start fit", &model, "wait logged"],
        &environment,
    );
    program.wait_for_stdout("logged");
    fs::remove_dir_all(&files).unwrap();
    while !(is_uploaded.load(Ordering::Relaxed) && hangs.load(Ordering::Relaxed)) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    program.kill();
    proxy.heal();
    let ended = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert!(
        ended.stdout.starts_with("recovered complete true"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let models = read(server.url(), &experiment);
    assert_eq!(models.len(), 1, "{models:?}");
    assert_eq!(models[0]["status"], "READY");
    assert_eq!(models[0]["outputs"], json!([[true, 0]]));
    assert_eq!(models[0]["files"]["a.bin"], LARGE);
    assert_eq!(models[0]["files"]["tokenizer/b.bin"], 10);
}

/// The first answer to each kind of request that writes is lost.
#[test]
fn a_model_whose_answers_were_lost_is_there_once() {
    let folder = Folder::new();
    let weights = large_file(folder.path());
    let (server, experiment) = (Server::shared(), unique());
    let lost: [(&str, &str); 7] = [
        ("POST", "/mlflow/logged-models"),
        ("PUT", "weights.bin"),
        ("PUT", "MLmodel"),
        ("POST", "/params"),
        ("PATCH", "/tags"),
        ("POST", "/runs/outputs"),
        ("PATCH", "/logged-models/m-"),
    ];
    let counts: Arc<[AtomicUsize; 7]> = Arc::default();
    let counted = Arc::clone(&counts);
    let proxy = Proxy::start(server.url(), move |request| {
        let is_of = |(method, part): &(&str, &str)| {
            let is_there = request.line.contains(part) && !request.line.contains("/search");
            request.line.starts_with(method) && is_there
        };
        let is_create = |at: &usize| *at > 0 || !request.line.contains("/logged-models/");
        let at = (0..lost.len()).find(|at| is_of(&lost[*at]) && is_create(at))?;
        (counted[at].fetch_add(1, Ordering::Relaxed) == 0).then_some(Fault::Committed(503))
    });
    let model = format!("model net {weights}");
    let ended = folder.run(
        SCRIPTED,
        &[
            "start fit",
            &model,
            "points loss 0 10",
            "end fit",
            "flush 60",
        ],
        &[
            ("MLFLOW_TRACKING_URI", &proxy.url()),
            ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ],
    );
    assert!(
        ended.stdout.contains("flushed true"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    for (count, lost) in counts.iter().zip(lost) {
        assert!(
            count.load(Ordering::Relaxed) >= 1,
            "{lost:?} was never sent"
        );
    }
    assert_eq!(
        counts[0].load(Ordering::Relaxed),
        1,
        "the model is found again"
    );
    let models = read(server.url(), &experiment);
    let flavors = json!(["weights"]);
    let expected = expected_model("net", "weights.bin", LARGE, &flavors, &models[0]["files"]);
    assert_eq!(models, [expected]);
    assert_eq!(folder.journals_left(), 0);
}

/// Regression: the model of the late request is older, so that the one with the files was deleted.
#[test]
fn a_model_that_a_late_request_creates_does_not_replace_the_one_with_the_files() {
    let folder = Folder::new();
    let weights = large_file(folder.path());
    let (server, experiment) = (Server::shared(), unique());
    let mut is_late = false;
    let proxy = Proxy::start(server.url(), move |request| {
        let creates = request.line.starts_with("POST ") && request.line.ends_with("/logged-models");
        (creates && !std::mem::replace(&mut is_late, true)).then_some(Fault::Late)
    });
    let model = format!("model net {weights}");
    let ended = folder.run(
        SCRIPTED,
        &["start fit", &model, "end fit", "flush 60"],
        &[
            ("MLFLOW_TRACKING_URI", &proxy.url()),
            ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ],
    );
    assert!(
        ended.stdout.contains("flushed true"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let models = read(server.url(), &experiment);
    let flavors = json!(["weights"]);
    let expected = expected_model("net", "weights.bin", LARGE, &flavors, &models[0]["files"]);
    assert_eq!(models, [expected]);
}

/// Reads the versions of the registered model `argv[2]` with MLflow's Python client.
const VERSIONS: &str = r#"
import json, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
versions = []
for version in client.search_model_versions(f"name = '{sys.argv[2]}'"):
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    run = client.get_run(version.run_id)
    versions.append([str(version.version), version.status, str(model.status), model.source_run_id == run.info.run_id])
    mlflow.artifacts.download_artifacts(f"models:/{sys.argv[2]}/{version.version}")
print(json.dumps(sorted(versions)))
"#;

/// The answers to both requests that register are lost.
#[test]
fn a_model_is_registered_once() {
    let folder = Folder::new();
    let weights = large_file(folder.path());
    let (server, name) = (Server::shared(), unique());
    let creates = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&creates);
    let is_first = [AtomicBool::new(true), AtomicBool::new(true)];
    let proxy = Proxy::start(server.url(), move |request| {
        let parts = ["registered-models/create", "model-versions/create"];
        let at = parts.iter().position(|part| request.line.contains(part))?;
        counted.fetch_add(at, Ordering::Relaxed);
        let loses = is_first[at].swap(false, Ordering::Relaxed);
        loses.then_some(Fault::Committed(503))
    });
    let register = format!("register net {name} {weights}");
    let script = [
        "start fit",
        &*register,
        "end fit",
        "flush 60",
        "start second",
        &register,
        "end second",
        "flush 60",
    ];
    let ended = folder.run(
        SCRIPTED,
        &script,
        &[
            ("MLFLOW_TRACKING_URI", &*proxy.url()),
            ("MLFLOW_EXPERIMENT_NAME", &*unique()),
        ],
    );
    assert!(
        !ended.stdout.contains("flushed false"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert!(!ended.stderr.contains("rejected"), "{}", ended.stderr);
    assert_eq!(creates.load(Ordering::Relaxed), 2, "one for each model");
    let printed: Value = serde_json::from_str(&python(VERSIONS, &[server.url(), &name])).unwrap();
    let version = |number: &str| json!([number, "READY", "READY", true]);
    assert_eq!(
        printed,
        json!([version("1"), version("2")]),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_model_is_registered_in_a_sqlite_file() {
    let folder = Folder::new();
    let weights = large_file(folder.path());
    let ended = folder.run(SCRIPTED, &["start first", "end first"], &[]);
    assert!(ended.success, "{}", ended.stderr);
    let file = folder.path().join("mlflow.db");
    let uri = format!("sqlite:///{}", file.display());
    assert_eq!(
        python(VERSIONS, &[&uri, "digits"]).trim(),
        "[]",
        "the file is migrated"
    );
    let register = format!("register net digits {weights}");
    let ended = folder.run(
        SCRIPTED,
        &["start fit", &register, "end fit", "flush 60"],
        &[],
    );
    assert!(
        ended.stdout.contains("flushed true") && ended.warnings().is_empty(),
        "{}",
        ended.stderr
    );
    let printed: Value = serde_json::from_str(&python(VERSIONS, &[&uri, "digits"])).unwrap();
    assert_eq!(printed, json!([["1", "READY", "READY", true]]));
}

/// Logs a model to a fake, beside a metric. Returns the models of the run, and the warnings.
fn logged(model: &Model) -> (Vec<RecordedModel>, Vec<String>) {
    let fake = fake();
    let (mut runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        run.log_model(model);
        run.log_metric("loss", 0.5);
        drop(run);
        fake.runs()
    });
    assert_eq!(runs[0].metrics["loss"].len(), 1);
    (runs.remove(0).models, warnings)
}

#[test]
fn a_param_whose_formatting_panics_and_a_reserved_tag_do_no_harm() {
    struct Panics;
    impl std::fmt::Display for Panics {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("a mistake of the user's")
        }
    }
    let model = Model::new("net")
        .bytes("weights.bin", [1, 2, 3])
        .param("bad", Panics)
        .param("layers", 4)
        .tag("mlflow.rust.modelKey", "mine");
    let (models, _) = logged(&model);
    assert_eq!(models.len(), 1);
    assert_eq!(models[0].status, "READY");
    assert_eq!(models[0].params["layers"], "4");
}

/// Regression: Python's client could not read a model with a signature that had no fields.
#[test]
fn a_signature_without_fields_is_none() {
    let model = Model::new("net").bytes("a.bin", [1]);
    let (models, warnings) = logged(&model.signature(Signature::new()));
    assert_eq!(warnings, [""; 0]);
    let mlmodel = String::from_utf8_lossy(&models[0].files["MLmodel"]);
    assert!(!mlmodel.contains("signature"), "{mlmodel}");
}

#[test]
fn a_model_that_cannot_be_logged_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.bin");
    let good = || Model::new("net").bytes("a.bin", [1]);
    for (model, line) in [
        (good().file(&missing), "there is no file or folder"),
        (good().folder(&missing), "there is no file or folder"),
        (
            good().file(folder.path()),
            "is no file; add a folder with folder",
        ),
        (
            good().folder("Cargo.toml"),
            "is no folder; add a file with file",
        ),
        (Model::new("net"), "it has no files"),
        (
            good().bytes("a.bin", [2]),
            "it has two files with the path \"a.bin\"",
        ),
        (
            good().bytes("../b.bin", [2]),
            "is no path inside of a model",
        ),
        (good().bytes("MLmodel", [2]), "it has a file \"MLmodel\""),
        (Model::new("").bytes("a.bin", [1]), "its name is empty"),
    ] {
        let (models, warnings) = logged(&model);
        assert!(models.is_empty(), "{models:?}");
        assert!(
            warnings.len() == 1 && warnings[0].contains(line),
            "{line}: {warnings:?}"
        );
        assert!(warnings[0].contains("model \""), "{warnings:?}");
    }
    for bad in ['/', ':', '.', '%', '"', '\''] {
        let (models, warnings) = logged(&Model::new(format!("a{bad}b")).bytes("a.bin", [1]));
        assert!(models.is_empty(), "{models:?}");
        let line = format!("its name contains {bad:?}");
        assert!(
            warnings.len() == 1 && warnings[0].contains(&line),
            "{warnings:?}"
        );
    }
}

#[test]
fn files_that_do_not_match_their_flavor_are_plain_files() {
    let onnx = || Model::new("net").flavor(Flavor::Onnx);
    let safetensors = || Model::new("net").flavor(Flavor::Safetensors);
    for (model, line) in [
        (
            onnx().bytes("net.bin", identity_onnx()),
            "none of its files has a name that ends in .onnx",
        ),
        (
            onnx().bytes("net.onnx", "no protobuf"),
            "\"net.onnx\": it is no ONNX model",
        ),
        (
            safetensors().bytes("net.bin", [1]),
            "none of its files has a name that ends in .safetensors",
        ),
        (
            safetensors().bytes("net.safetensors", "no header"),
            "it is no safetensors file",
        ),
    ] {
        let (models, warnings) = logged(&model);
        assert!(
            warnings.len() == 1 && warnings[0].contains(line),
            "{warnings:?}"
        );
        assert_eq!(
            (models[0].flavor.as_deref(), models[0].status),
            (Some("files"), "READY")
        );
    }
    let header = b"\x02\0\0\0\0\0\0\0{}".to_vec();
    for (model, flavor) in [
        (onnx().bytes("net.onnx", identity_onnx()), Some("onnx")),
        (
            safetensors().bytes("net.safetensors", header),
            Some("safetensors"),
        ),
        (
            Model::new("net")
                .bytes("a", [1])
                .flavor(Flavor::custom("burn_record")),
            Some("burn_record"),
        ),
        (Model::new("net").bytes("a", [1]), None),
    ] {
        let (models, warnings) = logged(&model);
        assert_eq!(models[0].flavor.as_deref(), flavor, "{warnings:?}");
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn a_part_that_mlflow_cannot_hold_costs_only_itself() {
    struct Panics;
    impl serde::Serialize for Panics {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("not this one")
        }
    }
    let good = || {
        Model::new("net")
            .bytes("a.bin", [1])
            .param("good", 1)
            .tag("good", 1)
    };
    let mixed = Signature::new()
        .input_column("x", ColumnType::Double)
        .input_tensor("y", TensorType::Float64, &[-1]);
    for (model, line) in [
        (
            good().signature(mixed),
            "model signature \"net\": it is left out: its inputs mix",
        ),
        (
            good().input_example(&Panics),
            "model input example \"net\": it is left out: its `Serialize` panicked",
        ),
        (good().param("", 1), "model param \"net\": \"\" is left out"),
        (
            good().tag("a=b", 1),
            "model tag \"net\": \"a=b\" is left out",
        ),
        (
            good().param("long", "é".repeat(6001)),
            "model param \"net\": its value was cut",
        ),
        (
            good().register_as("a/b"),
            "model registration \"net\": it is left out: the name \"a/b\" holds `/` or `:`",
        ),
        (
            good().model_type("é".repeat(501)),
            "model type \"net\": its value was cut",
        ),
    ] {
        let (models, warnings) = logged(&model);
        assert!(
            warnings.len() == 1 && warnings[0].contains(line),
            "{line}: {warnings:?}"
        );
        let model = &models[0];
        assert_eq!(
            (model.status, &*model.params["good"], &*model.tags["good"]),
            ("READY", "1", "1")
        );
    }
}

#[test]
fn a_model_with_a_rejected_file_is_never_ready() {
    let fake = fake();
    let run = mlflow::start_run().name("fit").start();
    assert_eq!(fake.runs().len(), 1);
    let (runs, warnings) = warnings::capture(|| {
        // A name that no file system holds: the store accepts everything but this file.
        let model = Model::new("net")
            .bytes("n".repeat(300), [1])
            .bytes("a.bin", [2])
            .param("k", 1);
        run.log_model(&model);
        run.log_text("hello", "notes.txt");
        fake.runs()
    });
    let model = &runs[0].models[0];
    assert_eq!((model.status, &*model.params["k"]), ("UPLOAD_FAILED", "1"));
    assert_eq!(model.files.keys().collect::<Vec<_>>(), ["a.bin"]);
    assert_eq!(runs[0].artifacts["notes.txt"], b"hello");
    assert!(
        warnings.len() == 1 && warnings[0].contains("model file \"net/nnn"),
        "{warnings:?}"
    );
}

#[test]
fn a_model_that_the_store_rejects_costs_only_itself() {
    let fake = fake();
    let run = mlflow::start_run().name("fit").start();
    assert_eq!(fake.runs().len(), 1);
    let (runs, warnings) = warnings::capture(|| {
        fake.offline();
        run.log_model(&Model::new("net").bytes("a.bin", [2]));
        run.log_model(&Model::new("net").bytes("b.bin", [2]));
        run.log_text("hello", "notes.txt");
        assert!(fake.runs()[0].models.is_empty());
        fake.online();
        let reason = "not this one".into();
        fake.fail_next(StoreError::Rejected { reason });
        fake.runs()
    });
    assert_eq!(mlflow::health().rejected, 1);
    let ready: Vec<_> = runs[0]
        .models
        .iter()
        .filter(|model| model.status == "READY")
        .collect();
    assert_eq!(ready.len(), 1, "{:?}", runs[0].models);
    assert!(ready[0].files.contains_key("b.bin"));
    let others = runs[0]
        .models
        .iter()
        .filter(|model| model.status != "READY");
    let others: Vec<_> = others.map(|model| model.status).collect();
    assert_eq!(others, ["UPLOAD_FAILED"]);
    assert_eq!(runs[0].artifacts["notes.txt"], b"hello");
    assert!(
        warnings.iter().any(|line| line.contains("not this one")),
        "{warnings:?}"
    );
}

#[test]
#[should_panic(expected = "no run has the model \"other\"")]
fn a_failed_assertion_shows_the_models() {
    let fake = fake();
    let run = mlflow::start_run().start();
    run.log_model(&Model::new("net").bytes("a.bin", [1]));
    drop(run);
    fake.assert_model_logged("net");
    let debug = format!("{:?}", fake.runs());
    assert!(
        debug.contains("RecordedModel { name: \"net\", status: \"READY\""),
        "{debug}"
    );
    fake.assert_model_logged("other");
}

/// The commit is that of the build, which the macro knows.
#[test]
fn a_models_tags_name_the_program_as_those_of_its_run_do() {
    #[mlflow::tracked]
    fn fit() -> Model {
        Model::new("net").bytes("weights.bin", b"weights")
    }

    let fake = fake();
    drop(fit());
    let run = &fake.runs()[0];
    let model = &run.models[0];
    let keys = [
        "mlflow.user",
        "mlflow.source.name",
        "mlflow.source.type",
        "mlflow.source.git.commit",
    ];
    for key in keys {
        assert_eq!(model.tags.get(key), run.tags.get(key), "{key}");
    }
    assert!(
        model.tags.contains_key("mlflow.source.name"),
        "{:?}",
        model.tags
    );
}
