//! What goes to which server: neither a redirect nor a server on another machine takes anything to a place that the user has
//! not named, and credentials that can be read on their way are told.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::certificates::Certificates;
use crate::support::fake_mlflow::FakeMlflow;
use crate::support::fake_server::{FakeServer, Reply, Request};
use crate::support::program::{Ended, Folder};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

const SECRET: &str = "tok-9f27c1";

/// Address of a server on another machine, which is reached through a proxy.
const DISTANT: &str = "http://mlflow.example.com";

/// Longest time for which a test waits for a request.
const PATIENCE: Duration = Duration::from_secs(120);

const EXPOSED: &str = "is sent without encryption";

/// Runs a program that logs a param and an artifact, and ends within a second if nothing is delivered.
fn log(folder: &Folder, environment: &[(&str, &str)]) -> Ended {
    let script = ["start r", "param lr 0.1", "text notes.txt hello", "end r"];
    let mut environment = environment.to_vec();
    environment.push(("MLFLOW_EXIT_TIMEOUT", "10"));
    let ended = folder.run(SCRIPTED, &script, &environment);
    assert!(ended.success, "{}", ended.stderr);
    ended
}

fn is_artifact(request: &Request) -> bool {
    request.line.contains("/mlflow-artifacts/")
}

/// Starts a server that has runs, and answers what `reply` leaves to it.
fn serve(reply: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> FakeServer {
    let mlflow = Arc::new(FakeMlflow::default());
    FakeServer::start(move |request, _| {
        let other = reply(request);
        other.unwrap_or_else(|| mlflow.answer(request))
    })
}

/// Starts a server that keeps what it gets, and the header with a redirect to it.
fn thief() -> (FakeServer, String) {
    let thief = FakeServer::start(|_, _| Reply::json("{}"));
    let location = format!("Location: {}/api\r\n", thief.url());
    (thief, location)
}

#[test]
fn a_redirect_takes_no_request_to_another_server() {
    for status in [301, 302, 303, 307, 308] {
        let (thief, location) = thief();
        let server =
            FakeServer::start(move |_, _| Reply::Answer(status, location.clone(), String::new()));
        let folder = Folder::new();
        let ended = log(
            &folder,
            &[
                ("MLFLOW_TRACKING_URI", &server.url()),
                ("MLFLOW_TRACKING_TOKEN", SECRET),
                ("MLFLOW_WORKSPACE", "vision"),
                ("MLFLOW_EXIT_TIMEOUT", "1"),
            ],
        );
        assert!(!server.requests().is_empty());
        let stolen = thief.requests();
        assert!(stolen.is_empty(), "{status}: {}", stolen[0].line);
        assert_eq!(folder.journals_left(), 1, "{}", ended.stderr);
        assert!(!ended.stderr.contains(SECRET), "{}", ended.stderr);
    }
}

#[test]
fn a_redirect_takes_no_artifact_to_another_server() {
    let (thief, location) = thief();
    let server = serve(move |request| {
        is_artifact(request).then(|| Reply::Answer(307, location.clone(), String::new()))
    });
    let folder = Folder::new();
    log(
        &folder,
        &[
            ("MLFLOW_TRACKING_URI", &server.url()),
            ("MLFLOW_WORKSPACE", "vision"),
        ],
    );
    assert!(server.requests().iter().any(is_artifact));
    assert!(thief.requests().is_empty());
    assert_eq!(folder.journals_left(), 1, "the artifact waits");
}

/// Lets a server, which is reached through a proxy as if it was on another machine, name `root` for artifacts.
fn name_directory(server_url: &str, root: &Path, allowed: Option<&Path>) -> (Folder, Ended) {
    let named = format!("file://{}", root.display());
    let server = serve(move |request| {
        let answer = match request.line.ends_with("runs/create") {
            true => Some(
                r#"{"run": {"info": {"run_id": "1f", "run_uuid": "1f", "run_name": "r", "experiment_id": "1",
                "status": "RUNNING", "artifact_uri": "ROOT", "lifecycle_stage": "active"}, "data": {}}}"#,
            ),
            false
                if request.line.ends_with("log-batch") || request.line.ends_with("runs/update") =>
            {
                Some("{}")
            }
            false => None,
        };
        answer.map(|answer| Reply::json(&answer.replace("ROOT", &named)))
    });
    let folder = Folder::new();
    let own = server.url();
    let mut environment = vec![
        (
            "MLFLOW_TRACKING_URI",
            if server_url.is_empty() {
                &*own
            } else {
                server_url
            },
        ),
        ("HTTP_PROXY", &*own),
        ("NO_PROXY", "127.0.0.1"),
    ];
    let allowed = allowed.map(|path| path.display().to_string());
    if let Some(allowed) = &allowed {
        environment.push(("MLFLOW_LOCAL_ARTIFACTS_DIR", allowed));
    }
    let ended = log(&folder, &environment);
    assert!(!server.requests().is_empty(), "{}", ended.stderr);
    (folder, ended)
}

/// Regression: any server could have files written wherever the user may write.
#[test]
fn a_server_on_another_machine_has_no_file_written_here() {
    let home = Folder::new();
    // The former rule let a directory pass whose third parent exists.
    let keys = home.path().join(".ssh/1/2/artifacts");
    fs::create_dir_all(home.path().join(".ssh")).unwrap();
    let elsewhere = home.path().join("shared");
    let up = home.path().join("shared/../.ssh");
    for (root, allowed) in [
        (&keys, None),
        (&keys, Some(&*elsewhere)),
        (&up, Some(&*elsewhere)),
    ] {
        let (folder, ended) = name_directory(DISTANT, root, allowed);
        let written: Vec<_> = fs::read_dir(home.path().join(".ssh")).unwrap().collect();
        assert!(written.is_empty(), "{written:?}");
        assert!(!elsewhere.exists());
        assert_eq!(folder.journals_left(), 1, "the artifact waits");
        let told = "set MLFLOW_LOCAL_ARTIFACTS_DIR to it or to one above it";
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
}

/// Whoever may write to the file system that both machines share may make links in it.
#[test]
fn a_link_in_the_named_directory_leads_nowhere_else() {
    let home = Folder::new();
    let [secret, shared] = [".ssh", "shared"].map(|name| home.path().join(name));
    fs::create_dir(&secret).unwrap();
    fs::create_dir(&shared).unwrap();
    std::os::unix::fs::symlink(&secret, shared.join("x")).unwrap();
    let (folder, ended) = name_directory(DISTANT, &shared.join("x/1/artifacts"), Some(&shared));
    assert!(fs::read_dir(&secret).unwrap().next().is_none());
    assert_eq!(folder.journals_left(), 1, "{}", ended.stderr);
}

#[test]
fn a_named_directory_that_is_not_absolute_permits_nothing() {
    let home = Folder::new();
    let root = home.path().join("1/1f/artifacts");
    for named in ["artifacts", "./", "/a/../"] {
        let (folder, ended) = name_directory(DISTANT, &root, Some(Path::new(named)));
        assert!(
            ended
                .stderr
                .contains("expected the absolute path of a directory"),
            "{}",
            ended.stderr
        );
        assert_eq!(folder.journals_left(), 1, "{named}");
        assert!(!root.exists());
    }
}

#[test]
fn a_directory_that_the_user_has_named_is_written_to() {
    let home = Folder::new();
    let root = home.path().join("shared/1/1f/artifacts");
    for (url, allowed) in [(DISTANT, Some(home.path())), ("", None)] {
        let (folder, ended) = name_directory(url, &root, allowed);
        assert_eq!(
            fs::read_to_string(root.join("notes.txt")).unwrap(),
            "hello",
            "{}",
            ended.stderr
        );
        assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
        fs::remove_dir_all(home.path().join("shared")).unwrap();
    }
}

#[test]
fn credentials_that_can_be_read_on_their_way_are_told_once() {
    let server = serve(|_| None);
    let proxy = [("HTTP_PROXY", &*server.url()), ("NO_PROXY", "127.0.0.1")]
        .map(|(name, value)| (name, value.to_owned()));
    let proxy = proxy.each_ref().map(|(name, value)| (*name, &**value));
    let with_login = DISTANT.replace("http://", &format!("http://ada:{SECRET}@"));
    let token = ("MLFLOW_TRACKING_TOKEN", SECRET);
    let own = server.url();
    for (uri, login, is_told) in [
        (DISTANT, Some(token), true),
        (&with_login, None, true),
        (DISTANT, None, false),
        (&own, Some(token), false),
    ] {
        let mut environment = vec![proxy[0], proxy[1], ("MLFLOW_TRACKING_URI", uri)];
        environment.extend(login);
        let ended = log(&Folder::new(), &environment);
        let lines = ended.stderr.matches(EXPOSED).count();
        // The programs of the tests print what subscribers get, too.
        assert_eq!(lines > 0, is_told, "{uri}: {}", ended.stderr);
        assert!(lines <= 2, "{}", ended.stderr);
        assert!(!ended.stderr.contains(SECRET), "{}", ended.stderr);
    }
}

/// Regression: values and password for a server on this machine went to the proxy, to another machine.
#[test]
fn what_is_for_this_machine_goes_through_no_proxy() {
    let proxy = FakeServer::start(|_, _| Reply::status(502, "a proxy"));
    let own = serve(|_| None);
    for uri in [own.url(), own.url().replace("127.0.0.1", "localhost")] {
        let environment = [
            ("MLFLOW_TRACKING_URI", &*uri),
            ("MLFLOW_TRACKING_TOKEN", SECRET),
            ("HTTP_PROXY", &*proxy.url()),
            ("NO_PROXY", ""),
        ];
        let ended = log(&Folder::new(), &environment);
        assert!(proxy.requests().is_empty(), "{uri}: {}", ended.stderr);
    }
    assert!(!own.requests().is_empty());
}

/// Regression: a server behind TLS could have artifacts sent in the open, and nobody was told.
#[test]
fn an_artifact_that_an_encrypted_server_has_sent_in_the_open_is_told_once() {
    let certificates = Certificates::make();
    let bucket = FakeServer::start(|_, _| Reply::status(200, ""));
    let mlflow = FakeMlflow::default();
    let server = FakeServer::start_encrypted(
        certificates.server("good", false),
        move |request, _| {
            if request.line.ends_with("presigned-upload-url") {
                return Reply::json(
                    r#"{"presigned_url": "http://bucket.example.com/k?X-Amz-Signature=5ec7e7", "headers": {}}"#,
                );
            }
            match mlflow.answer(request) {
                Reply::Answer(status, headers, body) => Reply::Answer(
                    status,
                    headers,
                    body.replace("mlflow-artifacts:/", "s3://bucket/"),
                ),
                other => other,
            }
        },
    );
    let environment = [
        ("MLFLOW_TRACKING_URI", &*server.url()),
        ("MLFLOW_TRACKING_TOKEN", SECRET),
        (
            "MLFLOW_TRACKING_SERVER_CERT_PATH",
            &*certificates.file(&["root"]),
        ),
        ("HTTP_PROXY", &*bucket.url()),
        ("MLFLOW_EXIT_TIMEOUT", "30"),
    ];
    let folder = Folder::new();
    let script = ["start r", "text a.txt hello", "text b.txt hello", "end r"];
    let ended = folder.run(SCRIPTED, &script, &environment);
    let told = "mlflow: artifacts go to the bucket at bucket.example.com without encryption, as https://localhost:";
    let lines = ended.stderr.lines().filter(|line| line.starts_with(told));
    assert_eq!(lines.count(), 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains("5ec7e7"), "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    let received = bucket.requests();
    assert_eq!(received.len(), 2);
    assert!(!format!("{received:?}").contains(SECRET));
}

/// Returns the greatest memory of a process so far, in MiB.
fn peak_memory_mib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib >> 10
}

/// Answer that a server gives again and again.
type Answer = Box<dyn Fn() -> Reply + Send + Sync>;

/// A server that goes on answering for ever, or promises more than it sends, costs bounded memory and time.
#[test]
fn an_answer_without_end_is_given_up() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let (none, slow) = (Duration::ZERO, Duration::from_millis(50));
    let endless = |first: String, again: String, pause| {
        move || {
            Reply::Endless(
                first.clone().into_bytes(),
                again.clone().into_bytes(),
                pause,
            )
        }
    };
    let long = format!("{head}Content-Length: 1000000000000\r\n\r\n");
    let answers: [(&str, Answer); 6] = [
        ("a body", Box::new(endless(chunked.clone(), chunk, none))),
        (
            "a slow body",
            Box::new(endless(chunked, "1\r\n \r\n".to_owned(), slow)),
        ),
        (
            "headers",
            Box::new(endless(head.to_owned(), "x-a: b\r\n".repeat(1000), none)),
        ),
        (
            "slow headers",
            Box::new(endless(head.to_owned(), "x-a: b\r\n".to_owned(), slow)),
        ),
        (
            "one header",
            Box::new(endless(format!("{head}x-a: "), "b".repeat(0x10000), none)),
        ),
        (
            "a promise",
            Box::new(move || Reply::Stall(long.clone().into_bytes())),
        ),
    ];
    for (name, answer) in answers {
        let server = FakeServer::start(move |_, _| answer());
        let folder = Folder::new();
        let script = ["start r", "param lr 0.1", "wait there", "end r"];
        let environment = [
            ("MLFLOW_TRACKING_URI", &*server.url()),
            ("MLFLOW_HTTP_REQUEST_TIMEOUT", "1"),
            ("MLFLOW_EXIT_TIMEOUT", "1"),
        ];
        let mut program = folder.start(SCRIPTED, &script, &environment);
        program.wait_for_stdout("there");
        let begun = Instant::now();
        while server.requests().len() < 3 {
            assert!(begun.elapsed() < PATIENCE, "{name}: it is not tried again");
            thread::sleep(Duration::from_millis(10));
        }
        let peak = peak_memory_mib(program.id());
        assert!(peak < 160, "{name}: {peak} MiB");
        program.tell();
        let ended = program.end();
        assert!(ended.success, "{name}: {}", ended.stderr);
        assert_eq!(folder.journals_left(), 1, "{name}");
    }
}

/// No answer is decompressed, so that a small one cannot become a large one.
#[test]
fn no_compressed_answer_is_asked_for() {
    let mlflow = Arc::new(FakeMlflow::default());
    let server = FakeServer::start(move |request, _| mlflow.answer(request));
    let folder = Folder::new();
    log(&folder, &[("MLFLOW_TRACKING_URI", &server.url())]);
    let requests = server.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(
            request.headers.get("accept-encoding"),
            None,
            "{}",
            request.line
        );
    }
}

/// What stands in a variable becomes no header of its own.
#[test]
fn no_variable_adds_a_line_to_a_request() {
    let mlflow = Arc::new(FakeMlflow::default());
    let server = FakeServer::start(move |request, _| mlflow.answer(request));
    let url = server.url();
    let evil = "a\r\nX-Injected: yes";
    for variable in [
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_WORKSPACE",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_EXPERIMENT_NAME",
        "MLFLOW_EXPERIMENT_ID",
        "MLFLOW_RUN_ID",
        "MLFLOW_ENV",
        "MLFLOW_METRIC_PREFIX",
        "MLFLOW_TRACKING_HEADERS",
        "MLFLOW_TRACKING_TOKEN_FILE",
    ] {
        let folder = Folder::new();
        let token = folder.path().join("token");
        fs::write(&token, evil).unwrap();
        let value = match variable {
            "MLFLOW_TRACKING_HEADERS" => "x-a=1%0d%0aX-Injected:%20yes",
            "MLFLOW_TRACKING_TOKEN_FILE" => token.to_str().unwrap(),
            _ => evil,
        };
        let other = match variable {
            "MLFLOW_TRACKING_USERNAME" => "MLFLOW_TRACKING_PASSWORD",
            _ => "MLFLOW_TRACKING_USERNAME",
        };
        let environment = [
            ("MLFLOW_TRACKING_URI", &*url),
            ("MLFLOW_EXIT_TIMEOUT", "30"),
            (variable, value),
            (other, "p"),
        ];
        let script = ["start r", "param lr 0.1", "end r"];
        let before = server.requests().len();
        let ended = folder.run(SCRIPTED, &script, &environment);
        assert!(ended.success, "{variable}: {}", ended.stderr);
        // A token or a workspace that no header can hold blocks everything.
        let is_blocked = matches!(
            variable,
            "MLFLOW_TRACKING_TOKEN" | "MLFLOW_WORKSPACE" | "MLFLOW_TRACKING_TOKEN_FILE"
        );
        assert_eq!(server.requests().len() == before, is_blocked, "{variable}");
        for request in server.requests() {
            assert_eq!(request.headers.get("x-injected"), None, "{variable}");
        }
    }
}
