//! Servers that misbehave, and the requests that a server receives.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

use mlflow::store::{
    ArtifactContent, Batch, Credentials, ExperimentRef, Metric, NewRun, Param, RestOptions,
    RestStore, Store, StoreError, StoredRun,
};
use serde_json::Value;

use crate::support::block_on;
use crate::support::fake_server::{FakeServer, Reply};

const RUN: &str = r#"{"run":{"info":{"run_id":"r","experiment_id":"1","artifact_uri":"mlflow-artifacts:/1/r/artifacts"}}}"#;

fn store(url: &str) -> RestStore {
    let mut options = RestOptions::new(url);
    options.timeout = Duration::from_millis(300);
    RestStore::new(options).expect("a store")
}

fn run() -> StoredRun {
    StoredRun {
        run_id: "r".to_owned(),
        experiment_id: "1".to_owned(),
        artifact_uri: "mlflow-artifacts:/1/r/artifacts".to_owned(),
    }
}

fn log_param(store: &RestStore) -> Result<(), StoreError> {
    let params = [Param {
        key: "p".to_owned(),
        value: "v".to_owned(),
    }];
    block_on(store.log_batch(
        &run(),
        &Batch {
            params: &params,
            ..Batch::default()
        },
    ))
}

fn raw(text: &str) -> Reply {
    Reply::Raw(text.as_bytes().to_vec())
}

fn is_unavailable(result: Result<(), StoreError>, words: &str) -> Option<Duration> {
    match result {
        Err(StoreError::Unavailable {
            reason,
            retry_after,
        }) if reason.contains(words) => retry_after,
        other => panic!("expected `{words}` and a later time, got {other:?}"),
    }
}

fn is_all_blocked(result: Result<(), StoreError>, words: &str) {
    match result {
        Err(StoreError::Blocked {
            reason,
            everything: true,
        }) if reason.contains(words) => {}
        other => panic!("expected `{words}` and a block of everything, got {other:?}"),
    }
}

#[test]
fn answers_that_ask_for_another_time() {
    let later = "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
    for (answer, words, retry_after) in [
        (later, "429", Some(Duration::from_secs(7))),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n<html>Log in</html>",
            "Log in",
            None,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"run_inf",
            "does not come from MLflow",
            None,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
            "does not come from MLflow",
            None,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{}",
            "POST runs/log-batch",
            None,
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 12\r\n\r\n<h1>Bad</h1>",
            "Bad",
            None,
        ),
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", "POST runs/log-batch", None),
    ] {
        let server = FakeServer::start(move |_, _| raw(answer));
        assert_eq!(
            is_unavailable(log_param(&store(&server.url())), words),
            retry_after,
            "{answer}"
        );
    }
}

#[test]
fn answers_that_need_a_person() {
    for (status, headers, body, words) in [
        (
            401,
            "",
            "You are not authenticated",
            "MLFLOW_TRACKING_USERNAME",
        ),
        (
            403,
            "",
            "Invalid Host header - possible DNS rebinding attack detected",
            "--allowed-hosts",
        ),
        (
            302,
            "Location: https://elsewhere/x?token=1\r\n",
            "",
            "https://elsewhere/x:",
        ),
        (
            301,
            "Location: https://elsewhere/\r\n",
            "",
            "MLFLOW_TRACKING_URI",
        ),
        (
            500,
            "",
            r#"{"error_code":"FEATURE_DISABLED","message":"m"}"#,
            "MLFLOW_WORKSPACE",
        ),
        (404, "", "<title>404 Not Found</title>", "prefix"),
    ] {
        let server = FakeServer::start(move |_, _| {
            Reply::Answer(status, headers.to_owned(), body.to_owned())
        });
        is_all_blocked(log_param(&store(&server.url())), words);
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[test]
fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0")
        .and_then(|port| port.local_addr())
        .expect("a free port");
    is_unavailable(log_param(&store(&format!("http://{address}"))), "refused");
}

#[test]
fn no_answer_in_time() {
    let server = FakeServer::start(|_, _| Reply::Hang);
    is_unavailable(log_param(&store(&server.url())), "in time");
}

#[test]
fn a_broken_connection_is_tried_once_more_where_that_is_harmless() {
    let server = FakeServer::start(|_, before| {
        if before == 0 {
            Reply::Close
        } else {
            Reply::json("{}")
        }
    });
    assert_eq!(log_param(&store(&server.url())), Ok(()));
    assert_eq!(server.requests().len(), 2);

    let server = FakeServer::start(|_, _| Reply::Close);
    is_unavailable(log_param(&store(&server.url())), "POST runs/log-batch");
    assert_eq!(server.requests().len(), 2);

    // A creation is not repeated at once, because the run may have been created before the connection broke.
    let server = FakeServer::start(|_, _| Reply::Close);
    let new = NewRun {
        key: "k",
        experiment_id: "1",
        name: "n",
        user_id: "u",
        start_time_ms: 1,
        tags: &[],
    };
    let created = block_on(store(&server.url()).create_run(&new));
    is_unavailable(created.map(|_| ()), "POST runs/create");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn json_requests_are_framed_as_the_server_needs_them() {
    let server = FakeServer::start(|_, _| Reply::json("{}"));
    let store = store(&format!("{}/pre/", server.url()));
    assert_eq!(log_param(&store), Ok(()));
    let [request] = &server.requests()[..] else {
        panic!("one request")
    };
    assert_eq!(request.line, "POST /pre/api/2.0/mlflow/runs/log-batch");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(
        request.headers["content-length"],
        request.body.len().to_string()
    );
    assert!(request.headers["user-agent"].starts_with("mlflow-runtime/"));
    for absent in [
        "transfer-encoding",
        "origin",
        "authorization",
        "expect",
        "x-mlflow-workspace",
    ] {
        assert!(!request.headers.contains_key(absent), "{absent}");
    }
}

#[test]
fn uploads_are_never_chunked() {
    let server = FakeServer::start(|_, _| Reply::status(200, ""));
    let store = store(&server.url());
    let home = tempfile::tempdir().expect("a directory");
    for length in [0, 1, 700_000] {
        let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let file = home.path().join("file");
        std::fs::write(&file, &bytes).expect("a file");
        for content in [
            ArtifactContent::File(&file),
            ArtifactContent::Bytes(Cow::Borrowed(&bytes)),
        ] {
            block_on(store.put_artifact(&run(), "d/ü.bin", content)).expect("an upload");
            let request = server.requests().pop().expect("a request");
            assert_eq!(
                request.line,
                "PUT /api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/d/%C3%BC.bin"
            );
            assert_eq!(request.headers["content-length"], length.to_string());
            assert!(!request.headers.contains_key("transfer-encoding"));
            assert!(request.body == bytes);
        }
    }
}

#[test]
fn an_upload_has_the_content_type_of_its_extension() {
    let server = FakeServer::start(|_, _| Reply::status(200, ""));
    let store = store(&server.url());
    for (path, expected) in [
        ("plots/loss.png", "image/png"),
        ("report.html", "text/html"),
        ("model.bin", "application/octet-stream"),
    ] {
        let content = ArtifactContent::Bytes(Cow::Borrowed(b"x"));
        block_on(store.put_artifact(&run(), path, content)).expect("an upload");
        let request = server.requests().pop().expect("a request");
        assert_eq!(request.headers["content-type"], expected, "{path}");
    }
}

#[test]
fn an_upload_that_stalls_ends() {
    let server = FakeServer::start_deaf();
    let bytes = vec![1; 32 << 20];
    let (store, run) = (store(&server.url()), run());
    let put = store.put_artifact(&run, "large", ArtifactContent::Bytes(Cow::Owned(bytes)));
    is_unavailable(block_on(put), "stalled");
}

#[test]
fn credentials_are_sent_and_follow_a_redirect_at_their_server_alone() {
    let authorization = |configure: &dyn Fn(&mut RestOptions)| {
        let other = FakeServer::start(|_, _| Reply::json("{}"));
        let to_other = format!("Location: {}/there\r\n", other.url());
        let to_itself = "Location: /there\r\n".to_owned();
        for (location, is_followed) in [(to_other, false), (to_itself, true)] {
            let server = FakeServer::start(move |request, _| {
                if request.line.ends_with("/there") {
                    return Reply::json("{}");
                }
                Reply::Answer(307, location.clone(), String::new())
            });
            let mut options = RestOptions::new(server.url());
            configure(&mut options);
            let store = RestStore::new(options).expect("a store");
            let bytes = ArtifactContent::Bytes(Cow::Borrowed(b"bytes"));
            let put = block_on(store.put_artifact(&run(), "a.txt", bytes));
            for answer in [log_param(&store), put] {
                let is_blocked = matches!(answer, Err(StoreError::Blocked { .. }));
                assert_eq!((answer == Ok(()), is_blocked), (is_followed, !is_followed));
            }
            if !is_followed {
                assert!(other.requests().is_empty());
                continue;
            }
            let requests = server.requests();
            let of_first = requests[0].headers.get("authorization");
            let followed = requests
                .iter()
                .filter(|sent| sent.line.ends_with(" /there"));
            let followed: Vec<_> = followed.collect();
            let lines: Vec<_> = followed.iter().map(|sent| sent.line.as_str()).collect();
            assert_eq!(lines, ["PUT /there", "POST /there"]);
            for sent in followed {
                assert!(!sent.body.is_empty());
                assert_eq!(sent.headers.get("authorization"), of_first);
            }
            return of_first.cloned();
        }
        unreachable!("the second one is followed")
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(authorization(&|_| {}), None);
    let token = |options: &mut RestOptions| {
        options.credentials = Credentials::choose(text("u"), None, text("t"));
    };
    assert_eq!(authorization(&token), text("Bearer t"));
    let both = |options: &mut RestOptions| {
        options.credentials = Credentials::choose(text("u"), text("p"), text("t"));
    };
    assert_eq!(authorization(&both), text("Basic dTpw"));
}

#[test]
fn workspace_is_sent_when_there_is_one() {
    let server = FakeServer::start(|_, _| Reply::json(RUN));
    let mut options = RestOptions::new(server.url());
    options.workspace = Some("team-a".to_owned());
    block_on(RestStore::new(options).expect("a store").get_run("r")).expect("a run");
    assert_eq!(server.requests()[0].headers["x-mlflow-workspace"], "team-a");
}

#[test]
fn nan_points_sent_again_arrive_at_a_server_that_refuses_them() {
    // MLflow up to 3.14 refuses a request with a NaN point that it already has, and writes none of the
    // request's points.
    let known: &'static Mutex<BTreeSet<i64>> = Box::leak(Box::default());
    let server = FakeServer::start(move |request, _| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let points = body["metrics"].as_array().expect("metrics").clone();
        assert!(points.iter().all(|point| point["value"] == "NaN"));
        let steps: Vec<i64> = points
            .iter()
            .map(|point| point["step"].as_i64().expect("a step"))
            .collect();
        let mut known = known.lock().expect("no panic in the server");
        if steps.iter().any(|step| known.contains(step)) {
            let words = r#"{"error_code":"BAD_REQUEST","message":"UNIQUE constraint failed: metrics.key, …"}"#;
            return Reply::status(400, words);
        }
        known.extend(steps);
        Reply::json("{}")
    });
    let store = store(&server.url());
    let log = |steps: std::ops::Range<i64>| {
        let metrics: Vec<Metric> = steps
            .map(|step| Metric {
                key: "m".into(),
                value: f64::NAN,
                timestamp_ms: 1,
                step,
            })
            .collect();
        block_on(store.log_batch(
            &run(),
            &Batch {
                metrics: &metrics,
                ..Batch::default()
            },
        ))
    };
    assert_eq!(log(0..3), Ok(()));
    assert_eq!(log(0..7), Ok(()));
    assert_eq!(
        known
            .lock()
            .expect("no panic")
            .iter()
            .copied()
            .collect::<Vec<_>>(),
        (0..7).collect::<Vec<_>>()
    );
}

#[test]
fn an_experiment_created_by_another_meanwhile_is_found() {
    let taken = r#"{"error_code":"RESOURCE_ALREADY_EXISTS","message":"m"}"#;
    let missing = r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"m"}"#;
    let found = r#"{"experiment":{"experiment_id":"7","name":"e","lifecycle_stage":"active"}}"#;
    let server =
        FakeServer::start(
            move |request, before| match (before, request.line.starts_with("GET")) {
                (0, true) => Reply::status(404, missing),
                (_, false) => Reply::status(400, taken),
                (_, true) => Reply::json(found),
            },
        );
    let store = store(&server.url());
    let experiment = ExperimentRef::Name("e e/ü".to_owned());
    for _ in 0..2 {
        assert_eq!(block_on(store.experiment(&experiment)).as_deref(), Ok("7"));
    }
    let requests = server.requests();
    // The second call is answered from the store's cache.
    assert_eq!(requests.len(), 3);
    assert_eq!(
        requests[0].line,
        "GET /api/2.0/mlflow/experiments/get-by-name?experiment_name=e+e%2F%C3%BC"
    );
}
