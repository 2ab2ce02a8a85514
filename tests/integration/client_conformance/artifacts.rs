//! Artifacts: lists, bytes and downloads.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use mlflow::entities::FileInfo;
use mlflow::{ClientError, DownloadArtifacts, blocking};
use serde_json::{Value, json};

use super::python::Python;
use super::{client_of, copy_of, list, records, sample, sample_server, text, uri_of};
use crate::support::mlflow::Server;
use crate::support::unique;

/// Lists a folder with all folders in it, in the order of `answers.py`.
fn list_all(client: &blocking::Client, run_id: &str, folder: &str) -> Vec<FileInfo> {
    let mut listed = Vec::new();
    for entry in client.list_artifacts(run_id, folder).expect("a list") {
        let inner = entry.is_dir.then(|| list_all(client, run_id, &entry.path));
        listed.push(entry);
        listed.extend(inner.into_iter().flatten());
    }
    listed
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the contents of all files below a directory, by path.
fn files_below(directory: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(directory)
                    .expect("below")
                    .to_str()
                    .expect("UTF-8");
                files.insert(name.to_owned(), hex(&fs::read(&path).expect("a file")));
            }
        }
    }
    files
}

/// Compares lists, bytes and downloads of one run.
fn compare(client: &blocking::Client, run_id: &str, wanted: &Value, contents: &Value) {
    assert_eq!(
        serde_json::to_value(list_all(client, run_id, "")).expect("JSON"),
        *wanted
    );
    let contents: BTreeMap<String, String> =
        serde_json::from_value(contents.clone()).expect("contents");
    for (path, content) in &contents {
        assert_eq!(
            &hex(&client.read_artifact(run_id, path).expect("bytes")),
            content,
            "{path}"
        );
        assert_eq!(
            client.list_artifacts(run_id, path).expect("a list"),
            [],
            "a file has no entries"
        );
    }
    let target = tempfile::tempdir().expect("a directory");
    let reports = Arc::new(Mutex::new(Vec::new()));
    let download = DownloadArtifacts::new(run_id, target.path().join("not yet there"));
    let kept = reports.clone();
    let download =
        download.on_progress(move |progress| kept.lock().expect("no panic").push(progress));
    let path = client.download_artifacts(download).expect("a download");
    assert_eq!(files_below(&path), contents);
    let reports = reports.lock().expect("no panic");
    if let Some(last) = reports.last() {
        assert_eq!(
            (last.files, last.bytes),
            (last.total_files, last.total_bytes)
        );
        assert_eq!(last.files, contents.len());
        assert!(
            reports.is_sorted_by_key(|progress| progress.bytes),
            "{reports:?}"
        );
    }
}

fn runs_with_artifacts() -> Vec<&'static str> {
    let runs = list(&records::expected()["runs"])
        .iter()
        .map(|run| text(&run["run_id"]));
    runs.filter(|id| !list(&records::expected()["artifacts"][id]).is_empty())
        .collect()
}

fn compare_all(client: &blocking::Client) {
    let expected = records::expected();
    let runs = runs_with_artifacts();
    assert_eq!(runs.len(), 2);
    for run_id in runs {
        compare(
            client,
            run_id,
            &expected["artifacts"][run_id],
            &expected["contents"][run_id],
        );
    }
}

#[test]
fn artifacts_of_a_sqlite_file_are_those_of_mlflow() {
    compare_all(&client_of(&uri_of(&copy_of(sample()))));
}

#[test]
fn artifacts_that_a_server_reads_from_its_disk_are_those_of_mlflow() {
    compare_all(&client_of(sample_server().url()));
}

#[test]
fn artifacts_that_a_server_stores_are_those_of_mlflow() {
    let server = Server::shared();
    // Python uploads to the server what it has written for the sample.
    let expected = records::expected();
    let from = runs_with_artifacts()[0];
    let run = list(&expected["runs"])
        .iter()
        .find(|run| run["run_id"] == from)
        .expect("the run");
    let run_id = Python::shared().ask(&json!({
        "request": "upload", "uri": server.url(), "experiment": unique(), "directory": run["artifact_uri"],
    }));
    let client = client_of(server.url());
    let stored = client.run(text(&run_id)).expect("the run");
    assert!(
        stored.artifact_uri.starts_with("mlflow-artifacts:/"),
        "{}",
        stored.artifact_uri
    );
    compare(
        &client,
        text(&run_id),
        &expected["artifacts"][from],
        &expected["contents"][from],
    );
}

#[test]
fn a_part_of_the_artifacts_keeps_its_path() {
    let run_id = runs_with_artifacts()[0];
    let contents: BTreeMap<String, String> =
        serde_json::from_value(records::expected()["contents"][run_id].clone()).expect("contents");
    for client in [
        client_of(&uri_of(&copy_of(sample()))),
        client_of(sample_server().url()),
    ] {
        for part in [
            "folder",
            "folder/deep/",
            "a.txt",
            "empty.bin",
            "folder/deep/ünï 日本.txt",
        ] {
            let target = tempfile::tempdir().expect("a directory");
            let download = DownloadArtifacts::new(run_id, target.path()).path(part);
            let path = client.download_artifacts(download).expect("a download");
            assert_eq!(path, target.path().join(part.trim_end_matches('/')));
            let mut wanted = contents.clone();
            let part = part.trim_end_matches('/');
            wanted.retain(|path, _| path == part || path.starts_with(&format!("{part}/")));
            assert!(!wanted.is_empty());
            assert_eq!(files_below(target.path()), wanted, "{part}");
        }
    }
}

#[test]
fn artifacts_that_are_not_there_are_an_error_and_leave_nothing() {
    let run_id = runs_with_artifacts()[0];
    for client in [
        client_of(&uri_of(&copy_of(sample()))),
        client_of(sample_server().url()),
    ] {
        for missing in ["no such file", "folder/no such file", "a.txt/b"] {
            let read = client.read_artifact(run_id, missing);
            assert!(
                matches!(read, Err(ClientError::NotFound { .. })),
                "{missing}: {read:?}"
            );
            let target = tempfile::tempdir().expect("a directory");
            let download = DownloadArtifacts::new(run_id, target.path()).path(missing);
            let done = client.download_artifacts(download);
            assert!(
                matches!(done, Err(ClientError::NotFound { .. })),
                "{missing}: {done:?}"
            );
            assert_eq!(files_below(target.path()), BTreeMap::new());
        }
        let read = client.read_artifact(run_id, "folder");
        assert!(
            matches!(read, Err(ClientError::Invalid { .. })),
            "a folder: {read:?}"
        );
        for outside in ["../../copy.db", "/etc/hostname", "folder/../../x", ""] {
            let read = client.read_artifact(run_id, outside);
            assert!(
                matches!(read, Err(ClientError::Invalid { .. })),
                "{outside}: {read:?}"
            );
        }
        assert_eq!(
            client
                .list_artifacts(run_id, "no such folder")
                .expect("a list"),
            []
        );
        let listed = client.list_artifacts(run_id, "../..");
        assert!(
            matches!(listed, Err(ClientError::Invalid { .. })),
            "{listed:?}"
        );
    }
}
