//! Artifacts written to a bucket with credentials from the environment, because the server signs nothing.

use crate::support::bucket::{Bucket, server_of};
use crate::support::fault::Fault;
use crate::support::mlflow::{Server, free_port};
use crate::support::program::Folder;
use crate::support::proxy::Proxy;

const CHECKPOINT: &str = env!("CARGO_BIN_EXE_checkpoint");
const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Returns a proxy in front of a server, through which the server signs no uploads, as before MLflow 3.17.
fn without_signatures(server: &Server) -> Proxy {
    Proxy::start(server.url(), |request| {
        let signs = request.line.contains("presigned-upload-url");
        signs.then_some(Fault::Status(404))
    })
}

/// Returns the variables of a program that has the credentials of the bucket at the URL `endpoint`.
fn environment<'a>(tracking: &'a str, endpoint: &'a str) -> [(&'a str, &'a str); 6] {
    [
        ("MLFLOW_TRACKING_URI", tracking),
        ("MLFLOW_S3_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "the-users-key"),
        ("AWS_SECRET_ACCESS_KEY", "the-users-s3cr3t"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("MLFLOW_EXIT_TIMEOUT", "20"),
    ]
}

/// Writes a file of more than one part. Returns its path and its bytes.
fn model(folder: &Folder) -> (String, Vec<u8>) {
    let bytes: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let path = folder.path().join("model 1.bin");
    std::fs::write(&path, &bytes).unwrap();
    (path.to_str().unwrap().to_owned(), bytes)
}

#[test]
fn artifacts_go_to_a_bucket_with_credentials_from_the_environment() {
    let port = free_port();
    let (bucket, server) = (Bucket::start_on(port), server_of(port));
    let proxy = without_signatures(&server);
    let folder = Folder::new();
    let (file, bytes) = model(&folder);
    let url = proxy.url();
    let environment = environment(&url, bucket.url());
    let ended = folder.run(CHECKPOINT, &[&file, "1"], &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    let objects = bucket.objects();
    let find = |name: &str| {
        let found = objects.iter().find(|(key, ..)| key.ends_with(name));
        found.unwrap_or_else(|| panic!("no {name}"))
    };
    let (key, kind, uploaded) = find("/artifacts/model 1.bin");
    assert!(key.starts_with("runs/"), "{key}");
    assert_eq!(kind, "application/octet-stream");
    assert!(*uploaded == bytes);
    assert_eq!(find("/artifacts/notes.txt").1, "text/plain");
    // The server lists the artifacts under these names, as the MLflow UI and its clients show them.
    let api = server.api();
    let [(run, _)] = &api.runs(&api.experiment("checkpoints"))[..] else {
        panic!("one run");
    };
    let names: Vec<_> = api.run(run).artifacts.into_keys().collect();
    assert_eq!(names, ["model 1.bin", "notes.txt"]);
}

#[test]
fn old_checkpoints_are_deleted_in_a_bucket() {
    let port = free_port();
    let (bucket, server) = (Bucket::start_on(port), server_of(port));
    let proxy = without_signatures(&server);
    let folder = Folder::new();
    let weights = folder.path().join("weights");
    std::fs::create_dir(&weights).unwrap();
    std::fs::write(weights.join("weights.bin"), "weights").unwrap();
    let (uri, endpoint) = (proxy.url(), bucket.url().to_owned());
    let steps = [1, 10, 2, 11].map(|step| format!("checkpoint {step} {}", weights.display()));
    let [one, ten, two, eleven] = steps.each_ref().map(String::as_str);
    let flush = "flush 60";
    let steps = [
        "start one",
        "keep 2",
        one,
        flush,
        ten,
        flush,
        two,
        flush,
        eleven,
        flush,
        "end one",
    ];
    let ended = folder.run(SCRIPTED, &steps, &environment(&uri, &endpoint));
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.warnings(), [""; 0], "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    let mut kept: Vec<String> = { bucket.objects().into_iter() }
        .map(|(key, ..)| key.split("/checkpoints/").nth(1).unwrap().to_owned())
        .collect();
    kept.sort();
    assert_eq!(
        kept,
        [
            "step-10/mlflow_checkpoint.json",
            "step-10/weights.bin",
            "step-11/mlflow_checkpoint.json",
            "step-11/weights.bin",
        ]
    );
}

#[test]
fn an_upload_that_the_bucket_refuses_leaves_nothing_and_arrives_later() {
    let port = free_port();
    let (bucket, server) = (Bucket::start_on(port), server_of(port));
    let proxy = without_signatures(&server);
    let storage = Proxy::start(bucket.url(), |request| {
        let is_part = request.line.contains("partNumber=2");
        is_part.then_some(Fault::Status(403))
    });
    let folder = Folder::new();
    let (file, bytes) = model(&folder);
    let (url, endpoint) = (proxy.url(), storage.url());
    let environment = environment(&url, &endpoint);
    let ended = folder.run(CHECKPOINT, &[&file, "1"], &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("Check the credentials"),
        "{}",
        ended.stderr
    );
    for secret in ["s3cr3t", "the-users-key"] {
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
    let is_model = |(key, ..): &(String, String, Vec<u8>)| key.ends_with("model 1.bin");
    assert!(!bucket.objects().iter().any(is_model));
    assert_eq!(bucket.unfinished_uploads(), 0);
    storage.heal();
    let next = folder.run(SCRIPTED, &["recover 60"], &environment);
    assert!(
        next.stdout.contains("complete true"),
        "{}{}",
        next.stdout,
        next.stderr
    );
    let objects = bucket.objects();
    assert!(objects.iter().find(|object| is_model(object)).unwrap().2 == bytes);
}
