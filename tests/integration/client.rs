//! Client's view of a store: a real server, one that refuses the client, none at all, a file, the fake.

use std::time::Duration;

use mlflow::testing::fake;
use mlflow::{Client, Config, ServerInfo, blocking};

use crate::support::fake_server::{FakeServer, Reply};
use crate::support::mlflow::{Server, free_port};
use crate::support::program::Folder;

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

fn info_of(uri: &str) -> ServerInfo {
    blocking::Client::with_config(Config::new().tracking_uri(uri)).server_info()
}

#[test]
fn a_server() {
    let server = Server::shared();
    let info = info_of(server.url());
    assert_eq!(info.uri, server.url());
    assert!(info.reachable);
    let version = info.version.expect("it says so");
    assert!(
        version.starts_with(|char: char| char.is_ascii_digit()),
        "{version}"
    );
    assert!(info.latency.is_some_and(|latency| latency > Duration::ZERO));
    assert_eq!(info.authenticated, Some(true));
    assert_eq!(info.error, None);
}

/// The server behaves like MLflow's `basic-auth`: it answers no request without credentials.
#[test]
fn a_server_that_does_not_know_us() {
    let server = FakeServer::start(|request, _| {
        match request.headers.get("authorization").map(String::as_str) {
            Some("Bearer right") if request.line == "GET /version" => Reply::status(200, "3.17.2"),
            Some("Bearer right") => Reply::json(r#"{"experiments": []}"#),
            Some(_) => Reply::status(403, "Permission denied"),
            None => Reply::status(401, "You are not authenticated"),
        }
    });
    let asked = |config: Config| {
        blocking::Client::with_config(config.tracking_uri(server.url())).server_info()
    };
    for config in [Config::new(), Config::new().token("wrong")] {
        let info = asked(config);
        assert!(info.reachable);
        assert_eq!(info.authenticated, Some(false));
        assert_eq!(info.version, None);
    }
    let info = asked(Config::new().token("right"));
    assert_eq!(info.authenticated, Some(true));
    assert_eq!(info.version.as_deref(), Some("3.17.2"));
    assert!(!format!("{:?}", Client::with_config(Config::new().token("right"))).contains("right"));
}

#[test]
fn something_else_than_mlflow() {
    let page = "<!doctype html><title>Welcome</title>";
    let server = FakeServer::start(move |_, _| Reply::status(200, page));
    let info = info_of(&server.url());
    assert!(!info.reachable, "{info:?}");
    assert_eq!(info.version, None);
    assert!(info.error.is_some());
}

#[test]
fn nobody() {
    let info = info_of(&format!("http://me:hunter2@127.0.0.1:{}", free_port()));
    assert!(!info.reachable);
    let error = info.error.clone().expect("a reason");
    assert!(error.contains("refused"), "{error}");
    assert!(!format!("{info:?}").contains("hunter2"), "{info:?}");
}

#[test]
fn a_server_that_does_not_answer() {
    let server = FakeServer::start(|_, _| Reply::Hang);
    let config = Config::new()
        .tracking_uri(server.url())
        .request_timeout(Duration::from_millis(200));
    let info = blocking::Client::with_config(config).server_info();
    assert!(!info.reachable);
    let error = info.error.expect("a reason");
    assert!(error.contains("no answer in time"), "{error}");
}

#[test]
fn a_file_is_not_made_by_asking() {
    let folder = Folder::new();
    let file = folder.path().join("mlflow.db");
    let uri = format!("sqlite:///{}", file.display());
    let info = info_of(&uri);
    assert!(info.reachable && info.version.is_none());
    assert!(!file.exists());

    let ended = folder.run(env!("CARGO_BIN_EXE_numbers"), &["some", "1", "1"], &[]);
    assert!(ended.success);
    let info = info_of(&uri);
    assert!(info.reachable);
    assert_eq!(
        info.version.as_deref(),
        Some("7f2a7d5fae7d"),
        "the schema's revision"
    );
    assert_eq!(info.authenticated, None);

    std::fs::write(&file, "no database, whatever its name says").unwrap();
    let info = info_of(&uri);
    assert!(!info.reachable && info.error.is_some(), "{info:?}");
}

#[test]
fn a_fake() {
    let fake = fake();
    assert!(blocking::Client::new().server_info().reachable);
    fake.offline();
    let info = blocking::Client::new().server_info();
    assert!(!info.reachable);
    assert_eq!(
        info.error.as_deref(),
        Some("the memory store is set offline (`set_offline`)")
    );
}

#[test]
fn any_executor_may_ask() {
    let uri = format!("http://127.0.0.1:{}", free_port());
    let ask = || {
        let client = Client::with_config(Config::new().tracking_uri(&uri));
        async move { client.server_info().await.reachable }
    };
    assert!(!smol::block_on(ask()));
    assert!(!futures_lite::future::block_on(ask()));
    let tokio = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert!(!tokio.block_on(ask()), "with no driver of its own");
    // The blocking call works inside a runtime, too.
    assert!(!tokio.block_on(async { info_of(&uri).reachable }));
    // The future works on another thread, too.
    let asked = ask();
    let asked = std::thread::spawn(move || smol::block_on(asked));
    assert!(!asked.join().unwrap());
}

/// Regression: at the end of a sweep, values on their way made `best_run` return nothing, or an earlier best run.
#[test]
fn the_best_run_is_found_directly_after_its_sweep() {
    let folder = Folder::new();
    let ended = folder.run(SCRIPTED, &["trials 300", "best Default trial"], &[]);
    assert_eq!(ended.stdout, "best 149.5\n", "{}", ended.stderr);
    // A later sweep finds its own best run, and none of the earlier sweep.
    let ended = folder.run(SCRIPTED, &["trials 400", "best Default trial"], &[]);
    assert_eq!(ended.stdout, "best 199.5\n", "{}", ended.stderr);
    assert!(!ended.stderr.contains("best_run"), "{}", ended.stderr);
}

/// Values for another store, which does not answer, take nothing of the time for those that matter.
#[test]
fn the_best_run_waits_for_no_other_store() {
    let server = FakeServer::start(|_, _| Reply::Hang);
    let other = format!("to {}", server.url());
    let script = [
        &other,
        "trials 1",
        "to sqlite:///mlflow.db",
        "trials 300",
        "best Default trial",
    ];
    let ended = Folder::new().run(SCRIPTED, &script, &[("MLFLOW_EXIT_TIMEOUT", "0")]);
    assert_eq!(ended.stdout, "best 149.5\n", "{}", ended.stderr);
    assert!(!ended.stderr.contains("best_run"), "{}", ended.stderr);
}

/// Returns the reply of a server that finds one run, and never answers when a run is to be created.
fn reply_with_an_old_run(request: &str) -> Reply {
    let run = r#"{"info": {"run_id": "0123456789abcdef0123456789abcdef", "run_name": "old", "experiment_id": "0",
        "status": "FINISHED", "start_time": 1, "artifact_uri": "mlflow-artifacts:/0", "lifecycle_stage": "active"},
        "data": {"metrics": [{"key": "trial", "value": 7.5, "timestamp": 1, "step": 0}]}}"#;
    let path = request.rsplit('/').next().unwrap_or_default();
    if path.starts_with("create") {
        return Reply::Hang;
    }
    match path.split('?').next().unwrap_or_default() {
        "version" => Reply::status(200, "3.17.2"),
        "get" | "get-by-name" => Reply::json(
            r#"{"experiment": {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active"}}"#,
        ),
        "search" => Reply::json(&format!(r#"{{"runs": [{run}]}}"#)),
        _ => Reply::json("{}"),
    }
}

/// A call that waited until a server answers would hang at the end of each sweep.
#[test]
fn the_best_run_of_what_is_delivered_comes_with_a_line_if_values_are_undelivered() {
    let server = FakeServer::start(|request, _| reply_with_an_old_run(&request.line));
    let ended = Folder::new().run(
        SCRIPTED,
        &["trials 2", "best Default trial"],
        &[
            ("MLFLOW_TRACKING_URI", &server.url()),
            ("MLFLOW_EXIT_TIMEOUT", "0"),
        ],
    );
    assert_eq!(ended.stdout, "best 7.5\n", "{}", ended.stderr);
    let lines = ended.stderr.lines();
    let lines: Vec<_> = lines
        .filter(|line| line.starts_with("mlflow: best_run"))
        .collect();
    let [line] = lines[..] else {
        panic!("one line: {}", ended.stderr);
    };
    let words = "mlflow: best_run of \"trial\" in the experiment \"Default\": 12 values of this process are not delivered \
                 (best_run waits for them for 5 seconds at most), so the answer may lack runs or values.";
    assert!(line.starts_with(words), "{line}");
}
