//! Faults: files that are missing or locked, servers that are away, refuse us, break off or lie.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use mlflow::search::{SearchExperiments, SearchRuns};
use mlflow::{ClientError, Config, DownloadArtifacts, blocking};
use rusqlite::Connection;
use serde_json::json;

use super::{client_of, copy_of, records, sample, uri_of};
use crate::support::fake_server::{FakeServer, Reply};
use crate::support::mlflow::free_port;

const RUN: &str = "0123456789abcdef0123456789abcdef";

/// Makes every reading call. Returns the errors.
fn read_everything(client: &blocking::Client) -> Vec<(&'static str, Option<ClientError>)> {
    vec![
        ("experiment", client.experiment("wine").err()),
        ("experiment_by_id", client.experiment_by_id("1").err()),
        ("run", client.run(RUN).err()),
        ("metric_history", client.metric_history(RUN, "loss").err()),
        ("list_artifacts", client.list_artifacts(RUN, "").err()),
        ("read_artifact", client.read_artifact(RUN, "a.txt").err()),
        ("registered_model", client.registered_model("model-a").err()),
        ("model_version", client.model_version("model-a", 1).err()),
        (
            "search_runs",
            client.search_runs(SearchRuns::new()).find_map(Result::err),
        ),
        (
            "search_runs in",
            client
                .search_runs(SearchRuns::new().experiment("wine"))
                .find_map(Result::err),
        ),
        (
            "search_experiments",
            client
                .search_experiments(SearchExperiments::new())
                .find_map(Result::err),
        ),
        (
            "search_registered_models",
            client
                .search_registered_models(Default::default())
                .find_map(Result::err),
        ),
        (
            "search_model_versions",
            client
                .search_model_versions(Default::default())
                .find_map(Result::err),
        ),
    ]
}

#[test]
fn reading_a_missing_file_creates_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let database = home.path().join("not yet there/mlflow.db");
    for (call, error) in read_everything(&client_of(&uri_of(&database))) {
        assert!(
            matches!(error, Some(ClientError::NotFound { .. })),
            "{call}: {error:?}"
        );
    }
    assert_eq!(fs::read_dir(home.path()).expect("a directory").count(), 0);
    let download = DownloadArtifacts::new(RUN, home.path().join("target"));
    let done = client_of(&uri_of(&database)).download_artifacts(download);
    assert!(
        matches!(done, Err(ClientError::NotFound { .. })),
        "{done:?}"
    );
    assert_eq!(fs::read_dir(home.path()).expect("a directory").count(), 0);
}

#[test]
fn reading_an_empty_file_leaves_it_empty() {
    let home = tempfile::tempdir().expect("a directory");
    let database = home.path().join("mlflow.db");
    fs::write(&database, "").expect("a file");
    for (call, error) in read_everything(&client_of(&uri_of(&database))) {
        assert!(
            matches!(error, Some(ClientError::NotFound { .. })),
            "{call}: {error:?}"
        );
    }
    assert_eq!(fs::read(&database).expect("the file"), b"");
}

#[test]
fn reading_leaves_every_byte_of_a_file_as_it_is() {
    let database = copy_of(sample());
    let before = fs::read(&database).expect("the file");
    let client = client_of(&uri_of(&database));
    records::compare_all(&client, records::expected());
    read_everything(&client);
    assert!(fs::read(&database).expect("the file") == before);
    let directory = database.parent().expect("a directory");
    assert_eq!(
        fs::read_dir(directory).expect("a directory").count(),
        1,
        "no file beside it"
    );
}

#[test]
fn something_else_than_a_database_is_blocked() {
    let home = tempfile::tempdir().expect("a directory");
    let database = home.path().join("mlflow.db");
    fs::write(&database, "no database, whatever its name says").expect("a file");
    let error = client_of(&uri_of(&database))
        .experiment("wine")
        .unwrap_err();
    assert!(matches!(error, ClientError::Blocked { .. }), "{error:?}");
}

/// Makes a call while another process has the file's lock. The call has to wait, and to succeed then.
fn call_while_locked(call: impl Fn(&blocking::Client) -> Result<(), ClientError> + Send + 'static) {
    let database = copy_of(sample());
    let client = client_of(&uri_of(&database));
    client.experiment("wine").expect("the file is open");
    let lock = Connection::open(&database).expect("the file");
    lock.execute_batch("BEGIN EXCLUSIVE").expect("the lock");
    let (done, answered) = mpsc::channel();
    thread::spawn(move || done.send(call(&client)));
    let early = answered.recv_timeout(Duration::from_millis(400));
    assert_eq!(
        early.map(drop),
        Err(RecvTimeoutError::Timeout),
        "the call waits"
    );
    lock.execute_batch("COMMIT")
        .expect("the lock is given back");
    let answer = answered
        .recv_timeout(Duration::from_secs(60))
        .expect("an answer");
    assert!(answer.is_ok(), "{answer:?}");
}

#[test]
fn reading_waits_for_a_locked_file() {
    call_while_locked(|client| client.experiment("wine").map(drop));
}

#[test]
fn writing_waits_for_a_locked_file() {
    call_while_locked(|client| client.set_experiment_tag("1", "key", "value"));
}

#[test]
fn a_server_that_is_away_is_unavailable_within_seconds() {
    let begun = Instant::now();
    let client = client_of(&format!("http://127.0.0.1:{}", free_port()));
    thread::scope(|scope| {
        let read = scope.spawn(|| client.experiment("wine").map(drop));
        let search = scope.spawn(|| {
            client
                .search_runs(SearchRuns::new())
                .collect::<Result<Vec<_>, _>>()
                .map(drop)
        });
        let write = scope.spawn(|| client.create_experiment("new").map(drop));
        let tag = scope.spawn(|| client.set_tag(RUN, "key", "value"));
        for call in [read, search, write, tag] {
            let done = call.join().expect("no panic");
            assert!(
                matches!(done, Err(ClientError::Unavailable { .. })),
                "{done:?}"
            );
        }
    });
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn wrong_credentials_are_blocked() {
    for (status, words) in [
        (401, "You are not authenticated"),
        (403, "Permission denied"),
    ] {
        let server = FakeServer::start(move |_, _| Reply::status(status, words));
        let config = Config::new()
            .tracking_uri(server.url())
            .token("wrong-secret");
        for (call, error) in read_everything(&blocking::Client::with_config(config)) {
            let error = error.expect("an error");
            assert!(
                matches!(error, ClientError::Blocked { .. }),
                "{call}: {error:?}"
            );
            assert!(
                !format!("{error} {error:?}").contains("wrong-secret"),
                "{error}"
            );
        }
    }
}

/// Server with one run, whose artifacts are listed and read as given.
fn artifact_server(
    list: impl Fn(&str) -> Reply + Send + Sync + 'static,
    read: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> FakeServer {
    FakeServer::start(move |request, _| {
        let line = request.line.as_str();
        if line.contains("/runs/get") {
            let info = json!({
                "run_id": RUN, "run_uuid": RUN, "experiment_id": "1", "status": "FINISHED", "start_time": 1,
                "artifact_uri": "mlflow-artifacts:/1/run/artifacts", "lifecycle_stage": "active",
            });
            Reply::json(&json!({"run": {"info": info, "data": {}, "inputs": {}}}).to_string())
        } else if line.contains("/artifacts/list") || line.contains("mlflow-artifacts/artifacts?") {
            list(line)
        } else if line.contains("/mlflow-artifacts/artifacts/") || line.contains("/get-artifact") {
            read(line)
        } else {
            Reply::status(
                404,
                "{\"error_code\": \"RESOURCE_DOES_NOT_EXIST\", \"message\": \"no such route\"}",
            )
        }
    })
}

/// Returns all paths below a directory.
fn paths_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(
                path.strip_prefix(directory)
                    .expect("below")
                    .display()
                    .to_string(),
            );
        }
    }
    found.sort();
    found
}

#[test]
fn a_server_that_lists_paths_outside_makes_us_write_nothing_there() {
    for hostile in [
        "../../evil",
        "/tmp/evil-of-conformance",
        "folder/../../../evil",
        "..",
        "a/./../../evil",
        "..\\evil",
        "evil\u{0}",
    ] {
        let files = json!({"root_uri": "mlflow-artifacts:/1/run/artifacts", "files": [
            {"path": "good.txt", "is_dir": false, "file_size": "3"},
            {"path": hostile, "is_dir": false, "file_size": "4"},
        ]});
        let server = artifact_server(
            move |_| Reply::json(&files.to_string()),
            |_| Reply::status(200, "evil"),
        );
        let home = tempfile::tempdir().expect("a directory");
        let target = home.path().join("a/b/c/target");
        let client = client_of(&server.url());
        let done = client.download_artifacts(DownloadArtifacts::new(RUN, &target));
        let outside: Vec<String> = paths_below(home.path())
            .into_iter()
            .filter(|path| {
                !path.starts_with("a/b/c/target/") && !"a/b/c/target".starts_with(path.as_str())
            })
            .collect();
        assert!(outside.is_empty(), "{hostile}: {outside:?}, {done:?}");
        assert!(!Path::new("/tmp/evil-of-conformance").exists());
        // A backslash is part of a name here.
        assert_eq!(done.is_err(), hostile != "..\\evil", "{hostile}: {done:?}");
    }
}

#[test]
fn a_server_that_lists_a_folder_in_itself_does_not_keep_us_for_ever() {
    let files = json!({"files": [{"path": "folder", "is_dir": true}]});
    let server = artifact_server(move |_| Reply::json(&files.to_string()), |_| Reply::Close);
    let target = tempfile::tempdir().expect("a directory");
    let client = client_of(&server.url());
    let (done, answered) = mpsc::channel();
    let download = DownloadArtifacts::new(RUN, target.path());
    thread::spawn(move || done.send(client.download_artifacts(download).map(drop)));
    answered
        .recv_timeout(Duration::from_secs(30))
        .expect("the download ends")
        .ok();
}

#[test]
fn a_download_that_breaks_off_leaves_no_file_under_its_name() {
    let files =
        json!({"files": [{"path": "folder/large.bin", "is_dir": false, "file_size": "1000000"}]});
    let server = artifact_server(
        move |_| Reply::json(&files.to_string()),
        |_| {
            let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec();
            answer.resize(answer.len() + 5000, b'x');
            Reply::Raw(answer)
        },
    );
    let client = client_of(&server.url());
    let target = tempfile::tempdir().expect("a directory");
    fs::create_dir(target.path().join("folder")).expect("a directory");
    fs::write(target.path().join("folder/large.bin"), "former").expect("a file");
    let done = client.download_artifacts(DownloadArtifacts::new(RUN, target.path()));
    assert!(
        matches!(done, Err(ClientError::Unavailable { .. })),
        "{done:?}"
    );
    assert_eq!(paths_below(target.path()), ["folder", "folder/large.bin"]);
    assert_eq!(
        fs::read(target.path().join("folder/large.bin")).expect("a file"),
        b"former"
    );
    let read = client.read_artifact(RUN, "folder/large.bin");
    assert!(
        matches!(read, Err(ClientError::Unavailable { .. })),
        "{read:?}"
    );
}

#[test]
fn a_server_that_answers_something_else_than_mlflow_is_an_error() {
    let page = "<!doctype html><title>Welcome</title>";
    let server = FakeServer::start(move |_, _| Reply::status(200, page));
    let client = client_of(&server.url());
    // Each call is repeated for some seconds, so they are made at the same time.
    thread::scope(|scope| {
        let run = scope.spawn(|| client.run(RUN).map(drop));
        let model = scope.spawn(|| client.registered_model("model-a").map(drop));
        let search = scope.spawn(|| {
            client
                .search_experiments(SearchExperiments::new())
                .try_for_each(|found| found.map(drop))
        });
        let write = scope.spawn(|| client.set_tag(RUN, "key", "value"));
        for call in [run, model, search, write] {
            assert!(call.join().expect("no panic").is_err());
        }
    });
}

#[test]
fn a_search_that_is_dropped_while_a_server_is_silent_does_not_hang() {
    let server = FakeServer::start(|_, _| Reply::Hang);
    let client = mlflow::Client::with_config(Config::new().tracking_uri(server.url()));
    let mut found = client.search_runs(SearchRuns::new().experiment_id("1"));
    crate::support::block_on(async {
        // Until the server has the request.
        while server.requests().is_empty() {
            let next = std::pin::pin!(found.try_next());
            assert!(futures_lite::future::poll_once(next).await.is_none());
            tokio::task::yield_now().await;
        }
    });
    drop(found);
    drop(client);
}
