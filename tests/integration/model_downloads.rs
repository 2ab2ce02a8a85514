//! Downloads of models by their URIs, as MLflow's Python client resolves them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mlflow::blocking::Client;
use mlflow::entities::NewModelVersion;
use mlflow::{ClientError, Config, DownloadArtifacts};
use serde_json::{Value, json};

use crate::support::command_line::cargo_mlflow;
use crate::support::fake_server::{FakeServer, Reply};
use crate::support::mlflow::{Server, python};
use crate::support::program::Folder;
use crate::support::unique;

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Downloads the models `argv[2]` and the following with MLflow's Python client, and prints the contents of their files.
const PYTHON: &str = r#"
import json, os, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
def files(uri):
    root = mlflow.artifacts.download_artifacts(uri)
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
    found = {os.path.relpath(path, root): open(path, "rb").read().hex() for path in paths}
    found.pop("registered_model_meta", None)  # written by the download
    return found
print(json.dumps([files(uri) for uri in sys.argv[2:]]))
"#;

fn client_of(uri: &str) -> Client {
    Client::with_config(Config::new().tracking_uri(uri))
}

/// Returns the contents of all files below a directory in hex, by path, without the file that Python's downloads
/// write into the directory of a local store.
fn files_below(directory: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(directory).unwrap().to_str().unwrap();
            let hex = fs::read(&path)
                .unwrap()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            files.insert(name.to_owned(), hex);
        }
    }
    files.remove("registered_model_meta");
    files
}

/// Logs and registers two models in the store at `uri`, and compares their downloads with Python's.
fn compare(folder: &Folder, uri: &str, name: &str) {
    let model = folder.path().join("net");
    fs::create_dir_all(model.join("a folder/ü")).unwrap();
    fs::write(model.join("weights.bin"), [7; 100]).unwrap();
    let promote = format!("promote net {name} champion {}", model.display());
    let environment = [
        ("MLFLOW_TRACKING_URI", uri),
        ("MLFLOW_EXPERIMENT_NAME", name),
    ];
    for content in ["first", "second"] {
        fs::write(model.join("a folder/ü/vocab.txt"), content).unwrap();
        let script = ["start fit", &*promote, "end fit", "flush 60"];
        let ended = folder.run(SCRIPTED, &script, &environment);
        assert!(ended.stdout.contains("flushed true"), "{}", ended.stderr);
    }
    let client = client_of(uri);
    let source = client.model_version(name, 1).unwrap().source;
    let uris = [
        format!("models:/{name}@champion"),
        format!("models:/{name}/2"),
        format!("models:/{name}/latest"),
        format!("models:/{name}/1"),
        source,
    ];
    let mut arguments = vec![uri];
    arguments.extend(uris.iter().map(String::as_str));
    let theirs: Vec<Value> = serde_json::from_str(&python(PYTHON, &arguments)).unwrap();
    for (uri, theirs) in uris.iter().zip(theirs) {
        let target = tempfile::tempdir().unwrap();
        let download = DownloadArtifacts::of_model(uri, target.path().join("not yet there"));
        let path = client.download_artifacts(download).expect("a download");
        let ours = files_below(&path);
        assert_eq!(json!(ours), theirs, "{uri}");
        assert_eq!(ours.len(), 3, "{uri}: {ours:?}");
    }
    let target = tempfile::tempdir().unwrap();
    let part = DownloadArtifacts::of_model(format!("models:/{name}@champion"), target.path());
    let part = part.path("a folder");
    let path = client.download_artifacts(part).unwrap();
    let hex = |text: &str| -> String { text.bytes().map(|byte| format!("{byte:02x}")).collect() };
    let vocab = BTreeMap::from([("ü/vocab.txt".to_owned(), hex("second"))]);
    assert_eq!(files_below(&path), vocab);
    let download =
        |uri: String| client.download_artifacts(DownloadArtifacts::of_model(uri, "never"));
    for missing in ["@nobody", "/9"] {
        let found = download(format!("models:/{name}{missing}"));
        assert!(
            matches!(found, Err(ClientError::NotFound { .. })),
            "{found:?}"
        );
    }
    let found = download(format!("models:/m-{}", "0".repeat(32)));
    assert!(
        matches!(found, Err(ClientError::NotFound { .. })),
        "{found:?}"
    );
    let found = download(format!("models:/{name}")).unwrap_err();
    assert!(
        found.to_string().contains("expected `models:/name@alias`"),
        "{found}"
    );
}

#[test]
fn a_model_of_a_server_is_downloaded_by_each_of_its_uris() {
    compare(&Folder::new(), Server::shared().url(), &unique());
}

#[test]
fn a_model_of_a_sqlite_file_is_downloaded_by_each_of_its_uris() {
    let folder = Folder::new();
    let ended = folder.run(SCRIPTED, &["start first", "end first"], &[]);
    assert!(ended.success, "{}", ended.stderr);
    let uri = format!("sqlite:///{}", folder.path().join("mlflow.db").display());
    python(
        "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); mlflow.search_experiments()",
        &[&uri],
    );
    compare(&folder, &uri, "digits");

    // The command line lists the same files and fetches them.
    let run = |arguments: &[&str]| folder.run(cargo_mlflow(), arguments, &[]);
    let listed = run(&["artifacts", "ls", "models:/digits@champion"]);
    assert!(
        listed.success && listed.stdout.contains("a folder/ü/vocab.txt"),
        "{}",
        listed.stdout
    );
    let get = ["artifacts", "get", "models:/digits/1", "--to", "got"];
    assert!(run(&get).success);
    assert_eq!(files_below(&folder.path().join("got")).len(), 3);
    let again = run(&get);
    assert!(
        !again.success && again.stderr.contains("--force overwrites"),
        "{}",
        again.stderr
    );
    let bad = run(&["artifacts", "get", "models:/digits"]);
    assert!(
        !bad.success && bad.stderr.contains("expected `models:/name@alias`"),
        "{}",
        bad.stderr
    );
    let nested = run(&["artifacts", "ls", "models:/digits/1/MLmodel"]);
    assert!(
        !nested.success && nested.stderr.contains("give that path beside"),
        "{}",
        nested.stderr
    );
}

/// Models of MLflow 2 are folders among the artifacts of a run.
#[test]
fn a_version_of_a_runs_folder_is_downloaded_without_the_folder() {
    let folder = Folder::new();
    let (server, name) = (Server::shared(), unique());
    let ended = folder.run(
        SCRIPTED,
        &[
            "start fit",
            "text net/a/w.txt 0.5",
            "text other.txt x",
            "end fit",
            "flush 60",
        ],
        &[
            ("MLFLOW_TRACKING_URI", server.url()),
            ("MLFLOW_EXPERIMENT_NAME", &name),
        ],
    );
    assert!(ended.success, "{}", ended.stderr);
    let api = server.api();
    let run_id = api.runs(&api.experiment(&name))[0].0.clone();
    let client = client_of(server.url());
    client.create_registered_model(&*name).unwrap();
    let root = client.run(&*run_id).unwrap().artifact_uri;
    for source in [format!("runs:/{run_id}/net"), format!("{root}/net")] {
        let new = NewModelVersion::new(&*name, &*source).run_id(&*run_id);
        let version = client.create_model_version(new).unwrap().version;
        let target = tempfile::tempdir().unwrap();
        let uri = format!("models:/{name}/{version}");
        let path = client.download_artifacts(DownloadArtifacts::of_model(uri, target.path()));
        let files = files_below(&path.unwrap());
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a/w.txt"], "{source}");
    }
}

#[test]
fn a_server_that_lists_a_models_files_outside_makes_us_write_nothing_there() {
    let home = tempfile::tempdir().unwrap();
    for evil in ["../evil", "/tmp/evil-of-models", "a/../../evil"] {
        let server = FakeServer::start(move |request, _| {
            if request.line.contains("/directories") {
                let files = json!({"files": [{"path": evil, "is_dir": false, "file_size": 1}]});
                return Reply::json(&files.to_string());
            }
            Reply::json(
                r#"{"model": {"info": {"model_id": "m-1", "experiment_id": "1", "artifact_uri": "mlflow-artifacts:/1"}}}"#,
            )
        });
        let target = home.path().join("target");
        let download = DownloadArtifacts::of_model("models:/m-1", &target);
        let fetched = client_of(&server.url()).download_artifacts(download);
        assert!(fetched.is_err(), "{evil}: {fetched:?}");
        let written: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
        assert!(written.is_empty(), "{evil}: {written:?}");
    }
}
