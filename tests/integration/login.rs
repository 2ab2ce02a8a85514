//! Login to the tracking server: where credentials come from, what happens when they are refused, and that new ones are used
//! without a restart.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mlflow::search::SearchRuns;
use mlflow::{ClientError, Config, blocking};

use crate::support::certificates::Certificates;
use crate::support::fake_mlflow::FakeMlflow;
use crate::support::fake_server::{FakeServer, Reply, Request};
use crate::support::mlflow::{Environment, Server};
use crate::support::program::{Ended, Folder};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Header `Authorization` that a server accepts, which a test may change.
type Accepted = Arc<Mutex<String>>;

fn authorization(request: &Request) -> &str {
    request
        .headers
        .get("authorization")
        .map_or("", |value| value)
}

/// Starts a server that accepts requests with one header `Authorization`, and refuses all others as `basic-auth` does.
fn guarded(authorized: &str) -> (FakeServer, Arc<FakeMlflow>, Accepted) {
    let mlflow = Arc::new(FakeMlflow::default());
    let accepted: Accepted = Arc::new(Mutex::new(authorized.to_owned()));
    let (runs, expected) = (mlflow.clone(), accepted.clone());
    let server = FakeServer::start(move |request, _| {
        if authorization(request) == *expected.lock().unwrap() {
            return runs.answer(request);
        }
        Reply::Answer(
            401,
            "WWW-Authenticate: Basic realm=\"mlflow\"\r\n".to_owned(),
            "You are not authenticated".to_owned(),
        )
    });
    (server, mlflow, accepted)
}

/// Returns the params of all runs.
fn params(mlflow: &FakeMlflow) -> BTreeSet<String> {
    { mlflow.runs().into_values() }
        .flat_map(|run| run.params.into_keys())
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Runs a program that logs a param. It ends soon if the server is known to take nothing.
fn log(folder: &Folder, environment: &[(&str, &str)]) -> Ended {
    let mut environment = environment.to_vec();
    environment.push(("MLFLOW_EXIT_TIMEOUT", "30"));
    let ended = folder.run(
        SCRIPTED,
        &["start r", "param lr 0.1", "end r"],
        &environment,
    );
    assert!(ended.success, "{}", ended.stderr);
    ended
}

/// The token of a service account in Kubernetes lives for an hour, a training for days.
#[test]
fn a_token_that_is_renewed_in_its_file_is_used_without_a_restart() {
    let (server, mlflow, accepted) = guarded("Bearer f1rst");
    let folder = Folder::new();
    let token = folder.path().join("token");
    let environment = [
        ("MLFLOW_TRACKING_URI", &*server.url()),
        ("MLFLOW_TRACKING_TOKEN_FILE", token.to_str().unwrap()),
    ];
    let script = [
        "start r",
        "param a 1",
        "wait there",
        "flush 120",
        "wait renew",
        "param b 2",
        "flush 120",
        "end r",
    ];
    let mut program = folder.start(SCRIPTED, &script, &environment);
    // The file is not there yet: values wait.
    program.wait_for_stderr("the token cannot be read from");
    program.wait_for_stdout("there");
    fs::write(&token, "f1rst\n").unwrap();
    program.tell();
    program.wait_for_stdout("flushed true");
    assert_eq!(params(&mlflow), set(&["a"]));
    program.wait_for_stdout("renew");
    *accepted.lock().unwrap() = "Bearer s3cond".to_owned();
    fs::write(&token, "s3cond\n").unwrap();
    program.tell();
    program.wait_for_stdout("flushed true");
    assert_eq!(params(&mlflow), set(&["a", "b"]));
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    assert!(!ended.stderr.contains("f1rst") && !ended.stderr.contains("s3cond"));
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn credentials_that_are_corrected_in_mlflows_file_are_used_without_a_restart() {
    // The base64 of `ada:right`.
    let (server, mlflow, _) = guarded("Basic YWRhOnJpZ2h0");
    let folder = Folder::new();
    let file = folder.path().join(".mlflow/credentials");
    fs::create_dir(file.parent().unwrap()).unwrap();
    let write = |password: &str| {
        let text = "[mlflow]\nmlflow_tracking_username = ada\nmlflow_tracking_password = ";
        fs::write(&file, format!("{text}{password}\n")).unwrap();
    };
    write("wr0ng");
    let environment = [
        ("MLFLOW_TRACKING_URI", &*server.url()),
        ("HOME", folder.path().to_str().unwrap()),
    ];
    let script = ["start r", "param a 1", "wait refused", "flush 120", "end r"];
    let mut program = folder.start(SCRIPTED, &script, &environment);
    program.wait_for_stderr("The server refuses the user name and password of ");
    program.wait_for_stderr("new credentials are used without a restart");
    program.wait_for_stdout("refused");
    write("right");
    program.tell();
    program.wait_for_stdout("flushed true");
    let ended = program.end();
    assert_eq!(params(&mlflow), set(&["a"]));
    assert!(!ended.stderr.contains("wr0ng"), "{}", ended.stderr);
}

#[test]
fn credentials_that_are_refused_are_told_once_and_values_wait() {
    for (status, words) in [(401, "refuses"), (403, "does not permit this to")] {
        // The server's words repeat what it got.
        let server = FakeServer::start(move |request, _| {
            let page = format!("<html>no to {}</html>", authorization(request));
            Reply::status(status, &page)
        });
        let folder = Folder::new();
        let url = &*server.url();
        let token = ("MLFLOW_TRACKING_TOKEN", "wr0ng-4f1");
        let ended = log(&folder, &[("MLFLOW_TRACKING_URI", url), token]);
        let told =
            format!("The server {words} the token (MLFLOW_TRACKING_TOKEN, or Config::token)");
        let lines = ended.stderr.lines();
        let lines: Vec<_> = lines.filter(|line| line.contains(&told)).collect();
        let of_library = lines.iter().filter(|line| line.starts_with("mlflow: "));
        let of_library: Vec<_> = of_library.collect();
        // The second one is the line at the end of the process, about what waits.
        assert_eq!(of_library.len(), 2, "{}", ended.stderr);
        assert!(of_library[0].starts_with("mlflow: the store does not accept values"));
        assert!(of_library[1].contains("values wait in"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("wr0ng-4f1"), "{}", ended.stderr);
        assert_eq!(folder.journals_left(), 1);
    }
}

#[test]
fn a_function_is_asked_again_when_its_token_is_refused() {
    let (server, _, accepted) = guarded("Bearer t1");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let config = Config::new()
        .tracking_uri(server.url())
        .token_provider(move || match count.fetch_add(1, Ordering::Relaxed) {
            0 => Err("the vault is sealed, password=hunter2".to_owned()),
            calls => Ok(format!("t{calls}")),
        });
    let client = blocking::Client::with_config(config);
    let search = || client.metric_history("none", "loss");
    let sealed = search().expect_err("no token").to_string();
    assert!(
        sealed.contains("the vault is sealed, password=[redacted]"),
        "{sealed}"
    );
    assert!(server.requests().is_empty(), "nothing is sent without it");
    for token in ["Bearer t1", "Bearer t2"] {
        *accepted.lock().unwrap() = token.to_owned();
        let _ = search();
        let requests = server.requests();
        assert_eq!(authorization(requests.last().unwrap()), token);
    }
    // Once without a token, then one call for each new one.
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    // A token that is refused although it is new is no reason to ask for ever.
    *accepted.lock().unwrap() = "Bearer none".to_owned();
    let before = server.requests().len();
    let refused = search().expect_err("a wrong token");
    assert!(matches!(refused, ClientError::Blocked { .. }), "{refused}");
    let told = refused.to_string();
    assert!(
        told.contains("refuses the token of Config::token_provider"),
        "{told}"
    );
    assert_eq!(server.requests().len(), before + 1);
    assert_eq!(asked.load(Ordering::Relaxed), 3, "not so soon again");
}

/// Regression: the function was called inside of a runtime, where none can be started.
#[test]
fn a_function_may_use_a_runtime_of_its_own() {
    let (server, _, _) = guarded("Bearer t");
    let config = Config::new().tracking_uri(server.url()).token_provider(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok::<_, std::io::Error>(runtime.block_on(async { "t".to_owned() }))
    });
    let _ = blocking::Client::with_config(config).metric_history("none", "loss");
    assert_eq!(authorization(&server.requests()[0]), "Bearer t");
}

#[test]
fn a_function_that_panics_stops_nothing() {
    let (server, _, _) = guarded("Bearer t");
    let config = Config::new()
        .tracking_uri(server.url())
        .token_provider(|| -> Result<String, String> { panic!("no vault") });
    let client = blocking::Client::with_config(config);
    for _ in 0..2 {
        let failed = client.metric_history("none", "loss");
        let told = failed.expect_err("no token").to_string();
        assert!(told.contains("has panicked"), "{told}");
    }
}

#[test]
fn headers_go_with_every_request_to_the_server() {
    let mlflow = Arc::new(FakeMlflow::default());
    let server = FakeServer::start(move |request, _| mlflow.answer(request));
    let folder = Folder::new();
    let script = ["start r", "param lr 0.1", "text notes.txt hello", "end r"];
    let environment = [
        ("MLFLOW_TRACKING_URI", &*server.url()),
        ("MLFLOW_TRACKING_TOKEN", "t0ken"),
        (
            "MLFLOW_TRACKING_HEADERS",
            "X-Team=vision%2Cnlp,bad,X-Gateway-Key=k3y",
        ),
    ];
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(
        ended.stderr.contains("entry 2 has no `=`"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("k3y"), "{}", ended.stderr);
    let requests = server.requests();
    assert!(
        requests
            .iter()
            .any(|request| request.line.starts_with("PUT "))
    );
    for request in &requests {
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        assert_eq!(header("x-team"), Some("vision,nlp"), "{}", request.line);
        assert_eq!(header("x-gateway-key"), Some("k3y"), "{}", request.line);
        assert_eq!(authorization(request), "Bearer t0ken", "{}", request.line);
    }
}

#[test]
fn a_header_that_logs_in_replaces_all_other_credentials() {
    let (server, _, _) = guarded("Negotiate abc");
    let config = Config::new()
        .tracking_uri(server.url())
        .basic_auth("ada", "p")
        .header("Authorization", "Negotiate abc");
    let _ = blocking::Client::with_config(config).metric_history("none", "loss");
    let sent = server.requests();
    assert_eq!(authorization(&sent[0]), "Negotiate abc");
}

#[test]
fn a_profile_of_databricks_names_server_and_token() {
    let (server, mlflow, _) = guarded("Bearer dapi1");
    let folder = Folder::new();
    let file = folder.path().join(".databrickscfg");
    let profile = format!("[DEFAULT]\nhost = {}/?o=1\ntoken = dapi1\n", server.url());
    fs::write(&file, profile).unwrap();
    let home = ("HOME", folder.path().to_str().unwrap());
    let uri = ("MLFLOW_TRACKING_URI", "databricks");
    // A token for a server of one's own is none for Databricks.
    let other = ("MLFLOW_TRACKING_TOKEN", "wr0ng");
    let ended = log(&folder, &[home, uri, other]);
    assert_eq!(params(&mlflow), set(&["lr"]), "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0);
    let host = server.url();
    let environment = [
        uri,
        ("DATABRICKS_HOST", &*host),
        ("DATABRICKS_TOKEN", "dapi1"),
    ];
    log(&folder, &environment);
    assert_eq!(mlflow.runs().len(), 2);
    let missing = log(
        &folder,
        &[home, ("MLFLOW_TRACKING_URI", "databricks://nobody")],
    );
    assert!(
        missing.stderr.contains("has no profile \"nobody\""),
        "{}",
        missing.stderr
    );
    assert_eq!(folder.journals_left(), 1);
}

/// Returns each request whose signature is not the one that Amazon's own client computes, by what the request is.
#[cfg(feature = "aws-sigv4")]
fn wrongly_signed(server: &FakeServer, token: Option<&str>) -> String {
    const SCRIPT: &str = r#"
import hashlib, json, sys
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

auth = SigV4Auth(Credentials('k3y', 's3cret', sys.argv[3] or None), 'execute-api', 'eu-central-1')
for line, headers, body in json.loads(open(sys.argv[2]).read()):
    method, path = line.split(' ', 1)
    sent = headers.get('authorization', '')
    signed = sent.partition('SignedHeaders=')[2].partition(',')[0].split(';')
    digest = hashlib.sha256(bytes(body)).hexdigest()
    kept = {name: value for name, value in headers.items() if name in signed}
    request = AWSRequest(method=method, url=sys.argv[1] + path, headers=kept)
    request.context['timestamp'] = headers.get('x-amz-date', '')
    canonical = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    if headers.get('x-amz-content-sha256') != digest:
        print(line, 'has another digest')
    if not sent.endswith('Signature=' + signature):
        print(line, 'has another signature', sent)
    for name in ['host', 'x-amz-date', 'x-amz-content-sha256'] + ['x-amz-security-token'] * bool(sys.argv[3]):
        if name not in signed:
            print(line, 'does not sign', name)
"#;
    let requests: Vec<_> = { server.requests().into_iter() }
        .map(|request| (request.line, request.headers, request.body))
        .collect();
    let folder = Folder::new();
    let file = folder.path().join("requests.json");
    fs::write(&file, serde_json::to_vec(&requests).unwrap()).unwrap();
    let arguments = [&*server.url(), file.to_str().unwrap(), token.unwrap_or("")];
    crate::support::mlflow::python(SCRIPT, &arguments)
}

#[test]
#[cfg(feature = "aws-sigv4")]
fn signatures_for_aws_are_those_of_amazons_own_client() {
    for token in [None, Some("s3ssion/+=")] {
        let mlflow = Arc::new(FakeMlflow::default());
        let runs = mlflow.clone();
        let server = FakeServer::start(move |request, _| runs.answer(request));
        let folder = Folder::new();
        let file = folder.path().join("w+\u{fc}%41.bin");
        // Longer than one chunk of an upload.
        fs::write(&file, vec![7; 600_000]).unwrap();
        let url = server.url();
        let mut environment = vec![
            ("MLFLOW_TRACKING_URI", &*url),
            ("MLFLOW_TRACKING_AWS_SIGV4", "true"),
            ("MLFLOW_TRACKING_TOKEN", "replaced-4f1"),
            (
                "MLFLOW_TRACKING_HEADERS",
                "x-team=a%20%20b,authorization=replaced-4f1",
            ),
            ("MLFLOW_EXPERIMENT_NAME", "w\u{fc}rfel/a b+c%"),
            ("AWS_ACCESS_KEY_ID", "k3y"),
            ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ("AWS_REGION", "eu-central-1"),
        ];
        environment.extend(token.map(|token| ("AWS_SESSION_TOKEN", token)));
        let script = [
            "start r",
            "param lr 0.1",
            "text notes/a.txt hello",
            "file w+\u{fc}%41.bin",
            "end r",
        ];
        let ended = folder.run(SCRIPTED, &script, &environment);
        assert!(ended.success, "{}", ended.stderr);
        assert_eq!(params(&mlflow), set(&["lr"]), "{}", ended.stderr);
        let requests = server.requests();
        let uploads = requests
            .iter()
            .filter(|request| request.line.starts_with("PUT "));
        assert!(uploads.count() >= 2, "{}", ended.stderr);
        assert!(
            requests
                .iter()
                .all(|request| !format!("{request:?}").contains("replaced"))
        );
        assert_eq!(wrongly_signed(&server, token), "");
        assert_eq!(folder.journals_left(), 0);
    }
}

/// Regression: the keys of a role went to the proxy, to another machine.
#[test]
#[cfg(feature = "aws-sigv4")]
fn the_keys_of_a_role_come_from_this_machine_and_through_no_proxy() {
    let token = "s3ssion-of-the-role";
    let metadata = FakeServer::start(move |request, _| {
        let path = request.line.split(' ').nth(1).unwrap_or_default();
        match path
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default()
        {
            "token" => Reply::status(200, "metadata-t0ken"),
            "security-credentials" => Reply::status(200, "trainer"),
            "trainer" => Reply::json(&format!(
                r#"{{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "k3y", "SecretAccessKey": "s3cret",
                "Token": "{token}", "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z"}}"#
            )),
            _ => Reply::status(404, ""),
        }
    });
    let proxy = FakeServer::start(|_, _| Reply::status(502, "a proxy"));
    let mlflow = Arc::new(FakeMlflow::default());
    let runs = mlflow.clone();
    let server = FakeServer::start(move |request, _| runs.answer(request));
    let folder = Folder::new();
    let environment = [
        ("MLFLOW_TRACKING_URI", &*server.url()),
        ("MLFLOW_TRACKING_AWS_SIGV4", "true"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_METADATA_ENDPOINT", &*metadata.url()),
        ("HTTP_PROXY", &*proxy.url()),
        ("NO_PROXY", ""),
    ];
    let ended = log(&folder, &environment);
    assert_eq!(params(&mlflow), set(&["lr"]), "{}", ended.stderr);
    assert_eq!(wrongly_signed(&server, Some(token)), "");
    assert!(proxy.requests().is_empty(), "{:?}", proxy.requests());
    assert!(!metadata.requests().is_empty());
    assert_eq!(folder.journals_left(), 0);
}

#[test]
#[cfg(feature = "aws-sigv4")]
fn without_keys_or_region_values_wait_and_one_line_says_what_to_set() {
    // A gateway repeats the headers of which it has made a signature.
    let server = FakeServer::start(|request, _| {
        let token = request.headers.get("x-amz-security-token");
        let token = token.map_or("", |token| token);
        let message = format!(
            "The Canonical String for this request should have been\n'GET\n/\n\nhost:a1\n\
             x-amz-security-token:{token}\n\nhost;x-amz-security-token\ne3b0c442'"
        );
        Reply::status(403, &serde_json::json!({ "message": message }).to_string())
    });
    let url = server.url();
    let uri = ("MLFLOW_TRACKING_URI", &*url);
    let sign = ("MLFLOW_TRACKING_AWS_SIGV4", "true");
    let region = ("AWS_REGION", "eu-central-1");
    let key = ("AWS_ACCESS_KEY_ID", "k3y");
    // No network answers for the role of the machine.
    let nobody = ("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9");
    let secret = ("AWS_SECRET_ACCESS_KEY", "s3cret-4f1");
    let torn = ("AWS_SESSION_TOKEN", "s3ss\nion");
    let session = (
        "AWS_SESSION_TOKEN",
        "IQoJb3JpZ2luX2VjEAEaCWV1LWNlbnRyYWwtMSJHs3ss/+5f0c==",
    );
    for (environment, said) in [
        (
            vec![uri, sign],
            "set AWS_REGION to the one of the API Gateway",
        ),
        (vec![uri, sign, region, nobody], "there are no keys"),
        (
            vec![uri, sign, region, key, secret, torn],
            "AWS_SESSION_TOKEN cannot be sent: it contains the character '\\n'",
        ),
        (
            vec![uri, sign, region, key, secret, session],
            "The server does not permit this to the signature with AWS keys",
        ),
    ] {
        let folder = Folder::new();
        let ended = log(&folder, &environment);
        let lines = ended
            .stderr
            .lines()
            .filter(|line| line.starts_with("mlflow: ") && line.contains(said));
        assert!((1..=2).contains(&lines.count()), "{said}: {}", ended.stderr);
        for part in ["s3cret", "s3ss", "panicked", "IQoJ"] {
            assert!(!ended.stderr.contains(part), "{}", ended.stderr);
        }
        assert_eq!(folder.journals_left(), 1, "{said}");
    }
}

#[test]
#[cfg(not(feature = "aws-sigv4"))]
fn without_the_feature_a_line_says_that_requests_are_not_signed() {
    let (server, _, _) = guarded("");
    let url = server.url();
    let folder = Folder::new();
    let sign = ("MLFLOW_TRACKING_AWS_SIGV4", "true");
    let ended = log(&folder, &[("MLFLOW_TRACKING_URI", &url), sign]);
    let said = "mlflow: MLFLOW_TRACKING_AWS_SIGV4 is ignored and requests are not signed: build the program with \
                mlflow-runtime's feature `aws-sigv4`";
    let lines = ended.stderr.lines().filter(|line| line.starts_with(said));
    assert_eq!(lines.count(), 1, "{}", ended.stderr);
}

#[test]
#[cfg(feature = "secrecy")]
fn a_secret_of_the_crate_secrecy_is_a_password_and_is_shown_nowhere() {
    use secrecy::SecretString;

    #[mlflow::tracked]
    fn train(key: &SecretString) {
        let _ = key;
    }
    let fake = mlflow::testing::fake();
    train(&SecretString::from("hunter2"));
    assert!(!format!("{:?}", fake.runs()).contains("hunter2"));

    let (server, _, _) = guarded("Bearer hunter2");
    let config = Config::new()
        .tracking_uri(server.url())
        .token(SecretString::from("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
    let _ = blocking::Client::with_config(config).metric_history("none", "loss");
    assert_eq!(authorization(&server.requests()[0]), "Bearer hunter2");
}

#[test]
fn mlflows_own_server_with_logins() {
    const ENVIRONMENT: Environment = &[
        ("MLFLOW_FLASK_SERVER_SECRET_KEY", "for tests"),
        ("MLFLOW_AUTH_ADMIN_USERNAME", "admin"),
        ("MLFLOW_AUTH_ADMIN_PASSWORD", "r1ght-p4ssword"),
    ];
    let server = Server::start_in(ENVIRONMENT, &["--app-name", "basic-auth"]);
    let folder = Folder::new();
    let file = folder.path().join(".mlflow/credentials");
    fs::create_dir(file.parent().unwrap()).unwrap();
    let write = |password: &str| {
        let text = "[mlflow]\nmlflow_tracking_username = admin\nmlflow_tracking_password = ";
        fs::write(&file, format!("{text}{password}\n")).unwrap();
    };
    write("wr0ng");
    let environment = [
        ("MLFLOW_TRACKING_URI", server.url()),
        ("HOME", folder.path().to_str().unwrap()),
    ];
    let script = [
        "start r",
        "param a 1",
        "text notes.txt hello",
        "wait refused",
        "flush 120",
        "end r",
    ];
    let mut program = folder.start(SCRIPTED, &script, &environment);
    program.wait_for_stderr("The server refuses the user name and password of ");
    program.wait_for_stdout("refused");
    write("r1ght-p4ssword");
    program.tell();
    program.wait_for_stdout("flushed true");
    let ended = program.end();
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    let config = Config::new()
        .tracking_uri(server.url())
        .basic_auth("admin", "r1ght-p4ssword");
    let client = blocking::Client::with_config(config);
    let info = client.server_info();
    assert_eq!(info.authenticated, Some(true));
    let runs: Vec<_> = client
        .search_runs(SearchRuns::new().experiment_id("0"))
        .collect::<Result<_, _>>()
        .expect("runs");
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].params["a"], "1");
}

#[test]
fn a_certificate_is_checked_as_it_is_asked_for() {
    let certificates = Certificates::make();
    let mlflow = Arc::new(FakeMlflow::default());
    for (server, trusted, refused) in [
        ("good", &["root"][..], None),
        ("good", &["stranger", "root"], None),
        ("good", &["good"], None),
        ("good", &["stranger"], Some("certificate")),
        ("expired", &["root"], Some("expired")),
        ("expired", &["expired"], Some("expired")),
        ("other host", &["root"], Some("not valid for name")),
        ("other host", &["other host"], Some("not valid for name")),
        ("self-signed", &["self-signed"], None),
        ("self-signed", &["root"], Some("certificate")),
        // Python's client trusts a certificate that the user names, whatever the certificate says of itself.
        ("self-signed authority", &["self-signed authority"], None),
        (
            "self-signed other host",
            &["self-signed other host"],
            Some("not valid for name"),
        ),
        (
            "self-signed expired",
            &["self-signed expired"],
            Some("expired"),
        ),
    ] {
        let runs = mlflow.clone();
        let tls = certificates.server(server, false);
        let running = FakeServer::start_encrypted(tls, move |request, _| runs.answer(request));
        let folder = Folder::new();
        let before = mlflow.runs().len();
        let ended = log(
            &folder,
            &[
                ("MLFLOW_TRACKING_URI", &*running.url()),
                ("MLFLOW_TRACKING_TOKEN", "t0ken"),
                (
                    "MLFLOW_TRACKING_SERVER_CERT_PATH",
                    &*certificates.file(trusted),
                ),
            ],
        );
        let case = format!("{server} by {trusted:?}: {}", ended.stderr);
        let delivered = mlflow.runs().len() - before;
        assert_eq!(delivered, usize::from(refused.is_none()), "{case}");
        assert_eq!(folder.journals_left(), 1 - delivered, "{case}");
        assert_eq!(running.requests().is_empty(), refused.is_some(), "{case}");
        if let Some(word) = refused {
            assert!(ended.stderr.contains(word), "{case}");
        }
    }
}

#[test]
fn a_client_shows_its_own_certificate() {
    let certificates = Certificates::make();
    let mlflow = Arc::new(FakeMlflow::default());
    let runs = mlflow.clone();
    let tls = certificates.server("good", true);
    let server = FakeServer::start_encrypted(tls, move |request, _| runs.answer(request));
    let folder = Folder::new();
    let url = server.url();
    let root = certificates.file(&["root"]);
    let environment = [
        ("MLFLOW_TRACKING_URI", &*url),
        ("MLFLOW_TRACKING_SERVER_CERT_PATH", &*root),
    ];
    let without = log(&folder, &environment);
    assert_eq!(mlflow.runs().len(), 0, "{}", without.stderr);
    assert_eq!(folder.journals_left(), 1);
    let client = certificates.file(&["client", "client key"]);
    let own = ("MLFLOW_TRACKING_CLIENT_CERT_PATH", &*client);
    let with = log(&folder, &[&environment[..], &[own]].concat());
    assert_eq!(params(&mlflow), set(&["lr"]), "{}", with.stderr);
    assert_eq!(folder.journals_left(), 0, "both programs' values are there");
}
