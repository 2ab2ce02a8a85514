//! Logged models that cannot be completed: each ends as failed, with one line, and the run is delivered.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlflow::store::{ExperimentRef, NewModel, NewRun, SqliteStore, Store, StoreError};
use mlflow::testing::{RecordedModel, fake};
use mlflow::{Flavor, Model};
use serde_json::{Value, json};

use crate::support::fault::Fault;
use crate::support::mlflow::{Server, python};
use crate::support::program::Folder;
use crate::support::proxy::Proxy;
use crate::support::{block_on, unique, warnings};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Prints the statuses of the models of the experiment `argv[2]`, and whether each is an output of its run. With a third
/// argument, deletes them first.
const MODELS: &str = r#"
import json, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name(sys.argv[2]).experiment_id
models = client.search_logged_models([experiment])
if len(sys.argv) > 3:
    assert models
    for model in models:
        client.delete_logged_model(model.model_id)
outputs = lambda model: [o.model_id for o in client.get_run(model.source_run_id).outputs.model_outputs]
print(json.dumps([[str(model.status), model.model_id in outputs(model)] for model in models]))
"#;

/// Regression: the record waited for ever for files of a model that was made anew.
#[test]
fn a_model_that_somebody_has_deleted_does_not_wait_for_ever() {
    let folder = Folder::new();
    fs::write(folder.path().join("w.bin"), "w").unwrap();
    let (server, experiment) = (Server::shared(), unique());
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let proxy = Proxy::start(server.url(), move |request| {
        let is_list = request.line.contains("/artifacts/directories");
        is_list.then(|| {
            counted.fetch_add(1, Ordering::Relaxed);
            Fault::Status(500)
        })
    });
    let url = proxy.url();
    let environment = [
        ("MLFLOW_TRACKING_URI", &*url),
        ("MLFLOW_EXPERIMENT_NAME", &experiment),
    ];
    let script = [
        "start fit",
        "folder net net",
        "points loss 0 10",
        "end fit",
        "wait logged",
        "flush 60",
        "health",
    ];
    fs::create_dir(folder.path().join("net")).unwrap();
    fs::rename(folder.path().join("w.bin"), folder.path().join("net/w.bin")).unwrap();
    let mut program = folder.start(SCRIPTED, &script, &environment);
    program.wait_for_stdout("logged");
    while tries.load(Ordering::Relaxed) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    python(MODELS, &[server.url(), &experiment, "delete"]);
    proxy.heal();
    program.tell();
    let ended = program.end();
    assert!(
        ended.stdout.contains("blocked 0 rejected 1 dropped 0"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let warnings = ended.warnings();
    let lines: Vec<_> = { warnings.iter() }
        .filter(|line| line.contains("somebody has deleted the logged model"))
        .collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    let api = server.api();
    let run = api.run(&api.runs(&api.experiment(&experiment))[0].0);
    assert_eq!(
        (run.status.as_str(), run.points["loss"].len()),
        ("FINISHED", 10)
    );
}

#[test]
fn a_deleted_model_of_a_sqlite_file_is_rejected() {
    let folder = Folder::new();
    let ended = folder.run(SCRIPTED, &["start first", "end first"], &[]);
    assert!(ended.success, "{}", ended.stderr);
    let file = folder.path().join("mlflow.db");
    let uri = format!("sqlite:///{}", file.display());
    python(
        "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); mlflow.search_experiments()",
        &[&uri],
    );
    let store = SqliteStore::new(&file, folder.path().join("mlruns"));
    let key = unique();
    let (again, other) = block_on(async {
        let experiment = ExperimentRef::Name("Default".to_owned());
        let experiment_id = store.experiment(&experiment).await.unwrap();
        let new = NewRun {
            key: &key,
            experiment_id: &experiment_id,
            name: "fit",
            user_id: "ada",
            start_time_ms: 1,
            tags: &[],
        };
        let run = store.create_run(&new).await.unwrap();
        let model = NewModel {
            key: &key,
            name: "net",
            model_type: None,
        };
        store.create_model(&run, &model).await.unwrap();
        python(MODELS, &[&uri, "Default", "delete"]);
        let again = store.create_model(&run, &model).await;
        let other_key = unique();
        let other = NewModel {
            key: &other_key,
            ..model
        };
        (again, store.create_model(&run, &other).await)
    });
    assert!(
        matches!(&again, Err(StoreError::Rejected { reason }) if reason.to_string().contains("has deleted")),
        "{again:?}"
    );
    assert!(other.is_ok(), "{other:?}");
}

/// Regression: the model stayed pending for ever, and the run had no output.
#[test]
fn a_model_whose_description_is_rejected_is_a_failed_one() {
    let is_description = |line: &str| {
        line.starts_with("PUT") && line.split(' ').any(|word| word.ends_with("MLmodel"))
    };
    model_without(is_description, "FAILED");
}

/// Regression: a model that had all of its files was marked as failed for a tag.
#[test]
fn a_model_whose_tags_are_rejected_is_ready() {
    model_without(
        |line| line.starts_with("PATCH") && line.contains("/tags"),
        "READY",
    );
}

/// Logs a model to a server that refuses the requests that `is_refused` names, and checks that one line tells of that,
/// and that the model is an output of its run with this status.
fn model_without(is_refused: impl Fn(&str) -> bool + Send + Sync + 'static, status: &str) {
    let folder = Folder::new();
    fs::write(folder.path().join("w.bin"), "w").unwrap();
    let (server, experiment) = (Server::shared(), unique());
    let proxy = Proxy::start(server.url(), move |request| {
        is_refused(&request.line).then_some(Fault::Refused)
    });
    let ended = folder.run(
        SCRIPTED,
        &[
            "start fit",
            "model net w.bin",
            "end fit",
            "flush 60",
            "health",
        ],
        &[
            ("MLFLOW_TRACKING_URI", &*proxy.url()),
            ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ],
    );
    assert!(
        ended.stdout.contains("blocked 0 rejected 1 dropped 0"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let lines = ended.warnings();
    let lines: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("not this value"))
        .collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    let printed: Value =
        serde_json::from_str(&python(MODELS, &[server.url(), &experiment])).unwrap();
    assert_eq!(printed, json!([[status, true]]));
}

/// Logs a model to a fake; returns the models of the run and the warnings.
fn logged(model: &Model) -> (Vec<RecordedModel>, Vec<String>) {
    let fake = fake();
    let (mut runs, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        run.log_model(model);
        run.log_metric("loss", 0.5);
        drop(run);
        fake.runs()
    });
    (runs.remove(0).models, warnings)
}

#[test]
fn a_file_of_the_users_is_not_replaced_by_the_input_example() {
    let model = Model::new("net")
        .bytes("input_example.json", "mine")
        .input_example(&[1]);
    let (models, warnings) = logged(&model);
    assert_eq!(models[0].files["input_example.json"], b"mine");
    assert!(
        warnings.len() == 1 && warnings[0].contains("has a file input_example.json of its own"),
        "{warnings:?}"
    );
}

#[test]
fn a_path_that_is_a_file_and_a_folder_is_one_line() {
    for paths in [["a", "a/b"], ["a/b", "a"], ["x/a/b/c", "x/a"]] {
        let model = paths
            .iter()
            .fold(Model::new("net"), |model, path| model.bytes(*path, [1]));
        let (models, warnings) = logged(&model);
        assert!(models.is_empty(), "{models:?}");
        assert!(
            warnings.len() == 1 && warnings[0].contains("is also the folder of its file"),
            "{warnings:?}"
        );
    }
    let (models, warnings) = logged(
        &Model::new("net")
            .bytes("a", [1])
            .bytes("a.b", [2])
            .bytes("a-b/c", [3]),
    );
    assert_eq!(models[0].files.len(), 4, "{warnings:?}");
}

#[test]
fn a_renamed_path_is_one_line() {
    let (models, warnings) = logged(&Model::new("net").bytes("50%.bin", [1]));
    assert!(
        warnings.len() == 1 && warnings[0].contains("its file \"50%.bin\" is stored as \"50_"),
        "{warnings:?}"
    );
    assert_eq!(models[0].files.len(), 2);
}

#[test]
fn the_onnx_file_that_is_taken_of_several_is_named() {
    let onnx = [0x08, 8, 0x3a, 0];
    let several = || {
        Model::new("net")
            .flavor(Flavor::Onnx)
            .bytes("b.onnx", onnx)
            .bytes("c.onnx", onnx)
    };
    let (models, warnings) = logged(&several());
    assert_eq!(models[0].flavor.as_deref(), Some("onnx"));
    assert!(
        warnings.len() == 1 && warnings[0].contains("\"b.onnx\" is taken as the model"),
        "{warnings:?}"
    );
    let (models, warnings) = logged(&several().bytes("model.onnx", onnx));
    assert!(warnings.is_empty(), "{warnings:?}");
    let described = String::from_utf8(models[0].files["MLmodel"].clone()).unwrap();
    assert!(described.contains("data: model.onnx"), "{described}");
}

#[test]
fn a_flavor_that_python_would_run_or_that_has_no_name_is_plain_files() {
    for name in ["", " ", "a\nb", "python_function"] {
        let (models, warnings) = logged(
            &Model::new("net")
                .bytes("a", [1])
                .flavor(Flavor::custom(name)),
        );
        assert_eq!(models[0].flavor.as_deref(), Some("files"), "{name}");
        assert!(
            warnings.len() == 1 && warnings[0].contains("the model is logged as plain files"),
            "{warnings:?}"
        );
    }
}

#[test]
fn credentials_in_a_model_are_masked() {
    let token = format!("ghp_{}", "a1B2".repeat(9));
    let model = Model::new(format!("net {token}"))
        .bytes("a", [1])
        .input_example(&json!({ "auth": token }))
        .param("token", &token)
        .param(format!("p {token}"), 1)
        .tag("token", &token)
        .tag(format!("t {token}"), 1)
        .model_type(&token)
        .register_as("digits")
        .version_tag("token", &token);
    let (models, warnings) = logged(&model);
    let shown = format!(
        "{models:?} {:?}",
        models[0].files.values().collect::<Vec<_>>()
    );
    let files: Vec<_> = models[0]
        .files
        .values()
        .map(|bytes| String::from_utf8_lossy(bytes))
        .collect();
    for text in [shown, files.concat(), warnings.concat()] {
        assert!(!text.contains(&token), "{text}");
    }
    assert_eq!(models[0].status, "READY");
    assert_eq!(models[0].params["token"], "[redacted]");
    let example = &models[0].files["input_example.json"];
    assert_eq!(
        serde_json::from_slice::<Value>(example).unwrap(),
        json!({"auth": "[redacted]"})
    );
}

#[test]
fn the_debug_output_of_a_model_holds_no_bytes() {
    let model = Model::new("net")
        .bytes("w.bin", vec![7; 10_000])
        .param("token", "hidden");
    let shown = format!("{model:?}");
    assert!(
        shown.contains("\"w.bin\" (10000 bytes)") && shown.len() < 200,
        "{shown}"
    );
    assert!(!shown.contains("hidden"), "{shown}");
}
