//! Artifacts uploaded to a bucket for which the client has no credentials.

use mlflow::store::{
    ArtifactContent, Credentials, RestOptions, RestStore, Store as _, StoreError, StoredRun,
};

use crate::support::block_on;
use crate::support::bucket::{Bucket, server_of};
use crate::support::fake_server::{FakeServer, Reply, Request};
use crate::support::mlflow::free_port;
use crate::support::program::{Folder, one};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");
const CHECKPOINT: &str = env!("CARGO_BIN_EXE_checkpoint");

/// Checks all artifacts of a run when the server does not proxy them, so that the client uploads to the
/// bucket itself.
#[test]
fn artifacts_go_to_a_bucket_by_urls_that_the_server_signs() {
    let port = free_port();
    let (bucket, server) = (Bucket::start_on(port), server_of(port));
    let folder = Folder::new();
    let file = folder.path().join("model 1.bin");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    std::fs::write(&file, &bytes).unwrap();
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_CAPTURE_CONSOLE", "true"),
    ];
    let ended = folder.run(CHECKPOINT, &[file.to_str().unwrap(), "10"], &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);

    let objects = bucket.objects();
    let of = |name: &str| {
        let found = objects.iter().find(|(key, ..)| key.ends_with(name));
        let (key, kind, bytes) = found.unwrap_or_else(|| panic!("{name}"));
        assert!(key.starts_with("runs/"), "{key}");
        (kind.as_str(), bytes.clone())
    };
    assert_eq!(
        of("/artifacts/model 1.bin"),
        ("application/octet-stream", bytes)
    );
    let notes = "large ".repeat(10_000).into_bytes();
    assert_eq!(of("/artifacts/notes.txt"), ("text/plain", notes));
    assert!(
        of("/artifacts/logs/console.log")
            .1
            .starts_with(b"dropped 0")
    );
    // The server lists the artifacts under these names, as the MLflow UI and its clients show them.
    let api = server.api();
    let [(run, _)] = &api.runs(&api.experiment("checkpoints"))[..] else {
        panic!("one run");
    };
    let names: Vec<_> = api.run(run).artifacts.into_keys().collect();
    assert_eq!(names, ["logs/console.log", "model 1.bin", "notes.txt"]);
}

/// Regression: the server signs uploads of logged models, too, and the model waited.
#[test]
fn a_model_goes_to_a_bucket_by_urls_that_the_server_signs() {
    let port = free_port();
    let (bucket, server) = (Bucket::start_on(port), server_of(port));
    let folder = Folder::new();
    std::fs::write(folder.path().join("w.bin"), vec![7; 100_000]).unwrap();
    let script = ["start fit", "model net w.bin", "end fit", "flush 60"];
    let environment = [("MLFLOW_TRACKING_URI", server.url())];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(
        ended.stdout.contains("flushed true") && ended.warnings().is_empty(),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let objects = bucket.objects();
    let mut names: Vec<_> = { objects.iter() }
        .filter_map(|(key, ..)| {
            Some(
                key.split_once("/models/m-")?
                    .1
                    .split_once('/')?
                    .1
                    .to_owned(),
            )
        })
        .collect();
    names.sort();
    let expected = ["MLmodel", "input_example.json", "w.bin"];
    assert_eq!(names, expected.map(|name| format!("artifacts/{name}")));
    let api = server.api();
    let run = api.run(&api.runs(&api.experiment("Default"))[0].0);
    assert_eq!(run.models[0].status, "LOGGED_MODEL_READY");
}

#[test]
fn while_a_bucket_is_away_its_artifacts_wait_and_nothing_else_does() {
    let port = free_port();
    let server = server_of(port);
    let folder = Folder::new();
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXIT_TIMEOUT", "3"),
    ];
    let steps = [
        "start one",
        "text a/b.txt content",
        "points loss 0 10",
        "end one",
    ];
    let ended = folder.run(SCRIPTED, &steps, &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("1 value waits in"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("X-Amz"), "{}", ended.stderr);
    let points =
        "select count(*) from metrics join runs using (run_uuid) where status = 'FINISHED'";
    assert_eq!(one::<i64>(&server.database(), points), 10);

    let bucket = Bucket::start_on(port);
    let next = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert!(
        next.stdout.contains("complete true"),
        "{}{}",
        next.stdout,
        next.stderr
    );
    let objects = bucket.objects();
    assert_eq!(objects.len(), 1, "{objects:?}");
    assert_eq!(objects[0].2, b"content");
}

/// Uploads one artifact. `signs` answers for the tracking server and gets a URL in the bucket; `takes`
/// answers for the bucket. Returns the result, the server and the bucket.
fn put(
    signs: impl Fn(&str) -> Reply + Send + Sync + 'static,
    takes: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (Result<(), StoreError>, FakeServer, FakeServer) {
    let bucket = FakeServer::start(move |request, _| takes(request));
    let url = format!("{}/bucket/key?X-Amz-Signature=5ec7e7", bucket.url());
    let server = FakeServer::start(move |_, _| signs(&url));
    let mut options = RestOptions::new(server.url());
    options.credentials = Some(Credentials::Bearer("token".to_owned()));
    options.workspace = Some("space".to_owned());
    let run = StoredRun {
        run_id: "r".to_owned(),
        experiment_id: "1".to_owned(),
        artifact_uri: "s3://bucket/1/r/artifacts".to_owned(),
    };
    let store = RestStore::new(options).expect("a store");
    let content = ArtifactContent::Bytes(b"bytes".as_slice().into());
    let put = block_on(store.put_artifact(&run, "a/b.txt", content));
    (put, server, bucket)
}

fn signed(url: &str) -> Reply {
    let headers = r#"{"Content-Type":"text/plain","x-amz-acl":"private"}"#;
    Reply::json(&format!(
        r#"{{"presigned_url":"{url}","headers":{headers}}}"#
    ))
}

#[test]
fn a_bucket_is_sent_what_was_signed_and_none_of_our_credentials() {
    let (put, server, bucket) = put(signed, |_| Reply::status(200, ""));
    assert_eq!(put, Ok(()));
    let [asked] = &server.requests()[..] else {
        panic!("{:?}", server.requests());
    };
    assert_eq!(
        asked.line,
        "POST /api/2.0/mlflow/artifacts/presigned-upload-url"
    );
    assert_eq!(asked.headers["authorization"], "Bearer token");
    let body: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(body, serde_json::json!({"run_id": "r", "path": "a/b.txt"}));
    let [sent] = &bucket.requests()[..] else {
        panic!("{:?}", bucket.requests());
    };
    assert_eq!(sent.line, "PUT /bucket/key?X-Amz-Signature=5ec7e7");
    assert_eq!(sent.body, b"bytes");
    assert_eq!(sent.headers["content-type"], "text/plain");
    assert_eq!(sent.headers["x-amz-acl"], "private");
    assert_eq!(sent.headers["content-length"], "5");
    for ours in ["authorization", "x-mlflow-workspace"] {
        assert!(!sent.headers.contains_key(ours), "{sent:?}");
    }
}

#[test]
fn an_upload_signed_without_a_content_type_has_that_of_its_extension() {
    let signs = |url: &str| Reply::json(&format!(r#"{{"presigned_url":"{url}"}}"#));
    let (put, _, bucket) = put(signs, |_| Reply::status(200, ""));
    assert_eq!(put, Ok(()));
    assert_eq!(bucket.requests()[0].headers["content-type"], "text/plain");
}

/// Regression: the bytes were deleted as rejected. An artifact without a signed upload stays blocked instead.
/// With the feature `object-store`, such an artifact has another way.
#[cfg(not(feature = "object-store"))]
#[test]
fn an_artifact_that_no_upload_is_signed_for_waits_for_a_person() {
    let error = |code: &str| format!(r#"{{"error_code":"{code}","message":"not now"}}"#);
    let html = "<html>Not Found</html>".to_owned();
    for (status, body, words) in [
        (404, html.clone(), "MLflow does since 3.17"),
        (405, html, "MLflow does since 3.17"),
        (501, error("NOT_IMPLEMENTED"), "not now"),
        (400, error("INVALID_PARAMETER_VALUE"), "not now"),
        (403, error("PERMISSION_DENIED"), "not now"),
        (200, "{}".to_owned(), "is not a valid URL"),
        (
            200,
            r#"{"presigned_url":"nowhere"}"#.to_owned(),
            "is not a valid URL",
        ),
    ] {
        let (put, _, bucket) = put(
            move |_| Reply::status(status, &body),
            |_| Reply::status(200, ""),
        );
        match put {
            Err(StoreError::Blocked {
                reason,
                everything: false,
            }) => assert!(reason.contains(words), "{status}: {reason}"),
            other => panic!("{status}: {other:?}"),
        }
        assert_eq!(bucket.requests().len(), 0);
    }
}

#[test]
fn what_a_bucket_says_tells_who_has_to_act_and_no_signature() {
    let xml = |code: &str| {
        format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Words.</Message>\
             <StringToSign>5ec7e7</StringToSign></Error>"
        )
    };
    for (status, code, is_held) in [
        (403, "AccessDenied", true),
        (404, "NoSuchBucket", true),
        (400, "EntityTooLarge", true),
        (301, "PermanentRedirect", true),
        (400, "RequestTimeout", false),
        (500, "InternalError", false),
        (503, "SlowDown", false),
    ] {
        let body = xml(code);
        let (put, ..) = put(signed, move |_| Reply::status(status, &body));
        let error = put.expect_err("it is not there");
        assert!(error.to_string().contains(code), "{error}");
        assert!(!error.to_string().contains("5ec7e7"), "{error}");
        let blocked = matches!(
            error,
            StoreError::Blocked {
                everything: false,
                ..
            }
        );
        let later = matches!(error, StoreError::Unavailable { .. });
        assert_eq!((blocked, later), (is_held, !is_held), "{error:?}");
    }
    let (put, ..) = put(signed, |_| Reply::Close);
    let error = put.expect_err("it is not there");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(!error.to_string().contains("5ec7e7"), "{error}");
}

/// Regression: the reader of such an answer waited forever, and so did everything behind it.
#[test]
fn an_answer_of_a_bucket_that_stops_in_the_middle_is_no_answer() {
    let stops = "HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\n<Error>";
    let bucket = FakeServer::start(move |_, _| Reply::Stall(stops.as_bytes().to_vec()));
    let url = format!("{}/bucket/key", bucket.url());
    let server = FakeServer::start(move |_, _| signed(&url));
    let mut options = RestOptions::new(server.url());
    options.timeout = std::time::Duration::from_millis(300);
    let run = StoredRun {
        run_id: "r".to_owned(),
        experiment_id: "1".to_owned(),
        artifact_uri: "s3://bucket/1/r/artifacts".to_owned(),
    };
    let store = RestStore::new(options).expect("a store");
    let content = ArtifactContent::Bytes(b"bytes".as_slice().into());
    let error = block_on(store.put_artifact(&run, "a.txt", content)).expect_err("no answer");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}
