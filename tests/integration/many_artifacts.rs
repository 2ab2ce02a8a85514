//! Many artifacts of one run, several of which are uploaded at once.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::fake_server::{FakeServer, Reply, Request};
use crate::support::fault::Fault;
use crate::support::mlflow::Server;
use crate::support::program::{Folder, one};
use crate::support::proxy::Proxy;
use crate::support::unique;

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Number of files in the folders of these tests.
const FILES: usize = 120;

/// Writes files with different contents to a folder and to folders in it. Returns the contents by path.
fn write_files(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
    let contents = (0..FILES).map(|at| {
        let path = format!("many/{}/{at}.bin", at % 7);
        (path, format!("{at} ").repeat(at).into_bytes())
    });
    let contents: BTreeMap<_, _> = contents.collect();
    for (path, bytes) in &contents {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    contents
}

fn is_upload(request: &Request) -> bool {
    request.line.starts_with("PUT ") && request.line.contains("/mlflow-artifacts/")
}

/// Answer to an experiment that is looked up, and to a run that is created or read.
const RECORDS: &str = r#"{"experiment":{"experiment_id":"1","name":"e"},"run":{"info":{"run_id":"r","experiment_id":"1",
    "status":"RUNNING","artifact_uri":"mlflow-artifacts:/1/r/artifacts"}}}"#;

#[test]
fn artifacts_are_uploaded_at_once_and_all_of_them_before_the_runs_end() {
    let in_flight = AtomicUsize::new(0);
    let most = Arc::new(AtomicUsize::new(0));
    let seen = most.clone();
    let server = FakeServer::start(move |request, _| {
        if is_upload(request) {
            let now = in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            seen.fetch_max(now, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(20));
            in_flight.fetch_sub(1, Ordering::SeqCst);
            return Reply::status(200, "");
        }
        Reply::json(RECORDS)
    });
    let folder = Folder::new();
    let contents = write_files(&folder);
    let environment = [("MLFLOW_TRACKING_URI", &*server.url())];
    let ended = folder.run(SCRIPTED, &["start r", "file many", "end r"], &environment);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    let requests = server.requests();
    let (uploads, others): (Vec<_>, Vec<_>) =
        (0..requests.len()).partition(|&at| is_upload(&requests[at]));
    let uploaded = uploads.iter().map(|&at| {
        let (_, path) = requests[at].line.split_once("/1/r/artifacts/").unwrap();
        (path.to_owned(), requests[at].body.clone())
    });
    assert!(uploaded.collect::<BTreeMap<_, _>>() == contents);
    assert_eq!(uploads.len(), FILES, "none is sent twice");
    let is_end = |&at: &usize| requests[at].line.contains("runs/update");
    let end = others.into_iter().rfind(is_end).expect("an end");
    assert!(uploads.into_iter().all(|upload| upload < end));
    let most = most.load(Ordering::SeqCst);
    assert!((2..=8).contains(&most), "{most} at once");
}

/// Checks that the last of several artifacts with one path is the one that stays, whatever is uploaded
/// beside them.
#[test]
fn of_artifacts_with_one_path_the_last_one_stays() {
    let server = Server::shared();
    let folder = Folder::new();
    let experiment = unique();
    let mut script = vec!["start r".to_owned()];
    for round in 0..20 {
        script.push(format!("text same.txt {round}"));
        script.extend((0..round % 4).map(|other| format!("text {round}/{other}.txt x")));
    }
    script.push("end r".to_owned());
    let script: Vec<_> = script.iter().map(String::as_str).collect();
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXPERIMENT_NAME", &experiment),
    ];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    let api = server.api();
    let [(run, _)] = &api.runs(&api.experiment(&experiment))[..] else {
        panic!("one run");
    };
    let artifacts = api.run(run).artifacts;
    assert_eq!(artifacts["same.txt"], b"19");
    assert_eq!(artifacts.len(), 31);
}

/// Checks that artifacts which failed while others were uploaded arrive later, and are counted once.
/// Regression: the server answers 500 to such a path, so the artifact waited for ever.
#[test]
fn an_artifact_whose_path_is_a_folder_or_in_a_file_is_refused() {
    let server = Server::shared();
    let folder = Folder::new();
    let experiment = unique();
    let ended = folder.run(
        SCRIPTED,
        &[
            "start r",
            "text a/b x",
            "flush 60",
            "text a y",
            "text a/b/c/d z",
            "text e w",
            "end r",
        ],
        &[
            ("MLFLOW_TRACKING_URI", server.url()),
            ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ],
    );
    let line = "has refused 2 values, kept in";
    assert!(
        ended.success && ended.stderr.contains(line),
        "{}",
        ended.stderr
    );
    let reason = "artifact \"a\" is rejected for good: the run has a folder of that name; choose another path";
    assert!(ended.stderr.contains(reason), "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    let api = server.api();
    let runs = api.runs(&api.experiment(&experiment));
    let run = api.run(&runs[0].0);
    let paths: Vec<_> = run.artifacts.keys().collect();
    assert_eq!(paths, ["a/b", "e"]);
}

#[test]
fn artifacts_that_fail_beside_others_arrive_later() {
    let server = Server::shared();
    let proxy = Proxy::start(server.url(), |_| None);
    let failures = AtomicUsize::new(0);
    proxy.schedule(move |request| {
        let fails = is_upload(request) && request.line.contains("/3/");
        (fails && failures.fetch_add(1, Ordering::SeqCst) < 10).then_some(Fault::Status(500))
    });
    let folder = Folder::new();
    let contents = write_files(&folder);
    let experiment = unique();
    let environment = [
        ("MLFLOW_TRACKING_URI", &*proxy.url()),
        ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ("MLFLOW_EXIT_TIMEOUT", "120"),
    ];
    let script = ["start r", "file many", "end r", "flush 100", "health"];
    let ended = folder.run(SCRIPTED, &script, &environment);
    let numbers = "health queued 0 blocked 0 rejected 0 dropped 0";
    assert!(
        ended.stdout.contains("flushed true") && ended.stdout.contains(numbers),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let api = server.api();
    let [(run, _)] = &api.runs(&api.experiment(&experiment))[..] else {
        panic!("one run");
    };
    assert!(api.run(run).artifacts == contents);
}

#[test]
fn many_artifacts_reach_the_directory_of_a_sqlite_file() {
    let folder = Folder::new();
    let contents = write_files(&folder);
    let ended = folder.run(SCRIPTED, &["start r", "file many", "end r"], &[]);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    let root: String = one(&folder.database(), "select artifact_uri from runs");
    let root = folder.path().join(root);
    for (path, bytes) in contents {
        assert!(fs::read(root.join(&path)).unwrap() == bytes, "{path}");
    }
}
