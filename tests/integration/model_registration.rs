//! Registration of logged models, with aliases and tags of their versions: once, and as MLflow's Python client does.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mlflow::testing::fake;
use mlflow::{Client, Model};
use serde_json::{Value, json};

use crate::support::fault::Fault;
use crate::support::mlflow::{Server, python};
use crate::support::program::Folder;
use crate::support::proxy::Proxy;
use crate::support::{block_on, unique, warnings};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Reads the registered model `argv[2]`: the tags of its versions, the version that `champion` names, and the versions
/// that the logged models note.
const READ: &str = r#"
import json, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
versions = sorted(client.search_model_versions(f"name = '{sys.argv[2]}'"), key=lambda version: int(version.version))
tags = [{k: v for k, v in version.tags.items() if not k.startswith("mlflow.")} for version in versions]
models = [client.get_logged_model(version.source.removeprefix("models:/")) for version in versions]
noted = [[[v["name"], str(v["version"])] for v in json.loads(model.tags["mlflow.modelVersions"])] for model in models]
print(json.dumps([tags, str(client.get_model_version_by_alias(sys.argv[2], "champion").version), noted]))
"#;

fn read(uri: &str, name: &str) -> Value {
    serde_json::from_str(&python(READ, &[uri, name])).unwrap()
}

/// Regression: the first model, whose alias was not set at once, took the alias back from the second one.
#[test]
fn an_alias_is_not_taken_back_from_a_later_version() {
    let folder = Folder::new();
    fs::write(folder.path().join("w.bin"), "w").unwrap();
    let (server, name) = (Server::shared(), unique());
    let is_second_set = Arc::new(AtomicBool::new(false));
    let refused = Arc::new(AtomicUsize::new(0));
    let (second_set, counted) = (Arc::clone(&is_second_set), Arc::clone(&refused));
    let proxy = Proxy::start(server.url(), move |request| {
        if !(request.line.starts_with("POST") && request.line.contains("registered-models/alias")) {
            return None;
        }
        if String::from_utf8_lossy(&request.body).contains(r#""version":"2""#) {
            second_set.store(true, Ordering::Relaxed);
        }
        let is_early = !second_set.load(Ordering::Relaxed);
        is_early.then(|| {
            counted.fetch_add(1, Ordering::Relaxed);
            Fault::Status(500)
        })
    });
    let promote = format!("promote net {name} champion w.bin");
    let script = [
        "start a", &*promote, "end a", "start b", &promote, "end b", "flush 60",
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
        ended.stdout.contains("flushed true"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert!(refused.load(Ordering::Relaxed) > 0 && is_second_set.load(Ordering::Relaxed));
    let tags = json!({"stage": "dev"});
    let noted = |version: &str| json!([[name, version]]);
    let expected = json!([[tags, tags], "2", [noted("1"), noted("2")]]);
    assert_eq!(read(server.url(), &name), expected);
}

/// Registers a model with MLflow's Python client in the SQLite file `argv[1]`, and prints the rows of both models.
const ROWS: &str = r#"
import json, sqlite3, sys
import mlflow
mlflow.set_tracking_uri("sqlite:///" + sys.argv[1])
client = mlflow.MlflowClient()
with mlflow.start_run():
    model = mlflow.initialize_logged_model("net")
    mlflow.finalize_logged_model(model.model_id, "READY")
client.create_registered_model("digits-python")
version = client.create_model_version("digits-python", f"models:/{model.model_id}", model_id=model.model_id,
                                      run_id=mlflow.last_active_run().info.run_id, tags={"stage": "dev"})
client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": json.dumps(
    [{"name": version.name, "version": version.version}])})  # as `mlflow.register_model` does
client.set_registered_model_alias("digits-python", "champion", version.version)
file = sqlite3.connect(sys.argv[1])
def rows(query):
    return [[str(value).replace("digits-python", "digits") for value in row] for row in file.execute(query)]
print(json.dumps([
    rows("SELECT alias, version, name FROM registered_model_aliases ORDER BY name"),
    rows("SELECT key, value, version, name FROM model_version_tags WHERE key NOT LIKE 'mlflow.%' ORDER BY name"),
    rows("SELECT tag_key, tag_value, typeof(tag_value) FROM logged_model_tags WHERE tag_key = 'mlflow.modelVersions'"),
]))
"#;

#[test]
fn the_rows_of_a_registered_version_are_those_of_pythons_client() {
    let folder = Folder::new();
    fs::write(folder.path().join("w.bin"), "w").unwrap();
    let ended = folder.run(SCRIPTED, &["start first", "end first"], &[]);
    assert!(ended.success, "{}", ended.stderr);
    let file = folder.path().join("mlflow.db");
    let file = file.to_str().unwrap();
    python(
        "import sys, mlflow; mlflow.set_tracking_uri('sqlite:///' + sys.argv[1]); mlflow.search_experiments()",
        &[file],
    );
    let script = [
        "start fit",
        "promote net digits champion w.bin",
        "end fit",
        "flush 60",
    ];
    let ended = folder.run(SCRIPTED, &script, &[]);
    assert!(
        ended.stdout.contains("flushed true") && ended.warnings().is_empty(),
        "{}",
        ended.stderr
    );
    let printed: Value = serde_json::from_str(&python(ROWS, &[file])).unwrap();
    for (rows, what) in printed
        .as_array()
        .unwrap()
        .iter()
        .zip(["aliases", "tags", "notes"])
    {
        let [ours, theirs] = rows.as_array().unwrap().as_slice() else {
            panic!("{what}: {printed:#}");
        };
        assert_eq!(ours, theirs, "{what}");
    }
}

#[test]
fn a_bad_alias_or_tag_of_a_version_costs_only_itself() {
    let good = || {
        Model::new("net")
            .bytes("w.bin", [0])
            .register_as("digits")
            .alias("champion")
    };
    for (model, line) in [
        (
            good().alias("latest"),
            "the alias \"latest\" is left out: it is reserved by MLflow",
        ),
        (
            good().alias("V7"),
            "the alias \"V7\" is left out: it is reserved by MLflow",
        ),
        (
            good().alias("a b"),
            "the alias \"a b\" is left out: it holds another character",
        ),
        (good().alias(""), "the alias \"\" is left out: it is empty"),
        (
            good().version_tag("a=b", 1),
            "model version tag \"net\": \"a=b\" is left out",
        ),
    ] {
        let fake = fake();
        let (version, warnings) = warnings::capture(|| {
            let run = mlflow::start_run().start();
            run.log_model(&model);
            drop(run);
            fake.assert_model_logged("net");
            block_on(Client::new().model_version_by_alias("digits", "champion"))
        });
        assert_eq!(version.unwrap().version, 1, "{line}");
        assert!(
            warnings.len() == 1 && warnings[0].contains(line),
            "{line}: {warnings:?}"
        );
    }
}

#[test]
fn an_alias_without_a_registered_model_is_one_line() {
    let fake = fake();
    let ((), warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        run.log_model(
            &Model::new("net")
                .bytes("w.bin", [0])
                .alias("champion")
                .version_tag("a", 1),
        );
        drop(run);
        fake.assert_model_logged("net");
    });
    assert!(
        warnings.len() == 1
            && warnings[0].contains("the model is not registered; name the registered model with"),
        "{warnings:?}"
    );
}
