//! Client's view of a store: a real server, one that refuses the client, none at all, a file, the fake.

use std::time::Duration;

use mlflow::testing::fake;
use mlflow::{Client, Config, ServerInfo, blocking};

use crate::support::fake_server::{FakeServer, Reply};
use crate::support::mlflow::{Server, free_port};
use crate::support::program::Folder;

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
