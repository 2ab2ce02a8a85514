//! Datasets as inputs of runs: they arrive as Python's client writes them, once, and a fault costs only its part.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlflow::testing::{DatasetInput, fake};
use mlflow::{ColumnType, Dataset, StoreError};
use serde_json::Value;

use crate::support::fault::Fault;
use crate::support::mlflow::{Server, free_port, python};
use crate::support::program::Folder;
use crate::support::proxy::Proxy;
use crate::support::seen::SeenInput;
use crate::support::{unique, warnings};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// First characters of the SHA-256 of a file of [`LARGE`] bytes `a`.
const LARGE_DIGEST: &str = "4a3f0c0c";
/// Size of a file whose digest is computed when the dataset is delivered.
const LARGE: usize = (1 << 20) + 1;

fn write_large(folder: &Path) -> String {
    let path = folder.join("large.csv");
    fs::write(&path, vec![b'a'; LARGE]).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Datasets of each kind, on one run.
const SCRIPT: [&str; 5] = [
    "start fit",
    "input train.csv training",
    "url https://example.com/data/wine.csv eval",
    "array xor",
    "end fit",
];

/// Logs the datasets of [`SCRIPT`] with MLflow's Python client to the SQLite file `argv[1]`, in another
/// experiment. Prints the rows of each run, without the ids.
const PYTHON: &str = r#"
import json, sqlite3, sys
import numpy as np
import mlflow
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.types import ColSpec, DataType, Schema
mlflow.set_tracking_uri("sqlite:///" + sys.argv[1])
if sys.argv[2] == "log":
    file = sqlite3.connect(sys.argv[1])
    (code,) = file.execute("SELECT dataset_source FROM datasets WHERE dataset_source_type = 'code'").fetchone()
    file.close()
    mlflow.set_experiment("python")
    with mlflow.start_run():
        digest = sys.argv[3]
        mlflow.log_input(MetaDataset(resolve_dataset_source("train.csv"), "train.csv", digest), "training")
        schema = Schema([ColSpec(DataType.double, "alcohol"), ColSpec(DataType.long, "quality")])
        source = HTTPDatasetSource("https://example.com/data/wine.csv")
        mlflow.log_input(MetaDataset(source, "wine.csv", schema=schema), "eval", tags={"fold": "1"})
        x = np.array([[0, 1], [2, 3], [4, 5]], dtype=np.float64)
        source = CodeDatasetSource(json.loads(code)["tags"])
        mlflow.log_input(mlflow.data.from_numpy(x, source, np.array([0, 1, 1]), "xor"))
file = sqlite3.connect(sys.argv[1])
rows = file.execute("""
    SELECT r.run_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema, d.dataset_profile,
           i.source_type, i.destination_type, i.step, length(d.dataset_uuid), length(i.input_uuid),
           (SELECT json_group_object(t.name, t.value) FROM input_tags AS t WHERE t.input_uuid = i.input_uuid)
    FROM inputs AS i JOIN datasets AS d ON d.dataset_uuid = i.source_id JOIN runs AS r ON r.run_uuid = i.destination_id
    ORDER BY r.start_time, d.name""")
runs = {}
for row in rows:
    runs.setdefault(row[0], []).append([*row[1:-1], sorted(json.loads(row[-1]).items())])
(count,) = file.execute("SELECT COUNT(*) FROM datasets").fetchone()
print(json.dumps([count, *runs.values()]))
"#;

/// The same program logs to a new file, which MLflow then migrates, and to the migrated one.
#[test]
fn the_rows_are_those_of_pythons_client() {
    let folder = Folder::new();
    fs::write(folder.path().join("train.csv"), "x,y\n1,2\n").unwrap();
    let run = || {
        let ended = folder.run(SCRIPTED, &SCRIPT, &[]);
        assert!(
            ended.success && ended.warnings().is_empty(),
            "{}",
            ended.stderr
        );
    };
    run();
    let file = folder.path().join("mlflow.db");
    let file = file.to_str().unwrap();
    // The digest is that of `sha256sum train.csv | cut -c1-8`.
    python(PYTHON, &[file, "log", "81bf9fa8"]);
    run();
    let printed: Value = serde_json::from_str(&python(PYTHON, &[file, "read"])).unwrap();
    let [count, ours, theirs, migrated] = printed.as_array().unwrap().as_slice() else {
        panic!("{printed:#}");
    };
    assert_eq!(ours.as_array().map(Vec::len), Some(3), "{printed:#}");
    let dataset_of = |row: usize| &ours[row][0];
    assert_eq!(
        [dataset_of(0), dataset_of(1), dataset_of(2)],
        ["train.csv", "wine.csv", "xor"]
    );
    assert_eq!(ours, theirs);
    assert_eq!(ours, migrated);
    assert_eq!(
        count, 6,
        "the datasets are reused by the experiment's second run"
    );
}

/// Reads the inputs of a run with MLflow's Python client, and finds the run by its dataset.
const READ: &str = r#"
import json, sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name(sys.argv[2]).experiment_id
(run,) = client.search_runs([experiment], "datasets.name = 'xor' ")
inputs = [[i.dataset.name, i.dataset.digest, {t.key: t.value for t in i.tags}] for i in run.inputs.dataset_inputs]
print(json.dumps(sorted(inputs)))
"#;

#[test]
fn pythons_client_reads_the_datasets_from_a_server() {
    let folder = Folder::new();
    fs::write(folder.path().join("train.csv"), "x,y\n1,2\n").unwrap();
    let (server, experiment) = (Server::shared(), unique());
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXPERIMENT_NAME", &experiment),
    ];
    let ended = folder.run(SCRIPTED, &SCRIPT, &environment);
    assert!(
        ended.success && ended.warnings().is_empty(),
        "{}",
        ended.stderr
    );
    let read: Value = serde_json::from_str(&python(READ, &[server.url(), &experiment])).unwrap();
    assert_eq!(
        read,
        serde_json::json!([
            ["train.csv", "81bf9fa8", {"mlflow.data.context": "training"}],
            ["wine.csv", "1920cfa1", {"fold": "1", "mlflow.data.context": "eval"}],
            ["xor", "0b8295ee", {}],
        ])
    );
}

/// Returns the inputs of the only run of an experiment.
fn inputs_of(server: &Server, experiment: &str) -> Vec<SeenInput> {
    let api = server.api();
    let runs = api.runs(&api.experiment(experiment));
    assert_eq!(runs.len(), 1, "{runs:?}");
    api.run(&runs[0].0).inputs
}

#[test]
fn a_dataset_survives_the_kill_of_its_process() {
    let folder = Folder::new();
    let large = write_large(folder.path());
    let port = free_port();
    let (url, experiment) = (format!("http://127.0.0.1:{port}"), unique());
    let environment = [
        ("MLFLOW_TRACKING_URI", &*url),
        ("MLFLOW_EXPERIMENT_NAME", &experiment),
    ];
    let input = format!("input {large} training");
    let script = ["start killed", &input, "array xor", "wait logged"];
    let mut program = folder.start(SCRIPTED, &script, &environment);
    program.wait_for_stdout("logged");
    program.kill();
    assert_eq!(folder.journals_left(), 1);

    let server = Server::start_on(port);
    let ended = folder.run(SCRIPTED, &["recover 60"], &environment);
    let is_complete = ended.stdout.starts_with("recovered complete true found 1");
    assert!(is_complete, "{}{}", ended.stdout, ended.stderr);
    let found: Vec<_> = { inputs_of(&server, &experiment).into_iter() }
        .map(|input| (input.name, input.digest))
        .collect();
    let expected = [("large.csv", LARGE_DIGEST), ("xor", "0b8295ee")];
    assert_eq!(
        found,
        expected.map(|(name, digest)| (name.to_owned(), digest.to_owned()))
    );
}

/// The answers to the first three requests are lost, and the file is deleted after the first: the dataset that is
/// sent again must be the same one.
#[test]
fn a_dataset_whose_answer_was_lost_is_there_once() {
    let folder = Folder::new();
    let large = write_large(folder.path());
    let (server, experiment) = (Server::shared(), unique());
    let requests = Arc::new(AtomicUsize::new(0));
    let (counted, deleted) = (Arc::clone(&requests), large.clone());
    let proxy = Proxy::start(server.url(), move |request| {
        if !request.line.contains("runs/log-inputs") {
            return None;
        }
        let _ = fs::remove_file(&deleted);
        (counted.fetch_add(1, Ordering::Relaxed) < 3).then_some(Fault::Committed(503))
    });
    let input = format!("input {large} training");
    let ended = folder.run(
        SCRIPTED,
        &[
            "start fit",
            &input,
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
    assert!(requests.load(Ordering::Relaxed) >= 4);
    let inputs = inputs_of(server, &experiment);
    assert_eq!(inputs.len(), 1, "{inputs:?}");
    assert_eq!(inputs[0].digest, LARGE_DIGEST);
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn a_dataset_that_the_store_rejects_costs_only_itself() {
    let fake = fake();
    let run = mlflow::start_run().name("fit").start();
    assert_eq!(fake.runs().len(), 1);
    let (runs, warnings) = warnings::capture(|| {
        run.log_input(&Dataset::new("bad"), "");
        let reason = "not this one".into();
        fake.fail_next(StoreError::Rejected { reason });
        assert!(fake.runs()[0].inputs.is_empty());
        run.log_input(&Dataset::new("good"), "");
        run.log_text("hello", "notes.txt");
        fake.runs()
    });
    assert_eq!(names(&runs[0].inputs), ["good"]);
    assert_eq!(runs[0].artifacts["notes.txt"], b"hello");
    let line = "dataset \"bad\" is rejected for good: not this one";
    assert!(
        warnings.len() == 1 && warnings[0].contains(line),
        "{warnings:?}"
    );
    assert_eq!(mlflow::health().rejected, 1);
}

fn names(inputs: &[DatasetInput]) -> Vec<&str> {
    inputs.iter().map(|input| &*input.name).collect()
}

/// Logs a dataset to a fake, beside a metric. Returns the input, and the only warning.
fn logged(dataset: &Dataset, context: &str) -> (DatasetInput, String) {
    let fake = fake();
    let (runs, mut warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        run.log_input(dataset, context);
        run.log_metric("loss", 0.5);
        drop(run);
        fake.runs()
    });
    assert_eq!(runs[0].metrics["loss"].len(), 1);
    assert_eq!(mlflow::health().rejected, 0);
    assert_eq!(runs[0].inputs.len(), 1, "{warnings:?}");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    (runs[0].inputs[0].clone(), warnings.remove(0))
}

#[test]
fn a_file_without_a_digest_is_logged_with_that_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.csv");
    for (path, reason) in [
        (&*missing, "No such file"),
        (folder.path(), "it is not a file"),
    ] {
        let (input, warning) = logged(&Dataset::from_file(path), "training");
        let says = |words: &str| warning.contains(words);
        assert!(says(path.to_str().unwrap()) && says(reason), "{warning}");
        assert!(
            says("the digest of its name and source is used instead"),
            "{warning}"
        );
        assert_eq!(input.digest.len(), 8);
        assert_eq!(input.context.as_deref(), Some("training"));
    }
}

#[test]
fn a_large_file_that_has_changed_before_the_delivery_has_no_digest_of_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let large = write_large(folder.path());
    let fake = fake();
    fake.offline();
    let run = mlflow::start_run().start();
    run.log_input(&Dataset::from_file(&large), "");
    assert!(fake.runs().is_empty());
    fs::write(&large, "changed").unwrap();
    fake.online();
    let (runs, warnings) = warnings::capture(|| fake.runs());
    assert_eq!(names(&runs[0].inputs), ["large.csv"]);
    assert_ne!(runs[0].inputs[0].digest, LARGE_DIGEST);
    let line = "it has changed since the dataset was logged";
    assert!(
        warnings.len() == 1 && warnings[0].contains(line),
        "{warnings:?}"
    );
}

#[test]
fn a_text_that_is_too_long_is_cut_or_left_out_with_one_warning() {
    let long = |length: usize| "é".repeat(length);
    let good = || Dataset::new("n").digest("d");
    let columns = || (0..20_000).map(|at| (format!("{at:050}"), ColumnType::Double));
    for (dataset, line) in [
        (good().name(long(501)), "dataset name"),
        (
            good().digest(long(37)),
            "dataset digest \"n\": its value was cut: MLflow stores at most 36",
        ),
        (
            good().source(long(70_000)),
            "dataset source \"n\": its URI was cut",
        ),
        (good().schema(columns()), "dataset schema \"n\": it has"),
        (
            good().profile(long(17_000_000), 1),
            "dataset profile \"n\": it has",
        ),
        (
            good().tag(long(256), "v"),
            "dataset tag \"n\": its value was cut: MLflow stores at most 255",
        ),
        (
            good().tag("k", long(501)),
            "dataset tag \"n\": its value was cut: MLflow stores at most 500",
        ),
    ] {
        let (input, warning) = logged(&dataset, "training");
        assert!(warning.contains(line), "{warning}");
        assert_eq!(input.context.as_deref(), Some("training"));
        assert_eq!((input.schema, input.profile), (None, None), "{line}");
        assert!(input.name.chars().count() <= 500 && input.digest.chars().count() <= 36);
    }
    let (_, warning) = logged(&good(), &long(501));
    assert!(
        warning.contains("dataset tag \"n\": its value was cut"),
        "{warning}"
    );
}

#[test]
fn a_call_without_effect_is_one_line() {
    let array = || Dataset::from_slice("n", &[1.0, 2.0, 3.0]);
    let file = || Dataset::new("n");
    for (dataset, line) in [
        (
            array().shape(&[2, 2]),
            "its shape stays [3], because [2, 2] has another number of elements",
        ),
        (file().shape(&[1]), "its shape [1] is left out"),
        (file().targets(&[1.0]), "its targets are left out"),
        (
            array().profile("mean", f64::NAN),
            "the number \"mean\" of its profile is left out: JSON has no NaN",
        ),
    ] {
        let (input, warning) = logged(&dataset, "");
        assert!(
            warning.contains(&format!("dataset \"n\": {line}")),
            "{warning}"
        );
        assert_eq!((input.name.as_str(), input.context), ("n", None));
    }
}

/// Regression: parts that are left out were told to a subscriber of `tracing` alone, and only the first of a dataset.
#[test]
fn a_part_that_is_left_out_is_told_without_a_subscriber() {
    let folder = Folder::new();
    let ended = folder.run(SCRIPTED, &["start one", "misfit iris", "end one"], &[]);
    assert!(ended.success, "{}", ended.stderr);
    let lines: Vec<_> = { ended.stderr.lines() }
        .filter(|line| line.starts_with("mlflow: dataset \"iris\""))
        .collect();
    assert_eq!(lines.len(), 2, "{}", ended.stderr);
}

/// Regression: a server refused the input for ever, because a tag of it came twice.
#[test]
fn of_two_tags_with_one_key_the_last_one_counts() {
    let (server, experiment) = (Server::shared(), unique());
    let folder = Folder::new();
    let ended = folder.run(
        SCRIPTED,
        &["start one", "tagged d", "end one"],
        &[
            ("MLFLOW_TRACKING_URI", server.url()),
            ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ],
    );
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    let inputs = inputs_of(server, &experiment);
    let tags: Vec<_> = { inputs[0].tags.iter() }
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(tags, [("mlflow.data.context", "training"), ("split", "b")]);
}

#[test]
fn no_secret_is_logged() {
    let token = format!("ghp_{}", "a1B2".repeat(9));
    let (input, warning) = logged(&Dataset::new("n").digest("d").tag("k", &token), "");
    assert!(
        warning.contains("looks like") && !warning.contains(&token),
        "{warning}"
    );
    assert_eq!(input.name, "n");

    let fake = fake();
    let run = mlflow::start_run().start();
    let url = "https://me:hunter2@example.com/a.csv?version=2&sig=hunter2&api_key=hunter2";
    run.log_input(&Dataset::from_url(url), "training");
    let inputs = &fake.runs()[0].inputs;
    assert_eq!(
        inputs[0].source,
        r#"{"url": "https://example.com/a.csv?version=2&sig=[redacted]&api_key=[redacted]"}"#
    );
    assert_eq!(inputs[0].name, "a.csv");
}

#[test]
fn datasets_that_differ_only_in_a_part_do_not_replace_each_other() {
    let fake = fake();
    fake.offline();
    let run = mlflow::start_run().name("fit").start();
    run.log_input(&Dataset::new("d").digest("1"), "training");
    run.log_input(&Dataset::new("d").digest("2"), "training");
    // MLflow keeps the first context of a dataset, as it does for Python.
    run.log_input(&Dataset::new("d").digest("1"), "eval");
    run.log_input(&Dataset::new("e").digest("1"), "");
    run.log_input(&Dataset::new("e").digest("1"), "");
    fake.online();
    let runs = fake.runs();
    let inputs: Vec<_> = { runs[0].inputs.iter() }
        .map(|input| format!("{} {} {:?}", input.name, input.digest, input.context))
        .collect();
    assert_eq!(
        inputs,
        [
            r#"d 1 Some("training")"#,
            r#"d 2 Some("training")"#,
            "e 1 None"
        ]
    );
    let snapshot = format!("{:?}", fake.runs()[0]);
    let expected = r#"inputs: ["d" for "training", "d" for "training", "e"]"#;
    assert!(snapshot.contains(expected), "{snapshot}");
    fake.assert_input("d", "training");
    fake.assert_input("e", "");
}

#[test]
#[should_panic(expected = "no run has the input \"d\" with the context \"eval\"")]
fn a_failed_assertion_shows_the_inputs() {
    let fake = fake();
    let run = mlflow::start_run().start();
    run.log_input(&Dataset::new("d"), "training");
    drop(run);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        fake.assert_input("d", "eval");
    }));
    let message = failed.unwrap_err().downcast::<String>().unwrap();
    assert!(
        message.contains("-   input \"d\" with the context \"eval\""),
        "{message}"
    );
    assert!(
        message.contains("+   input \"d\" with the context \"training\""),
        "{message}"
    );
    std::panic::resume_unwind(message);
}

#[test]
fn the_client_of_a_fake_reads_the_datasets() {
    let _fake = fake();
    let run = mlflow::start_run().start();
    let wine = Dataset::from_url("s3://lake/wine.parquet").rows(3);
    run.log_input(&wine, "training");
    mlflow::flush(std::time::Duration::ZERO);
    let read = mlflow::blocking::Client::new().run(run.key()).unwrap();
    assert_eq!(names(&read.datasets), ["wine.parquet"]);
    assert_eq!(
        read.datasets[0].profile.as_deref(),
        Some(r#"{"num_rows": 3}"#)
    );
    assert_eq!(read.datasets[0].context.as_deref(), Some("training"));
}
