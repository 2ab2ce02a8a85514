//! Artifacts uploaded in parts, to a bucket behind a server that serves artifacts.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlflow::store::{
    ArtifactContent, MultipartUploads, RestOptions, RestStore, Store as _, StoreError, StoredRun,
};

use crate::support::block_on;
use crate::support::bucket::{Bucket, serving_server};
use crate::support::fake_server::{FakeServer, Reply, Request};
use crate::support::fault::Fault;
use crate::support::installed::newer_release;
use crate::support::mlflow::{Server, free_port};
use crate::support::program::Folder;
use crate::support::proxy::Proxy;
use crate::support::unique;

const CHECKPOINT: &str = env!("CARGO_BIN_EXE_checkpoint");
const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Settings with which [`model`] has three parts.
const PARTS: [(&str, &str); 2] = [
    ("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "6000000"),
    ("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", "5242880"),
];

/// Writes a large file. Returns its path and its bytes.
fn model(folder: &Folder) -> (PathBuf, Vec<u8>) {
    let bytes: Vec<u8> = (0..3_250_000_u32).flat_map(u32::to_le_bytes).collect();
    let path = folder.path().join("model.bin");
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

fn is_part(request: &Request, number: u32) -> bool {
    request.line.starts_with("PUT ") && request.line.contains(&format!("partNumber={number}&"))
}

/// Returns the content type, the bytes and the number of parts of the object whose key ends with `name`.
fn object(bucket: &Bucket, name: &str) -> (String, Vec<u8>, usize) {
    let objects = bucket.objects();
    let found = objects.iter().find(|(key, ..)| key.ends_with(name));
    let (key, kind, bytes) = found.unwrap_or_else(|| panic!("no {name}"));
    let etag = bucket.ask(&format!(
        "print(client.head_object(Bucket='bucket', Key='{key}')['ETag'])"
    ));
    let parts = etag.trim().trim_matches('"').rsplit_once('-');
    let parts = parts.map_or(0, |(_, parts)| parts.parse().expect("a number"));
    (kind.clone(), bytes.clone(), parts)
}

#[test]
fn a_large_file_goes_to_the_bucket_in_parts_and_a_part_that_fails_is_sent_again() {
    let bucket = Bucket::start_on(free_port());
    let failures = AtomicUsize::new(0);
    let proxy = Proxy::start(bucket.url(), move |request| {
        let fails = is_part(request, 2) && failures.fetch_add(1, Ordering::SeqCst) == 0;
        fails.then_some(Fault::Status(503))
    });
    let variables = [("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")];
    let server = serving_server(&proxy.url(), &variables, &[]);
    let folder = Folder::new();
    let (file, bytes) = model(&folder);
    let environment = [("MLFLOW_TRACKING_URI", server.url()), PARTS[0], PARTS[1]];
    let ended = folder.run(CHECKPOINT, &[file.to_str().unwrap(), "1"], &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    let (_, uploaded, parts) = object(&bucket, "/artifacts/model.bin");
    assert!(uploaded == bytes);
    assert_eq!(parts, 3);
    let (_, _, parts) = object(&bucket, "/artifacts/notes.txt");
    assert_eq!(parts, 0, "a small file goes through the server");
    assert_eq!(bucket.unfinished_uploads(), 0);
}

#[test]
fn an_upload_whose_part_keeps_failing_leaves_nothing_and_is_repeated() {
    let bucket = Bucket::start_on(free_port());
    let proxy = Proxy::start(bucket.url(), |request| {
        is_part(request, 3).then_some(Fault::Status(500))
    });
    let variables = [("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")];
    let server = serving_server(&proxy.url(), &variables, &[]);
    let folder = Folder::new();
    let (file, bytes) = model(&folder);
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        PARTS[0],
        PARTS[1],
        ("MLFLOW_EXIT_TIMEOUT", "4"),
    ];
    let ended = folder.run(CHECKPOINT, &[file.to_str().unwrap(), "1"], &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("1 value waits in"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("X-Amz"), "{}", ended.stderr);
    let is_model = |(key, ..): &(String, String, Vec<u8>)| key.ends_with("model.bin");
    assert!(!bucket.objects().iter().any(is_model));
    proxy.heal();
    let next = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert!(
        next.stdout.contains("complete true"),
        "{}{}",
        next.stdout,
        next.stderr
    );
    assert!(object(&bucket, "/artifacts/model.bin").1 == bytes);
}

#[test]
fn a_large_file_goes_through_a_server_whose_storage_takes_no_parts() {
    let server = Server::shared();
    let folder = Folder::new();
    let (file, bytes) = model(&folder);
    let experiment = unique();
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_EXPERIMENT_NAME", &experiment),
        ("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true"),
        PARTS[0],
        PARTS[1],
    ];
    let script = ["start r", &format!("file {}", file.display()), "end r"];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    let api = server.api();
    let [(run, _)] = &api.runs(&api.experiment(&experiment))[..] else {
        panic!("one run");
    };
    assert!(api.run(run).artifacts["model.bin"] == bytes);
}

/// Checks all artifacts, the empty one included, on a server that passes no artifacts on (MLflow 3.18).
#[test]
fn artifacts_reach_a_server_that_passes_none_on() {
    let bucket = Bucket::start_on(free_port());
    let newer = newer_release().to_str().unwrap();
    let variables = [("PYTHONPATH", newer)];
    let server = serving_server(bucket.url(), &variables, &["--artifacts-presigned-only"]);
    let folder = Folder::new();
    let (file, bytes) = model(&folder);
    std::fs::write(folder.path().join("empty.txt"), "").unwrap();
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", "5242880"),
    ];
    let script = [
        "start r",
        "text plots/ü.json {}",
        "file empty.txt",
        &format!("file {}", file.display()),
        "end r",
    ];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    let (_, json, _) = object(&bucket, "/artifacts/plots/ü.json");
    assert_eq!(json, b"{}");
    assert_eq!(object(&bucket, "/artifacts/empty.txt").1, b"");
    let (_, uploaded, parts) = object(&bucket, "/artifacts/model.bin");
    assert!(uploaded == bytes);
    assert_eq!(parts, 3);
    assert_eq!(bucket.unfinished_uploads(), 0);
}

#[test]
fn a_model_reaches_a_server_that_passes_no_artifacts_on() {
    let bucket = Bucket::start_on(free_port());
    let newer = newer_release().to_str().unwrap();
    let variables = [("PYTHONPATH", newer)];
    let server = serving_server(bucket.url(), &variables, &["--artifacts-presigned-only"]);
    let folder = Folder::new();
    std::fs::write(folder.path().join("w.bin"), vec![7; 100_000]).unwrap();
    let environment = [("MLFLOW_TRACKING_URI", server.url())];
    let script = ["start r", "model net w.bin", "end r", "flush 60"];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(
        ended.stdout.contains("flushed true") && ended.warnings().is_empty(),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert!(object(&bucket, "/artifacts/w.bin").1 == vec![7; 100_000]);
    assert!(!object(&bucket, "/artifacts/MLmodel").1.is_empty());
    let api = server.api();
    let run = api.run(&api.runs(&api.experiment("Default"))[0].0);
    assert_eq!(run.models[0].status, "LOGGED_MODEL_READY");
}

fn run() -> StoredRun {
    StoredRun {
        run_id: "r".to_owned(),
        experiment_id: "1".to_owned(),
        artifact_uri: "mlflow-artifacts:/1/r/artifacts".to_owned(),
    }
}

/// Returns a store for which every artifact is large.
fn store(url: &str) -> RestStore {
    let mut options = RestOptions::new(url);
    options.credentials = mlflow::store::Credentials::choose(None, None, Some("token".to_owned()));
    let mut parts = MultipartUploads::default();
    parts.enabled = Some(true);
    parts.min_file_bytes = 0;
    options.multipart = parts;
    RestStore::new(options).expect("a store")
}

fn put(store: &RestStore, path: &str) -> Result<(), StoreError> {
    let content = ArtifactContent::Bytes(b"bytes".as_slice().into());
    block_on(store.put_artifact(&run(), path, content))
}

/// Starts a tracking server that signs one part at `bucket`, and answers `complete` with `answer`.
fn signing_server(bucket: &FakeServer, answer: fn() -> Reply) -> FakeServer {
    let signed = format!(
        r#"{{"upload_id":"u","credentials":[{{"url":"{}/b/key?X-Amz-Signature=5ec7e7","part_number":1,
            "headers":{{"x-amz-acl":"private"}}}}]}}"#,
        bucket.url()
    );
    FakeServer::start(move |request, _| {
        if request.line.contains("/mpu/create/") {
            Reply::json(&signed)
        } else if request.line.contains("/mpu/complete/") {
            answer()
        } else {
            Reply::json("{}")
        }
    })
}

fn lines(server: &FakeServer) -> Vec<String> {
    let requests = server.requests();
    requests.into_iter().map(|request| request.line).collect()
}

#[test]
fn a_bucket_is_sent_the_signed_part_and_none_of_our_credentials() {
    let etag = "ETag: \"e7a9\"\r\n".to_owned();
    let bucket = FakeServer::start(move |_, _| Reply::Answer(200, etag.clone(), String::new()));
    let server = signing_server(&bucket, || Reply::json("{}"));
    assert_eq!(put(&store(&server.url()), "a/b.txt"), Ok(()));
    let mpu = "/api/2.0/mlflow-artifacts/mpu";
    assert_eq!(
        lines(&server),
        [
            "GET /api/3.0/mlflow/server-info".to_owned(),
            format!("POST {mpu}/create/1/r/artifacts/a"),
            format!("POST {mpu}/complete/1/r/artifacts/a"),
        ]
    );
    let requests = server.requests();
    assert_eq!(requests[1].body, br#"{"path":"b.txt","num_parts":1}"#);
    let joined =
        r#"{"path":"b.txt","upload_id":"u","parts":[{"part_number":1,"etag":"\"e7a9\""}]}"#;
    assert_eq!(String::from_utf8_lossy(&requests[2].body), joined);
    let [sent] = &bucket.requests()[..] else {
        panic!("{:?}", bucket.requests());
    };
    assert_eq!(sent.line, "PUT /b/key?X-Amz-Signature=5ec7e7");
    assert_eq!(sent.body, b"bytes");
    assert_eq!(sent.headers["x-amz-acl"], "private");
    assert!(!sent.headers.contains_key("authorization"), "{sent:?}");
}

#[test]
fn an_upload_that_a_bucket_refuses_is_aborted_and_shows_no_signature() {
    let body = "<Error><Code>AccessDenied</Code><Message>Words.</Message></Error>";
    let bucket = FakeServer::start(move |_, _| Reply::status(403, body));
    let server = signing_server(&bucket, || Reply::json("{}"));
    let error = put(&store(&server.url()), "b.txt").expect_err("it is refused");
    assert!(
        matches!(
            error,
            StoreError::Blocked {
                everything: false,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    assert!(!error.to_string().contains("5ec7e7"), "{error}");
    assert_eq!(bucket.requests().len(), 1, "it would be refused again");
    let last = server.requests().pop().expect("a request");
    assert_eq!(
        last.line,
        "POST /api/2.0/mlflow-artifacts/mpu/abort/1/r/artifacts"
    );
    assert_eq!(last.body, br#"{"path":"b.txt","upload_id":"u"}"#);
}

#[test]
fn a_server_that_repeats_what_it_was_sent_shows_no_signature() {
    let bucket = FakeServer::start(|_, _| Reply::status(200, ""));
    let server = signing_server(&bucket, || {
        let words = "Invalid value http://b/key?X-Amz-Signature=5ec7e7";
        let body = format!(r#"{{"error_code":"INVALID_PARAMETER_VALUE","message":"{words}"}}"#);
        Reply::status(400, &body)
    });
    let error = put(&store(&server.url()), "b.txt").expect_err("it is refused");
    assert!(matches!(error, StoreError::Blocked { .. }), "{error:?}");
    assert!(!error.to_string().contains("5ec7e7"), "{error}");
}

#[test]
fn a_server_that_passes_no_artifacts_on_is_remembered() {
    let bucket = FakeServer::start(|_, _| Reply::status(200, ""));
    let signed = format!(
        r#"{{"credentials":[{{"url":"{}/key","part_number":1}}]}}"#,
        bucket.url()
    );
    let refusal =
        r#"{"error_code":"PERMISSION_DENIED","message":"m","artifacts_presigned_only":true}"#;
    let server = FakeServer::start(move |request, _| {
        if request.line.starts_with("PUT ") {
            Reply::status(403, refusal)
        } else if request.line.contains("/mpu/create/") {
            Reply::json(&signed)
        } else {
            Reply::json("{}")
        }
    });
    let store = RestStore::new(RestOptions::new(server.url())).expect("a store");
    for path in ["a.txt", "b.txt"] {
        assert_eq!(put(&store, path), Ok(()));
    }
    let proxied = lines(&server)
        .into_iter()
        .filter(|line| line.starts_with("PUT "));
    assert_eq!(proxied.count(), 1);
    assert_eq!(bucket.requests().len(), 2);
    // An upload without an id, as Azure's are, is joined by the URLs of its parts.
    let last = server.requests().pop().expect("a request");
    let text = String::from_utf8_lossy(&last.body).into_owned();
    assert!(
        text.contains(&format!(r#""url":"{}/key""#, bucket.url())),
        "{text}"
    );
}
